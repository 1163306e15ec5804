"""Synthetic patients: their anatomy, the scanner that sees them, and the course folder made of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["anatomy", "drawing", "scanner"],
    submod_attrs={"course": ["KINDS", "course_patient", "level_positions_mm", "random_slices", "scanned_twice", "stack",
                              "stack_positions_mm", "write"]})
