"""Phantom patients: anatomy that beats as hearts do, images that read as DICOM, streams that repeat."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from threadpoolctl import threadpool_limits

from lvlab import phantom
from lvlab.errors import CourseError
from lvlab.phantom.anatomy import GROUPS, Tissue, cavity_volume_ml, chamber, exaggerate, sample_anatomy
from lvlab.phantom.course import FRAME, _test_patients
from lvlab.phantom.drawing import render
from lvlab.phantom.scanner import acquire, sample_scanner
from lvlab.store.folder import load_images

anatomies = st.builds(lambda seed, *kind: sample_anatomy(np.random.default_rng(seed), *kind),
                      st.integers(0, 10_000), st.sampled_from(["realistic", "wild"]), st.sampled_from(GROUPS))


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return phantom.write(tmp_path_factory.mktemp("phantom") / "course", patients=2, seed=3, quiet=True)


def test_a_whole_heartbeat_is_written_on_demand(tmp_path):
    """From base to apex, each frame with its mask; the course folder itself is the same as without."""
    short = phantom.write(tmp_path / "short", patients=1, seed=3, quiet=True)
    whole = phantom.write(tmp_path / "whole", patients=1, seed=3, quiet=True, frames=4)
    for path in sorted(short.rglob("*.dcm")):
        assert path.read_bytes() == (whole / path.relative_to(short)).read_bytes()
    files = sorted((whole / "cine" / "phantom-01").glob("*.dcm"))
    tags = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    assert len(files) == len(list((whole / "cine").rglob("*.png"))) >= 24
    assert len({tag.SOPInstanceUID for tag in tags}) == len(tags) and len({tag.SeriesInstanceUID for tag in tags}) == 1
    assert sorted({float(tag.TriggerTime) for tag in tags}) == [0, 225, 450, 675]
    slices = load_images(files)
    assert set(slices.table.patient) == {"phantom-01"} and slices.table.position_mm.nunique() == len(files) // 4
    assert set(slices.table.group) == {"normal"}


def test_two_scans_of_one_patient_show_the_same_heart_in_other_images():
    first, again = phantom.scanned_twice(0, seed=0)
    assert first.table.patient[0] == again.table.patient[0] and first.fingerprint() != again.fingerprint()
    volume = [(slices.masks.sum(axis=(1, 2, 3)) * slices.table.row_spacing_mm**2 * 10)[slices.table.phase == "ED"].sum()
              for slices in (first, again)]
    assert volume[0] == pytest.approx(volume[1], rel=0.1)


@settings(deadline=None, max_examples=40)
@given(anatomies)
def test_cavity_empties_by_the_ejection_fraction(anatomy):
    full, emptied = (cavity_volume_ml(anatomy, phase) for phase in (0, 1))
    assert 0.05 < anatomy.ejection_fraction < 0.9
    assert 1 - emptied / full == pytest.approx(anatomy.ejection_fraction, abs=0.01)


@settings(deadline=None, max_examples=40)
@given(anatomies)
def test_wall_thickens_as_the_cavity_shrinks(anatomy):
    relaxed, squeezed = chamber(anatomy, 0), chamber(anatomy, 1)
    assert squeezed.wall > relaxed.wall
    assert squeezed.radius < relaxed.radius
    assert squeezed.length < relaxed.length


def test_hypertrophic_walls_are_thicker_and_infarcted_cavities_larger():
    wall, radius = ({group: np.mean([getattr(sample_anatomy(np.random.default_rng(i), group=group), name)
                                     for i in range(30)]) for group in GROUPS}
                    for name in ("wall", "cavity_radius"))
    assert wall["hypertrophic"] > 1.4 * wall["normal"]
    assert radius["infarct"] > 1.2 * radius["normal"]


def test_human_volumes_at_end_diastole():
    normal = [sample_anatomy(np.random.default_rng(i), group="normal") for i in range(30)]
    volumes = [cavity_volume_ml(anatomy, 0) for anatomy in normal]
    assert 60 < min(volumes) and max(volumes) < 220


@settings(deadline=None, max_examples=15)
@given(anatomies, st.floats(-5, 110), st.floats(0, 1))
def test_tissue_shares_fill_every_pixel(anatomy, z_mm, phase):
    tissues, mask = render(anatomy, z_mm, phase, (64, 72), 2.8)
    assert tissues.shape[1:] == mask.shape == (64, 72)
    assert tissues.min() > -1e-4
    np.testing.assert_allclose(tissues.sum(axis=0), 1, atol=1e-3)


def test_a_thicker_slice_has_softer_edges():
    anatomy = sample_anatomy(np.random.default_rng(1), group="normal")
    apex = 0.85 * anatomy.length
    mixed = []
    for thickness_mm in (1, 10):
        tissues, _ = render(anatomy, apex, 0, thickness_mm=thickness_mm)
        muscle = tissues[Tissue.MYOCARDIUM]
        mixed.append(((muscle > 0.1) & (muscle < 0.9)).sum())
    assert mixed[1] > 1.2 * mixed[0]


def test_blood_is_bright_wall_dark_and_lung_darker():
    rng = np.random.default_rng(5)
    anatomy, scanner = sample_anatomy(rng, group="normal"), sample_scanner(rng)
    tissues, _ = render(anatomy, 0.4 * anatomy.length, 0)
    image = acquire(scanner, tissues, rng)
    blood, wall, lung = (image[tissues[i] > 0.95].mean()
                         for i in (Tissue.BLOOD, Tissue.MYOCARDIUM, Tissue.LUNG))
    assert image.dtype == np.uint16 and image.max() <= 4095
    assert blood > 1.8 * wall > 1.8 * lung


def test_folder_pairs_every_image_with_a_mask_and_splits_by_patient(course):
    for part, masks, patient in (("training", "training", "phantom-01"), ("test", "test/GT", "phantom-02")):
        images = sorted(path.stem for path in (course / part).glob("*.dcm"))
        assert len(images) == 10
        assert images == sorted(path.stem for path in (course / masks).glob("*.png"))
        assert {name[:10] for name in images} == {patient}
    assert (course / "training/phantom-01_s03_ED_im0041.dcm").is_file()


def test_every_mask_lies_inside_the_centre_crop(course):
    for path in course.rglob("*.png"):
        mask = np.asarray(Image.open(path)) > 0
        assert mask.any()
        assert mask.sum() == mask[34:158, 34:158].sum()


def test_default_patients_hold_their_hearts_in_the_crop_and_mix_the_groups():
    tested = _test_patients(8)
    assert len(tested) == 2
    assert len({phantom.course_patient(number, 0)[0].group for number in tested}) == 2
    assert _test_patients(1) == set()
    for number in range(24):
        anatomy, scanner, _ = phantom.course_patient(number, 0)
        assert (abs(anatomy.offset) + 1.15 * anatomy.cavity_radius) / scanner.spacing_mm < 62


def test_dicom_reads_back_with_its_geometry(course):
    read = [pydicom.dcmread(path) for path in sorted((course / "training").glob("*.dcm"))]
    assert len({dataset.SeriesInstanceUID for dataset in read}) == 1
    assert len({dataset.SOPInstanceUID for dataset in read}) == len(read)
    assert all(dataset.pixel_array.shape == (FRAME, FRAME) for dataset in read)
    base, apex = read[0], read[-1]
    assert 1.2 <= base.PixelSpacing[0] <= 1.8 and 6 <= base.SliceThickness <= 10
    across, down = np.reshape(base.ImageOrientationPatient, (2, 3)).astype(float)
    travelled = np.subtract(apex.ImagePositionPatient, base.ImagePositionPatient).astype(float)
    assert travelled @ np.cross(across, down) == pytest.approx(4 * base.SpacingBetweenSlices, abs=0.01)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
def test_dicom_validator_finds_no_error(course):
    for path in course.rglob("*.dcm"):
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True)
        assert "Error" not in said.stdout + said.stderr, said.stderr


def test_same_seed_same_folder_other_seed_other_folder(course, tmp_path):
    again = phantom.write(tmp_path / "again", patients=1, seed=3, quiet=True)
    other = phantom.write(tmp_path / "other", patients=1, seed=4, quiet=True)
    name = "training/phantom-01_s02_ES_im0028.dcm"
    assert (again / name).read_bytes() == (course / name).read_bytes()
    assert (other / name).read_bytes() != (course / name).read_bytes()


def test_refuses_a_folder_that_is_not_empty_and_leaves_it_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CourseError, match="not empty"):
        phantom.write(tmp_path, patients=1, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_chunk_of_the_stream_equals_that_part_of_one_long_run():
    whole = phantom.random_slices(6, seed=2)
    part = phantom.random_slices(2, seed=2, start=3)
    np.testing.assert_array_equal(whole.images[3:5], part.images)
    np.testing.assert_array_equal(whole.masks[3:5], part.masks)
    assert list(whole.table.name[3:5]) == list(part.table.name) == ["wild-2-3", "wild-2-4"]
    assert not np.array_equal(phantom.random_slices(1, seed=3).images, whole.images[:1])


def test_the_number_of_threads_changes_no_pixel():
    """Where the linear algebra is not kept on one thread, 2 of these 12 slices differ."""
    drawn = []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            drawn.append(phantom.random_slices(12, seed=0))
    assert drawn[0].fingerprint() == drawn[1].fingerprint()


def test_stream_holds_cavities_of_every_size_and_few_empty_masks():
    drawn = phantom.random_slices(150, seed=0)
    images, masks = drawn.images, drawn.masks
    areas = masks.sum(axis=(1, 2, 3))
    assert images.dtype == masks.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1 and set(np.unique(masks)) == {0, 1}
    assert 0.88 < (areas > 0).mean() < 0.99
    assert (areas[areas > 0] < 40).any() and (areas > 1500).any()
    assert len(drawn.subset(drawn.table.phase == "ES")) > 30 and drawn.table.name.is_unique


@pytest.mark.parametrize("kind", phantom.KINDS)
def test_every_kind_shows_a_heart_but_the_heart_free_one(kind):
    areas = phantom.random_slices(12, seed=4, kind=kind).masks.sum(axis=(1, 2, 3))
    assert (areas == 0).all() if kind == "heart_free" else (areas > 0).mean() > 0.8
    if kind == "tiny_apex":
        assert areas.max() < 60


def test_unknown_kind_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="choose one of usual, huge_rv"):
        phantom.random_slices(1, seed=0, kind="tiny")


def test_huge_right_ventricle_is_larger_than_the_left():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        anatomy = exaggerate(rng, sample_anatomy(rng, "wild", "right overload"), "huge_rv")
        tissues, mask = render(anatomy, 0.4 * anatomy.length, 0, (160, 160), 2.0)
        assert tissues[Tissue.RV_BLOOD].sum() > mask.sum()


def test_obliterated_cavity_holds_more_muscle_than_blood():
    shares = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        anatomy = exaggerate(rng, sample_anatomy(rng, "wild", "hypertrophic"), "obliterated")
        heart = chamber(anatomy, 1)
        tissues, mask = render(anatomy, heart.base + 0.5 * heart.length, 1)
        shares.append(tissues[Tissue.BLOOD][mask].mean())
    assert np.mean(shares) < 0.5


@pytest.mark.parametrize("phase", [0, 1])
def test_mask_holds_papillary_muscles_and_has_the_area_of_the_true_volume(phase):
    for seed in range(6):
        anatomy = sample_anatomy(np.random.default_rng(seed), group="normal")
        depths = np.arange(-5, anatomy.length + 5, 2.5)
        drawn = [render(anatomy, z, phase, thickness_mm=2.5) for z in depths]
        volume = sum(mask.sum() for _, mask in drawn) * 1.4 ** 2 * 2.5 / 1000
        assert volume == pytest.approx(cavity_volume_ml(anatomy, phase), rel=0.06)
    assert any(tissues[Tissue.MYOCARDIUM][mask].sum() > 30 for tissues, mask in drawn)


def test_basal_mask_holds_the_outflow_tract_on_the_side_of_the_aortic_root():
    for seed in range(6):
        drawn = sample_anatomy(np.random.default_rng(seed), group="normal")
        anatomy = replace(drawn, offset=0j, rotation=0.0, tilt=0j)
        basal, _, mid = (render(anatomy, share * anatomy.length, 0).mask for share in (0.02, 0.3, 0.6))
        towards = np.exp(1j * anatomy.outflow.angle)
        rows, cols = np.mgrid[:128, :128] - 63.5
        reach = [((cols + 1j * rows) * towards.conjugate()).real[mask] for mask in (basal, mid)]
        assert reach[0].max() + reach[0].min() > reach[1].max() + reach[1].min() + 2
