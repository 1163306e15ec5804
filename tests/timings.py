"""Execute each notebook in a fresh kernel, measure it, and write docs/timings.json: python -m tests.timings."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from lvlab.files import PROJECT


def resident_bytes(root):
    """Return the resident memory of a process and all of its children (Linux)."""
    children, total = {}, 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append((int(status.parent.name), int(fields[21])))
    waiting = [root]
    while waiting:
        for process, pages in children.get(waiting.pop(), []):
            waiting.append(process)
            total += pages * os.sysconf("SC_PAGE_SIZE")
    return total


def measure(notebook, environment):
    """Return {"seconds", "peak_gb"} of executing one notebook; its stored outputs stay as they are."""
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--stdout",
               "--ExecutePreprocessor.timeout=1800", str(notebook)]
    peak, done, before = [0], threading.Event(), time.perf_counter()

    def watch():
        while not done.wait(0.2):
            peak[0] = max(peak[0], resident_bytes(os.getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    finally:
        done.set()
        watcher.join()
    return {"seconds": round(time.perf_counter() - before), "peak_gb": round(peak[0] / 1e9, 1)}


def main():
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LVLAB_DATA": f"{folder}/phantom", "LVLAB_RUNS": f"{folder}/runs"}
        subprocess.run([sys.executable, "-m", "lvlab", "phantom", "--out", f"{folder}/phantom", "--quiet"], check=True)
        timings = {"cores": os.cpu_count()}
        for notebook in sorted((PROJECT / "notebooks").glob("*.ipynb")):
            timings[notebook.stem] = measure(notebook, environment)
            print(notebook.stem, timings[notebook.stem], flush=True)
    (PROJECT / "docs" / "timings.json").write_text(json.dumps(timings, indent=2) + "\n")


if __name__ == "__main__":
    main()
