"""Cross-validation by patient: every patient is tested once by a network that never saw it."""

import contextlib
import logging
import re
import threading
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lvlab.clinic import judge
from lvlab.commands.workers import InThisProcess, died, finished
from lvlab.errors import CourseError
from lvlab.evaluation import predict, summarise
from lvlab.recipes import Recipe
from lvlab.slices import SliceSet
from lvlab.store.files import refuse_full, shorten, write_csv, write_json
from lvlab.store.folder import load, need_masks
from lvlab.store.runs import HISTORY, RECIPE, clear_run, learnt_offset, open_run, refuse_run, versions

notes = logging.getLogger(__name__)

WAIT = 300  # seconds for the lock of a worker that has vanished: a network disk gives it up late


def folds_of(slices, folds="patient", seed=0):
    """Return {fold name: patients to test on}: each patient alone, or `folds` groups of patients."""
    patients = slices.patients()
    if len(patients) < 2:
        raise CourseError("cross-validation needs two patients at least; their names or tags must tell them apart")
    if folds != "patient" and not 2 <= folds <= len(patients):
        raise CourseError(f"folds is {folds}; between 2 and {len(patients)} (the number of patients) is possible")
    if folds == "patient":
        groups = {patient: [patient] for patient in patients}
    else:
        parts = np.array_split(np.random.default_rng(seed).permutation(patients), folds)
        groups = {f"fold-{number}": list(part) for number, part in enumerate(parts, start=1)}
    if min((~slices.table.patient.isin(group)).sum() for group in groups.values()) < 2:
        raise CourseError("cross-validation leaves a fold with one slice to learn from; add slices: two are needed at "
                          "least, one of them to validate")
    return groups


def clear_way(out, places, resume, overwrite):
    """Make way for the results in `places`, inside `out` or itself; what no cross-validation wrote is never removed."""
    runs = [path for place in places for path in place.glob("seed*-*") if _may_train(path)]
    if not runs:
        refuse_full(out)
    elif overwrite:
        for path in runs:
            clear_run(path)
        for place in {out, *places}:
            for name in ("scores.csv", "summary.json"):
                (place / name).unlink(missing_ok=True)
    elif not resume:
        raise CourseError(f"{out}: already exists; resume it, overwrite it or name another folder",
                          ["resume", "overwrite", "out"])


def _may_train(path):
    """Tell whether a path is a run's folder, perhaps one that was interrupted before its first epoch."""
    with contextlib.suppress(CourseError):
        refuse_run(path, overwrite=True)
        return path.is_dir()


class Folds:
    """The finished folds of one seed of a cross-validation in `path`, which a report takes for one run."""

    def __init__(self, path):
        self.path = Path(path)
        found = sorted(folder.parent.name for folder in self.path.glob(f"seed*-*/{RECIPE}"))
        self.seed = min((int(name[4:].partition("-")[0]) for name in found), default=None)
        self.runs = [open_run(self.path / name) for name in found if name.startswith(f"seed{self.seed}-")]

    def __bool__(self):
        return bool(self.runs)

    @property
    def recipe(self):
        """The recipe of every fold."""
        return self.runs[0].recipe

    @cached_property
    def record(self):
        """What is the same in all folds; the training time is that of one fold, on average."""
        first = self.runs[0].record
        seconds = np.mean([_recorded(run, "train_seconds", (int, float)) for run in self.runs])
        return {key: first.get(key) for key in ("seed", "precision", "cpus", "parameters")} | {
            "train_seconds": float(seconds), "folds": len(self.runs),
            "mask_offset": list(Counter(map(learnt_offset, self.runs)).most_common(1)[0][0]),
            "grouped": all(re.fullmatch(r"seed\d+-fold-\d+", run.path.name) for run in self.runs)}

    @property
    def history(self):
        """The mean over the folds, epoch by epoch."""
        return pd.concat([run.history for run in self.runs]).groupby("epoch", as_index=False).mean()

    def predict(self, slices):
        """Return the probability (n, h, w, 1) in each slice by the fold that did not see its patient."""
        probability, times = np.zeros_like(slices.images), np.zeros(len(slices), int)
        for run in self.runs:
            seen = {name for part in ("training", "validation") for name in _recorded(run, f"{part}_patients", list)}
            tested = ~slices.table.patient.isin(seen).to_numpy()
            probability[tested] = predict(run, slices.subset(tested)) if tested.any() else 0
            times += tested
        if not (times == 1).all():
            raise CourseError(f"{self.path}: its folds do not test each of these patients once; name the course folder "
                              "that was cross-validated, and let crossval finish", ["data"])
        return probability


