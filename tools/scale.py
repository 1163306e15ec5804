"""`make scale`: an archive of phantoms with damaged files, segmented, killed twice with -9 on the way, and checked.

Prints slices a second, peak memory, and where the time of one slice goes.
"""

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from lvlab import phantom
from lvlab.commands import stream
from lvlab.store import runs
from lvlab.store.shipped import SHIPPED, shipped_run

PLACE, PATIENTS, STUDY, DAMAGED = Path("build/scale"), 8, 10, 100
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")


def make(place, slices):
    """Write an archive: studies of ten slices in nested folders, every hundredth file cut short; return those."""
    files = sorted(phantom.write(PLACE / "phantom", PATIENTS, seed=0, quiet=True).rglob("*.dcm"))
    stored = [(file.read_bytes(), [stream.dicom.open_dataset(file)[uid].value.encode() for uid in UIDS])
              for file in files]
    bad = []
    for number in range(slices):
        content, uids = stored[number % len(stored)]
        study = number // STUDY
        for uid in uids:  # the same length, so that nothing else changes
            content = content.replace(uid, uid[:-6] + f"{study:06d}".encode())
        path = place / f"{study // 100:03d}" / f"study{study:06d}" / f"IM{number % STUDY:04d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        damaged = number % DAMAGED == DAMAGED // 2
        path.write_bytes(content[:len(content) // 2] if damaged else content)
        bad += [path.relative_to(place).as_posix()] if damaged else []
    return bad


def memory(process):
    """Return the memory of a process and all that it started, MB, each page counted once (PSS where there is one)."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            about = each.memory_full_info()
            total += getattr(about, "pss", about.rss)
        except psutil.Error:
            continue
    return total / 2**20


def lines(out):
    """Return how many files the journals of a folder call done."""
    return sum(path.read_bytes().count(b"\n") for path in out.glob(".segment/*.jsonl"))


def run(command, out, until=None):
    """Run the command, killed with -9 once `until` files are done; return (exit code, seconds, peak MB)."""
    process, begun, most = psutil.Popen([str(word) for word in command]), time.monotonic(), 0
    while process.poll() is None:
        try:
            most = max(most, memory(process))
        except psutil.Error:
            break
        if until is not None and lines(out) >= until:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.3)
    return process.wait(), time.monotonic() - begun, most


def check(place, out, bad, slices):
    """See that every sound file has its mask and every other a line in failures.csv."""
    failed = set(pd.read_csv(out / "failures.csv").file)
    masks = {path.relative_to(out).with_suffix(".dcm").as_posix() for path in out.rglob("[!.]*.png")}
    every = {path.relative_to(place).as_posix() for path in place.rglob("*.dcm")}
    assert failed == set(bad) and masks == every - failed and len(every) == slices
    assert not list(out.rglob(".writing-*")) and len(pd.read_csv(out / "review.csv")) == len(masks)


def stages(place, count=200):
    """Print where the time of one slice goes, one thing after the other: processor time, ms a slice."""
    files = sorted(place.rglob("*.dcm"))[:count]
    sources = [stream.Source(str(file), f"{number}.png") for number, file in enumerate(files)]
    scratch = PLACE / "stages"
    scratch.mkdir(exist_ok=True)
    task = stream.Task(shipped_run(), runs.fingerprint(SHIPPED), scratch, scratch)
    stream._predicted(task, [np.zeros((stream.SIZE, stream.SIZE), np.float32)])
    times = [time.process_time()]
    items = [item for item in map(stream.decode, sources) if item.seen]
    times.append(time.process_time())
    done = list(stream._through_network(task, items))
    times.append(time.process_time())
    for item, masks, sure in done:
        stream._written(task, item, masks, sure)
    times.append(time.process_time())
    spent = np.diff(times) / len(items) * 1e3
    for what, ms in zip(("decode and crop", "network and threshold", "review and write"), spent, strict=True):
        print(f"  {what:22s} {ms:5.1f} ms a slice, {ms / spent.sum():.0%}")


def main():
    """Run it; an AssertionError tells what was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=2)
    args, more = parser.parse_known_args()
    shutil.rmtree(PLACE, ignore_errors=True)
    place, out = PLACE / "in", PLACE / "out"
    begun = time.monotonic()
    bad = make(place, args.slices)
    print(f"{args.slices:,} files, {len(bad):,} damaged, made in {time.monotonic() - begun:.0f} s; options: {more}")
    command = [sys.executable, "-m", "lvlab", "segment", place, "--out", out, *more]
    for kill in range(1, args.kills + 1):
        code, seconds, most = run(command, out, until=kill * args.slices // (args.kills + 1))
        print(f"killed (exit code {code}) after {seconds:.0f} s, {lines(out):,} files done, peak {most:,.0f} MB")
    left = args.slices - lines(out)
    code, seconds, most = run(command, out)
    assert code == (1 if bad else 0), code
    check(place, out, bad, args.slices)
    print(f"{left:,} files in {seconds:.0f} s with the start: {left / seconds:.1f} slices/s, peak {most:,.0f} MB; "
          "every sound file has one mask, every other a line in failures.csv")
    stages(place)


if __name__ == "__main__":
    main()
