"""Every static picture of the course. Each function returns a matplotlib Figure and keeps no state."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

from lvlab import metrics
from lvlab.evaluation import masks_of, ranked, segment

TRUTH, PREDICTION = "#00b3a4", "#ff7a1a"
MISSED, INVENTED = "#3b8bff", "#ff3d6e"


def overlay(image, mask, colour=TRUTH, opacity=0.4):
    """Blend a colour into a grey image where the mask is inside.

    image : (h, w) or (h, w, 1) in [0, 1]; mask : the same shape; opacity : 0 hides the mask, 1 the image.
    Returns float (h, w, 3) in [0, 1].
    """
    grey = np.repeat(np.asarray(image, float).reshape(*image.shape[:2], 1), 3, axis=2)
    share = opacity * (np.asarray(mask).reshape(*image.shape[:2], 1) > 0)
    return (1 - share) * grey + share * np.array(to_rgb(colour))


def show_overlay(slices, run, row):
    """Draw one slice, its truth and what the run finds in it, side by side. `row` counts from 0."""
    chosen = slices.subset([row])
    return triptych(chosen, segment(run, chosen), 0)


def triptych(slices, prediction, row, caption=""):
    """Draw image, ground truth and prediction of one slice, with its Dice."""
    image, truth, found = slices.images[row], slices.masks[row], prediction[row]
    figure, axes = _figure(1, 3, 3.2)
    _slice(axes[0], image, title=_describe(slices.table.iloc[row]))
    _slice(axes[1], overlay(image, truth), title="Ground truth", truth=truth)
    score = metrics.dice(truth, found)
    _slice(axes[2], overlay(image, found, PREDICTION), title=f"Prediction, Dice {score:.3f}",
           truth=truth, prediction=found)
    if caption:
        figure.suptitle(caption, fontsize=12, x=0.01, ha="left")
    return figure


def ranked_triptychs(slices, prediction, scores):
    """Return {"best": Figure, "median": Figure, "worst": Figure} by Dice."""
    return {name: triptych(slices, prediction, row, f"{name.capitalize()} of {len(scores)} slices")
            for name, row in ranked(scores).items()}


def show_patient(slices, patient):
    """Draw all slices of one patient from base to apex, a row per phase, with the masks' outlines."""
    chosen = slices.of_patient(patient)
    phases = sorted(set(chosen.table.phase))
    rows = [chosen.table[chosen.table.phase == phase].sort_values("level").index for phase in phases]
    figure, axes = _figure(len(rows), max(map(len, rows)), 1.9)
    axes = np.reshape(axes, (len(rows), -1))
    for line, phase, indices in zip(axes, phases, rows, strict=True):
        for axis, index in zip(line, indices, strict=False):
            truth = None if chosen.masks is None else chosen.masks[index]
            _slice(axis, chosen.images[index], f"{phase} level {chosen.table.level[index]}", truth)
    figure.suptitle(f"{patient}: base (left) to apex (right)", fontsize=12, x=0.01, ha="left")
    return figure


