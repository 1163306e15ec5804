"""Odd input that can only mean one thing: read right, and whatever is odd about it said."""

import gzip
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

import lvlab
from lvlab.__main__ import main
from lvlab.commands import sunnybrook
from lvlab.commands.segment import gather, segment
from lvlab.errors import CourseError
from lvlab.store import dicom, files, folder, masks, runs
from lvlab.store.files import PROJECT
from tests import samples
from tools import pairs

PIXELS, DISC = samples.picture()
NAME = "A_s01_ED_im0001"
IMAGE, MASK = f"training/{NAME}.dcm", f"training/{NAME}.png"
ENHANCED_MR, CT, SEGMENTATION, REPORT = (UID(f"1.2.840.10008.5.1.4.1.1.{end}") for end in ("4.1", "2", "66.4", "88.33"))
AXIAL = [1, 0, 0, 0, 1, 0]


@pytest.fixture
def place(tmp_path, monkeypatch):
    samples.course(tmp_path / "course")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def moved(name, new):
    def change(course):
        (course / new).parent.mkdir(parents=True, exist_ok=True)
        (course / name).rename(course / new)
    return change


def all_of(*changes):
    return lambda course: [change(course) for change in changes]


def packed(course):
    (course / f"{IMAGE}.gz").write_bytes(gzip.compress((course / IMAGE).read_bytes()))
    (course / IMAGE).unlink()


def endless(course):
    (course / IMAGE).write_bytes((course / IMAGE).read_bytes() + bytes(2**26))


