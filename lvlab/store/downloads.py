"""Data sets as one downloads them: folders, zips, and folders of zips."""

import codecs
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lvlab.errors import CourseError
from lvlab.store.files import walk

LARGEST_FILE = 64 * 2**20


@dataclass(frozen=True)
class Item:
    """One file of a data set, perhaps in a zip. `path` is for reading and messages, never for writing."""

    path: Path
    archive: zipfile.ZipFile | None = None
    member: zipfile.ZipInfo | None = None

    def read(self, most=None):
        """Return the bytes; raise CourseError naming the file where they cannot be had or are more than `most`."""
        most = most or LARGEST_FILE
        try:
            with self.archive.open(self.member) if self.archive else open(self.path, "rb") as file:
                content = file.read(most + 1)
        except Exception as error:  # zipfile and its decompressors raise many kinds on damaged bytes
            raise CourseError(f"{self.path}: cannot be read; download it again") from error
        if len(content) > most:
            raise CourseError(f"{self.path}: is larger than {most >> 20} MB; download it again")
        return content


def items_in(release, stack):
    """Yield every file of a folder or zip, and of the zips in a folder, as an Item."""
    for path in walk(release) if release.is_dir() else [release]:
        if path.suffix.lower() != ".zip":
            yield Item(path)
            continue
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise CourseError(f"{path}: cannot be read as a zip; download it again") from error
        for member in archive.infolist():
            if not member.is_dir() and "__MACOSX" not in member.filename:
                yield Item(path.joinpath(*re.split(r"[/\\]+", member.filename.lstrip("/\\"))), archive, member)


def as_text(content):
    """Return bytes as text, whichever of the usual marks of an encoding they begin with."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


def default_test(patients):
    """Return every fifth of the patients in order; the last where there are two to four; none of one."""
    return patients[4::5] or patients[1:][-1:]
