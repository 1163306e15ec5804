"""Training without a folder: `fit` is the loop. What is written to disk on the way is store/recorded.py's."""

import time
from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from lvlab.augment import augment
from lvlab.backend import choose_precision
from lvlab.errors import CourseError
from lvlab.losses import LOSSES, slice_dice
from lvlab.recipes import Recipe
from lvlab.slices import SliceSet
from lvlab.unet import unet

WATCHED = ("loss", "dice", "val_loss", "val_dice")


def build(recipe: Recipe, size: int = 128, seed: int = 0) -> keras.Model:
    """Return a recipe's network with weights drawn by the seed; for another `start`, set those of store.shipped."""
    side = recipe.grid * 2 ** (len(recipe.filters) - 1)
    if size % side:
        raise CourseError(f"recipe: its grid and levels need images whose side is a multiple of {side}, not {size}")
    keras.utils.set_random_seed(seed)
    return unet(recipe.filters, size, recipe.kernel_initializer, choose_precision(recipe.precision), recipe.grid,
                recipe.normalization)


def fit(
    model: keras.Model,
    training: SliceSet,
    validation: SliceSet,
    recipe: Recipe,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    keeper: "Keeper | None" = None,
    offset: tuple[float, float] = (0.0, 0.0),
) -> pd.DataFrame:
    """Train a network by a recipe and return its history; the model then holds the weights that the recipe keeps.

    training, validation : SliceSets with masks; no patient should be on both sides; the second may be empty
        where the recipe keeps the last epoch, else CourseError
    callbacks : Keras callbacks, such as a monitor; keeper : remembers the weights (store has one that writes them)
    offset : pixels (down, right) by which the masks lie off their images; augmentation keeps it
    History: one row an epoch; epoch, loss, dice, val_loss, val_dice, seconds.
    """
    if recipe.keep == "best" and not len(validation):
        raise CourseError("validation: empty, so no epoch is the best; hold slices out, or keep='last' in the recipe")
    keeper = keeper or Keeper(recipe)
    steps = recipe.steps(len(training))
    compile_model(model, recipe, steps)
    done = keeper.begin(model)
    model.fit(
        batches(training, recipe, seed, first_step=done * steps, offset=offset),
        steps_per_epoch=steps,
        initial_epoch=done,
        epochs=recipe.epochs,
        validation_data=as_dataset(validation).batch(20) if len(validation) else None,
        callbacks=[keeper, *callbacks],
        shuffle=False,  # `batches` shuffles
        verbose=0,
    )
    keeper.finish(model)
    return keeper.history()


def compile_model(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> None:
    """Give the network its optimizer (Adam: Kingma and Ba 2015, arXiv:1412.6980), loss, and the Dice to watch.

    Where the recipe trains the last layer only, the others are frozen.
    """
    last = [layer for layer in model.layers if layer.weights][-1]
    for layer in model.layers:
        layer.trainable = recipe.layers == "all" or layer is last
    rate = recipe.learning_rate
    if recipe.schedule == "cosine":
        total = steps_per_epoch * recipe.epochs
        warmup = max(1, total // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 20, decay_steps=max(1, total - warmup), warmup_target=rate, warmup_steps=warmup)
    watched = keras.metrics.MeanMetricWrapper(slice_dice, "dice")
    model.compile(keras.optimizers.Adam(rate), loss=LOSSES[recipe.loss], metrics=[watched])
    model.optimizer.build(model.trainable_variables)  # both made now, else the first step is traced twice


def as_dataset(slices: SliceSet) -> tf.data.Dataset:
    """Return a tf.data.Dataset of (image, mask), float32 whatever the arrays are kept in."""
    data = tf.data.Dataset.from_tensor_slices((slices.images, slices.masks))
    return data.map(lambda image, mask: (tf.cast(image, tf.float32), tf.cast(mask, tf.float32)))


def batches(slices: SliceSet, recipe: Recipe, seed: int, first_step: int = 0,
            offset: tuple[float, float] = (0.0, 0.0)) -> tf.data.Dataset:
    """Return an endless tf.data.Dataset of shuffled, augmented (images, masks) batches.

    Each batch's augmentation depends on the seed and the number of its step only.
    """
    data = as_dataset(slices)
    data = data.shuffle(len(slices), seed=seed).repeat().batch(recipe.batch_size).skip(first_step)
    if recipe.augmentation != "none":
        def change(step, pair):
            return augment(*pair, tf.stack([seed, step]), recipe.augmentation, offset)

        data = tf.data.Dataset.zip(tf.data.Dataset.counter(first_step, dtype=tf.int32), data).map(
            change, num_parallel_calls=tf.data.AUTOTUNE)
    return data.prefetch(tf.data.AUTOTUNE)


class Keeper(keras.callbacks.Callback):
    """Remembers the history, the weights of the best (or last) epoch, and where the training started."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe
        self.rows: list[tuple[float, ...]] = []
        self.start: list[np.ndarray] = []
        self.best_weights: list[np.ndarray] = []
        self.best_loss = np.inf

    def begin(self, model: keras.Model) -> int:
        """Remember the weights that the training starts from; return how many epochs are done already."""
        self.start = model.get_weights()
        return 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.before = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        if self.recipe.keep == "last" or not self.best_weights or logs["val_loss"] < self.best_loss:
            self.best_loss, self.best_weights = logs.get("val_loss", np.nan), self.model.get_weights()
        seconds = time.perf_counter() - self.before
        self.rows.append((epoch + 1, *(float(logs.get(name, np.nan)) for name in WATCHED), seconds))

    def finish(self, model: keras.Model) -> None:
        """Put the kept weights into the model: the share `blend` of the trained ones, the rest those of the start."""
        share = self.recipe.blend
        model.set_weights([share * trained + (1 - share) * first
                           for trained, first in zip(self.best_weights, self.start, strict=True)])

    def history(self) -> pd.DataFrame:
        """Return one row an epoch."""
        return pd.DataFrame(self.rows, columns=["epoch", *WATCHED, "seconds"]).astype({"epoch": int})
