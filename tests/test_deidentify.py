"""De-identified copies say nothing of whose they are, and are the same pictures."""

import re

import numpy as np
import pydicom
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import lvlab
from lvlab.__main__ import main
from lvlab.commands.check import audit
from tests.samples import dataset, picture, write_dicom, write_mask

NAME, NUMBER, BIRTHDAY, DAY, STUDY, OTHER = "Zuckmayer", "4711223", "19610412", "20240229", "1.2.3.4711", "1.2.3.99"
PLANTED = (NAME, "ZUCKMAYER", NUMBER, BIRTHDAY, DAY, "Bärenstein", "Quixhausen", "1.2.3.", "104733", "077Y")
TEXTS = {  # an element of each kind of text, listed in PS3.15 or not
    "PatientName": f"{NAME}^Anna", "OtherPatientIDs": NUMBER, "PatientAge": "077Y", "StationAETitle": "ZUCKMAYER",
    "StudyDescription": f"of {NAME}", "AccessionNumber": NUMBER, "ImageComments": f"{NAME} moved", "PatientID": NUMBER,
    "DerivationDescription": NAME, "UnformattedTextValue": NAME, "LongCodeValue": NAME, "RetrieveURL": f"http://{NAME}",
    "InstitutionName": "Bärenstein", "PatientBirthDate": BIRTHDAY, "AcquisitionDateTime": f"{DAY}104733",
    "AcquisitionTime": "104733", "SequenceName": NAME, "ContrastBolusAgent": NAME, "Manufacturer": "Quixhausen",
    "BodyPartExamined": "ZUCKMAYER", "ImageType": ["ORIGINAL", "PRIMARY", "ZUCKMAYER"], "SeriesNumber": NUMBER,
    "SpecificCharacterSet": "ISO_IR 192", "StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1"}
GEOMETRY = {"ImagePositionPatient": [1.5, -2, 30], "ImageOrientationPatient": [1, 0, 0, 0, 0.8, 0.6],
            "TriggerTime": 333, "StudyDate": DAY, "SOPInstanceUID": OTHER}


def planted(path, pixels=None, **tags):
    """Write an image that names its patient wherever DICOM allows it."""
    image = dataset(picture()[0] if pixels is None else pixels, **{**TEXTS, **GEOMETRY, **tags})
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.SourceApplicationEntityTitle = NAME
    image.preamble = NAME.encode().ljust(128, b"\0")
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.SOPClassUID, OTHER
    reference.PatientName, reference.StudyDate = f"{NAME}^Anna", DAY
    deep = Dataset()
    deep.PersonName, deep.ReferencedImageSequence = NAME, Sequence([reference])
    image.ReferencedImageSequence, image.PurposeOfReferenceCodeSequence = Sequence([reference]), Sequence([deep])
    image.private_block(0x0029, f"{NAME} MEDICAL", create=True).add_new(1, "LO", NAME)
    image.add_new(0x60000010, "US", 1)
    image.add_new(0x60004000, "LT", NAME)
    image.add_new(0x00189999, "LO", NAME)  # of no dictionary
    image.add_new(0xFFFCFFFC, "OB", NUMBER.encode().ljust(8, b"\0"))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A hospital's export of two patients, in folders named after them, and its de-identified copy."""
    place = tmp_path_factory.mktemp("clinic")
    for number in range(2):
        later = f"202403{14 + number}"
        planted(place / "export" / f"{NAME}_Anna" / f"{NUMBER}_{number}.dcm", picture(number)[0],
                StudyDate=later if number else DAY, SOPInstanceUID=f"{OTHER}{number}" if number else OTHER)
    planted(place / "export" / "Meier" / f"{DAY}.dcm", PatientID="815000", StudyInstanceUID=f"{STUDY}.7",
            PatientName="Meier^Karl")
    assert main(["deidentify", str(place / "export"), "--out", str(place / "out"), "--quiet"]) == 0
    return place / "export", place / "out"


