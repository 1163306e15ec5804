"""The course's U-Net on JAX, to learn from phantoms that lie in the accelerator's own memory.

Keras draws the same network on TensorFlow and on JAX. Here a round of steps (choose a batch, change it, learn) is one
compiled call, so that a fast processor does not wait for Python.
"""

import os

import lvlab  # noqa: F401  it chooses TensorFlow for the course; the next line has the last word here

os.environ["KERAS_BACKEND"] = "jax"

import functools
import multiprocessing
import time

import jax
import numpy as np
import optax
from jax import numpy as jnp
from jax.scipy.ndimage import map_coordinates

from lvlab.losses import LOSSES, slice_dice
from lvlab.unet import unet

ROUND = 20  # steps a call
ADAM = optax.scale_by_adam()


def device():
    """Return the name of what JAX computes on."""
    return jax.devices()[0].device_kind


class Stock:
    """Phantoms in the accelerator's memory; more arrive all the time."""

    def __init__(self, arriving, most, shape):
        self.arriving, self.most, self.filled = arriving, most, 0
        self.pairs = jnp.zeros((most, *shape[1:]), jnp.uint8)

    def take(self):
        """Take in what has arrived by now."""
        while self.filled < self.most:
            try:
                chunk = self.arriving.next(0)
            except multiprocessing.TimeoutError:
                return
            self.pairs = _put(self.pairs, chunk, self.filled)
            self.filled += len(chunk)

    def wait(self, count):
        """Take in phantoms until there are `count`."""
        while self.filled < min(count, self.most):
            self.take()
            time.sleep(0.05)


class Learner:
    """One network, its optimizer's moments, and its steps."""

    def __init__(self, recipe, size, start=None, seed=0):
        self.recipe, self.steps, self.loss = recipe, 0, LOSSES[recipe.loss]
        self.precision = "bfloat16" if jax.devices()[0].platform == "gpu" else "float32"
        self.model = unet(recipe.filters, size, "zeros", self.precision, recipe.grid, recipe.normalization)
        rng = np.random.default_rng(seed)
        weights = [_he_normal(rng, variable) for variable in self.model.trainable_variables]
        weights = [jnp.asarray(array) for array in start] if start else weights
        self.start = [np.array(array) for array in weights]
        self.state = (weights, ADAM.init(weights))

    def advance(self, stock, share):
        """Take `ROUND` steps with this share of the recipe's step size; return their mean loss and Dice."""
        begun = time.perf_counter()
        key = jax.random.fold_in(jax.random.key(0), self.steps)
        self.state, watched = _advance(self, self.state, stock.pairs, stock.filled, key,
                                       share * self.recipe.learning_rate)
        self.steps += ROUND
        watched = np.asarray(watched)
        self.seconds = time.perf_counter() - begun
        return watched

    def blend(self):
        """Keep the recipe's share of the trained weights, and the rest of those that it started from."""
        share, (weights, moments) = self.recipe.blend, self.state
        self.state = ([share * last + (1 - share) * first for first, last in zip(self.start, weights, strict=True)],
                      moments)

    def dice(self, pairs, batch=100):
        """Return the Dice of each of some uint8 pairs (n, h, w, 2)."""
        return np.concatenate([_dice(self, self.state[0], pairs[at:at + batch]) for at in range(0, len(pairs), batch)])

    def weights(self):
        """Return the weights in Keras' order, float32."""
        return [np.asarray(array, np.float32) for array in self.state[0]]

    def moments(self):
        """Return what the optimizer remembers, as arrays."""
        return [np.asarray(array) for array in jax.tree.leaves(self.state[1])]

    def restore(self, weights, moments, steps):
        """Go on from what `weights`, `moments` and `steps` were."""
        self.state = ([jnp.asarray(array) for array in weights],
                      jax.tree.unflatten(jax.tree.structure(self.state[1]), map(jnp.asarray, moments)))
        self.steps = steps


def _he_normal(rng, variable):
    """Draw a kernel (He et al. 2015, doi:10.1109/ICCV.2015.123) with NumPy, for which JAX would compile each shape."""
    if variable.ndim == 1:  # a bias, or a normalization's
        return jnp.asarray(variable.value)
    return jnp.asarray(rng.normal(0, np.sqrt(2 / np.prod(variable.shape[:-1])), variable.shape), jnp.float32)


@functools.partial(jax.jit, donate_argnums=0)
def _put(pairs, chunk, at):
    return jax.lax.dynamic_update_slice(pairs, chunk, (at, 0, 0, 0))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _advance(learner, state, stock, filled, key, rate):
    def step(state, key):
        weights, moments = state
        which, change = jax.random.split(key)
        pairs = stock[jax.random.randint(which, (learner.recipe.batch_size,), 0, filled)]
        images, masks = changed(pairs, change)

        def loss(weights):
            probability = learner.model.stateless_call(weights, [], images, training=True)[0]
            return learner.loss(masks, probability), slice_dice(masks, probability).mean()

        watched, slopes = jax.value_and_grad(loss, has_aux=True)(weights)
        updates, moments = ADAM.update(slopes, moments)
        return ([old - rate * update for old, update in zip(weights, updates, strict=True)], moments), watched

    state, watched = jax.lax.scan(step, state, jax.random.split(key, ROUND))
    return state, jnp.stack(watched).mean(1)


@functools.partial(jax.jit, static_argnums=0)
def _dice(learner, weights, pairs):
    pairs = pairs.astype(jnp.float32)
    return slice_dice(pairs[..., 1:], learner.model.stateless_call(weights, [], pairs[..., :1] / 255)[0])


