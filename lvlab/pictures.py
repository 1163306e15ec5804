"""The pictures of slices, masks and scores. Each function returns a matplotlib Figure and keeps no state."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from lvlab import metrics
from lvlab.evaluation import ranked, segment

# Chosen so that colours used together differ on grey and on white, in colour blindness too: tests/test_colours.py.
# Outlines tell apart by their line as well.
TRUTH, PREDICTION, DRAWING = "#0099e6", "#e6491a", "#ffe600"
LINES = {TRUTH: "solid", PREDICTION: "dashed", DRAWING: "dotted"}
RIGHT, MISSED, INVENTED = "#66ff00", "#1f5fff", "#c00000"
OPACITY, ERROR_OPACITY = 0.5, 0.55


def overlay(image, mask, colour=TRUTH, opacity=OPACITY):
    """Blend a colour into an image where the mask is inside.

    image : (h, w), (h, w, 1) or, in colour, (h, w, 3), in [0, 1]; mask : (h, w) or (h, w, 1)
    opacity : 0 hides the mask, 1 the image
    Returns float (h, w, 3) in [0, 1].
    """
    shape = image.shape[:2]
    share = opacity * (np.asarray(mask).reshape(*shape, 1) > 0)
    return (1 - share) * np.asarray(image, float).reshape(*shape, -1) + share * np.array(to_rgb(colour))


def show_overlay(slices, run, row):
    """Draw one slice, its truth and the run's prediction side by side. `row` counts from 0."""
    chosen = slices.subset([row])
    return triptych(chosen, segment(run, chosen), 0)


def triptych(slices, prediction, row, caption=""):
    """Draw image, ground truth and prediction of one slice, with its Dice."""
    image, truth, predicted = slices.images[row], slices.masks[row], prediction[row]
    figure, axes = new_figure(1, 3, 3.2)
    draw_slice(axes[0], image, title=describe(slices.table.iloc[row]))
    draw_slice(axes[1], overlay(image, truth), title="Ground truth", truth=truth)
    score = metrics.dice(truth, predicted)
    draw_slice(axes[2], overlay(image, predicted, PREDICTION), f"Prediction, Dice {score:.3f}", truth, predicted)
    draw_scale(axes[0], slices.table.col_spacing_mm.iloc[row], len(image))
    outline_legend(figure)
    if caption:
        figure.suptitle(caption, fontsize=12, x=0.01, ha="left")
    return figure


def ranked_triptychs(slices, prediction, scores):
    """Return {"best": Figure, "median": Figure, "worst": Figure} by Dice."""
    return {name: triptych(slices, prediction, row, f"{name.capitalize()} of {len(scores)} slices")
            for name, row in ranked(scores).items()}


def show_patient(slices, patient, columns=12):
    """Draw all slices of one patient from base to apex, phase by phase, with the masks' outlines."""
    chosen = slices.of_patient(patient)
    rows = []
    for phase in sorted(set(chosen.table.phase)):
        order = chosen.table[chosen.table.phase == phase].sort_values("level", kind="stable").index
        rows += [order[at:at + columns] for at in range(0, len(order), columns)]
    figure, axes = new_figure(len(rows), max(map(len, rows)), 1.9)
    axes = np.reshape(axes, (len(rows), -1))
    for line, indices in zip(axes, rows, strict=True):
        for axis, index in zip(line, indices, strict=False):
            truth = None if chosen.masks is None else chosen.masks[index]
            draw_slice(axis, chosen.images[index], _place(chosen.table.iloc[index]), truth)
    order = ": base to apex" if chosen.table.level.any() else ""
    figure.suptitle(f"{patient or 'Patient unknown'}{order}", fontsize=12, x=0.01, ha="left")
    return figure


