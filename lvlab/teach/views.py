"""Pictures that explain: the plain functions behind the lessons and the viewers. Each returns a matplotlib Figure."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from lvlab import metrics
from lvlab.evaluation import masks_of
from lvlab.pictures import (
    DRAWING,
    INVENTED,
    LINES,
    MISSED,
    OPACITY,
    PREDICTION,
    TRUTH,
    describe,
    draw_slice,
    error_legend,
    error_overlay,
    new_figure,
    outline,
    overlay,
    tidy,
)
from lvlab.teach.describe import words

THRESHOLDS = np.arange(1, 100) / 100
ABLATION = Path(__file__).with_name("ablation.csv")  # written by `make ablation`; docs/measurements.md explains it


def ablation_chart(table):
    """Draw the mean test Dice of each variant of an ablation (one row a training), a dot per seed."""
    means = table.groupby("variant", sort=False).dice_mean.mean()[::-1]
    figure, axis = new_figure(1, 1, 0.3 * len(means) + 0.9, width=7)
    axis.barh(means.index, means, color=TRUTH, alpha=0.6)
    axis.plot(table.dice_mean, table.variant, "o", color=PREDICTION, markersize=4, label="one seed")
    tidy(axis, "Mean Dice on the test patients", "")
    axis.set(xlim=(0, 1), ylim=(-0.6, len(means) - 0.4))
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    return figure


def histograms(before, after):
    """Draw the grey values of an image before and after normalisation."""
    figure, axes = new_figure(1, 2, 2.8, width=4.6)
    for axis, values, label in ((axes[0], before, "Grey value in the file"), (axes[1], after, "Normalised")):
        axis.hist(np.ravel(values), bins=60, color=TRUTH)
        axis.set_yscale("log")
        tidy(axis, label, "Pixels")
    file, normalised = (f"{np.min(values):.0f} to {np.max(values):.0f}" for values in (before, after))
    return words(figure, f"Two histograms of one image. Left its grey values in the file, {file}; right the "
                 f"normalised ones, {normalised}, where what was clipped makes a tall bar at each end.")


def class_balance(slices):
    """Draw the share of cavity pixels in each slice: most pixels are background."""
    figure, axis = new_figure(1, 1, 2.8, width=6)
    share = np.sort(100 * slices.masks.mean(axis=(1, 2, 3)))
    axis.bar(np.arange(len(share)), share, width=1, color=TRUTH)
    axis.axhline(share.mean(), color=PREDICTION, linestyle="--", label=f"mean {share.mean():.1f} %")
    tidy(axis, "Slices, sorted", "Cavity (% of pixels)")
    axis.legend(frameon=False)
    return figure


def area_by_level(slices, patient):
    """Draw the cavity's area of one patient from base to apex, a line per phase."""
    chosen = slices.of_patient(patient)
    area = metrics.area_mm2(chosen.masks, chosen.table.row_spacing_mm, chosen.table.col_spacing_mm) / 100
    known = area.notna().all()
    area = area if known else chosen.masks.sum((1, 2, 3))
    ordered = chosen.table.level.all()
    figure, axis = new_figure(1, 1, 2.8, width=5.5)
    for phase, colour, line in (("ED", TRUTH, "o-"), ("ES", PREDICTION, "^--"), ("", "0.45", "o")):
        rows = chosen.table[chosen.table.phase == phase].sort_values("level", kind="stable")
        if len(rows):
            place = rows.level if ordered else rows.index + 1
            axis.plot(place, area[rows.index], line, color=colour, label=phase or "phase unknown")
    tidy(axis, "Level (1 = base)" if ordered else "Slice (its level is unknown)",
           "Cavity area (cm²)" if known else "Cavity area (pixels)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)
    return figure


def similarity(slices):
    """Draw how alike the images are: the correlation of every slice with every other, patients boxed."""
    slices = slices.subset(slices.table.patient.argsort(kind="stable"))
    figure, axis = new_figure(1, 1, 4, width=4.8)
    alike = np.corrcoef(slices.images.reshape(len(slices), -1))
    picture = axis.imshow(alike, cmap="magma", vmin=0, vmax=1)
    for patient in slices.patients():
        rows = np.flatnonzero(slices.table.patient == patient)
        axis.add_patch(plt.Rectangle((rows[0] - 0.5, rows[0] - 0.5), len(rows), len(rows), fill=False,
                                     edgecolor=TRUTH, linewidth=1.5))
    axis.set(xlabel="Slice", ylabel="Slice")
    figure.colorbar(picture, label="Correlation of the grey values", shrink=0.85)
    patient = slices.table.patient.to_numpy()
    same = patient[:, None] == patient
    inside, outside = (alike[which].mean() if which.any() else np.nan for which in (same, ~same))
    return words(figure, f"A square of {len(slices)} × {len(slices)} correlations, one for each pair of slices, with "
                 f"a box round each of {len(slices.patients())} patients. Their mean is {inside:.2f} inside of the "
                 f"boxes and {outside:.2f} outside.")


def draw_unet(filters=(32, 64, 128, 256, 512), size=128):
    """Draw the U: a box for every stack of feature maps, wider with more filters, lower with fewer pixels."""
    figure, axis = new_figure(1, 1, 4.8, width=10)
    depth, last = len(filters), 2 * len(filters) - 2
    halves = [0.1 + 0.17 * count / max(filters) for count in filters]
    tops = [0.36 * 0.8**level for level in range(depth)]
    for place in range(last + 1):
        level = min(place, last - place)
        colour = TRUTH if place < depth else PREDICTION
        _box(axis, place - halves[level], -level, halves[level] - 0.05, 2 * tops[level], colour)
        _box(axis, place + 0.05, -level, halves[level] - 0.05, 2 * tops[level], colour)
        _arrow(axis, (place - 0.05, -level), (place + 0.05, -level), "0.1", 0)
        text = f"{filters[level]} maps\n{size // 2**level} × {size // 2**level}"
        if 0 < level < depth - 1:
            side = 1 if place >= depth else -1
            axis.text(place + side * (halves[level] + 0.06), -level, text, ha="left" if side > 0 else "right",
                      va="center", fontsize=8.5)
        else:
            side = "left" if place == last else "center"
            axis.text(place, -level - tops[level] - 0.05, text, ha=side, va="top", fontsize=8.5)
        if place < last:
            after = min(place + 1, last - place - 1)
            down = np.sign(after - level)
            edge = place + halves[level] if level == 0 else place
            _arrow(axis, (edge, -level - down * tops[level]), (place + 1, -after + down * tops[after]), "0.35")
    for level in range(depth - 1):
        _arrow(axis, (level + halves[level], -level), (last - level - halves[level], -level), "0.65")
    _ends_of_unet(axis, last, halves[0])
    axis.text(last / 2, 0.1, "skip connections: concatenate", ha="center", va="center", fontsize=9, color="0.3")
    axis.set(xlim=(-1.15, last + 1.15), ylim=(-depth + 0.3, 0.8))
    axis.axis("off")
    least = size // 2 ** (depth - 1)
    return words(figure, f"The U-Net as a U. On the left, boxes go down: {', '.join(map(str, filters))} maps, from "
                 f"{size} × {size} pixels to {least} × {least}. On the right they come up again, to one probability "
                 "for each pixel. Grey arrows lead straight across, from each level on the left to the same on the "
                 "right: the skip connections.")


def _ends_of_unet(axis, last, half):
    """Draw what goes into the U and what comes out, and name its steps."""
    for x, text in ((-0.85, "image\n1 channel"), (last + 0.85, "probability\n1 channel")):
        _box(axis, x - 0.015, 0, 0.03, 0.72, "0.3")
        axis.text(x, 0.42, text, ha="center", va="bottom", fontsize=9, color="0.3")
    _arrow(axis, (-0.83, 0), (-half, 0), "0.35")
    _arrow(axis, (last + half, 0), (last + 0.83, 0), "0.35")
    for x, y, text, side in ((0.75, -0.42, "halve: max-pool", "left"), (-0.2, 0.48, "two 3 × 3 convolutions", "left"),
                             (last - 0.75, -0.42, "double: up-convolution", "right"),
                             (last + 0.45, 0.1, "1 × 1", "center")):
        axis.text(x, y, text, ha=side, va="center", fontsize=9, color="0.3")


def _box(axis, left, middle, width, height, colour):
    axis.add_patch(plt.Rectangle((left, middle - height / 2), width, height, color=colour, linewidth=0))


def draw_grid(image, grid=4):
    """Draw how blocks of grid × grid pixels become the channels of a smaller image; one block is marked.

    image : (h, w) or (h, w, 1); the block with the strongest contrast is the marked one
    """
    image = np.squeeze(image)
    height, width = (side // grid for side in image.shape)
    channels = image.reshape(height, grid, width, grid).transpose(0, 2, 1, 3).reshape(height, width, grid**2)
    row, column = np.unravel_index(channels.std(-1).argmax(), (height, width))
    pictures = image, channels[row, column].reshape(grid, grid), _mosaic(channels, stretch=False)
    titles = (f"One image: {len(image)} × {image.shape[1]} pixels", f"The marked block: {grid} × {grid} pixels",
              f"{grid**2} channels of {height} × {width} pixels")
    figure, axes = new_figure(1, 3, 3.6)
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        draw_slice(axis, None, title)
    _frame(axes[0], column * grid, row * grid, grid)
    for number in range(grid**2):
        down, right = divmod(number, grid)
        axes[1].text(right, down, number + 1, color=PREDICTION, ha="center", va="center", weight="bold")
        left, top = right * (width + 1), down * (height + 1)
        axes[2].text(left + 2, top + 2, number + 1, color=PREDICTION, va="top", fontsize=8)
        _frame(axes[2], left + column, top + row, 1)
    return figure


def _frame(axis, left, top, side):
    axis.add_patch(plt.Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor=PREDICTION, linewidth=1.5))


def windowed(image, window=1.0, centre=0.5):
    """Stretch the greys of `window` width round `centre` over the whole range, clipped: [0, 1] to [0, 1].

    What a radiologist calls window width and window centre (or level); here as shares of the image's range.
    """
    return np.clip((image - (centre - window / 2)) / window, 0, 1)


def slice_view(slices, row, opacity=OPACITY, prediction=None, show="truth", window=1.0, centre=0.5):
    """Draw one slice large, with the truth, the prediction, both, their difference or neither laid over it.

    show : "truth", "prediction", "both", "difference" or "image"; window, centre : see `windowed`
    """
    figure, axis = _live_figure(1, 5.0, bottom=0.07)
    picture = windowed(slices.images[row], window, centre)
    if show == "difference":
        pair = slices.masks[row], prediction[row]
        title = f"{describe(slices.table.iloc[row])}, Dice {metrics.dice(*pair):.3f}"
        draw_slice(axis, error_overlay(picture, *pair, opacity), title, *(pair if opacity > 0 else ()))
        error_legend(figure)
        return figure
    truth = slices.masks[row] if slices.masks is not None and show in ("truth", "both") else None
    predicted = prediction[row] if prediction is not None and show in ("prediction", "both") else None
    for mask, colour in ((truth, TRUTH), (predicted, PREDICTION)):
        if mask is not None:
            picture = overlay(picture, mask, colour, opacity)
    outlines = (truth, predicted) if opacity > 0 else (None, None)
    size = "" if truth is None else f", cavity {_size(truth, slices.table.iloc[row])}"
    draw_slice(axis, picture, describe(slices.table.iloc[row]) + size, *outlines)
    return figure


def _size(mask, row):
    """Return a mask's area in words: cm², or pixels where the spacing is unknown."""
    area_cm2 = metrics.area_mm2(mask, row.row_spacing_mm, row.col_spacing_mm) / 100
    return f"{area_cm2:.1f} cm²" if area_cm2 == area_cm2 else f"{int(mask.sum())} pixels"


def threshold_view(slices, probability, row, threshold=0.5, curves=None):
    """Draw probability, mask and the four metrics of one slice at a threshold.

    curves : what `threshold_curves` returned for this slice; computed where not given
    """
    truth, predicted = slices.masks[row], masks_of(probability[row], threshold)
    figure, axes = _live_figure(3, 3.4, bottom=0.13)
    axes[0].imshow(probability[row, ..., 0], cmap="magma", vmin=0, vmax=1)
    if predicted.any():
        axes[0].contour(predicted[..., 0], [0.5], colors="white", linewidths=1.2)
    draw_slice(axes[0], None, f"Probability; white line: {threshold:.2f}")
    picture = error_overlay(slices.images[row], truth, predicted)
    draw_slice(axes[1], picture, describe(slices.table.iloc[row]), truth, predicted, small=True)
    _threshold_curves(axes[2], truth, predicted, threshold,
                      threshold_curves(truth, probability[row]) if curves is None else curves)
    error_legend(figure)
    return figure


#: Missed pixels lower recall, invented ones precision: each curve has the colour of what lowers it.
CURVES = {"precision": (INVENTED, "--"), "recall": (MISSED, ":"), "dice": ("0.1", "-"), "jaccard": ("0.5", "-.")}


def threshold_curves(truth, probability, thresholds=THRESHOLDS):
    """Return the four metrics of one slice at many thresholds: a DataFrame indexed by threshold.

    truth, probability : (h, w) or (h, w, 1)
    """
    predicted = np.asarray(probability).reshape(1, *truth.shape[:2]) >= np.reshape(thresholds, (-1, 1, 1))
    truth = np.broadcast_to(np.reshape(truth, (1, *truth.shape[:2])), predicted.shape)
    return pd.DataFrame({name: getattr(metrics, name)(truth, predicted) for name in metrics.NAMES},
                        index=pd.Index(thresholds, name="threshold"))


def _threshold_curves(axis, truth, predicted, threshold, curves):
    """Draw the metrics over the threshold, the present one marked and its values written."""
    axis.axvline(threshold, color="0.4", linewidth=1, linestyle=":")
    for name, (colour, line) in CURVES.items():
        value = getattr(metrics, name)(truth, predicted)
        axis.plot(curves.index, curves[name], line, color=colour, label=f"{name.capitalize()} {value:.2f}")
        axis.plot(threshold, value, "o", color=colour, markersize=5)
    tidy(axis, "", "")
    axis.set(xlim=(0, 1), ylim=(-0.02, 1.02), title=f"Threshold {threshold:.2f}")
    axis.title.set_fontsize(9)
    axis.set_position([0.72, 0.33, 0.26, 0.58])
    axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def uncertainty(slices, probability, row, low=0.1, high=0.9):
    """Draw one slice and, in colour, only the pixels of which the network is unsure: low < probability < high."""
    values = np.squeeze(probability[row])
    unsure = (values > low) & (values < high)
    figure, axes = new_figure(1, 2, 4.2, width=4.6)
    draw_slice(axes[0], slices.images[row], describe(slices.table.iloc[row]))
    axes[1].imshow(np.squeeze(slices.images[row]), cmap="gray", vmin=0, vmax=1)
    colours = axes[1].imshow(np.ma.array(values, mask=~unsure), cmap="plasma", vmin=low, vmax=high)
    draw_slice(axes[1], None, f"{unsure.sum()} pixels between {low:g} and {high:g}")
    figure.colorbar(colours, ax=axes[1], label="Probability", shrink=0.85)
    return figure


def training_progress(history, image, truth, prediction):
    """Draw where a training stands: loss and Dice up to now, and the prediction of one slice.

    history : DataFrame with epoch, loss, val_loss, dice, val_dice, a row per finished epoch; there may be none yet
    """
    figure, axes = _live_figure(3, 3.0, left=0.09, bottom=0.17, wspace=0.36)
    for axis, name, label in ((axes[0], "loss", "Loss"), (axes[1], "dice", "Dice")):
        axis.plot(history.epoch, history[name], ".--", color="0.45", label="training")
        axis.plot(history.epoch, history[f"val_{name}"], ".-", color=PREDICTION, label="validation")
        tidy(axis, "Epoch", label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(frameon=False)
    axes[1].set_ylim(0, 1)
    if history.empty:
        draw_slice(axes[2], image, "The first epoch has not ended yet", truth)
        return figure
    title = f"Epoch {history.epoch.iloc[-1]:.0f}: Dice {metrics.dice(truth, prediction):.2f} on this slice"
    draw_slice(axes[2], overlay(image, prediction, PREDICTION), title, truth, prediction)
    return figure


def feature_maps(run, slices, row, layer, count=16, features=None):
    """Draw one slice and the first `count` feature maps that a layer makes of it, each in its own grey range.

    run : a Run or a Keras model; layer : a layer's name, such as "down1a" (see `model.layers`)
    features : what `feature_watcher` gave for this slice; computed where not given
    """
    features = features or feature_watcher(run)(slices.images[row:row + 1])
    maps = features[layer][0]
    figure, axes = _live_figure(2, 4.2)
    draw_slice(axes[0], slices.images[row], describe(slices.table.iloc[row]))
    axes[1].imshow(_mosaic(maps[..., :count]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    height, width, channels = maps.shape
    shown = f"the first {count} of {channels} maps" if channels > count else f"{channels} map{'s' * (channels > 1)}"
    draw_slice(axes[1], None, f"{layer}: {shown}, {height} × {width} pixels each")
    return figure


def _mosaic(maps, stretch=True):
    """Lay maps (h, w, c) out as a square of tiles with white seams, each stretched to [0, 1] or as it is."""
    height, width, count = maps.shape
    side = int(np.ceil(np.sqrt(count)))
    seam = max(1, height // 32)
    low, high = (maps.min((0, 1)), maps.max((0, 1))) if stretch else (0, 1)
    tiles = (maps - low) / np.where(high > low, high - low, 1)
    picture = np.ones((side * (height + seam) - seam, side * (width + seam) - seam), np.float32)
    for place in range(count):
        top, left = place // side * (height + seam), place % side * (width + seam)
        picture[top:top + height, left:left + width] = tiles[..., place]
    return picture


def contour_comparison(image, truth, prediction, drawing, earlier=()):
    """Draw a contour drawn by hand beside the expert's and the network's, and where it departs from the expert's.

    prediction : a mask, or None; drawing : a mask; earlier : masks that the same person drew before
    """
    figure, axes = _live_figure(2, 3.2, bottom=0.1)
    axes[0].imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=1)
    masks = [*((mask, DRAWING) for mask in (*earlier, drawing)), (truth, TRUTH), (prediction, PREDICTION)]
    for mask, colour in masks:
        outline(axes[0], mask, colour)
    handles = [plt.Line2D([], [], color=colour, linestyle=LINES[colour]) for colour in (TRUTH, PREDICTION, DRAWING)]
    axes[0].legend(handles, ["expert", "network", "you"], fontsize=8, ncols=3, loc="lower left", facecolor="black",
                   labelcolor="white", framealpha=0.7)
    network = "" if prediction is None else f", network {metrics.dice(prediction, drawing):.3f}"
    draw_slice(axes[0], None, f"Your Dice: expert {metrics.dice(truth, drawing):.3f}{network}")
    draw_slice(axes[1], error_overlay(image, truth, drawing), "You against the expert", truth)
    outline(axes[1], drawing, DRAWING)
    error_legend(figure, second=(DRAWING, "you"))
    return figure


def _live_figure(columns, height, left=0.01, bottom=0.02, wspace=0.04):
    """Return (Figure, axes) of near-square panels with fixed margins: a layout engine would double a move's price."""
    figure, axes = plt.subplots(1, columns, figsize=((height - 0.2) * columns, height))
    figure.subplots_adjust(left=left, right=0.99, bottom=bottom, top=0.91, wspace=wspace)
    plt.close(figure)
    return figure, axes


def _arrow(axis, start, end, colour, gap=3):
    axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour, "shrinkA": gap, "shrinkB": gap})


def feature_watcher(run):
    """Return a function: images (n, h, w, 1) to {layer name: its output (n, h, w, channels), float32}.

    run : a Run or a Keras model. The layers come in the order of the U, from the image to the probability; of a
    convolution that is normalised only what comes of both, after the ReLU.
    """
    import keras

    model = getattr(run, "model", run)
    names = [layer.name for layer in model.layers[1:] if "_" not in layer.name]
    watched = keras.Model(model.inputs, [model.get_layer(name).output for name in names])

    def watch(images):
        outputs = watched.predict_on_batch(images)
        return {name: np.asarray(output, np.float32) for name, output in zip(names, outputs, strict=True)}

    return watch
