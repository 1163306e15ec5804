# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1 · Explore the data
#
# Before a network learns from images, look at them yourself. This notebook takes one cardiac MR slice from the file to
# the array that the network will see, and then looks at all the others.
#
# **You will learn**
# - what a [DICOM](../docs/glossary.md#dicom) file says about its image, and what it knows about the patient;
# - to crop and to normalise an image, first by hand, then with `lvlab`;
# - why image and mask are paired by *name*, and what happens when they are not;
# - what the mask includes, and how the left ventricle changes from [base](../docs/glossary.md#base) to
#   [apex](../docs/glossary.md#apex) and over a heartbeat;
# - why patients, not slices, are divided into training and [validation](../docs/glossary.md#validation).
#
# **Time:** 20 minutes to read, 10 seconds to run. **Memory:** 0.4 GB. (`make timings`, 2 cores)
#
# **You need:** nothing but this course. Without data of your own you work with
# *[phantoms](../docs/glossary.md#phantom)*: synthetic patients, drawn by a program. They look like MR, no one's privacy
# is at stake, and their masks are exact.

# %% [markdown]
# ## How to work here
#
# Click into a cell and press Shift+Enter: it runs, and the next cell is selected. Go from top to bottom; a cell may
# need those above it. In an exercise, replace `# YOUR CODE HERE` and the line under it (where a solution stands there
# instead, delete it first), run the cell, then the next one: it checks your answer, as often as you like. If cells were
# run in another order and results look wrong, choose
# *Kernel → Restart Kernel* and begin again at the top.

# %% [markdown]
# ## The course folder
#
# Images and masks live in one folder. To use your own, put it into `data/`, or start Jupyter with
# `LVLAB_DATA=/path/to/folder`. Everything below works on it unchanged. Where there is none, phantoms are made first.

# %%
import numpy as np

import lvlab

data = lvlab.open_course()
folder = data.path

# %% [markdown]
# `training/` holds pairs: `NAME.dcm` is an image, `NAME.png` the mask that an expert (or the phantom's program) drew
# on it. `test/` keeps its masks apart, in `test/GT/`. GT means *[ground truth](../docs/glossary.md#ground-truth)*.
#
# A name such as `phantom-01_s02_ES_im0028` tells the patient, the level (1 is nearest the base of the heart), the
# moment ([ED](../docs/glossary.md#end-diastole), end-diastole: the ventricle is largest;
# [ES](../docs/glossary.md#end-systole), end-systole: it is smallest) and the number of the frame.

# %%
for part in ("training", "test", "test/GT"):
    files = sorted(file.name for file in (folder / part).glob("*.*"))
    print(f"{part:9} {len(files):4} files  {', '.join(files[:2])}")

# %% [markdown]
# ## Check the folder first
#
# Files get lost, renamed and mixed up long before a network sees them. So check every pair first: are both partners
# there, do the sizes fit, is a patient on both sides, could a tag tell who it is? In a terminal the same is
# `python -m lvlab check FOLDER`.

# %%
print(lvlab.commands.check.audit(folder))

# %% [markdown]
# **Look:** each finding would be one line here, with the file, what is wrong and what to do. An *error* must be
# corrected before anything is trained. A *warning* may stay, once you know why it is there.

# %% [markdown]
# ## One slice: what the file knows
#
# Medical images come as DICOM: pixels plus hundreds of possible *tags*. `pydicom` reads both. We take the first
# training image.

# %%
import pydicom

image_path, mask_path = lvlab.pair_files(folder, "training")[0]
dicom = pydicom.dcmread(image_path)
image_path.name

# %% [markdown]
# A few tags matter to us. `PixelSpacing` is the distance between the centres of neighbouring rows and of neighbouring
# columns in mm: without it, an area is a number of pixels and nothing more. `ImagePositionPatient` says where the
# slice lies in the patient.

# %%
for tag in ("Modality", "Rows", "Columns", "PixelSpacing", "SliceThickness", "ImagePositionPatient", "TriggerTime"):
    print(f"{tag:21} {dicom.get(tag, '(absent)')}")