def gallery(images, titles=(), masks=None, columns=6):
    """Draw images (h, w) or (h, w, 1) side by side, each in its own grey range, with their masks' outlines."""
    figure, axes = new_figure(-(-len(images) // columns), min(columns, len(images)), 2.6 if len(images) > 3 else 3.4)
    for place, axis in enumerate(np.ravel(axes)[:len(images)]):
        axis.imshow(np.squeeze(images[place]), cmap="gray")
        title = titles[place] if place < len(titles) else ""
        draw_slice(axis, None, title, None if masks is None else masks[place])
    return figure


def overlay_grid(slices, prediction, scores, columns=5):
    """Draw every slice with the outlines of truth and prediction, sorted from worst to best Dice."""
    order = scores.dice.sort_values(na_position="first").index
    figure, axes = new_figure(-(-len(order) // columns), columns, 2.2)
    for axis, row in zip(np.ravel(axes), order, strict=False):
        draw_slice(axis, slices.images[row], f"{describe(slices.table.iloc[row])}\nDice {scores.dice[row]:.2f}",
               slices.masks[row], prediction[row], small=True)
    outline_legend(figure)
    return figure


def learning_curves(history, mark=True):
    """Draw loss and Dice of training and validation over the epochs, and mark the lowest validation loss."""
    figure, axes = new_figure(1, 2, 3.2, width=4.6)
    best = history.val_loss.idxmin() if mark and history.val_loss.notna().any() else None
    for axis, name, label in ((axes[0], "loss", "Loss"), (axes[1], "dice", "Dice")):
        axis.plot(history.epoch, history[name], "--", color="0.45", label="training")
        axis.plot(history.epoch, history[f"val_{name}"], color=PREDICTION,
                  label=None if history.val_loss.isna().all() else "validation")
        if best is not None:
            axis.axvline(history.epoch[best], color=TRUTH, linestyle=":", label="lowest validation loss")
        tidy(axis, "Epoch", label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_ylim(0, 1)
    axes[0].legend(edgecolor="none", framealpha=0.9)
    return figure


def error_overlay(image, truth, prediction, opacity=ERROR_OPACITY):
    """Colour what is right, missed and invented: float (h, w, 3)."""
    truth, prediction = truth > 0, prediction > 0
    picture = overlay(image, truth & prediction, RIGHT, opacity)
    picture = overlay(picture, truth & ~prediction, MISSED, opacity)
    return overlay(picture, prediction & ~truth, INVENTED, opacity)


def show_errors(image, truth, prediction, title=""):
    """Draw where a prediction is right, where it misses and where it invents, and both outlines."""
    figure, axis = new_figure(1, 1, 4, width=4)
    draw_slice(axis, error_overlay(image, truth, prediction), title, truth, prediction)
    error_legend(figure, "outside lower center")
    return figure


def new_figure(rows, columns, height, width=None):
    """Return (Figure, axes) that pyplot forgets at once, so that a notebook shows it exactly once."""
    figure, axes = plt.subplots(rows, columns, figsize=((width or height - 0.2) * columns, height * rows),
                                layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    plt.close(figure)
    if columns * rows > 1 and width is None:
        for axis in np.ravel(axes):
            axis.axis("off")
    return figure, axes


def draw_slice(axis, image, title="", truth=None, prediction=None, small=False):
    if image is not None:
        axis.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=1)
    for mask, colour in ((truth, TRUTH), (prediction, PREDICTION)):
        outline(axis, mask, colour, 1 if small else 1.4)
    axis.set_title(title, fontsize=8 if small else 9, parse_math=False)
    axis.set(xticks=[], yticks=[], frame_on=False)  # axis("off") would look the same, yet lay out ticks that none sees


def draw_scale(axis, spacing_mm, side, length_mm=20):
    """Draw a bar of `length_mm` into the lower left corner of an image; nothing where the spacing is unknown."""
    if spacing_mm > 0:
        left, low = 0.05 * side, 0.94 * side
        axis.add_patch(plt.Rectangle((left, low), length_mm / spacing_mm, 0.014 * side, fc="white", ec="black", lw=0.8))
        axis.text(left, low - 0.04 * side, f"{length_mm / 10:g} cm", color="white", fontsize=8,
                  bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1.2})


def outline(axis, mask, colour, width=1.4):
    """Draw a mask's outline, in the line of its colour; nothing where there is no mask, or an empty one."""
    if mask is not None and np.any(mask):
        axis.contour(np.squeeze(mask) > 0, [0.5], colors=colour, linewidths=width, linestyles=LINES[colour])


def describe(row):
    return ", ".join(part for part in (row.patient or row["name"], _place(row)) if part)


def _place(row):
    return " ".join(part for part in (row.phase, f"level {row.level}" if row.level else "") if part)


def outline_legend(figure):
    handles = [plt.Line2D([], [], color=colour, linestyle=LINES[colour]) for colour in (TRUTH, PREDICTION)]
    figure.legend(handles, ["ground truth", "prediction"], loc="outside lower center", ncols=2, frameon=False)


def error_legend(figure, place="lower center", second=(PREDICTION, "prediction")):
    """Name the colours of errors and the two outlines below a figure."""
    areas = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in (RIGHT, MISSED, INVENTED)]
    lines = [plt.Line2D([], [], color=colour, linestyle=LINES[colour]) for colour in (TRUTH, second[0])]
    figure.legend(areas + lines, ["right", "missed", "invented", "truth", second[1]], loc=place, ncols=5,
                  frameon=False, fontsize=8, columnspacing=1, handlelength=1.6)


def tidy(axis, xlabel, ylabel):
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.spines[["top", "right"]].set_visible(False)
