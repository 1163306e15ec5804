"""Distances, volumes, agreement and review: against references, known shapes and known hearts."""

import os
import shutil
import subprocess
from dataclasses import replace

import highdicom
import numpy as np
import pandas as pd
import pydicom
import pytest
import surface_distance
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.testing.compare import compare_images
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from lvlab import metrics, phantom
from lvlab.clinic import agreement, charts, dicom_seg, heart, judge, review, surface
from lvlab.phantom.anatomy import cavity_volume_ml
from lvlab.store.files import PROJECT
from lvlab.store.masks import filled, read_mask
from tests import samples

shapes = arrays(bool, (9, 11))
spacings = st.tuples(st.floats(0.5, 3), st.floats(0.5, 3))


@given(shapes.filter(np.any), shapes.filter(np.any), spacings)
def test_distances_equal_the_reference(truth, prediction, spacing):
    found = surface_distance.compute_surface_distances(truth, prediction, spacing)
    forth, back = (found[f"distances_{way}"] for way in ("gt_to_pred", "pred_to_gt"))
    long = (found["surfel_areas_gt"], found["surfel_areas_pred"])
    assd = ((forth * long[0]).sum() + (back * long[1]).sum()) / (long[0].sum() + long[1].sum())
    assert surface.hd95_mm(truth, prediction, *spacing) == pytest.approx(
        surface_distance.compute_robust_hausdorff(found, 95), abs=1e-6)
    assert surface.assd_mm(truth, prediction, *spacing) == pytest.approx(assd, abs=1e-6)
    assert surface.both(prediction, truth, *spacing)[1] == pytest.approx(surface.assd_mm(truth, prediction, *spacing))


def test_distances_of_shapes_with_known_answers():
    square = np.zeros((40, 40), bool)
    square[10:20, 10:20] = True
    assert surface.hd95_mm(square, square, 1.4, 1.4) == surface.assd_mm(square, square, 1.4, 1.4) == 0
    down = np.roll(square, 3, axis=0)
    assert surface.hd95_mm(square, down, 2, 1) == pytest.approx(6)        # three rows of 2 mm
    assert surface.hd95_mm(square, np.roll(square, 3, 1), 2, 1) == pytest.approx(3)
    y, x = np.mgrid[:200, :200] - 99.5
    rings = [np.hypot(y, x) < radius for radius in (40, 50)]
    assert surface.assd_mm(*rings, 1, 1) == pytest.approx(10, abs=0.4)
    assert surface.hd95_mm(*rings, 1, 1) == pytest.approx(10, abs=0.8)


@given(arrays(bool, (4, 8, 8)), spacings)
def test_a_miss_never_improves_a_mean(masks, spacing):
    masks[:, 3, 3] = True
    found = np.roll(masks, 1, axis=0)
    with_miss = found.copy()
    with_miss[0] = False
    both = [surface.both(masks, each, *spacing) for each in (found, with_miss)]
    for before, after in zip(*both, strict=True):
        assert np.isfinite(after).all() and after.mean() >= before.mean()
    assert surface.good_contours(surface.both(masks, np.zeros_like(masks), 9, 9)[1]) == 0


def test_empty_masks_and_unknown_spacing():
    empty, dot = np.zeros((6, 8)), np.eye(6, 8)
    assert np.isnan(surface.hd95_mm(empty, empty, 1, 1))
    assert surface.hd95_mm(empty, dot, 3, 3) == surface.assd_mm(dot, empty, 3, 3) == 30  # the diagonal
    assert np.isnan(surface.hd95_mm(dot, dot, np.nan, 1))
    assert surface.good_contours([np.nan, 1, 6, 80]) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="must be equal"):
        surface.hd95_mm(empty, dot.T, 1, 1)