def test_nothing_that_was_planted_is_in_any_file_or_name(release):
    export, out = release
    words = [word.encode() for word in PLANTED]
    before = b"".join(path.read_bytes() for path in export.rglob("*.dcm"))
    assert all(word in before for word in words)  # or the test would see nothing
    for path in out.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [word for word in words if word.lower() in (content + str(path.relative_to(out)).encode()).lower()]


def test_files_and_folders_are_named_by_pseudonyms(release):
    names = [path.relative_to(release[1]).as_posix() for path in sorted(release[1].rglob("*.dcm"))]
    assert names == ["patient-01/patient-01_0001.dcm", "patient-02/patient-02_0001.dcm",
                     "patient-02/patient-02_0002.dcm"]


def images(folder, patient="patient-02"):
    return [pydicom.dcmread(path) for path in sorted(folder.rglob(f"{patient}*.dcm"))]


def test_pixels_and_geometry_are_as_they_were(release):
    export, out = release
    for before, after in zip([pydicom.dcmread(path) for path in sorted((export / f"{NAME}_Anna").iterdir())],
                             images(out), strict=True):
        assert after.PixelData == before.PixelData
        for tag in ("PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient", "TriggerTime",
                    "Rows", "Columns", "SOPClassUID", "Modality"):
            assert after.get(tag) == before.get(tag), tag


def test_uids_agree_over_all_files_and_inside_sequences(release):
    first, second = images(release[1])
    stranger, = images(release[1], "patient-01")
    assert first.StudyInstanceUID == second.StudyInstanceUID != stranger.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert second.ReferencedImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.file_meta.MediaStorageSOPInstanceUID == second.SOPInstanceUID


