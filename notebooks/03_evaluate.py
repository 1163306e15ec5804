# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Evaluate
#
# The network draws masks. How good are they, where do they fail, and how much may one believe a mean?
#
# **You will learn**
# - to turn probabilities into a mask, and why `round()` is not the way;
# - precision, recall, Dice and Jaccard, by hand;
# - to summarise scores without hiding the bad ones;
# - how uncertain a mean of a few slices is;
# - what such a number says, and what it does not.
#
# **Time:** 30 minutes to read, 10 seconds to run. **Memory:** 1.1 GB. (`make timings`, 2 cores)
#
# **You need:** the ideas of notebooks 1 and 2. Having run them is not necessary; without notebook 2's run this one
# trains the network first.

# %%
import numpy as np

import lvlab

folder = lvlab.course_folder()
if folder.name == "phantom" and not folder.exists():
    lvlab.phantom.write(folder)

# %% [markdown]
# The test patients have had no part in anything so far. (A folder without `test/`? Then the validation patients stand
# in, and the result is too rosy, because they chose the epoch.)

# %%
data = lvlab.load(folder)
train, val = data.training.split_by_patient(0.2, seed=0)
test = data.test or val
test

# %% [markdown]
# ## The network
#
# If notebook 2 has trained it on these data, it is opened; otherwise it is trained now.

# %% tags=["nbval-ignore-output"]
run = lvlab.train_or_open(train, val, lvlab.LAB)

# %% [markdown]
# ## From probability to mask
#
# The network gives each pixel a probability. A mask needs yes or no.

# %%
probability = lvlab.predict(run, test)
probability.shape

# %% [markdown]
# One often meets `np.round(probability)`. What does it do with exactly one half?

# %%
np.round([0.49, 0.5, 0.51, 1.5])

# %% [markdown]
# 0.5 becomes 0, but 1.5 becomes 2: NumPy rounds halves to the nearest *even* number. Worse, `round` hides that there
# is a threshold at all, and that one could choose another. So write what you mean:

# %%
prediction = (probability >= 0.5).astype(np.float32)
np.array_equal(prediction, lvlab.evaluation.masks_of(probability, threshold=0.5))

# %% [markdown]
# ## Four metrics by hand
#
# To be sure of our metrics we need a case that we understand: an imaginary network that is a bit off and a bit too
# careful. We push a true mask one pixel to the right, then four, and keep what both have in common. The colours name
# the three kinds of pixels.

