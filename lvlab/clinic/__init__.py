"""From masks to what a clinic asks: distances in mm, volumes and ejection fraction, agreement, what to review."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["agreement", "charts", "dicom_seg", "heart", "judge", "review", "surface"])
