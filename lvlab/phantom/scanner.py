"""From tissues to an image: contrast, texture, coils, point spread, artefacts, noise."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lvlab.phantom.anatomy import Tissue, drawer, is_wild
from lvlab.phantom.drawing import one_thread, smooth_field


class Brightness(NamedTuple):
    """A tissue's balanced steady-state signal relative to blood, usual and randomised, and how strongly
    it shows the fine and the coarse texture.
    """

    usual: tuple
    wider: tuple
    fine: float
    coarse: float


_TISSUES = {
    Tissue.BLOOD: Brightness((0.9, 1.1), (0.6, 1.1), 0.3, 0.8),
    Tissue.RV_BLOOD: Brightness((0.9, 1.15), (0.3, 1.2), 0.3, 1.0),
    Tissue.VESSEL: Brightness((0.8, 1.1), (0.2, 1.2), 0.3, 0.8),
    Tissue.MYOCARDIUM: Brightness((0.18, 0.36), (0.05, 0.5), 0.8, 0.8),
    Tissue.FAT: Brightness((0.7, 1.3), (0.0, 1.4), 0.6, 1.0),
    Tissue.MUSCLE: Brightness((0.15, 0.3), (0.02, 0.9), 1.2, 1.2),
    Tissue.MARROW: Brightness((0.3, 0.8), (0.0, 1.2), 1.5, 1.0),
    Tissue.LIVER: Brightness((0.2, 0.42), (0.02, 1.1), 0.8, 0.7),
    Tissue.STOMACH: Brightness((0.3, 0.9), (0.0, 1.2), 2.0, 2.0),
    Tissue.DECOY_A: Brightness((0.1, 0.5), (0.0, 1.2), 1.0, 1.5),
    Tissue.DECOY_B: Brightness((0.3, 0.8), (0.0, 1.2), 1.5, 1.5),
    Tissue.DECOY_C: Brightness((0.7, 1.1), (0.0, 1.2), 0.5, 1.0),
    Tissue.LUNG: Brightness((0.03, 0.12), (0.0, 0.3), 2.5, 2.5),
    Tissue.AIR: Brightness((0.0, 0.01), (0.0, 0.1), 0.0, 0.0),
    Tissue.FLUID: Brightness((0.9, 1.4), (0.1, 1.4), 0.3, 0.5),
    Tissue.VOID: Brightness((0.3, 0.7), (0.1, 0.8), 0.5, 1.0)}
_TEXTURE = np.array([(t.fine, t.coarse) for t in _TISSUES.values()], np.float32).T
# Looks besides the usual one, and how often the stream shows them.
_LOOKS = {"steady state": 0.62, "fat suppressed": 0.12, "gradient echo": 0.13, "contrast agent": 0.13}


class Coil(NamedTuple):
    """Brightness over the image: its slope across and down (1/pixel) and its curvature."""

    across: float
    down: float
    curvature: float


@dataclass(frozen=True, eq=False)
class Scanner:
    """One scanner and protocol; lengths in mm or pixels as named, shares of the blood's signal else."""

    spacing_mm: float
    thickness_mm: float
    signal: np.ndarray        # per tissue
    texture: float
    fine_px: float
    coarse_px: float
    opposed: bool             # fat and water cancel where they share a pixel: the black outline
    coil: Coil
    shading: float            # depth of smooth uneven brightness
    blur_px: float
    cutoff: float             # share of k-space kept; under 1 the edges ring
    banding: float            # depth of the dark bands
    band_sharpness: float
    ghost: float
    noise: float
    gamma: float
    full_scale: int           # the magnitudes' largest value: 255 or a 12-bit one


def sample_scanner(rng, variety="realistic"):
    """Draw a scanner; `variety` is "realistic" or "wild" (far wider; a third of it realistic)."""
    wild = is_wild(rng, variety)
    between = drawer(rng, wild)
    signal = np.array([between(t.usual, t.wider) for t in _TISSUES.values()], np.float32)
    if wild:
        signal = _look(rng, signal, str(rng.choice(list(_LOOKS), p=list(_LOOKS.values()))))
    signal[Tissue.MYOCARDIUM] = min(signal[Tissue.MYOCARDIUM], 0.8 * signal[Tissue.BLOOD])
    direction = np.exp(2j * np.pi * rng.random()) * between((0.0, 0.010), (0.0, 0.016))
    return Scanner(
        spacing_mm=2 ** between((0.26, 0.85), (-0.62, 1.14)), thickness_mm=between((6, 10), (5, 12)), signal=signal,
        texture=between((0.06, 0.14), (0.0, 0.22)),
        fine_px=between((1.2, 2), (1, 3)), coarse_px=between((4, 9), (3, 16)),
        opposed=bool(rng.random() < (0.5 if wild else 0.85)),
        coil=Coil(direction.real, direction.imag, between((-3e-5, 3e-5), (-1e-4, 1e-4))),
        shading=between((0.05, 0.15), (0.0, 0.4)), blur_px=between((0.6, 1.05), (0.35, 1.5)),
        cutoff=between((0.75, 1.0), (0.55, 1.0)), banding=max(0, between((-0.4, 0.3), (-0.5, 0.8))),
        band_sharpness=between((3, 4), (2, 12)),
        ghost=max(0, between((-0.03, 0.03), (-0.05, 0.08))), noise=between((0.01, 0.035), (0.0, 0.07)),
        gamma=between((0.9, 1.15), (0.65, 1.5)),
        full_scale=int(rng.choice([255, 2000])) if wild else int(rng.uniform(700, 2500)))


