"""`lvlab segment`: masks in the original frame of any number of DICOM and NIfTI files without ground truth.

The work is a stream (`stream.py`), here or in a pool of workers; the journal (`store/journal.py`) tells what is done.
"""

import contextlib
import hashlib
import logging
import os
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lvlab.clinic import review
from lvlab.commands.stream import (
    WITH_PICTURE,
    Source,
    Task,
    arithmetic,
    decode,
    mask_names,
    rows,
    segment_files,
    write_stacks,
)
from lvlab.commands.workers import died, finished, open_pool
from lvlab.errors import CourseError
from lvlab.store import dicom, folder, nifti
from lvlab.store.files import find, one_line, shorten, walk, write_csv
from lvlab.store.journal import Journal, fingerprint_of, refuse_other
from lvlab.store.runs import fingerprint, versions
from lvlab.store.shipped import SHIPPED

notes = logging.getLogger(__name__)
FRAME = re.compile(r"(.+)_f\d{4,}\.png$")
IS_MASK = re.compile(r"_(gt|seg|mask|labels?)$", re.IGNORECASE)
FAILURES, REVIEW = "failures.csv", "review.csv"
BATCH, BATCH_BYTES = 60, 2**26  # of a job in a pool, which a killed worker does again: files and their bytes, at most
AFTER_STUDY = 0x0020000E


class Outcome(NamedTuple):
    """Masks written now; files of this part, and those among them that could not be read; DICOM SEG objects."""

    masks: int
    files: int
    failed: int
    objects: int


def gather(paths, out=None):
    """Return [Source] of files and folders, folders searched deeply; what lies in the folder `out` is passed over.

    Inside folders a file counts as DICOM by its ending or its first bytes, as NIfTI by its ending, unless its name says
    that it is a mask. A DICOMDIR stands for its folder. Raises where a folder holds no MR image: headers are read up to
    the first one. What else shows nothing is found out when it is read.
    """
    found, named = [], []
    for path in map(find, paths):
        path = path.parent if path.name.upper() == "DICOMDIR" and path.is_file() else path
        if path.is_dir():
            found += _inside(path, out)
        elif path.is_file():
            named += [] if nifti.is_nifti(path) else [path]
            found.append((path, _target(Path(path.name))))
        else:
            raise CourseError(f"{path}: no such file or folder; name DICOM files or folders of them")
    if len(named) == len(found):
        _need_image(named, named[0])
    return _each_once(found)


def _inside(path, out):
    """Return [(file, target)] of a folder, sorted."""
    every, aside = walk(path, odd=True), os.path.realpath(out) + os.sep if out else None
    files = [file for file in every if file.is_file() and not (aside and os.path.realpath(file).startswith(aside))]
    if odd := [file.name for file in every if not file.is_file()]:
        notes.warning("Note: %d links to nothing, pipes or devices left out: %s.", len(odd), shorten(odd))
    volumes = [file for file in files if nifti.is_nifti(file) and not IS_MASK.search(nifti.stem_of(file))]
    images = [file for file in files if dicom.is_dicom(file)]
    if not volumes:
        _need_image(images, path)
    return [(file, _target(file.relative_to(path))) for file in sorted(images + volumes)]


def _each_once(found):
    """Return the Sources of [(file, target)], a file that is named twice once; raise where two want one mask."""
    once = list({os.path.realpath(file): (file, target) for file, target in reversed(found)}.values())[::-1]
    twice = {target for target, count in Counter(target for _, target in once).items() if count > 1}
    with_picture = [(file, target) for file, target in once if target not in twice or _shows(file)]
    frames = {target: file for file, target in with_picture}
    of_frames = {target for target in frames if (of := FRAME.match(target)) and _has_frames(frames.get(f"{of[1]}.png"))}
    for target, count in Counter(target for _, target in with_picture).items():
        if count > 1 or target in of_frames:
            raise CourseError(f"{target}: two inputs would write this mask; segment them into two folders")
    return [Source(os.path.abspath(file), target) for file, target in with_picture]


def _has_frames(file):
    """Tell whether a DICOM file says that it holds several frames; False for None and for what cannot be read."""
    try:
        return file is not None and int(dicom.open_dataset(file, header=True).get("NumberOfFrames") or 1) > 1
    except Exception:  # pydicom raises nearly every kind on damaged bytes; it is told where it is read
        return False


def _target(path):
    """Return the mask's name."""
    if nifti.is_nifti(path):
        return path.with_name(f"{nifti.stem_of(path)}.nii.gz").as_posix()
    return path.with_name(f"{dicom.stem_of(path)}.png").as_posix()


