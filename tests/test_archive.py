"""Archives: a segmentation that may stop anywhere, meets damaged files, and runs in workers or in parts."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from lvlab import evaluation
from lvlab.__main__ import main
from lvlab.commands import segment, stream
from lvlab.commands.workers import WorkerDied
from lvlab.errors import CourseError
from lvlab.store import dicom
from lvlab.store.journal import DIFFERS, HIDDEN, Journal
from lvlab.store.shipped import shipped_run
from tests import samples

BRIGHT = samples.Rule(Path("bright"))
NAME = "Doe^Jane"


def archive(place, studies=4, files=7, damaged=2):
    """Studies in folders, and of every size; in each the last files are damaged, one has three frames, one is none."""
    for study in range(studies):
        for number in range(files):
            radius = 40 if (study, number) == (3, 2) else 20 + 2 * number
            pixels = samples.picture(seed=10 * study + number, radius=radius)[0]
            samples.write_dicom(
                place / f"{study % 2}/study{study}/IM{number}.dcm", pixels, PatientName=NAME, PatientID=f"K{study}",
                StudyInstanceUID=f"1.2.{study}", SeriesInstanceUID=f"1.2.{study}.1", FrameOfReferenceUID="1.2.3",
                SOPInstanceUID=f"1.2.{study}.1.{number}", ImagePositionPatient=[0, 0, 10 * number],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        for number in range(files - damaged, files):
            path = place / f"{study % 2}/study{study}/IM{number}.dcm"
            path.write_bytes(path.read_bytes()[:1000 * number])
    pixels = np.concatenate([samples.picture(seed, radius=25)[0] for seed in range(3)])
    samples.write_dicom(place / "1/cine.dcm", pixels, Rows=samples.SIDE, NumberOfFrames=3)
    samples.write_dicom(place / "1/report.dcm", Rows=None, PixelData=None, Modality="SR")
    return place


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An archive, and what one run without any trouble makes of it."""
    place = tmp_path_factory.mktemp("archive")
    outcome = segment.segment(BRIGHT, [archive(place / "in")], place / "out", quiet=True)
    assert outcome == (4 * 5 + 3, 30, 8, 0)
    return place


def content(out):
    """All that a user sees in a folder of masks."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*")
            if path.is_file() and HIDDEN not in path.parts}


def run(place, out, **how):
    return segment.segment(BRIGHT, [place / "in"], out, quiet=True, **how)


def test_what_cannot_be_read_is_listed_and_the_rest_is_segmented(whole, capsys, monkeypatch):
    failures = pd.read_csv(whole / "out/failures.csv")
    assert list(failures.file) == [f"{n % 2}/study{n}/IM{k}.dcm" for n in (0, 2, 1, 3) for k in (5, 6)]
    assert failures.reason.str.startswith("cannot be read as DICOM").all()
    assert len(pd.read_csv(whole / "out/review.csv")) == 23
    monkeypatch.setattr("lvlab.__main__._run", lambda args: BRIGHT)
    assert main(["segment", str(whole / "in/0"), "--out", str(whole / "cli"), "--quiet"]) == 1
    line, = capsys.readouterr().err.splitlines()
    assert line == f"lvlab: 4 of 14 files could not be read; {whole}/cli/failures.csv says why"


def test_no_name_and_no_id_reaches_the_output(whole):
    written = b"".join(path.read_bytes() for path in (whole / "out").rglob("*") if path.is_file())
    for word in (NAME, "Doe", "K1", "1.2.1", str(whole)):
        assert word.encode() not in written


def test_the_review_compares_the_masks_of_a_stack(whole):
    review = pd.read_csv(whole / "out/review.csv")
    assert list(review["mask"])[:1] == ["1/study3/IM2.png"]
    assert list(review.implausible.dropna()) == ["an area that jumps between levels"]


KILLED = """
import sys
from pathlib import Path
from lvlab.commands import segment, stream
from tests import samples
slow = stream.write_mask
def write_mask(path, mask):
    slow(path, mask)
    import time; time.sleep(0.1)
