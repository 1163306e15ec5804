"""Bad and odd input through the command line: handled, or refused in one line that names file and remedy."""

import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import JPEGLosslessSV1, JPEGLSLossless, RLELossless
from scipy.ndimage import gaussian_filter

from lvlab.__main__ import main
from lvlab.commands.segment import gather, segment
from lvlab.errors import CourseError
from lvlab.store import files, folder, masks, runs
from tests import samples

IMAGE, MASK = "training/A_s01_ED_im0001.dcm", "training/A_s01_ED_im0001.png"
TRAIN_INTO, CHECK = "train --data course --out", "check course"
TRAIN = f"{TRAIN_INTO} new"
EVALUATE = "evaluate --data course --run run --out new"
SEGMENT = "segment course --run run --out new"
IMPORT = "import-sunnybrook release --out new"


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A sound course folder, run folder and release, to be spoilt in copies."""
    place = tmp_path_factory.mktemp("sound")
    samples.course(place / "course")
    samples.run(place / "run")
    samples.release(place / "release", patients=1)
    return place


@pytest.fixture
def place(sound, tmp_path, monkeypatch):
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text(content, name=IMAGE):
    return lambda course: (course / name).write_bytes(content)


def cut(name, share=0.5):
    def spoil(course):
        content = (course / name).read_bytes()
        (course / name).write_bytes(content[:int(len(content) * share)])
    return spoil


def image(pixels=None, **tags):
    return lambda course: samples.write_dicom(course / IMAGE, pixels, **tags)


def mask(array, mode=None, **kwargs):
    return lambda course: Image.fromarray(array, mode).save(course / MASK, format="PNG", **kwargs)


def also(*spoils):
    return lambda course: [spoil(course) for spoil in spoils]


def remove(name):
    return lambda course: shutil.rmtree(course / name) if (course / name).is_dir() else (course / name).unlink()


def rename(name, new):
    return lambda course: (course / name).rename(course / new)


def copy(name, new):
    return lambda course: shutil.copy(course / name, course / new)


def at(place, spoil):
    """Spoil what lies beside the course folder."""
    return lambda course: spoil(course.parent / place)


def empty(name):
    return lambda course: [file.unlink() for file in sorted((course / name).rglob("*")) if file.is_file()]


def all_masks(array):
    return lambda course: [Image.fromarray(array).save(path) for path in course.rglob("*.png")]


def recipe(content):
    return at("run", lambda run: (run / "recipe.json").write_text(content))


def contours(content):
    return at("release", lambda release: [path.write_text(content) for path in release.rglob("*.txt")])


def SOUND(course):
    """Leave the sound folder as it is."""


BLANK, DISC = np.zeros((samples.SIDE, samples.SIDE), np.uint8), samples.picture()[1]
SOUND_RECIPE = {"filters": [4, 8], "precision": "auto", "threshold": 0.5}
JUNK = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x04\x00\x00\x00junk\xfe\xff\xdd\xe0\x00\x00\x00\x00"


def deep_colour(course):
    rows = b"".join(b"\0" + row.tobytes() for row in np.repeat(DISC[..., None], 3, -1).astype(">u2"))
    header = struct.pack(">IIBBBBB", samples.SIDE, samples.SIDE, 16, 2, 0, 0, 0)
    (course / MASK).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
                                + chunk(b"IEND", b""))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def zip_in_zip(place):
    shutil.make_archive(place / "inner", "zip", place / "release")
    with zipfile.ZipFile(place / "outer.zip", "w") as archive:
        archive.write(place / "inner.zip", "inner.zip")


def compressed(course, syntax=JPEGLSLossless):
    ds = samples.dataset(samples.picture()[0], syntax=syntax, PixelData=JUNK)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.save_as(course / IMAGE, enforce_file_format=True)


# What is done to the sound folder, the command, and what its one line on stderr must hold.
REFUSED = {
    # the folder
    "no such folder": (remove(""), TRAIN, "course: no such folder; name a course folder (the command phantom"),
    "a file for a folder": (also(remove(""), text(b"x", "")), TRAIN, "course: is a file; name the course folder"),
    "no part of a course folder": (also(remove("training"), remove("test")), TRAIN,
                                   "course: has no folder named training; name the folder that holds training/ or"),
    "unzipped one level too deep": (also(rename("", "../old"), lambda course: course.mkdir(),
                                         at("old", lambda old: old.rename(old.parent / "course" / "inner"))), TRAIN,
                                    "did you mean course/inner?"),
    "an empty part": (empty("training"), TRAIN, "course/training: holds no DICOM file (*.dcm); put the images there"),
    "images in a subfolder, masks not": (also(lambda course: (course / "training/sub").mkdir(), rename(
        IMAGE, "training/sub/a.dcm")), TRAIN, "training/sub/a.dcm: has no mask; add the PNG of the same name"),
    "no test part": (remove("test"), EVALUATE, "course: has no folder named test"),
    "no ground truth": (remove("test/GT"), EVALUATE, "has no mask; add the PNG of the same name to GT/"),
    # the pairs
    "an image without its mask": (remove(MASK), TRAIN, f"{IMAGE}: has no mask; add the PNG of the same name"),
    "a mask without its image": (remove(IMAGE), TRAIN, f"{MASK}: has no image; add the DICOM of the same name"),
    "several without partner": (also(remove(MASK), remove("training/A_s02_ED_im0002.png")), TRAIN,
                                "(and 1 more; the command check lists them)"),
    "one name twice": (copy(IMAGE, IMAGE[:-4] + ".DCM"), TRAIN, "keep one of the two"),
    "a link to nothing": (also(remove(IMAGE), lambda course: (course / IMAGE).symlink_to("gone.dcm")), TRAIN,
                          f"{IMAGE}: is a link to nothing; put the file itself there"),
    "sizes differ": (mask(BLANK[:100]), TRAIN, f"{MASK}: is 100 × 140, its image A_s01_ED_im0001.dcm 140 × 140"),
    "a transposed pair": (also(image(samples.picture(shape=(140, 160))[0]), mask(DISC.astype(np.uint8))), TRAIN,
                          "export the pair again"),
    "one pair only": (also(remove("training/A_s02_ED_im0002.dcm"), remove("training/A_s02_ED_im0002.png")), TRAIN,
                      "course: holds one training pair; at least two are needed"),
    "nothing to learn from": (all_masks(BLANK), TRAIN, "every training mask is empty"),
    # the images
    "text for an image": (text(b"hello"), TRAIN, f"{IMAGE}: is not a DICOM file; export it again as DICOM"),
    "a PNG for an image": (copy(MASK, IMAGE), TRAIN, f"{IMAGE}: is not a DICOM file"),
    "an empty file": (text(b""), TRAIN, f"{IMAGE}: is not a DICOM file"),
    "a truncated image": (cut(IMAGE), TRAIN, f"{IMAGE}: cannot be read as DICOM"),
    "a header only": (image(PixelData=None), TRAIN, f"{IMAGE}: holds no image (no pixel data); export it again"),
    "a cine in one file": (image(np.zeros((60, 20), np.uint16), Rows=20, Columns=20, NumberOfFrames=3), TRAIN,
                           f"{IMAGE}: holds 3 frames; the course needs one frame per file: export it so"),
    "more rows than pixels": (image(Rows=999), TRAIN, f"{IMAGE}: cannot be read as DICOM"),
    "a billion pixels": (image(Rows=60000, Columns=60000), TRAIN, f"{IMAGE}: is 60000 × 60000 pixels, no MR slice"),
    "no rows": (image(Rows=None), TRAIN, f"{IMAGE}: cannot be read as DICOM"),
    "a cine that tells no number of frames": (
        image(np.zeros((60, 20), np.uint16), Rows=20, Columns=20), TRAIN, f"{IMAGE}: holds 3 frames"),
    "a cine that says it is one frame": (
        image(np.zeros((60, 20), np.uint16), Rows=20, Columns=20, NumberOfFrames=1), TRAIN, f"{IMAGE}: holds 3 frames"),
    "damaged RLE, which needs no decoder": (lambda course: compressed(course, RLELossless), TRAIN,
                                            f"{IMAGE}: RLE Lossless: its compressed pixels cannot be decoded; they are "
                                            "damaged, or no decoder here knows them: export it again, uncompressed"),
    "no pixels at all": (image(Rows=0, Columns=0), TRAIN, f"{IMAGE}: "),
    "an endless rescale": (image(RescaleSlope="1e300", RescaleIntercept="1e308"), TRAIN,
                           f"{IMAGE}: its pixels are not a finite 2-D image; export it again"),
    "damaged JPEG-LS": (compressed, TRAIN, "JPEG-LS Lossless Image Compression: its compressed pixels cannot be "
                        "decoded; they are damaged, or no decoder here knows them: export it again, uncompressed"),
    "lossless JPEG without a decoder": (
        lambda course: compressed(course, JPEGLosslessSV1), TRAIN, "its compressed pixels cannot be decoded; they need "
        "a decoder: pip install 'lvlab[codecs]' for JPEG 2000 and JPEG-LS, and for JPEG also pip install "
        "pylibjpeg-libjpeg (GPL-3)"),
    "more pixels than rows and columns": (image(samples.picture()[0], Columns=100), TRAIN,
                                          f"{IMAGE}: holds 39200 bytes of pixels, its 140 × 100 pixels need 28000"),
    "a slope that is no number": (image(RescaleSlope="0"), TRAIN, f"{IMAGE}: its RescaleSlope is 0; export it again"),
    "gzip cut short": (also(lambda course: (course / f"{IMAGE}.gz").write_bytes(gzip.compress(
        (course / IMAGE).read_bytes())[:9000]), remove(IMAGE)), TRAIN, f"{IMAGE}.gz: its gzip is damaged; fetch it"),
    "gzip of a picture": (also(lambda course: (course / f"{IMAGE}.gz").write_bytes(gzip.compress(
        (course / MASK).read_bytes())), remove(IMAGE)), TRAIN, "is not a DICOM file (it is gzip of something else)"),
    "spectra, no image": (image(SOPClassUID="1.2.840.10008.5.1.4.1.1.4.2", Modality="MR"), TRAIN,
                          f"{IMAGE}: holds no image but MR Spectroscopy; take it out of the folder"),
    "two masks for one image": (also(copy(MASK, MASK[:-4] + "_mask.png")), TRAIN,
                                "is a second mask of A_s01_ED_im0001; keep the one that is meant"),
    # the masks
    "a colour mask of 16 bits": (deep_colour, TRAIN, f"{MASK}: is a colour PNG of 16 bits; save the mask with 8 bits"),
    "a folder for a mask's file": (also(remove(MASK), lambda course: os.mkfifo(course / MASK)), TRAIN,
                                   f"{MASK}: is no file; put the file itself there"),
    "text for a mask": (text(b"hello", MASK), TRAIN, f"{MASK}: is not a PNG image; save the mask as PNG"),
    "a JPEG called PNG": (lambda course: Image.fromarray(BLANK).save(course / MASK, format="JPEG"), TRAIN,
                          f"{MASK}: is not a PNG image"),
    "an empty mask file": (text(b"", MASK), TRAIN, f"{MASK}: is not a PNG image"),
    "a truncated mask": (cut(MASK), TRAIN, f"{MASK}: cannot be read as a PNG mask"),
    # the output
    "an existing run": (lambda course: (course.parent / "run").rename(course.parent / "new"), TRAIN,
                        "new: already exists, a finished training; evaluate it, overwrite it or name another folder "
                        "(--overwrite, --out)"),
    "a file for a run": (at("new", lambda new: new.write_text("x")), TRAIN, "new: is a file; name a folder"),
    "overwriting a folder that only has logs": (
        also(at("logs", lambda logs: logs.mkdir()), at("thesis.tex", lambda thesis: thesis.write_text("mine"))),
        f"{TRAIN_INTO} . --overwrite", ".: exists and is not a run folder, so it is left alone"),
    "cross-validating over something else": (at("mine", lambda mine: (mine.mkdir(), (mine / "scores.csv").write_text(
        "mine"))), "crossval --data course --out mine --overwrite", "mine: already exists and is not empty"),
    "resuming a cross-validation that is none": (SOUND, "crossval --data course --out release --resume",
                                                 "release: already exists and is not empty"),
    "a file for a cross-validation": (SOUND, f"crossval --data course --out course/{IMAGE}",
                                      "is a file; name a folder"),
    "the folder one is in": (lambda course: (shutil.move(course, course.parent / ".course"), [
        shutil.rmtree(course.parent / name) for name in ("run", "release")], shutil.rmtree(course.parent / ".course")),
        "phantom --out . --patients 1", ".: is the folder you are in; name a new folder inside it"),
    "scores into a file": (SOUND, f"evaluate --data course --run run --out course/{IMAGE}", "is a file; name a folder"),
    "overwriting what is no run": (SOUND, f"{TRAIN_INTO} release --overwrite",
                                   "release: exists and is not a run folder"),
    "resuming what is no run": (SOUND, f"{TRAIN_INTO} release --resume", "release: exists and is not a run folder"),
    "resuming a finished run": (SOUND, f"{TRAIN_INTO} run --resume", "run: its training is finished"),
    "a full folder": (SOUND, "phantom --out release --patients 1", "release: already exists and is not empty"),
    "a file on the way": (at("new", lambda new: new.write_text("x")), "phantom --out new/x --patients 1",
                          "new: is a file; name a new folder for the output"),
    "masks into a full folder": (SOUND, "segment course --run run --out release", "release: already exists"),
    "an unfinished run": (also(at("run/model.keras", lambda path: path.rename(path.with_name("progress.npz"))),
                               lambda course: (course.parent / "run").rename(course.parent / "new")), TRAIN,
                          "new: already exists, an unfinished training; resume it, overwrite it or name another folder "
                          "(--resume, --overwrite, --out)"),
    "a folder below a file": (SOUND, f"segment course --run run --out course/{MASK}/new", f"{MASK}: is a file"),
    # the run folder
    "a file of weights for a run": (SOUND, "evaluate --data course --run run/model.keras --out new",
                                    "run/model.keras: is a file; name the run's folder"),
    "a model downloaded alone": (at("run/recipe.json", lambda path: path.unlink()), SEGMENT,
                                 "run: has lost its recipe.json, which says what network the weights are for"),
    "no weights named": (SOUND, "evaluate --data course", "name a folder for the scores (--out)"),
    "no such run": (SOUND, "evaluate --data course --run gone", "gone: no such run; train one there"),
    "a run that is none": (SOUND, "evaluate --data course --run course", "course: is not a run folder"),
    "a run half done": (also(at("run/model.keras", lambda path: path.rename(path.with_name("progress.npz")))), EVALUATE,
                        "run: its training is not finished; resume it with the command train"),
    "a run without recipe": (at("run/recipe.json", lambda path: path.unlink()), EVALUATE,
                             "run: has lost its recipe.json"),
    "recipe empty": (recipe(""), EVALUATE, "run/recipe.json: cannot be read"),
    "recipe cut": (recipe('{"recipe": {'), EVALUATE, "run/recipe.json: cannot be read"),
    "recipe no object": (recipe("[1, 2]"), EVALUATE, "run/recipe.json: is damaged (not a JSON object)"),
    "recipe of something else": (recipe('{"name": "x"}'), EVALUATE, "run/recipe.json: holds no recipe of lvlab"),
    "recipe with text for a number": (recipe(json.dumps({"recipe": {**SOUND_RECIPE, "threshold": "half"}})), EVALUATE,
                                      "run/recipe.json: recipe: threshold is 'half'"),
    "recipe with a threshold of 7": (recipe(json.dumps({"recipe": {**SOUND_RECIPE, "threshold": 7.0}})), EVALUATE,
                                     "run/recipe.json: recipe: threshold is 7.0; it must be a number from"),
    "recipe with no threshold": (recipe(json.dumps({"recipe": {**SOUND_RECIPE, "threshold": float("nan")}})), EVALUATE,
                                 "run/recipe.json: recipe: threshold is nan"),
    "recipe of unknown precision": (recipe(json.dumps({"recipe": {**SOUND_RECIPE, "precision": "foo"}})), EVALUATE,
                                    "recipe: precision is 'foo'; choose one of auto, bfloat16, float32"),
    "a history without an epoch": (at("run/history.csv", lambda path: path.write_text(
        "epoch,loss,dice,val_loss,val_dice,seconds\n")), "figures --data course --run run --out new",
        "run/history.csv: holds no epoch; restore it from a copy"),
    "a history of words": (at("run/history.csv", lambda path: path.write_text(
        "epoch,loss,dice,val_loss,val_dice,seconds\na,b,c,d,e,f\n")), "figures --data course --run run --out new",
        "run/history.csv: cannot be read; restore it from a copy"),
    "recipe not text": (at("run/recipe.json", lambda path: path.write_bytes(b"\xff\xfe\x00")), EVALUATE,
                        "run/recipe.json: cannot be read"),
    "recipe nested without end": (recipe("[" * 100_000), EVALUATE, "run/recipe.json: cannot be read"),
    # segment
    "nothing there to segment": (SOUND, "segment gone.dcm --run run --out new", "gone.dcm: no such file or folder"),
    "a folder without DICOM": (empty("test"), "segment course/test --run run --out new",
                               "course/test: holds no DICOM image"),
    "a mask to segment": (SOUND, f"segment course/{MASK} --run run --out new", f"{MASK}: is not a DICOM file"),
    "two inputs of one name": (also(at("twin", lambda twin: twin.mkdir()), copy(IMAGE, f"../twin/{Path(IMAGE).name}")),
                               f"segment course/training twin/{Path(IMAGE).name} --run run --out new",
                               "A_s01_ED_im0001.png: two inputs would write this mask"),
    "one bad file alone": (text(b"x" * 200), f"segment course/{IMAGE} --run run --out new",
                           f"{IMAGE}: is not a DICOM file"),
    "no part": (SOUND, f"{SEGMENT} --part 6/5", "'6/5' is no part; write 4/5 for the fourth of five"),
    "masks of something else": (also(at("new", lambda new: new.mkdir()), at(
        "new/segment.json", lambda path: path.write_text("{}"))), SEGMENT,
        "new: was begun with something else; go on with the same, or name another folder (--out)"),
    # the release
    "no such release": (at("release", shutil.rmtree), IMPORT, "release: no such release; download it from https://"),
    "no contours": (at("release/SCD_ManualContours", shutil.rmtree), IMPORT, "holds no Sunnybrook contour (SCD_Manual"),
    "no images": (at("release/SCD_IMAGES_01", shutil.rmtree), IMPORT, "holds no Sunnybrook image (SCD_IMAGES"),
    "no patient table": (at("release/scd_patientdata.csv", lambda path: path.unlink()), IMPORT,
                         "release/scd_patientdata.csv: is missing; it tells which contours belong to which images: "
                         "download it from https://www.cardiacatlas.org/"),
    "a patient table of something else": (at("release/scd_patientdata.csv", lambda csv: csv.write_bytes(b"\xff,b\n1")),
                                          IMPORT, "scd_patientdata.csv: has no columns PatientID and OriginalID"),
    "one case for two patients": (at("release/scd_patientdata.csv", lambda csv: csv.write_text(
        "PatientID,OriginalID\nSCD0000101,SC-HF-I-1\nSCD0000201,SC-HF-I-1\n")), IMPORT,
        "scd_patientdata.csv: OriginalID SC-HF-I-1 stands for two patients; download it again"),
    "a zip that is none": (at("release/x.zip", lambda path: path.write_text("x")), IMPORT,
                           "release/x.zip: cannot be read as a zip; download it again"),
    "a patient table in one endless word": (at("release/scd_patientdata.csv", lambda csv: csv.write_text(
        'PatientID,OriginalID\n"' + 200_000 * "x")), IMPORT, "has no columns PatientID and OriginalID"),
    "a zip in a zip": (lambda course: zip_in_zip(course.parent), "import-sunnybrook outer.zip --out new",
                       "outer.zip: holds no Sunnybrook image (SCD_IMAGES_01 …); unpack inner.zip first"),
    "a patient to test on without contours": (
        at("release/SCD_IMAGES_01/SCD0000101", lambda images: shutil.copytree(images, images.with_name("SCD0000999"))),
        f"{IMPORT} --test-patients SCD0000999", "--test-patients SCD0000999: no labelled frame here; name one of"),
    "an unknown patient": (SOUND, f"{IMPORT} --test-patients SCD0009901",
                           "SCD0009901: no such patient here; there are SCD0000101"),
    "contours all damaged": (contours("1 2\nx"), IMPORT, "release: nothing to import: unusable (10) (release/"),
    "release into a full folder": (SOUND, "import-sunnybrook release --out course", "course: already exists"),
    # the command line
    "no such command": (SOUND, "trian", "invalid choice: 'trian'"),
    "no --out": (SOUND, "train --data course", "are required: --out (see: lvlab train --help)"),
    "no such recipe": (SOUND, f"{TRAIN} --recipe best", "invalid choice: 'best'"),
    "an assignment without validation": (
        SOUND, f"{TRAIN} --recipe assignment --no-validation", "the recipe assignment keeps the epoch with the lowest "
        "validation loss, so somebody is held out; choose the recipe lab (--recipe)"),
    "a cross-validation of one without validation": (
        SOUND, "crossval --data course --out new --recipe lab assignment --no-validation", "somebody is held out"),
    "no patients": (SOUND, "phantom --out new --patients 0", "patients is 0; 1 to 10000 are possible (--patients)"),
    "a million patients": (SOUND, "phantom --out new --patients 1000000", "1 to 10000 are possible"),
    "a user who is none": (SOUND, "check ~nobody-of-that-name/x", "there is no such user here; write the whole path"),
    "a cross-validation's seed below zero": (SOUND, "crossval --data course --out new --seeds -1", "seeds"),
    "a fold with one slice to learn from": (
        also(*(remove(f"{part}_s02_ED_im0002.{end}") for part, end in (("training/A", "dcm"), ("training/A", "png"), (
            "test/B", "dcm"), ("test/GT/B", "png")))), "crossval --data course --out new",
        "cross-validation leaves a fold with one slice"),
    "a seed below zero": (SOUND, "phantom --out new --seed -1", "'-1' is not a whole number from 0"),
}

SOFT = (255 * gaussian_filter(DISC.astype(float), 2)).astype(np.uint8)
LABELS = (BLANK + DISC + 2 * np.roll(DISC, 40, 1)).astype(np.uint8)

# The same for check: what its report must hold. Errors give exit code 1, warnings 0.
FOUND = {
    "pairs missing": (also(remove(MASK), remove("test/B_s01_ED_im0001.dcm")), 1, [
        f"error: has no mask: {IMAGE}; add the PNG", "error: has no image: test/GT/B_s01_ED_im0001.png; add the DICOM"
    ]),
    "differing sizes": (mask(BLANK[:100]), 1, [
        f"error: mask and image differ in size (rows × columns): {MASK} (100 × 140, its image"]),
    "unreadable image": (text(b"x"), 1, [f"error: is not a DICOM file: {IMAGE}; export it"]),
    "both unreadable": (also(text(b"x"), text(b"x", MASK)), 1, ["error: is not a DICOM", "error: is not a PNG"]),
    "an empty part": (empty("training"), 1, ["error: holds no DICOM file (*.dcm): training; put the images there"]),
    "every mask empty": (all_masks(BLANK), 1, [
        "error: every mask is empty (2): training, test; export", "mask is empty (4)"]),
    "one mask empty": (mask(BLANK), 0, [f"warning: mask is empty: {MASK}; right only where"]),
    "a patient on both sides": (also(rename("test/B_s01_ED_im0001.dcm", "test/A_s09_ED_im0009.dcm"),
                                     rename("test/GT/B_s01_ED_im0001.png", "test/GT/A_s09_ED_im0009.png")), 0,
                                ["warning: patient is in training and in test: A; keep each patient on one side"]),
    "an image on both sides": (copy("test/B_s01_ED_im0001.dcm", IMAGE), 0, [
        f"warning: image is in training and in test: {IMAGE} = test/B_s01_ED_im0001.dcm; keep one"]),
    "an image twice": (copy("training/A_s02_ED_im0002.dcm", IMAGE), 0, ["warning: image is there twice: train"]),
    "outside the crop": (mask(np.roll(DISC, 60, 0).astype(np.uint8)), 0, [
        "warning: mask reaches outside the central 128 × 128 crop: training/A_s01_ED_im0001.png (", "% cut off)"]),
    "a constant image": (image(np.full((140, 140), 7, np.uint16)), 0, [f"image has one grey value only: {IMAGE};"]),
    "a small image": (also(image(samples.picture(shape=(100, 90))[0]), mask(samples.picture(shape=(100, 90))[1].astype(
        np.uint8))), 0, ["warning: image is smaller than the 128 × 128 crop", "it will be padded", "of 2 sizes"]),
    "soft edges": (mask(SOFT), 0, [f"warning: mask has soft edges: {MASK}; every pixel above 0 counts as inside"]),
    "several labels": (mask(LABELS), 0, [f"warning: mask has several labels: {MASK}; all count as cavity"]),
    "an inverted mask": (mask((~DISC).astype(np.uint8)), 0, ["warning: mask covers more than half of the image"]),
    "no spacing": (image(PixelSpacing=None), 0, [f"warning: image has no PixelSpacing of two lengths: {IMAGE}"]),
    "a name": (image(PatientName="Doe^Jane", PatientBirthDate="19650317", InstitutionName="St. Elsewhere"), 0, [
        f"warning: tag PatientName may identify a person: {IMAGE}; blank it before you share", "tag PatientBirthDate",
        "tag InstitutionName"]),
    "a record number": (image(PatientID="19650317-4711"), 0, ["warning: tag PatientID may identify a person"]),
    "a name behind a harmless word": (image(PatientName="Test^Jane", PatientComments="patient Jane Doe, born 1965",
                                            InstitutionName="Test Hospital Elsewhere"), 0, [
        "tag PatientName may", "tag PatientComments may", "tag InstitutionName may"]),
    "a line break in a name": (also(rename(IMAGE, "training/x\ny.dcm"), rename(MASK, "training/z.png")), 1,
                               ["has no mask: training/x�y.dcm;"]),
    "a physician": (image(ReferringPhysicianName="House^Gregory"), 0, ["tag ReferringPhysicianName may identify"]),
    "pseudonyms are no alarm": (image(PatientName="SCD0000101", PatientID="SCD0000101", PatientBirthDate="00000000",
                                      InstitutionName=""), 0, ["Nothing to put right."]),
    "a name that was replaced is no alarm": (
        image(PatientName="Anonymous^Patient", PatientIdentityRemoved="YES"), 0, ["Nothing to put right."]),
    "a generic name might be one": (image(PatientName="Anonymous^Patient"), 0, ["warning: tag PatientName may"]),
    "names that tell nothing": (also(rename(IMAGE, "training/x.dcm"), rename(MASK, "training/x.png"), lambda course:
                                     samples.write_dicom(course / "training/x.dcm", PatientID=None)), 0,
                                ["warning: patient is unknown: training/x.dcm; name the files PATIENT_sLEVEL"]),
}


def tree(place):
    return {str(path.relative_to(place)): path.stat().st_size for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("spoil, command, message", REFUSED.values(), ids=REFUSED)
def test_refuses_in_one_line_and_leaves_nothing_behind(place, capsys, spoil, command, message):
    spoil(place / "course")
    before = tree(place)
    code = main(command.split())
    printed = capsys.readouterr()
    assert code == 2 and "Wrote" not in printed.out
    line, = printed.err.splitlines()
    assert message in line and line.startswith("lvlab") and len(line) < 400
    assert any(sign in line for sign in ("; ", ": pip", "(see: "))
    assert tree(place) == before


@pytest.mark.parametrize("spoil, code, messages", FOUND.values(), ids=FOUND)
def test_check_finds_it_and_says_what_to_do(place, capsys, spoil, code, messages):
    spoil(place / "course")
    assert main(CHECK.split()) == code
    printed = capsys.readouterr()
    assert printed.err == "" and not [message for message in messages if message not in printed.out], printed.out
    for value in ("Doe", "Jane", "1965", "Elsewhere", "House"):
        assert value not in printed.out


def test_check_has_nothing_to_say_of_a_sound_folder(place, capsys):
    assert main(CHECK.split()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "course", "  training: 2 images, 2 masks", "    1 patient: A (2)",
        "    frames 140 × 140 px, pixels 1.25 mm, slices 8 mm thick, ED 2",
        "  test: 2 images, 2 masks", "    1 patient: B (2)",
        "    frames 140 × 140 px, pixels 1.25 mm, slices 8 mm thick, ED 2",
        "  slices of one patient share: name, PatientID", "", "Nothing to put right."]


def test_check_of_a_folder_spoilt_in_eight_ways_tells_all_eight_and_whom_a_copied_image_joins(place, capsys):
    course = samples.course(place / "spoilt", pairs=9)
    names = sorted(path.stem for path in (course / "training").glob("*.dcm"))
    images, drawn = ([course / "training" / f"{name}.{end}" for name in names] for end in ("dcm", "png"))
    drawn[0].unlink()
    images[1].unlink()
    images[2].write_bytes(images[2].read_bytes()[:3000])
    Image.fromarray(BLANK[:99]).save(drawn[3])
    shutil.copy(course / "test" / "B_s05_ED_im0005.dcm", images[4])
    Image.fromarray(np.roll(DISC, 50, 0).astype(np.uint8)).save(drawn[5])
    samples.write_dicom(images[6], PatientName="Doe^Jane")
    Image.fromarray(SOFT).save(drawn[7])
    assert main(["check", "spoilt"]) == 1
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith(("error:", "warning:"))]) == 10
    assert "warning: several names share a PatientID or study and count as one patient: A = B; see that" in printed
    assert printed.splitlines()[-1] == "4 errors, 6 warnings"


def lvlab(*arguments, code="import sys; from lvlab.__main__ import main; sys.exit(main(sys.argv[1:]))"):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", ["no such folder", "a truncated image", "nothing to learn from", "an existing run",
                                  "recipe cut", "no ground truth", "one bad file alone"])
def test_refuses_in_a_real_process_before_tensorflow_is_imported(place, name):
    spoil, command, message = REFUSED[name]
    spoil(place / "course")
    code = ("import sys; from lvlab.__main__ import main; code = main(sys.argv[1:]); "
            "print('tensorflow' in sys.modules or 'keras' in sys.modules); sys.exit(code)")
    done = lvlab(*command.split(), code=code)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (2, "False")
    assert message in done.stderr and len(done.stderr.splitlines()) == 1


def test_module_and_exit_code_of_a_real_process(place):
    done = subprocess.run([sys.executable, "-m", "lvlab", "check", "course/test"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("lvlab: course/test: has no folder named training or test")


FULL = ("import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)); "
        "from lvlab.__main__ import main; sys.exit(main(sys.argv[1:]))")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file size limits")
@pytest.mark.parametrize("command", ["phantom --out new --patients 1 --quiet", IMPORT])
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(place, command):
    before = tree(place)
    done = lvlab(*command.split(), code=FULL)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "new: cannot be written (File too large); free space or name another place" in done.stderr
    assert tree(place) == before and not (place / "new").exists()


def test_a_full_disk_leaves_the_last_progress_whole(tmp_path):
    code = ("import resource, sys, numpy as np; from lvlab.store import progress; path = sys.argv[1]\n"
            "progress.save_arrays(path, epoch=np.array(1))\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
            "try: progress.save_arrays(path, epoch=np.array(2), weights=np.zeros(100_000))\n"
            "except Exception as error: print(type(error).__name__, progress.load_arrays(path)['epoch'])")
    assert lvlab(str(tmp_path / "progress.npz"), code=code).stdout == "CourseError 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["progress.npz"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1251"])
def test_a_terminal_of_another_encoding_gets_its_report(place, encoding):
    done = subprocess.run([sys.executable, "-m", "lvlab", "check", "course"], capture_output=True, timeout=120,
                          env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0 and b"frames 140 ? 140 px" in done.stdout and not done.stderr


def test_a_name_in_bytes_that_are_no_text_is_read_and_shown_as_far_as_it_can_be(place):
    for end in (b"dcm", b"png"):
        os.rename(b"course/training/A_s01_ED_im0001." + end, b"course/training/K\xfcnstler." + end)
    training = folder.load("course").training
    assert "K�nstler" in training.table.name.tolist() and len(training.fingerprint()) == 16


def test_check_in_quiet_still_tells_the_errors(place, capsys):
    (place / "course" / MASK).unlink()
    assert main(["check", "course", "--quiet"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == f"error: has no mask: {IMAGE}; add the PNG of the same name to " \
        "training/, or take the image out\n"


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(place):
    run = place / "run"
    (run / "logs" / "train").mkdir(parents=True)
    shutil.move(place / "course", run / "course")
    runs.clear_run(run)
    assert {path.name for path in run.iterdir()} == {"course"} and len(list((run / "course").rglob("*.dcm"))) == 4


def test_a_run_that_is_a_link_or_the_working_folder_can_be_overwritten(place, monkeypatch):
    (place / "link").symlink_to(place / "run")
    runs.clear_run(place / "link")
    assert (place / "link").is_dir() and not list((place / "run").iterdir())
    monkeypatch.chdir(samples.run(place / "here"))
    runs.clear_run(Path("."))
    assert not list((place / "here").iterdir())


def test_a_folder_of_a_disc_is_segmented_without_its_reports(place, caplog):
    scan = place / "scan"
    samples.write_dicom(scan / "image")
    samples.write_dicom(scan / "report", Rows=None, PixelData=None)
    shutil.copy(scan / "report", scan / "dicomdir")
    assert segment(samples.Rule(), [scan], place / "out", quiet=True).masks == 1
    assert sorted(path.name for path in (place / "out").glob("*.png")) == ["image.png"]
    assert "1 of 2 DICOM files hold no MR image; left out: MR Image without a picture (1): report." in caplog.text


def test_empty_tags_count_as_absent(place):
    samples.write_dicom(place / "x.dcm", NumberOfFrames="", RescaleSlope="", RescaleIntercept="")
    np.testing.assert_array_equal(folder.read_dicom(place / "x.dcm").pixels, samples.picture()[0])


def test_all_patients_may_be_for_the_test_and_that_is_said(place, capsys):
    assert main([*IMPORT.split(), "--test-patients", "SCD0000101"]) == 0
    assert "for the test: SCD0000101, and none to train on" in capsys.readouterr().out


def test_a_read_only_folder_is_told_in_one_line(place, capsys):
    closed = place / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):
        closed = "/proc"
    if not os.path.isdir(closed):
        pytest.skip("nothing here is read-only to this user")
    assert main(["phantom", "--out", f"{closed}/new", "--patients", "1"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_killed_writer_leaves_nothing_that_is_taken_for_data(place, monkeypatch):
    left = place / "data" / ".writing-abc"
    samples.course(left)
    for room in (folder, files):
        monkeypatch.setattr(room, "PROJECT", place)
    monkeypatch.delenv("LVLAB_DATA", raising=False)
    assert folder.course_folder() == place / "data" / "phantom"


def test_names_cannot_lead_out_of_the_output(place):


    odd = place / "in" / "..png.dcm"
    samples.write_dicom(odd)
    samples.write_dicom(place / "in" / "deep" / "a..b.dcm")
    (place / "in" / "up").symlink_to(place / "course")
    for _, target in gather([place / "in"]):
        target = Path(target)
        assert not target.is_absolute() and ".." not in target.parts and target.suffix == ".png"


def test_a_zip_bomb_of_a_png_is_refused(place, capsys):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    (place / "course" / MASK).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x"))
    assert main(TRAIN.split()) == 2
    assert f"{MASK}: cannot be read as a PNG mask" in capsys.readouterr().err


def test_an_encrypted_or_damaged_zip_member_is_named(place):
    with zipfile.ZipFile(place / "r.zip", "w") as archive:
        for file in (place / "release").rglob("*.*"):
            archive.write(file, file.relative_to(place))
    content = bytearray((place / "r.zip").read_bytes())
    first = content.index(b"DICM")
    content[first:first + 4] = b"XXXX"
    (place / "r.zip").write_bytes(content)
    done = lvlab("import-sunnybrook", "r.zip", "--out", "new")
    assert done.returncode == 0 and "Left out: unusable (1)" in done.stdout and "9 pairs" in done.stdout


def _damaged(content, draw):
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, len(content) - 1))
        how = draw(st.sampled_from(["set", "cut", "insert", "repeat"]))
        if how == "set":
            content[place] = draw(st.integers(0, 255))
        elif how == "cut":
            del content[place:place + draw(st.integers(1, 2000))]
        elif how == "insert":
            content[place:place] = draw(st.binary(max_size=20))
        else:
            content[place:place] = content[place:place + 100]
        content = content or bytearray(b"\0")
    return bytes(content)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small file of each kind to damage."""
    path = tmp_path_factory.mktemp("fuzz")
    image, mask = samples.picture(shape=(24, 24))
    samples.write_dicom(path / "x.dcm", image, RescaleSlope="2", RescaleIntercept="-5", NumberOfFrames="1")
    for kind, mode in (("png", "L"), ("palette", "P")):
        Image.fromarray(mask.astype(np.uint8)).convert(mode).save(path / f"x.{kind}", format="PNG")
    return {kind: path / f"x.{kind}" for kind in ("dcm", "png", "palette")}


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), kind=st.sampled_from(["dcm", "png", "palette"]))
def test_fuzzed_bytes_are_read_or_refused_never_a_traceback(small, data, kind):
    path = small["dcm"].with_name("fuzz")
    path.write_bytes(_damaged(small[kind].read_bytes(), data.draw))
    try:
        if kind == "dcm":
            folder.read_dicom(path)
            from lvlab.commands.check import identifying_tags

            identifying_tags(path)
        else:
            masks.read_mask(path)
    except CourseError as error:
        assert str(path) in str(error) and "; " in str(error)