def test_dicom_seg_is_sound_and_reads_back_to_the_same_masks(phantom_folder, tmp_path):
    """One object a phase, whole frames, each with its source; dciodvfy (dicom3tools), where there is one, agrees."""
    files = sorted((phantom_folder / "test").glob("*.dcm"))
    masks = [read_mask(phantom_folder / "test" / "GT" / f"{file.stem}.png") > 0 for file in files]
    masks[0] = np.zeros_like(masks[0])                      # an empty slice was looked at, too
    assert len(dicom_seg.write(tmp_path, files, masks)[0]) == 2
    found = {}
    for path in sorted(tmp_path.glob("segmentation_*.dcm")):
        made = highdicom.seg.segread(path)
        uids = [uid for _, _, uid in made.get_source_image_uids()]
        found |= dict(zip(uids, made.get_pixels_by_source_instance(uids)[..., 0] > 0, strict=True))
        assert made.PatientID == "phantom-03" and made.Rows == 192
        if shutil.which("dciodvfy"):
            assert "Error" not in subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
    for file, mask in zip(files, masks, strict=True):
        np.testing.assert_array_equal(found[pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID], mask)
    first = sorted(path.name for path in tmp_path.iterdir())
    dicom_seg.write(tmp_path, files, masks)                  # the same objects again, not further ones
    assert sorted(path.name for path in tmp_path.iterdir()) == first


def test_files_that_tell_no_place_get_no_dicom_seg(tmp_path):
    pixels, mask = samples.picture()
    file = samples.write_dicom(tmp_path / "a.dcm", pixels)
    assert dicom_seg.write(tmp_path, [file], [mask > 0]) == ([], [file])


def areas(slices, masks=None):
    spacing = slices.table.row_spacing_mm.to_numpy(), slices.table.col_spacing_mm.to_numpy()
    return metrics.area_mm2(slices.masks if masks is None else masks, *spacing)


@pytest.fixture(scope="module")
def stacks():
    """Ten patients from base to apex at both phases, and their true ejection fraction."""
    found = {}
    for number in range(10):
        anatomy, scanner, rng = phantom.course_patient(number, seed=0)
        ml = [cavity_volume_ml(anatomy, phase) for phase in (0, 1)]
        found[f"p{number}"] = phantom.stack(anatomy, scanner, rng, f"p{number}"), ml
    return found


def test_ejection_fractions_of_truth_masks_are_within_three_points_of_the_anatomy(stacks):
    errors, share = [], []
    for slices, (ed_ml, es_ml) in stacks.values():
        own = heart.function(heart.volumes(slices.table, areas(slices))).iloc[0]
        errors.append(own.ef_percent - 100 * (1 - es_ml / ed_ml))
        share.append(own.edv_ml / ed_ml)
    assert np.abs(errors).max() < 3
    assert np.abs(np.array(share) - 1).max() < 0.05


def test_volumes_need_a_stack_and_use_positions_not_the_order(stacks):
    slices, _ = stacks["p1"]
    whole = heart.volumes(slices.table, areas(slices))
    turned = slices.subset(np.random.default_rng(0).permutation(len(slices)))
    again = heart.volumes(turned.table, areas(turned)).sort_values("phase")
    np.testing.assert_allclose(again.volume_ml, whole.sort_values("phase").volume_ml)
    few = slices.subset((slices.table.level <= 2).to_numpy())
    assert heart.volumes(few.table, areas(few)).empty
    gap = slices.subset(~slices.table.level.isin([3, 4]).to_numpy())
    assert heart.volumes(gap.table, areas(gap)).empty          # 30 mm without a slice are no stack
    assert heart.volumes(slices.table.assign(position_mm=np.nan), areas(slices)).empty
    assert heart.function(whole[whole.phase == "ED"]).empty


@given(st.lists(st.floats(0, 100), min_size=2, max_size=9, unique_by=lambda x: round(x, 2)))
def test_discs_fill_the_stack(places):
    ends = np.sort(places)
    outside = (ends[1] - ends[0] + ends[-1] - ends[-2]) / 2
    assert heart.discs_mm(places).sum() == pytest.approx(ends[-1] - ends[0] + outside)


def test_a_heartbeat_finds_its_own_phases():
    anatomy, scanner, rng = phantom.course_patient(0, seed=0)
    slices = phantom.stack(anatomy, scanner, rng, "p", np.arange(20) / 20, distance_mm=20, size=96)
    curve = heart.beat(slices.table, areas(slices))
    assert len(curve) == 20 and heart.phases_of(curve) == (0, 360)
    lost = slices.subset(slices.table.name != "p_s02_im0005")   # a position with a frame less is left out
    assert set(heart.beat(lost.table, areas(lost)).slices) == {curve.slices[0] - 1}
    unknown = np.where(slices.table.name == "p_s02_im0005", np.nan, areas(slices))  # a volume lacks it, and is none
    assert len(heart.beat(slices.table, unknown)) == 19


