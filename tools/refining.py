"""Second part of the pre-training: a network keeps what it learnt of hearts and unlearns how phantoms look.

After millions of phantoms a network knows phantoms too well: their Dice goes on rising while that of patients falls
(docs/measurements.md). Here it learns from phantoms that are changed further than any scanner would (`changed`), and
a teacher, a network with less practice, says what it sees in the same picture (Hinton et al. 2015,
arXiv:1503.02531): where a picture looks like no phantom, the teacher's view is a second truth. No patient is used.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from joblib import Parallel, delayed

from lvlab import phantom
from lvlab.augment import augment
from lvlab.evaluation import predict
from lvlab.losses import EPSILON, slice_dice_bce_loss
from lvlab.metrics import dice
from lvlab.slices import SIZE
from lvlab.store import runs, shipped
from lvlab.store.files import output
from tools.pretraining import VALIDATION, VALIDATION_SEED

SEED, PHANTOMS, BATCH, CHECKS = 2031, 4000, 8, 8
RATE, WARM_UP = 5e-4, 100  # highest step size, and the steps until then
#: How often a picture gets a piece of another phantom, a faint copy of one, and a wider point spread.
PIECE, COPY, SPREAD = 0.4, 0.3, 0.5


def refine(student, teacher, out, minutes=30.0, phantoms=PHANTOMS, quiet=False):
    """Train the Run `student` on for so many minutes with the Run `teacher` beside it; return the new Run in `out`."""
    runs.refuse_run(out)
    drawn = Parallel(-1)(delayed(phantom.random_slices)(50, SEED, SIZE, at) for at in range(0, phantoms, 50))
    images, masks = (np.concatenate([getattr(part, name) for part in drawn]) for name in ("images", "masks"))
    validation = phantom.random_slices(VALIDATION, VALIDATION_SEED)
    model, optimizer, rng = student.model, tf.keras.optimizers.Adam(RATE), np.random.default_rng(SEED)
    optimizer.build(model.trainable_variables)
    step = _step(model, teacher.model, optimizer)
    rows, losses, begun, share = [], [], time.perf_counter(), 0.0
    while share < 1:
        optimizer.learning_rate = RATE * min(1, (len(losses) + 1) / WARM_UP) * (1 + np.cos(np.pi * share)) / 2
        some, others = rng.integers(0, len(images), (2, BATCH))
        losses.append(float(step(images[some], masks[some], images[others], masks[others], len(losses))))
        share = (time.perf_counter() - begun) / (60 * minutes)
        if share >= (len(rows) + 1) / CHECKS or share >= 1:
            score = float(np.nanmean(dice(validation.masks, predict(student, validation) >= 0.5)))
            rows.append((len(rows) + 1, np.mean(losses[-200:]), np.nan, np.nan, score, 60 * minutes * share))
            if not quiet:
                print(f"{share:4.0%}, {len(losses):,} steps of {BATCH}, loss {rows[-1][1]:.4f}, Dice {score:.4f}",
                      flush=True)
    out.mkdir(parents=True, exist_ok=True)
    shipped.write(out, model.get_weights(), {
        **student.record, "refined": {"teacher": teacher.record["recipe"]["name"], "phantoms": phantoms,
                                      "steps": len(losses), "batch_size": BATCH, "seconds": rows[-1][-1]},
        "val_dice": rows[-1][4]}, pd.DataFrame(rows, columns=runs.COLUMNS).astype({"epoch": int}))
    return runs.open_run(out)


def _step(model, teacher, optimizer):
    """Return one step of learning as a compiled function."""
    @tf.function
    def step(images, masks, others, other_masks, number):
        seed = tf.stack([SEED, number])
        first = augment(images, masks, seed, "strong")
        second = augment(others, other_masks, seed + [0, 1 << 20], "strong")
        image, mask = changed(*first, *second)
        seen = teacher(image, training=False)
        with tf.GradientTape() as tape:
            probability = model(image, training=True)
            loss = slice_dice_bce_loss(mask, probability) + _disagreement(seen, probability)
        slopes = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(slopes, model.trainable_variables, strict=True))
        return loss

    return lambda *batch: step(*batch[:4], tf.constant(batch[4], tf.int32))


def _disagreement(seen, probability):
    """Return twice the cross-entropy with the teacher's probabilities plus a Dice loss of both, squared (V-Net's)."""
    hit, both = tf.reduce_sum(seen * probability), tf.reduce_sum(seen**2) + tf.reduce_sum(probability**2)
    entropy = tf.reduce_mean(tf.keras.losses.binary_crossentropy(seen, probability))
    return 2 * entropy + 1 - (2 * hit + EPSILON) / (both + EPSILON)


def changed(image, mask, other, other_mask):
    """Return float32 (b, h, w, 1) images in [0, 1] changed further, and their masks, which stay.

    A rectangle of another phantom where neither has a cavity; a faint copy of it over all; a wider point spread; noise
    that passed a point spread; any monotone curve of grey.
    """
    count, size = tf.shape(image)[0], image.shape[1]

    def draw(least=0.0, most=1.0):
        return tf.random.uniform((count, 1, 1, 1), least, most)

    def sometimes(chance):
        return tf.cast(draw() < chance, tf.float32)

    line = tf.range(float(size))
    inside = [tf.abs(tf.reshape(line, shape) - draw(0, size)) < draw(0, 0.4 * size)
              for shape in ((1, -1, 1, 1), (1, 1, -1, 1))]
    piece = tf.cast(inside[0] & inside[1], tf.float32) * (1 - _near(mask)) * sometimes(PIECE)
    piece *= tf.cast(tf.reduce_sum(piece * other_mask, (1, 2, 3), keepdims=True) < 1, tf.float32)
    image = image * (1 - piece) + other * piece
    faint = draw(0, 0.3) * sometimes(COPY)
    image = image * (1 - faint) + other * faint
    spread = sometimes(SPREAD)
    image = spread * _blurred(image, tf.random.uniform((), 0.3, 1.6)) + (1 - spread) * image
    noise = _blurred(tf.random.normal(tf.shape(image)), tf.random.uniform((), 0.4, 1.3))
    image = tf.clip_by_value(image + 0.08 * draw() ** 2 * noise / tf.math.reduce_std(noise), 0, 1)
    return tf.clip_by_value(image + draw(-0.28, 0.28) / np.pi * tf.sin(np.pi * image), 0, 1), mask


def _near(mask, block=8):
    """Return 1 within one to three blocks of pixels of a mask."""
    coarse = tf.nn.max_pool2d(tf.nn.max_pool2d(mask, block, block, "SAME"), 5, 1, "SAME")
    return tf.repeat(tf.repeat(coarse, block, 1), block, 2)


def _blurred(image, sigma, reach=4):
    """Return the images under a Gaussian point spread of `sigma` pixels; edges are mirrored."""
    kernel = tf.exp(-0.5 * (tf.range(-reach, reach + 1, dtype=tf.float32) / sigma) ** 2)
    kernel /= tf.reduce_sum(kernel)
    image = tf.pad(image, [[0, 0], [reach, reach], [reach, reach], [0, 0]], "REFLECT")
    image = tf.nn.conv2d(image, kernel[:, None, None, None], 1, "VALID")
    return tf.nn.conv2d(image, kernel[None, :, None, None], 1, "VALID")


def main():
    """Refine a pre-trained network beside a teacher, and put it into the package with --ship."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("student", type=Path, help="a folder of tools.pretraining")
    parser.add_argument("--teacher", type=Path, default=Path("tools/weights"))
    parser.add_argument("--out", default="runs/phantom-refining")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--ship", action="store_true")
    args = parser.parse_args()
    run = refine(runs.open_run(args.student), runs.open_run(args.teacher), output(args.out), args.minutes)
    if args.ship:
        shipped.ship(run)
    print(f"Validation Dice {run.record['val_dice']:.3f} on phantoms; in {run.path}")


if __name__ == "__main__":
    main()