def _need_image(files, path):
    """Raise unless one of the files holds an MR image."""
    kinds = Counter()
    for file in files:
        kind = _kind(file)
        if kind in WITH_PICTURE:
            return
        kinds[kind] += 1
    said = ", ".join(f"{kind} ({count})" for kind, count in kinds.items())
    what = f"holds no MR image but {said}" if said else "holds no DICOM image"
    raise CourseError(f"{path}: {what}; name the {'folder' if path.is_dir() else 'file'} that does")


def _shows(file):
    return nifti.is_nifti(file) or _kind(file) in WITH_PICTURE


def _kind(file):
    """Return what a DICOM file shows, see `dicom.kind_of`; a damaged one counts as MR and is told where it is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = dicom.open_dataset(file, header=True)
            kind = dicom.kind_of(header) if "Rows" in header or "SOPClassUID" not in header else ""
            return kind or f"{dicom.what_holds(header)} without a picture"
    except Exception:  # pydicom raises nearly every kind on damaged bytes
        return "MR"


def one_part(sources, number, of):
    """Return part `number` of `of` of the sources: about as many files each, a study always whole.

    Reads the beginning of every file. The same files give the same parts.
    """
    studies = defaultdict(list)
    for source in sources:
        studies[_study(source)].append(source)
    before, chosen = 0, []
    for own in studies.values():
        middle = before + len(own) / 2
        chosen += own if int(middle * of / len(sources)) == number - 1 else []
        before += len(own)
    return chosen


def _study(source):
    """Return what tells a study: its UID or the PatientID, else the folder; of NIfTI the file."""
    if nifti.is_nifti(source.path):
        return source.path
    with contextlib.suppress(Exception), warnings.catch_warnings():  # a damaged file is told where it is read
        warnings.simplefilter("ignore")
        head = dicom.open_dataset(source.path, header=True, until=AFTER_STUDY)
        if told := [str(head[name].value) for name in ("StudyInstanceUID", "PatientID") if name in head]:
            return tuple(told[:1])
    return os.path.dirname(source.path)


def segment(run, paths, out, as_dicom=False, workers=1, scheduler=None, part=(1, 1), quiet=False):
    """Write the masks of all files in `paths`, 0/255, in their original frames, into `out`; return the Outcome.

    as_dicom : write them as DICOM Segmentation objects, too (`clinic.dicom_seg`), one a stack
    workers, scheduler : see `workers.open_pool`
    part : (4, 5) is the fourth of five parts, which may be done at the same time, on several machines

    Goes on where an earlier call with the same arguments stopped. A file of several frames, such as a cine, gives one
    mask a frame: NAME_f0001.png … A NIfTI volume gives one of its own size, NAME.nii.gz. What cannot be read stands in
    failures.csv; one file named alone is refused. review.csv lists the masks (of a volume each slice), those first that
    a person should look at: the least sure, and what no heart does.
    """
    out, weights = Path(os.path.abspath(out)), fingerprint(Path(run.path))
    about = {"made by": "lvlab segment", "lvlab": versions()["lvlab"], "weights": weights,
             "recipe": run.recipe.as_dict(), "sources": fingerprint_of(map(find, paths))}
    begun = refuse_other(out, about)
    every = gather(paths, out)
    if as_dicom and (volumes := [each.path for each in every if nifti.is_nifti(each.path)]):
        raise CourseError(f"{volumes[0]}: a DICOM SEG refers to DICOM files, and this is NIfTI; its mask is written as "
                          "NIfTI", ["dicom_seg"])
    if len(every) == 1 and "failed" in (row := decode(every[0]).row):
        raise CourseError(f"{every[0].path}: {row['failed']}")
    own = every
    if part != (1, 1):
        own = one_part(every, *part)
        notes.info("part %d of %d: %s of %s files", *part, f"{len(own):,}", f"{len(every):,}")
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(open_pool(workers, scheduler)) if workers != 1 or scheduler else None
        precision = begun.get("precision") or _arithmetic(run.recipe.precision, pool)
        journal = stack.enter_context(Journal(out, {**about, "precision": precision}, part))
        path = None if Path(run.path) == SHIPPED else Path(os.path.abspath(run.path))
        task = Task(replace(run, path=path, precision=journal.record["precision"]), weights, out, journal.scratch)
        masks = _segment(journal, task, own, pool, quiet)
        with journal.alone():
            failed = _write_tables(journal, every)
        objects = _write_objects(journal, task, own, pool, quiet) if as_dicom else 0
    return Outcome(masks, len(own), len(failed & {each.target for each in own}), objects)


def _arithmetic(precision, pool):
    """Return the arithmetic that suits the machines that do the work, or what the environment or the recipe says."""
    if pool is None or precision != "auto" or os.environ.get("LVLAB_PRECISION", "auto") != "auto":
        return arithmetic(precision)
    (_, future), = finished(pool, arithmetic, [(precision,)])
    return future.result()


def _segment(journal, task, sources, pool, quiet):
    """Write the masks that are not there yet; return how many."""
    state = _State(journal, sources)
    todo = [source for source in sources if not state.done(source, task.out)]
    if ready := len(sources) - len(todo):
        notes.info("resumed: %s of %s done", f"{ready:,}", f"{len(sources):,}")
    if state.changed:
        notes.info("%s files have changed since; their masks are made anew", f"{len(state.changed):,}")
    masks, found = 0, rows(task, todo) if pool is None else _in_pool(pool, task, todo)
    with tqdm(total=len(sources), initial=ready, unit="file", disable=quiet, delay=2) as bar:
        for row in found:
            new = mask_names(row["file"], row.get("masks", 0))
            for stale in {*mask_names(row["file"], state.changed.get(row["file"], 0))} - {*new}:
                (task.out / stale).unlink(missing_ok=True)
            journal.add(row)
            masks += len(new)
            bar.update()
    return masks


def _in_pool(pool, task, sources):
    """Yield the rows of files, a batch a job; files whose process dies every time are tried alone, then given up."""
    jobs = _batches(sources)
    while jobs:
        alone = []
        for (_, batch), future in finished(pool, segment_files, ((task, batch) for batch in jobs)):
            try:
                yield from future.result()
            except Exception as error:
                if not died(error):
                    raise
                alone += [[source] for source in batch if len(batch) > 1]
                if len(batch) == 1:
                    yield {"file": batch[0].target, "stat": _stat(batch[0].path), "failed":
                           "ends the process that reads it, every time: damaged, or too large; export it again"}
        jobs = alone


def _batches(sources):
    """Return lists of files: what a worker takes at once."""
    batches, weight = [[]], 0
    for source in sources:
        size = (_stat(source.path) or [0])[0]
        if batches[-1] and (len(batches[-1]) >= BATCH or weight + size > BATCH_BYTES):
            batches.append([])
            weight = 0
        batches[-1].append(source)
        weight += size
    return batches if batches[-1] else []


def _stat(path):
    try:
        about = os.stat(path)
    except OSError:
        return None
    return [about.st_size, about.st_mtime_ns]


class _State:
    """Which lines of a journal hold for which files: those written of a file as it is now, the best one of each.

    line : {target: (number of the line, masks)}, masks -1 where the file could not be read
    changed : {target: masks} of what was read, but has changed since
    """

    def __init__(self, journal, sources):
        self.line, self.changed = {}, {}
        paths = {source.target: source.path for source in sources}
        for number, row in enumerate(journal.rows()):
            target = row.get("file")
            if target not in paths:
                continue
            count = -1 if "failed" in row else row.get("masks", 0)
            if row.get("stat") != _stat(paths[target]):
                self.changed[target] = max(count, self.changed.get(target, 0))
            elif count >= self.line.get(target, (0, -1))[1]:
                self.line[target] = number, count
        self.changed = {target: count for target, count in self.changed.items() if target not in self.line}

    def done(self, source, out):
        """Tell whether a file needs no more work: its masks are there, or it is known to show nothing."""
        count = self.line.get(source.target, (0, -1))[1]
        with contextlib.suppress(OSError):
            return count >= 0 and all(os.path.getsize(out / name) for name in mask_names(source.target, count))
        return False


def _write_tables(journal, sources):
    """Write review.csv and failures.csv over all parts, say what is odd, and return the targets that failed."""
    paths = {source.target: source.path for source in sources}
    state = _State(journal, sources)
    slices, failures, left = [], {}, defaultdict(list)
    for number, row in enumerate(journal.rows()):
        target = row.get("file")
        if state.line.get(target, (-1, 0))[0] != number:
            continue
        if "failed" in row:
            failures[target] = row["failed"]
        elif "left out" in row:
            left[row["left out"]].append(os.path.basename(paths[target]))
        slices += [_facts(each) for each in row.get("slices", [])]
    if left:
        said = "; ".join(f"{kind} ({len(names)}): {shorten(sorted(names))}" for kind, names in sorted(left.items()))
        notes.warning("Note: %d of %d DICOM files hold no MR image; left out: %s.", sum(map(len, left.values())),
                      len(state.line), said)
    _write_review(journal.out / REVIEW, sorted(slices))
    _write_failures(journal.out / FAILURES, paths, failures)
    return set(failures)


def _write_failures(path, paths, failures):
    """Write one row a file that could not be read; no table where there is none."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    names = [Path(target).with_name(os.path.basename(paths[target])).as_posix() for target in failures]
    table = pd.DataFrame({"file": [one_line(folder.readable(name)) for name in names], "reason": failures.values()})
    write_csv(path, table.sort_values("file"))


