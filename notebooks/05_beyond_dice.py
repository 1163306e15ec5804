# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 · Beyond Dice
#
# A mean Dice does not tell a cardiologist whether to trust the ejection fraction, nor a reviewer whether one network is
# better than another. What does?
#
# **You will learn**
# - why masks of the same Dice can mean different things, and which numbers tell them apart;
# - what twenty slices of a few patients can say, and what they cannot;
# - the way from masks to the ejection fraction, and how large its error is;
# - which slices a person should look at again.
#
# **Time:** 30 minutes to read, 20 seconds to run. **Memory:** 1.1 GB. (`make timings`, 2 cores)
#
# **You need:** notebook 3. This notebook trains nothing: it uses the network that comes with `lvlab`.

# %%
import numpy as np
import pandas as pd

import lvlab
from lvlab.clinic import agreement, charts, heart, judge, review, surface

everyone = lvlab.open_course(network=True).everyone()
run = lvlab.shipped_run()

# %% [markdown]
# ## The same Dice, another meaning
#
# Three imagined networks draw the same cavity. One draws too small, one draws to the side, and one draws nearly right
# but sees a second heart far away.

# %%
mid = int(everyone.masks.sum(axis=(1, 2, 3)).argmax())
truth = everyone.masks[mid, ..., 0] > 0
rows, columns = np.nonzero(truth)
distance = np.hypot(*(np.mgrid[:128, :128] - np.mean([rows, columns], axis=1)[:, None, None]))
order = np.argsort(np.where(truth, -distance, 0), axis=None)
small, aside, island = truth.copy(), np.roll(truth, 4, axis=1), truth.copy()


# %% [markdown]
# Each is spoilt until its Dice is that of the second one. Which number will tell them apart?

# %%
lvlab.quiz("island")

# %%
wanted = lvlab.dice(truth, aside)
missing = round(truth.sum() * (2 - 2 * wanted) / (2 - wanted))
small.flat[order[:missing]] = False
side = round(np.sqrt(truth.sum() * (2 / wanted - 2)))
island[4:4 + side, 4:4 + side] = True
masks = {"too small": small, "aside": aside, "an island": island}

# %%
spacing = everyone.table.row_spacing_mm[mid], everyone.table.col_spacing_mm[mid]
table = pd.DataFrame({name: {
    "Dice": lvlab.dice(truth, mask), "HD95 (mm)": surface.hd95_mm(truth, mask, *spacing),
    "ASSD (mm)": surface.assd_mm(truth, mask, *spacing), "area error (%)": 100 * (mask.sum() / truth.sum() - 1)}
    for name, mask in masks.items()})
assert np.ptp(table.loc["Dice"]) < 0.02
table.round(2)

# %%
lvlab.pictures.gallery([everyone.images[mid]] * 3, list(masks), list(masks.values()), columns=3)

# %% [markdown]
# **Look:** the Dice does not tell these three apart. Two distances in millimetres do. Each point of one outline has a
# distance to the other outline; *[ASSD](../docs/glossary.md#assd)* is the mean of these distances over both outlines,
# *[HD95](../docs/glossary.md#hd95)* what 95 % of them do not exceed, in the worse of the two directions. Tools differ
# in such details and in what they do with a missed slice ([Maier-Hein et al.
# 2024](https://doi.org/10.1038/s41592-023-02151-z)), so a report names its convention. Here a miss counts as the
# diagonal of the image: no mean gets better by missing.
#
# A clinic's older measure is the share of *good contours*, whose mean distance is under 5 mm
# ([Radau et al. 2009](https://doi.org/10.54294/g80ruo)).

# %% [markdown]
# ### Exercise 5.1 · Which one spoils the volume?
#
# A cavity's volume is a sum of areas. Which of the three networks changes it least, if it draws like this on every
# slice: `"too small"`, `"aside"` or `"an island"`?
#
# <details><summary>Hint 1</summary>
#
# One row of the table is about areas.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# To move a mask does not change how many pixels it has.
#
# </details>

# %%
answer = None
### BEGIN SOLUTION
answer = "aside"
### END SOLUTION

# %%
lvlab.checks.exercise_5_1(answer, truth, masks)

# %% [markdown]
# ## How many are twenty slices?
#
# We score the shipped network on all patients of the folder; it has seen none of them.

