"""What several test files share: a phantom course folder, and the real one where it is at hand."""

import gc
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import lvlab
from lvlab import phantom
from lvlab.commands.workers import cores
from lvlab.store.files import PROJECT

os.environ.setdefault("MPLBACKEND", "Agg")
# Test processes beside each other: each with its share of the cores, a step of LAB takes a fifth less.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = max(1, cores() // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(share))
gc.disable()  # until all test files are imported, TensorFlow with them: as lvlab/store/quiet.py does
if "LVLAB_RUNS" not in os.environ:  # a check that a test calls leaves no verdict in the course's own progress.json
    os.environ["LVLAB_RUNS"] = str(PROJECT / "build" / "test" / "runs")
# A busy machine is no failure, and CI sees the same examples as a colleague does.
settings.register_profile("lvlab", deadline=None, derandomize=True)
settings.load_profile("lvlab")


@pytest.fixture(autouse=True)
def same_draws_in_every_run():
    """Seed `random`, from which Keras draws the seed of a layer that was given none."""
    random.seed(0)


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory):
    """A small course folder: 3 patients to train on, 1 to test on."""
    return phantom.write(tmp_path_factory.mktemp("data") / "phantom", patients=4, seed=1, quiet=True)


@pytest.fixture(scope="session")
def slices(phantom_folder):
    """The training slices of the small course folder."""
    return lvlab.load(phantom_folder).training


@pytest.fixture(scope="session")
def prediction(slices):
    """Masks as a network might draw them: the true ones, three pixels too low."""
    return np.roll(slices.masks, 3, axis=1)


@pytest.fixture(scope="session")
def real_folder():
    """The real course folder: LVLAB_REAL_DATA, else the one beside the checkout."""
    folder = Path(os.environ.get("LVLAB_REAL_DATA") or PROJECT.parent / "shared" / "data" / "sunnybrook_course")
    if not (folder / "training").is_dir():
        pytest.skip(f"no real patients at {folder}; set LVLAB_REAL_DATA to a course folder")
    return folder


def pytest_collection_modifyitems(items):
    """Give a busy machine a minute to deliver a cell's outputs: nbval has no option for its five seconds."""
    gc.freeze()
    gc.enable()
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = 60


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Run each file's tests in one process, and the notebooks in one, since they use one another's runs.

    (Marks of a group, which were made for this, do nothing with pytest 9.2: pytest-xdist's issue 1386.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "notebooks" if ".ipynb" in nodeid else nodeid.split("::")[0]

    return ByFile(config, log)