# %% [markdown]
# **Look:** compare `SliceThickness` with `PixelSpacing`: a slice is several times thicker than a pixel is wide. One
# pixel is not a cube but a long thin box, and its grey value is the mean of all that lies in it. Near the apex, where
# the heart becomes narrow, that is a mixture of blood and muscle: *[partial
# volume](../docs/glossary.md#partial-volume)*.

# %% [markdown]
# ## What the file knows about the patient
#
# Other tags can identify a person. We print only *whether* they are filled, never what they say. Do the same with
# files that you are given, before you copy them anywhere.

# %%
for tag in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "InstitutionName", "StudyDate"):
    print(f"{tag:17} {'filled' if str(dicom.get(tag, '')).strip() else 'empty'}")

# %% [markdown]
# **Look:** *filled* is not yet an alarm. In a well pseudonymised file the name is a code, such as `phantom-01`, and
# the date is made up. You have to look in order to know.

# %% [markdown]
# ## The pixels
#
# `read_dicom` returns the pixel array as the tags say it must be read (rescaled; inverted where black means bright).

# %%
pixels = lvlab.read_dicom(image_path).pixels
print(f"{pixels.shape[0]} rows, {pixels.shape[1]} columns, grey values {pixels.min():.0f} to {pixels.max():.0f}")

# %% [markdown]
# MR grey values have no unit. Another scanner, another coil, another day, and the same blood has another number. Keep
# this in mind for the normalisation.

# %% [markdown]
# ## Crop: keep the middle
#
# [Short-axis](../docs/glossary.md#short-axis) slices are usually planned with the heart near the centre. The network
# gets the central 128 × 128 pixels: less to compute, less to confuse. By hand it takes three lines (where a frame is
# smaller, we take its shorter side).

# %%
side = min(128, *pixels.shape)
top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
crop = pixels[top:top + side, left:left + side]
lvlab.pictures.gallery([pixels, crop], ["The whole frame", f"Its middle, {side} × {side}"])

# %% [markdown]
# `lvlab.centre_crop` does the same. It also returns the corner, so that a mask can be put back into the full frame,
# and it pads frames that are too small.

# %%
same, corner = lvlab.centre_crop(pixels, side)
np.array_equal(crop, same)

# %% [markdown]
# ## Normalise: one grey scale for all
#
# We map the 5th percentile of the crop to 0, the 95th to 1, and clip the rest. Why percentiles, not minimum and
# maximum? A single very bright pixel would otherwise press all tissue into a narrow dark band.

# %%
low, high = np.percentile(crop, [5, 95])
normalised = np.clip((crop - low) / (high - low), 0, 1)
np.allclose(normalised, lvlab.normalise(crop), atol=1e-6)

# %% [markdown]
# `lvlab.normalise` adds one precaution. In an image without contrast both percentiles are equal, and our line would
# divide 0 by 0: `lvlab` returns zeros instead.

# %%
lvlab.views.histograms(crop, normalised)

# %% [markdown]
# **Look:** the same image on another scale. What was darker than the 5th percentile is 0 now, what was brighter than
# the 95th is 1. Mind the logarithmic axis.

# %% [markdown]
# ### Exercise 1.1 · Normalise another slice
#
# The last training image, cropped, is in `another`. Bring it to the same grey scale, without `lvlab`, in `answer`:
# the 5th percentile to 0, the 95th to 1, the rest clipped. The next cell shows what goes in and what should come out.
#
# <details><summary>Hint 1</summary>
#
# `np.percentile(another, [5, 95])` gives two numbers.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Subtract the first, divide by their difference, then `np.clip(…, 0, 1)`.
#
# </details>

# %%
another_path = lvlab.pair_files(folder, "training")[-1][0]
another = lvlab.centre_crop(lvlab.read_dicom(another_path).pixels)[0]
lvlab.views.histograms(another, lvlab.normalise(another))

# %%
answer = None
### BEGIN SOLUTION
low, high = np.percentile(another, [5, 95])
answer = np.clip((another - low) / (high - low), 0, 1)
### END SOLUTION

