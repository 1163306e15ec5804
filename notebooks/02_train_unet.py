# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 · Train a U-Net
#
# A network with many thousands of numbers in it learns to predict the left ventricle's cavity. You will see what those
# numbers do, what "learning" tries to improve, and then you will train it.
#
# **You will learn**
# - what a convolution computes, and how two of them make the U-Net's block;
# - to read a U-Net, and the loop that trains it, as code;
# - how a coarser grid saves computing, and what normalisation inside the network does;
# - the soft Dice loss, by hand;
# - what [augmentation](../docs/glossary.md#augmentation) is for;
# - to read learning curves.
#
# **Time:** 30 minutes to read, 2 minutes to run. **Memory:** 1.3 GB. (`make timings`, 2 cores)
#
# **You need:** notebook 1, to know the data. No GPU.

# %% [markdown]
# As in notebook 1, whole patients are kept for validation.

# %%
import numpy as np

import lvlab

data = lvlab.open_course(network=True)
training = data.training
train, val = training.split_by_patient(0.2, seed=0)
print(f"{len(train)} slices to learn from, {len(val)} to validate on")


# %% [markdown]
# ## A convolution by hand
#
# A 3 × 3 convolution looks at each pixel's neighbourhood: nine shifted copies of the image, each multiplied by a
# weight, are added up, and a number (the *bias*) is added. With several channels in and out, each weight becomes a
# small matrix. After each convolution stands *ReLU*, which replaces what is negative by 0. Without it, two convolutions
# in a row could do no more than one larger convolution.

# %%
def convolve(x, kernel, bias):
    height, width = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    shifted = [padded[i:i + height, j:j + width] @ kernel[i, j] for i in range(3) for j in range(3)]
    return sum(shifted) + bias


def relu(x):
    return np.maximum(x, 0)


# %% [markdown]
# The U-Net's building block is both of these, twice. We take the first block of a fresh network, with its (still
# random) weights, and compute it ourselves.

# %%
import keras

network = lvlab.training.build(lvlab.ASSIGNMENT)
image = train.images[0]
first, second = network.get_layer("down1a"), network.get_layer("down1b")
once = relu(convolve(image, *first.get_weights()))
by_hand = relu(convolve(once, *second.get_weights()))
by_keras = keras.Model(network.input, second.output).predict_on_batch(image[None])[0]
print("one image became", by_hand.shape, "the same by Keras:", np.allclose(by_hand, by_keras, atol=1e-4))

# %% [markdown]
# One image went in, 32 came out: 32 *feature maps*. Keras agrees.

# %% [markdown]
# A convolution's weights are easily counted: 3 × 3 neighbours, times channels in, times channels out, plus
# one bias per channel out. The first one here has 3 × 3 × 1 × 32 + 32 = 320, the second 3 × 3 × 32 × 32 + 32 = 9,248
# (the list of layers below says the same).

# %% [markdown]
# ### Exercise 2.1 · Count the parameters
#
# How many parameters has a 3 × 3 convolution from 16 to 32 channels?
#
# <details><summary>Hint 1</summary>
#
# Nine weights for each pair of channels, one in and one out.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# And one bias for each channel out.
#
# </details>

# %%
answer = None
### BEGIN SOLUTION
answer = 3 * 3 * 16 * 32 + 32
### END SOLUTION

# %%
lvlab.checks.exercise_2_1(answer)

# %% [markdown]
# ## The U
#
# On the way down, *max-pooling* keeps the largest of every 2 × 2 pixels: the image halves, a neuron sees further, and
# there are more filters to describe what is there. On the way up, *up-convolutions* double the image again. *Skip
# connections* pass on the fine detail that was lost in the halving
# ([Ronneberger et al. 2015](https://doi.org/10.1007/978-3-319-24574-4_28)).

# %%
lvlab.views.draw_unet()

# %% [markdown]
# Each box is a stack of feature maps. The last one has 32 maps; a 1 × 1 convolution and a *sigmoid* turn them into one
# number between 0 and 1 for each pixel, the probability of being cavity.
#
# The same as code, as it stands in `lvlab/unet.py`. Find the way down (the first `for` over levels), the bottom, and
# the way up (the second one): each line of it is an arrow or a box of the drawing. What `grid` and `normalization` do
# comes later; here they are 1 and "none".

# %%
import inspect

from lvlab.unet import unet

print(inspect.getsource(unet))

