"""Each exercise's check passes the solution, and answers three typical mistakes with the right hint."""

import inspect
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lvlab.recipes import LAB
from lvlab.teach import checks
from lvlab.teach.checks import answers, beyond, evaluate, explore, train, transfer

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
EPOCH = np.arange(1, 31)
HISTORY = pd.DataFrame({"epoch": EPOCH, "loss": 1 / EPOCH, "val_loss": 0.5 + 0.01 * np.abs(EPOCH - 17)})
FIRST_DICE = rng.uniform(0.4, 0.9, 20)
SECOND_DICE = FIRST_DICE + rng.normal(0.02, 0.02, 20)
VAL = TEST = SimpleNamespace(masks=MASKS)
AT_30 = np.where(MASKS > 0, 0.35, 0.25)
AT_70 = np.where(MASKS > 0, 0.75, 0.65)
MINE = replace(LAB, name="mine", loss="dice", epochs=2, passes=1)
LARGE, SMALL = SimpleNamespace(precision=0.5, recall=0.9), SimpleNamespace(precision=0.9, recall=0.5)
ELSEWHERE = SimpleNamespace(precision=0.02, recall=0.03)


BLOCK = MASKS[0, ..., 0] > 0
AREAS = {"small": BLOCK & (np.arange(32) < 18), "aside": np.roll(BLOCK, 3), "island": BLOCK | (np.arange(32) > 28)}
DOUBTED = np.array([0.5, 0.6] + [0.9] * 6 + [0.95, 0.4])


def shift(axis, step=1):
    from lvlab import metrics
    return metrics.dice(MASKS, np.roll(MASKS, step, axis=axis))


def bce(truth, p):
    return -np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p))


def my_dice(truth, prediction):
    both = truth.sum() + prediction.sum()
    return 2 * (truth * prediction).sum() / both if both else np.nan


def without_empty(truth, prediction):
    return 2 * (truth * prediction).sum() / max(truth.sum() + prediction.sum(), 1)


def my_jaccard(truth, prediction):
    return (truth * prediction).sum() / max(((truth + prediction) > 0).sum(), 1)


def interval(difference, z=1.96, n=None):
    spread = z * difference.std() / np.sqrt(n or len(difference))
    return difference.mean() - spread, difference.mean() + spread


def apart(first, second):
    middle, spread = (second - first).mean(), 1.96 * np.hypot(first.std(), second.std()) / np.sqrt(len(first))
    return middle - spread, middle + spread


def line(first, last, share):
    return [a + share * (b - a) for a, b in zip(first, last, strict=True)]


FAULTS = {"A": "mispaired", "B": "inverted", "C": "too small"}
BEFORE, AFTER = (pd.DataFrame({"dice": dice}) for dice in ([0.9, 0.8, 0.7, 0.6, 0.9], [0.95, 0.7, 0.65, 0.7, 0.5]))
GAP = pd.DataFrame({"scratch": [0.9, 0.85, 0.4, 0.9], "shipped": [0.9, 0.7, 0.85, 0.8]},
                   index=["as it is", "noisy", "other", "dark"])