# %%
typical = int(np.argsort(test.masks.sum((1, 2, 3)), kind="stable")[len(test) // 2])
truth = test.masks[typical]
drawn = np.minimum(np.roll(truth, 1, axis=1), np.roll(truth, 4, axis=1))
picture = lvlab.pictures.error_overlay(test.images[typical], truth, drawn)
lvlab.pictures.gallery([picture], ["right: green, missed: blue, invented: red"])

# %% [markdown]
# All four metrics are made of these three counts.

# %%
right = np.sum((truth == 1) & (drawn == 1))
missed = np.sum((truth == 1) & (drawn == 0))
invented = np.sum((truth == 0) & (drawn == 1))
print(f"right {right}, missed {missed}, invented {invented} pixels")

# %% [markdown]
# *Precision*: what share of the drawn pixels is right? *Recall*: what share of the true pixels was drawn? *Jaccard*:
# the common pixels over all pixels in either mask. *Dice*: the common pixels count twice.

# %%
by_hand = {
    "precision": right / (right + invented),
    "recall": right / (right + missed),
    "dice": 2 * right / (2 * right + missed + invented),
    "jaccard": right / (right + missed + invented),
}
{name: round(float(value), 3) for name, value in by_hand.items()}

# %% [markdown]
# `lvlab` agrees:

# %%
[bool(np.isclose(value, getattr(lvlab, name)(truth, drawn))) for name, value in by_hand.items()]

# %% [markdown]
# Dice and Jaccard carry the same information: one follows from the other. Papers report either; never compare the Dice
# of one with the Jaccard of another.

# %%
bool(np.isclose(by_hand["dice"], 2 * by_hand["jaccard"] / (1 + by_hand["jaccard"])))

# %% [markdown]
# ### Exercise 3.1 · Write Dice
#
# A function of two masks, 0 and 1. For two empty masks it returns `np.nan`.
#
# <details><summary>Hint 1</summary>
#
# Common pixels: `np.sum(truth * drawn)`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Twice the common pixels over the pixels of both; ask for 0 before you
# divide.
#
# </details>

# %%
def my_dice(truth, drawn):
    ### BEGIN SOLUTION
    both = np.sum(truth) + np.sum(drawn)
    return 2 * np.sum(truth * drawn) / both if both else np.nan
    ### END SOLUTION


# %%
lvlab.checks.exercise_3_1(my_dice)

# %% [markdown]
# ## The awkward case: nothing there
#
# If nothing was drawn, precision is 0/0. Which answer is honest? `lvlab`'s rule: something there and nothing drawn is
# 0, a failure. Nothing there and nothing drawn is NaN, *not a number*: such slices are counted apart and do not enter
# the mean, where they would be a free 1.

# %%
nothing = np.zeros_like(truth)
lvlab.precision(truth, nothing), lvlab.precision(nothing, nothing), lvlab.dice(nothing, nothing)

# %% [markdown]
# ### Exercise 3.2 · Where is precision 0/0?
#
# In `drawn_stack` some masks were wiped out; the next cell shows its first eight. For which slices is precision, as a
# plain fraction, 0/0? Answer with their positions, found by the computer.
#
# <details><summary>Hint 1</summary>
#
# What does precision divide by?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `stack.any(axis=(1, 2, 3))` says for each slice whether a pixel is inside.
#
# </details>

# %%
drawn_stack = test.masks.copy()
drawn_stack[::7] = 0
lvlab.pictures.gallery(test.images[:8], [f"slice {number}" for number in range(8)], drawn_stack[:8])

# %%
answer = None
### BEGIN SOLUTION
answer = np.flatnonzero(~drawn_stack.any(axis=(1, 2, 3)))
### END SOLUTION

# %%
lvlab.checks.exercise_3_2(answer, test.masks, drawn_stack)

# %% [markdown]
# ## The score table
#
# Now the real prediction: one row for each slice.

# %% tags=["nbval-ignore-output"]
scores = lvlab.evaluate(run, test)
scores.drop(columns=["name", "flag"]).head(6).round(3)

# %% [markdown]
# Is it what our own mask of above scores? And is it in the range that we expect?

# %%
assert np.allclose(scores.dice, lvlab.dice(test.masks, prediction), equal_nan=True)
assert scores.dice.mean() > 0.7, (
    f"The mean Dice is {scores.dice.mean():.2f}; above 0.7 was expected. Look at the worst slices below: nothing drawn "
    "(training failed: see the curves in notebook 2), another round thing drawn (too few or too similar training "
    "patients), or a fine mask in the wrong place (image and mask do not belong together)?")

# %% [markdown]
# ## The summary
#
# A mean alone hides the failures. Median, spread, best and worst belong beside it, and *n*.

# %% tags=["nbval-ignore-output"]
import pandas as pd

summary = lvlab.summarise(scores)
print(f"n = {summary['n']} slices of {len(test.patients())} patients; both masks empty in {summary['both_empty']}")
pd.DataFrame({name: summary[name] for name in by_hand}).T.round(3)

# %% [markdown]
# **Look:** is the mean below the median? Then a few bad slices pull it down. Which of the two would you print in a
# paper, and what would the other one tell the reader?

# %% [markdown]
# ## How sure is the mean?
#
# Other test slices would have given another mean. The *bootstrap* imitates this: draw n slices from ours, with
# replacement, take the mean, and repeat 2,000 times. The middle 95 % of these means is an interval.

# %% tags=["nbval-ignore-output"]
low, high = lvlab.evaluation.confidence_interval(scores)
print(f"mean Dice {scores.dice.mean():.3f}, 95 % interval {low:.3f} to {high:.3f}")

# %% [markdown]
# A rule of thumb gives nearly the same without a computer: 1.96 · SD / √n. Suppose a report says "Dice 0.75 ± 0.22,
# n = 20":

# %%
print(f"0.75, give or take {1.96 * 0.22 / np.sqrt(20):.2f}")

# %% [markdown]
# Anything from 0.65 to 0.85 is then compatible with that result. Two methods, tested like this, one at 0.75 and one at
# 0.80: we do not know which is better. And the truth is harsher still: slices of one patient resemble each other, so
# twenty slices of two patients are worth far less than twenty patients.

# %% [markdown]
# ### Exercise 3.3 · How many slices?
#
# SD 0.22, as above. How many slices would bring the 95 % interval down to ± 0.05, if they were independent?
#
# <details><summary>Hint 1</summary>
#
# 1.96 · SD / √n = 0.05
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Solve for √n, then square.
#
# </details>

# %%
answer = None
### BEGIN SOLUTION
answer = (1.96 * 0.22 / 0.05) ** 2
### END SOLUTION

# %%
lvlab.checks.exercise_3_3(answer, 0.22, 0.05)

# %% [markdown]
# ## Best, median, worst
#
# Numbers say how often; pictures say why.

# %% tags=["nbval-ignore-output"]
from IPython.display import display

for figure in lvlab.pictures.ranked_triptychs(test, prediction, scores).values():
    display(figure)

# %% [markdown]
# All of them, worst first. Before you read on, sort the failures into kinds: missed, invented, too small, wrong place.

# %% tags=["nbval-ignore-output"]
lvlab.pictures.overlay_grid(test, prediction, scores)

# %% [markdown]
# ### Exercise 3.4 · Explain the worst slice
#
# From precision and recall of the worst slice, without its picture: is the mask `"too small"`, `"too large"` or in
# the `"wrong place"` (both below 0.1)? Then look whether the picture agrees.
#
# <details><summary>Hint 1</summary>
#
# Too large: nearly all of the truth is covered, and much else.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Too large means that recall is above precision.
#
# </details>

# %%
worst = scores.loc[scores.dice.idxmin()]
answer = None
### BEGIN SOLUTION
answer = "too large" if worst.recall > worst.precision else "too small"
if max(worst.recall, worst.precision) < 0.1:
    answer = "wrong place"
### END SOLUTION

# %%
lvlab.checks.exercise_3_4(answer, worst)

# %% [markdown]
# ## Small cavities are hard
#
# A rim of one pixel is a small part of a large disc, but most of a tiny one. Dice knows no millimetres; it punishes
# the same rim more in a small cavity.

# %% tags=["nbval-ignore-output"]
lvlab.pictures.dice_by_area(scores)

# %% [markdown]
# So compare groups only with their sizes in mind. The mean Dice of each patient and each phase:

# %% tags=["nbval-ignore-output"]
scores.pivot_table("dice", index="patient", columns="phase", margins=True).round(3)

# %% [markdown]
# **Look:** how far apart are the patients? This distance, not the spread of slices, is what the next patient will
# surprise you with.

# %% [markdown]
# ## Move the threshold
#
# A lower threshold draws more: recall rises, precision falls. The slice is the one with the median Dice.

# %% tags=["nbval-ignore-output"]
median = lvlab.evaluation.ranked(scores)["median"]
lvlab.views.threshold_view(test, probability, median, threshold=0.5)

# %% [markdown]
# The explorer draws the same picture, live. Find a slice where the threshold matters, and one where it does not. (Run
# the cell: it needs a kernel.) Choose a threshold on *validation* patients only; on the test patients it would be
# cheating.

# %% tags=["nbval-ignore-output"]
lvlab.viewers.threshold_explorer(test, probability)

# %% [markdown]
# ### Exercise 3.5 · Choose a threshold
#
# Out of 0.1, 0.2 … 0.9, take the one with the best mean Dice. On which patients? On the ones that are there for
# choosing.
#
# <details><summary>Hint 1</summary>
#
# `lvlab.dice(val.masks, val_probability >= threshold)` gives one score for each
# validation slice.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Collect the means in a list; `np.argmax` gives the position of the best.
#
# </details>

# %%
thresholds = np.arange(1, 10) / 10
val_probability = lvlab.predict(run, val)
answer = None
### BEGIN SOLUTION
mean = [np.nanmean(lvlab.dice(val.masks, val_probability >= threshold)) for threshold in thresholds]
answer = thresholds[np.argmax(mean)]
### END SOLUTION

# %%
lvlab.checks.exercise_3_5(answer, val, val_probability, test, probability)

# %% [markdown]
# ## Be the expert
#
# How well would *you* do? The picture compares a contour drawn by hand (here the clumsy one of above) with the
# expert's and the network's.

# %% tags=["nbval-ignore-output"]
lvlab.views.contour_comparison(test.images[typical], truth, prediction[typical], drawn)

# %% [markdown]
# Now draw: hold the mouse button and go round the cavity (it needs a running kernel). *Zoom* helps with small cavities.
# Draw some slices twice: how far do you agree with yourself? No network can be expected to agree better with an expert
# than experts agree. Near the base leave out the outflow tract: it is the cavity that counts, with its papillary
# muscles.

# %% tags=["nbval-ignore-output"]
lvlab.viewers.contour_drawer(test, prediction)

# %% [markdown]
# ## An honest judgement
#
# What does the mean Dice of this notebook say?
#
# - **It says** that the network generalises, so far, to patients that were not in the training, made the same way.
# - **Phantoms are not patients.** If you used the phantoms, the number measures how well a program's hearts are found.
#   Real hearts have flow artefacts, arrhythmia, scars and stents. Expect less.
# - **Few patients.** Slices are not independent; count patients. An interval from slices is too narrow.
# - **One scanner, one expert.** Another hospital, another contour convention (papillary muscles!), another number. Two
#   experts, too, agree only to about 0.92–0.94 ([Bai et al. 2018](https://doi.org/10.1186/s12968-018-0471-x)).
# - **Empty slices** are left out of the mean, and counted. A network that invents a cavity where none is scores 0.
# - **One training.** Another seed gives another network. Repeat before you compare.
# - **Dice is not the purpose.** For a clinic it is the ejection fraction, and the one patient in whom it is wrong.
#
# ## What to take along
#
# - Write the threshold; name the rule for empty masks; pair by name.
# - Report n, patients, mean, SD, median, worst, and an interval. Show the worst.
# - Look at pictures before you trust a number.