def bare(implicit):
    def change(course):
        ds = pydicom.dcmread(course / IMAGE)
        ds.file_meta = None
        del ds.file_meta
        pydicom.dcmwrite(course / IMAGE, ds, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    return change


def drawn_as(ending, new=None, **options):
    def change(course):
        image = Image.open(course / MASK)
        image.load()
        (course / MASK).unlink()
        image.save((course / (new or MASK)).with_suffix(ending), **options)
    return change


def rewritten_tag(course, keyword, value):
    ds = pydicom.dcmread(course / IMAGE)
    setattr(ds, keyword, value)
    ds.save_as(course / IMAGE)


def again(name, new):
    return lambda course: shutil.copy(course / name, course / new)


def litter(course):
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", f"._{NAME}.dcm", "~$notes.docx", "x.dcm.tmp", "x.dcm.part"):
        (course / "training" / name).write_bytes(b"x")
    (course / "training" / ".ipynb_checkpoints").mkdir()


# What is done to a sound folder of two and two pairs; it is then read as if nothing had been done.
SAME = {
    "train for training": moved("training", "train"),
    "capitals": all_of(moved("training", "Training"), moved("test", "TEST")),
    "gt in small letters": moved("test/GT", "test/gt"),
    "masks for GT": moved("test/GT", "test/masks"),
    "Ground_Truth for GT": moved("test/GT", "test/Ground_Truth"),
    "masks of training in a folder": all_of(*(moved(f"training/A_s0{n}_ED_im000{n}.png",
                                                   f"training/labels/A_s0{n}_ED_im000{n}.png") for n in (1, 2))),
    "a mask in colours that are not RGB": lambda course: Image.open(course / MASK).convert("CMYK").save(
        course / f"training/{NAME}.tif") or (course / MASK).unlink(),
    "masks beside the test images": all_of(*(moved(f"test/GT/B_s0{n}_ED_im000{n}.png",
                                                   f"test/B_s0{n}_ED_im000{n}.png") for n in (1, 2)),
                                           lambda course: (course / "test/GT").rmdir()),
    "no ending": moved(IMAGE, f"training/{NAME}"),
    "another ending": moved(IMAGE, f"training/{NAME}.IMA"),
    "gzip": packed,
    "64 MB of zeros after the pixels": endless,
    "monochrome in small letters": lambda course: rewritten_tag(course, "PhotometricInterpretation", "monochrome2"),
    "a bare data set, implicit": bare(True),
    "a bare data set, explicit": bare(False),
    "mask as TIFF": drawn_as(".tif"),
    "mask as BMP": drawn_as(".bmp"),
    "mask as JPEG": drawn_as(".jpg", quality=60),
    "mask called NAME_mask": moved(MASK, f"training/{NAME}_mask.png"),
    "mask called NAME-gt": moved(MASK, f"training/{NAME}-gt.png"),
    "mask called NAME.dcm.png": moved(MASK, f"training/{NAME}.dcm.png"),
    "what systems leave behind": litter,
    "a copied mask": again(MASK, f"training/{NAME} - Copy.png"),
    "a mask downloaded twice": again(MASK, f"training/{NAME} (1).png"),
    "an image copied": again(IMAGE, f"training/{NAME} copy.dcm"),
    "a note beside": lambda course: (course / "training/read me.txt").write_text("x"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_can_only_mean_one_thing_is_read(place, change):
    sound = lvlab.load(place / "course")
    change(place / "course")
    course = lvlab.load(place / "course")
    assert course.training.fingerprint() == sound.training.fingerprint()
    assert course.test.fingerprint() == sound.test.fingerprint()
    assert main(["check", "course"]) == 0


def test_images_and_masks_in_folders_of_their_own_are_read_by_their_whole_name(place):
    for patient in ("one", "two"):
        samples.write_dicom(place / f"nested/training/{patient}/IM1.dcm", PatientID=patient)
        samples.write_mask(place / f"nested/training/{patient}/IM1.png")
    table = lvlab.load(place / "nested").training.table
    assert list(table.name) == ["one/IM1", "two/IM1"] and table.patient.nunique() == 2


# What is said of a folder that is read all the same: by loading it and by check.
SAID = {
    "what is neither image nor mask": (lambda course: (course / "training/x.zip").write_bytes(b"PK\3\4"), "x.zip"),
    "a NIfTI beside": (lambda course: (course / "training/x.nii.gz").write_bytes(b"x"), "x.nii.gz"),
    "a copy": (again(MASK, f"training/{NAME} - Copy.png"), "Copy.png"),
    "several labels": (lambda course: Image.fromarray((DISC + 2 * np.roll(DISC, 40, 1)).astype(np.uint8)).save(
        course / MASK), "several labels"),
    "soft edges": (lambda course: Image.fromarray((np.indices(DISC.shape)[0] * DISC).astype(np.uint8)).save(
        course / MASK), "soft edges"),
    "a ring": (lambda course: masks.write_mask(course / MASK, DISC & ~samples.picture(radius=13)[1]), "a hole"),
    "two parts": (lambda course: masks.write_mask(course / MASK, DISC | np.roll(DISC, 40, 1)), "several parts"),
    "a speck": (lambda course: masks.write_mask(course / MASK, DISC | (np.indices(DISC.shape).sum(0) == 2)), "specks"),
    "an image of zeros": (lambda course: samples.write_dicom(course / IMAGE, 0 * PIXELS), NAME),
    "a screenshot among MR": (lambda course: samples.write_dicom(
        course / IMAGE, SOPClassUID=SecondaryCaptureImageStorage), "screenshot"),
    "a CT image": (lambda course: samples.write_dicom(course / IMAGE, SOPClassUID=CT, Modality="CT"), "a CT image"),
    "a localiser": (lambda course: samples.write_dicom(
        course / IMAGE, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localiser"),
}


@pytest.mark.parametrize("change, word", SAID.values(), ids=SAID)
def test_what_is_odd_is_said_by_loading_and_by_check(place, caplog, capsys, change, word):
    change(place / "course")
    caplog.set_level("INFO", "lvlab")
    lvlab.load(place / "course")
    assert word in caplog.text
    assert main(["check", "course"]) == 0
    assert word in capsys.readouterr().out


def test_check_names_what_lies_outside_of_both_parts(place, capsys):
    shutil.copytree(place / "course" / "test", place / "course" / "validation")
    (place / "course" / "README.md").write_text("x")
    assert main(["check", "course"]) == 0
    printed = capsys.readouterr().out
    assert "lies outside of training/ and test/ and is not read (4): validation/" in printed and "README" not in printed


def test_two_folders_that_mean_the_same_are_refused(place):
    shutil.copytree(place / "course" / "training", place / "course" / "train")
    with pytest.raises(CourseError, match="holds train and training, which mean the same"):
        lvlab.load(place / "course")


# Who is one patient: per slice the name and the tags, and how the slices belong together.
STUDY = {"StudyInstanceUID": "1.2.3"}, {"StudyInstanceUID": "1.2.4"}
WHO = {
    "by PatientID": ([("a", {"PatientID": "7"}), ("b", {"PatientID": "8"}), ("c", {"PatientID": "7"})], "010"),
    "blank PatientID, by study": ([("a", {"PatientID": "", **STUDY[0]}), ("b", {"PatientID": "", **STUDY[0]}),
                                   ("c", {"PatientID": "", **STUDY[1]})], "001"),
    "blank PatientID, a series a level": ([(f"x{n}", {"PatientID": "", **STUDY[0], "SeriesInstanceUID": f"1.{n}"})
                                           for n in (1, 2, 3)], "000"),
    "anonymous on everyone": ([(f"x{n}", {"PatientID": "anonymous", **STUDY[n]}) for n in (0, 1)], "01"),
    "ANON^ on everyone": ([(f"x{n}", {"PatientID": "Anonymized", **STUDY[n]}) for n in (0, 1)], "01"),
    "zeros on everyone": ([(f"x{n}", {"PatientID": "0000", **STUDY[n]}) for n in (0, 1)], "01"),
    "any word on everyone": ([(f"x{n}", {"PatientID": "Mustermann", **STUDY[n]}) for n in (0, 1)], "01"),
    "one number, two studies": ([(f"x{n}", {"PatientID": "K7", **STUDY[n]}) for n in (0, 1)], "00"),
    "one PatientID, two ways of naming": ([("P1_s01_ED_im0001", {"PatientID": "K7"}), ("IMG2", {"PatientID": "K7"})],
                                          "00"),
    "one study for everyone": ([(f"x{n}", {"PatientID": f"K{n}", **STUDY[0]}) for n in (1, 2)], "00"),
    "a second download": ([("P1_s01_ED_im0001", {"PatientID": "K7"}), ("P1_s01_ED_im0001 (1)", {"PatientID": "K7"}),
                           ("P2_s01_ED_im0001", {"PatientID": "K8"})], "001"),
    "joined through a third": ([("a", {"PatientID": "7", **STUDY[0]}), ("b", {"PatientID": "8", **STUDY[1]}),
                                ("c", {"PatientID": "7", **STUDY[1]})], "000"),
    "one name, two numbers": ([("P1_s01_ED_im0001", {"PatientID": "7"}), ("P1_s02_ED_im0002", {"PatientID": "8"})],
                              "00"),
}


@pytest.mark.parametrize("slices, expected", WHO.values(), ids=WHO)
def test_one_patient_is_whoever_any_evidence_joins(place, slices, expected):
    for name, tags in slices:
        samples.write_dicom(place / f"who/training/{name}.dcm", **tags)
        samples.write_mask(place / f"who/training/{name}.png")
    table = lvlab.load(place / "who").training.table.set_index("name")
    patients = list(table.patient[[name for name, _ in slices]])
    assert "" not in patients
    assert "".join(str(list(dict.fromkeys(patients)).index(patient)) for patient in patients) == expected


def enhanced(frames=1, **changes):
    """An enhanced MR image whose lengths, places and rescale stand in its functional groups."""
    ds = samples.dataset(PIXELS, SOPClassUID=ENHANCED_MR, PixelSpacing=None, SliceThickness=None, **changes)
    ds.PixelData, ds.NumberOfFrames = frames * PIXELS.tobytes(), frames
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.5, 1.25], 7
    shared.PixelMeasuresSequence = Sequence([measures])
    per_frame = []
    for number in range(frames):
        group, position, plane, rescale = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient, plane.ImageOrientationPatient = [0, 0, -10 * number], AXIAL
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 2, number, "US"
        group.PlanePositionSequence, group.PlaneOrientationSequence = Sequence([position]), Sequence([plane])
        group.PixelValueTransformationSequence = Sequence([rescale])
        per_frame.append(group)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(per_frame)
    return ds


def test_an_enhanced_image_is_read_from_its_functional_groups(place):
    enhanced(3).save_as(place / "x.dcm", enforce_file_format=True)
    frames = dicom.read_frames(place / "x.dcm")
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.pixels, 2 * PIXELS.astype(float) + number)
        assert (frame.row_spacing_mm, frame.col_spacing_mm, frame.slice_thickness_mm) == (1.5, 1.25, 7)
    assert np.diff([frame.position_mm for frame in frames]).tolist() == [10, 10]
    with pytest.raises(CourseError, match="holds 3 frames"):
        lvlab.read_dicom(place / "x.dcm")


SPACINGS = {"VR UT": ("UT", "1.5\\1.25"), "a decimal comma": ("LO", "1,5\\1,25"), "both": ("UT", " 1,5 \\ 1,25 ")}


@pytest.mark.parametrize("vr, text", SPACINGS.values(), ids=SPACINGS)
def test_pixel_spacing_in_odd_forms_is_read(place, vr, text):
    ds = samples.dataset(PIXELS, PixelSpacing=None)
    ds.add_new("PixelSpacing", vr, text)
    ds.save_as(place / "x.dcm", enforce_file_format=True)
    image = lvlab.read_dicom(place / "x.dcm")
    assert (image.row_spacing_mm, image.col_spacing_mm) == (1.5, 1.25)


PADDED = {"unsigned": (np.uint16, 65535, 65535), "signed": (np.int16, -2000, -2000),
          "signed, its value unsigned": (np.int16, -2000, 63536)}


@pytest.mark.parametrize("kind, stored, value", PADDED.values(), ids=PADDED)
def test_padding_does_not_change_what_the_network_sees(place, kind, stored, value):
    padded = PIXELS.astype(kind)
    padded[:, :30] = padded[:, -30:] = stored
    ds = samples.dataset(padded)
    ds.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
    ds.save_as(place / "x.dcm", enforce_file_format=True)
    seen = folder.load_images([place / "x.dcm"]).images[0, ..., 0]
    inside = lvlab.centre_crop(np.where(np.abs(np.arange(140) - 69.5) < 40, PIXELS, np.nan))[0]
    np.testing.assert_allclose(seen, lvlab.normalise(inside), atol=1e-6)
    assert not seen[:, :20].any()


# Images that hold no information, or too little for a heart: pixels of the file.
SPECK = np.where(np.indices((140, 140)).max(0) < 75, 0, 0) + 900 * (np.abs(np.indices((140, 140)) - 70).max(0) < 15)
BLANK = {"all zero": 0 * PIXELS, "one value": 0 * PIXELS + 77, "a speck on black": SPECK.astype(np.uint16),
         "contrast outside of the crop only": np.where(np.indices((300, 300)).min(0) < 50, 500, 0).astype(np.uint16),
         "28 × 28": PIXELS[56:84, 56:84].copy(), "one row": PIXELS[:1].copy(), "one pixel": PIXELS[:1, :1].copy()}
EVERYWHERE, BRIGHT = samples.Rule(), samples.Rule(Path("bright"))


@pytest.mark.parametrize("pixels", BLANK.values(), ids=BLANK)
def test_no_information_no_heart(place, caplog, pixels):
    samples.write_dicom(place / "scan/blank.dcm", pixels)
    samples.write_dicom(place / "scan/sound.dcm")
    segment(EVERYWHERE, [place / "scan"], place / "out", quiet=True)
    assert not masks.read_mask(place / "out/blank.png").any() and masks.read_mask(place / "out/sound.png").any()
    assert masks.read_mask(place / "out/blank.png").shape == pixels.shape
    assert "1 of 2 slices have no contrast in the crop or are too small for a heart" in caplog.text
    assert "(blank)" in caplog.text


def test_a_hospitals_export_is_segmented_without_what_is_no_mr_image(place, caplog):
    scan = place / "scan"
    for number in range(3):
        samples.write_dicom(scan / f"deep/IM{number}")
    without = dict(PixelData=None, Rows=None, Columns=None)
    samples.write_dicom(scan / "report.dcm", SOPClassUID=REPORT, Modality="SR", **without)
    samples.write_dicom(scan / "segmentation.dcm", SOPClassUID=SEGMENTATION, Modality="SEG")
    samples.write_dicom(scan / "ct.dcm", SOPClassUID=CT, Modality="CT")
    samples.write_dicom(scan / "DICOMDIR", PixelData=None)
    for number, start in enumerate((scan, scan / "DICOMDIR")):
        assert segment(EVERYWHERE, [start], place / f"out{number}", quiet=True).masks == 3
        masks = (place / f"out{number}").rglob("*.png")
        assert sorted(path.relative_to(place).as_posix()[5:] for path in masks) == [
            "deep/IM0.png", "deep/IM1.png", "deep/IM2.png"]
    assert segment(EVERYWHERE, [scan, scan / "deep/IM0"], place / "again", quiet=True).masks == 3
    for said in ("3 of 6 DICOM files hold no MR image", "CT (1): ct.dcm", "SEG without a picture (1): segmentation.dcm",
                 "SR without a picture (1): report.dcm"):
        assert said in caplog.text
    with pytest.raises(CourseError, match=r"ct.dcm: holds no MR image but CT \(1\); name the file that does"):
        gather([scan / "ct.dcm"])


def test_a_cine_in_one_file_gives_a_mask_a_frame(place):
    enhanced(2).save_as(place / "cine.dcm", enforce_file_format=True)
    assert segment(EVERYWHERE, [place / "cine.dcm"], place / "out", quiet=True).masks == 2
    assert sorted(path.name for path in (place / "out").iterdir()) == [
        ".segment", "cine_f0001.png", "cine_f0002.png", "review.csv", "segment.json"]


def test_a_long_axis_view_among_short_axis_slices_is_named(place, caplog):
    for number in range(4):
        axes = AXIAL if number else [1, 0, 0, 0, 0, -1]
        samples.write_dicom(place / f"scan/IM{number}.dcm", ImageOrientationPatient=axes,
                            ImagePositionPatient=[0, 0, number])
    folder.load_images(sorted((place / "scan").iterdir()))
    assert "1 of 4 slices lie in another plane than most of their patient: long axis? (IM0)" in caplog.text


def test_levels_count_from_the_base_whichever_way_the_scanner_went(place):
    for axes in (AXIAL, [0, 1, 0, 1, 0, 0]):
        for z in (0, 10, 20):
            samples.write_dicom(place / f"scan/{z}.dcm", ImageOrientationPatient=axes, ImagePositionPatient=[0, 0, z])
        table = folder.load_images(sorted((place / "scan").iterdir())).table.set_index("name")
        assert table.level.to_dict() == {"0": 3, "10": 2, "20": 1}  # the apex is below the base


KNOWN = {"PK\3\4": "a zip: unpack it first", "%PDF-1.7": "a PDF document", "<!DOCTYPE html>": "a web page", "": "empty"}


@pytest.mark.parametrize("content, words", KNOWN.items(), ids=KNOWN.values())
def test_a_file_of_another_kind_is_called_what_it_is(place, content, words):
    (place / "x.dcm").write_text(content + "…" * bool(content))
    with pytest.raises(CourseError, match=f"x.dcm: is not a DICOM file \\(it is {words}"):
        lvlab.read_dicom(place / "x.dcm")


DIALECTS = {
    "Windows": lambda x, y: f"{x:.2f} {y:.2f}\r\n", "commas": lambda x, y: f"{x:.2f},{y:.2f}\n",
    "commas and spaces": lambda x, y: f"{x:.2f}, {y:.2f}\n", "tabs": lambda x, y: f"{x:.2f}\t{y:.2f}\n",
    "semicolons": lambda x, y: f"{x:.2f};{y:.2f}\n", "a third column": lambda x, y: f"{x:.2f} {y:.2f} 0\n",
    "decimal commas": lambda x, y: f"{x:.2f} {y:.2f}\n".replace(".", ","),
    "decimal commas and semicolons": lambda x, y: f"{x:.2f};{y:.2f}\n".replace(".", ",")}
HEADS = {"a byte order mark": b"\xef\xbb\xbf", "a head line": b"x y\n", "UTF-16": None}


def rewritten(release, line=lambda x, y: f"{x:.2f} {y:.2f}\n", head=b""):
    for path in release.rglob("*.txt"):
        text = "".join(line(*map(float, each.split())) for each in path.read_text().splitlines())
        path.write_bytes(text.encode("utf-16") if head is None else head + text.encode())


@pytest.mark.parametrize("change", [*({"line": line} for line in DIALECTS.values()),
                                    *({"head": head} for head in HEADS.values())], ids=[*DIALECTS, *HEADS])
def test_contours_are_read_as_editors_leave_them(place, change):
    release = samples.release(place / "release", patients=1)
    sunnybrook.write(release, place / "before", quiet=True)
    rewritten(release, **change)
    sunnybrook.write(release, place / "after", quiet=True)
    for mask in (place / "before").rglob("*.png"):
        assert mask.read_bytes() == (place / "after" / mask.relative_to(place / "before")).read_bytes()


TABLES = {"semicolons": lambda text: text.replace(",", ";").encode(), "UTF-16": lambda text: text.encode("utf-16"),
          "a byte order mark": lambda text: text.encode("utf-8-sig"), "tabs": lambda text: text.replace(
              ",", "\t").encode()}


@pytest.mark.parametrize("encode", TABLES.values(), ids=TABLES)
def test_the_patient_table_is_read_as_spreadsheets_write_it(place, encode):
    release = samples.release(place / "release", patients=2)
    table = release / "scd_patientdata.csv"
    table.write_bytes(encode(table.read_text()))
    assert "20 pairs of 2 patients" in sunnybrook.write(release, place / "out", quiet=True)[0]


def test_the_layout_of_the_challenge_of_2009_needs_no_table(place):
    release = samples.release(place / "release", patients=2)
    for number in (1, 2):
        series = release / f"SCD_IMAGES_01/SCD00{number:03d}01/CINESAX_300"
        case = place / f"old/challenge_training/SC-HF-I-{number:02d}"
        shutil.copytree(series, case)
    shutil.copytree(release / "SCD_ManualContours", place / "old/Contours Part 3/TrainingDataContours")
    assert "20 pairs of 2 patients; for the test: SC-HF-I-2" in sunnybrook.write(place / "old", place / "out",
                                                                               quiet=True)[0]


def test_a_disk_without_permissions_and_without_locks_is_written_all_the_same(place, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    import filelock

    from lvlab.store import recorded

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr("pathlib.Path.chmod", refuse)
    monkeypatch.setattr(filelock.FileLock, "_acquire", refuse)
    assert main(["phantom", "--out", "new", "--patients", "1", "--quiet"]) == 0
    files.write_json(place / "x.json", {})
    with recorded.alone_in(place / "run"):
        assert (place / "run").is_dir()


def test_a_second_training_into_the_same_folder_is_refused_and_clears_nothing(place, capsys):
    from lvlab.store import recorded

    run = place / "run"
    run.mkdir()
    (run / runs.PROGRESS).write_bytes(b"of the first")
    held = subprocess.Popen([sys.executable, "-c", "import filelock, sys, time\nwith filelock.FileLock(sys.argv[1]):\n"
                             "    print('held', flush=True)\n    time.sleep(60)", run / runs.LOCK],
                            stdout=subprocess.PIPE)
    held.stdout.readline()
    command = ["train", "--data", "course", "--out", "run", "--quiet"]
    for how in ("--overwrite", "--resume", "--if-needed"):
        assert main([*command, how]) == 2
        assert "run: another training is writing into it; wait for its end, or name another" in capsys.readouterr().err
    assert (run / runs.PROGRESS).read_bytes() == b"of the first"
    held.kill()
    held.wait()
    with recorded.alone_in(run):
        pass


def test_settings_of_another_course_and_a_file_called_keras_change_nothing(place):
    (place / "home/.keras").mkdir(parents=True)
    (place / "home/.keras/keras.json").write_text(
        '{"floatx": "float16", "image_data_format": "channels_first", "backend": "theano", "epsilon": 1}')
    for name in ("keras.py", "pydicom.py"):
        (place / name).write_text("print('my first network')")
    environment = {**os.environ, "HOME": str(place / "home"), "KERAS_BACKEND": "torch", "MPLBACKEND": "nonsense",
                   "TF_USE_LEGACY_KERAS": "1"}
    environment.pop("KERAS_HOME", None)
    done = subprocess.run([sys.executable, "-m", "lvlab", "doctor"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "my first" not in done.stdout and not done.stderr
    assert "keras.json: floatx, epsilon, backend, image_data_format differ; lvlab uses Keras' defaults" in done.stdout
    code = ("import gc, lvlab; from lvlab.teach import lesson; lesson._need_a_sound_backend()\n"
            "import lvlab.store.recorded, keras; from lvlab.unet import unet; unet((4, 8)); import matplotlib.pyplot\n"
            "print(keras.config.backend(), keras.config.floatx(), keras.config.image_data_format())\n"
            "print(gc.isenabled(), gc.get_freeze_count() > 100_000)  # TensorFlow's objects are there to stay")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=PROJECT)
    assert done.stdout == "tensorflow float32 channels_last\nTrue True\n"


def test_nobody_without_a_name_and_without_a_home_can_work(place):
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become nobody")
    place.chmod(0o777)
    may_read = [word for which in ("inh", "ambient") for word in (f"--{which}-caps", "+dac_read_search")]
    command = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", *may_read, "--bounding-set",
               "+dac_read_search", sys.executable, "-m", "lvlab"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([*command, "phantom", "--out", str(place / "new"), "--patients", "1", "--quiet"],
                          capture_output=True, text=True, env=environment, cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([*command, "check", "~/x"], capture_output=True, text=True, env=environment, cwd=place)
    assert done.returncode == 2 and "there is no such user here; write the whole path" in done.stderr


def test_a_course_that_nobody_may_write_into_keeps_data_and_runs_elsewhere(place, monkeypatch, caplog):
    from lvlab.teach import lesson

    (place / "shared/notebooks").mkdir(parents=True)
    (place / "shared/pyproject.toml").touch()
    monkeypatch.chdir(place / "shared/notebooks")
    monkeypatch.setenv("HOME", str(place / "home"))
    (place / "home").mkdir()
    for name in ("LVLAB_DATA", "LVLAB_RUNS"):
        monkeypatch.delenv(name, raising=False)
    for room in (files, folder, lesson):
        monkeypatch.setattr(room, "PROJECT", place / "shared")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(place / "shared"))
    monkeypatch.setattr("lvlab.phantom.write", lambda out: samples.course(out))
    caplog.set_level("INFO", "lvlab")
    assert len(lesson.open_course().training) == 2
    assert (place / "home/lvlab/data/phantom/training").is_dir()
    assert files.runs_folder() == place / "home/lvlab/runs"
    monkeypatch.chdir(place / "home")  # a copy of the notebooks in a student's own folder
    assert files.runs_folder() == place / "home/lvlab/runs"
    assert "Nobody may write into this course's folder: data and runs go to" in caplog.text


def test_an_answer_saved_in_another_editor_is_opened_by_jupyterlab_and_kept_by_make_notebooks(place):
    from jupyter_server.services.contents.largefilemanager import LargeFileManager
    from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class

    for name in ("jupytext.toml", "notebooks/01_explore_data.py", "notebooks/01_explore_data.ipynb"):
        (place / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, place / name)
    notebook, script = place / "notebooks/01_explore_data.ipynb", place / "notebooks/01_explore_data.py"
    notebook.write_text(notebook.read_text().replace('"import lvlab', '"# MY ANSWER\\n",\n    "import lvlab', 1))
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=str(place))
    for away in (-3600, 3600):
        os.utime(script, (time.time() + away,) * 2)
        cells = manager.get("notebooks/01_explore_data.ipynb")["content"]["cells"]
        assert any("MY ANSWER" in cell["source"] for cell in cells)
    os.utime(script, (0, 0))
    problem, = pairs.edited(place / "notebooks")
    assert "01_explore_data.ipynb was changed after 01_explore_data.py: to keep the notebook's text: jupytext" \
        in problem


@pytest.mark.parametrize("target", ["lab", "figures", "benchmark", "ablation"])
def test_make_takes_data_whose_path_has_spaces(place, target):
    data = place / "OneDrive - University of X/lv course"
    shutil.copytree(place / "course", data)
    done = subprocess.run(["make", "-n", target, f"DATA={data}"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 and f'"{data}"' in done.stdout


def test_a_python_word_reaches_nobody(place):
    for number, tags in enumerate([{"Rows": None}, {"PixelRepresentation": None},
                                   {"PhotometricInterpretation": "X"}, {"BitsStored": 99}, {"SamplesPerPixel": 7}]):
        samples.write_dicom(place / f"{number}.dcm", **tags)
        with pytest.raises(CourseError) as caught:
            lvlab.read_dicom(place / f"{number}.dcm")
        assert not dicom.OF_PYTHON.search(str(caught.value).removeprefix(str(place)))


def test_implicit_elements_that_are_there_but_empty_count_as_absent(place):
    ds = samples.dataset(PIXELS, syntax=ImplicitVRLittleEndian)
    for keyword in ("PixelPaddingValue", "WindowCenter", "SOPClassUID", "Modality", "PatientID", "SliceThickness"):
        ds.add_new(keyword, pydicom.datadict.dictionary_VR(keyword).split(" ")[0], None)
    pydicom.dcmwrite(place / "x.dcm", ds, implicit_vr=True, little_endian=True)
    image = lvlab.read_dicom(place / "x.dcm")
    np.testing.assert_array_equal(image.pixels, PIXELS)
    assert image.kind == "MR" and np.isnan(image.slice_thickness_mm)


SCALES = {"0.7 mm": (2, 2), "2.8 mm": (0.5, 0.5), "twice as many rows": (2, 1)}


@pytest.mark.parametrize("zoom", SCALES.values(), ids=SCALES)
def test_pixels_of_unusual_size_are_seen_at_the_usual_one_and_masks_fit_the_original_frame(place, caplog, zoom):
    pixels, disc = samples.picture(shape=(int(140 * zoom[0]), int(140 * zoom[1])))
    rows, cols = (np.arange(n) - n // 2 for n in pixels.shape)
    disc = (rows[:, None] / zoom[0]) ** 2 + (cols / zoom[1]) ** 2 < 25**2
    samples.write_dicom(place / "x/training/a.dcm", (100 + 600 * disc).astype(np.uint16) + pixels % 50,
                        PixelSpacing=[1.4 / zoom[0], 1.4 / zoom[1]])
    samples.write_mask(place / "x/training/a.png", disc)
    training = lvlab.load(place / "x").training
    assert lvlab.dice(training.masks[0], lvlab.centre_crop(samples.picture(radius=25)[1])[0]) > 0.95
    assert np.allclose(training.table[["row_spacing_mm", "col_spacing_mm"]], 1.4, atol=0.01)
    assert "1 of 1 slices have pixels of unusual size: resampled to 1.4 mm for the network" in caplog.text
    segment(BRIGHT, [place / "x/training/a.dcm"], place / "out", quiet=True)
    mask = masks.read_mask(place / "out/a.png")
    assert mask.shape == disc.shape and lvlab.dice(mask, disc) > 0.95


def test_senseless_spacing_resamples_nothing(place):
    for number, spacing in enumerate(([999, 999], [0.001, 0.001], [1.4, 90])):
        image = lvlab.read_dicom(samples.write_dicom(place / f"{number}.dcm", PixelSpacing=spacing))
        assert folder.at_working_scale(image)[0].shape == PIXELS.shape


def test_labels_of_a_float_mask_are_told_apart(tmp_path):
    values = np.zeros((40, 40), np.float32)
    values[5:35, 5:35], values[12:28, 12:28], values[0, 0] = 0.01, 0.99, np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    labels = masks.read_labels(tmp_path / "a.tif")
    assert set(np.unique(labels)) == {0, 1, 2} and [what for what, _ in masks.oddities(labels)] == [
        "mask has several labels"]


@pytest.mark.parametrize(("ids", "tell"), [(("ANON0001", "ANON0002"), True), (("ANON0001", "ANON0001"), False),
                                           (("anonymous", "ANON"), False)])
def test_numbered_pseudonyms_are_patients_and_one_for_everybody_is_none(ids, tell):
    slices = [SimpleNamespace(evidence=(f"PatientID:{own}",), path=Path(f"{k}.dcm")) for k, own in enumerate(ids)]
    assert folder.evidence_of(slices) == ([[f"PatientID:{own}"] for own in ids] if tell else [[], []])


def test_a_cine_beside_a_file_named_like_its_frame_is_refused(place):
    pixels = np.concatenate([samples.picture(seed)[0] for seed in range(3)])
    samples.write_dicom(place / "in/a.dcm", pixels, Rows=samples.SIDE, NumberOfFrames=3)
    samples.write_dicom(place / "in/a_f0001.dcm")
    with pytest.raises(CourseError, match="two inputs would write this mask"):
        segment(EVERYWHERE, [place / "in"], place / "out", quiet=True)
    samples.write_dicom(place / "in/a.dcm")
    assert segment(EVERYWHERE, [place / "in"], place / "out", quiet=True).masks == 2


def test_one_name_too_long_for_a_mask_costs_no_other(place):
    samples.write_dicom(place / "in/a.dcm")
    samples.write_dicom(place / "in" / ("b" * 253))
    found = segment(EVERYWHERE, [place / "in"], place / "out", quiet=True)
    assert (found.masks, found.failed) == (1, 1) and "too long" in (place / "out/failures.csv").read_text()


@pytest.mark.parametrize("line", ["5", "null", "[1]", "{}", '{"file": "a.png", "masks": "many"}', '{"file":'])
def test_a_line_of_the_journal_that_says_nothing_is_passed_over(place, line):
    samples.write_dicom(place / "in/a.dcm")
    assert segment(EVERYWHERE, [place / "in"], place / "out", quiet=True).masks == 1
    with open(place / "out/.segment/1-of-1.jsonl", "a") as journal:
        journal.write(line + "\n")
    assert segment(EVERYWHERE, [place / "in"], place / "out", quiet=True).failed == 0


def test_a_deflated_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    path = samples.write_dicom(tmp_path / "a.dcm", syntax=DeflatedExplicitVRLittleEndian)
    assert dicom.read_dicom(path).pixels.any()
    monkeypatch.setattr(dicom, "MOST_BYTES", 1000)
    with pytest.raises(CourseError, match="unpacks to more than"):
        dicom.read_dicom(path)


@pytest.mark.skipif(os.name != "posix", reason="a shell's pipe")
def test_whoever_stops_reading_gets_no_success(place):
    (place / "course" / MASK).unlink()
    read, write = os.pipe()
    command = [sys.executable, "-u", "-m", "lvlab", "check", "course"]
    done = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE)
    os.close(read), os.close(write)
    assert done.communicate()[1] == b"" and done.returncode == 141
