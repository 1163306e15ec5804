"""Masks as DICOM Segmentation objects (PS3.3, A.51), which a PACS keeps and viewers lay over the images.

One object holds one stack: the frames of a series that were taken at the same moment of the heartbeat, whole frames,
never cropped, each with a reference to its source. Needs the extra `dicom-seg` (highdicom: Bridge et al. 2022,
doi:10.1007/s10278-022-00683-y).
"""

import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from lvlab.errors import CourseError
from lvlab.store.dicom import open_dataset, stem_of
from lvlab.store.files import whole_file
from lvlab.store.runs import versions

NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
          "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
                "AccessionNumber", "ReferringPhysicianName")
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
    A file that does not tell where it lies in the patient, or holds several frames, has no place.
    """
    targets = [Path(stem_of(file)) for file in files] if targets is None else [Path(target) for target in targets]
    sources = [_source(file) for file in files]
    placed = [all(name in source for name in NEEDED) and not int(source.get("NumberOfFrames") or 1) > 1
              for source in sources]
    names = []
    for rows in stacks([(number, source) for number, source in enumerate(sources) if placed[number]]):
        made = _segmentation([sources[row] for row in rows], np.stack([masks[row] for row in rows]), len(names) + 1,
                             algorithm)
        first = targets[min(rows)]
        names.append(first.with_name(f"segmentation_{first.stem}.dcm").as_posix())
        with whole_file(folder / names[-1], scratch) as temporary:
            made.save_as(temporary, enforce_file_format=True)
    return names, [file for file, known in zip(files, placed, strict=True) if not known]


def _source(file):
    """Return a file's tags, with those that the standard asks for, be they empty."""
    source = open_dataset(file, header=True)
    for keyword in MAY_BE_EMPTY:
        if keyword not in source:
            setattr(source, keyword, "")
    return source


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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
