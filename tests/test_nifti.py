"""NIfTI: orientation, ACDC's and M&Ms' layouts, and masks back into the same volume."""

import gzip
import itertools
import shutil
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest

from lvlab.__main__ import main
from lvlab.commands import nifti as importer
from lvlab.errors import CourseError
from lvlab.store import nifti
from lvlab.store.folder import load
from lvlab.store.masks import read_mask

AFFINES = [np.diag([*signs, 1.0]) @ np.eye(4)[[*order, 3]]
           for signs in itertools.product((-1.5, 1.5), repeat=2) for signs in [(*signs, 8.0), (*signs, -8.0)]
           for order in ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 1, 0))]


def volume(affine, shape=(48, 56, 3), frames=0):
    """A NIfTI image whose pixels tell where they lie: x + 100 y + 10000 z, in voxels."""
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    values = (x + 100 * y + 10_000 * z).astype(np.int32)
    values = np.stack([values + 50 * number for number in range(frames)], -1) if frames else values
    return nibabel.Nifti1Image(values, affine)


def oblique(angle):
    """A short-axis affine: 1.4 mm, 8 mm from slice to slice, turned about two axes."""
    across, down = np.array([0.6, 0.64, -0.48]), np.array([0.0, -0.6, -0.8])
    turned = np.stack([np.cos(angle) * across - np.sin(angle) * down, np.sin(angle) * across + np.cos(angle) * down])
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([1.4 * turned[0], 1.4 * turned[1], 8 * np.cross(across, down)])
    affine[:3, 3] = 12, -34, 56
    return np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.parametrize("affine", [*AFFINES, *map(oblique, (0, 0.7, 1.6, 3.1, 4.7))])
def test_every_pixel_keeps_its_place_in_the_patient_and_left_is_on_the_right(tmp_path, affine):
    path = tmp_path / "a.nii.gz"
    nibabel.save(volume(affine), path)
    read = nifti.read(path)
    assert read.across @ read.down == pytest.approx(0, abs=1e-6)
    assert read.across[0] - read.down[2] + 0.5 * read.down[1] > 0
    for level, row, col in ((0, 0, 0), (2, 5, 40), (1, 30, 7)):
        z, rest = divmod(int(read.pixels[level, 0, row, col]), 10_000)
        y, x = divmod(rest, 100)
        here = read.corner_mm(level) + row * read.spacing_mm[0] * read.down + col * read.spacing_mm[1] * read.across
        assert here == pytest.approx(np.diag([-1, -1, 1]) @ (affine @ [x, y, z, 1])[:3], abs=1e-3)


@pytest.mark.parametrize("affine", [AFFINES[5], oblique(2.2)], ids=["axes", "oblique"])
@pytest.mark.parametrize("frames", [0, 4])
def test_masks_go_back_into_the_same_voxels(tmp_path, affine, frames):
    image = volume(affine, frames=frames)
    nibabel.save(image, tmp_path / "a.nii.gz")
    read = nifti.read(tmp_path / "a.nii.gz")
    nifti.write_mask(tmp_path / "b.nii.gz", read.pixels % 7 == 3, read)
    written = nibabel.load(tmp_path / "b.nii.gz")
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(written.affine, nibabel.load(tmp_path / "a.nii.gz").affine)
    assert np.array_equal(np.asarray(written.dataobj), np.asarray(image.dataobj) % 7 == 3)


def heart(radius, size=96, levels=4, cavity=3, apex_first=False):
    """Pixels and labels of a cone of blood in a ring of muscle, the other ventricle beside it."""
    y, x = np.mgrid[:size, :size] - size / 2
    radii = radius * np.linspace(1, 0.5, levels)[::-1 if apex_first else 1]
    labels = np.zeros((size, size, levels), np.uint8)
    for level, inner in enumerate(radii):
        labels[np.hypot(x + 24, y) < 14, level] = 4 - cavity
        labels[np.hypot(x, y) < inner + 6, level] = importer.WALL
        labels[np.hypot(x, y) < inner, level] = cavity
    return np.where(labels == importer.WALL, 60, np.where(labels > 0, 200, 20)).astype(np.float32), labels