def test_hearts_count_once_however_many_seeds_judged_them(stacks):
    slices = stacks["p0"][0]
    scores = judge.judged(slices, slices.masks, slices.masks)
    smaller = scores.assign(seed=1, area_pred_mm2=scores.area_pred_mm2 * np.where(scores.phase == "ES", 0.9, 1))
    twice = pd.concat([scores.assign(seed=0), smaller], ignore_index=True)
    found = judge.summary(twice, pd.concat([slices.table] * 2, ignore_index=True))
    assert [row["patient"] for row in found["function"]] == ["p0, seed 0", "p0, seed 1"]
    first, second = (row["ef_percent_pred"] - row["ef_percent_true"] for row in found["function"])
    assert first == pytest.approx(0) and second > 1
    assert found["ejection_fraction"]["n"] == 1 and found["ejection_fraction"]["bias"] == pytest.approx(second / 2)


def test_missed_is_a_cavity_of_which_nothing_is_found_and_no_invented_one(stacks):
    whole = stacks["p0"][0]
    slices = whole.subset(np.flatnonzero(whole.masks.any((1, 2, 3)))[:4])
    wrong, truth = np.roll(slices.masks, 60, 1), slices.masks.copy()
    wrong[0], truth[1] = 0, 0
    scores = judge.judged(replace(slices, masks=truth), wrong, wrong)
    table = review.strata(scores).query("what == 'patient'")
    found = judge.summary(scores, slices.table)
    assert scores.dice.tolist() == [0] * 4 and table.missed.tolist() == [3]
    assert (found["missed"], found["invented"]) == (3, 1)


def test_agreement_of_known_numbers():
    found = agreement.bland_altman([10, 20, 30, np.nan], [12, 22, 38, 4])
    assert (found.n, found.bias, found.sd) == (3, 4, pytest.approx(np.sqrt(12)))
    assert found.high - found.bias == pytest.approx(1.96 * np.sqrt(12))
    assert agreement.bland_altman([], []).n == 0


def test_intervals_draw_patients():
    rng = np.random.default_rng(0)
    means = rng.normal(0.8, 0.1, 12).repeat(10)                 # all slices of a patient alike: n is 12, not 120
    patients = np.arange(12).repeat(10).astype(str)
    found = agreement.interval(means, patients)
    assert found.mean == pytest.approx(means.mean()) and found.patients == 12 and found.n == 120
    assert found.high - found.low == pytest.approx(2 * 1.96 * means[::10].std() / np.sqrt(12), rel=0.2)
    assert np.isnan(agreement.interval(means, ["one"] * 120).low)
    assert "too few" in agreement.caution(5) and not agreement.caution(30)
    assert "spans" in agreement.caution(3) and agreement.interval([1, 2, 9], list("abc"))[1:3] == (1, 9)


def test_paired_differences_are_sharper_than_two_intervals():
    rng = np.random.default_rng(1)
    names, patients = [f"s{k}" for k in range(80)], np.arange(80) // 8
    hard = rng.normal(0.8, 0.12, 10)[patients]
    tables = [pd.DataFrame({"name": names, "patient": patients, "phase": "", "level": 0,
                            "dice": hard + gain + rng.normal(0, 0.01, 80)}) for gain in (0, 0.02)]
    found, differences = agreement.paired(*tables)
    assert found.low > 0 and found.mean == pytest.approx(0.02, abs=0.005)
    alone = [agreement.interval(table.dice, table.patient) for table in tables]
    assert alone[0].high > alone[1].low                         # the two intervals overlap all the same
    assert differences.difference.is_monotonic_increasing


def test_what_no_heart_does_is_flagged(stacks):
    slices, _ = stacks["p0"]
    masks = slices.masks.copy()
    assert set(review.implausible(slices.table, masks)) == {""}
    table = slices.table
    at = {(row.level, row.phase): number for number, row in enumerate(table.itertuples())}
    spoilt = masks.copy()
    spoilt[at[3, "ED"]] = 0
    spoilt[at[4, "ES"], 5:25, 5:25] = 1
    spoilt[at[2, "ES"]] = masks[at[2, "ED"]]
    diamond = filled([(64, 30), (100, 64), (64, 100), (30, 64)], (128, 128))
    spoilt[at[2, "ES"]] = np.maximum(spoilt[at[2, "ES"]], diamond)
    spoilt[at[6, "ED"]] = np.roll(masks[at[6, "ED"]], 30, axis=1)
    flags = review.implausible(table, spoilt)
    assert "empty between" in flags[at[3, "ED"]] and "pieces" in flags[at[4, "ES"]]
    assert "larger at end-systole" in flags[at[2, "ES"]] and "neighbours' place" in flags[at[6, "ED"]]
    assert review.implausible(table.assign(patient="", level=0, position_mm=np.nan), masks) == [""] * len(slices)


