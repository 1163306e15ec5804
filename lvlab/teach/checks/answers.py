"""What all checks share: how an answer is read, and how the verdict is said."""

from copy import deepcopy
from functools import wraps
from textwrap import wrap

import numpy as np

from lvlab.teach.checks import tally

NO_ANSWER = "no answer", "one", "replace YOUR CODE HERE and the line under it, run that cell, then this one."
LAST_HINT = "open the hints above, one after the other."


class NotYet(AssertionError):
    """An answer that is not right yet; IPython shows its text and no traceback."""

    def _render_traceback_(self):
        return wrap(str(self), 100)


class OtherForm(Exception):
    """An answer that cannot be compared. Its arguments: what you have, what is expected, a hint."""


def exercise(check):
    """Make a check of a generator that is named after its exercise: print one line, or raise NotYet.

    The generator yields (is it right, praise), then (what you have, what is expected), then a pair
    (does this fit, hint) for each usual mistake. It is asked no further than needed, so a hint is
    computed only when the answer is wrong and no earlier hint fits.
    """
    number = check.__name__.removeprefix("exercise_").replace("_", ".")

    @wraps(check)
    def checked(answer, *rest):
        try:
            if answer is None:
                raise OtherForm(*NO_ANSWER)
            steps = check(answer, *rest)
            right, praise = next(steps)
            if right:
                tally.keep(number, True)
                return print(f"Exercise {number}: right. {praise}")
            have, expected = next(steps)
            hint = next((text for fits, text in steps if fits), LAST_HINT)
        except OtherForm as form:
            have, expected, hint = form.args
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            have, expected, hint = f"a {type(answer).__name__}", f"another form ({error})", LAST_HINT
        tally.keep(number, False)
        raise NotYet(f"Exercise {number}: not yet. You have {have}, expected {expected}. Hint: {hint}")

    return checked


def near(first, second, atol=1e-6):
    """Tell whether two numbers or arrays are equal but for `atol`; NaN equals NaN."""
    return np.shape(first) == np.shape(second) and bool(np.allclose(first, second, 0, atol, equal_nan=True))


def around(value):
    """Return a range that holds the value, in two digits: how far off, not the answer itself."""
    return f"between {float(f'{0.8 * value:.1e}'):g} and {float(f'{1.3 * value:.1e}'):g}"


def listed(words):
    return ", ".join(map(str, words))


def array(answer, shape=None):
    """Return the answer as an array of numbers, of this shape where one is given."""
    try:
        answer = np.asarray(answer, float)
    except (TypeError, ValueError):
        raise OtherForm(f"a {type(answer).__name__}", "an array of numbers", LAST_HINT) from None
    if shape is not None and answer.shape != tuple(shape):
        raise OtherForm(f"shape {answer.shape}", tuple(shape), "work on the whole array at once.")
    return answer


def number(answer):
    """Return the answer as one finite number."""
    answer = array(answer)
    if answer.size != 1 or not np.isfinite(answer).all():
        raise OtherForm(f"{answer.size} values", "one finite number", "one number is the answer.")
    return float(answer.reshape(()))


def one_of(answer, words):
    """Return the answer, which must be one of these words."""
    if answer not in list(words):
        raise OtherForm(repr(answer), f"one of {listed(words)}", "use the words of the question.")
    return answer


def called(function, *arguments, single=True):
    """Call a student's function on copies: one number, or whatever it is. What goes wrong becomes a hint."""
    try:
        value = function(*deepcopy(arguments))
    except NotImplementedError:
        raise OtherForm(*NO_ANSWER) from None
    except (ZeroDivisionError, FloatingPointError):
        raise OtherForm("a division by 0", "none", "two empty masks make 0/0; ask for 0 before you divide.") from None
    except Exception as error:  # whatever a student's function does
        stop = f"a function that stops ({type(error).__name__}: {error})"
        raise OtherForm(stop, "a result", "call it yourself with two small arrays.") from None
    if value is None:
        raise OtherForm("no result", "one", "does your function return its result?")
    if single and np.size(value) != 1:
        raise OtherForm(f"{np.size(value)} values", "one number", "np.mean or np.sum makes one of them.")
    return float(np.ravel(value)[0]) if single else value