SLANTED = oblique(0.3)


def save(path, values, affine=SLANTED, frame_s=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    if frame_s:
        image.header["pixdim"][4] = frame_s
    nibabel.save(image, path)


def acdc(folder, patients=5):
    for number in range(1, patients + 1):
        own = folder / f"patient{number:03d}"
        for frame, radius in ((1, 14), (9, 9)):
            pixels, labels = heart(radius, apex_first=number == 2)
            save(own / f"{own.name}_frame{frame:02d}.nii.gz", pixels)
            save(own / f"{own.name}_frame{frame:02d}_gt.nii.gz", labels)
        (own / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: HCM\nHeight: 180.0\nNbFrame: 30\nWeight: 80.0\n")
    return folder


def test_acdc_becomes_a_course_folder_with_phases_levels_groups_and_spacing(tmp_path):
    lines = importer.write(acdc(tmp_path / "ACDC/training"), tmp_path / "course", quiet=True)
    assert "40 pairs of 5 patients, the cavity is label 3; for the test: patient005" in lines[0]
    everyone = load(tmp_path / "course").everyone()
    table = everyone.table
    assert set(table.patient) == {f"patient{n:03d}" for n in range(1, 6)} and set(table.group) == {"hypertrophic"}
    assert table.row_spacing_mm.to_numpy() == pytest.approx(1.4, abs=1e-5)
    areas = everyone.masks.sum((1, 2, 3))
    for patient in set(table.patient):
        of = {(row.phase, row.level): areas[i] for i, row in enumerate(table.itertuples()) if row.patient == patient}
        assert of["ED", 1] > of["ES", 1] and of["ED", 1] > of["ED", 4] > 0  # also where the base came last
        along = table[(table.patient == patient) & (table.phase == "ED")].sort_values("level").position_mm
        assert np.abs(np.diff(along)) == pytest.approx(8, abs=1e-3)
    assert main(["check", str(tmp_path / "course"), "--quiet"]) == 0


def test_mms_in_a_zip_takes_its_frames_from_the_table(tmp_path, capsys):
    for code, (ed, es) in {"A0S9V9": (0, 3), "B1C2D3": (5, 2)}.items():
        frames = {ed: heart(14, cavity=1), es: heart(8, cavity=1)}
        empty = (np.full((96, 96, 4), 20, np.float32), np.zeros((96, 96, 4), np.uint8))
        for what, part in (("_sa", 0), ("_sa_gt", 1)):
            save(tmp_path / f"raw/Labeled/{code}/{code}{what}.nii.gz",
                 np.stack([frames.get(number, empty)[part] for number in range(6)], -1), frame_s=0.03)
    (tmp_path / "raw/info.csv").write_text(
        "External code,VendorName,Vendor,Centre,ED,ES,Pathology\nA0S9V9,S,A,1,0,3,DCM\nB1C2D3,S,A,1,5,2,HHD\n")
    with zipfile.ZipFile(tmp_path / "mms.zip", "w") as archive:
        for path in sorted((tmp_path / "raw").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "raw"))
    assert main(["import-nifti", str(tmp_path / "mms.zip"), "--out", str(tmp_path / "course"), "--test-patients",
                 "B1C2D3"]) == 0
    assert "16 pairs of 2 patients, the cavity is label 1; for the test: B1C2D3" in capsys.readouterr().out
    test = load(tmp_path / "course").test
    areas = dict(zip(test.table.phase + test.table.level.astype(str), test.masks.sum((1, 2, 3)), strict=True))
    assert areas["ED1"] > areas["ES1"]
    assert set(test.table.time_ms.round()) == {150, 60} and set(test.table.group) == {""}


def test_what_cannot_be_imported_is_told(tmp_path):
    source = acdc(tmp_path / "ACDC", patients=2)
    with pytest.raises(CourseError, match="no pair NAME.nii.gz"):
        importer.write(_only_images(tmp_path), tmp_path / "out")
    broken = source / "patient001/patient001_frame01.nii.gz"
    broken.write_bytes(broken.read_bytes()[:500])
    (source / "patient002/patient002_frame09.nii.gz").unlink()
    lines = "\n".join(importer.write(source, tmp_path / "course", quiet=True))
    assert "unusable (1)" in lines and "patient001_frame01.nii.gz" in lines and "mask without an image (1)" in lines
    with pytest.raises(CourseError, match="no mask has a pixel of the label 9"):
        importer.write(source, tmp_path / "again", cavity=9)


def _only_images(tmp_path):
    save(tmp_path / "images/a.nii.gz", heart(9)[0])
    return tmp_path / "images"


def test_segment_takes_nifti_and_writes_it_back(tmp_path):
    pixels, labels = heart(14)
    save(tmp_path / "in/a_sa.nii.gz", np.stack([pixels, pixels], -1), frame_s=0.05)
    save(tmp_path / "in/a_sa_gt.nii.gz", np.stack([labels, labels], -1))
    assert main(["segment", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".segment", "a_sa.nii.gz", "review.csv", "segment.json"]
    found, image = (nibabel.load(tmp_path / name) for name in ("out/a_sa.nii.gz", "in/a_sa.nii.gz"))
    assert found.shape == image.shape and np.array_equal(found.affine, image.affine)
    inside = np.asarray(found.dataobj)[..., 0][..., 1] > 0
    truth = labels[..., 1] == 3
    assert 2 * (inside & truth).sum() / (inside.sum() + truth.sum()) > 0.85
    assert len((tmp_path / "out/review.csv").read_text().splitlines()) == 9
    assert main(["segment", str(tmp_path / "in/a_sa.nii.gz"), "--out", str(tmp_path / "seg"), "--dicom-seg"]) == 2


def test_imported_dicom_is_the_nifti_pixel_for_pixel(tmp_path):
    importer.write(acdc(tmp_path / "ACDC", patients=2), tmp_path / "course", quiet=True)
    image = pydicom.dcmread(tmp_path / "course/training/patient001_s01_ED_im0001.dcm")
    read = nifti.read(tmp_path / "ACDC/patient001/patient001_frame01.nii.gz")
    assert np.array_equal(image.pixel_array, read.pixels[0, 0])
    assert [float(v) for v in image.ImagePositionPatient] == pytest.approx(read.corner_mm(0), abs=1e-3)
    assert image.StudyDate == "" and "RepetitionTime" not in image
    mask = read_mask(tmp_path / "course/training/patient001_s01_ED_im0001.png")
    assert np.array_equal(mask > 0, nifti.read(read.path.with_name("patient001_frame01_gt.nii.gz")).pixels[0, 0] == 3)


def mms2(folder):
    """Three patients of M&Ms-2: short and long axis, at both phases."""
    for code, phase in itertools.product(("001", "002", "003"), ("ED", "ES")):
        for view, levels in (("SA", 4), ("LA", 1)):
            pixels, labels = heart(14 if phase == "ED" else 9, levels=levels, cavity=1)
            for what, values in (("", pixels), ("_gt", labels)):
                save(folder / code / f"{code}_{view}_{phase}{what}.nii.gz", values)
    return folder


def test_long_axis_views_are_no_further_patients(tmp_path):
    lines = importer.write(mms2(tmp_path / "mms2"), tmp_path / "course", quiet=True)
    assert "24 pairs of 3 patients" in lines[0] and "long-axis view (6)" in lines[1]
    named_so = importer.LONG_AXIS.search
    assert named_so("007_4ch_frame01") and not named_so("St_LA_007_SA_ED") and not named_so("LA_007_frame01")


def test_a_zip_beside_its_folder_counts_once_and_two_hearts_of_one_name_are_refused(tmp_path):
    folder = acdc(tmp_path / "data/training", patients=2)
    shutil.make_archive(tmp_path / "data/training", "zip", folder)
    lines = importer.write(tmp_path / "data", tmp_path / "once", quiet=True)
    assert "16 pairs of 2 patients" in lines[0] and "there twice, taken once (4)" in lines[1]
    pixels, labels = heart(12)
    save(tmp_path / "data/testing/patient001/patient001_frame01.nii.gz", pixels)
    save(tmp_path / "data/testing/patient001/patient001_frame01_gt.nii.gz", labels)
    with pytest.raises(CourseError, match="two hearts of one name"):
        importer.write(tmp_path / "data", tmp_path / "course", quiet=True)


def test_stacks_of_another_length_keep_their_levels(tmp_path):
    folder = acdc(tmp_path / "acdc", patients=1)
    pixels, labels = (values[..., 1:] for values in heart(9))
    lower = SLANTED.copy()
    lower[:3, 3] += SLANTED[:3, 2]
    for what, values in (("", pixels), ("_gt", labels)):
        save(folder / f"patient001/patient001_frame09{what}.nii.gz", values, lower)
    importer.write(folder, tmp_path / "course", quiet=True)
    table = load(tmp_path / "course").everyone().table
    places = table.groupby("level").position_mm
    assert sorted(table.level[table.phase == "ES"]) == [2, 3, 4] and (places.max() - places.min() < 0.1).all()


@pytest.mark.parametrize("change", [np.diag([1, 1, 0.5, 1]), np.diag([1, 1, 0.9, 1]), oblique(0.4),
                                    np.eye(4) + np.array([[0, 0, 0, 0]] * 2 + [[0, 0, 0, 0.5 * 8]] + [[0] * 4])])
def test_frames_that_do_not_share_their_planes_lose_none(tmp_path, change):
    folder = acdc(tmp_path / "acdc", patients=1)
    affine = np.diag([1.4, 1.4, 8, 1])
    for path in folder.rglob("*.nii.gz"):
        save(path, np.asarray(nibabel.load(path).dataobj), change @ affine if "frame09" in path.name else affine)
    assert "8 pairs of 1 patients" in importer.write(folder, tmp_path / "course", quiet=True)[0]
    assert len([*(tmp_path / "course").rglob("*.dcm")]) == 8


def test_a_volume_beside_its_packed_self_counts_once(tmp_path):
    folder = acdc(tmp_path / "acdc", patients=1)
    for path in [*folder.rglob("*.nii.gz")]:
        (tmp_path / "acdc/again" / path.name[:-3]).parent.mkdir(exist_ok=True)
        (tmp_path / "acdc/again" / path.name[:-3]).write_bytes(gzip.decompress(path.read_bytes()))
    lines = importer.write(folder, tmp_path / "course", quiet=True)
    assert "8 pairs of 1 patients" in lines[0] and "there twice, taken once (2)" in lines[1]


def test_labels_are_whole_numbers_however_they_are_stored(tmp_path):
    folder = acdc(tmp_path / "acdc", patients=1)
    for number, path in enumerate(sorted(folder.rglob("*_gt.nii.gz"))):
        labels = np.asarray(nibabel.load(path).dataobj, np.float32)
        save(path, labels * 0.999999 if number else (labels + np.roll(labels, 1, 0)) / 2)
    lines = importer.write(folder, tmp_path / "course", quiet=True)
    assert "4 pairs of 1 patients" in lines[0] and "its labels are no whole numbers" in lines[1]
    with pytest.raises(CourseError, match="the label 0 is what lies outside"):
        importer.write(folder, tmp_path / "none", cavity=0, quiet=True)
