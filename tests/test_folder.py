"""The course folder: every kind of mask and DICOM gives the right numbers, whatever the files are called."""

import shutil
import unicodedata

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

import lvlab
from lvlab.commands.check import audit
from lvlab.commands.segment import gather
from lvlab.errors import CourseError
from lvlab.store import folder, masks
from tests import samples

PIXELS, DISC = samples.picture()
ONES = DISC.astype(np.uint8)


def palette(colours):
    image = Image.fromarray(ONES).convert("P")
    image.putpalette(colours)
    return image


def with_alpha(colour, alpha):
    image = Image.fromarray(colour).convert("RGBA")
    image.putalpha(Image.fromarray(alpha))
    return image


RED = np.stack([255 * ONES, 0 * ONES, 0 * ONES], -1)
MASKS = {
    "0 and 1": Image.fromarray(ONES),
    "0 and 255": Image.fromarray(255 * ONES),
    "one bit": Image.fromarray(DISC),
    "16 bit, under 256": Image.fromarray(ONES.astype(np.uint16)),
    "16 bit": Image.fromarray(ONES.astype(np.uint16) * 65535),
    "colour": Image.fromarray(RED),
    "colour with alpha": with_alpha(RED, np.full_like(ONES, 255)),
    "colour, half transparent outside": with_alpha(RED, 128 + 127 * ONES),
    "alpha only": with_alpha(0 * ONES, 255 * ONES),
    "white, alpha only": with_alpha(255 + 0 * ONES, 255 * ONES),
    "grey with alpha": Image.merge("LA", [Image.fromarray(255 * ONES), Image.fromarray(255 + 0 * ONES)]),
    "palette": palette([0, 0, 0, 0, 255, 0]),
    "palette, nothing black": palette([40, 40, 40, 0, 255, 0]),
}


@pytest.mark.parametrize("kind", MASKS)
def test_reads_masks_of_any_png_kind(tmp_path, kind):
    MASKS[kind].save(tmp_path / "mask.png")
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "mask.png"), DISC)


def test_reads_a_palette_mask_by_colour_not_by_index(tmp_path):
    palette([255, 0, 0, 0, 0, 0]).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(masks.read_mask(tmp_path / "mask.png"), ~DISC)


def test_anything_above_zero_is_inside(tmp_path):
    soft = np.array([[0, 1, 127, 255]], np.uint8)
    Image.fromarray(soft).save(tmp_path / "mask.png")
    assert masks.read_mask(tmp_path / "mask.png").tolist() == [[False, True, True, True]]


def compressed(syntax, **kwargs):
    def write(path):
        ds = samples.dataset(PIXELS)
        ds.compress(syntax, **kwargs)
        ds.save_as(path, enforce_file_format=True)
    return write


def stored(pixels=PIXELS, **tags):
    return lambda path: samples.write_dicom(path, pixels, **tags)


def other_encoding(syntax, implicit=False, little=True):
    def write(path):
        ds = samples.dataset(PIXELS if little else PIXELS.byteswap(), syntax=syntax)
        pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return write


