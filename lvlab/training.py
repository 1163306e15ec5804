"""Training: the losses, and `train`, which turns slices and a recipe into a run folder."""

import time

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lvlab.augment import augment
from lvlab.backend import choose_precision, keras, tf
from lvlab.store import runs
from lvlab.store.files import CourseError, output, runs_folder, write_csv
from lvlab.store.folder import check_data
from lvlab.unet import unet

ops = keras.ops
EPSILON = 1e-5
METRICS = ("loss", "dice", "val_loss", "val_dice")


def soft_dice_loss(truth, probability):
    """Return 1 - (2 Σtp + ε) / (Σt + Σp + ε), summed over the whole batch, ε = 1e-5.

    Milletari et al. 2016, doi:10.1109/3DV.2016.79, without their squares.
    """
    hit = ops.sum(truth * probability)
    return 1 - (2 * hit + EPSILON) / (ops.sum(truth) + ops.sum(probability) + EPSILON)


def dice_bce_loss(truth, probability):
    """Return the soft Dice loss plus the mean binary cross-entropy of the pixels.

    Dice alone gives no slope once a slice is wholly missed; cross-entropy always does.
    """
    cross_entropy = ops.mean(keras.losses.binary_crossentropy(truth, probability))
    return soft_dice_loss(truth, probability) + cross_entropy


def slice_dice(truth, probability):
    """Return each slice's Dice at threshold 0.5, shape (b,); 1 where both are empty. For monitoring."""
    found = ops.cast(probability >= 0.5, "float32")
    axes = (1, 2, 3)
    hit = ops.sum(truth * found, axes)
    return (2 * hit + EPSILON) / (ops.sum(truth, axes) + ops.sum(found, axes) + EPSILON)


slice_dice.__name__ = "dice"
LOSSES = {"dice": soft_dice_loss, "dice_bce": dice_bce_loss}


