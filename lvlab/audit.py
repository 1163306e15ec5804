"""`lvlab check`: read a course folder as a careful colleague would, and say what to put right."""

from dataclasses import dataclass

from lvlab import folder
from lvlab.files import CourseError, find


@dataclass(frozen=True)
class Finding:
    """One line of the audit. `level` is "error" or "warning"."""

    level: str
    text: str


def check(path):
    """Audit a course folder: return ([line about what was found], [Finding])."""
    path = find(path)
    if not path.is_dir():
        raise CourseError(f"{path}: no such folder; make one with: python -m lvlab phantom --out {path}")
    lines, findings = [], []
    for part in ("training", "test"):
        if (path / part).is_dir():
            images, masks, problems = folder.list_pairs(path, part)
            lines.append(f"{part}: {len(images)} images, {len(masks)} masks")
            findings += [Finding("error", problem) for problem in problems]
            findings += [Finding("error", str(error)) for error in _unreadable(images, masks)]
    if not lines:
        findings.append(Finding("error", f"{path}: has no folder named training or test; it is not a course folder"))
    return lines, findings


def _unreadable(images, masks):
    for name in sorted(images.keys() & masks.keys()):
        try:
            image, mask = folder.read_dicom(images[name]), folder.read_mask(masks[name])
        except CourseError as error:
            yield error
            continue
        if mask.shape != image.pixels.shape:
            yield CourseError(f"{masks[name]}: its size differs from its image's; export the pair again")
