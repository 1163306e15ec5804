"""Recorded training: `fit`, with a folder that keeps every epoch, so that nothing is lost and it can be resumed."""

import contextlib
import logging
from types import SimpleNamespace

import filelock
import numpy as np
from tqdm.auto import tqdm

from lvlab.backend import choose_precision
from lvlab.store.quiet import quietly

with quietly():
    import keras

from lvlab.errors import CourseError
from lvlab.evaluation import evaluate
from lvlab.store import runs, shipped
from lvlab.store.files import output, runs_folder, shorten, write_csv
from lvlab.store.folder import need_masks
from lvlab.store.masks import direction, mask_offset
from lvlab.store.progress import load_arrays, numbered, numbering, save_arrays
from lvlab.training import Keeper, build, fit

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total_fmt} epochs [{elapsed}<{remaining}{postfix}]"
notes = logging.getLogger(__name__)


def train(training, validation, recipe, out=None, *, seed=0, resume=False, overwrite=False, quiet=False,
          callbacks=(), wait=0):
    """Train a U-Net on `training` by `recipe`, watched on `validation`, and return its Run.

    training, validation : SliceSets with masks; patients should not be on both sides. The second may be empty where
        the recipe's validation_fraction is 0: then there is no validation loss or Dice (NaN)
    out : the run folder, runs/<recipe name> by default; refused if it exists, unless `resume` (go on
        after the last finished epoch) or `overwrite` (start anew)
    callbacks : further Keras callbacks, such as a monitor
    wait : seconds to wait for the end of another training in the same folder
    """
    path = output(out or runs_folder() / recipe.name)
    need_masks(training, validation, recipe)
    about = {**identity(training, validation, recipe, seed), "precision": choose_precision(recipe.precision)}
    start = shipped.start_weights(recipe)
    runs.refuse_run(path, resume, overwrite)
    with alone_in(path, wait):
        return _train(training, validation, recipe, path, about, start, seed, resume, overwrite, quiet, callbacks)


def _train(training, validation, recipe, path, about, start, seed, resume, overwrite, quiet, callbacks):
    make_way(path, resume, overwrite)
    size = training.images.shape[1]
    model = build(recipe, size, seed)
    if start:
        model.set_weights(start)
    offset = mask_offset(training.images, training.masks)
    if any(offset):
        notes.info("The training masks lie off the edges in their images (pixels: %s); the network learns to draw them "
                   "there.", direction(offset))
    recorder = Recorder(path, recipe, about, resume, quiet)
    board = keras.callbacks.TensorBoard(path / "logs", write_graph=False)
    history = fit(model, training, validation, recipe, seed, [board, *callbacks], recorder,
                  offset if recipe.mask_offset == "kept" else (0.0, 0.0))
    best = len(history) - 1 if recipe.keep == "last" else int(history.val_loss.fillna(np.inf).idxmin())
    kept = evaluate(SimpleNamespace(model=model, recipe=recipe, path=path), validation).dice.mean() if len(
        validation) else np.nan
    runs.write_run(path, model, history, {
        **about, "size": size, "parameters": model.count_params(),
        "training_slices": len(training), "validation_slices": len(validation),
        "training_patients": training.patients(), "validation_patients": validation.patients(),
        "mask_offset": list(offset), "best_epoch": int(history.epoch[best]), "val_dice": float(kept),
        "train_seconds": float(history.seconds.sum())})
    (path / runs.PROGRESS).unlink(missing_ok=True)
    return runs.open_run(path)


def train_or_open(training, validation, recipe, out=None, *, seed=0, quiet=False, wait=0):
    """Return the finished run of just this recipe, seed and data where there is one; else train it.

    A training of just these that was interrupted goes on after its last finished epoch.
    """
    path = output(out or runs_folder() / recipe.name)
    about = identity(training, validation, recipe, seed)
    if runs.same_training(path, about):
        notes.info("%s: trained before on the same data with the same recipe and seed; opened.", path.name)
        return runs.open_run(path)
    begun = _begun(path, {**about, "precision": choose_precision(recipe.precision)})
    what = "begun before; going on" if begun else "not trained on this data yet; training now"
    notes.info("%s: %s.", path.name, what)
    return train(training, validation, recipe, path, seed=seed, resume=begun, overwrite=not begun, quiet=quiet,
                 wait=wait)


def _begun(path, about):
    """Tell whether `path` holds the unfinished training of just these."""
    try:
        return str(load_arrays(path / runs.PROGRESS).get("about")) == repr(about)
    except CourseError:  # none, or damaged
        return False


