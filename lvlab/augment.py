"""Random changes of image/mask pairs, inside the TensorFlow graph.

Turning, flipping, zooming and shifting are composed into one affine map and done by one
resampling: four separate layers would cost three times as much and blur four times.
"""

import math

from lvlab.backend import tf

ROTATION = math.pi      # radians either way: hearts lie at every angle between scanners
ZOOM = 0.25             # a factor of 1 ± this
SHIFT = 0.12            # of the image's side
GAMMA = 0.5             # exponent between exp(-this) and exp(this)
NOISE = 0.04            # standard deviation at most, of the grey range


def augment(images, masks, seed):
    """Return changed copies of a batch: float32 (b, h, w, 1) images in [0, 1] and masks in {0, 1}.

    seed : int32 tensor (2,); the same seed gives the same change.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2), num=2)
    images, masks = warp(images, masks, seeds[0])
    return change_intensity(images, seeds[1]), masks


def warp(images, masks, seed):
    """Turn, flip, zoom and shift images and masks alike, by one resampling; edges are mirrored."""
    shape = tf.shape(images)
    transforms = _affine(shape[0], tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32), seed)
    both = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.concat([images, masks], -1), transforms=transforms, output_shape=shape[1:3],
        fill_value=0.0, interpolation="BILINEAR", fill_mode="REFLECT")
    return both[..., :1], tf.cast(both[..., 1:] >= 0.5, tf.float32)


def _affine(count, height, width, seed):
    """Return (count, 8) maps from output to input pixels, each about the image's centre."""
    draw = tf.random.stateless_uniform((6, count), seed, -1, 1)
    angle, zoom, stretch = draw[0] * ROTATION, 1 + draw[1] * ZOOM, 1 + draw[2] * ZOOM / 3
    flip = tf.where(draw[3] < 0, -1.0, 1.0)
    a, b = tf.cos(angle) * zoom * stretch * flip, -tf.sin(angle) * zoom / stretch
    c, d = tf.sin(angle) * zoom * stretch * flip, tf.cos(angle) * zoom / stretch
    x, y = (width - 1) / 2, (height - 1) / 2
    right, down = draw[4] * SHIFT * width, draw[5] * SHIFT * height
    zero = tf.zeros_like(angle)
    return tf.stack([a, b, x - a * x - b * y + right, c, d, y - c * x - d * y + down, zero, zero], -1)


def change_intensity(images, seed):
    """Change gamma, contrast, brightness and noise of each image; the result stays in [0, 1]."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2), num=2)
    draw = tf.random.stateless_uniform((4, tf.shape(images)[0], 1, 1, 1), seeds[0], -1, 1)
    images = tf.pow(images, tf.exp(draw[0] * GAMMA))
    images = (images - 0.5) * (1 + 0.2 * draw[1]) + 0.5 + 0.1 * draw[2]
    noise = tf.random.stateless_normal(tf.shape(images), seeds[1])
    return tf.clip_by_value(images + noise * NOISE * tf.maximum(draw[3], 0), 0, 1)
