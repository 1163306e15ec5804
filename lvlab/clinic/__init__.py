"""From masks to what a clinic asks: distances in mm, volumes and ejection fraction, agreement, what to review."""

from lvlab.clinic import agreement, charts, heart, judge, review, surface

__all__ = ["agreement", "charts", "heart", "judge", "review", "surface"]
