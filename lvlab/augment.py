"""Random changes of image/mask pairs, inside the TensorFlow graph.

Turning, flipping, zooming and shifting are composed into one affine map and done by one
resampling: four separate layers would cost three times as much and blur four times.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

Pair = tuple[tf.Tensor, tf.Tensor]


@dataclass(frozen=True)
class Strength:
    """How far augmentation goes: every draw is uniform in plus or minus these."""

    rotation: float = math.pi   # radians: hearts lie at every angle between scanners
    zoom: float = 0.25          # a factor of 1 ± this
    mirror: bool = True         # every other slice
    shift: float = 0.12         # of the image's side
    gamma: float = 0.5          # exponent between exp(-this) and exp(this)
    shading: float = 0.0        # brightness tilts by exp(± this) from side to side, as near a coil
    noise: float = 0.04         # standard deviation at most, of the grey range


STRENGTHS = {
    "gentle": Strength(rotation=0.3, zoom=0.15, mirror=False, shift=0.08, gamma=0.4),
    "full": Strength(),
    "strong": Strength(zoom=0.4, gamma=0.6, shading=0.6, noise=0.06),
}


def augment(images: tf.Tensor, masks: tf.Tensor, seed: tf.Tensor, strength: str = "full",
            offset: tuple[float, float] = (0.0, 0.0)) -> Pair:
    """Return changed copies of a batch: float32 (b, h, w, 1) images in [0, 1] and masks in {0, 1}.

    seed : int32 tensor (2,); the same seed gives the same change. strength : a key of `STRENGTHS`.
    offset : pixels (down, right) by which the masks lie off their images, before and after; see store/masks.py
    """
    chosen = STRENGTHS[strength]
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2), num=2)
    images, masks = warp(images, masks, seeds[0], chosen, offset)
    return change_intensity(images, seeds[1], chosen), masks


def warp(images: tf.Tensor, masks: tf.Tensor, seed: tf.Tensor, strength: Strength,
         offset: tuple[float, float] = (0.0, 0.0)) -> Pair:
    """Turn, flip, zoom and shift images and masks alike, by one resampling; edges are mirrored.

    Masks that lie `offset` (down, right) off their images do so afterwards, whichever way a slice is turned.
    """
    shape = tf.shape(images)
    transforms = _affine(shape[0], tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32), seed, strength)
    both = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.concat([images, masks], 0), transforms=tf.concat([transforms, _beside(transforms, *offset)], 0),
        output_shape=shape[1:3], fill_value=0.0, interpolation="BILINEAR", fill_mode="REFLECT")
    return both[:shape[0]], tf.cast(both[shape[0]:] >= 0.5, tf.float32)


def _beside(transforms, down, right):
    """Return the maps T as p -> T(p - offset) + offset: what lies beside its place is changed as if it lay there."""
    a, b, x, c, d, y, *rest = tf.unstack(transforms, axis=-1)
    return tf.stack([a, b, x - a * right - b * down + right, c, d, y - c * right - d * down + down, *rest], -1)


def _affine(count, height, width, seed, strength):
    """Return (count, 8) maps from output to input pixels, each about the image's centre."""
    draw = tf.random.stateless_uniform((6, count), seed, -1, 1)
    angle, zoom, stretch = draw[0] * strength.rotation, 1 + draw[1] * strength.zoom, 1 + draw[2] * strength.zoom / 3
    flip = tf.where((draw[3] < 0) & strength.mirror, -1.0, 1.0)
    a, b = tf.cos(angle) * zoom * stretch * flip, -tf.sin(angle) * zoom / stretch
    c, d = tf.sin(angle) * zoom * stretch * flip, tf.cos(angle) * zoom / stretch
    x, y = (width - 1) / 2, (height - 1) / 2
    right, down = draw[4] * strength.shift * width, draw[5] * strength.shift * height
    zero = tf.zeros_like(angle)
    return tf.stack([a, b, x - a * x - b * y + right, c, d, y - c * x - d * y + down, zero, zero], -1)


def change_intensity(images: tf.Tensor, seed: tf.Tensor, strength: Strength) -> tf.Tensor:
    """Change gamma, contrast, brightness and noise of each image; the result stays in [0, 1]."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2), num=2)
    draw = tf.random.stateless_uniform((4, tf.shape(images)[0], 1, 1, 1), seeds[0], -1, 1)
    images = tf.pow(images, tf.exp(draw[0] * strength.gamma))
    images = (images - 0.5) * (1 + 0.2 * draw[1]) + 0.5 + 0.1 * draw[2]
    images *= _shading(tf.shape(images), seeds[1], strength.shading) if strength.shading else 1.0
    noise = tf.random.stateless_normal(tf.shape(images), seeds[1])
    return tf.clip_by_value(images + noise * strength.noise * tf.maximum(draw[3], 0), 0, 1)


def _shading(shape, seed, most):
    """Return smooth brightness (b, h, w, 1), 1 at the centre, tilted in a random direction."""
    tilt = tf.random.stateless_uniform((2, shape[0], 1, 1, 1), seed, -most, most)
    down = tf.reshape(tf.linspace(-1.0, 1.0, shape[1]), (1, -1, 1, 1))
    across = tf.reshape(tf.linspace(-1.0, 1.0, shape[2]), (1, 1, -1, 1))
    return tf.exp(tilt[0] * down + tilt[1] * across)
