"""Print how long each viewer's callback takes: python -m tests.browser.measure_callbacks

Moves every control through its traits, without a browser: what counts is the time until the new picture is sent.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

import lvlab
from lvlab import phantom
from lvlab.store import runs
from lvlab.teach import viewers

MOVES = 7


def measure(name, moves):
    """Make the moves, the first not counted; print median and longest in ms, and the processor's part of them."""
    seconds = []
    for move in moves:
        before = time.perf_counter(), time.process_time()
        move()
        seconds.append((time.perf_counter() - before[0], time.process_time() - before[1]))
    wall, processor = 1000 * np.array(seconds[1:]).T
    print(f"{name:30} median {np.median(wall):4.0f} ms, longest {wall.max():4.0f} ms "
          f"(processor: {np.median(processor):4.0f} and {processor.max():4.0f} ms)")


def setting(control, values, trait="value"):
    return [lambda value=value: setattr(control, trait, value) for value in values]


def outline(count=60):
    angle = np.linspace(0, 2 * np.pi, count)
    return [(64 + 15 * np.cos(a), 64 + 15 * np.sin(a)) for a in angle]


def main():
    with tempfile.TemporaryDirectory() as folder:
        slices = lvlab.load(phantom.write(Path(folder) / "phantom", patients=2, seed=1, quiet=True)).training
    prediction = np.roll(slices.masks, 3, axis=1)
    _, phase, place, show, _, window, _, _ = viewers.slice_browser(slices, prediction).children
    measure("slice browser: phase", setting(phase, phase.options * 3))
    measure("slice browser: level", setting(place, range(len(place.options))[:MOVES], "index"))
    measure("slice browser: show", setting(show, show.options))
    measure("slice browser: window", setting(window, np.linspace(0.5, 2, MOVES)))
    probability = np.clip(0.7 * prediction + 0.3 * slices.images, 0, 1)
    row, threshold, _ = viewers.threshold_explorer(slices, probability).children
    measure("threshold explorer: threshold", setting(threshold, np.linspace(0.1, 0.9, MOVES)))
    measure("threshold explorer: slice", setting(row, range(MOVES), "index"))
    row, layer, _ = viewers.feature_map_explorer(runs.shipped_run(), slices).children
    measure("feature maps: layer", setting(layer, range(len(layer.options)), "index"))
    measure("feature maps: slice", setting(row, range(MOVES), "index"))
    monitor = viewers.TrainingMonitor(slices)
    monitor.set_model(runs.shipped_run().model)
    logs = dict.fromkeys(("loss", "dice", "val_loss", "val_dice"), 0.5)
    measure("training monitor: epoch", [lambda e=e: monitor.on_epoch_end(e, logs) for e in range(20)])
    drawer = viewers.contour_drawer(slices, prediction)
    measure("contour drawer: a drawing", [lambda: drawer.finish(outline())] * MOVES)
    measure("contour drawer: next", [drawer.next.click] * MOVES)


if __name__ == "__main__":
    main()
