"""Pictures that explain: the plain functions behind the lessons and the viewers. Each returns a matplotlib Figure."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from lvlab import metrics
from lvlab.evaluation import feature_watcher, masks_of, threshold_curves
from lvlab.pictures import (
    DRAWN,
    INVENTED,
    MISSED,
    PREDICTION,
    TRUTH,
    blend,
    describe,
    draw_slice,
    error_legend,
    error_overlay,
    new_figure,
    overlay,
    tidy,
)


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
    return figure


def class_balance(slices):
    """Draw the share of cavity pixels in each slice: most pixels are background."""
    figure, axis = new_figure(1, 1, 2.8, width=6)
    share = np.sort(100 * slices.masks.mean(axis=(1, 2, 3)))
    axis.bar(np.arange(len(share)), share, width=1, color=TRUTH)
    axis.axhline(share.mean(), color=PREDICTION, label=f"mean {share.mean():.1f} %")
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
    for phase, colour, line in (("ED", TRUTH, "o-"), ("ES", PREDICTION, "o-"), ("", "0.45", "o")):
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
    picture = axis.imshow(np.corrcoef(slices.images.reshape(len(slices), -1)), cmap="magma", vmin=0, vmax=1)
    for patient in slices.patients():
        rows = np.flatnonzero(slices.table.patient == patient)
        axis.add_patch(plt.Rectangle((rows[0] - 0.5, rows[0] - 0.5), len(rows), len(rows), fill=False,
                                     edgecolor=TRUTH, linewidth=1.5))
    axis.set(xlabel="Slice", ylabel="Slice")
    figure.colorbar(picture, label="Correlation of the grey values", shrink=0.85)
    return figure


def draw_unet(filters=(32, 64, 128, 256, 512), size=128):
    """Draw the U: a box per level, wider with more filters, lower with fewer pixels."""
    figure, axis = new_figure(1, 1, 4.6, width=9.5)
    depth = len(filters)
    last = 2 * depth - 2
    widths = [0.14 + 0.5 * count / max(filters) for count in filters]
    heights = [0.72 * 0.8**level for level in range(depth)]
    for place in range(last + 1):
        level = min(place, last - place)
        down = place < depth
        axis.add_patch(plt.Rectangle((place - widths[level] / 2, -level - heights[level] / 2), widths[level],
                                     heights[level], color=TRUTH if down else PREDICTION, linewidth=0))
        _unet_label(axis, place, level, widths[level], f"{filters[level]} filters\n{size // 2**level} × "
                    f"{size // 2**level}", (place > depth - 1) - (place < depth - 1), heights[level])
        if place < last:
            after = min(place + 1, last - place - 1)
            sides = (-1, 1) if after > level else (1, -1)
            _arrow(axis, (place, -level + sides[0] * heights[level] / 2),
                   (place + 1, -after + sides[1] * heights[after] / 2), "0.35")
    for level in range(depth - 1):
        _arrow(axis, (level + widths[level] / 2, -level), (last - level - widths[level] / 2, -level), "0.65")
    for x, y, text, side in ((0.85, -0.4, "halve: max-pool", "left"), (last - 0.85, -0.4, "double: up-convolution",
                             "right"), (depth - 1, 0.12, "skip connection: concatenate", "center"),
                             (0, 0.48, "image", "center"), (last, 0.48, "probability", "center")):
        axis.text(x, y, text, ha=side, va="center", fontsize=9, color="0.3")
    axis.set(xlim=(-0.95, last + 0.95), ylim=(-depth + 0.2, 0.65))
    axis.axis("off")
    return figure


def _unet_label(axis, x, level, width, text, side, height):
    """Write beside a box of the U: on its outer side, or below the lowest one (side 0)."""
    if side:
        axis.text(x + side * (width / 2 + 0.08), -level, text, ha="left" if side > 0 else "right", va="center",
                  fontsize=8.5)
    else:
        axis.text(x, -level - height / 2 - 0.08, text, ha="center", va="top", fontsize=8.5)


def windowed(image, window=1.0, centre=0.5):
    """Stretch the greys of `window` width round `centre` over the whole range, clipped: [0, 1] to [0, 1].

    What a radiologist calls window width and window centre (or level); here as shares of the image's range.
    """
    return np.clip((image - (centre - window / 2)) / window, 0, 1)


def slice_view(slices, row, opacity=0.4, prediction=None, show="truth", window=1.0, centre=0.5):
    """Draw one slice large, with the truth, the prediction, both, their difference or neither laid over it.

    show : "truth", "prediction", "both", "difference" or "image"; window, centre : see `windowed`
    """
    figure, axis = _live_figure(1, 5.0, bottom=0.07)
    picture = windowed(slices.images[row], window, centre)
    if show == "difference":
        picture = error_overlay(picture, slices.masks[row], prediction[row], opacity)
        draw_slice(axis, picture, f"{describe(slices.table.iloc[row])}, "
               f"Dice {metrics.dice(slices.masks[row], prediction[row]):.3f}")
        error_legend(figure)
        return figure
    truth = slices.masks[row] if slices.masks is not None and show in ("truth", "both") else None
    found = prediction[row] if prediction is not None and show in ("prediction", "both") else None
    for mask, colour in ((truth, TRUTH), (found, PREDICTION)):
        if mask is not None:
            picture = blend(picture, mask, colour, opacity)
    outlines = (truth, found) if opacity > 0 else (None, None)
    size = "" if truth is None else f", cavity {_size(truth, slices.table.iloc[row])}"
    draw_slice(axis, picture, describe(slices.table.iloc[row]) + size, *outlines)
    return figure


def _size(mask, row):
    """Return a mask's area in words: cm², or pixels where the spacing is unknown."""
    area_cm2 = metrics.area_mm2(mask, row.row_spacing_mm, row.col_spacing_mm) / 100
    return f"{area_cm2:.1f} cm²" if area_cm2 == area_cm2 else f"{int(mask.sum())} pixels"


