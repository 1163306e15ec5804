"""The disk: course folders, images and masks, run folders, the shipped weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=[
    "archive", "dicom", "files", "folder", "masks", "progress", "recorded", "runs", "shipped"])
