"""DICOM data sets without what tells who somebody is: stricter than the basic profile of DICOM PS3.15, annex E.

The standard's list of attributes (table E.1-1) is dicom-anonymizer's, kept up to date there; its own walk stays on the
first level, so the list is applied here, at every level. On top of it no free text is kept at all, listed or not.
"""

import re
import secrets
from datetime import date, timedelta

import numpy as np
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as profile
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from lvlab.errors import CourseError
from lvlab.store.dicom import plain_number

METHOD = "lvlab: PS3.15 2026c table E.1-1, no texts, dates shifted"
LISTED = frozenset(tag for tag in profile.ALL_TAGS if len(tag) == 2) - frozenset(profile.X_Z_U_STAR_TAGS)
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PALETTES = tuple(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue"))
NUMBERS = frozenset(("DS", "IS", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "US or SS", "US or SS or OW"))
TEXTS = frozenset(("PN", "LO", "SH", "LT", "ST", "UT", "UC", "DA", "DT", "AE"))
DATES = frozenset(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime"))
#: The coded words (CS) that stay: terms of the standard for MR images, which are nobody's name.
WORDS = frozenset((
    "MR OT CT US SC YES NO MIXED ORIGINAL DERIVED PRIMARY SECONDARY OTHER LOCALIZER NONE M P R I ND NORM DIS2D "
    "DIS3D MAGNITUDE PHASE REAL IMAGINARY VELOCITY CINE FFE FUNCTIONAL VOLUME SAMPLED DISTORTED MONOCHROME "
    "MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_PARTIAL_420 YBR_PARTIAL_422 YBR_ICT YBR_RCT COLOR HFS "
    "HFP FFS FFP HFDR HFDL FFDR FFDL HEART CHEST SE IR GR EP RM SK MTC SS TRSS SP MP OSP PER RG CG PPG FC PFF PFP "
    "FS 1D 2D 3D ROW COL COLUMN 00 01 IDENTITY INVERSE LINEAR LINEAR_EXACT SIGMOID DYNAMIC GEOMETRY FIDUCIAL "
    "REALTIME PROSPECTIVE RETROSPECTIVE PACED ECG VCG ISO_2022 ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_13818_2 "
    "PALETTE T1 T2 T2_STAR PROTON_DENSITY DIFFUSION FLOW_ENCODED FLUID_ATTENUATED PERFUSION STIR TAGGING TOF "
    "UNKNOWN").split()) | {"PALETTE COLOR"}
EMPTY = ("PatientBirthDate", "PatientSex", "ReferringPhysicianName", "AccessionNumber", "StudyID", "StudyTime",
         "Manufacturer")  # an MR image has them, if only empty


class Cleaner:
    """De-identifies data sets, each identifier in the same way in all of them; what it draws is kept nowhere."""

    def __init__(self):
        self.uids, self.days = {}, {}
        self.damaged = set()  # names of elements that could not be read, and are left out

    def clean(self, path, dataset, patient):
        """Return a new data set with the picture, its geometry and timing, of a patient named by a pseudonym."""
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_private or not syntax.is_transfer_syntax:
            raise CourseError(f"{path}: its pixels are coded in a maker's own way; export it again, uncompressed")
        days = self.days.setdefault(patient, 365 + secrets.randbelow(3650))
        said = set(_texts(dataset))
        image = self._kept(dataset, days, said)
        if not any(keyword in image for keyword in PIXELS):
            raise CourseError(f"{path}: holds no pixels that can be read; export it again, or take it out")
        image.PatientName = image.PatientID = patient
        for keyword in EMPTY:
            setattr(image, keyword, "")
        image.PatientIdentityRemoved, image.DeidentificationMethod = "YES", METHOD
        image.LongitudinalTemporalInformationModified = "MODIFIED"
        for keyword in PIXELS if not syntax.is_encapsulated else ():
            if keyword in image:
                image[keyword].value = _pixels_alone(path, image, image[keyword].value, syntax.is_little_endian)
        if "SOPInstanceUID" not in image:
            image.SOPInstanceUID = generate_uid(None)
        image.preamble, image.file_meta = b"\0" * 128, FileMetaDataset()
        image.file_meta.TransferSyntaxUID = syntax
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        if "SOPClassUID" in image:
            image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        return image

    def _kept(self, dataset, days, said):
        """Return a copy of a data set, or of a sequence's item, with what may stay."""
        kept = Dataset()
        for tag in dataset.keys():
            keyword = keyword_for_tag(tag)
            if tag.is_private or not keyword or tag.group & 0xFF00 in (0x5000, 0x6000):  # curves, overlays
                continue
            try:
                if dataset.get_item(tag).value in (None, b"", ""):
                    continue
                element = _readable(dataset, tag)
                if self._may_stay(element, keyword, days, said):
                    kept.add(element)
            except Exception:  # pydicom raises nearly every kind on a damaged element
                self.damaged.add(keyword)
        return kept

    def _may_stay(self, element, keyword, days, said):
        """Tell whether an element stays; put in it what replaces its value."""
        vr, tag = dictionary_VR(element.tag), (element.tag.group, element.tag.element)
        if element.VR not in vr.split(" or "):
            return False
        if vr == "UI":
            return self._replace_uids(element)
        if keyword in DATES:
            element.value = _shifted(element.value, days)
            return bool(element.value)
        if tag in LISTED:
            return False
        if vr == "SQ":
            items = [self._kept(item, days, said) for item in element.value]
            element.value = Sequence([item for item in items if item])
            return bool(element.value)
        if vr == "CS":
            return _replace_words(element)
        if vr == "AT":
            return all(keyword_for_tag(tag) for tag in _several(element.value))
        if vr in NUMBERS:
            return not said & set(map(str, _several(element.value)))
        return keyword in (*PIXELS, *PALETTES, "LUTData")

    def _replace_uids(self, element):
        """Give each UID that is not the standard's own another, the same one wherever it stands."""
        new = [uid if str(uid).startswith("1.2.840.10008.") else self.uids.setdefault(str(uid), generate_uid(None))
               for uid in _several(element.value)]
        element.value = new[0] if len(new) == 1 else new
        return bool(new)


def _pixels_alone(path, image, content, little_endian):
    """Return uncompressed pixels without what may lie behind them, and without the bits above them.

    Old overlays (PS3.5, 8.1.2) and texts were hidden in both. Numbers with a sign get theirs in the bits above. Where
    HighBit says that they stand elsewhere, which programs do not agree on, bits stay as they are.
    """
    try:
        allocated, stored = int(image.BitsAllocated), int(image.get("BitsStored") or image.BitsAllocated)
        count = int(image.Rows) * int(image.Columns) * int(image.get("SamplesPerPixel") or 1) * int(
            image.get("NumberOfFrames") or 1)
    except (AttributeError, TypeError, ValueError) as error:
        raise CourseError(f"{path}: does not say how its pixels are stored; export it again, or take it out") from error
    length = -(-count * allocated // 8)
    length = length // 3 * 2 if image.get("PhotometricInterpretation") == "YBR_FULL_422" else length
    content = content[:length + length % 2]
    content += b"\0" * (len(content) % 2)
    if allocated not in (8, 16, 32) or not 0 < stored < allocated or image.get("HighBit", stored - 1) != stored - 1:
        return content
    kind = f"{'<' if little_endian else '>'}{'i' if image.get('PixelRepresentation') == 1 else 'u'}{allocated // 8}"
    whole = len(content) // (allocated // 8) * (allocated // 8)
    values = np.frombuffer(content[:whole], kind)
    return (values << allocated - stored >> allocated - stored).astype(kind).tobytes() + content[whole:]


def _readable(dataset, tag):
    """Return a copy of an element; numbers written as text are seen to be some, and get a decimal point for a comma."""
    vr, text = dictionary_VR(tag), dataset.get_item(tag).value
    if vr not in ("DS", "IS") or not isinstance(text, bytes):
        return dataset[tag]
    numbers = [part.strip(" \0").replace(",", ".") for part in text.decode("ascii").split("\\")]
    for number in numbers:
        plain_number(number)
    return DataElement(tag, vr, numbers)


def _several(value):
    """Return a value, or several, as a list."""
    return [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)


def _replace_words(element):
    """Keep a coded value if it is one of DICOM's terms; of several values the others become OTHER."""
    words = [str(word).strip() for word in _several(element.value)]
    if not any(word in WORDS for word in words):
        return False
    words = [word if word in WORDS else "OTHER" for word in words]
    element.value = words[0] if len(words) == 1 else words
    return True


def _shifted(value, days):
    """Return a date, or the date of a date and time, so many days earlier; "" for what is no date."""
    found = re.match(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)", str(value).strip())
    try:
        return (date(*map(int, found.groups())) - timedelta(days)).strftime("%Y%m%d")
    except (AttributeError, ValueError, OverflowError):
        return ""


def _texts(dataset):
    """Yield the texts and dates of a data set that have five letters or digits or more; none of them is a number."""
    for tag in dataset.keys():
        try:
            vr = dictionary_VR(tag) if keyword_for_tag(tag) else "LO"
            if vr == "SQ":
                for item in dataset[tag].value:
                    yield from _texts(item)
            elif vr in TEXTS:
                yield from (text for text in map(str, _several(dataset[tag].value)) if len(text) > 4)
        except Exception:  # pydicom raises nearly every kind on a damaged element
            continue
