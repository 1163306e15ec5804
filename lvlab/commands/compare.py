"""`lvlab compare`: the difference of two runs on the same slices, pair by pair, with an interval by patient."""

import pandas as pd

from lvlab import metrics
from lvlab.clinic import agreement, judge
from lvlab.errors import CourseError
from lvlab.store.files import find, one_line, read_json

MOST = 5      # slices named that gained or lost most
EQUAL = 0.005


def compare(run_a, run_b, slices=None):
    """Return the comparison of two Runs as lines: b - a. Scored on `slices`, or as their scores.csv say."""
    tables = [judge.judge(run, slices)[0] if slices is not None else stored_scores(run.path) for run in (run_a, run_b)]
    if slices is None:
        _need_the_same(run_a.path, run_b.path, tables)
    return describe(*tables, *(one_line(run.path.name) for run in (run_a, run_b)))


def stored_scores(path):
    """Return a run's scores.csv; raise CourseError where there is none, or another table."""
    file = find(path) / "scores.csv"
    if not file.is_file():
        raise CourseError(f"{path}: has no scores.csv; evaluate the run first, or name the course folder", ["data"])
    try:
        table = pd.read_csv(file, dtype={"name": str, "patient": str, "phase": str, "flag": str}, keep_default_na=False,
                            na_values={name: ["", "nan"] for name in metrics.NAMES})
        table = table.astype(dict.fromkeys(metrics.NAMES, float))[["name", "patient", "phase", "level", *metrics.NAMES]]
        if not table[[*metrics.NAMES]].fillna(0).map(lambda score: 0 <= score <= 1).all(axis=None):
            raise ValueError("a score is not between 0 and 1")
        return table
    except (ValueError, KeyError) as error:
        raise CourseError(f"{file}: is no score table of lvlab; evaluate the run again") from error


def _need_the_same(path_a, path_b, tables):
    """Raise unless both tables are of the same slices, by name and by the fingerprint of their pixels."""
    prints = [read_json(path / "summary.json").get("data_fingerprint") if (path / "summary.json").is_file() else None
              for path in (path_a, path_b)]
    names = [set(table.name) for table in tables]
    if names[0] != names[1] or prints[0] != prints[1] or any(table.name.duplicated().any() for table in tables):
        raise CourseError(f"{path_a} and {path_b}: were not scored on the same slices ({len(names[0] & names[1])} "
                          "names in common); name a course folder to score both on", ["data"])


def describe(scores_a, scores_b, name_a, name_b):
    """Return what changes from a to b, as lines of text."""
    dice, changes = agreement.paired(scores_a, scores_b)
    if not len(changes):
        return ["No slice has anything to find: there is nothing to compare."]
    rows = {name: _row(scores_a, scores_b, name) for name in metrics.NAMES}
    better, worse = (int((sign * changes.difference > EQUAL).sum()) for sign in (1, -1))
    lines = [f"a: {name_a}", f"b: {name_b}",
             f"{dice.n} slices of {dice.patients} patient{'s' * (dice.patients != 1)}, compared slice by slice",
             pd.DataFrame(rows, index=["a", "b", "b - a", "95 % interval"]).T.to_string(),
             f"Dice: b is better on {better}, worse on {worse}, within {EQUAL:g} on {dice.n - better - worse} slices",
             verdict(dice)]
    for title, part in (("Lost most", changes[changes.difference < -EQUAL].head(MOST)),
                        ("Gained most", changes[changes.difference > EQUAL].tail(MOST)[::-1])):
        lines += [f"{title}:"] * bool(len(part)) + [
            f"  {row.name}: {row.dice_a:.3f} to {row.dice_b:.3f}" for row in part.itertuples(index=False)]
    return lines + [agreement.caution(dice.patients)] * bool(agreement.caution(dice.patients))


def _row(scores_a, scores_b, name):
    found, table = agreement.paired(scores_a, scores_b, name)
    ends = "-" if found.low != found.low else f"{found.low:+.3f} to {found.high:+.3f}"
    return [f"{table[f'{name}_a'].mean():.3f}", f"{table[f'{name}_b'].mean():.3f}", f"{found.mean:+.3f}", ends]


def verdict(dice):
    """Return in a sentence what an interval of paired differences says."""
    if dice.low != dice.low:
        return "One patient only: whether the difference holds on others cannot be told."
    if dice.low > 0 or dice.high < 0:
        return f"The interval leaves out 0: {'b' if dice.mean > 0 else 'a'} is better on patients like these."
    return "The interval holds 0: these patients do not tell which is better."
