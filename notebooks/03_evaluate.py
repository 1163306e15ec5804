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
# The network predicts masks. How good are they, where do they fail, and how far can a mean be trusted?
#
# **You will learn**
# - to turn probabilities into a mask, and why `round()` is a bad choice;
# - precision, recall, Dice and [Jaccard](../docs/glossary.md#jaccard), by hand;
# - to summarise scores without hiding the bad ones;
# - how uncertain a mean of a few slices is, and how to compare two methods on the same slices;
# - what such a number says, and what it does not.
#
# **Time:** 30 minutes to read, 15 seconds to run. **Memory:** 1 GB. (`make timings`, 2 cores)
#
# **You need:** the ideas of notebooks 1 and 2. Having run them is not necessary; without notebook 2's run this one
# trains the network first.

# %% [markdown]
# The test patients have not been used so far. (A folder without `test/`? Then the validation patients are used instead:
# no weight learns from them, but whoever chooses by them, as exercise 3.6 does, makes the result too good.)

# %%
import numpy as np

import lvlab

data = lvlab.open_course(network=True)
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

# %% [markdown]
# One often meets `np.round(probability)`. What does it do with exactly one half?

# %%
probability = lvlab.predict(run, test)
np.round([0.49, 0.5, 0.51, 1.5])

# %% [markdown]
# 0.5 becomes 0, but 1.5 becomes 2: NumPy rounds halves to the nearest *even* number. Worse, `round` hides that there
# is a [threshold](../docs/glossary.md#threshold) at all, and that one could choose another. So write what you mean,
# `probability >= 0.5`. In a slice the cavity is one piece, and such a mask may have several. The recipe `lab` keeps, of
# each mask, the piece that holds most of the probability; whatever lvlab scores or draws of this network is that piece:

# %% tags=["nbval-ignore-output"]
mask = (probability >= 0.5).astype(np.float32)
assert np.array_equal(mask, lvlab.evaluation.masks_of(probability, threshold=0.5))
prediction = lvlab.evaluation.masks_of(probability, threshold=0.5, parts="largest")
assert np.array_equal(prediction, lvlab.evaluation.segment(run, test))
print(f"several pieces in {np.any(prediction != mask, axis=(1, 2, 3)).sum()} of {len(test)} slices")

# %% [markdown]
# ## Four metrics by hand
#
# To be sure of our metrics we need a case that we understand: an imagined network that is a little off and a little too
# careful. We move a true mask one pixel to the right, then four, and keep what both have in common. The colours name
# three kinds of pixels: *right*, *missed* (in the truth only) and *invented* (in the prediction only).