# %% tags=["nbval-ignore-output"]
scores, probability, prediction = judge.judge(run, everyone)
by_patient = scores.groupby("patient").agg(n=("dice", "size"), dice=("dice", "mean"), worst=("dice", "min"))
by_patient.round(3)

# %% [markdown]
# **Look:** do patients differ? Where they do, the slices of one patient resemble one another: a heart that is difficult
# is difficult on ten slices. Ten more slices of the same patients then tell less than one more patient, and a bootstrap
# that draws slices, as in notebook 3, is too sure. So draw *patients*, with all their slices
# ([Field and Welsh 2007](https://doi.org/10.1111/j.1467-9868.2007.00593.x)):

# %%
rng = np.random.default_rng(0)
own = {patient: scores.dice[scores.patient == patient].dropna().to_numpy() for patient in everyone.patients()}


def mean_of(patients):
    return np.concatenate([own[patient] for patient in patients]).mean()


means = [mean_of(rng.choice(list(own), len(own))) for _ in range(2000)]

# %% tags=["nbval-ignore-output"]
by_hand, by_lvlab = np.quantile(means, [0.025, 0.975]), agreement.interval(scores.dice, scores.patient)
by_slices = agreement.interval(scores.dice, scores.name)
assert np.allclose(by_hand, (by_lvlab.low, by_lvlab.high), atol=0.01)
print("patients drawn by hand: {:.3f} to {:.3f}".format(*by_hand))
print(f"patients drawn: {by_lvlab}\nslices drawn:   {by_slices}")
print(agreement.caution(by_lvlab.patients))

# %% [markdown]
# **Look:** phantoms differ little from one another, so here it makes little difference. Real patients do differ. An
# imagined study: ten patients, whose hearts are more or less difficult, and ten slices of each:

# %%
rng = np.random.default_rng(0)
study = pd.DataFrame({"patient": np.repeat(np.arange(10), 10)})
study["dice"] = rng.normal(0.88, 0.06, 10)[study.patient] + rng.normal(0, 0.03, 100)
drawn = {what: agreement.interval(study.dice, whose)
         for what, whose in (("slices", study.index), ("patients", study.patient))}
assert drawn["patients"].high - drawn["patients"].low > 1.5 * (drawn["slices"].high - drawn["slices"].low)
print("\n".join(f"{what:8} drawn: {interval}" for what, interval in drawn.items()))

# %% [markdown]
# ### Exercise 5.2 · Slices or patients
#
# Another study has 100 patients with one slice each, in which Dice has a standard deviation of 0.10. A second study has
# 10 patients with ten slices each, and all ten slices of a patient have the *same* Dice; between patients the standard
# deviation is 0.10, too. How many times as wide is the second study's 95 % interval?
#
# <details><summary>Hint 1</summary>
#
# The rule of thumb for half of its width: 1.96 · SD / √n.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# How many numbers does the second study really have?
#
# </details>

# %%
answer = None
### BEGIN SOLUTION
answer = np.sqrt(100 / 10)
### END SOLUTION

# %%
lvlab.checks.exercise_5_2(answer)

# %% [markdown]
# ## From masks to the ejection fraction
#
# The clinic asks for volumes: how much blood does the ventricle hold when it is full (*end-diastole*, ED) and when it
# has emptied (*end-systole*, ES)? For that the slices must cover the whole ventricle. We scan a new phantom from base
# to apex, a slice every 10 mm:

# %%
anatomy, scanner, rng = lvlab.phantom.course_patient(0, seed=5)
stack = lvlab.phantom.stack(anatomy, scanner, rng)
area_mm2 = lvlab.metrics.area_mm2(stack.masks, scanner.spacing_mm, scanner.spacing_mm)
charts.long_axis(stack.table, np.sqrt(area_mm2 / np.pi))

# %% [markdown]
# **Look:** the ventricle from the side, one bar for each slice, as wide as the cavity is. Where the bars end at ES, the
# base has moved towards the apex: the heart shortens as well.
#
# Each slice stands for a disc: its area times the 10 mm to the next slice. The clinic calls the sum of these discs
# *[Simpson's rule](../docs/glossary.md#simpsons-rule)* ([Schulz-Menger et al.
# 2020](https://doi.org/10.1186/s12968-020-00610-6)). By hand, and by `lvlab`, which takes the distances from the DICOM
# tag ImagePositionPatient:

# %%
by_hand = {phase: area_mm2[stack.table.phase == phase].sum() * 10 / 1000 for phase in ("ED", "ES")}
volumes = heart.volumes(stack.table, area_mm2)
assert np.allclose(volumes.volume_ml, list(by_hand.values()))
volumes.round(1)

# %% [markdown]
# ### Exercise 5.3 · The ejection fraction
#
# Which share of its blood does this ventricle eject in a beat? In percent, from `by_hand`.
#
# <details><summary>Hint 1</summary>
#
# What is ejected is the difference of the two volumes: the *stroke volume*.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Divide it by what was there: the volume at end-diastole.
#
# </details>

# %%
answer = None
### BEGIN SOLUTION
answer = 100 * (by_hand["ED"] - by_hand["ES"]) / by_hand["ED"]
### END SOLUTION

# %%
lvlab.checks.exercise_5_3(answer, by_hand)

# %% [markdown]
# A phantom's true ejection fraction is known, because it was drawn with it. So the error of the method can be seen
# apart from the error of the network: first with the true masks and slices ever further apart, then with the network's.

# %%
lvlab.quiz("planes")

# %% tags=["nbval-ignore-output"]
true, errors = 100 * anatomy.ejection_fraction, []
for distance_mm in (5, 10, 15, 20):
    slices = lvlab.phantom.stack(anatomy, scanner, rng, distance_mm=distance_mm)
    ef = {name: heart.function(heart.volumes(slices.table, lvlab.metrics.area_mm2(
        masks, scanner.spacing_mm, scanner.spacing_mm))).ef_percent[0]
        for name, masks in (("true masks", slices.masks), ("network", lvlab.evaluation.segment(run, slices)))}
    print(f"a slice every {distance_mm:2} mm:", ", ".join(f"{name} {ef[name] - true:+.1f}" for name in ef), "points")
    errors.append(abs(ef["true masks"] - true))
assert max(errors[:2]) < 3 and max(errors) == errors[-1] < 12, "At 20 mm true masks were expected to err most."

# %% [markdown]
# **Look:** even true masks give an error, and it is largest where the slices are furthest apart. The network's own
# error comes to it, and two errors may cancel: a small sum is no proof that either is small. For scale: seven core
# laboratories that drew the same fifteen hearts by hand differed by 4.6 to 7.5 points of ejection fraction
# ([Suinesiaputra et al. 2015](https://doi.org/10.1186/s12968-015-0170-9)).

# %% [markdown]
# ## The whole beat
#
# A cine shows the same slice many times in a heartbeat. Twenty moments, the volume at each; the most is ED, the least
# is ES:

# %%
cine = lvlab.phantom.stack(anatomy, scanner, rng, shares=np.arange(20) / 20, distance_mm=20)
curve = heart.beat(cine.table, lvlab.metrics.area_mm2(cine.masks, scanner.spacing_mm, scanner.spacing_mm))
assert heart.phases_of(curve) == (0, 360)
charts.volume_curve([curve])

# %% tags=["nbval-ignore-output"]
film = charts.beating(cine, level=2)
lvlab.teach.describe.film(film, "One level of a phantom's heart over a beat; its outlined cavity shrinks, then fills")

# %% [markdown]
# **Look:** press play. The cavity empties within 360 ms, fills quickly, rests, and the atrium adds a little at the end
# ([Mitchell and Wang 2014](https://doi.org/10.1152/advan.00123.2013)).

# %% [markdown]
# ## Scanned twice
#
# Nobody lies in a scanner twice in the same way. Six phantoms go into the scanner again: another scanner, turned a
# little, other planes. How far apart are the two ejection fractions of one patient?

# %% tags=["nbval-ignore-output"]
def ejection_fraction(slices):
    spacing_mm = slices.table.row_spacing_mm.to_numpy(), slices.table.col_spacing_mm.to_numpy()
    area = lvlab.metrics.area_mm2(lvlab.evaluation.segment(run, slices), *spacing_mm)
    return heart.function(heart.volumes(slices.table, area)).ef_percent[0]


twice = np.array([[ejection_fraction(scan) for scan in lvlab.phantom.scanned_twice(number, seed=5)]
                  for number in range(6)])
twice.round(1)