def changed(pairs, key):
    """Return randomly changed copies of uint8 (n, h, w, 2) images and masks, float32 (n, h, w, 1) each.

    What the course's "strong" augmentation does (lvlab/augment.py, written in TensorFlow), and more than a scanner
    would, so that the network learns hearts and not phantoms: bent shapes, pieces and faint copies of another phantom,
    wider point spreads, noise that passed one, speckle, shading, any curve of grey.
    """
    moving, looking = jax.random.split(key)
    moved = jax.vmap(_warped)(pairs.astype(jnp.float32), jax.random.split(moving, len(pairs)))
    moved = jnp.stack([jnp.clip(moved[..., 0] / 255, 0, 1), (moved[..., 1] >= 0.5).astype(jnp.float32)], -1)
    images = jax.vmap(_looked)(moved, jnp.roll(moved, 1, 0), jax.random.split(looking, len(pairs)))
    return images[..., None], moved[..., 1:]


def _warped(pair, key):
    """Turn, mirror, zoom, stretch, shift and, half of the time, bend one pair; edges are mirrored."""
    whole, waves, strength = jax.random.split(key, 3)
    draw = jax.random.uniform(whole, (6,), minval=-1, maxval=1)
    size = pair.shape[0]
    angle, zoom, stretch = draw[0] * jnp.pi, 1 + 0.4 * draw[1], 1 + 0.13 * draw[2]
    across = jnp.arange(size) - (size - 1) / 2
    y, x = jnp.meshgrid(across, across, indexing="ij")
    x, y = x * zoom * stretch * jnp.where(draw[3] < 0, -1, 1), y * zoom / stretch
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    middle = (size - 1) / 2 + 0.12 * size * draw[4:]
    bend = 3 * jnp.maximum(jax.random.uniform(strength, minval=-1), 0) * _smooth(waves, size, 2, 7)
    places = [sin * x + cos * y + middle[0] + bend[..., 0], cos * x - sin * y + middle[1] + bend[..., 1]]
    return jnp.stack([map_coordinates(pair[..., part], places, order=1, mode="reflect") for part in (0, 1)], -1)


def _smooth(key, size, count, knots):
    """Draw `count` smooth fields (size, size, count) of about unit variance."""
    return jax.image.resize(jax.random.normal(key, (knots, knots, count)), (size, size, count), "cubic")


def _looked(pair, other, key):
    """Return one image (h, w) looking otherwise; nothing of what is put in covers or resembles a cavity."""
    numbers, noise, shade = jax.random.split(key, 3)
    size = pair.shape[0]
    u = iter(jax.random.uniform(numbers, (24,)))  # each number is used once

    def between(least, most):
        return least + (most - least) * next(u)

    def sometimes(chance):
        return (next(u) < chance).astype(jnp.float32)

    image, mask = pair[..., 0], pair[..., 1]
    line = jnp.arange(size)
    down, right = (jnp.abs(line - between(0, size)) < between(0, 0.4 * size) for _ in range(2))
    piece = (down[:, None] & right) * (1 - _near(mask)) * sometimes(0.4)
    piece *= (piece * other[..., 1]).sum() < 1
    image = image * (1 - piece) + other[..., 0] * piece
    faint = between(0, 0.3) * sometimes(0.3)
    image = image * (1 - faint) + other[..., 0] * faint
    spread = _point_spread(size, between(0.3, 2.0) * sometimes(0.6) + 0.05)
    image = spread @ image @ spread.T
    image = jnp.clip(image, 0, 1) ** jnp.exp(between(-0.6, 0.6))
    image += between(-0.28, 0.28) / jnp.pi * jnp.sin(jnp.pi * image)
    image += sometimes(0.4) * between(-0.6, 0.6) / (2 * jnp.pi) * jnp.sin(2 * jnp.pi * image)
    image = (image - 0.5) * (1 + between(-0.2, 0.2)) + 0.5 + between(-0.1, 0.1)
    side = jnp.linspace(-1, 1, size)
    image *= jnp.exp(between(-0.6, 0.6) * side[:, None] + between(-0.6, 0.6) * side)
    image *= jnp.exp(0.4 * jnp.maximum(between(-1, 1), 0) * _smooth(shade, size, 1, 6)[..., 0])
    fine, coarse = jax.random.normal(noise, (2, size, size))
    grain = _point_spread(size, between(0.4, 1.3))
    coarse = grain @ coarse @ grain.T
    coarse /= coarse.std()
    image *= 1 + 0.15 * jnp.maximum(between(-1, 1), 0) * coarse
    image += 0.06 * jnp.maximum(between(-1, 1), 0) * fine + 0.08 * between(0, 1) ** 2 * coarse
    return jnp.clip(image, 0, 1)


def _near(mask, reach=10):
    """Return 1 within so many pixels of a mask."""
    rows = jax.lax.reduce_window(mask, 0.0, jax.lax.max, (2 * reach + 1, 1), (1, 1), "SAME")
    return jax.lax.reduce_window(rows, 0.0, jax.lax.max, (1, 2 * reach + 1), (1, 1), "SAME")


def _point_spread(size, sigma):
    """Return the matrix (size, size) that blurs a line by a Gaussian of `sigma` pixels."""
    away = jnp.arange(size)[:, None] - jnp.arange(size)
    rows = jnp.exp(-0.5 * (away / sigma) ** 2)
    return rows / rows.sum(1, keepdims=True)
