"""Small made-up files for the tests of input: DICOM of many kinds, course folders, run folders, a release."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from skimage.measure import find_contours

from lvlab.recipes import LAB
from lvlab.store.runs import Run

SIDE = 140
DISCS = {1: 20, 8: 12}
RULES = {"everywhere": lambda images: np.full(images.shape, 0.95, np.float32),
         "bright": lambda images: (images > 0.6).astype(np.float32),
         "slow": lambda images: time.sleep(0.3) or (images > 0.6).astype(np.float32)}


@dataclass(frozen=True)
class Rule(Run):
    """What stands in for a network where none is needed: by one of RULES, and TensorFlow is not imported."""

    path: Path = Path("everywhere")

    @property
    def record(self):
        return {}

    @property
    def recipe(self):
        return replace(LAB, precision="float32")

    @property
    def model(self):
        return SimpleNamespace(input_shape=(None, 128, 128, 1), predict_on_batch=RULES[self.path.name])


def picture(seed=0, shape=(SIDE, SIDE), radius=15):
    """A bright disc on noise: (image uint16, mask bool)."""
    rows, cols = np.indices(shape)
    mask = (rows - shape[0] // 2) ** 2 + (cols - shape[1] // 2) ** 2 < radius**2
    noise = np.random.default_rng(seed).integers(0, 200, shape)
    return (100 + noise + 600 * mask).astype(np.uint16), mask


def dataset(pixels, syntax=ExplicitVRLittleEndian, **tags):
    """A minimal MR image of a 2-D (or, for colour, 3-D) integer array; `tags` override and None removes."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid(entropy_srcs=["lvlab tests"])
    ds.PatientID = ds.PatientName = "P01"
    ds.PixelSpacing, ds.SliceThickness = [1.25, 1.25], 8
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    ds.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    return ds


def write_dicom(path, pixels=None, **tags):
    """Write `dataset` to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset(picture()[0] if pixels is None else pixels, **tags).save_as(path, enforce_file_format=True)
    return path


def write_mask(path, mask=None):
    """Write a mask as 0/255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture()[1] if mask is None else mask).astype(np.uint8) * 255).save(path)
    return path


def course(path, pairs=2):
    """A sound course folder: `pairs` pairs in each part, one patient a part."""
    for part, masks, patient in (("training", "training", "A"), ("test", "test/GT", "B")):
        for number in range(1, pairs + 1):
            stem = f"{patient}_s{number:02d}_ED_im{number:04d}"
            pixels, mask = picture(seed=number + 100 * (part == "test"))
            write_dicom(path / part / f"{stem}.dcm", pixels, PatientID=patient, PatientName=patient)
            write_mask(path / masks / f"{stem}.png", mask)
    return path


def run(path, **changes):
    """A run folder with a sound recipe.json and a model.keras that is none."""
    path.mkdir(parents=True)
    (path / "model.keras").write_bytes(b"no network")
    record = {"recipe": {**LAB.as_dict(), "filters": [4, 8]}, "seed": 0, **changes}
    (path / "recipe.json").write_text(json.dumps(record))
    return path


def release(path, patients=2):
    """A release of discs in Sunnybrook's layout: five levels at two moments, the smaller disc at end-systole.

    Its outer contours stand at end-diastole only.
    """
    lines = ["PatientID,OriginalID,Gender,Age,Pathology"]
    for index in range(1, patients + 1):
        images = path / "SCD_IMAGES_01" / f"SCD00{index:03d}01" / "CINESAX_300"
        contours = path / "SCD_ManualContours" / f"SC-HF-I-{index:02d}" / "contours-manual" / "IRCCI-expert"
        contours.mkdir(parents=True)
        lines.append(f"SCD00{index:03d}01,SC-HF-I-{index},Male,50,Disc")
        for number, radius in ((20 * level + moment, radius) for level in range(5) for moment, radius in DISCS.items()):
            pixels, mask = picture(seed=1000 * index + number, radius=radius)
            write_dicom(images / f"IM-0003-{number:04d}.dcm", pixels, PatientID=images.parent.name,
                        PatientName=images.parent.name)
            outline, = find_contours(mask, 0.5)
            text = "".join(f"{col + 0.5:.2f} {row + 0.5:.2f}\n" for row, col in outline)
            for kind in "io" if radius == DISCS[1] else "i":
                (contours / f"IM-0001-{number:04d}-{kind}contour-manual.txt").write_text(text)
    (path / "scd_patientdata.csv").write_text("\r\n".join(lines) + "\r\n")
    return path
