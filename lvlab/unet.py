"""The U-Net, and nothing but the network. Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28."""

import keras
from keras import layers, ops


def unet(
    filters: tuple[int, ...] = (32, 64, 128, 256, 512),
    size: int = 128,
    kernel_initializer: str = "glorot_uniform",
    precision: str = "float32",
    grid: int = 1,
    normalization: str = "none",
) -> keras.Model:
    """Build a U-Net: image (n, size, size, 1) in, probability of the cavity (n, size, size, 1) out.

    filters : filters of each level from the top down; `size` must be divisible by grid * 2 ** (levels - 1)
    precision : "float32" or "bfloat16" (the arithmetic; weights and output are float32 in both)
    grid : side of the squares of pixels that the U works on. Above 1 each square becomes one place with grid² channels;
        the last convolution gives back its pixels (sub-pixel convolution, Shi et al. 2016, doi:10.1109/CVPR.2016.207)
    normalization : "instance" shifts and stretches each feature map of each slice to a mean and a standard deviation
        that are learnt, before the ReLU (Ulyanov et al. 2016, arXiv:1607.08022); "none" does not
    """
    dtype = keras.DTypePolicy("mixed_bfloat16" if precision == "bfloat16" else "float32")

    def double_convolution(x, count, name):
        plain = normalization == "none"
        for step in (f"{name}a", f"{name}b"):
            x = layers.Conv2D(count, 3, padding="same", activation="relu" if plain else None, use_bias=plain,
                              kernel_initializer=kernel_initializer, dtype=dtype,
                              name=step if plain else f"{step}_convolution")(x)
            if not plain:
                x = layers.GroupNormalization(-1, dtype=dtype, name=f"{step}_normalization")(x)
                x = layers.Activation("relu", dtype=dtype, name=step)(x)
        return x

    side = size // grid
    image = x = keras.Input((size, size, 1), name="image")
    if grid > 1:
        x = ops.reshape(ops.swapaxes(ops.reshape(x, (-1, side, grid, side, grid)), 2, 3), (-1, side, side, grid**2))
    skips = []
    for level, count in enumerate(filters[:-1], start=1):
        x = double_convolution(x, count, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, dtype=dtype, name=f"pool{level}")(x)
    x = double_convolution(x, filters[-1], "bottom")
    for level, count in reversed(list(enumerate(filters[:-1], start=1))):
        x = layers.Conv2DTranspose(count, 2, strides=2, dtype=dtype, kernel_initializer=kernel_initializer,
                                   name=f"up{level}")(x)
        x = layers.Concatenate(dtype=dtype, name=f"skip{level}")([skips[level - 1], x])
        x = double_convolution(x, count, f"join{level}")
    if grid == 1:
        probability = layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="probability")(x)
    else:
        x = layers.Conv2D(grid**2, 3, padding="same", dtype="float32", name="squares")(x)
        x = ops.reshape(ops.swapaxes(ops.reshape(x, (-1, side, side, grid, grid)), 2, 3), (-1, size, size, 1))
        probability = layers.Activation("sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(image, probability, name="unet")