def train(training, validation, recipe, out=None, *, seed=0, resume=False, overwrite=False, quiet=False,
          callbacks=()):
    """Train a U-Net on `training` by `recipe`, watched on `validation`, and return its Run.

    training, validation : SliceSets with masks; patients should not be on both sides
    out : the run folder, runs/<recipe name> by default; refused if it exists, unless `resume` (go on
        after the last finished epoch) or `overwrite` (start anew)
    callbacks : further Keras callbacks, such as a monitor
    """
    path = output(out or runs_folder() / recipe.name)
    check_data(training, validation)
    precision = choose_precision(recipe.precision)
    prepare_folder(path, resume, overwrite)
    keras.utils.set_random_seed(seed)
    size = training.images.shape[1]
    model = unet(recipe.filters, size, recipe.kernel_initializer, precision)
    steps = -(-len(training) * recipe.passes // recipe.batch_size)
    if recipe.start == "phantom":
        model.set_weights(runs.shipped_weights(recipe))
    compile_model(model, recipe, steps)
    about = {"recipe": recipe.as_dict(), "seed": seed, "precision": precision,
             "data_fingerprint": data_fingerprint(training, validation),
             "start_fingerprint": runs.start_fingerprint(recipe)}
    start, watched = model.get_weights(), as_dataset(validation).batch(20)
    keeper = Keeper(path, recipe, about, resume)
    model.fit(
        batches(training, recipe, seed, first_step=keeper.start_at(model) * steps),
        steps_per_epoch=steps, initial_epoch=keeper.epoch, epochs=recipe.epochs, shuffle=False, verbose=0,
        validation_data=watched,
        callbacks=[keeper, Bar(recipe.epochs, keeper.epoch, quiet),
                   keras.callbacks.TensorBoard(path / "logs", write_graph=False), *callbacks])
    keeper.finish(start, watched, parameters=model.count_params(), training_slices=len(training),
                  validation_slices=len(validation), training_patients=training.patients(),
                  validation_patients=validation.patients())
    return runs.open_run(path)


def train_or_open(training, validation, recipe, out=None, *, seed=0, quiet=False):
    """Return the finished run of just this recipe, seed and data where there is one; else train it."""
    path = output(out or runs_folder() / recipe.name)
    if runs.same_training(path, recipe, seed, data_fingerprint(training, validation)):
        print(f"{path.name}: trained before on the same data with the same recipe and seed; opened.")
        return runs.open_run(path)
    print(f"{path.name}: not trained on this data yet; training now.")
    return train(training, validation, recipe, path, seed=seed, overwrite=True, quiet=quiet)


def data_fingerprint(training, validation):
    """Return one fingerprint of the two sides of a split."""
    return f"{training.fingerprint()}-{validation.fingerprint()}"


def prepare_folder(path, resume=False, overwrite=False):
    """Make the run folder ready, or refuse: nothing that exists is overwritten without being told."""
    runs.refuse_run(path, resume, overwrite)
    try:
        if path.is_dir() and overwrite:
            runs.clear_run(path)
        path.mkdir(parents=True, exist_ok=True)
        for left_by_a_kill in path.glob(".writing-*"):
            left_by_a_kill.unlink()
    except OSError as error:
        raise CourseError(f"{path}: cannot be made ({error.strerror}); name another --out") from error


def compile_model(model, recipe, steps_per_epoch):
    """Give the network its optimizer, loss and the Dice to watch."""
    rate = recipe.learning_rate
    if recipe.schedule == "cosine":
        total = steps_per_epoch * recipe.epochs
        warmup = max(1, total // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 20, decay_steps=max(1, total - warmup), warmup_target=rate, warmup_steps=warmup)
    model.compile(keras.optimizers.Adam(rate), loss=LOSSES[recipe.loss], metrics=[slice_dice])


def as_dataset(slices):
    """Return a tf.data.Dataset of (image, mask), float32 whatever the arrays are kept in."""
    data = tf.data.Dataset.from_tensor_slices((slices.images, slices.masks))
    return data.map(lambda image, mask: (tf.cast(image, tf.float32), tf.cast(mask, tf.float32)))


def batches(slices, recipe, seed, first_step=0):
    """Return an endless tf.data.Dataset of shuffled, augmented (images, masks) batches.

    Each batch's augmentation depends on the seed and the number of its step only.
    """
    data = as_dataset(slices)
    data = data.shuffle(len(slices), seed=seed + first_step).repeat().batch(recipe.batch_size)
    if recipe.augmentation != "none":
        numbered = tf.data.Dataset.zip(tf.data.Dataset.counter(first_step, dtype=tf.int32), data)
        data = numbered.map(lambda step, pair: augment(*pair, tf.stack([seed, step]), recipe.augmentation),
                            num_parallel_calls=tf.data.AUTOTUNE)
    return data.prefetch(tf.data.AUTOTUNE)


class Keeper(keras.callbacks.Callback):
    """Keeps the best weights, the history and all that is needed to resume, once an epoch, in one file."""

    def __init__(self, path, recipe, about, resume):
        super().__init__()
        self.path, self.recipe, self.about = path, recipe, about
        self.epoch, self.best_loss, self.best_weights, self.rows = 0, np.inf, None, []
        self.stored = None
        self.before = time.perf_counter()
        if resume and (path / runs.PROGRESS).exists():
            self.stored = runs.load_progress(path / runs.PROGRESS)

    def start_at(self, model):
        """Put back what was stored, if anything, and return the number of epochs already done."""
        if self.stored is None:
            return 0
        if str(self.stored.get("about")) != repr(self.about):
            raise CourseError(f"{self.path}: was begun with another recipe, seed, precision or data; "
                              "resume with the same, or --overwrite")
        try:
            model.optimizer.build(model.trainable_variables)
            self.best_weights = runs.numbered(self.stored, "best")
            for weights in (self.best_weights, runs.numbered(self.stored, "weights")):
                model.set_weights(weights)
            for variable, value in zip(model.optimizer.variables, runs.numbered(self.stored, "optimizer"), strict=True):
                variable.assign(value)
            self.best_loss = float(self.stored["best_loss"])
            self.rows = [tuple(map(float, row)) for row in self.stored["rows"]]
            self.history()
        except (KeyError, ValueError, TypeError) as error:
            raise CourseError(f"{self.path / runs.PROGRESS}: is damaged; train again with --overwrite") from error
        self.epoch = len(self.rows)
        return self.epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.before = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        weights = self.model.get_weights()
        if self.recipe.keep == "last" or self.best_weights is None or logs["val_loss"] < self.best_loss:
            self.best_loss, self.best_weights = logs["val_loss"], weights
        seconds = time.perf_counter() - self.before
        self.rows.append((epoch + 1, *(float(logs[name]) for name in METRICS), seconds))
        optimizer = [np.asarray(variable) for variable in self.model.optimizer.variables]
        runs.save_progress(
            self.path / runs.PROGRESS, about=np.array(repr(self.about)), rows=np.array(self.rows),
            best_loss=np.array(self.best_loss), **runs.numbering("weights", weights),
            **runs.numbering("best", self.best_weights), **runs.numbering("optimizer", optimizer))
        write_csv(self.path / runs.HISTORY, self.history())

    def history(self):
        """Return one row per epoch as a DataFrame."""
        table = pd.DataFrame(self.rows, columns=["epoch", *METRICS, "seconds"])
        return table.astype({"epoch": int})

    def finish(self, start, validation, **more):
        """Write the kept weights, blended with those of the start, and the record: now the run is a finished one."""
        share = self.recipe.blend
        self.model.set_weights([share * trained + (1 - share) * first
                                for trained, first in zip(self.best_weights, start, strict=True)])
        history = self.history()
        best = len(history) - 1 if self.recipe.keep == "last" else int(history.val_loss.fillna(np.inf).idxmin())
        val_dice = history.val_dice[best]
        if share < 1:
            val_dice = self.model.evaluate(validation, verbose=0, return_dict=True)["dice"]
        runs.write_record(self.path, **self.about, **more, best_epoch=int(history.epoch[best]),
                          val_dice=float(val_dice), train_seconds=float(history.seconds.sum()))
        runs.save_model(self.path / runs.MODEL, self.model)
        (self.path / runs.PROGRESS).unlink(missing_ok=True)


class Bar(keras.callbacks.Callback):
    """One progress bar over the epochs, with the validation Dice."""

    def __init__(self, epochs, first, quiet):
        super().__init__()
        self.bar = tqdm(total=epochs, initial=first, unit="epoch", desc="Training", disable=quiet)

    def on_epoch_end(self, epoch, logs=None):
        self.bar.set_postfix({"val Dice": f"{logs['val_dice']:.3f}"})
        self.bar.update()

    def on_train_end(self, logs=None):
        self.bar.close()