def differences(path, about):
    """Return in words how the training in `path`, finished or begun, is another one than `about`: [] where none is.

    Raises CourseError where it cannot be read.
    """
    if (path / runs.PROGRESS).exists():
        same = str(load_arrays(path / runs.PROGRESS).get("about")).startswith(repr(about)[:-1])
        return [] if same else ["another recipe, seed, start or data (begun, not finished)"]
    if runs.same_training(path, about) or not path.is_dir() or not (path / runs.RECIPE).exists():
        return []
    run = runs.Run(path)
    other = [key for key, value in about["recipe"].items() if run.recipe.as_dict()[key] != value]
    words = {"seed": "another seed", "data_fingerprint": "other data", "start_fingerprint": "other start weights"}
    return [*([f"another recipe ({shorten(other)})"] if other else []),
            *(word for key, word in words.items() if run.record.get(key) != about[key])]


def identity(training, validation, recipe, seed):
    """Return what makes two trainings the same one: recipe, seed, data and the weights that it starts from."""
    return {"recipe": recipe.as_dict(), "seed": seed,
            "data_fingerprint": f"{training.fingerprint()}-{validation.fingerprint()}",
            "start_fingerprint": shipped.start_fingerprint(recipe)}


@contextlib.contextmanager
def alone_in(path, wait=0):
    """Hold a run folder for one training; raise where another process is training into it, for `wait` seconds still.

    The lock ends with its process, however that ends; a network disk may hold it a minute or two longer, where
    the whole machine is gone. A disk that knows no locks gives none.
    """
    lock = filelock.FileLock(path / runs.LOCK, timeout=wait, poll_interval=1)
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock)
        except filelock.Timeout as error:
            raise CourseError(f"{path}: another training is writing into it; wait for its end, or name another folder",
                              ["out"]) from error
        except NotADirectoryError as error:
            raise CourseError(f"{path}: cannot be made ({error.strerror}); name another folder", ["out"]) from error
        except (OSError, NotImplementedError):
            notes.info("%s: this disk locks no files; see that no second training writes there.", path.name)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (path / runs.LOCK).unlink()


def make_way(path, resume=False, overwrite=False):
    """Make the run folder ready, or refuse: nothing that exists is overwritten unasked."""
    runs.refuse_run(path, resume, overwrite)
    try:
        if path.is_dir() and overwrite:
            runs.clear_run(path)
        path.mkdir(parents=True, exist_ok=True)
        for left_by_a_kill in path.glob(".writing-*"):
            left_by_a_kill.unlink()
    except OSError as error:
        raise CourseError(f"{path}: cannot be made ({error.strerror}); name another folder", ["out"]) from error


class Recorder(Keeper):
    """A Keeper that writes, once an epoch and in one file, all that is needed to resume; with a progress bar."""

    def __init__(self, path, recipe, about, resume, quiet):
        super().__init__(recipe)
        self.path, self.about, self.quiet = path, about, quiet
        self.stored = load_arrays(path / runs.PROGRESS) if resume and (path / runs.PROGRESS).exists() else None

    def begin(self, model):
        """Put back what was stored, if anything, and return the number of epochs already done."""
        done = super().begin(model)
        if self.stored is not None:
            done = self._put_back(model)
        self.bar = tqdm(total=self.recipe.epochs, initial=done, desc="Training", disable=self.quiet, bar_format=BAR,
                        mininterval=1)  # a notebook's client that does not read along keeps a thousand messages
        return done

    def _put_back(self, model):
        if str(self.stored.get("about")) != repr(self.about):
            raise CourseError(f"{self.path}: was begun with another recipe, seed, precision or data; resume with the "
                              "same, or name another folder", ["out", "overwrite"])
        try:
            model.optimizer.build(model.trainable_variables)
            self.best_weights = numbered(self.stored, "best")
            for weights in (self.best_weights, numbered(self.stored, "weights")):
                model.set_weights(weights)
            for variable, value in zip(model.optimizer.variables, numbered(self.stored, "optimizer"), strict=True):
                variable.assign(value)
            self.best_loss = float(self.stored["best_loss"])
            self.rows = [tuple(map(float, row)) for row in self.stored["rows"]]
            self.history()
        except (KeyError, ValueError, TypeError) as error:
            raise CourseError(f"{self.path / runs.PROGRESS}: is damaged; restore it from a copy, or train into another "
                              "folder", ["out", "overwrite"]) from error
        return len(self.rows)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(min(1 / self.params["steps"], self.bar.total - self.bar.n))  # shown once a second at most

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        optimizer = [np.asarray(variable) for variable in self.model.optimizer.variables]
        save_arrays(
            self.path / runs.PROGRESS, about=np.array(repr(self.about)), rows=np.array(self.rows),
            best_loss=np.array(self.best_loss), **numbering("weights", self.model.get_weights()),
            **numbering("best", self.best_weights), **numbering("optimizer", optimizer))
        write_csv(self.path / runs.HISTORY, self.history())
        self.bar.n = epoch + 1
        name = "val_dice" if "val_dice" in logs else "dice"
        self.bar.set_postfix({name.replace("d", "D"): f"{logs[name]:.3f}"})

    def on_train_end(self, logs=None):
        self.bar.close()