def overlay_grid(slices, prediction, scores, columns=5):
    """Draw every slice with the outlines of truth and prediction, sorted from worst to best Dice."""
    order = scores.dice.sort_values(na_position="first").index
    figure, axes = _figure(-(-len(order) // columns), columns, 2.1)
    for axis, row in zip(np.ravel(axes), order, strict=False):
        _slice(axis, slices.images[row], f"{_describe(slices.table.iloc[row])}\nDice {scores.dice[row]:.2f}",
               slices.masks[row], prediction[row], small=True)
    _legend(figure)
    return figure


def learning_curves(history):
    """Draw loss and Dice of training and validation over the epochs; the lowest validation loss is marked."""
    figure, axes = _figure(1, 2, 3.2, width=4.6)
    best = history.val_loss.idxmin()
    for axis, name, label in ((axes[0], "loss", "Loss"), (axes[1], "dice", "Dice")):
        axis.plot(history.epoch, history[name], color="0.45", label="training")
        axis.plot(history.epoch, history[f"val_{name}"], color=PREDICTION, label="validation")
        axis.axvline(history.epoch[best], color=TRUTH, linestyle=":", label="lowest validation loss")
        _plain(axis, "Epoch", label)
    axes[1].set_ylim(0, 1)
    axes[0].legend(frameon=False)
    return figure


def dice_by_area(scores):
    """Draw each slice's Dice against the true cavity's area: small cavities are the hard ones."""
    figure, axis = _figure(1, 1, 3.6, width=5.5)
    known = scores.area_true_mm2.notna().all()
    area = scores.area_true_mm2 / 100 if known else np.arange(len(scores))
    for phase, marker in (("ED", "o"), ("ES", "^"), ("", "s")):
        chosen = (scores.phase == phase).to_numpy()
        if chosen.any():
            axis.scatter(area[chosen], scores.dice[chosen], marker=marker, s=36, alpha=0.85,
                         color=PREDICTION if phase == "ES" else TRUTH, label=phase or "phase unknown")
    _plain(axis, "True cavity area (cm²)" if known else "Slice (its pixel spacing is unknown)", "Dice")
    axis.set_ylim(-0.02, 1.02)
    axis.legend(frameon=False, loc="lower right")
    return figure


def histograms(before, after):
    """Draw the grey values of an image before and after normalisation."""
    figure, axes = _figure(1, 2, 2.8, width=4.6)
    for axis, values, label in ((axes[0], before, "Grey value in the file"), (axes[1], after, "Normalised")):
        axis.hist(np.ravel(values), bins=60, color=TRUTH)
        axis.set_yscale("log")
        _plain(axis, label, "Pixels")
    return figure


def class_balance(slices):
    """Draw the share of cavity pixels in each slice: most pixels are background."""
    figure, axis = _figure(1, 1, 2.8, width=6)
    share = np.sort(100 * slices.masks.mean(axis=(1, 2, 3)))
    axis.bar(np.arange(len(share)), share, width=1, color=TRUTH)
    axis.axhline(share.mean(), color=PREDICTION, label=f"mean {share.mean():.1f} %")
    _plain(axis, "Slices, sorted", "Cavity (% of pixels)")
    axis.legend(frameon=False)
    return figure


def draw_unet(filters=(32, 64, 128, 256, 512), size=128):
    """Draw the U: a box per level, as wide as it has filters, with its side in pixels beneath."""
    figure, axis = _figure(1, 1, 4.2, width=9)
    depth = len(filters)
    centres = [(level, -level) for level in range(depth)]
    centres += [(2 * depth - 2 - level, -level) for level in range(depth - 2, -1, -1)]
    for place, (x, y) in enumerate(centres):
        level = -y
        width = 0.16 + 0.5 * filters[level] / max(filters)
        axis.add_patch(plt.Rectangle((x - width / 2, y - 0.3), width, 0.6, color=TRUTH if place < depth else PREDICTION,
                                     alpha=0.85, linewidth=0))
        side = size // 2**level
        axis.text(x, y - 0.34, f"{filters[level]} filters\n{side} × {side}", ha="center", va="top", fontsize=8)
        if place:
            before = centres[place - 1]
            label = "max-pool" if place < depth else "up-conv"
            _arrow(axis, before, (x, y), "0.35", label if place in (1, depth) else "")
    for level in range(depth - 1):
        _arrow(axis, (level + 0.15, -level), (2 * depth - 2 - level - 0.15, -level), "0.7",
               "skip connection: concatenate" if level == 0 else "")
    axis.set(xlim=(-0.8, 2 * depth - 1.2), ylim=(-depth + 0.05, 0.75))
    axis.axis("off")
    return figure


def slice_view(slices, row, opacity=0.4, prediction=None, show="truth"):
    """Draw one slice large, with the truth, the prediction, both or neither laid over it.

    show : "truth", "prediction", "both" or "image"
    """
    figure, axis = _figure(1, 1, 4.4, width=4.4)
    truth = slices.masks[row] if slices.masks is not None and show in ("truth", "both") else None
    found = prediction[row] if prediction is not None and show in ("prediction", "both") else None
    picture = slices.images[row]
    for mask, colour in ((truth, TRUTH), (found, PREDICTION)):
        if mask is not None:
            picture = _blend(picture, mask, colour, opacity)
    outlines = (truth, found) if opacity > 0 else (None, None)
    _slice(axis, picture, _describe(slices.table.iloc[row]), *outlines)
    return figure


def threshold_view(slices, probability, row, threshold=0.5):
    """Draw probability and mask of one slice at a threshold, with the four metrics in the title."""
    truth, found = slices.masks[row], masks_of(probability[row], threshold)
    figure, axes = _figure(1, 2, 3.8)
    axes[0].imshow(probability[row, ..., 0], cmap="magma", vmin=0, vmax=1)
    _slice(axes[0], None, f"Probability; mask where ≥ {threshold:.2f}", prediction=found)
    _slice(axes[1], error_overlay(slices.images[row], truth, found), "  ".join(
        f"{name.capitalize()} {getattr(metrics, name)(truth, found):.2f}"
        for name in ("dice", "jaccard", "precision", "recall")))
    figure.supxlabel("right: green   missed: blue   invented: red", fontsize=9)
    return figure


def error_overlay(image, truth, prediction, opacity=0.55):
    """Colour what was found rightly, missed and invented: float (h, w, 3)."""
    truth, prediction = truth > 0, prediction > 0
    picture = overlay(image, truth & prediction, TRUTH, opacity)
    picture = _blend(picture, truth & ~prediction, MISSED, opacity)
    return _blend(picture, prediction & ~truth, INVENTED, opacity)


def _blend(picture, mask, colour, opacity):
    if picture.shape[-1] == 1:
        return overlay(picture, mask, colour, opacity)
    share = opacity * (mask.reshape(*picture.shape[:2], 1) > 0)
    return (1 - share) * picture + share * np.array(to_rgb(colour))


def _figure(rows, columns, height, width=None):
    """Return (Figure, axes) that pyplot forgets at once, so that a notebook shows it exactly once."""
    figure, axes = plt.subplots(rows, columns, figsize=((width or height) * columns, height * rows),
                                layout="constrained")
    plt.close(figure)
    if columns * rows > 1 and width is None:
        for axis in np.ravel(axes):
            axis.axis("off")
    return figure, axes


def _slice(axis, image, title="", truth=None, prediction=None, small=False):
    if image is not None:
        axis.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=1)
    for mask, colour in ((truth, TRUTH), (prediction, PREDICTION)):
        if mask is not None and np.any(mask):
            axis.contour(np.squeeze(mask) > 0, [0.5], colors=colour, linewidths=1 if small else 1.4)
    axis.set_title(title, fontsize=7 if small else 9)
    axis.axis("off")


def _describe(row):
    parts = [row.patient or row["name"], row.phase, f"level {row.level}" if row.level else ""]
    return ", ".join(part for part in parts if part)


def _legend(figure):
    handles = [plt.Line2D([], [], color=TRUTH), plt.Line2D([], [], color=PREDICTION)]
    figure.legend(handles, ["ground truth", "prediction"], loc="outside lower center", ncols=2, frameon=False)


def _plain(axis, xlabel, ylabel):
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.spines[["top", "right"]].set_visible(False)


def _arrow(axis, start, end, colour, label=""):
    axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour, "shrinkA": 14, "shrinkB": 14})
    if label:
        axis.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.08, label, fontsize=8, ha="center",
                  color="0.35")