def _look(rng, signal, look):
    """Return the signals under another sequence or after contrast agent; the ventricles mostly alike."""
    signal = signal.copy()
    if rng.random() < 0.7:
        signal[Tissue.RV_BLOOD] = signal[Tissue.BLOOD] * rng.uniform(0.85, 1.2)
    if look == "fat suppressed":
        signal[Tissue.FAT] *= rng.uniform(0, 0.3)
    elif look == "gradient echo":
        signal[Tissue.BLOOD] = rng.uniform(0.5, 0.85)
        signal[Tissue.MYOCARDIUM] = signal[Tissue.BLOOD] * rng.uniform(0.45, 0.8)
        signal[Tissue.RV_BLOOD] = signal[Tissue.BLOOD] * rng.uniform(0.8, 1.2)
    elif look == "contrast agent":
        signal[Tissue.MYOCARDIUM] = signal[Tissue.BLOOD] * rng.uniform(0.4, 0.75)
    return signal


@one_thread
def acquire(scanner, tissues, rng):
    """Return the magnitude image (h, w), uint16, of the tissue shares (t, h, w).

    Water and fat pass the point spread apart: opposed, they cancel where they meet. Rician noise
    (Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618).
    """
    shape = tissues.shape[1:]
    water, fat = _signals(scanner, tissues, rng)
    field = _coil(scanner, shape, rng)
    rows, cols = (_point_spread(n, scanner.blur_px, scanner.cutoff) for n in shape)
    mixed = water - fat if scanner.opposed else water + fat
    image = rows @ (mixed * field) @ cols.T
    image = np.abs(image)
    if scanner.ghost:
        image = image + scanner.ghost * np.roll(image, shape[0] // 2 - 9, axis=0)
    noise = scanner.noise * rng.standard_normal((2, *shape), dtype=np.float32)
    image = np.sqrt((image + noise[0]) ** 2 + noise[1] ** 2) ** np.float32(scanner.gamma)
    return _digitise(scanner, image)


def _signals(scanner, tissues, rng):
    """Signal of water and of fat (h, w), with texture and banding."""
    shape = tissues.shape[1:]
    flat = tissues.reshape(len(Tissue), -1)
    fine, coarse = (scanner.texture * _TEXTURE @ flat).reshape(2, *shape)
    uneven = 1 + (fine * smooth_field(rng, shape, scanner.fine_px)
                  + coarse * smooth_field(rng, shape, scanner.coarse_px))
    uneven = np.maximum(uneven, 0.05)
    if scanner.banding:
        band = scanner.band_sharpness * smooth_field(rng, shape, 45) + 2.5
        uneven *= 1 - scanner.banding * np.exp(-band ** 2)
    fat = scanner.signal[Tissue.FAT] * tissues[Tissue.FAT]
    water = (scanner.signal @ flat).reshape(shape) - fat
    return water * uneven, fat * uneven


def _coil(scanner, shape, rng):
    """Smooth brightness over the image (h, w), 1 at its centre but for the shading."""
    y, x = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape)
    across, down, curvature = scanner.coil
    tilt = down * y[:, None] + across * x + curvature * (y[:, None] ** 2 + x ** 2)
    uneven = tilt + scanner.shading * smooth_field(rng, shape, 40)
    return np.exp(np.clip(uneven, -1.5, 1.5)).astype(np.float32)


def _point_spread(pixels, blur_px, cutoff):
    """Matrix (pixels, pixels) that blurs a line and rings it as a truncated k-space does."""
    away = np.arange(1 - pixels, pixels, dtype=np.float32)
    kernel = np.exp(-0.5 * (away / np.float32(blur_px)) ** 2)
    if cutoff < 0.95:
        kernel = np.sinc(np.float32(cutoff) * away) * np.exp(-0.5 * (away / 5) ** 2)
    rows = sliding_window_view(kernel, pixels)[::-1]
    return rows / rows.sum(axis=1, keepdims=True)


def _digitise(scanner, image):
    """Scale so that the brightest percent fills the range, as scanners' integer magnitudes do."""
    top = np.partition(image.ravel(), -image.size // 200)[-image.size // 200]
    return np.clip(np.rint(image * (0.8 * scanner.full_scale / max(top, 1e-6))), 0, 4095).astype(np.uint16)
