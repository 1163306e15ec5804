"""`make timings`: execute each notebook in a fresh kernel and measure it.

Writes docs/timings.json, and the line of minutes and memory at the head of each notebook and its .py.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

import psutil

from lvlab.backend import choose_precision
from lvlab.store.files import PROJECT, whole_file, write_json

TIMINGS = PROJECT / "docs" / "timings.json"
SENTENCE = re.compile(r"(\*\*Time:\*\* \d+ minutes to read, )[^\n]*? cores\)")


def resident_bytes():
    """Return the resident memory of all that this process started: a student has Jupyter and the kernel, not this."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def measure(notebook, environment):
    """Return {"seconds", "peak_gb"} of executing one notebook; its stored outputs stay as they are."""
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--stdout",
               "--ExecutePreprocessor.timeout=1800", str(notebook)]
    peak, done, before = [0], threading.Event(), time.perf_counter()

    def watch():
        while not done.wait(0.2):
            peak[0] = max(peak[0], resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    finally:
        done.set()
        watcher.join()
    return {"seconds": round(time.perf_counter() - before), "peak_gb": round(peak[0] / 1e9, 1)}


def spoken(seconds):
    """Return a time as a reader wants it: seconds in fives, from one minute on half minutes, both rounded up."""
    if seconds <= 55:
        return f"{-(-seconds // 5) * 5:g} seconds"
    minutes = -(-seconds // 30) / 2
    return f"{minutes:g} minute{'s' * (minutes != 1)}"


def sentence(timing, cores):
    """Return what a notebook says of itself, after its minutes to read."""
    run, slow = spoken(timing["seconds"]), spoken(timing.get("seconds_float32", timing["seconds"]))
    without = f" ({slow} in float32)" if slow != run else ""
    return f"{run} to run{without}. **Memory:** {timing['peak_gb']:g} GB. (`make timings`, {cores} cores)"


def tell(notebook, timings):
    """Put the sentence into both halves of a pair, whose text alone changes."""
    told = sentence(timings[notebook.stem], timings["cores"])
    for path in (notebook, notebook.with_suffix(".py")):
        text, count = SENTENCE.subn(lambda found: found[1] + told, path.read_text())
        assert count == 1, f"{path}: no line of the form '**Time:** 20 minutes to read, …'"
        with whole_file(path) as temporary:
            temporary.write_text(text)


def main():
    notebooks = sorted((PROJECT / "notebooks").glob("*.ipynb"))
    timings = {"cores": os.cpu_count(), **{notebook.stem: {} for notebook in notebooks}}
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/phantom"
        subprocess.run([sys.executable, "-m", "lvlab", "phantom", "--out", data, "--quiet"], check=True)
        both = (("auto", ""), ("float32", "_float32"))
        for precision, suffix in both if choose_precision("auto") != "float32" else both[:1]:
            environment = {**os.environ, "LVLAB_DATA": data, "LVLAB_RUNS": f"{folder}/{precision}",
                           "LVLAB_PRECISION": precision}
            for notebook in notebooks:
                measured = measure(notebook, environment)
                timings[notebook.stem][f"seconds{suffix}"] = measured["seconds"]
                timings[notebook.stem].setdefault("peak_gb", measured["peak_gb"])
                print(notebook.stem, precision, measured, flush=True)
    write_json(TIMINGS, timings)
    for notebook in notebooks:
        tell(notebook, timings)


if __name__ == "__main__":
    main()