def threshold_view(slices, probability, row, threshold=0.5, curves=None):
    """Draw probability, mask and the four metrics of one slice at a threshold.

    curves : what `evaluation.threshold_curves` returned for this slice; computed where not given
    """
    truth, found = slices.masks[row], masks_of(probability[row], threshold)
    figure, axes = _live_figure(3, 3.4, bottom=0.13)
    axes[0].imshow(probability[row, ..., 0], cmap="magma", vmin=0, vmax=1)
    if found.any():
        axes[0].contour(found[..., 0], [0.5], colors="white", linewidths=1.2)
    draw_slice(axes[0], None, f"Probability; white line: {threshold:.2f}")
    draw_slice(axes[1], error_overlay(slices.images[row], truth, found), describe(slices.table.iloc[row]))
    _threshold_curves(axes[2], truth, found, threshold,
                      threshold_curves(truth, probability[row]) if curves is None else curves)
    error_legend(figure)
    return figure


def _threshold_curves(axis, truth, found, threshold, curves):
    """Draw the metrics over the threshold, the present one marked and its values written."""
    axis.axvline(threshold, color="0.4", linewidth=1, linestyle=":")
    for name, colour in zip(metrics.NAMES, (MISSED, INVENTED, TRUTH, "0.5"), strict=True):
        value = getattr(metrics, name)(truth, found)
        axis.plot(curves.index, curves[name], color=colour, label=f"{name.capitalize()} {value:.2f}")
        axis.plot(threshold, value, "o", color=colour, markersize=5)
    tidy(axis, "", "")
    axis.set(xlim=(0, 1), ylim=(-0.02, 1.02), title=f"Threshold {threshold:.2f}")
    axis.title.set_fontsize(9)
    axis.set_position([0.72, 0.33, 0.26, 0.58])
    axis.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def training_progress(history, image, truth, prediction):
    """Draw where a training stands: loss and Dice up to now, and one validation slice as it is found now.

    history : DataFrame with epoch, loss, val_loss, dice, val_dice, a row per finished epoch
    """
    figure, axes = _live_figure(3, 3.0, left=0.09, bottom=0.17, wspace=0.36)
    for axis, name, label in ((axes[0], "loss", "Loss"), (axes[1], "dice", "Dice")):
        axis.plot(history.epoch, history[name], ".-", color="0.45", label="training")
        axis.plot(history.epoch, history[f"val_{name}"], ".-", color=PREDICTION, label="validation")
        tidy(axis, "Epoch", label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(frameon=False)
    axes[1].set_ylim(0, 1)
    draw_slice(axes[2], overlay(image, prediction, PREDICTION),
           f"Epoch {history.epoch.iloc[-1]:.0f}: Dice {metrics.dice(truth, prediction):.2f} on this slice",
           truth=truth, prediction=prediction)
    return figure


def feature_maps(run, slices, row, layer, count=16, features=None):
    """Draw one slice and the first `count` feature maps that a layer makes of it, each in its own grey range.

    run : a Run or a Keras model; layer : a layer's name, such as "down1a" (see `model.layers`)
    features : what `evaluation.feature_watcher` gave for this slice; computed where not given
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


def _mosaic(maps):
    """Lay maps (h, w, c) out as a square of tiles, each stretched to [0, 1], with white seams."""
    height, width, count = maps.shape
    side = int(np.ceil(np.sqrt(count)))
    seam = max(1, height // 32)
    low, high = maps.min((0, 1)), maps.max((0, 1))
    tiles = (maps - low) / np.where(high > low, high - low, 1)
    picture = np.ones((side * (height + seam) - seam, side * (width + seam) - seam), np.float32)
    for place in range(count):
        top, left = place // side * (height + seam), place % side * (width + seam)
        picture[top:top + height, left:left + width] = tiles[..., place]
    return picture


def contour_comparison(image, truth, prediction, drawn, earlier=()):
    """Draw a contour drawn by hand beside the expert's and the network's, and where it departs from the expert's.

    prediction : a mask, or None; drawn : a mask; earlier : masks that the same person drew before
    """
    figure, axes = _live_figure(2, 3.7, bottom=0.09)
    axes[0].imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=1)
    handles = []
    masks = [*((mask, DRAWN, "earlier", ":") for mask in earlier), (truth, TRUTH, "expert", "-"),
             (prediction, PREDICTION, "network", "-"), (drawn, DRAWN, "you", "-")]
    for mask, colour, name, line in masks:
        if mask is not None and np.any(mask):
            axes[0].contour(np.squeeze(mask) > 0, [0.5], colors=colour, linewidths=1.4, linestyles=line)
            handles.append(plt.Line2D([], [], color=colour, linestyle=line, label=name))
    axes[0].legend(handles=list({handle.get_label(): handle for handle in handles}.values()), fontsize=8, ncols=2,
                   loc="lower left", framealpha=0.7)
    network = "" if prediction is None else f", network {metrics.dice(prediction, drawn):.3f}"
    draw_slice(axes[0], None, f"Your Dice: expert {metrics.dice(truth, drawn):.3f}{network}")
    draw_slice(axes[1], error_overlay(image, truth, drawn), "You against the expert")
    error_legend(figure)
    return figure


def _live_figure(columns, height, left=0.01, bottom=0.02, wspace=0.04):
    """Return (Figure, axes) of near-square panels with fixed margins: a layout engine would double a move's price."""
    figure, axes = plt.subplots(1, columns, figsize=((height - 0.2) * columns, height))
    figure.subplots_adjust(left=left, right=0.99, bottom=bottom, top=0.91, wspace=wspace)
    plt.close(figure)
    return figure, axes


def _arrow(axis, start, end, colour):
    axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour, "shrinkA": 3, "shrinkB": 3})
