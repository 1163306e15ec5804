"""Cross-validation by patient, pre-training's slices, and starting from the shipped weights."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lvlab
from lvlab.clinic import judge
from lvlab.commands import crossval
from lvlab.errors import CourseError
from lvlab.evaluation import masks_of
from lvlab.recipes import LAB, LAB_FROM_PHANTOM
from lvlab.store import runs, shipped
from lvlab.store.files import PROJECT
from tests.test_slices import made_of


@given(st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=30), st.data())
def test_folds_test_every_patient_exactly_once(patients, data):
    slices = made_of(patients * 2)
    count = len(set(patients))
    if count < 2:
        return
    folds = data.draw(st.one_of(st.just("patient"), st.integers(2, count)))
    tested = [patient for group in crossval.folds_of(slices, folds).values() for patient in group]
    assert sorted(tested) == sorted(set(patients))


def test_one_patient_cannot_be_cross_validated():
    with pytest.raises(CourseError, match="two patients"):
        crossval.folds_of(made_of("aaa"))


def test_cross_validation_scores_every_slice_once_a_seed_and_resumes(phantom_folder, tmp_path, caplog):
    course = lvlab.load(phantom_folder)
    tiny = replace(LAB, filters=(2, 4), epochs=1, passes=1)
    slices = course.everyone()
    table, summary = crossval.cross_validate(slices, tiny, tmp_path / "cv", folds=2, quiet=True)
    assert sorted(table.name) == sorted(slices.table.name) and summary["n"] == len(slices)
    assert (tmp_path / "cv" / "seed0-fold-1" / "model.keras").exists()
    for fold, group in crossval.folds_of(slices, 2).items():
        record = runs.open_run(tmp_path / "cv" / f"seed0-{fold}").record
        assert not set(group) & {*record["training_patients"], *record["validation_patients"]}
    with pytest.raises(CourseError, match="already exists"):
        crossval.cross_validate(slices, tiny, tmp_path / "cv", folds=2)
    folds = crossval.Folds(tmp_path / "cv")
    probability = folds.predict(slices)
    scores = judge.judged(slices, probability, masks_of(probability, 0.5, tiny.parts)).set_index("name").dice
    np.testing.assert_allclose(scores[table.name], table.dice)
    assert folds.record["mask_offset"] == [0, 0]
    assert folds.record["folds"] == 2 and len(folds.history) == 1 and not crossval.Folds(tmp_path)
    with pytest.raises(CourseError, match="do not test each"):
        folds.predict(replace(slices, table=slices.table.assign(patient="somebody else")))
    caplog.set_level("INFO", "lvlab")
    again, _ = crossval.cross_validate(slices, tiny, tmp_path / "cv", folds=2, resume=True, quiet=True)
    assert caplog.text.count("opened") == 2
    np.testing.assert_allclose(again.dice, table.dice)
    with pytest.raises(CourseError, match=r"seed0-fold-1: was trained with another recipe \(validation_fraction\)"):
        crossval.cross_validate(slices, replace(tiny, validation_fraction=0.0), tmp_path / "cv", folds=2, resume=True)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cv").rglob("*") if path.is_file()}
    brighter = replace(slices, images=slices.images * 0.9)
    with pytest.raises(CourseError, match="seed0-fold-1: was trained with other data"):
        crossval.cross_validate(brighter, tiny, tmp_path / "cv", folds=2, resume=True)
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "cv").rglob("*") if path.is_file()}


def test_shipped_weights_start_a_training_and_were_made_on_phantoms_only():
    record = shipped.shipped_run().record
    assert record["recipe"]["name"] == "phantom" and record["versions"] and record["data_fingerprint"]
    assert (shipped.SHIPPED / runs.WEIGHTS).stat().st_size < 8e6
    assert sum(array.size for array in shipped.start_weights(LAB_FROM_PHANTOM)) == record["parameters"]
    assert shipped.fingerprint() in (PROJECT / "docs" / "model-card.md").read_text()  # else: make card
    with pytest.raises(CourseError, match="start from scratch"):
        shipped.start_weights(replace(LAB_FROM_PHANTOM, filters=(4, 8)))


def test_shipped_weights_find_the_ventricle_of_phantoms_they_never_saw(phantom_folder):
    scores = lvlab.evaluate(shipped.shipped_run(), lvlab.load(phantom_folder).test)
    assert scores.dice.mean() > 0.85


@pytest.mark.real
def test_shipped_weights_find_the_ventricle_of_real_patients(real_folder):
    scores = lvlab.evaluate(shipped.shipped_run(), lvlab.load(real_folder).everyone())
    assert scores.dice.mean() >= 0.90 and (scores.dice < 0.5).sum() <= 1