# %% [markdown]
# To compare two measurements, [Bland and Altman](../docs/glossary.md#bland-altman)
# ([1986](https://doi.org/10.1016/S0140-6736%2886%2990837-8)) look at the differences: their mean is the *bias*, and
# 1.96 standard deviations on either side of it are the *limits of agreement*: about 95 % of the differences lie between
# them if they are distributed normally, which six patients cannot tell. A correlation would not tell: it is high as
# soon as patients differ.

# %% tags=["nbval-ignore-output"]
difference = twice[:, 1] - twice[:, 0]
bias, sd = difference.mean(), difference.std(ddof=1)
found = agreement.bland_altman(*twice.T)
assert np.allclose((bias, bias - 1.96 * sd, bias + 1.96 * sd), (found.bias, found.low, found.high))
charts.bland_altman_plot(*twice.T, "points", "ejection fraction", names=("first", "second scan"))

# %% [markdown]
# **Look:** a change that is smaller than the limits of agreement cannot be told from chance, in this network's hands.

# %% [markdown]
# ## Which slices would you look at again?
#
# Nobody checks ten thousand slices. A network tells how sure it is: from its own probabilities follows the Dice that it
# *expects*. In words: twice the probability inside of the mask, divided by all the probability plus the mask's size.

# %%
p, m = probability[mid, ..., 0], prediction[mid, ..., 0]
expected = 2 * (p * m).sum() / (p.sum() + m.sum())
assert np.isclose(expected, scores.confidence[mid])

# %% [markdown]
# We need failures to see whether that finds them. 150 slices of the stream of notebook 4, hearts and scanners that are
# harder than usual:

# %% tags=["nbval-ignore-output"]
hard = lvlab.phantom.random_slices(150, seed=11)
hard_scores, hard_probability, hard_prediction = judge.judge(run, hard)
order = review.review_score(hard_scores.confidence, hard_scores.implausible)
failed = hard_scores.dice.fillna(1) < 0.7
print(f"{failed.sum()} of {len(hard)} slices have a Dice under 0.7")
charts.review_curve(hard_scores.dice, order)

# %% [markdown]
# ### Exercise 5.4 · A fifth of the work
#
# You have time for the 30 least sure slices of the 150: those with the lowest `order`. Which share of the failures do
# you find? (`failed` is True where a slice has failed.)
#
# <details><summary>Hint 1</summary>
#
# `np.argsort(order)` gives the positions of the slices, the least sure first.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# How many of these thirty have failed, and how many have failed in all?
#
# </details>

# %% tags=["nbval-ignore-output"]
answer = None
### BEGIN SOLUTION
answer = failed[np.argsort(order)[:30]].sum() / failed.sum()
### END SOLUTION

# %% tags=["nbval-ignore-output"]
lvlab.checks.exercise_5_4(answer, hard_scores.dice, order)

# %% [markdown]
# Are the probabilities right in general? Of all pixels with a predicted probability of 0.7, seven in ten should be
# inside: the network is then *calibrated* ([Guo et al. 2017](https://arxiv.org/abs/1706.04599)):

# %% tags=["nbval-ignore-output"]
charts.reliability_plot(review.reliability(hard_probability, hard.masks))

# %% [markdown]
# **Look:** where the line is nearer to one half than the diagonal the network is too sure: on the right, where it runs
# under the diagonal, that pixels are inside; on the left, where it runs above, that they are outside.
#
# Other failures show themselves without any probability: a mask in pieces, a level without a cavity between two with
# one, a cavity that grows from ED to ES. `review.implausible` lists them. The costliest slices of your folder, with the
# reason in words:

# %% tags=["nbval-ignore-output"]
charts.failure_gallery(everyone, prediction, review.failures(scores, most=4))

# %% tags=["nbval-ignore-output"]
lvlab.checks.progress()

# %% [markdown]
# ## What to remember
#
# - Beside Dice report a distance in mm, and say how a missed slice counts.
# - Draw patients, not slices, for an interval; with few patients say that it is too narrow.
# - Compare two methods on the same slices, difference by difference: `python -m lvlab compare RUN_A RUN_B`.
# - The clinic's number is the ejection fraction. Its error has three parts: the planes, the reader, the network.
# - Let the network say what it doubts, and look there first.
# - `make report` writes all of this about your run, as a page and as a PDF.
