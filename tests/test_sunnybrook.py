"""The Sunnybrook release becomes a course folder: real patients where they are at hand, phantoms always."""

import csv
import shutil
import zipfile

import numpy as np
import pydicom
import pytest

import lvlab
from lvlab import metrics
from lvlab.__main__ import main
from lvlab.commands import sunnybrook
from lvlab.errors import CourseError
from lvlab.store import downloads, masks
from tests import samples


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    return samples.release(tmp_path_factory.mktemp("release") / "sunnybrook")


@pytest.fixture
def release(made_up, tmp_path):
    return shutil.copytree(made_up, tmp_path / "release")


@pytest.fixture(scope="session")
def real_import(real_folder, tmp_path_factory):
    release = real_folder.parent / "sunnybrook_release"
    if not release.is_dir():
        pytest.skip(f"no real release at {release}")
    out = tmp_path_factory.mktemp("import") / "course"
    assert main(["import-sunnybrook", str(release), "--out", str(out), "--test-patients", "SC-HF-I-05"]) == 0
    return out


def files(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def contour(release, number=1, case="SC-HF-I-01", kind="i"):
    return next(release.rglob(f"{case}/contours-manual/IRCCI-expert/IM-0001-{number:04d}-{kind}contour-manual.txt"))


@pytest.mark.real
def test_real_release_gives_the_96_pairs_of_the_course_folder_by_the_same_names(real_folder, real_import):
    assert files(real_import) == [name for name in files(real_folder) if not name.endswith(".csv")]
    assert sum(name.endswith(".dcm") for name in files(real_import)) == 96


@pytest.mark.real
def test_real_images_are_copied_byte_for_byte(real_folder, real_import):
    for file in real_import.rglob("*.dcm"):
        assert file.read_bytes() == (real_folder / file.relative_to(real_import)).read_bytes()


@pytest.mark.real
def test_real_masks_agree_with_the_course_folders(real_folder, real_import):
    pairs = [(masks.read_mask(file), masks.read_mask(real_folder / file.relative_to(real_import)))
             for file in real_import.rglob("*.png")]
    agreement = np.array([metrics.dice(ours, theirs) for ours, theirs in pairs])
    assert len(agreement) == 96 and agreement.mean() >= 0.97 and agreement.min() >= 0.85


@pytest.mark.real
def test_real_levels_and_phases_agree_with_the_manifest(real_folder, real_import):
    course = lvlab.load(real_import)
    table = {row.name: row for part in (course.training, course.test) for row in part.table.itertuples(index=False)}
    table = {row[0]: row for row in table.values()}
    with open(real_folder / "manifest.csv") as file:
        for row in csv.DictReader(file):
            stem = row["file"].rpartition("/")[2].removesuffix(".dcm")
            assert table[stem][1:4] == (row["patient"], row["phase"], int(row["slice"]))


def test_masks_come_back_from_their_outlines(release, tmp_path):
    sunnybrook.write(release, tmp_path / "out", quiet=True)
    for mask in (tmp_path / "out").rglob("*.png"):
        radius = samples.DISCS[1 if "ED" in mask.name else 8]
        assert metrics.dice(masks.read_mask(mask), samples.picture(radius=radius)[1]) > 0.98


def test_every_fifth_patient_is_for_the_test():
    patients = [f"P{number}" for number in range(1, 12)]
    assert downloads.default_test(patients) == ["P5", "P10"]
    assert downloads.default_test(patients[:3]) == ["P3"]
    assert downloads.default_test(patients[:1]) == []


@pytest.mark.parametrize("name", ["SCD0000101", "scd0000101", "SC-HF-I-1", "SC-HF-I-01", "sc-hf-i-1"])
def test_test_patients_go_by_any_of_their_names(release, tmp_path, name):
    sunnybrook.write(release, tmp_path / "out", [name], quiet=True)
    assert {file.stem[:10] for file in (tmp_path / "out" / "test").glob("*.dcm")} == {"SCD0000101"}


def test_folder_zip_and_folder_of_zips_give_the_same(release, tmp_path):
    sunnybrook.write(release, tmp_path / "plain", quiet=True)
    shutil.make_archive(tmp_path / "whole", "zip", release.parent, release.name)
    (tmp_path / "zips").mkdir()
    for part in ("SCD_IMAGES_01", "SCD_ManualContours"):
        shutil.make_archive(tmp_path / "zips" / part, "zip", release, part)
    shutil.copy(release / "scd_patientdata.csv", tmp_path / "zips" / "SCD_PatientData.CSV")
    for name in ("whole.zip", "zips"):
        sunnybrook.write(tmp_path / name, tmp_path / f"out-{name}", quiet=True)
        assert files(tmp_path / f"out-{name}") == files(tmp_path / "plain")


def test_upper_case_names_are_read(release, tmp_path):
    for file in [*release.rglob("*.dcm"), *release.rglob("*.txt")]:
        file.rename(file.with_name(file.name.upper()))
    assert sunnybrook.write(release, tmp_path / "out", quiet=True)[0].startswith("20 pairs of 2 patients")


def test_one_images_folder_finds_the_contours_beside_it(release, tmp_path):
    lines = sunnybrook.write(release / "SCD_IMAGES_01", tmp_path / "out", quiet=True)
    assert lines[0].startswith("20 pairs")


def test_a_partial_release_names_what_has_no_partner(release, tmp_path):
    shutil.rmtree(release / "SCD_IMAGES_01" / "SCD0000201")
    next(release.rglob("IM-0003-0001.dcm")).unlink()
    contour(release, 8).unlink()
    lines = sunnybrook.write(release, tmp_path / "out", quiet=True)
    assert lines[0] == "8 pairs of 1 patients; for the test: none"
    assert "Left out: case has contours but no images here (1): SC-HF-I-2" in lines
    assert "Left out: contour without an image (1): SCD0000101 IM-0001" in lines
    assert "Left out: frame without a contour (1): SCD0000101 IM-0008" in lines


@pytest.mark.parametrize("text, message", [
    ("1 2\nx 3\n4 5\n6 7\n", "line 2 is not two numbers"), ("1 2 3 4\n", "line 1 is not two numbers"),
    ("", "fewer than 3 different points"), ("1 2\n3 4\n1 2\n", "fewer than 3 different points"),
    ("1 2\n300 4\n5 6\n", "points outside its 140 × 140 image"), ("1 2\nnan 4\n5 6\n", "line 2 is not two"),
    ("1 2\n1e999 4\n5 6\n", "points outside"), ("10 10\n10.1 10.1\n10.2 10.2\n", "encloses no pixel"),
])
def test_a_damaged_contour_is_left_out_and_named(release, tmp_path, text, message):
    path = contour(release)
    path.write_text(text)
    lines = sunnybrook.write(release, tmp_path / "out", quiet=True)
    assert lines[0].startswith("19 pairs")
    line = next(line for line in lines if line.startswith("Left out: unusable (1)"))
    assert path.name in line and message in line


def test_a_damaged_image_is_left_out_and_named(release, tmp_path):
    path = next(release.rglob("SCD0000101/*/IM-0003-0001.dcm"))
    path.write_bytes(path.read_bytes()[:5000])
    lines = sunnybrook.write(release, tmp_path / "out", quiet=True)
    assert any("unusable (1)" in line and str(path) in line for line in lines)


def test_a_patient_in_lower_case_and_a_senseless_number_of_frames_are_read_all_the_same(release, tmp_path, recwarn):
    patient = release / "SCD_IMAGES_01" / "SCD0000101"
    path = next(patient.rglob("IM-0003-0001.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.add_new("CardiacNumberOfImages", "LO", "abc")
    dataset.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"\x18\x00\x90\x10LO", b"\x18\x00\x90\x10IS"))
    patient.rename(patient.with_name("scd0000101"))
    assert sunnybrook.write(release, tmp_path / "out", quiet=True)[0].startswith("20 pairs of 2 patients")
    assert (tmp_path / "out" / "training" / "SCD0000101_s01_ED_im0001.dcm").exists() and not recwarn


def test_of_two_short_axis_series_the_one_with_the_contours_is_taken(release, tmp_path):
    series = release / "SCD_IMAGES_01" / "SCD0000101" / "CINESAX_300"
    shutil.copytree(series, series.with_name("CINESAX_100"))
    next(series.with_name("CINESAX_100").glob("*0001.dcm")).unlink()
    lines = sunnybrook.write(release, tmp_path / "out", quiet=True)
    assert lines[0].startswith("20 pairs")
    assert "Left out: second short-axis series of a patient (1): SCD0000101/CINESAX_100" in lines


def test_a_lone_contour_gets_the_phase_nearer_in_the_cycle(release, tmp_path):
    contour(release, 1).unlink()
    contour(release, 28).unlink()
    sunnybrook.write(release, tmp_path / "out", quiet=True)
    names = {file.stem[11:] for file in (tmp_path / "out").rglob("*.dcm") if file.stem.startswith("SCD0000101")}
    assert {"s01_ES_im0008", "s02_ED_im0021"} <= names and len(names) == 8


def test_phase_goes_by_the_heart_not_by_one_slice():
    def frame(level, moment, side, has_outer=False):
        return sunnybrook.Frame(0, level, moment, has_outer, b"", np.ones((side, side), bool))

    sides = [(1, 0.95, 40), (1, 0.35, 20), (2, 0.0, 30), (2, 0.4, 15), (3, 0.95, 8), (3, 0.35, 9)]
    assert sunnybrook.phases([frame(*row) for row in sides]) == ["ED", "ES"] * 3
    assert sunnybrook.phases([frame(1, 0.5, 9, True), frame(2, 0.1, 9)]) == ["ED", "ES"]


def test_names_inside_a_zip_never_lead_out_of_the_output(release, tmp_path):
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        for file in files(release):
            for before in ("../../", "/tmp/../", "C:\\\\x\\"):
                archive.write(release / file, f"{before}{file}")
        image = next(release.rglob("*.dcm"))
        archive.write(image, "SCD_IMAGES_01/../CINESAX_1/IM-0001-0001.dcm")
        archive.write(image, "SCD_IMAGES_01/..\\..\\x/CINESAX_1/IM-0001-0001.dcm")
    before = set(tmp_path.rglob("*")) | set(tmp_path.parent.glob("*"))
    sunnybrook.write(evil, tmp_path / "out", quiet=True)
    after = set(tmp_path.rglob("*")) | set(tmp_path.parent.glob("*"))
    assert all(tmp_path / "out" in (path, *path.parents) for path in after - before)
    assert all(file.split("/")[-1].startswith("SCD0000") for file in files(tmp_path / "out"))


def test_a_zip_bomb_is_left_out(release, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "LARGEST_FILE", 200_000)
    path = next(release.rglob("SCD0000101/*/IM-0003-0001.dcm"))
    path.write_bytes(bytes(10_000_000))
    shutil.make_archive(tmp_path / "bomb", "zip", release)
    lines = sunnybrook.write(tmp_path / "bomb.zip", tmp_path / "out", quiet=True)
    assert any("unusable (1)" in line and "larger than" in line for line in lines)


def test_what_fails_on_the_way_leaves_nothing(release, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sunnybrook, "_write_frames", full_disk)
    with pytest.raises(CourseError, match="No space left on device"):
        sunnybrook.write(release, tmp_path / "out", quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"]