FACTS = ["mask", "confidence", "flags", "patient", "phase", "place", "area", "y", "x", "plane", "kind", "said"]


def _facts(row):
    """Return a slice's facts, in the order of FACTS."""
    y, x = row["centre"] or (np.nan, np.nan)
    place = np.nan if row["place"] is None else row["place"]
    return (row["mask"], row["confidence"], tuple(row["flags"]), row["patient"], row["phase"], place, row["area"], y, x,
            tuple(row["plane"]), row["kind"], tuple(map(tuple, row["said"])))


def _write_review(path, slices):
    """Write one row a mask, in the order in which a person should look at them, and say what is odd about slices."""
    table = pd.DataFrame(slices, columns=FACTS)
    _say(table)
    flags = review.implausible_stacks(table)
    order = review.review_score(table.confidence, flags).argsort(kind="stable")
    names = table["mask"].map(folder.readable)
    write_csv(path, pd.DataFrame({"mask": names, "confidence": table.confidence, "implausible": flags}).iloc[order])


def _say(table):
    """Note once, over all slices, what is odd about some."""
    names = table["mask"].map(lambda name: name.removesuffix(".png"))
    said = defaultdict(list)
    for name, kind, own in zip(names, table.kind, table.said, strict=True):
        for odd in own:
            said[odd].append(name)
        if kind != "MR" and not (table.kind == "screenshot").all():
            said[f"are no MR slice but {folder.article(kind)}", True].append(name)
    if turned := folder.in_another_plane(zip(names, table.patient, table.plane, strict=True)):
        said[folder.OTHER_PLANE, True] = turned
    for (what, named), own in said.items():
        some = f" ({shorten([folder.readable(name) for name in own])})" if named else ""
        notes.warning("Note: %d of %d slices %s%s.", len(own), len(table), what, some)