SIGNED = PIXELS.astype(np.int16) - 400
DICOMS = {
    "16 bit": (stored(), PIXELS),
    "8 bit": (stored((PIXELS // 4).astype(np.uint8)), PIXELS // 4),
    "signed": (stored(SIGNED), SIGNED),
    "signed, 12 of 16 bits": (stored(SIGNED.view(np.uint16) & 0x0FFF, PixelRepresentation=1, BitsStored=12, HighBit=11),
                              SIGNED),
    "12 of 16 bits, rubbish above": (stored(PIXELS | 0xF000, BitsStored=12, HighBit=11), PIXELS),
    "rescaled": (stored(RescaleSlope="2.5", RescaleIntercept="-100"), PIXELS * 2.5 - 100),
    "inverted": (stored(PIXELS.max() + PIXELS.min() - PIXELS, PhotometricInterpretation="MONOCHROME1"), PIXELS),
    "RLE": (compressed(RLELossless), PIXELS),
    "JPEG 2000": (compressed(JPEG2000Lossless), PIXELS),
    "deflated": (other_encoding(DeflatedExplicitVRLittleEndian), PIXELS),
    "implicit": (other_encoding(ImplicitVRLittleEndian, implicit=True), PIXELS),
    "big endian": (other_encoding(ExplicitVRBigEndian, little=False), PIXELS),
    "one frame, said so": (stored(NumberOfFrames="1"), PIXELS),
    "colour": (stored(np.stack([PIXELS // 4] * 3, -1).astype(np.uint8)), PIXELS // 4),
}


@pytest.mark.parametrize("kind", DICOMS)
def test_reads_dicom_of_any_kind(tmp_path, kind):
    if kind == "JPEG 2000":
        pytest.importorskip("openjpeg", reason="needs the extra codecs")
    write, expected = DICOMS[kind]
    write(tmp_path / "image.dcm")
    image = folder.read_dicom(tmp_path / "image.dcm")
    assert image.pixels.dtype == np.float32
    np.testing.assert_allclose(image.pixels, expected, rtol=1e-6)


def test_knows_millimetres_of_rows_and_columns_apart(tmp_path):
    image = folder.read_dicom(samples.write_dicom(tmp_path / "a.dcm", PixelSpacing=[1.5, 0.75], SliceThickness="6"))
    assert (image.row_spacing_mm, image.col_spacing_mm, image.slice_thickness_mm) == (1.5, 0.75, 6)


@pytest.mark.parametrize("tags", [{"PixelSpacing": None, "SliceThickness": None}, {"PixelSpacing": [0, 0]},
                                  {"PixelSpacing": 1.25}, {"PixelSpacing": [-1, 1]}])
def test_senseless_or_missing_spacing_is_nan(tmp_path, tags):
    image = folder.read_dicom(samples.write_dicom(tmp_path / "a.dcm", **tags))
    assert np.isnan(image.row_spacing_mm)


def test_secondary_capture_without_geometry_works_and_says_so_once(tmp_path, caplog):
    for part, drawn in (("training", "training"), ("test", "test/GT")):
        for number in range(3):
            pixels = (samples.picture(number)[0] // 4).astype(np.uint8)
            samples.write_dicom(tmp_path / part / f"{part}{number}.dcm", pixels,
                                SOPClassUID=SecondaryCaptureImageStorage, PixelSpacing=None, SliceThickness=None,
                                PatientID=None, PatientName=None)
            samples.write_mask(tmp_path / drawn / f"{part}{number}.png")
    course = lvlab.load(tmp_path)
    assert len(course.training) == 3
    assert course.training.table[["row_spacing_mm", "slice_thickness_mm"]].isna().all(None)
    assert set(course.training.table.patient) == {""}
    assert caplog.text.count("3 of 3 slices have no pixel spacing") == 2


@pytest.mark.parametrize("shape", [(90, 100), (128, 128), (140, 200), (60, 300), (129, 131)])
def test_small_and_oblong_frames_are_cropped_or_padded_and_put_back(tmp_path, shape):
    pixels, mask = samples.picture(shape=shape)
    samples.write_dicom(tmp_path / "training/a.dcm", pixels)
    samples.write_mask(tmp_path / "training/a.png", mask)
    training = lvlab.load(tmp_path).training
    assert training.images.shape == training.masks.shape == (1, 128, 128, 1)
    assert 0 <= training.images.min() and training.images.max() <= 1
    top, left, *frame = training.table.crop[0]
    np.testing.assert_array_equal(masks.uncrop(training.masks[0, ..., 0] > 0, (top, left), frame), mask)


@pytest.mark.parametrize("image, mask", [
    ("a b (1).dcm", "a b (1).png"), ("Künstler ♥.dcm", "Künstler ♥.png"), ("A.DCM", "A.PNG"), ("x.ima", "x.png"),
    ("x.y.z.dicom", "x.y.z.png"), (unicodedata.normalize("NFD", "é.dcm"), unicodedata.normalize("NFC", "é.png")),
])
def test_pairs_by_name_whatever_the_name(tmp_path, image, mask):
    samples.write_dicom(tmp_path / "training" / image)
    Image.fromarray(255 * ONES).save((tmp_path / "training" / mask), format="PNG")
    assert len(lvlab.load(tmp_path).training) == 1


def test_pairs_by_name_not_by_position(tmp_path):
    course = samples.course(tmp_path / "course", pairs=3)
    (course / "training" / "A_s02_ED_im0002.png").rename(course / "training" / "A_s09_ED_im0009.png")
    with pytest.raises(CourseError, match="A_s02_ED_im0002.dcm: has no mask"):
        lvlab.load(course)


def test_follows_links_and_leaves_hidden_files_alone(tmp_path):
    course = samples.course(tmp_path / "course")
    (tmp_path / "linked").mkdir()
    for part in ("training", "test"):
        (tmp_path / "linked" / part).symlink_to(course / part)
    (course / "training" / "._A_s01_ED_im0001.dcm").write_bytes(b"of macOS")
    (course / "training" / ".DS_Store").write_bytes(b"x")
    assert len(lvlab.load(tmp_path / "linked").training) == 2


def test_a_patient_is_told_by_tags_without_showing_them(tmp_path):
    for number, patient in enumerate(["Doe-1965", "Roe-1970", "Doe-1965"]):
        samples.write_dicom(tmp_path / f"training/{number}.dcm", PatientID=patient, PatientName=patient,
                            ImagePositionPatient=[0, 0, 10.0 * number], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        samples.write_mask(tmp_path / f"training/{number}.png")
    table = lvlab.load(tmp_path).training.table
    assert list(table.patient) == ["patient-01", "patient-02", "patient-01"]
    assert list(table.level) == [2, 1, 1]  # the base is nearer to the head
    assert "Doe" not in table.to_string()


def test_segment_gathers_nested_folders_and_files_without_ending(tmp_path):
    export = tmp_path / "export"
    for name in ("S1/IM1", "S1/1.2.840.3", "S2/deep/a.dcm", "S2/B.DCM", "DICOMDIR"):
        samples.write_dicom(export / name)
    (export / "S1" / "notes.txt").write_text("no image")
    (export / "loop").symlink_to(export)
    targets = sorted(str(target) for _, target in gather([export]))
    assert targets == ["S1/1.2.840.3.png", "S1/IM1.png", "S2/B.png", "S2/deep/a.png"]


@pytest.mark.real
def test_reads_the_96_real_slices(real_folder):
    course = lvlab.load(real_folder)
    assert (len(course.training), len(course.test)) == (78, 18)
    assert course.training.patients() == ["SCD0000101", "SCD0000201", "SCD0000301", "SCD0000501"]
    assert course.training.masks.any(axis=(1, 2, 3)).all()


def test_check_tells_masks_that_lie_beside_their_images(phantom_folder, tmp_path):
    course = shutil.copytree(phantom_folder, tmp_path / "course")
    for path in (*course.glob("training/*.png"), *course.glob("test/GT/*.png")):
        masks.write_mask(path, np.roll(masks.read_mask(path), (1, -2), (0, 1)))
    (finding,) = audit(course).findings
    assert finding.level == "warning" and finding.files == (
        "test, pixels: 1 down, 2 left", "training, pixels: 1 down, 2 left")
    assert audit(phantom_folder).findings == []