# %%
typical = int(np.argsort(test.masks.sum((1, 2, 3)), kind="stable")[len(test) // 2])
truth = test.masks[typical]
imagined = np.minimum(np.roll(truth, 1, axis=1), np.roll(truth, 4, axis=1))
lvlab.pictures.show_errors(test.images[typical], truth, imagined)

# %% [markdown]
# All four metrics are made of these three counts. Statistics calls them *true positives* (TP), *false negatives* (FN)
# and *false positives* (FP). The fourth kind, true negatives, is nearly the whole image and enters none of the four.

# %%
tp = np.sum((truth == 1) & (imagined == 1))
fn = np.sum((truth == 1) & (imagined == 0))
fp = np.sum((truth == 0) & (imagined == 1))
print(f"right (TP) {tp}, missed (FN) {fn}, invented (FP) {fp} pixels")

# %% [markdown]
# | here | also called | question |
# |---|---|---|
# | *precision* | positive predictive value | what share of the predicted pixels is right? |
# | *recall* | sensitivity, true positive rate | what share of the true pixels was predicted? |
# | *Dice* | F1 score | the common pixels, counted twice, over the pixels of both masks |
# | *Jaccard* | IoU, intersection over union | the common pixels over all pixels in either mask |
#
# Invented pixels lower precision; missed pixels lower recall.

# %%
by_hand = {
    "precision": tp / (tp + fp),
    "recall": tp / (tp + fn),
    "dice": 2 * tp / (2 * tp + fn + fp),
    "jaccard": tp / (tp + fn + fp),
}
assert np.isclose(by_hand["dice"], 2 * by_hand["jaccard"] / (1 + by_hand["jaccard"]))
assert all(np.isclose(value, getattr(lvlab, name)(truth, imagined)) for name, value in by_hand.items())
{name: round(float(value), 3) for name, value in by_hand.items()}

# %% [markdown]
# `lvlab` agrees, as the last but one line asserts. Dice and Jaccard carry the same information: one follows from the
# other. Papers report either; never compare the Dice of one with the Jaccard of another.

# %% [markdown]
# ### Exercise 3.1 · Write Dice
#
# A function of two masks, 0 and 1. For two empty masks it returns `np.nan`, on purpose: a division 0/0, which NumPy
# turns into nan with a warning, does not count.
#
# <details><summary>Hint 1</summary>
#
# Common pixels: `np.sum(truth * prediction)`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Twice the common pixels over the pixels of both; ask whether that is 0 before you divide.
#
# </details>

# %%
def my_dice(truth, prediction):
    ### BEGIN SOLUTION
    both = np.sum(truth) + np.sum(prediction)
    return 2 * np.sum(truth * prediction) / both if both else np.nan
    ### END SOLUTION


# %%
lvlab.checks.exercise_3_1(my_dice)

# %% [markdown]
# ## A special case: nothing there
#
# If nothing was predicted, precision is 0/0. Which answer is honest? `lvlab`'s rule: something there and nothing
# predicted is 0, a failure. Nothing there and nothing predicted is NaN, *not a number*: such slices are counted apart
# and do not enter the mean, where each would raise it with a 1 that was not earned.

# %%
nothing = np.zeros_like(truth)
lvlab.precision(truth, nothing), lvlab.precision(nothing, nothing), lvlab.dice(nothing, nothing)

# %% [markdown]
# ### Exercise 3.2 · Where is precision 0/0?
#
# In `predicted_stack` some masks were emptied; the next cell shows its first eight. For which slices is precision, as a
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
predicted_stack = test.masks.copy()
predicted_stack[::7] = 0
lvlab.pictures.gallery(test.images[:8], [f"slice {number}" for number in range(8)], predicted_stack[:8])

# %%
answer = None
### BEGIN SOLUTION
answer = np.flatnonzero(~predicted_stack.any(axis=(1, 2, 3)))
### END SOLUTION

# %%
lvlab.checks.exercise_3_2(answer, test.masks, predicted_stack)

# %% [markdown]
# ## The score table
#
# Now the real prediction: one row for each slice. Do our own masks of above score the same? And is the mean in the
# range that we expect?

# %% tags=["nbval-ignore-output"]
scores = lvlab.evaluate(run, test)
assert np.allclose(scores.dice, lvlab.dice(test.masks, prediction), equal_nan=True)
assert scores.dice.mean() > 0.7, (
    f"The mean Dice is {scores.dice.mean():.2f}; above 0.7 was expected. Look at the worst slices below: nothing "
    "predicted (training failed: see the curves in notebook 2), another round structure predicted (too few or too "
    "similar training patients), or a good mask in the wrong place (image and mask do not belong together)?")
scores.drop(columns=["name", "flag"]).head(6).round(3)

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
# **Look:** compare mean and median of the Dice. Where the mean is lower, a few bad slices pull it down. A paper needs
# both: the median says how good a usual slice is, the mean what the failures cost.

# %% [markdown]
# ## Slices or volumes?
#
# Challenges such as ACDC report Dice per *volume*: all slices of one patient and phase together, as one body
# ([Bernard et al. 2018](https://doi.org/10.1109/TMI.2018.2837502)). The same predictions, counted both ways:

# %% tags=["nbval-ignore-output"]
volumes = lvlab.evaluation.by_volume(scores)
print(f"Dice per slice {scores.dice.mean():.3f} (n = {len(scores)}), per volume {volumes.dice.mean():.3f} "
      f"(n = {len(volumes)}); worst slice {scores.dice.min():.2f}, worst volume {volumes.dice.min():.2f}")
assert volumes.empty or volumes.dice.min() >= scores.dice.min()

# %% [markdown]
# **Look:** in a volume a large slice counts more than a small one, so the worst volume is never worse than the worst
# slice. That hides what fails at the apex. It does fit the clinic's question, which is the volume in millilitres. A
# report says which of the two it counts.

# %% [markdown]
# ## How sure is the mean?
#
# Other test slices would have given another mean. The *[bootstrap](../docs/glossary.md#bootstrap)* imitates this: draw
# n slices from ours, with replacement, take the mean, and repeat 2,000 times. The middle 95 % of these means is an
# interval. By hand, and by `lvlab`, which lets SciPy do it:

# %% tags=["nbval-ignore-output"]
rng = np.random.default_rng(0)
values = scores.dice.dropna().to_numpy()
means = [rng.choice(values, len(values)).mean() for _ in range(2000)]
by_bootstrap, by_scipy = np.quantile(means, [0.025, 0.975]), lvlab.clinic.agreement.interval(values, range(len(values)))
assert np.allclose(by_bootstrap, (by_scipy.low, by_scipy.high), atol=0.02)
print("mean Dice {:.3f}, 95 % interval {:.3f} to {:.3f} (SciPy: {:.3f} to {:.3f})".format(
    values.mean(), *by_bootstrap, by_scipy.low, by_scipy.high))

# %% [markdown]
# A rule of thumb gives nearly the same without a computer: 1.96 · SD / √n. Suppose a report says "Dice 0.75 ± 0.22,
# n = 20":

# %%
print(f"0.75, ± {1.96 * 0.22 / np.sqrt(20):.2f}")

# %% [markdown]
# Anything from 0.65 to 0.85 is then compatible with that result. And slices of one patient resemble each other, so
# twenty slices of two patients say far less than twenty patients would; notebook 5 draws patients instead.

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
# ## Two methods on the same slices
#
# Is another method better?

# %%
lvlab.quiz("overlap")

# %% [markdown]
# Two intervals that overlap do *not* say that it makes no difference. Slices differ: a small cavity is difficult for
# both methods, and this is what makes the intervals wide. On the same slices one can look at the *differences* instead,
# slice by slice; how difficult a slice is cancels out.
#
# Two imagined networks, the one of above and one that is a little less careful:

# %%
def moved(masks, by):
    return np.roll(masks, by, axis=2)


dice_a = lvlab.dice(test.masks, np.minimum(moved(test.masks, 1), moved(test.masks, 4)))
dice_b = lvlab.dice(test.masks, np.minimum(moved(test.masks, 1), moved(test.masks, 3)))
for name, dice in (("A", dice_a), ("B", dice_b)):
    print(f"{name}: mean {dice.mean():.3f}, ± {1.96 * dice.std() / np.sqrt(len(dice)):.3f}")

# %% [markdown]
# ### Exercise 3.4 · Pair the slices
#
# The 95 % interval of the mean *difference*, B minus A, by the rule of thumb: two numbers, `(low, high)`.
#
# <details><summary>Hint 1</summary>
#
# `difference = dice_b - dice_a` has one number for each slice.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Its mean, minus and plus 1.96 · SD / √n, where SD is that of the differences.
#
# </details>

# %%
answer = None
### BEGIN SOLUTION
difference = dice_b - dice_a
spread = 1.96 * difference.std() / np.sqrt(len(difference))
answer = difference.mean() - spread, difference.mean() + spread
### END SOLUTION

# %%
lvlab.checks.exercise_3_4(answer, dice_a, dice_b)

# %%
half_a, half_b = (1.96 * dice.std() / np.sqrt(len(dice)) for dice in (dice_a, dice_b))
overlap = dice_a.mean() + half_a > dice_b.mean() - half_b
print(f"the intervals of A and B {'overlap' if overlap else 'do not overlap'}; "
      f"that of the difference is {answer[0]:.3f} to {answer[1]:.3f}")
assert answer[0] > 0, "B covers more of each mask than A: are dice_a and dice_b exchanged?"

# %% [markdown]
# **Look:** the difference is certain although it is small compared with the spread of the slices. Now two real
# networks: ours, and the one that comes with `lvlab` (notebook 4).

# %% tags=["nbval-ignore-output"]
difference = lvlab.evaluate(lvlab.shipped_run(), test).dice - scores.dice
spread = 1.96 * difference.std() / np.sqrt(difference.count())
print(f"shipped minus ours: {difference.mean():+.3f}, ± {spread:.3f}")
difference.groupby(test.table.patient).mean().round(3)

# %% [markdown]
# **Look:** is 0 outside of the interval? Then chance alone does not explain the difference on slices like these. Look
# at the patients as well: what helps one only may not help the next. With many patients, pair the patients' means
# instead of slices.

# %% [markdown]
# ## Best, median, worst
#
# Numbers say how often; pictures say why.

# %% tags=["nbval-ignore-output"]
from IPython.display import display

for figure in lvlab.pictures.ranked_triptychs(test, prediction, scores).values():
    display(figure)

# %% [markdown]
# All of them, worst first. Predict before you look at the sentence below: are the masks mostly too small, or too large?

# %% tags=["nbval-ignore-output"]
small = (scores.precision > scores.recall).sum()
print(f"precision above recall, predicted too small: {small} of {len(scores)} slices")
lvlab.pictures.overlay_grid(test, prediction, scores)

# %% [markdown]
# ### Exercise 3.5 · Explain the worst slice
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
lvlab.checks.exercise_3_5(answer, worst)

# %% [markdown]
# ## Small cavities are hard
#
# A rim of one pixel is a small part of a large disc, but most of a tiny one. Dice does not know millimetres: the same
# rim costs more in a small cavity.

# %% tags=["nbval-ignore-output"]
lvlab.clinic.charts.dice_by_area(scores)

# %% [markdown]
# So compare groups only with their sizes in mind. The mean Dice of each patient and each phase:

# %% tags=["nbval-ignore-output"]
of_patients = scores.groupby("patient").dice.mean()
print(f"the patients' means lie {of_patients.max() - of_patients.min():.3f} apart")
scores.pivot_table("dice", index="patient", columns="phase", margins=True).round(3)

# %% [markdown]
# **Look:** how far apart the patients are says more about the next patient than the spread of slices does.

# %% [markdown]
# ## Move the threshold

# %%
lvlab.quiz("lower")

# %% [markdown]
# A lower threshold predicts more pixels: recall can only rise, precision mostly falls. (All pieces count here: the
# threshold alone is what is looked at.) Each curve has the colour of the pixels that lower it. The slice is the one
# with the median Dice.

# %% tags=["nbval-ignore-output"]
median = lvlab.evaluation.ranked(scores)["median"]
curves = lvlab.views.threshold_curves(test.masks[median], probability[median])
assert curves.recall.is_monotonic_decreasing
lvlab.views.threshold_view(test, probability, median, threshold=0.5)

# %% [markdown]
# The explorer draws the same picture, live (run the cell: it needs a kernel). Find a slice where the threshold matters,
# and one where it does not; the computer's answer stands above the explorer. Choose a threshold on *validation*
# patients only: on the test patients it would make the result too good.

# %% tags=["nbval-ignore-output"]
by_threshold = np.array([lvlab.dice(test.masks, probability >= threshold) for threshold in (0.1, 0.5, 0.9)])
costs = by_threshold.max(axis=0) - by_threshold.min(axis=0)
for word, row in (("most", np.nanargmax(costs)), ("least", np.nanargmin(costs))):
    print(f"it matters {word} for {test.table.name[row]}: Dice from {by_threshold[:, row].min():.2f} "
          f"to {by_threshold[:, row].max():.2f}")
lvlab.viewers.threshold_explorer(test, probability)

# %% [markdown]
# ### Exercise 3.6 · Choose a threshold
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
lvlab.checks.exercise_3_6(answer, val, val_probability, test, probability)

# %% [markdown]
# ## Be the expert
#
# How well would *you* do? The picture compares a contour drawn by hand (here the imagined mask of above stands for it)
# with the expert's and the network's.

# %% tags=["nbval-ignore-output"]
lvlab.views.contour_comparison(test.images[typical], truth, prediction[typical], drawing=imagined)

# %% [markdown]
# Now draw: hold the mouse button and go round the cavity (it needs a running kernel). *Zoom* helps with small cavities.
# Draw some slices twice: how far do you agree with yourself? Where a network agrees with its expert better than two
# experts agree, it has learnt that expert's habits. Papillary muscles lie inside your outline, and so does the
# outflow tract near the base, up to the aortic valve (notebook 1).

# %% tags=["nbval-ignore-output"]
lvlab.viewers.contour_drawer(test, prediction)

# %% tags=["nbval-ignore-output"]
lvlab.checks.progress()

# %% [markdown]
# ## An honest judgement
#
# What does the mean Dice of this notebook say?
#
# - **It says** how the network does on patients that were not in the training, but were made in the same way.
# - **Phantoms are not patients.** If you used the phantoms, the number measures how well a program's hearts are found.
#   Real patients have arrhythmia, move while they breathe, and carry implants such as sternal wires and pacemakers.
#   Expect less.
# - **Few patients.** Slices are not independent; count patients. An interval from slices is too narrow.
# - **One scanner, one expert.** Another hospital, another contour convention (papillary muscles!), another number. Two
#   experts, too, agree only to about 0.92–0.94 ([Bai et al. 2018](https://doi.org/10.1186/s12968-018-0471-x)).
# - **Empty slices** are left out of the mean, and counted. A network that invents a cavity where none is scores 0.
# - **One training.** Another seed gives another network. Repeat before you compare.
# - **Dice is not the purpose.** For a clinic it is the ejection fraction, and the one patient in whom it is wrong.
#
# ## What to remember
#
# - State the threshold; name the rule for empty masks; pair by name.
# - Report n, patients, mean, SD, median, worst, and an interval. Show the worst.
# - Look at pictures before you trust a number.
