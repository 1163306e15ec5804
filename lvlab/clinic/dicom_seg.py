"""Masks as DICOM Segmentation objects (PS3.3, A.51), which a PACS keeps and viewers lay over the images.

One object holds one stack: the frames of a series that were taken at the same moment of the heartbeat, whole frames,
never cropped, each with a reference to its source. Needs the extra `dicom-seg` (highdicom: Bridge et al. 2022,
doi:10.1007/s10278-022-00683-y).
"""

import contextlib
import hashlib
import os
import re
import warnings
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.uid import generate_uid

from lvlab.errors import CourseError
from lvlab.store.dicom import numbers, open_dataset, stem_of
from lvlab.store.files import whole_file
from lvlab.store.runs import versions

NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
          "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
DATE, TIME = r"\d{8}|", r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?|"
#: What a SEG repeats of its sources, and what it may look like: anything else is left empty.
MAY_BE_EMPTY = {"PatientID": ".{0,64}", "PatientName": ".*", "PatientBirthDate": DATE, "PatientSex": "[MFO]?",
                "StudyID": ".{0,16}", "StudyDate": DATE, "StudyTime": TIME, "AccessionNumber": ".{0,16}",
                "ReferringPhysicianName": ".*"}
NUMBERS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2, "TriggerTime": 1,
           "InstanceNumber": 1, "SliceThickness": 1}
LABEL = "Cavity of the left ventricle"


def need_highdicom():
    """Return the package highdicom; raise CourseError where it is missing."""
    try:
        import highdicom
    except ImportError as error:
        raise CourseError("DICOM SEG needs the package highdicom: pip install 'lvlab[dicom-seg]'") from error
    return highdicom


def write(folder, files, masks, targets=None, scratch=None, algorithm="lvlab U-Net"):
    """Write masks as DICOM SEG objects below `folder`; return (their names, the files that have no place in a stack).

    files : the single-frame DICOM files that the masks belong to; masks : bool (h, w), each in its file's own frame;
        a sequence, of which one stack is asked for at a time
    targets : each file's mask, relative to `folder`; an object is called segmentation_NAME.dcm, NAME the mask of its
        first file, and lies beside it
    scratch : where temporaries go, see `store.files.whole_file`
    A file that does not tell where it lies in the patient, or holds several frames, has no place, nor has one whose
    tags contradict the standard, or whose SOPInstanceUID is another's, too.
    """
    need_highdicom()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, for values that are none of their kind
        return _write(folder, files, masks, targets, scratch, algorithm)


def _write(folder, files, masks, targets, scratch, algorithm):
    targets = [Path(stem_of(file)) for file in files] if targets is None else [Path(target) for target in targets]
    sources = [_source(file) for file in files]
    placed = [all(name in source for name in NEEDED) and not int(source.get("NumberOfFrames") or 1) > 1
              for source in sources]
    names, twice = [], Counter(str(source.get("SOPInstanceUID")) for source in sources)
    placed = [known and twice[str(source.get("SOPInstanceUID"))] == 1  # a reference must say which image is meant
              for known, source in zip(placed, sources, strict=True)]
    for rows in stacks([(number, source) for number, source in enumerate(sources) if placed[number]]):
        try:
            made = _segmentation([sources[row] for row in rows], np.stack([masks[row] for row in rows]),
                                 len(names) + 1, algorithm)
        except Exception:  # highdicom raises many kinds on tags that contradict the standard or one another
            for row in rows:
                placed[row] = False
            continue
        first = targets[min(rows)]
        name = f"segmentation_{first.stem}.dcm"
        if len(os.fsencode(name)) > 255:  # longer than most disks' names
            name = f"segmentation_{hashlib.sha256(os.fsencode(first.stem)).hexdigest()[:32]}.dcm"
        names.append(first.with_name(name).as_posix())
        with whole_file(folder / names[-1], scratch) as temporary:
            made.save_as(temporary, enforce_file_format=True)
    return names, [file for file, known in zip(files, placed, strict=True) if not known]


