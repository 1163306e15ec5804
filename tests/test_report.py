"""Figures, tables, the report as a document, and the comparison of two runs."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lvlab import metrics
from lvlab.clinic import judge
from lvlab.commands import compare, document, report
from lvlab.errors import CourseError
from lvlab.evaluation import summarise
from lvlab.recipes import CHOICES, LAB
from lvlab.store.runs import COLUMNS


class Drawing:
    """A network that knows the answers and draws them a little too low and too small."""

    input_shape = (None, 128, 128, 1)

    def __init__(self, slices, share=0.9):
        self.known = {image.tobytes(): share * np.roll(mask, 2, axis=0)
                      for image, mask in zip(slices.images, slices.masks, strict=True)}

    def predict_on_batch(self, images):
        return np.stack([self.known[image.tobytes()] for image in images])


def run_of(slices, name="lab-scratch-0"):
    epochs = np.arange(1, 6)
    history = pd.DataFrame(np.stack([epochs, *[1 / epochs] * 4, epochs], 1), columns=COLUMNS)
    record = {"train_seconds": 61.4, "precision": "float32", "cpus": 2, "seed": 0, "training_slices": 30,
              "validation_slices": 10, "validation_patients": ["phantom-02"], "parameters": 475_504}
    return SimpleNamespace(path=Path("runs") / name, recipe=LAB, record=record, history=history,
                           model=Drawing(slices))


@pytest.fixture(scope="module")
def written(slices, tmp_path_factory):
    out = tmp_path_factory.mktemp("figures")
    return document.write_document(run_of(slices), slices, out), out


def test_every_picture_is_there_twice_and_the_manifest_says_what_made_it(written):
    evidence, out = written
    manifest = json.loads((out / "manifest.json").read_text())
    assert {"best", "median", "worst", "learning_curves", "overlay_grid", "dice_by_area", "strata", "failures",
            "area_agreement", "ejection_fraction", "reliability"} <= set(manifest["figures"])
    for about in manifest["figures"].values():
        assert all((out / name).stat().st_size > 1000 for name in about["files"])
        assert len(about["alt"]) > 40 and about["caption"].endswith(".") and about["function"].startswith("lvlab.")
    assert manifest["data_fingerprint"] == evidence.summary["data_fingerprint"] and manifest["recipe"] == LAB.as_dict()
    assert all((out / name).is_file() for name in manifest["tables"])


def test_the_report_says_who_was_held_out(slices):
    run = run_of(slices)
    evidence = SimpleNamespace(run=run, slices=slices, summary={"patients": 3, "data_fingerprint": "0"})
    assert "Trained on 30 slices, validated on 10 slices. No patient is both" in document._data(evidence)[1]
    run.record.update(validation_slices=0, validation_patients=[])
    assert "Trained on 30 slices. Nobody was held out for validation." in document._data(evidence)[1]


@pytest.mark.parametrize(("here", "learnt", "said", "moved"), [
    ((2, -1), (0, 0), "masks lie off the edges in their images (pixels: 2 down, 1 left); of those of the training no",
     (2, -1)),
    ((2, -1), (2, -1), "(pixels: 2 down, 1 left), as those of the training do.", None),
    ((0, 0), (2, 0), "The masks of the training lie off the edges in their images (pixels: 2 down); these do not",
     (-2, 0)),
    ((0, 0), (0, 0), "", None)])
def test_masks_beside_their_images_are_told_and_what_dice_owes_to_them(slices, here, learnt, said, moved):
    beside, run = replace(slices, masks=np.roll(slices.masks, here, (1, 2))), run_of(slices)
    run.record["mask_offset"] = list(learnt)
    evidence = report.judge_run(run, beside)  # draws them 2 pixels too low
    placed = evidence.summary["mask_offset"]
    assert (placed["down"], placed["right"]) == here and placed["learnt"] == list(learnt)
    wanted = f"{said}.*moved by the difference, has Dice {placed['dice_if_moved']:.3f}" if moved else re.escape(said)
    wanted = wanted.replace("(", "\\(").replace(")", "\\)") if moved else wanted
    for text in (report.format_summary(evidence.summary), str(document._data(evidence))):
        assert re.search(wanted, text) and ("pixels:" in text) == bool(said)
    if moved:
        at = np.roll(evidence.prediction, moved, (1, 2))
        assert placed["dice_if_moved"] == pytest.approx(np.nanmean(metrics.dice(beside.masks, at)))


@pytest.mark.parametrize("recorded", ["x", 5, [1], [1, 2, 3], {"a": 1}, [1, float("nan")]])
def test_a_damaged_offset_of_a_run_is_told_by_its_file(slices, recorded):
    run = run_of(slices)
    run.record["mask_offset"] = recorded
    with pytest.raises(CourseError, match="recipe.json: its mask_offset is no pair of numbers"):
        judge.placement(run, slices, slices.masks)


def test_the_same_inputs_give_the_same_files(written, slices, tmp_path, monkeypatch):
    few = {name: report.PICTURES[name] for name in ("best", "strata")}
    monkeypatch.setattr(report, "PICTURES", few)
    again = report.write_report(run_of(slices), slices, tmp_path)
    for name in ("scores.csv", "metrics.csv", "metrics.md", "metrics.tex", "strata.svg", "best.svg", "best.png"):
        assert (tmp_path / name).read_bytes() == (written[1] / name).read_bytes(), name
    pd.testing.assert_frame_equal(again.scores, written[0].scores)


def test_tables_agree_with_the_scores(written):
    evidence, out = written
    table = pd.read_csv(out / "metrics.csv", index_col=0)
    scores = pd.read_csv(out / "scores.csv")
    assert float(table["Mean"]["Dice"]) == pytest.approx(scores.dice.mean(), abs=5e-4)
    assert float(table["Worst"]["HD95 (mm)"]) == pytest.approx(scores.hd95_mm.max(), abs=0.05)
    median = evidence.summary["names"]["median"]
    assert evidence.summary["dice"]["median"] == pytest.approx(scores.set_index("name").dice[median], abs=1e-6)
    assert (out / "metrics.md").read_text().count("|") == 7 * len(table.index) + 14
    assert r"95 \% interval" in (out / "metrics.tex").read_text()


def test_the_report_is_one_page_that_asks_for_nothing_and_a_pdf(written):
    evidence, out = written
    page = (out / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)|@import|url\(", page)
    assert page.count("<img") == len(json.loads((out / "manifest.json").read_text())["figures"])
    assert page.count('alt="') == page.count("<img") and 'alt=""' not in page
    for text in (f"{evidence.summary['dice']['mean']:.3f}", "61 s", "475,504 parameters", "HD95 (mm)", "Ulyanov",
                 evidence.summary["data_fingerprint"], "--recipe lab --start scratch --seed 0", "phantoms: drawn"):
        assert text in page
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF") and (out / "report.pdf").stat().st_size > 50_000


def test_pictures_are_the_course_s_own_whatever_matplotlib_is_told_elsewhere(slices, tmp_path, monkeypatch):
    few = slices.subset(np.arange(4))
    few = replace(few, table=few.table.assign(patient=["A$x_{$B", "$", "$$", "a_1"]))
    monkeypatch.setattr(report, "PICTURES", {name: report.PICTURES[name] for name in ("worst", "strata")})
    with matplotlib.rc_context({"text.usetex": True, "savefig.facecolor": "red"}):
        report.write_report(run_of(few), few, tmp_path)
    assert plt.imread(tmp_path / "worst.png")[0, 0, :3].min() == 1


def test_every_loss_has_its_words():
    assert set(document.LOSSES) == set(CHOICES["loss"])


def test_a_report_of_an_odd_run_on_slices_without_any_tag(slices, tmp_path):
    """Nothing known but the pixels, one truth empty, one missed, and a name that both languages would obey."""
    slices = slices.subset(np.arange(6))
    table = slices.table.assign(patient="", phase="", level=0, row_spacing_mm=np.nan, col_spacing_mm=np.nan,
                                position_mm=np.nan, time_ms=np.nan, group="")
    masks = slices.masks.copy()
    masks[1] = 0
    run = run_of(slices, "<b>#let x = 1 $_*\\")
    run.model.known[slices.images[2].tobytes()] *= 0
    bare = type(slices)(slices.images, masks, table)
    evidence = document.write_document(run, bare, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;#let" in page and "<b>#let" not in page and "no slice missed" not in page
    assert "No ejection fraction" in page and "pixels of unknown size" in page
    assert "nan" not in re.sub(r'"data:[^"]*"', "", page).lower()
    assert evidence.summary["missed"] == 1 and evidence.summary["invented"] == 1
    assert not (tmp_path / "area_agreement.png").exists()


def test_the_report_of_hearts_that_nobody_sees(slices, tmp_path):
    chosen = slices.subset(np.arange(3))
    empty = type(slices)(chosen.images, np.zeros_like(chosen.masks), chosen.table)
    document.write_document(run_of(empty), empty, tmp_path)
    assert "nothing to score" in (tmp_path / "report.html").read_text()


def test_intervals_draw_patients_and_few_of_them_are_said(written):
    evidence, _ = written
    found = evidence.summary["intervals"]["dice"]
    assert found["patients"] == 3 and found["low"] < found["mean"] < found["high"]
    assert "too few" in report.format_summary(evidence.summary)


def scored(folder, slices, share=1.0, fingerprint="same"):
    prediction = np.roll(slices.masks, 2, axis=1) if share == 1 else slices.masks
    scores = judge.judged(slices, prediction, prediction)
    folder.mkdir()
    report.write_tables(scores, {**summarise(scores), "data_fingerprint": fingerprint}, folder)
    return SimpleNamespace(path=folder)


def test_two_runs_are_compared_slice_by_slice(slices, tmp_path):
    low, right = scored(tmp_path / "low", slices), scored(tmp_path / "right", slices, share=0)
    text = "\n".join(compare.compare(low, right))
    assert f"better on {len(slices)}, worse on 0" in text and "b is better" in text and "Gained most" in text
    back = "\n".join(compare.compare(right, low))
    assert "a is better" in back and "Lost most" in back
    same = "\n".join(compare.compare(low, low))
    assert "The interval holds 0" in same and "Lost most" not in same


def test_runs_on_other_slices_are_not_compared(slices, tmp_path):
    whole, part = scored(tmp_path / "a", slices), scored(tmp_path / "b", slices.subset(np.arange(5)))
    other = scored(tmp_path / "c", slices, fingerprint="other")
    for pair in ((whole, part), (whole, other)):
        with pytest.raises(CourseError, match="not scored on the same slices"):
            compare.compare(*pair)
    with pytest.raises(CourseError, match="evaluate the run first"):
        compare.compare(whole, SimpleNamespace(path=tmp_path))
    (tmp_path / "a" / "scores.csv").write_text("name,dice\nx,much\n")
    with pytest.raises(CourseError, match="no score table"):
        compare.compare(whole, whole)


def test_a_run_of_an_older_version_has_no_distances_yet_is_compared(slices, tmp_path):
    low = scored(tmp_path / "low", slices)
    table = pd.read_csv(low.path / "scores.csv")
    table.iloc[:, :10].to_csv(low.path / "scores.csv", index=False)
    assert "better on" in "\n".join(compare.compare(low, low))