# %% [markdown]
# ### Exercise 2.2 · The first step up
#
# With the default filters, the bottom gives 8 × 8 pixels with 512 channels. Then come, with `level` 4 and `count` 256,
# `Conv2DTranspose` and `Concatenate`. Which shape has `x` after both? Answer with (rows, columns, channels).
#
# <details><summary>Hint 1</summary>
#
# `strides=2` doubles rows and columns; `count` is the number of channels that come out.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `Concatenate` puts the channels of both behind one another. How many channels has `skips[3]`?
#
# </details>

# %%
answer = None
### BEGIN SOLUTION
answer = (16, 16, 256 + 256)
### END SOLUTION

# %%
lvlab.checks.exercise_2_2(answer)

# %% [markdown]
# All layers as a list. Compare `skip4` with your answer. Below it, the same network with half the filters.

# %%
lvlab.quiz("half")

# %%
for layer in network.layers:
    print(f"{layer.name:12} {type(layer).__name__:16} {str(layer.output.shape[1:]):16} {layer.count_params():>10,}")
half = unet(tuple(count // 2 for count in lvlab.ASSIGNMENT.filters))
print(f"half the filters: {half.count_params() / network.count_params():.2f} of the parameters")

# %% [markdown]
# **Look:** most parameters sit at the bottom, where images are small and filters many. Half the filters everywhere
# leave about a quarter of the parameters, because a convolution has one weight for each *pair* of channels.

# %% [markdown]
# ## A coarser grid
#
# A convolution at full size is expensive: it visits 128 × 128 pixels for every pair of channels. One can give the
# network a smaller image *without losing a pixel*: each block of 4 × 4 pixels becomes one pixel with 16 channels
# (*space to depth*).

# %%
lvlab.views.draw_grid(image)


# %% [markdown]
# By hand it is one reshaping, and another one leads back. What does it save? The last lines compare one 3 × 3
# convolution from 16 to 16 channels at full size with one from 32 to 32 channels on the coarser grid.

# %%
def space_to_depth(pixels, grid=4):
    height, width = (side // grid for side in pixels.shape)
    blocks = pixels.reshape(height, grid, width, grid).transpose(0, 2, 1, 3)
    return blocks.reshape(height, width, grid * grid)


def depth_to_space(channels, grid=4):
    height, width = channels.shape[:2]
    blocks = channels.reshape(height, width, grid, grid).transpose(0, 2, 1, 3)
    return blocks.reshape(height * grid, width * grid)


small = space_to_depth(image[..., 0])
print(small.shape, "exactly reversible:", np.array_equal(depth_to_space(small), image[..., 0]))
assert (lvlab.ASSIGNMENT.grid, lvlab.LAB.grid) == (1, 4)
for side, channels in ((128, 16), (32, 32)):
    maps = f"{side} × {side} × {channels}"
    print(f"{maps:14} {side * side * 9 * channels**2 / 1e6:5.1f} million multiplications, "
          f"{side * side * channels:,} numbers to keep")

# %% [markdown]
# **Look:** twice the channels, and still a quarter of the multiplications; above all, eight times fewer numbers to move
# through the memory, which is what a processor waits for. At the other end the network answers with 16 numbers for each
# block, and `depth_to_space` makes pixels of them ([Shi et al. 2016](https://doi.org/10.1109/CVPR.2016.207) call it
# *sub-pixel convolution*). These are the lines with `grid` in the code of `unet`. `ASSIGNMENT` works on grid 1, `LAB`
# on grid 4.

# %% [markdown]
# ## Feature maps in step
#
# Each convolution learns from the maps of the one before, and those change their range with every step of the training
# and with the brightness of the slice. *Instance normalisation*
# ([Ulyanov et al. 2016](https://arxiv.org/abs/1607.08022); [nnU-Net](https://doi.org/10.1038/s41592-020-01008-z) has
# it, too) stands between convolution and ReLU. It takes each map of each slice by itself: minus its mean, divided by
# its standard deviation; two numbers for each map, which are learnt, then stretch and shift it. And what becomes of a
# slice of half the brightness? The cell prints the spread (standard deviation) of each map, on average.

# %%
from dataclasses import replace


def normalise_maps(maps, stretch, shift, epsilon=1e-3):
    mean, variance = maps.mean(axis=(0, 1)), maps.var(axis=(0, 1))
    return stretch * (maps - mean) / np.sqrt(variance + epsilon) + shift


def spread(maps):
    return maps.std(axis=(0, 1)).mean()


lab = lvlab.training.build(replace(lvlab.LAB, precision="float32"))
first, second = lab.get_layer("down1a_convolution"), lab.get_layer("down1a_normalization")
look = keras.Model(lab.input, [first.output, second.output])
(before, dark_before), (after, dark_after) = look.predict_on_batch(np.stack([image, image / 2]))
print("the same by Keras:", np.allclose(normalise_maps(before, *second.get_weights()), after, atol=1e-4))
for name, maps, dark in (("before", before, dark_before), ("after", after, dark_after)):
    print(f"{name:6} normalisation: {spread(maps):.2f}, in the dark slice {spread(dark):.2f}")

# %% [markdown]
# **Look:** the next layer gets the same, dark or bright, and whatever the layer before has learnt by now. `LAB`
# normalises and `ASSIGNMENT` does not. With it `LAB` takes steps that could end at 0 without it, and in our
# measurements it is better on most patients that it was not trained on, above all where the contrast differs
# (`docs/measurements.md`, "Normalisation").


# %% [markdown]
# ## What to improve: the soft Dice loss
#
# The Dice coefficient compares two masks: twice their common pixels, divided by the pixels of both. A network answers
# with *probabilities*, and to learn it needs a score that changes smoothly with them. So products and sums take the
# place of counting. The loss is 1 minus that; the tiny ε prevents 0/0. Three answers to the same slices: perfect, one
# half everywhere, and nothing. `lvlab`'s loss, which Keras can differentiate, is the same:

# %%
def soft_dice_loss(truth, probability, epsilon=1e-5):
    hit = np.sum(truth * probability)
    return 1 - (2 * hit + epsilon) / (np.sum(truth) + np.sum(probability) + epsilon)


truth = train.masks[:4]
answers = {"perfect": truth, "one half": np.full_like(truth, 0.5), "nothing": np.zeros_like(truth)}
for name, answer in answers.items():
    by_lvlab = float(lvlab.losses.soft_dice_loss(truth, answer))
    print(f"{name:9} loss {soft_dice_loss(truth, answer):.3f}, by lvlab {by_lvlab:.3f}")

# %% [markdown]
# **A weakness.** Where a network is wrong *and* sure of it, its last layer, the sigmoid, is flat: a small step
# changes nearly nothing, and the Dice loss gives no direction. `LAB` therefore adds *binary cross-entropy*,
# which judges every pixel by itself and becomes steeper when a wrong answer is more certain.

# %% [markdown]
# ### Exercise 2.3 · Write the other loss
#
# Write the binary cross-entropy as a function of truth and probability, both arrays: the mean over the pixels of
# −log(p) where the truth is 1 and −log(1 − p) where it is 0.
#
# <details><summary>Hint 1</summary>
#
# `truth * np.log(probability)` is not 0 only where the truth is 1.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Add the same for `1 - truth` and `1 - probability`; take the mean; mind the
# sign.
#
# </details>

# %%
def cross_entropy(truth, probability):
    ### BEGIN SOLUTION
    right = truth * np.log(probability) + (1 - truth) * np.log(1 - probability)
    return -np.mean(right)
    ### END SOLUTION


# %%
lvlab.checks.exercise_2_3(cross_entropy)

# %% [markdown]
# ## Augmentation: more patients than you have
#
# A few patients lie in a few positions, seen by a few scanners. A network soon memorises them. So every time a
# slice is used, it is turned, mirrored, zoomed, shifted, brightened and made noisy at random; its mask moves with it.
# Below: one slice, and five draws. Which of them would you accept?

# %%
import tensorflow as tf

pair = train.images[:1], train.masks[:1]
draws = [pair] + [lvlab.augment.augment(*pair, seed=tf.constant([0, draw])) for draw in range(1, 6)]
lvlab.pictures.gallery([np.asarray(image)[0] for image, _ in draws], ["Original", *(f"Draw {n}" for n in range(1, 6))],
                      [np.asarray(mask)[0] for _, mask in draws])

# %% [markdown]
# **Look:** some hearts are upside down, and no patient lies in the scanner like that. We accept them all the same: what
# makes a cavity is a bright disc in a darker ring, at any angle, and scanners do not all show it at the same one. We
# would not accept an image with dark and bright exchanged: in these images blood *is* brighter than muscle.
# Augmentation says what should not matter; choosing it is medical knowledge.

# %% [markdown]
# ### Exercise 2.4 · Mirror a pair
#
# Mirror `image` and its mask from left to right. `answer` is the pair of both. The pair, and what should come of it:
#
# <details><summary>Hint 1</summary>
#
# The second axis goes from left to right.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `[::-1]` reverses an order; `[:, ::-1]` reverses that of the second axis.
#
# </details>

# %%
mask = train.masks[0]
lvlab.checks.picture_2_4(image, mask)

# %%
answer = None
### BEGIN SOLUTION
answer = image[:, ::-1], mask[:, ::-1]
### END SOLUTION

# %%
lvlab.checks.exercise_2_4(answer, image, mask)

# %% [markdown]
# ## Two recipes
#
# A network learns in small *steps*. In each it takes a *[batch](../docs/glossary.md#batch)* of slices, and the loss
# says how wrong it is and, by its slope, in which direction every weight should move (*gradient descent*). The
# *learning rate* is how far it moves. An *[epoch](../docs/glossary.md#epoch)* ends with a look at the validation
# patients.
#
# `ASSIGNMENT` is the classical recipe, from the university exercise on which this course is based. `LAB` is ours. They
# differ here:

# %%
import pandas as pd

recipes = pd.DataFrame({recipe.name: recipe.as_dict() for recipe in (lvlab.ASSIGNMENT, lvlab.LAB)}).astype(str)
print("offset of the training masks (pixels down, right):", lvlab.store.masks.mask_offset(train.images, train.masks))
recipes[recipes.assignment != recipes.lab].drop("name")

# %% [markdown]
# In words: `LAB` has a smaller network that normalises, a loss with a slope everywhere, augmentation, a step size that
# starts high and ends at 0, and arithmetic in 16 bits where the processor has it. `passes` is how often an epoch sees
# each slice. Of each mask only the largest piece is kept (`parts`): a cavity is in one.
#
# `mask_offset` minds where the masks lie. Programs do not agree on where a pixel is: some count from its centre,
# others from its corner, some from 0, others from 1. So all the masks of a folder can lie a little off the edges in
# their images, say to the lower right. Turned by 180° they would lie to the upper left, and the network would learn
# something in between. `"kept"` measures the offset on the training slices, by the edge between bright blood and dark
# muscle, and keeps it on the same side, however a slice is turned. The line above the table has it; less than a pixel,
# and what may be chance, counts as none.

# %% [markdown]
# ### Exercise 2.5 · Change the loss
#
# Make a recipe `mine` that is `LAB` except for `loss="dice"` (a name of its own, `epochs=2` and `passes=1` keep it
# short). Then say which columns of the training's history, out of `loss`, `dice`, `val_loss` and `val_dice`, may be
# compared between `mine` and `LAB`: a set of names.
#
# <details><summary>Hint 1</summary>
#
# `dataclasses.replace(lvlab.LAB, …)` copies a recipe with changes.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Numbers of two formulas cannot be compared.
#
# </details>

# %%
import dataclasses

mine = comparable = None
### BEGIN SOLUTION
mine = dataclasses.replace(lvlab.LAB, name="mine", loss="dice", epochs=2, passes=1)
comparable = {"dice", "val_dice"}
### END SOLUTION

# %%
lvlab.checks.exercise_2_5(mine, comparable)

# %% [markdown]
# Try it, and count the steps before you judge the result.

# %% tags=["nbval-ignore-output"]
def steps(recipe):
    return recipe.epochs * recipe.steps(len(train))


reached = lvlab.train(train, val, mine, overwrite=True).history.val_dice.iloc[-1]
print(f"mine: {steps(mine)} steps, validation Dice {reached:.2f}; LAB will take {steps(lvlab.LAB)}")
assert steps(mine) < steps(lvlab.LAB) / 5

# %% [markdown]
# **Look:** after so few steps no network is finished. Such a trial shows that a recipe runs, and nothing about how good
# it is. Compare only trainings of equal length, and several [seeds](../docs/glossary.md#seed).

# %% [markdown]
# ## Train
#
# This is the whole loop. `build` makes the network of a recipe. `fit` gives it an optimizer and a loss
# (`compile_model`), an endless stream of augmented batches (`batches`), and the validation patients to look at after
# each epoch. Keras does the steps. The `keeper` remembers the weights that the recipe keeps.

# %%
print(inspect.getsource(lvlab.training.fit))

# %% [markdown]
# `lvlab.train` calls it and writes what happens into a folder. The bar shows the Dice on the validation patients after
# each epoch, the monitor the curves and one validation slice.

# %%
lvlab.quiz("unseen")

# %% tags=["nbval-ignore-output"]
monitor = lvlab.viewers.TrainingMonitor(val)
run = lvlab.train(train, val, lvlab.LAB, overwrite=True, callbacks=[monitor])

# %% [markdown]
# ## Learning curves
#
# Did it work? Training is a little different on every machine, so we ask for a range, not for a number. Then the
# curves: left the loss, which should fall; right the Dice, which should rise.

# %% tags=["nbval-ignore-output"]
best = run.history.val_dice.max()
print("best validation Dice {:.2f}, {train_seconds:.0f} s of training, kept epoch {best_epoch}, arithmetic in "
      "{precision}".format(best, **run.record))
assert best > 0.75, (
    f"The best validation Dice is {best:.2f}; above 0.75 was expected. Likely reasons: masks that do not belong to "
    "their images (go back to notebook 1 and look at some), masks that are empty or inverted, or very few patients. "
    "On your own data a hard validation patient can be the reason, too: look at the slices below.")
lvlab.pictures.learning_curves(run.history)

# %% [markdown]
# **Look:** read the two lines together.
# - Both fall: it is still learning.
# - Training falls, validation rises: it memorises the training patients
#   (*[overfitting](../docs/glossary.md#overfitting)*).
# - Both stay high: it predicts no cavity, or anything.
#
# With augmentation the validation can even look *better* than the training: training slices are made harder on
# purpose. `ASSIGNMENT` keeps the weights of the dotted line, those with the lowest validation loss. `LAB` keeps the
# last: its steps end at 0, so that the last epochs hardly differ, and one validation patient is a poor judge of early
# ones. So the validation patients only watch, and once all choices are made `LAB` may learn from them, too:
# `lvlab train --no-validation`. It then knows more patients, and no curve shows how it does on others.

# %% [markdown]
# ### Exercise 2.6 · When to stop
#
# The next cell shows a training that memorises its patients, without augmentation (made up, so that all see the
# same). Which epoch's weights would you keep? Let the computer find it.
#
# <details><summary>Hint 1</summary>
#
# On whom should the network be good?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `idxmin()` of a column gives the row of its lowest value. `history.epoch` says which epoch a row holds.
#
# </details>

# %%
epoch = np.arange(1, 31)
loss = 0.05 + 0.8 * np.exp(-epoch / 7)
val_loss = 0.25 + 0.6 * np.exp(-epoch / 5) + 0.012 * np.maximum(epoch - 12, 0)
history = pd.DataFrame({"epoch": epoch, "loss": loss, "val_loss": val_loss, "dice": 1 - loss, "val_dice": 1 - val_loss})
lvlab.pictures.learning_curves(history, mark=False)

# %%
answer = None
### BEGIN SOLUTION
answer = history.epoch[history.val_loss.idxmin()]
### END SOLUTION

# %%
lvlab.checks.exercise_2_6(answer, history)

# %% [markdown]
# ## What overfitting to patients looks like
#
# No network is needed to see it. Our "model" only memorises: for a new image it looks up the most similar
# training image, and answers with *its* mask. First judged on a split by slice, then on a split by patient.

# %%
def from_memory(known, new):
    closest = np.corrcoef(new.images.reshape(len(new), -1), known.images.reshape(len(known), -1))[:len(new), len(new):]
    return lvlab.dice(new.masks, known.masks[closest.argmax(axis=1)])


order = np.random.default_rng(0).permutation(len(training))
by_slice = training.subset(order[len(val):]), training.subset(order[:len(val)])
for name, (known, new) in {"by slice": by_slice, "by patient": (train, val)}.items():
    shared = len(set(known.patients()) & set(new.patients()))
    print(f"{name:10}  patients on both sides: {shared}   mean Dice {np.nanmean(from_memory(known, new)):.2f}")

# %% [markdown]
# **Look:** the same model, the same images, and two scores. It has understood nothing; on the split by slice it was
# only asked about patients whose answers it had seen. A network with millions of parameters can do the same.

# %% [markdown]
# ## What does each ingredient contribute?
#
# An *ablation* changes one thing at a time and trains again. This one was made on public patients: four to learn from,
# a fifth to be tested on, 18 slices, three seeds each, with the `LAB` of version 0.1: on grid 1, shortened to 8 epochs
# (`docs/measurements.md` has the command and all numbers). The last five bars start from weights that were trained on
# phantoms (notebook 4).

# %%
ablation = pd.read_csv(lvlab.views.ABLATION)
by_variant = ablation.groupby("variant").dice_mean.agg(["min", "mean", "max"])
scratch, shipped = by_variant.loc["LAB, shortened"], by_variant.loc["from the shipped weights"]
assert by_variant.loc["Dice loss only", "max"] < 0.01 and shipped["min"] > scratch["max"]
assert by_variant.loc["strong augmentation", "min"] > scratch["max"]
validated = ablation.groupby("variant").val_dice.mean()
assert validated["strong augmentation"] < validated["LAB, shortened"]
lvlab.views.ablation_chart(ablation)

# %% [markdown]
# **Look:** with the Dice loss alone, all trainings ended at 0. Without today's normalisation, one early step
# pushed every probability down to 0, where the sigmoid is flat and the Dice loss has no slope, and no later step could
# correct it. Cross-entropy has a slope exactly there. Most other differences are hardly larger than those between seeds
# (the dots): from three seeds nobody should conclude that one of them is better. Strong augmentation is ahead in each
# seed on this one patient, but behind on the patient who validates: undecided. Clear is the difference that the start
# makes. (Why the longest bar is not what we keep: notebook 4.)
#
# Rerun one ingredient yourself: `dataclasses.replace(lvlab.LAB, name="other", epochs=2, …)`, then `lvlab.train` as in
# exercise 2.5.

# %% [markdown]
# ## What is on disk
#
# A run folder holds everything that is needed to repeat and to use the training.

# %%
sorted(file.name for file in run.path.iterdir())

# %% [markdown]
# `recipe.json` also records versions, seed and a [fingerprint](../docs/glossary.md#fingerprint) of the data; `logs/` is
# for TensorBoard. In a terminal in the course's folder, `make tensorboard` opens it in the browser. Try it with two
# runs to compare.

# %% [markdown]
# ## See it predict
#
# A validation slice, its truth, and the network's prediction:

# %% tags=["nbval-ignore-output"]
row = len(val) // 2
lvlab.show_overlay(val, run, row)

# %% [markdown]
# The network in fact returns probabilities. Where is it unsure? Here only the pixels between 0.1 and 0.9 are coloured.

# %% tags=["nbval-ignore-output"]
probability = lvlab.predict(run, val)
unsure = (probability > 0.1) & (probability < 0.9)
print(f"{unsure.mean():.1%} of all pixels of the validation slices lie between 0.1 and 0.9")
assert 0 <= probability.min() <= probability.max() <= 1, "A probability lies in [0, 1]: is the last layer a sigmoid?"
assert unsure.mean() < 0.1, "Many pixels are unsure: was the network trained to the end?"
lvlab.views.uncertainty(val, probability, row)

# %% [markdown]
# **Look:** the map is practically binary; the network is sure of nearly every pixel. It hesitates mostly along the
# outline, where a pixel holds both blood and muscle. Do not read it as a warning where it is wrong: a network trained
# like this can be wrong and sure.

# %% [markdown]
# ## Look inside
#
# What has it learnt to look for? Here are feature maps of its first layer for one slice. Each filter responds to
# another pattern: bright areas, dark areas, edges of one direction.

# %% tags=["nbval-ignore-output"]
lvlab.views.feature_maps(run, val, row=0, layer="down1a")

# %% [markdown]
# Go along the U with the explorer (it needs a running kernel). The heart is hard to recognise at the bottom, where a
# map has 8 × 8 pixels. Fine detail comes back on the way up, with the skip connections.

# %% tags=["nbval-ignore-output"]
lvlab.viewers.feature_map_explorer(run, val)

# %% tags=["nbval-ignore-output"]
lvlab.checks.progress()

# %% [markdown]
# ## What to remember
#
# - A convolution is a weighted sum over neighbours; a U-Net is many of them at several sizes, with shortcuts.
# - The loss decides what is learnt. Dice looks at overlap; cross-entropy helps where there is none.
# - Augmentation and a split by patient are what makes it work on new patients, and lets you measure it.
#
# **Next:** `03_evaluate` asks how good it is, and how sure we may be of that.