def _source(file):
    """Return a file's tags, with those that the standard asks for, be they empty, and without unreadable numbers."""
    source = open_dataset(file, header=True)
    charsets = [re.sub(r"ISO[-_ ]IR", "ISO_IR", str(name)) for name in np.atleast_1d(
        source.get("SpecificCharacterSet") or "")]
    with contextlib.suppress(Exception):  # pydicom raises several kinds on texts that are none of their kind
        source.decode()
    source.SpecificCharacterSet = "ISO_IR 192"
    for keyword, looks in MAY_BE_EMPTY.items():
        text = str(source.get(keyword) or "")
        known = text.isascii() or all(name in python_encoding for name in charsets)
        if not known or not re.fullmatch(looks, text) or (looks == DATE and text and not _is_date(text)):
            text = ""
        source[keyword] = DataElement(keyword, dictionary_VR(keyword), text)
    for keyword, count in NUMBERS.items():
        values = numbers(source, keyword, count)
        if keyword in source:
            del source[keyword]
        if keyword == "SliceThickness":
            source.SliceThickness = None  # it may be empty, and not be missing
        if np.isfinite(values).all():
            setattr(source, keyword, [f"{value:.10g}" for value in values] if count > 1 else f"{values[0]:.10g}")
    axes, spacing_mm = numbers(source, "ImageOrientationPatient", 6), numbers(source, "PixelSpacing", 2)
    across, down = np.reshape(axes, (2, 3))
    right_angled = np.allclose([across @ across, down @ down, across @ down], [1, 1, 0], atol=1e-2)
    if not right_angled and "ImageOrientationPatient" in source:
        del source.ImageOrientationPatient
    if not min(spacing_mm) > 0 and "PixelSpacing" in source:
        del source.PixelSpacing
    return source


def _is_date(text):
    try:
        return bool(datetime.strptime(text, "%Y%m%d"))
    except ValueError:
        return False


def stacks(numbered):
    """Return lists of numbers: files of one series and size, each position once, in the order of their time."""
    places = defaultdict(list)
    for number, source in numbered:
        series = (source.StudyInstanceUID, source.SeriesInstanceUID, source.FrameOfReferenceUID, source.Rows,
                  source.Columns, *np.round([*source.PixelSpacing, *source.ImageOrientationPatient], 3))
        places[series, tuple(np.round(np.array(source.ImagePositionPatient, float), 2))].append((number, source))
    groups = defaultdict(list)
    for (series, _), frames in places.items():
        frames.sort(key=lambda each: (float(each[1].get("TriggerTime") or 0), int(each[1].get("InstanceNumber") or 0)))
        for moment, (number, _) in enumerate(frames):
            groups[series, moment].append(number)
    return list(groups.values())


def _segmentation(sources, masks, number, algorithm):
    """Return the highdicom Segmentation of one stack; empty slices are kept, they were looked at, too."""
    highdicom = need_highdicom()
    from pydicom.sr.codedict import codes

    about = highdicom.AlgorithmIdentificationSequence(
        name=algorithm, version=versions()["lvlab"], family=codes.cid7162.ArtificialIntelligence)
    segment = highdicom.seg.SegmentDescription(
        segment_number=1, segment_label=LABEL, segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.LeftVentricle, algorithm_identification=about, tracking_id=LABEL,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        tracking_uid=_uid("tracking", sources))
    return highdicom.seg.Segmentation(
        source_images=sources, pixel_array=masks.astype(np.uint8), segment_descriptions=[segment],
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY, omit_empty_frames=False,
        series_instance_uid=_uid("series", sources), sop_instance_uid=_uid("instance", sources),
        series_number=1000 + number, instance_number=1, manufacturer="lvlab", manufacturer_model_name=algorithm,
        software_versions=versions()["lvlab"], device_serial_number="none", content_label="LV_CAVITY",
        content_description=LABEL, series_description=f"{LABEL} (lvlab)")


def _uid(what, sources):
    """Return the same identifier for the same sources: a second run makes the same objects, not further ones."""
    return generate_uid(entropy_srcs=["lvlab", what, *(str(source.SOPInstanceUID) for source in sources)])