def test_dates_move_together_and_the_copy_says_what_was_done(release):
    first, second = images(release[1])
    days = [np.datetime64(f"{image.StudyDate[:4]}-{image.StudyDate[4:6]}-{image.StudyDate[6:]}")
            for image in (first, second)]
    assert days[1] - days[0] == np.timedelta64(15, "D")  # 2024-02-29 to 2024-03-15
    assert first.PatientName == first.PatientID == "patient-02" and first.PatientBirthDate == ""
    assert (first.PatientIdentityRemoved, first.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert first.DeidentificationMethod


def test_two_runs_give_other_uids_and_dates(release, tmp_path):
    main(["deidentify", str(release[0]), "--out", str(tmp_path / "again"), "--quiet"])
    again, once = images(tmp_path / "again")[0], images(release[1])[0]
    assert again.StudyInstanceUID != once.StudyInstanceUID and again.PixelData == once.PixelData


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder whose names are a patient's, and its de-identified copy."""
    place = tmp_path_factory.mktemp("course")
    for part, masks, name in (("training", "training", NAME), ("test", "test/GT", "Meier")):
        for phase, level in (("ED", 1), ("ED", 2), ("ES", 1), ("ES", 2)):
            stem = f"{name}_s{level:02d}_{phase}_im{level:04d}"
            pixels, mask = picture(level)
            planted(place / "own" / part / f"{stem}.dcm", pixels, PatientID=name,
                    StudyInstanceUID=f"{STUDY}.{len(part)}", SOPInstanceUID=f"{OTHER}.{len(stem)}{level}",
                    ImagePositionPatient=[0, 0, -8 * level])
            write_mask(place / "own" / masks / f"{stem}.png", mask)
    text = PngInfo()
    text.add_text("Author", NAME)
    last = place / "own" / "test" / "GT" / f"{stem}.png"
    Image.open(last).save(last, pnginfo=text)
    assert main(["deidentify", str(place / "own"), "--out", str(place / "out")]) == 0
    return place / "own", place / "out"


def test_a_course_folder_stays_one_with_phases_levels_and_masks(course):
    own, out = course
    before, after = lvlab.load(own), lvlab.load(out)
    for part in ("training", "test"):
        old, new = getattr(before, part), getattr(after, part)
        np.testing.assert_array_equal(new.images, old.images)
        np.testing.assert_array_equal(new.masks, old.masks)
        assert new.table[["phase", "level"]].equals(old.table[["phase", "level"]])
        assert set(new.table.patient) <= {"patient-01", "patient-02"}
    assert not [path for path in out.rglob("*") if re.search(f"{NAME}|meier", str(path.relative_to(out)), re.I)
                or (path.is_file() and NAME.encode() in path.read_bytes())]


def test_check_finds_no_personal_tag_in_the_copy(course):
    assert "may identify a person" in str(audit(course[0]))
    report = audit(course[1])
    assert not report.errors and "may identify a person" not in str(report)


def test_a_release_of_phantoms_loses_no_slice(phantom_folder, tmp_path):
    assert main(["deidentify", str(phantom_folder), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    old, new = lvlab.load(phantom_folder), lvlab.load(tmp_path / "out")
    np.testing.assert_array_equal(new.training.images, old.training.images)
    assert len(new.test) == len(old.test)


def test_the_source_is_never_written_into(tmp_path, capsys):
    planted(tmp_path / "scan" / "a.dcm")
    assert main(["deidentify", str(tmp_path / "scan"), "--out", str(tmp_path / "scan" / "out")]) == 2
    assert "elsewhere" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "scan").iterdir()] == ["a.dcm"]


def test_a_damaged_file_leaves_nothing_half_written(tmp_path, capsys):
    planted(tmp_path / "scan" / "a.dcm")
    (tmp_path / "scan" / "b.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0" * 99)
    assert main(["deidentify", str(tmp_path / "scan"), "--out", str(tmp_path / "out")]) == 2
    assert "b.dcm" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan"]


def test_what_is_no_picture_is_left_out_and_named(tmp_path, capsys):
    planted(tmp_path / "scan" / "a.dcm")
    write_dicom(tmp_path / "scan" / "report.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR")
    (tmp_path / "scan" / "list.xlsx").write_text(NAME)
    planted(tmp_path / "scan" / "shot.dcm", BurnedInAnnotation="YES")
    assert main(["deidentify", str(tmp_path / "scan"), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "report.dcm" in told and "list.xlsx" in told and "1 images are screenshots" in told
    assert sorted(path.suffix for path in (tmp_path / "out").rglob("*.*")) == [".dcm", ".dcm"]


def test_a_decimal_comma_becomes_a_point(tmp_path):
    path = planted(tmp_path / "scan" / "a.dcm")
    path.write_bytes(path.read_bytes().replace(rb"1.25\1.25", rb"1,25\1,25"))
    assert main(["deidentify", str(tmp_path / "scan"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert images(tmp_path / "out", "patient-01")[0].PixelSpacing == [1.25, 1.25]


@pytest.mark.parametrize("signed", [0, 1])
def test_nothing_hides_behind_the_pixels_or_in_the_bits_above_them(tmp_path, signed):
    pixels = picture()[0].astype(np.int32) - (300 if signed else 0)
    stored = (pixels & 0x0FFF) | 0x8000  # an old overlay's bit
    path = planted(tmp_path / "in/a.dcm", stored.astype(np.uint16), BitsStored=12, HighBit=11,
                   PixelRepresentation=signed)
    image = pydicom.dcmread(path)
    image.PixelData += NAME.encode() * 2
    image.save_as(path)
    assert main(["deidentify", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    copy, = (tmp_path / "out").rglob("*.dcm")
    again = pydicom.dcmread(copy)
    assert NAME.encode() not in copy.read_bytes() and len(again.PixelData) == 2 * pixels.size
    raw = np.frombuffer(again.PixelData, np.int16 if signed else np.uint16).reshape(pixels.shape)
    assert (raw == pixels).all() and (again.pixel_array == pixels).all()


def test_pixels_whose_high_bit_is_said_wrongly_or_not_at_all_stay_as_they_are(tmp_path):
    for number, high in enumerate((15, None)):
        planted(tmp_path / f"in/{number}.dcm", SOPInstanceUID=f"{OTHER}{number}", BitsStored=12, HighBit=high)
    assert main(["deidentify", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    copies = [*(tmp_path / "out").rglob("*.dcm")]
    assert len(copies) == 2 and all((pydicom.dcmread(copy).pixel_array == picture()[0]).all() for copy in copies)
