"""Pre-training on JAX: a killed one goes on. In a process of its own, since here Keras is on TensorFlow."""

import json
import subprocess
import sys

import pytest

from lvlab.store.files import PROJECT
from lvlab.store.runs import open_run

pytest.importorskip("jax", reason="jax is not installed; make pretrain installs it")

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