# %%
lvlab.checks.exercise_1_1(answer, another)

# %% [markdown]
# ## The mask
#
# The mask marks the *cavity* of the left ventricle. The muscle round it is outside. Where exactly the outline runs is a
# convention, and a network learns it from the masks. This course follows the rule of the ACDC data
# ([Bernard et al. 2018](https://doi.org/10.1109/TMI.2018.2837502)):
#
# - *[papillary muscles](../docs/glossary.md#papillary-muscles)*, which reach into the cavity, count as inside, and so
#   do *[trabeculae](../docs/glossary.md#trabeculae)*, the fine strands on its wall;
# - so does the *[outflow tract](../docs/glossary.md#outflow-tract)*, through which the blood leaves for the aorta, up
#   to the aortic valve.

# %%
mask = lvlab.centre_crop(lvlab.read_mask(mask_path), side)[0]
lvlab.pictures.gallery([normalised, mask, normalised], ["Image", "Mask", "Image and the mask's outline"],
                      [mask * 0, mask * 0, mask])

# %% [markdown]
# ## All slices at once
#
# `lvlab.open_course` has done all of this for each pair (on any other folder, `lvlab.load` does). The result is a
# `SliceSet`: images, masks, and a table with one row per slice.

# %%
training = data.training
by_hand = lvlab.normalise(lvlab.centre_crop(pixels)[0])
print(training, "The first image is the one made by hand:", np.allclose(training.images[0, ..., 0], by_hand), sep="\n")
training.table.drop(columns=["name", "crop"]).head(4).round(2)

# %% [markdown]
# Do the masks include papillary muscles? They are darker than blood. So we look for the slice with the most dark pixels
# inside its mask (darker than 0.6 times the mask's median).

# %%
def dark_share(image, mask):
    inside = image[mask > 0]
    return np.mean(inside < 0.6 * np.median(inside)) if inside.size else 0


dark = [dark_share(image, mask) for image, mask in zip(training.images, training.masks, strict=True)]
row = int(np.argmax(dark))
image, mask = training.images[row], training.masks[row]
print(f"{training.table.name[row]}: {dark[row]:.0%} of the pixels inside are dark")
lvlab.pictures.gallery([image, image], ["The image", "The image and its mask's outline"], [mask * 0, mask])

# %% [markdown]
# **Look:** the outline runs round the dark places, it does not leave them out.

# %% [markdown]
# ## Pair by name, never by position
#
# A tempting shortcut: list all images, list all masks, and let the first belong to the first. But the order of a
# listing is not guaranteed; two listings can differ. Suppose the masks come in some other order, and score them
# against the right ones. *[Dice](../docs/glossary.md#dice)* is 1 where two masks agree and 0 where they share no pixel
# (notebook 3 builds it).

# %%
another_order = np.random.default_rng(1).permutation(len(training))
mispaired = lvlab.dice(training.masks, training.masks[another_order])
print(f"mean Dice {np.nanmean(mispaired):.2f}; {np.mean(mispaired < 0.01):.0%} of the slices score 0")

# %% [markdown]
# **Look:** every mask is perfect, and the score is very low. Nothing stopped and no message appeared. If a score is
# strangely low, check the pairing before the network. `lvlab.load` pairs by name and refuses a folder in which a
# partner is missing.

# %% [markdown]
# ### Exercise 1.2 · Break the pairing on purpose
#
# Give every image its neighbour's mask: move the stack of masks by one place, the last becoming the first. Score it
# against the right masks: one Dice for each slice. Predict first; and which slices will score best?
#
# <details><summary>Hint 1</summary>
#
# `np.roll(…, 1, axis=0)` moves a stack by one place.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `lvlab.dice` of two stacks gives one score for each slice.
#
# </details>

# %%
lvlab.quiz("pairing")

# %%
answer = None
### BEGIN SOLUTION
answer = lvlab.dice(training.masks, np.roll(training.masks, 1, axis=0))
### END SOLUTION