def test_confidence_promises_dice_and_review_finds_what_it_doubts():
    truth = np.zeros((3, 8, 8, 1), np.float32)
    truth[:, 2:6, 2:6] = 1
    sure, torn = truth[0], 0.5 + 0.2 * truth[0]
    p = np.stack([sure, torn, 0 * sure])
    found = review.confidence(p, p >= 0.6)
    assert found[0] == 1 and found[1] < 0.6 and found[2] == 1
    assert review.caught([0.9, 0.2, np.nan, 0.95], [0.9, 0.1, 0.3, 0.95], share=0.25) == (1, 1)
    assert review.review_score([0.9, 0.9], ["", "in 2 pieces; at the edge"]) == pytest.approx([0.9, 0.6])


@given(st.integers(0, 2**32 - 1))
def test_probabilities_that_keep_their_word_lie_on_the_diagonal(seed):
    rng = np.random.default_rng(seed)
    p = rng.random(40_000)
    table = review.reliability(p, rng.random(40_000) < p)
    assert np.abs(table.predicted - table.observed).max() < 0.05 and table.pixels.sum() <= 40_000


LOOKS = {
    "bland_altman": lambda: charts.bland_altman_plot([50, 55, 61, 40, 66], [52, 54, 60, 45, 61], "points", "EF"),
    "strata": lambda: charts.strata_plot(pd.DataFrame({
        "what": ["level", "level", "phase"], "part": ["base", "apex", "ED"], "n": [4, 5, 9], "dice": [0.9, 0.7, 0.8],
        "worst": [0.8, 0.1, 0.1]})),
    "volume_curve": lambda: charts.volume_curve([pd.DataFrame({"time_ms": [0, 300, 600], "volume_ml": [120, 50, 90]})]),
}


@pytest.mark.parametrize("name", LOOKS)
def test_charts_look_as_they_did(name, tmp_path):
    """Within a tolerance; LVLAB_NEW_LOOKS=1 stores how they look now. Look at the files before you commit them."""
    stored = PROJECT / "tests" / "looks" / f"{name}.png"
    LOOKS[name]().savefig(tmp_path / "now.png", dpi=60)
    if os.environ.get("LVLAB_NEW_LOOKS"):
        shutil.copy(tmp_path / "now.png", stored)
    assert compare_images(stored, tmp_path / "now.png", tol=5) is None


@pytest.mark.parametrize(("tag", "value", "placed"), [
    ("PatientBirthDate", "1950", True), ("StudyDate", "20120000", True), ("StudyTime", "256199", True),
    ("SliceThickness", "", True), ("SpecificCharacterSet", r"\ISO 2022 IR 87", True),
    ("StudyTime", "noon", True), ("PatientSex", "MALE", True),
    ("SpecificCharacterSet", "ISO_IR 999", True), ("PixelSpacing", r"1,23\1,23", True), ("TriggerTime", "12,5", True),
    ("InstanceNumber", "IM0", True), ("PixelSpacing", "1.2", False), ("ImagePositionPatient", r"a\b\c", False),
    ("ImageOrientationPatient", r"1\1\0\0\1\0", False), ("SOPInstanceUID", "1.2.3", False)])
def test_tags_against_the_standard_cost_no_more_than_their_file_its_place(phantom_folder, tmp_path, tag, value, placed):
    files = sorted((phantom_folder / "test").glob("*_ED_*.dcm"))[:4]
    for number, file in enumerate(files):
        image = pydicom.dcmread(file)
        if number < 2:
            kind = dictionary_VR(tag)
            image[tag] = RawDataElement(Tag(tag), kind, len(value), value.encode(), 0, False, True)
        image.save_as(tmp_path / file.name)
    files = [tmp_path / file.name for file in files]
    names, nowhere = dicom_seg.write(tmp_path / "out", files, [np.ones((192, 192), bool)] * 4)
    assert nowhere == ([] if placed else files[:2]) and names
    assert sum(pydicom.dcmread(tmp_path / "out" / name).NumberOfFrames for name in names) == 4 - len(nowhere)
