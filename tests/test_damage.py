"""A damaged run folder is refused with a reason, and nothing in it is ever executed."""

import io
import json
import pickle
import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import lvlab
from lvlab.__main__ import main
from lvlab.errors import CourseError
from lvlab.store import progress, recorded, runs
from tests import samples

TINY = replace(lvlab.LAB, filters=(2, 4), batch_size=4, epochs=2, passes=1, augmentation="none", precision="float32")


MARK = Path(tempfile.gettempdir()) / "lvlab-was-unpickled"


class Stop(Exception):
    """Raised where a kill would fall."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A course folder, a finished run, and one stopped after its first epoch."""
    place = tmp_path_factory.mktemp("damage")
    slices = lvlab.load(samples.course(place / "course", pairs=5)).training
    split = slices.split_by_patient(0.3)
    recorded.train(*split, TINY, place / "run", quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "write_csv", _stop)
        with pytest.raises(Stop):
            recorded.train(*split, TINY, place / "half", quiet=True)
    return place, split


def _stop(*_):
    raise Stop


class Trap:
    """Pickled into a file, it would leave a mark when unpickled."""

    def __reduce__(self):
        return (open, (str(MARK), "w"))


def halve(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def spoil_weights(path):
    """Keep the zip sound and cut the weights inside."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content[:len(content) // 2] if name.endswith(".h5") else content)


def with_lambda(path):
    """A network with a Lambda layer: code inside a file."""
    layer = keras.layers.Lambda(lambda x: x * 2, output_shape=(128, 128, 1))
    keras.Sequential([keras.Input((128, 128, 1)), layer]).save(path)


def another_network(path):
    keras.Sequential([keras.Input((128, 128, 1)), keras.layers.Conv2D(1, 1)]).save(path)


def pickled(path):
    with open(path, "wb") as file:
        np.savez(file, about=np.array([Trap()], dtype=object))


DAMAGE = {"halved": halve, "empty": lambda path: path.write_bytes(b""), "text": lambda path: path.write_text("hello"),
          "a pickle": lambda path: path.write_bytes(pickle.dumps(Trap()))}
MODEL_DAMAGE = {**DAMAGE, "weights cut": spoil_weights, "a lambda": with_lambda, "another network": another_network}
ARRAYS_DAMAGE = {**DAMAGE, "pickled arrays": pickled}
WEIGHTS_DAMAGE = {**ARRAYS_DAMAGE,
                  "other shapes": lambda path: progress.save_arrays(path, **{"weights/000": np.ones(3)}),
                  "no weights": lambda path: progress.save_arrays(path, other=np.ones(3))}


def refused(run, place, tmp_path, capsys):
    """Evaluate a run, see it refused in one line and nothing written, and return the line."""
    arguments = ["evaluate", "--data", str(place[0] / "course"), "--run", str(run), "--out", str(tmp_path / "new")]
    assert main(arguments) == 2
    line, = capsys.readouterr().err.splitlines()
    assert not (tmp_path / "new").exists() and "from a copy" in line and "overwrite" not in line
    return line


@pytest.mark.parametrize("damage", WEIGHTS_DAMAGE)
def test_damaged_weights_are_refused(place, tmp_path, capsys, damage):
    run = shutil.copytree(place[0] / "run", tmp_path / "run")
    WEIGHTS_DAMAGE[damage](run / runs.WEIGHTS)
    line = refused(run, place, tmp_path, capsys)
    assert f"{run / runs.WEIGHTS}: is damaged" in line or "is not the U-Net of its recipe.json" in line


@pytest.fixture
def old_run(place, tmp_path):
    """A run as lvlab 0.1 wrote it: its only weights are in model.keras."""
    run = shutil.copytree(place[0] / "run", tmp_path / "run")
    (run / runs.WEIGHTS).unlink()
    return run


def test_a_run_of_before_lvlab_0_2_opens_with_the_same_weights(place, old_run):
    new = runs.open_run(place[0] / "run").model.get_weights()
    for one, other in zip(new, runs.open_run(old_run).model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", MODEL_DAMAGE)
def test_a_damaged_archive_of_an_old_run_is_refused_and_no_class_in_it_made(place, old_run, tmp_path, capsys, damage):
    MODEL_DAMAGE[damage](old_run / runs.MODEL)
    line = refused(old_run, place, tmp_path, capsys)
    assert f"{old_run / runs.MODEL}: " in line


@pytest.mark.parametrize("part", ["layers/conv2d/vars/0", "layers/conv2d"])
def test_an_archive_that_points_to_another_file_is_refused(place, old_run, tmp_path, capsys, part):
    with zipfile.ZipFile(old_run / runs.MODEL) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    stored = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(stored, "a") as file, h5py.File(tmp_path / "secret.h5", "w") as secret:
        file.copy(part, secret, "x")
        del file[part]
        file[part] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
    parts["model.weights.h5"] = stored.getvalue()
    with zipfile.ZipFile(old_run / runs.MODEL, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert "its weights cannot be read (written by Keras " in refused(old_run, place, tmp_path, capsys)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_history_is_refused(place, tmp_path, damage):
    run = shutil.copytree(place[0] / "run", tmp_path / "run")
    DAMAGE[damage](run / runs.HISTORY)
    if damage == "halved":
        (run / runs.HISTORY).write_text("epoch,loss\n1,")
    with pytest.raises(CourseError, match="restore it from a copy"):
        _ = runs.open_run(run).history


@pytest.mark.parametrize("damage", ARRAYS_DAMAGE)
def test_damaged_progress_is_refused(place, tmp_path, damage):
    half = shutil.copytree(place[0] / "half", tmp_path / "half")
    ARRAYS_DAMAGE[damage](half / runs.PROGRESS)
    with pytest.raises(CourseError, match=r"progress.npz: is damaged; restore it"):
        recorded.train(*place[1], TINY, half, resume=True, quiet=True)


@pytest.mark.parametrize("spoilt", ["weights", "best", "optimizer", "rows", "best_loss"])
def test_progress_with_a_part_missing_or_misshapen_is_refused(place, tmp_path, spoilt):
    half = shutil.copytree(place[0] / "half", tmp_path / "half")
    stored = progress.load_arrays(half / runs.PROGRESS)
    first = next(key for key in stored if key.startswith(spoilt))
    for changed in ({key: value for key, value in stored.items() if key != first}, {**stored, first: np.zeros((2, 2))}):
        progress.save_arrays(half / runs.PROGRESS, **changed)
        with pytest.raises(CourseError, match=r"progress.npz: is damaged"):
            recorded.train(*place[1], TINY, half, resume=True, quiet=True)


def test_progress_of_another_recipe_or_data_is_refused(place, tmp_path):
    half = shutil.copytree(place[0] / "half", tmp_path / "half")
    with pytest.raises(CourseError, match="was begun with another recipe, seed, precision or data"):
        recorded.train(*place[1], TINY, half, seed=5, resume=True, quiet=True)


def test_resume_goes_on_after_the_last_epoch_and_clears_what_a_kill_left(place, tmp_path):
    half = shutil.copytree(place[0] / "half", tmp_path / "half")
    (half / ".writing-abc.npz").write_bytes(b"half written")
    run = recorded.train(*place[1], TINY, half, resume=True, quiet=True)
    assert list(run.history.epoch) == [1, 2]
    first = run.model.get_weights()
    assert {path.name for path in half.iterdir()} == {
        "weights.npz", "model.keras", "recipe.json", "history.csv", "logs"}
    shutil.copy(place[0] / "half" / runs.PROGRESS, half / runs.PROGRESS)  # killed after the network was written
    again = recorded.train(*place[1], TINY, half, resume=True, quiet=True)
    assert not (half / runs.PROGRESS).exists()
    assert all(np.allclose(a, b, atol=0.05) for a, b in zip(first, again.model.get_weights(), strict=True))


def test_nothing_was_unpickled():
    assert not MARK.exists()


def test_segment_writes_all_masks_in_the_original_frames_or_none(place, tmp_path, monkeypatch):
    course, run, out = place[0] / "course", place[0] / "run", tmp_path / "masks"
    from PIL import Image

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    arguments = ["segment", str(course / "test"), "--run", str(run), "--out", str(out), "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full_disk)
        assert main(arguments) == 2
    assert list(tmp_path.iterdir()) == []
    assert main(arguments) == 0
    masks = sorted(out.glob("*.png"))
    assert len(masks) == 5 and Image.open(masks[0]).size == (samples.SIDE, samples.SIDE)


def test_recipe_json_is_plain_json(place):
    record = json.loads((place[0] / "run" / runs.RECIPE).read_text())
    assert record["recipe"]["filters"] == [2, 4] and "Doe" not in json.dumps(record)