# %%
lvlab.checks.exercise_1_2(answer, training.masks)

# %% [markdown]
# Now the answer to both questions. A slice's neighbour in the list is mostly another slice of the same patient; only
# the first slice of each patient gets a mask of somebody else.

# %%
import pandas as pd

same_patient = training.table.patient == np.roll(training.table.patient, 1)
who = np.where(same_patient, "of the same patient", "of another patient")
by_neighbour = pd.DataFrame({"Dice": answer, "the mask is": who}).groupby("the mask is").Dice.agg(["mean", "count"])
print(f"mean of all slices: {np.nanmean(answer):.2f}")
assert by_neighbour["mean"].is_monotonic_increasing, "On your data, patients are more alike than their own slices."
by_neighbour.round(2)

# %% [markdown]
# **Look:** slices with a mask of their own patient score best, because the cavity lies at nearly the same place there.
# The mean is not 0 and not 0.9: it could be taken for that of a badly trained network.

# %% [markdown]
# ### Exercise 1.3 · Which fault is it?
#
# Three predictions went wrong, each in its own way: *inverted* (inside and outside swapped), *mispaired* (masks in
# another order), *too small* (two pixels lost all round). The table below holds their mean scores. Put the fault's
# name beside each letter. [Precision](../docs/glossary.md#precision) is the share of the predicted pixels that are
# right, [recall](../docs/glossary.md#recall) the share of the true pixels that were predicted (notebook 3 builds both).
#
# <details><summary>Hint 1</summary>
#
# Compare the areas first.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# What lies wholly inside the truth has precision 1.
#
# </details>

# %%
lvlab.checks.three_faults(training.masks)

# %%
answer = None
### BEGIN SOLUTION
answer = {"A": "mispaired", "B": "inverted", "C": "too small"}
### END SOLUTION

# %%
lvlab.checks.exercise_1_3(answer)

# %% [markdown]
# ## From base to apex, at ED and ES
#
# The heart is imaged in parallel slices across its long axis: from the *base*, at the valves, past the
# [mid-cavity](../docs/glossary.md#mid), where the papillary muscles are, to the *apex*, its tip. Each level is imaged
# many times over the heartbeat. Two moments count: *end-diastole* (ED), when the ventricle is largest, and
# *end-systole* (ES), when it is smallest.

# %%
patient = training.patients()[0]
lvlab.pictures.show_patient(training, patient)

# %% [markdown]
# **Look:** follow one column from ED to ES: the cavity shrinks and the wall thickens. Follow one row: towards the apex
# only a few pixels are left. The two ends are the hardest to draw: the apex because it is so small, the base because
# the valve plane moves towards the apex in systole, so that one level may show the ventricle at ED and the atrium at
# ES, and because the outflow tract joins the cavity there (in this patient, if the first slice lies high enough).

# %% [markdown]
# Between the two moments lies a whole beat. This is a phantom at twenty moments and a few levels: run the cell (drawing
# them takes some seconds), choose a level, press play.

# %% tags=["nbval-ignore-output"]
moments = np.arange(20) / 20
beat = lvlab.phantom.stack(*lvlab.phantom.course_patient(1, seed=0), shares=moments, distance_mm=20)
lvlab.viewers.cine_player(beat)

# %%
lvlab.views.area_by_level(training, patient)

# %% [markdown]
# The ventricle never empties. How much is left at the first level, in cm²? Area is the number of pixels times the two
# spacings; `lvlab.metrics.area_mm2` computes the same.

# %%
own = training.of_patient(patient)
first_level = own.subset((own.table.level == own.table.level.min()).to_numpy())
spacing_mm = first_level.table.row_spacing_mm, first_level.table.col_spacing_mm
by_hand = first_level.masks.sum(axis=(1, 2, 3)) * spacing_mm[0] * spacing_mm[1]
assert np.allclose(by_hand, lvlab.metrics.area_mm2(first_level.masks, *spacing_mm), equal_nan=True)
(by_hand / 100).set_axis(first_level.table.phase).round(1)