def _recorded(run, key, kind):
    if not isinstance(run.record.get(key), kind):
        raise CourseError(f"{run.path / RECIPE}: does not say its {key.replace('_', ' ')}; restore it from a copy, or "
                          "cross-validate anew", ["out"])
    return run.record[key]


@dataclass(frozen=True, eq=False)
class Fold:
    """One job: train on all but `patients`, then score on them.

    path : its run folder, absolute: every worker must reach it
    data : the course folder, read by the worker, or the slices themselves; fingerprint : theirs
    """

    path: Path
    data: Path | SliceSet
    fingerprint: str
    recipe: Recipe
    seed: int
    name: str
    patients: tuple[str, ...]

    @property
    def title(self):
        """What people call it."""
        return f"seed {self.seed}, {self.name}"

    def split(self, slices):
        """Return what it trains on, what it validates on, and its own patients, to be tested on."""
        tested = slices.table.patient.isin(self.patients).to_numpy()
        return *slices.subset(~tested).split_by_patient(self.recipe.validation_fraction, self.seed), slices.subset(
            tested)

    def epochs(self):
        """Return how many epochs its folder holds."""
        try:
            lines = (self.path / HISTORY).read_text().count("\n")
            return min(self.recipe.epochs, max(0, lines - 1))
        except OSError:
            return 0


@lru_cache(maxsize=1)
def _everyone(path, fingerprint):
    slices = load(path).everyone()
    if slices.fingerprint() != fingerprint:
        raise CourseError(f"{path}: a worker finds other images or masks there than this machine; name a folder that "
                          "all of them share", ["data"])
    return slices


def train_fold(fold):
    """Train one fold, or go on with it, or open it where it is finished; return its score table."""
    from lvlab.store.recorded import train_or_open

    if not fold.path.parent.is_dir():
        raise CourseError(f"{fold.path.parent}: a worker sees no such folder; name one that all of them share", ["out"])
    slices = fold.data if isinstance(fold.data, SliceSet) else _everyone(fold.data, fold.fingerprint)
    training, validation, tested = fold.split(slices)
    run = train_or_open(training, validation, fold.recipe, fold.path, seed=fold.seed, quiet=True,
                        wait=WAIT)
    scores, _, _ = judge.judge(run, tested)
    return scores.assign(seed=fold.seed, fold=fold.name, train_seconds=run.record["train_seconds"])


def run_folds(folds, pool, quiet=False):
    """Return the score table of each fold, in the order of `folds`; raise at the end where some failed.

    A fold whose worker died is no failed one: it is begun again where it stopped, unless it dies
    again and again without a finished epoch between.
    """
    tables, failed, queue = {}, {}, list(folds)
    with _one_bar(folds, tables, quiet), logging_redirect_tqdm([logging.getLogger("lvlab")]):
        while queue:
            before = {fold: fold.epochs() for fold in queue}
            queue = []
            for (fold,), future in finished(pool, train_fold, [(fold,) for fold in before]):
                error = future.exception()
                if error is None:
                    tables[fold] = _told(fold, future.result())
                elif died(error) and fold.epochs() != before[fold]:
                    queue.append(fold)
                else:
                    failed[fold] = error
                    notes.info("%s: failed (%s)", fold.title, _reason(error))
    if failed:
        fold, error = next(iter(failed.items()))
        raise CourseError(f"{len(failed)} of {len(folds)} folds failed: {shorten([f.path.name for f in failed])}; "
                          f"{fold.path.name}: {_reason(error)}. The others are finished; mend it, and resume",
                          ["resume"]) from error
    return [tables[fold] for fold in folds]


def _told(fold, scores):
    notes.info("%s: Dice %.3f, worst %.3f (%d slices, %.0f s)", fold.title, scores.dice.mean(), scores.dice.min(),
               len(scores), scores.train_seconds.iloc[0])
    return scores


