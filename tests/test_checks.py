"""Each exercise's check passes the solution, and answers three typical mistakes with the right hint."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lvlab.recipes import LAB
from lvlab.teach import checks

rng = np.random.default_rng(0)
CROP = rng.normal(300, 80, (32, 32)).clip(0)
LOW, HIGH = np.percentile(CROP, [5, 95])
MASKS = np.zeros((6, 32, 32, 1), np.float32)
for place in range(6):
    MASKS[place, 4 + 3 * place:14 + 3 * place, 8:20] = 1
HOLES = MASKS.copy()
HOLES[[1, 4]] = 0
EMPTY_TRUTH = MASKS.copy()
EMPTY_TRUTH[2] = 0
PATIENTS = {"first": ["a", "a", "b"], "second": ["b", "c"]}
FIRST, SECOND = (SimpleNamespace(patients=lambda names=names: list(dict.fromkeys(names)),
                                 table=SimpleNamespace(name=[f"{side}-{at}" for at in range(len(names))]))
                 for side, names in PATIENTS.items())
IMAGE, MASK = CROP[..., None], np.zeros((32, 32, 1))
MASK[4:9, 3:10] = 1
HISTORY = checks.overfitting()
VAL = TEST = SimpleNamespace(masks=MASKS)
AT_30 = np.where(MASKS > 0, 0.35, 0.25)
AT_70 = np.where(MASKS > 0, 0.75, 0.65)
MINE = replace(LAB, name="mine", loss="dice", epochs=2, passes=1)
LARGE, SMALL = SimpleNamespace(precision=0.5, recall=0.9), SimpleNamespace(precision=0.9, recall=0.5)
ELSEWHERE = SimpleNamespace(precision=0.02, recall=0.03)


def shift(axis, step=1):
    from lvlab import metrics
    return metrics.dice(MASKS, np.roll(MASKS, step, axis=axis))


def bce(truth, p):
    return -np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p))


def my_dice(truth, drawn):
    both = truth.sum() + drawn.sum()
    return 2 * (truth * drawn).sum() / both if both else np.nan


def without_empty(truth, drawn):
    return 2 * (truth * drawn).sum() / max(truth.sum() + drawn.sum(), 1)


def my_jaccard(truth, drawn):
    return (truth * drawn).sum() / max(((truth + drawn) > 0).sum(), 1)


FAULTS = {"A": "mispaired", "B": "inverted", "C": "too small"}
TABLE = {
    "1_1": ((CROP,), np.clip((CROP - LOW) / (HIGH - LOW), 0, 1), [
        ((CROP - CROP.min()) / np.ptp(CROP), "minimum and maximum"), ((CROP - LOW) / (HIGH - LOW), "Clip"),
        (np.clip((HIGH - CROP) / (HIGH - LOW), 0, 1), "inverted"), (..., "YOUR CODE HERE")]),
    "1_4": ((MASKS[0], 1.25, 1.5), 120 * 1.25 * 1.5 / 100, [
        (120, "number of pixels"), (120 * 1.25 * 1.5, "in mm²"), (120 * 1.25**2 / 100, "one spacing twice")]),
    "1_2": ((MASKS,), shift(0), [
        (float(shift(0).mean()), "hides the slices"), (np.ones(6), "still paired"), (shift(2), "within their images"),
        (np.roll(MASKS, 1, axis=0), "These are masks")]),
    "1_3": ((), FAULTS, [
        ({"A": "inverted", "B": "mispaired", "C": "too small"}, "swapped"), ({**FAULTS, "A": "small"}, "The words are"),
        ({**FAULTS, "A": "too small", "C": "mispaired"}, "leaves the total area"), ("inverted", "answer with {'A'")]),
    "1_5": ((FIRST, SECOND), {"b"}, [
        (1, "not how many"), (set(), "by patient"), ({"a", "b", "c"}, "everyone"), ({"first-0"}, "These are slices")]),
    "2_1": ((), 4640, [(4608, "has a bias"), (4624, "*out*, not in"), (320, "all 16")]),
    "2_2": ((), bce, [
        (lambda t, p: -bce(t, p), "The sign"), (lambda t, p: 5 * bce(t, p), "the sum"),
        (lambda t, p: -np.mean(t * np.log(p)), "Background"), (lambda t, p: None, "return"),
        (lambda t, p: -t * np.log(p), "np.mean"), (lambda t, p: t & p, "TypeError")]),
    "2_3": ((IMAGE, MASK), (IMAGE[:, ::-1], MASK[:, ::-1]), [
        ((IMAGE[:, ::-1], MASK), "the mask stayed"), ((IMAGE, MASK[:, ::-1]), "the image stayed"),
        ((IMAGE[::-1], MASK[::-1]), "Top and bottom"), ((IMAGE, MASK), "Nothing moved"),
        ((MASK[:, ::-1], IMAGE[:, ::-1]), "image first")]),
    "2_4": (({"dice", "val_dice"},), MINE, [
        (replace(MINE, loss="dice_bce"), "still has LAB's loss"), (replace(MINE, batch_size=4), "one thing at a time"),
        (replace(MINE, learning_rate=1e-3, loss="dice"), "learning_rate"), (replace(MINE, name="lab"), "of its own"),
        ({"loss": "dice"}, "another form")]),
    "2_5": ((HISTORY,), HISTORY.epoch[HISTORY.val_loss.idxmin()], [
        (30, "learning by heart"), (HISTORY.val_loss.idxmin(), "counted from 0"), (1, "low is good")]),
    "3_1": ((), my_dice, [
        (my_jaccard, "That is Jaccard"), (lambda t, d: my_dice(t, d) / 2, "count twice"), (without_empty, "np.nan"),
        (lambda t, d: my_dice(t, 1 - d), "inverted"),
        (lambda t, d: my_dice(t, d) if t.any() else np.nan, "*both*")]),
    "3_2": ((EMPTY_TRUTH, HOLES), np.array([1, 4]), [
        ([0, 2, 3, 5], "*was* drawn"), ([2], "recall's"), ([1], "missing"), ([True, False], "for each slice")]),
    "3_3": ((0.22, 0.05), 74.4, [(19.4, "1.96"), (297.4, "twice as narrow"), (8.62, "Square")]),
    "3_4": ((LARGE,), "too large", [("too small", "above precision"), ("wrong place", "differ"), ("bad", "words")]),
    "3_5": ((VAL, AT_30, TEST, AT_70), 0.3, [(0.7, "*test* patients"), (2, "position in the list"), (1.0, "position"),
                                              (0.9, "lowest"), (0.45, "Compute the mean")]),
}
WRONG = [(number, arguments, answer, hint) for number, (arguments, _, wrong) in TABLE.items() for answer, hint in wrong]


def check(number, answer, arguments):
    return getattr(checks, f"exercise_{number}")(answer, *arguments)


def test_the_table_covers_every_check_with_three_mistakes_at_least():
    assert {f"exercise_{number}" for number in TABLE} == {name for name in dir(checks) if name.startswith("exercise_")}
    assert all(len(wrong) >= 3 for _, _, wrong in TABLE.values())


@pytest.mark.parametrize("number", TABLE)
def test_the_solution_passes(number, capsys):
    arguments, solution, _ = TABLE[number]
    check(number, solution, arguments)
    assert capsys.readouterr().out.startswith(f"Exercise {number.replace('_', '.')}: right. ")


@pytest.mark.parametrize(("number", "arguments", "answer", "hint"), WRONG, ids=[f"{n}-{h}" for n, _, _, h in WRONG])
def test_a_typical_mistake_gets_its_hint(number, arguments, answer, hint):
    with pytest.raises(checks.NotYet, match=f"^Exercise {number.replace('_', '.')}: not yet. ") as caught:
        check(number, answer, arguments)
    assert hint in str(caught.value)


@pytest.mark.parametrize(("number", "wrong"), [("1_4", 1), ("2_1", 1), ("2_5", 1), ("3_3", 1), ("3_5", 0.9)])
def test_a_wrong_number_is_told_a_range_and_not_the_answer(number, wrong):
    arguments, solution, _ = TABLE[number]
    with pytest.raises(checks.NotYet) as caught:
        check(number, wrong, arguments)
    told = re.search(r"expected .*? Hint", str(caught.value))[0]
    numbers = [float(found) for found in re.findall(r"\d+\.?\d*", told)]
    assert min(numbers) < float(solution) < max(numbers)
    assert number == "3_5" or float(solution) not in numbers


@pytest.mark.parametrize("number", TABLE)
def test_an_unsolved_exercise_says_what_to_do_and_shows_no_solution(number):
    def stub(*_):
        raise NotImplementedError

    with pytest.raises(checks.NotYet, match="replace YOUR CODE HERE") as caught:
        check(number, stub if number in ("2_2", "3_1") else None, TABLE[number][0])
    assert " ".join(caught.value._render_traceback_()) == str(caught.value)


def test_columns_on_two_rulers_are_named():
    with pytest.raises(checks.NotYet, match="by one formula"):
        checks.exercise_2_4(MINE, {"loss", "dice"})


def test_the_worst_slice_may_be_small_or_elsewhere():
    checks.exercise_3_4("too small", SMALL)
    checks.exercise_3_4("wrong place", ELSEWHERE)
    with pytest.raises(checks.NotYet, match="Hardly a pixel"):
        checks.exercise_3_4("too large", ELSEWHERE)


def test_a_notebook_shows_one_line_and_no_traceback():
    assert checks.NotYet("Exercise 9.9: not yet.")._render_traceback_() == ["Exercise 9.9: not yet."]