# %% [markdown]
# ### Exercise 1.4 · How large is it?
#
# Suppose that this mask's rows lie 1.25 mm apart and its columns 1.5 mm. How many cm² has the cavity of slice 0?
#
# <details><summary>Hint 1</summary>
#
# How many pixels are inside, and how many mm² is one?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# 1 cm² is 100 mm².
#
# </details>

# %%
answer = None
### BEGIN SOLUTION
answer = training.masks[0].sum() * 1.25 * 1.5 / 100
### END SOLUTION

# %%
lvlab.checks.exercise_1_4(answer, training.masks[0], 1.25, 1.5)

# %% [markdown]
# Areas from base to apex, times the distance between levels, give the volume. From the volumes at ED and ES comes the
# *[ejection fraction](../docs/glossary.md#ejection-fraction)*, (ED − ES) / ED, one of the most used numbers in
# cardiology. That is why people segment ventricles.

# %% [markdown]
# ## Class balance
#
# What share of the pixels is cavity? And imagine a network that always answers "no cavity here": how
# many pixels does it get right?

# %%
lvlab.quiz("nothing")

# %%
print(f"A network that finds nothing is right in {1 - training.masks.mean():.1%} of the pixels.")
lvlab.views.class_balance(training)

# %% [markdown]
# **Look:** accuracy would praise a network that does nothing. This is why segmentation is scored by *overlap*, and why
# the network is trained on overlap too (notebook 2).

# %% [markdown]
# ## Split by patient
#
# A network is judged on images that it has not seen. But what counts as *not seen*? Let us correlate every image with
# every other. Each box is one patient.

# %%
lvlab.views.similarity(training)

# %% [markdown]
# **Look:** inside the boxes images are alike: the same chest, the same scanner, the next level. If some slices of a
# patient were used to train and their neighbours to validate, the network could answer from memory. So whole patients
# go to one side.

# %%
train, val = training.split_by_patient(0.2, seed=0)
print(f"training {len(train)} slices, validation {len(val)}; "
      f"patients on both sides: {len(set(train.patients()) & set(val.patients()) - {''})}")

# %% [markdown]
# A share of 0.2 is what we asked for. Only whole patients can be taken, so it may be a little more or less.

# %% [markdown]
# ### Exercise 1.5 · Find the leak
#
# Here is another split, made by slice: a tenth of the slices, drawn at random. Who is on both sides? Answer with the
# set of patients.
#
# <details><summary>Hint 1</summary>
#
# `first.patients()` lists the patients of one side.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `set(a) & set(b)` keeps what both have.
#
# </details>

# %%
order = np.random.default_rng(0).permutation(len(training))
first, second = training.subset(order[len(order) // 10:]), training.subset(order[:len(order) // 10])
answer = None
### BEGIN SOLUTION
answer = set(first.patients()) & set(second.patients())
### END SOLUTION

# %%
lvlab.checks.exercise_1_5(answer, first, second)

# %% [markdown]
# ## Browse
#
# One function draws a slice with its mask:

# %%
lvlab.views.slice_view(training, row=0)

# %% [markdown]
# The browser calls this same function whenever you move a control. *Window* is how wide a range of greys is stretched
# from black to white, *Centre* where that range lies. (The browser needs a running kernel: run the cell.) Choose the
# slice with the smallest cavity (its name stands above) and set the opacity to 0: can you see its outline?

# %% tags=["nbval-ignore-output"]
smallest = training.masks.sum(axis=(1, 2, 3)).argmin()
print(f"{training.table.name[smallest]}: {training.masks[smallest].sum():.0f} pixels")
lvlab.viewers.slice_browser(training)

# %% tags=["nbval-ignore-output"]
lvlab.checks.progress()

# %% [markdown]
# ## What to remember
#
# - Spacing gives pixels their size; grey values have no unit, so normalise.
# - Crop and normalise every image in the same way, in training and later for every new image.
# - Pair by name. Split by patient.
# - Few pixels are cavity: look at overlap, not at accuracy.
#
# **Next:** in `02_train_unet` a network learns to predict the mask.
