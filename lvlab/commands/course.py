"""The whole way with one command: the data, a run for them, and where its pictures go."""

import contextlib
import logging
import os
import subprocess
import sys
import zlib
from pathlib import Path

from lvlab.errors import CourseError
from lvlab.store.files import PROJECT, find, output, runs_folder, workplace
from lvlab.store.folder import course_folder

notes = logging.getLogger(__name__)


def data_folder(named=None, quiet=False):
    """Return the course folder: the one named, else the course's own; phantom patients are made where it has none."""
    if named:
        folder = find(named)
        if not folder.is_dir():
            raise CourseError(f"{named}: there is no such folder", ["data"])
        return folder
    folder = course_folder()
    if not folder.is_dir():
        if os.environ.get("LVLAB_DATA"):
            raise CourseError(f"{folder}: there is no such folder; LVLAB_DATA names it")
        from lvlab import phantom

        notes.info("No data yet: making phantom patients in %s.", folder)
        phantom.write(folder, quiet=quiet)
    return folder


def run_folder(data, recipe, start, seed):
    """Return where a training belongs: runs/RECIPE-START-SEED-DATA, with four digits of the path of data elsewhere."""
    whole = data.resolve()
    inside = any(whole.is_relative_to(place / "data") for place in (PROJECT, workplace().resolve()))
    elsewhere = "" if inside else f"-{zlib.crc32(os.fsencode(whole)) % 10_000:04d}"
    return runs_folder() / f"{recipe}-{start}-{seed}-{whole.name}{elsewhere}"


def pictures_folder(run, default):
    """Return figures/ for the default run, else figures/RUN."""
    return output("figures") if default else output("figures") / Path(run).resolve().name


def open_lab(data, options=()):
    """Open JupyterLab on the notebooks with these data and its own options; return its exit code."""
    first = PROJECT / "notebooks" / "01_explore_data.ipynb"
    if not first.is_file():
        raise CourseError(f"{first}: is missing; the notebooks come with the project, not with the package: start from "
                          "its folder")
    command = [sys.executable, "-m", "jupyter", "lab", f"--notebook-dir={PROJECT}",
               f"--LabApp.extra_labextensions_path={PROJECT / 'lvlab' / 'teach' / 'labextensions'}", *options,
               str(first.relative_to(PROJECT))]
    with subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "LVLAB_DATA": str(data.resolve())}) as jupyter:
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # Jupyter got it, too, and asks whether to stop
                return jupyter.wait()