stream.write_mask = write_mask
segment.segment(samples.Rule(Path("bright")), [sys.argv[1]], sys.argv[2], quiet=True)
"""


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(whole, tmp_path, caplog):
    out = tmp_path / "out"
    for more in (4, 11):
        process = subprocess.Popen([sys.executable, "-c", KILLED, whole / "in", out], cwd=Path(__file__).parents[1])
        while len([*out.rglob("*.png")]) < more and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (out / "review.csv").exists()
    (out / HIDDEN / "1-of-1" / ".writing-left.png").write_bytes(b"half")
    with open(out / HIDDEN / "1-of-1.jsonl", "ab") as file:
        file.write(b'{"file":"cut sho')
    caplog.set_level("INFO", "lvlab")
    outcome = run(whole, out)
    assert 0 < outcome.masks < 23 and " of 30 done" in caplog.text
    assert content(out) == content(whole / "out") and not [*(out / HIDDEN / "1-of-1").iterdir()]
    assert run(whole, out).masks == 0 and content(out) == content(whole / "out")


def test_two_workers_write_the_same_bytes_and_one_that_is_killed_costs_its_batch(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "BATCH", 4)
    killed = []
    thread = threading.Thread(target=kill_one_worker, args=(tmp_path / "out", killed))
    thread.start()
    slow = samples.Rule(Path("slow"))
    assert segment.segment(slow, [whole / "in"], tmp_path / "out", quiet=True, workers=2).failed == 8
    thread.join()
    assert killed and content(tmp_path / "out") == content(whole / "out")


def test_two_dask_workers_write_the_same_bytes(whole, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(segment, "BATCH", 4)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        assert run(whole, tmp_path / "out", scheduler=cluster.scheduler_address).failed == 8
    assert content(tmp_path / "out") == content(whole / "out")


def kill_one_worker(out, killed):
    """Kill -9 one of the workers as soon as there is a mask."""
    for _ in range(3000):
        if any(out.rglob("*.png")):
            workers = [child for child in psutil.Process().children() if "serve()" in " ".join(child.cmdline())]
            killed.append(workers[-1])
            return workers[-1].kill()
        time.sleep(0.01)


def test_a_file_that_kills_its_worker_every_time_is_given_up_alone(whole, tmp_path, monkeypatch):
    """The pool begins a job again some times; here it has given up on each batch with one file in it."""
    tried = []

    class Pool:
        slots = 1

        def submit(self, function, task, batch):
            tried.append([Path(source.path).name for source in batch])
            future = Future()
            if any(source.target == "0/study0/IM1.png" for source in batch):
                future.set_exception(WorkerDied("died"))
            else:
                future.set_result(function(task, batch))
            return future

    pool, sources = Pool(), segment.gather([whole / "in/0/study0"])
    task = stream.Task(BRIGHT, "", tmp_path, tmp_path)
    sources = [source._replace(target=f"0/study0/{source.target}") for source in sources]
    rows = {row["file"]: row for row in segment._in_pool(pool, task, sources)}
    assert len(rows) == 7 and tried[0] == [f"IM{number}.dcm" for number in range(7)] and len(tried) == 8
    assert rows["0/study0/IM1.png"]["failed"].startswith("ends the process that reads it, every time")
    assert [row for row in rows.values() if "failed" in row and "cannot be read" not in row["failed"]] == [
        rows["0/study0/IM1.png"]]


def test_parts_cover_everything_once_and_keep_studies_together(whole, tmp_path, caplog):
    every = segment.gather([whole / "in"])
    parts = [segment.one_part(every, number, 3) for number in (1, 2, 3)]
    assert sorted(sum(parts, [])) == sorted(every) and all(parts)
    studies = [{Path(source.path).parent for source in part if "study" in source.path} for part in parts]
    assert sum(map(len, studies)) == 4
    caplog.set_level("INFO", "lvlab")
    for number in (3, 1, 2):
        run(whole, tmp_path / "out", part=(number, 3))
        assert f"part {number} of 3: {len(parts[number - 1])} of 30 files" in caplog.text
    assert content(tmp_path / "out") == content(whole / "out")


def test_two_that_do_the_same_part_are_one_too_many(tmp_path):
    with Journal(tmp_path / "out", dict.fromkeys(DIFFERS, "")):
        with pytest.raises(CourseError, match="another process writes the same masks"):
            Journal(tmp_path / "out", dict.fromkeys(DIFFERS, "")).__enter__()


def test_another_network_is_never_mixed_in(whole, tmp_path):
    out = shutil.copytree(whole / "out", tmp_path / "out")
    with pytest.raises(CourseError, match=r"was begun with another network; go on with the same, or name another"):
        segment.segment(shipped_run(), [whole / "in"], out, quiet=True)
    with pytest.raises(CourseError, match="was begun with other files or folders"):
        segment.segment(BRIGHT, [whole / "in/0"], out, quiet=True)
    assert content(out) == content(whole / "out")


def test_what_has_changed_or_is_missing_is_made_anew_and_nothing_else(whole, tmp_path):
    shutil.copytree(whole / "in", tmp_path / "in")
    run(tmp_path, tmp_path / "out")
    samples.write_dicom(tmp_path / "in/0/study0/IM5.dcm")                             # was damaged
    samples.write_dicom(tmp_path / "in/1/cine.dcm", 0 * samples.picture()[0])         # had three frames
    (tmp_path / "out/1/study1/IM1.png").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert run(tmp_path, tmp_path / "out").failed == 7
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    changed = {path.relative_to(tmp_path / "out").as_posix() for path in {*before, *after}
               if before.get(path) != after.get(path)}
    assert changed == {"0/study0/IM5.png", "1/study1/IM1.png", "1/cine.png", *(
        f"1/cine_f000{number}.png" for number in (1, 2, 3))}


def test_few_images_are_in_memory_at_once(tmp_path, monkeypatch):
    """Four hundred slices pass; those that wait for the network are a few batches."""
    alive, most = [0], []

    class Counted(stream.Item):
        def __del__(self):
            alive[0] -= len(self.seen)

    def decode(source):
        alive[0] += 1
        most.append(alive[0])
        return Counted({"file": source.target, "masks": 1, "slices": [{}]}, [np.ones((128, 128), np.float32)],
                       [((0, 0, 128, 128), (128, 128), (1, 1))])

    monkeypatch.setattr(stream, "decode", decode)
    monkeypatch.setattr(stream, "write_mask", lambda path, mask: None)
    task = stream.Task(BRIGHT, "", tmp_path, tmp_path)
    sources = [stream.Source(str(tmp_path / f"{number}.dcm"), f"{number}.png") for number in range(400)]
    assert sum(1 for _ in stream.rows(task, sources)) == 400
    assert max(most) <= stream.AHEAD + 2 * evaluation.BATCH + 1


def test_one_dicom_seg_a_stack_and_none_is_made_twice(whole, tmp_path):
    pytest.importorskip("highdicom")
    out = tmp_path / "out"
    assert run(whole, out, as_dicom=True).objects == 4
    objects = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    assert sorted(path.relative_to(out).as_posix() for path in objects) == [
        f"{n % 2}/study{n}/segmentation_IM0.dcm" for n in (0, 2, 1, 3)]
    assert dicom.open_dataset(min(objects)).NumberOfFrames == 5
    assert run(whole, out, as_dicom=True).objects == 4
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")} == objects


REAL = """
import sys, os
from pathlib import Path
import numpy as np
from lvlab.commands import stream
from lvlab.store.runs import fingerprint
from lvlab.store.shipped import shipped_run
stream._choose_library()
run = shipped_run()
crops = list(np.load(sys.argv[1])[..., 0])
task = stream.Task(run, fingerprint(run.path), None, None)
alone = [stream._predicted(task, [crop])[0] for crop in crops]
together = stream._predicted(task, crops[::-1])[::-1]
assert all((a == b).all() and s == t for (a, s), (b, t) in zip(alone, together)), "neighbours matter"
"""


def test_a_mask_does_not_depend_on_the_slices_beside_it(slices, tmp_path):
    """With the real network, in a process of its own: the library is chosen before TensorFlow's import."""
    np.save(tmp_path / "crops.npy", slices.images[:6])
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
    subprocess.run([sys.executable, "-c", REAL, tmp_path / "crops.npy"], cwd=Path(__file__).parents[1], check=True,
                   env=environment, stderr=subprocess.PIPE)