def _reason(error):
    if died(error):
        return "its process died each time before it finished an epoch; memory may be short"
    return str(error) if isinstance(error, CourseError) else f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _one_bar(folds, ended, quiet):
    """Show the epochs of all folds in one bar, read from their folders, whoever trains them."""
    total, stop = sum(fold.recipe.epochs for fold in folds), threading.Event()

    def done():
        return sum(fold.recipe.epochs if fold in ended else fold.epochs() for fold in folds)

    with tqdm(total=total, initial=done(), unit="epoch", desc="Cross-validation", disable=quiet) as bar:
        def watch():
            while not stop.wait(1):
                bar.update(done() - bar.n)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            bar.update(done() - bar.n)


def cross_validate(slices, recipe, out, folds="patient", seeds=(0,), resume=False, overwrite=False, quiet=False,
                   pool=None, data=None):
    """Train one run a fold and seed in `out`, and score each on its held-out patients.

    pool : a concurrent.futures.Executor, such as `workers.open_pool` gives; by default fold after fold, here
    data : the course folder of `slices`, which the pool's workers then read; else the slices are sent to them

    Writes scores.csv (one row a slice and seed, with `seed` and `fold` after the usual columns) and
    summary.json (over all rows, and each seed's mean Dice). Returns both. With `resume`, finished
    folds of the same recipe, seed, data and start are kept, begun ones go on; those of others are refused.
    """
    (result,) = sweep(slices, {recipe.name: recipe}, out, folds, seeds, resume, overwrite, quiet, pool, data).values()
    return result


def sweep(slices, recipes, out, folds="patient", seeds=(0,), resume=False, overwrite=False, quiet=False, pool=None,
          data=None):
    """Cross-validate several recipes, {name: Recipe}, all at once, each in out/NAME; see `cross_validate`.

    Returns {name: (table, summary)}, and writes one scores.csv over all, with the column `recipe`, into `out`.
    """
    out, seeds, pool = Path(out).absolute(), tuple(seeds), pool or InThisProcess()
    places = {name: out / name if len(recipes) > 1 else out for name in recipes}
    for recipe in recipes.values():
        need_masks(slices, slices, recipe)
    clear_way(out, places.values(), resume, overwrite)
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    by_path = data and not isinstance(pool, InThisProcess)
    source = (data.absolute() if by_path else slices), slices.fingerprint()
    plan = [Fold(places[name] / f"seed{seed}-{fold}", *source, recipe, seed, fold, tuple(patients))
            for name, recipe in recipes.items() for seed in seeds
            for fold, patients in folds_of(slices, folds, seed).items()]
    for fold in plan if resume else ():
        _need_same_training(fold, slices)
    tables = dict(zip(plan, run_folds(plan, pool, quiet), strict=True))
    results = {name: _write(places[name], [table for fold, table in tables.items() if fold.path.parent == places[name]],
                            slices, recipe) for name, recipe in recipes.items()}
    if len(recipes) > 1:
        write_csv(out / "scores.csv", pd.concat([table.assign(recipe=name) for name, (table, _) in results.items()]))
    return results


def _need_same_training(fold, slices):
    """Raise where the fold's folder holds another training, finished or begun: resuming must not replace it."""
    from lvlab.store.recorded import differences, identity

    about = identity(*fold.split(slices)[:2], fold.recipe, fold.seed)
    if other := differences(fold.path, about):
        raise CourseError(f"{fold.path}: was trained with {shorten(other)}; name another folder, or overwrite this "
                          "cross-validation", ["out", "overwrite"])


def _write(out, tables, slices, recipe):
    """Write the scores of one recipe and their summary; return both."""
    table = pd.concat(tables, ignore_index=True)
    about = slices.table.set_index("name").loc[table.name].reset_index()
    summary = {**summarise(table), **judge.summary(table, about),
               "mean_dice_of_seed": table.groupby("seed").dice.mean().to_dict(),
               "train_seconds": table.groupby(["seed", "fold"]).train_seconds.first().mean(),
               "recipe": recipe.as_dict(), "versions": versions(), "data_fingerprint": slices.fingerprint()}
    table = table.drop(columns="train_seconds")
    write_csv(out / "scores.csv", table)
    write_json(out / "summary.json", summary)
    return table, summary
