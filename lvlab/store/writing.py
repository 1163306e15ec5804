"""MR images as DICOM, from pixels and a plane."""

from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid


class Plane(NamedTuple):
    """Where a picture lies, in DICOM's axes (PS3.3, C.7.6.2): mm of rows, of columns and to the next slice; unit
    vectors along a row and down a column; the centre of its first pixel in mm.
    """

    spacing_mm: tuple
    across: np.ndarray
    down: np.ndarray
    corner_mm: np.ndarray


def mr_image(pixels, patient, plane, number, source, series="series"):
    """Return uint16 pixels (h, w) as an MR Image Storage data set of a pseudonymous patient.

    number : of the instance, as text; source : names whose hash gives the identifiers, the same each time
    """
    image = Dataset()
    uid = {part: generate_uid(entropy_srcs=[*source, part])
           for part in ("study", series, "frame of reference", number)}
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = MRImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = uid[number]
    image.StudyInstanceUID, image.SeriesInstanceUID = uid["study"], uid[series]
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = uid["frame of reference"], ""
    image.PatientName = image.PatientID = patient
    image.PatientBirthDate, image.PatientSex, image.PatientPosition = "", "O", "HFS"
    image.StudyDate = image.StudyTime = ""
    image.StudyID, image.AccessionNumber, image.ReferringPhysicianName = "1", "", ""
    image.Modality, image.SeriesNumber, image.InstanceNumber = "MR", 1, number.rpartition(" ")[2]
    image.Manufacturer, image.SeriesDescription = source[0], "cine short axis"
    image.AcquisitionNumber, image.BodyPartExamined = 1, "HEART"
    image.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    _place(image, plane)
    _fill(image, pixels)
    return image


def _place(image, plane):
    rows, cols, slices = plane.spacing_mm
    image.PixelSpacing = [f"{rows:.6f}", f"{cols:.6f}"]
    image.ImageOrientationPatient = [f"{v:.6f}" for v in (*plane.across, *plane.down)]
    image.ImagePositionPatient = [f"{v:.4f}" for v in plane.corner_mm]
    image.SliceThickness = image.SpacingBetweenSlices = f"{slices:.4f}"


def _fill(image, pixels):
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    bits = max(12, int(pixels.max()).bit_length())
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, bits, bits - 1, 0
    low, high = np.percentile(pixels, [1, 99])
    image.WindowCenter, image.WindowWidth = f"{(low + high) / 2:.1f}", f"{max(high - low, 1):.1f}"
    image.PixelData = pixels.astype("<u2").tobytes()