def _write_objects(journal, task, sources, pool, quiet):
    """Write the DICOM SEG objects of the studies whose masks are new; return how many there are in all."""
    studies, nowhere, made = _studies(journal, sources)
    todo = {}
    for study, own in studies.items():
        have = made.get(study, {"of": "", "objects": []})
        if have["of"] != _digest(own) or not all((task.out / name).is_file() for name in have["objects"]):
            todo[study] = own
    jobs = ((task, study, [source for source, _ in own]) for study, own in todo.items())
    results = (write_stacks(*job) for job in jobs) if pool is None else _results(pool, jobs)
    for study, names, without in tqdm(results, total=len(todo), unit="study", disable=quiet, delay=2):
        for stale in {*made.get(study, {"objects": []})["objects"]} - {*names}:
            (task.out / stale).unlink(missing_ok=True)
        made[study] = {"study": study, "of": _digest(studies[study]), "objects": names, "nowhere": without}
        journal.add(made[study])
    nowhere += [name for study in studies for name in made[study]["nowhere"]]
    if nowhere:
        notes.warning("Note: no DICOM SEG of %d files, which do not tell where they lie in the patient, or whose tags "
                      "contradict the standard or another file's (%s).",
                      len(nowhere), shorten(sorted(nowhere)))
    count = sum(len(made[study]["objects"]) for study in studies)
    if not count and sources:
        raise CourseError("no file tells where it lies in the patient in tags as the standard has them, so there is no "
                          "DICOM SEG; the other masks are written", ["dicom_seg"])
    return count


def _results(pool, jobs):
    for _, future in finished(pool, write_stacks, jobs):
        yield future.result()


def _studies(journal, sources):
    """Return {study: [(Source, stat)]} of what has a mask, the names of files of no study, {study: its objects' row}.

    The frames of a file of several have no place in a stack.
    """
    state, paths = _State(journal, sources), {source.target: source.path for source in sources}
    studies, nowhere, made = defaultdict(list), [], {}
    for number, row in enumerate(journal.rows()):
        if "objects" in row:
            made[row["study"]] = row
        elif row.get("masks") and state.line.get(row["file"], (-1, 0))[0] == number:
            source = Source(paths[row["file"]], row["file"])
            if row["study"] and row["masks"] == 1:
                studies[row["study"]].append((source, row["stat"]))
            else:
                nowhere.append(os.path.basename(source.path))
    return {study: sorted(own) for study, own in sorted(studies.items())}, nowhere, made


def _digest(own):
    """Return 16 hex digits that change with the files of a study."""
    return hashlib.sha256(repr([(source.target, *stat) for source, stat in own]).encode()).hexdigest()[:16]