TABLE = {
    "1_1": ((CROP,), np.clip((CROP - LOW) / (HIGH - LOW), 0, 1), [
        ((CROP - CROP.min()) / np.ptp(CROP), "minimum and maximum"), ((CROP - LOW) / (HIGH - LOW), "Clip"),
        (np.clip((HIGH - CROP) / (HIGH - LOW), 0, 1), "inverted"), (..., "open the hints")]),
    "1_2": ((MASKS,), shift(0), [
        (float(shift(0).mean()), "hides the slices"), (np.ones(6), "still paired"), (shift(2), "within their images"),
        (np.roll(MASKS, 1, axis=0), "These are masks")]),
    "1_3": ((), FAULTS, [
        ({"A": "inverted", "B": "mispaired", "C": "too small"}, "swapped"), ({**FAULTS, "A": "small"}, "The words are"),
        ({**FAULTS, "A": "too small", "C": "mispaired"}, "leaves the total area"), ("inverted", "answer with {'A'")]),
    "1_4": ((MASKS[0], 1.25, 1.5), 120 * 1.25 * 1.5 / 100, [
        (120, "number of pixels"), (120 * 1.25 * 1.5, "in mm²"), (120 * 1.25**2 / 100, "one spacing twice")]),
    "1_5": ((FIRST, SECOND), {"b"}, [
        (1, "not how many"), (set(), "by patient"), ({"a", "b", "c"}, "on *both* sides"), ({"a", "c"}, "&, | or ^"),
        ({"first-0"}, "These are slices")]),
    "2_1": ((), 4640, [(4608, "has a bias"), (4624, "*out*, not in"), (320, "all 16")]),
    "2_2": ((), (16, 16, 512), [
        ((8, 8, 512), "doubles"), ((16, 16, 256), "adds as many"), ((16, 16, 1024), "plus channels"),
        ((512, 16, 16), "Channels come last"), (512, "whole array")]),
    "2_3": ((), bce, [
        (lambda t, p: -bce(t, p), "The sign"), (lambda t, p: 5 * bce(t, p), "the sum"),
        (lambda t, p: -np.mean(t * np.log(p)), "Background"), (lambda t, p: None, "return"),
        (lambda t, p: -t * np.log(p), "np.mean"), (lambda t, p: t & p, "call it yourself")]),
    "2_4": ((IMAGE, MASK), (IMAGE[:, ::-1], MASK[:, ::-1]), [
        ((IMAGE[:, ::-1], MASK), "mask did not move"), ((IMAGE, MASK[:, ::-1]), "image did not move"),
        ((IMAGE[::-1], MASK[::-1]), "Top and bottom"), ((IMAGE, MASK), "Nothing moved"),
        ((MASK[:, ::-1], IMAGE[:, ::-1]), "image first"), (IMAGE[:, ::-1], "answer with")]),
    "2_5": (({"dice", "val_dice"},), MINE, [
        (replace(MINE, loss="dice_bce"), "still has LAB's loss"),
        (replace(MINE, batch_size=LAB.batch_size + 1), "one thing at a time"),
        (replace(MINE, learning_rate=LAB.learning_rate / 2), "learning_rate"),
        (replace(MINE, name="lab"), "of its own"),
        ({"loss": "dice"}, "open the hints")]),
    "2_6": ((HISTORY,), HISTORY.epoch[HISTORY.val_loss.idxmin()], [
        (30, "memorises"), (HISTORY.val_loss.idxmin(), "counted from 0"), (1, "low is good")]),
    "3_1": ((), my_dice, [
        (my_jaccard, "That is jaccard"), (lambda t, p: (t * p).sum() / t.sum(), "division by 0"),
        (lambda t, p: (t * p).sum() / max(t.sum(), 1), "That is recall"),
        (lambda t, p: (t * p).sum() / max(p.sum(), 1), "That is precision"),
        (lambda t, p: my_dice(t, p) / 2, "count twice"), (lambda t, p: my_dice(t, 1 - p), "inverted"),
        (without_empty, "np.nan"), (lambda t, p: 2 * (t * p).sum() / (t.sum() + p.sum()), "ask for 0"),
        (lambda t, p: my_dice(t, p) if t.any() else np.nan, "*both*"),
        (lambda t, p: my_dice(t, p) if p.any() else np.nan, "*both*")]),
    "3_2": ((EMPTY_TRUTH, HOLES), np.array([1, 4]), [
        ([0, 2, 3, 5], "*was* predicted"), ([2], "recall divides"), ([1], "missing"), ([True, False], "whole array")]),
    "3_3": ((0.22, 0.05), 74.4, [(19.4, "1.96"), (297.4, "twice as narrow"), (8.62, "Square")]),
    "3_4": ((FIRST_DICE, SECOND_DICE), interval(SECOND_DICE - FIRST_DICE), [
        (interval(FIRST_DICE - SECOND_DICE), "take second - first"),
        (interval(SECOND_DICE - FIRST_DICE, n=1), "Divide by √n"), (interval(SECOND_DICE - FIRST_DICE, z=1), "1.96"),
        (apart(FIRST_DICE, SECOND_DICE), "two groups"), (0.02, "whole array")]),
    "3_5": ((LARGE,), "too large", [("too small", "above precision"), ("wrong place", "differ"), ("bad", "words")]),
    "3_6": ((VAL, AT_30, TEST, AT_70), 0.3, [(0.7, "*test* patients"), (2, "position in the list"), (1.0, "position"),
                                              (0.9, "lowest"), (0.45, "open the hints")]),
    "4_1": ((GAP,), "other", [("noisy", "costs 'shipped' most"), ("as it is", "compared with"), ("dark", "loses least"),
                              (0.5, "words of the question")]),
    "4_3": ((), line, [
        (lambda a, b, share: line(b, a, share), "share 0 is the *first*"),
        (lambda a, b, share: line(a, b, 0.5), "middle"),
        (lambda a, b, share: [x + share * y for x, y in zip(a, b, strict=True)], "add up to 1"),
        (lambda a, b, share: line(a, b, share)[:1], "As many arrays"), (lambda a, b, share: a + share * b, "call it")]),
    "5_1": ((BLOCK, AREAS), "aside", [
        ("island", "changes it most"), ("small", "without their signs"), ("nothing", "one of")]),
    "5_2": ((), np.sqrt(10), [(1, "no more than its 10 patients"), (10, "root of n"), (0.316, "other way round")]),
    "5_3": (({"ED": 120, "ES": 48},), 60, [
        (0.6, "in percent"), (72, "stroke volume"), (40, "stays behind"), (150, "end-diastole, not")]),
    "5_4": ((DOUBTED, np.arange(10)), 2 / 3, [
        (2, "Of how many"), (1, "slices looked at"), (1 / 3, "most"), ("all", "open the hints")]),
    "4_2": ((BEFORE, AFTER), 3, [(0.6, "the share"), (2, "became better"), (-0.08, "the mean difference")]),
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


@pytest.mark.parametrize(("number", "wrong"), [("1_4", 1), ("2_1", 1), ("2_6", 1), ("3_3", 1), ("3_6", 0.9)])
def test_a_wrong_number_gets_a_range_and_not_the_answer(number, wrong):
    arguments, solution, _ = TABLE[number]
    with pytest.raises(checks.NotYet) as caught:
        check(number, wrong, arguments)
    said = re.search(r"expected .*? Hint", str(caught.value))[0]
    numbers = [float(found) for found in re.findall(r"\d+\.?\d*", said)]
    assert min(numbers) < float(solution) < max(numbers)
    assert number == "3_6" or float(solution) not in numbers


@pytest.mark.parametrize("number", TABLE)
def test_an_unsolved_exercise_says_what_to_do_and_shows_no_solution(number):
    def stub(*_):
        raise NotImplementedError

    with pytest.raises(checks.NotYet, match="replace YOUR CODE HERE") as caught:
        check(number, stub if number in ("2_3", "3_1", "4_3") else None, TABLE[number][0])
    assert " ".join(caught.value._render_traceback_()) == str(caught.value)


def test_columns_of_two_formulas_are_not_compared():
    with pytest.raises(checks.NotYet, match="by one formula"):
        checks.exercise_2_5(MINE, {"loss", "dice"})


def test_the_worst_slice_may_be_small_or_elsewhere():
    checks.exercise_3_5("too small", SMALL)
    checks.exercise_3_5("wrong place", ELSEWHERE)
    with pytest.raises(checks.NotYet, match="Hardly a pixel"):
        checks.exercise_3_5("too large", ELSEWHERE)


@pytest.mark.filterwarnings("error")
def test_nan_that_numpy_makes_of_0_by_0_is_no_answer_and_a_deliberate_one_is():
    with pytest.raises(checks.NotYet, match="division by 0"):
        checks.exercise_3_1(lambda t, p: 2 * np.sum(t * p) / (np.sum(t) + np.sum(p)))

    def deliberate(truth, prediction):
        with np.errstate(invalid="ignore"):
            return 2 * np.sum(truth * prediction) / (np.sum(truth) + np.sum(prediction))

    checks.exercise_3_1(deliberate)


def test_a_hint_is_computed_only_when_the_answer_is_wrong(capsys):
    seen = []

    @answers.exercise
    def exercise_9_1(answer):
        yield answer == 1, "One."
        seen.append("have")
        yield answer, 1
        seen.append("first hint")
        yield answer == 2, "Two is too many."
        seen.append("second hint")
        yield True, "Read again."

    exercise_9_1(1)
    assert seen == [] and capsys.readouterr().out == "Exercise 9.1: right. One.\n"
    with pytest.raises(checks.NotYet, match="You have 2, expected 1. Hint: Two is too many."):
        exercise_9_1(2)
    assert seen == ["have", "first hint"]


def test_checks_stand_in_the_order_of_the_exercises_one_file_a_notebook():
    for notebook, room in enumerate((explore, train, evaluate, transfer, beyond), start=1):
        numbers = re.findall(r"^def exercise_(\d)_(\d)", inspect.getsource(room), re.M)
        assert numbers == [(str(notebook), str(place)) for place in range(1, len(numbers) + 1)]


def test_a_notebook_shows_one_line_and_no_traceback():
    assert checks.NotYet("Exercise 9.9: not yet.")._render_traceback_() == ["Exercise 9.9: not yet."]
