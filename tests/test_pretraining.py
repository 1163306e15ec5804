"""Pre-training on JAX: a killed one goes on. In a process of its own, since here Keras is on TensorFlow."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lvlab.recipes import LAB
from lvlab.store import runs, shipped
from lvlab.store.files import PROJECT
from lvlab.store.runs import open_run
from lvlab.training import build
from tools import pretraining, refining

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from tools import pretraining

if __name__ == "__main__":
    pretraining.VALIDATION, pretraining.CHECKS, kept = 16, 4, pretraining._keep
    def killed_after(*state):
        kept(*state)
        if sys.argv[2] == "kill":
            raise KeyboardInterrupt
    pretraining._keep = killed_after
    recipe = replace(pretraining.PRETRAIN, name="tiny", filters=(2, 4), batch_size=2)
    pretraining.pretrain(Path(sys.argv[1]), [recipe], 1.0, resume=sys.argv[2] == "resume", most=64, first=16)
"""


def test_a_killed_pretraining_goes_on_where_it_was(tmp_path):
    pytest.importorskip("jax", reason="jax is not installed; make pretrain installs it")
    script = tmp_path / "pretrain.py"
    script.write_text(SCRIPT)
    for how, code in (("kill", 1), ("resume", 0)):
        done = subprocess.run([sys.executable, script, tmp_path / "out", how], cwd=PROJECT, capture_output=True,
                              text=True, env={"PYTHONPATH": str(PROJECT), "PATH": "", "JAX_PLATFORMS": "cpu"})
        assert (done.returncode != 0) == bool(code), done.stderr
        if how == "kill":
            before = json.loads((tmp_path / "out/tiny/recipe.json").read_text())
            assert (tmp_path / "out/tiny/progress.npz").exists()
    run = open_run(tmp_path / "out/tiny")
    assert run.record["steps"] > before["steps"] and run.record["training_slices"] > before["training_slices"]
    assert run.record["train_seconds"] >= 60 > before["train_seconds"]
    assert len(run.history) == run.history.epoch.max() > 1
    assert run.model.count_params() == run.record["parameters"]


def test_onward_goes_on_from_the_network_that_ships():
    assert sum(array.size for array in shipped.start_weights(pretraining.ONWARD)) == open_run(
        shipped.SHIPPED).record["parameters"]


@pytest.mark.slow
def test_refining_moves_the_student_and_tells_its_teacher(tmp_path, monkeypatch):
    for name, value in {"VALIDATION": 4, "BATCH": 2, "WARM_UP": 1}.items():
        monkeypatch.setattr(refining, name, value)
    recipe = replace(LAB, name="tiny", filters=(2, 4), grid=2, precision="float32")
    for seed, name in enumerate(("student", "teacher")):
        history = open_run(shipped.SHIPPED).history
        shipped.write(tmp_path / name, build(recipe, seed=seed).get_weights(), {"recipe": recipe.as_dict()}, history)
    before = open_run(tmp_path / "student").model.get_weights()
    run = refining.refine(open_run(tmp_path / "student"), open_run(tmp_path / "teacher"), tmp_path / "out",
                          minutes=0.05, phantoms=50, quiet=True)
    assert run.record["refined"]["teacher"] == "tiny" and run.record["refined"]["steps"] > 0
    assert any(np.abs(old - new).max() > 1e-4 for old, new in zip(before, run.model.get_weights(), strict=True))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [runs.HISTORY, runs.RECIPE, runs.WEIGHTS]


def test_what_is_pasted_into_a_phantom_never_covers_a_cavity():
    image, other = np.zeros((64, 64, 64, 1), np.float32), np.ones((64, 64, 64, 1), np.float32)
    mask, other_mask = (np.zeros_like(image) for _ in range(2))
    mask[:, 20:30, 20:30], other_mask[:, 50:60, 5:15] = 1, 1
    with pytest.MonkeyPatch.context() as patch:
        for name, chance in (("PIECE", 1.0), ("COPY", 0.0), ("SPREAD", 0.0)):
            patch.setattr(refining, name, chance)
        changed, kept = refining.changed(image, mask, other, other_mask)
    pasted = changed.numpy() > 0.5
    assert pasted.any() and not (pasted & (mask > 0)).any() and not (pasted & (other_mask > 0)).any()
    assert kept is mask and 0 <= changed.numpy().min() <= changed.numpy().max() <= 1
