"""Prediction, post-processing, and the score table with its summary."""

import time

import numpy as np
import pandas as pd

from lvlab import metrics
from lvlab.store.files import CourseError

METRICS = ("precision", "recall", "dice", "jaccard")
THRESHOLDS = np.arange(1, 100) / 100


def predict(run, slices):
    """Return the probability of the cavity in each pixel: float32 (n, h, w, 1) in [0, 1]."""
    model = run.model
    size, wanted = slices.images.shape[1], getattr(model, "input_shape", slices.images.shape)[1]
    if size != wanted:
        raise CourseError(f"{run.path}: its network takes {wanted} × {wanted} pixels, these slices are {size} × "
                          f"{size}; load them with size={wanted}, or train anew")
    chunks = [model.predict_on_batch(slices.images[at:at + 20]) for at in range(0, len(slices), 20)]
    return np.concatenate(chunks)


def masks_of(probability, threshold=0.5):
    """Return float32 masks in {0, 1}: 1 where the probability is at least `threshold`."""
    return (probability >= threshold).astype(np.float32)


def segment(run, slices):
    """Return the masks that a run draws by its own recipe: float32 (n, h, w, 1) in {0, 1}."""
    return masks_of(predict(run, slices), run.recipe["threshold"])


def threshold_curves(truth, probability, thresholds=THRESHOLDS):
    """Return the four metrics of one slice at many thresholds: a DataFrame indexed by threshold.

    truth, probability : (h, w) or (h, w, 1)
    """
    found = np.asarray(probability).reshape(1, *truth.shape[:2]) >= np.reshape(thresholds, (-1, 1, 1))
    truth = np.broadcast_to(np.reshape(truth, (1, *truth.shape[:2])), found.shape)
    return pd.DataFrame({name: getattr(metrics, name)(truth, found) for name in METRICS},
                        index=pd.Index(thresholds, name="threshold"))


def feature_watcher(run):
    """Return a function: images (n, h, w, 1) to {layer name: its output (n, h, w, channels), float32}.

    run : a Run or a Keras model. The layers come in the order of the U, from the image to the probability.
    """
    from lvlab.backend import keras

    model = getattr(run, "model", run)
    names = [layer.name for layer in model.layers[1:]]
    watched = keras.Model(model.inputs, [model.get_layer(name).output for name in names])

    def watch(images):
        outputs = watched.predict_on_batch(images)
        return {name: np.asarray(output, np.float32) for name, output in zip(names, outputs, strict=True)}

    return watch


def evaluate(run, slices):
    """Return the score table of a run on slices with ground truth; see `score`."""
    return score(slices, segment(run, slices))


def score(slices, prediction):
    """Return a DataFrame, one row per slice, comparing prediction masks with the ground truth.

    Columns: name, patient, phase, level, precision, recall, dice, jaccard, area_true_mm2,
    area_pred_mm2, flag. Where truth and prediction are both empty the four metrics are NaN and the
    flag says so; it also names an empty prediction and an empty truth.
    """
    if slices.masks is None:
        raise ValueError("these slices have no ground truth to compare with")
    table = slices.table[["name", "patient", "phase", "level"]].copy()
    for name in METRICS:
        table[name] = getattr(metrics, name)(slices.masks, prediction)
    spacing = slices.table.row_spacing_mm.to_numpy(), slices.table.col_spacing_mm.to_numpy()
    table["area_true_mm2"] = metrics.area_mm2(slices.masks, *spacing)
    table["area_pred_mm2"] = metrics.area_mm2(prediction, *spacing)
    no_truth = ~slices.masks.any(axis=(1, 2, 3))
    no_prediction = ~prediction.any(axis=(1, 2, 3))
    table["flag"] = np.select([no_truth & no_prediction, no_truth, no_prediction],
                              ["both empty", "empty truth", "empty prediction"], "")
    return table


def summarise(scores):
    """Return {n, both_empty, precision, recall, dice, jaccard, names} of a score table.

    Each metric has mean, sd (population), median, worst, best over the slices that are not both
    empty; names are those of the best, the median (lower middle) and the worst Dice.
    """
    counted = scores[scores.dice.notna()]
    result = {"n": len(scores), "both_empty": len(scores) - len(counted)}
    for name in METRICS:
        values = counted[name].to_numpy(float)
        result[name] = {key: float(of(values)) if len(values) else float("nan") for key, of in _STATISTICS.items()}
    result["names"] = {key: scores.name[row] for key, row in ranked(scores).items()}
    return result


_STATISTICS = {"mean": np.mean, "sd": np.std, "median": np.median, "worst": np.min, "best": np.max}


def ranked(scores):
    """Return {best, median, worst: row label} by Dice, the median being the lower middle; {} if none counts."""
    order = scores.dice.dropna().sort_values(kind="stable").index
    if len(order) == 0:
        return {}
    return {"best": order[-1], "median": order[(len(order) - 1) // 2], "worst": order[0]}


def confidence_interval(scores, metric="dice", level=0.95, draws=2000, seed=0):
    """Return the (low, high) bootstrap interval of a metric's mean, slices drawn with replacement.

    Slices of one patient resemble one another, so the true interval is wider still. Efron 1979,
    doi:10.1214/aos/1176344552.
    """
    values = scores[metric].dropna().to_numpy()
    chosen = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    tail = (1 - level) / 2
    low, high = np.quantile(values[chosen].mean(1), [tail, 1 - tail])
    return float(low), float(high)


def score_run(run, slices):
    """Evaluate and time: return (score table, summary with times, recipe, versions, fingerprint)."""
    from lvlab.store.runs import versions

    run.model.predict_on_batch(slices.images[:1])
    before = time.perf_counter()
    prediction = segment(run, slices)
    seconds = time.perf_counter() - before
    table = score(slices, prediction)
    summary = {**summarise(table), "train_seconds": run.record.get("train_seconds"), "predict_seconds": seconds,
               "recipe": run.recipe, "seed": run.record.get("seed"), "versions": versions(),
               "data_fingerprint": slices.fingerprint()}
    return table, summary


def format_summary(summary):
    """Return the summary as a small table of text, for the command line."""
    rows = pd.DataFrame({name: summary[name] for name in METRICS}).T
    return f"n = {summary['n']} slices\n{rows.round(3).to_string()}"
