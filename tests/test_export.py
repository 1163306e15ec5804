"""The network as ONNX gives the probabilities that Keras gives."""

import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lvlab import recipes
from lvlab.__main__ import main
from lvlab.commands.export import write_onnx
from lvlab.store.shipped import shipped_run

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
SMALL = {"assignment": replace(recipes.ASSIGNMENT, filters=(4, 8, 16)), "lab": replace(recipes.LAB, filters=(8, 16))}


def run_of(name):
    """The shipped run, or a network of a recipe with weights as they are drawn."""
    if name == "shipped":
        return shipped_run()
    from lvlab.unet import unet

    recipe = SMALL[name]
    model = unet(recipe.filters, kernel_initializer="he_normal", grid=recipe.grid, normalization=recipe.normalization)
    rng = np.random.default_rng(0)  # biases other than 0
    model.set_weights([array if array.ndim > 1 else rng.normal(0, 0.3, array.shape).astype("f")
                       for array in model.get_weights()])
    return SimpleNamespace(model=model, recipe=recipe)


@pytest.mark.parametrize("name", ["shipped", *SMALL])
def test_onnx_gives_the_probabilities_of_keras(name, slices, tmp_path, monkeypatch):
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    monkeypatch.setenv("LVLAB_PRECISION", "float32")
    run = run_of(name)
    write_onnx(run, tmp_path / "network.onnx")
    engine = runtime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    probability, = engine.run(["probability"], {"image": slices.images})
    expected = run.model.predict_on_batch(slices.images)
    assert np.ptp(expected) > 0.3 and probability.shape == expected.shape
    assert np.abs(probability - expected).max() < 1e-4
    said = engine.get_modelmeta().custom_metadata_map
    assert (float(said["threshold"]), int(said["grid"])) == (run.recipe.threshold, run.recipe.grid)
    assert (int(said["size"]), said["parts"]) == (128, run.recipe.parts)


def test_an_export_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    def full(*names):
        raise OSError(28, "No space left on device")

    old = tmp_path / "network.onnx"
    old.write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Exception, match="network.onnx: cannot be written"):
        write_onnx(run_of("lab"), old)
    assert old.read_text() == "old" and list(tmp_path.iterdir()) == [old]


def test_what_cannot_be_exported_is_told_in_one_line_before_keras_is_loaded(tmp_path, monkeypatch, capsys):
    assert main(["export", "--onnx", "--out", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["export", "--onnx", "--out", str(tmp_path / "n.onnx"), "--run", str(tmp_path / "none")]) == 2
    assert "no such run" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", "--onnx", "--out", str(tmp_path / "n.onnx")]) == 2
    assert "pip install 'lvlab[onnx]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
