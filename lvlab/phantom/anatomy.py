"""A beating heart in a thorax, as formulas in millimetres, and its tissues in one short-axis slab.

The heart's own frame: x to the lateral wall, y to the diaphragm, z from the mitral ring (0, at
end-diastole) to the apex. Points of a plane are complex numbers x + iy, so an angle round the
ventricle is a unit complex number and a wavy outline a short Fourier series in it.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Tissue(IntEnum):
    """What a pixel may hold; the number is its place in a stack of tissue shares."""

    BLOOD = 0
    RV_BLOOD = 1
    VESSEL = 2
    MYOCARDIUM = 3
    FAT = 4
    MUSCLE = 5
    MARROW = 6
    LIVER = 7
    STOMACH = 8
    DECOY_A = 9
    DECOY_B = 10
    DECOY_C = 11
    LUNG = 12
    AIR = 13


GROUPS = ("normal", "infarct", "hypertrophic")

# Per group: cavity radius, wall, long axis (mm at end-diastole) and ejection fraction.
_USUAL = {"normal": ((20, 26), (6.5, 10), (78, 95), (0.54, 0.70)),
          "infarct": ((27, 37), (6, 9.5), (85, 105), (0.15, 0.40)),
          "hypertrophic": ((17, 23), (12, 19), (74, 92), (0.60, 0.80))}
_WIDER = {"normal": ((14, 30), (4.5, 13), (60, 105), (0.40, 0.75)),
          "infarct": ((22, 40), (4.5, 12), (75, 115), (0.08, 0.45)),
          "hypertrophic": ((11, 24), (11, 24), (60, 100), (0.55, 0.88))}


class Hump(NamedTuple):
    """A smooth hump round the ventricle: where, how narrow, how high (mm, or a share)."""

    angle: float
    sharpness: float
    height: float


class Sponge(NamedTuple):
    """The non-compacted layer inside the wall: where, how narrow, how deep (mm), its share of muscle."""

    angle: float
    sharpness: float
    depth: float
    muscle: float


class Papillary(NamedTuple):
    """A papillary muscle: its angle, radius, gap to the wall (mm) and breadth along the wall (ratio)."""

    angle: float
    radius: float
    gap: float
    breadth: float


class Outflow(NamedTuple):
    """The outflow tract: its angle, the share of the long axis it opens, the aortic root's radius."""

    angle: float
    opens: float
    root: float


class RightVentricle(NamedTuple):
    """The crescent round the septum; `end` is the share of the long axis at which it closes."""

    depth: float
    angle: float
    sharpness: float
    end: float
    wall: float
    ripple: np.ndarray
    trabeculae: float         # 0..1


class FatRim(NamedTuple):
    """Fat on the heart: its mean thickness, the ripple in it, and pads."""

    thickness: float
    ripple: np.ndarray
    pads: tuple[Hump, ...]


class Chest(NamedTuple):
    """The chest wall: from the cavity's axis to the ribs, its layers, and the body's outline."""

    angle: float
    distance: float
    ribs: float
    muscle: float
    fat: float
    long: float
    short: float
    ripple: np.ndarray


class Mediastinum(NamedTuple):
    """The patchy tissue behind the sternum: its angle and its depth under the ribs."""

    angle: float
    depth: float


class Diaphragm(NamedTuple):
    """A dome: distance, curvature per mm, slope, rise per mm of z."""

    distance: float
    curvature: float
    slope: float
    rise: float


class Stomach(NamedTuple):
    """A bag: its x, how deep below the diaphragm, its radius and aspect."""

    across: float
    down: float
    radius: float
    aspect: float


class Disc(NamedTuple):
    """A round thing across the planes, such as the aorta: centre (complex) and radius."""

    centre: complex
    radius: float


class Decoy(NamedTuple):
    """A round thing that is no heart: centre (complex), radius, aspect, ripple, tissue."""

    centre: complex
    radius: float
    aspect: float
    ripple: np.ndarray
    tissue: Tissue


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One patient: lengths in mm at end-diastole, angles in radians, ripples relative.

    `offset` is where the mid-ventricular cavity lies from the image's centre (complex, image frame).
    """

    group: str
    ejection_fraction: float
    cavity_radius: float
    wall: float
    length: float
    bluntness: float          # exponent of the ellipsoid; 2 is a true one
    shortening: float         # share of the long axis lost at end-systole
    tilt: complex             # drift of the axis across the planes, mm per mm
    endo_ripple: np.ndarray
    wall_ripple: np.ndarray
    trabeculae: float         # depth of the trabeculated rim
    trabecular_ripple: np.ndarray
    sponge: Sponge
    papillaries: tuple[Papillary, ...]
    scar: Hump                # height: how much of the contraction is lost, 0..1
    outflow: Outflow
    right: RightVentricle
    fat: FatRim
    chest: Chest
    mediastinum: Mediastinum
    diaphragm: Diaphragm
    stomach: Stomach
    aorta: Disc
    spine: Disc
    lung_vessels: float
    decoys: tuple[Decoy, ...]
    rotation: float
    mirrored: bool
    offset: complex
    seed: int                 # of the textures


class Composition(NamedTuple):
    """What one slab holds: shares of each `Tissue` (t, h, w), summing to 1, and the cavity (h, w) bool."""

    tissues: np.ndarray
    mask: np.ndarray


class Chamber(NamedTuple):
    """The left ventricle at one phase, mm: base plane, cavity length, mid radius, mid wall."""

    base: float
    length: float
    radius: float
    wall: float


def sample_anatomy(rng, variety="realistic", group=None):
    """Draw a patient; `variety` is "realistic" or "wild" (far wider; a third of it realistic)."""
    wild = _is_wild(rng, variety)
    group = group or str(rng.choice(GROUPS, p=[0.35, 0.4, 0.25]))
    between = _drawer(rng, wild)
    radius, wall, length, ejection = (
        rng.uniform(*r) for r in (_WIDER if wild else _USUAL)[group])
    parts = (_left_ventricle(rng, between, group, ejection) | _right_heart(rng, between, radius)
             | _thorax(rng, between, radius + wall) | _pose(rng, wild))
    return Anatomy(group=group, ejection_fraction=ejection, cavity_radius=radius, wall=wall,
                   length=length, decoys=_decoys(rng, wild, radius + wall), **parts)


def _is_wild(rng, variety):
    if variety not in ("realistic", "wild"):
        raise ValueError(f"variety {variety!r}: choose 'realistic' or 'wild'")
    return variety == "wild" and rng.random() > 1 / 3


def _drawer(rng, wild):
    """Return between(usual, wider): uniform in the first range, or in the second where wild."""
    return lambda usual, wider: rng.uniform(*(wider if wild else usual))


def _ripple(rng, size, first, last):
    """Draw Fourier coefficients for waves first..last round a circle, of RMS `size` in all."""
    orders = np.arange(1, last + 1)
    spread = np.where(orders >= first, 1 / orders, 0)
    draw = (rng.normal(size=last) + 1j * rng.normal(size=last)) * spread
    return (size * draw / np.sqrt((spread ** 2).sum())).astype(np.complex64)


def _left_ventricle(rng, between, group, ejection):
    scarred = group == "infarct" and rng.random() < 0.8
    big = 1.25 if group == "hypertrophic" else 1.0
    count = rng.choice([0, 1, 2, 2, 2, 3])
    angles = np.array([0.9, -0.8, 0.1])[:count] + rng.normal(0, 0.35, count)
    muscles = tuple(Papillary(a, big * between((3.0, 6.5), (2.0, 9.0)), rng.uniform(-5, 4),
                              rng.uniform(0.9, 1.8)) for a in angles)
    uneven = _ripple(rng, between((0.06, 0.13), (0.02, 0.2)), 1, 4)
    if group == "hypertrophic":
        uneven[0] -= rng.uniform(0, 0.35)
    return dict(
        bluntness=between((2.0, 2.6), (1.8, 3.2)),
        shortening=min(between((0.10, 0.16), (0.04, 0.18)), 0.6 * ejection),
        tilt=complex(*rng.normal(0, 0.06, 2)),
        endo_ripple=_ripple(rng, between((0.015, 0.045), (0.0, 0.08)), 2, 4),
        sponge=Sponge(rng.normal(0, 1), rng.uniform(0, 2.5), between((0, 5), (0, 9)), rng.uniform(0.35, 1.0)),
        wall_ripple=uneven, trabeculae=between((0.5, 3.0), (0.5, 7.5)),
        trabecular_ripple=_ripple(rng, 0.45, 4, 13), papillaries=muscles,
        scar=Hump(rng.uniform(-np.pi, np.pi), rng.uniform(1.5, 5), scarred * rng.uniform(0.3, 0.7)),
        outflow=Outflow(-2.2 + rng.normal(0, 0.3), rng.uniform(0.1, 0.28), between((9, 13), (6, 16))))


def _right_heart(rng, between, radius):
    pads = (Hump(-2.2, rng.uniform(2, 8), between((-4, 16), (-8, 25))),
            Hump(1.9, rng.uniform(2, 8), between((-4, 16), (-8, 25))),
            Hump(rng.uniform(-np.pi, np.pi), rng.uniform(2, 8), between((-6, 10), (-8, 25))))
    right = RightVentricle(
        depth=between((20, 45), (4, 60)), angle=np.pi + 0.25 + rng.normal(0, 0.25),
        sharpness=between((1.8, 3.6), (0.8, 5)), end=between((0.75, 1.0), (0.4, 1.05)),
        wall=between((2.0, 3.5), (1.0, 6.0)), ripple=_ripple(rng, 0.2, 1, 6),
        trabeculae=rng.uniform(0.1, 0.9))
    return dict(right=right, fat=FatRim(between((0.0, 2.0), (-2, 5)), _ripple(rng, 1.2, 1, 8), pads))


def _thorax(rng, between, heart):
    distance = between((2, 24), (0, 55)) + heart
    floor = between((-4, 12), (-6, 45)) + heart
    chest = Chest(
        angle=-2.3 + rng.normal(0, 0.3), distance=distance, ribs=between((8, 14), (4, 18)),
        muscle=between((2, 14), (0, 22)), fat=between((6, 28), (2, 45)),
        long=between((150, 190), (110, 220)), short=between((105, 135), (80, 170)),
        ripple=_ripple(rng, 0.03, 2, 6))
    return dict(
        chest=chest, mediastinum=Mediastinum(rng.uniform(-3.6, -2.2), rng.uniform(-30, 45)),
        diaphragm=Diaphragm(floor, between((0.001, 0.006), (-0.002, 0.01)), rng.normal(0, 0.25),
                            rng.uniform(0.0, 0.2)),
        stomach=Stomach(rng.uniform(5, 60), rng.uniform(18, 35), between((12, 28), (8, 40)),
                        rng.uniform(0.5, 1)),
        aorta=Disc(np.complex64(rng.uniform(30, 90) + 1j * rng.uniform(55, 95)), rng.uniform(9, 14)),
        spine=Disc(np.complex64(rng.uniform(-20, 40) + 1j * rng.uniform(100, 130)), rng.uniform(18, 25)),
        lung_vessels=between((0.0, 1.0), (-0.5, 1.5)))


def _pose(rng, wild):
    quarter = rng.choice([0, 0, 0, 1, 3]) * np.pi / 2
    turn = rng.uniform(-np.pi, np.pi) if wild else quarter + rng.normal(0, 0.25)
    reach = 30 if wild else 22
    away = reach * np.sqrt(rng.random()) * np.exp(2j * np.pi * rng.random())
    return dict(rotation=turn, mirrored=bool(wild and rng.random() < 0.5), offset=complex(away),
                seed=int(rng.integers(2 ** 31)))


def _decoys(rng, wild, heart):
    """Draw blobs of other tissue round the heart: none to two where realistic, up to six where wild."""
    blobs = []
    for _ in range(rng.integers(0, 7 if wild else 3)):
        radius = rng.uniform(5, 30) if wild else rng.uniform(5, 16)
        away = heart + radius + rng.uniform(5, 60)
        angle = rng.uniform(-np.pi, np.pi) if wild else rng.uniform(0.3, 2.2)
        tissue = Tissue(rng.choice([Tissue.DECOY_A, Tissue.DECOY_B, Tissue.DECOY_C]))
        blobs.append(Decoy(np.complex64(away * np.exp(1j * angle)), radius, rng.uniform(0.4, 1.0),
                           _ripple(rng, 0.12, 1, 5), tissue))
    return tuple(blobs)


def chamber(anatomy, phase):
    """Return the left ventricle at `phase` (0 end-diastole, 1 end-systole).

    The cavity loses the ejection fraction, partly in length, mostly in radius; the wall thickens so that
    the ring of muscle keeps its volume.
    """
    keep_length = 1 - anatomy.shortening * phase
    keep_volume = 1 - anatomy.ejection_fraction * phase
    radius = anatomy.cavity_radius * np.sqrt(keep_volume / keep_length)
    ring = (anatomy.cavity_radius + anatomy.wall) ** 2 - anatomy.cavity_radius ** 2
    wall = np.sqrt(radius ** 2 + ring / keep_length) - radius
    lost = anatomy.length * (1 - keep_length)
    return Chamber(0.8 * lost, anatomy.length * keep_length, radius, wall)


def cavity_radius_mm(anatomy, z_mm, phase):
    """Return the cavity's mean radius at `z_mm`; 0 above the base and below the apex."""
    heart = chamber(anatomy, phase)
    share = (np.asarray(z_mm) - heart.base) / heart.length
    radius = heart.radius * _profile(share, anatomy.bluntness)
    return np.where((share >= 0) & (share <= 1), radius, 0.0)


def cavity_volume_ml(anatomy, phase):
    """Return the cavity's volume, by summing discs."""
    z = np.linspace(-10, anatomy.length + 10, 2001)
    return float(np.pi * (cavity_radius_mm(anatomy, z, phase) ** 2).sum() * (z[1] - z[0]) / 1000)


def _profile(share, bluntness, stretch=1.0):
    """Radius of a truncated ellipsoid, 1 at its widest, over the share 0 (base) to 1 (apex)."""
    along = np.abs(1.4 * share - 0.4) / stretch
    return np.sqrt(np.clip(1 - along ** bluntness, 0, None))


def _wave(unit, coefficients):
    """Sum a Fourier series at unit complex numbers."""
    total = coefficients[-1] * unit
    for coefficient in coefficients[-2::-1]:
        total += coefficient
        total *= unit
    return total.real


def _bump(unit, angle, sharpness):
    """A smooth hump round the circle, 1 at `angle`."""
    return np.exp(sharpness * ((unit * np.complex64(np.exp(-1j * angle))).real - 1))


@lru_cache(maxsize=256)
def _spline(pixels, knots):
    """Weights (pixels, knots) of smooth bumps over a line, each row of unit length."""
    centres = np.linspace(-0.5, pixels - 0.5, knots, dtype=np.float32)
    width = max(centres[1] - centres[0], 1.0)
    weights = np.exp(-((np.arange(pixels, dtype=np.float32)[:, None] - centres) / width) ** 2)
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def smooth_field(rng, shape, scale_px):
    """Return Gaussian noise (h, w) of unit variance, smooth over `scale_px` pixels."""
    rows, cols = (_spline(n, max(3, round(n / scale_px) + 1)) for n in shape)
    knots = rng.standard_normal((rows.shape[1], cols.shape[1]), dtype=np.float32)
    return rows @ knots @ cols.T


class _Canvas:
    """Collects tissues front to back: what is painted first hides what comes later."""

    def __init__(self, planes, shape, edge_mm):
        self.clear = np.ones((planes, *shape), np.float32)
        self.tissues = np.zeros((len(Tissue), *shape), np.float32)
        self.edge_mm = np.float32(edge_mm)

    def inside(self, distance_mm, edge=1.0):
        """Soft occupancy of where a signed distance is negative; the edge is one pixel wide."""
        return np.clip(0.5 - distance_mm / (self.edge_mm * np.float32(edge)), 0, 1)

    def paint(self, tissue, occupancy):
        seen = self.clear * occupancy
        self.tissues[tissue] += seen.mean(axis=0)
        self.clear -= seen

    def flatten(self):
        """From here on paint one plane instead of several: the thorax hardly changes across a slab."""
        self.clear = self.clear.mean(axis=0, keepdims=True)


def render(anatomy, z_mm, phase, shape=(128, 128), spacing_mm=1.4, thickness_mm=8.0, planes=3):
    """Return the `Composition` of the slab round `z_mm` at `phase` (0 end-diastole, 1 end-systole).

    The heart is averaged over `planes` planes across the slab: true partial volume. The mask is the
    endocardium's inside, papillary muscles and trabeculae included, where at least half of the slab is.
    """
    rng = np.random.default_rng([anatomy.seed, int(round(10 * z_mm)) % 100_000])
    points = _points(anatomy, shape, spacing_mm)
    depths = z_mm + thickness_mm * ((np.arange(planes) + 0.5) / planes - 0.5)
    canvas = _Canvas(planes, shape, spacing_mm)
    cavity = _paint_heart(canvas, anatomy, points, depths.astype(np.float32), phase, rng)
    canvas.flatten()
    _paint_thorax(canvas, anatomy, points, z_mm, rng)
    return Composition(canvas.tissues, cavity >= 0.5)


def _points(anatomy, shape, spacing_mm):
    """The pixels' places in the heart's frame, mm, complex (h, w)."""
    rows, cols = ((np.arange(n) - (n - 1) / 2) * spacing_mm for n in shape)
    image = (cols[None, :] + 1j * rows[:, None]) - anatomy.offset
    turned = image * np.exp(-1j * anatomy.rotation)
    return (turned.conj() if anatomy.mirrored else turned).astype(np.complex64)


def _paint_heart(canvas, anatomy, points, depths, phase, rng):
    """Paint the heart plane by plane; return the cavity's occupancy averaged over the slab (h, w)."""
    heart = chamber(anatomy, phase)
    axis = anatomy.tilt * (depths - anatomy.length / 2)
    place = points - axis.astype(np.complex64)[:, None, None]
    away = np.abs(place)
    unit = place / np.maximum(away, np.float32(1e-3))
    share = ((depths - heart.base) / heart.length)[:, None, None].astype(np.float32)
    endo, epi = _left_walls(anatomy, heart, depths[:, None, None], share, unit)
    present = np.clip(share * heart.length / 2 + 0.5, 0, 1)
    cavity = canvas.inside(away - endo) * present * (share <= 1)
    _paint_cavity(canvas, anatomy, heart, place, away, unit, endo, share, phase, cavity)
    _paint_base(canvas, anatomy, place, away, unit, endo, share, heart)
    canvas.paint(Tissue.MYOCARDIUM, canvas.inside(away - epi) * present)
    outer = _paint_right_ventricle(canvas, anatomy, away, unit, epi, share, phase, rng)
    pads = sum(depth * _bump(unit, angle, sharp) for angle, sharp, depth in anatomy.fat.pads if depth > 0)
    rim = anatomy.fat.thickness * (1 + _wave(unit, anatomy.fat.ripple)) + pads
    canvas.paint(Tissue.FAT, canvas.inside(away - outer - np.maximum(rim, 0)))
    return cavity.mean(axis=0)


def _left_walls(anatomy, heart, z, share, unit):
    """Radii (planes, h, w) of the endocardium and the epicardium in every direction."""
    angle, sharpness, severity = anatomy.scar
    scar = severity * _bump(unit, angle, sharpness) if severity else np.float32(0)
    mean = heart.radius * _profile(np.clip(share, 0, 1), anatomy.bluntness)
    at_rest = anatomy.cavity_radius * _profile(np.clip(z / anatomy.length, 0, 1), anatomy.bluntness)
    endo = mean + scar * np.maximum(at_rest - mean, 0) * (share < 0.95)
    endo = endo * (1 + _wave(unit * np.exp(1j * 0.3 * share), anatomy.endo_ripple))
    stretch = 1 + 1.1 * heart.wall / heart.length
    outer = (heart.radius + heart.wall) * _profile(np.clip(share, 0, None), anatomy.bluntness, stretch)
    wall = (outer - mean) * np.clip(1 + _wave(unit, anatomy.wall_ripple), 0.45, 2) * (1 - scar)
    return endo.astype(np.float32), (endo + wall).astype(np.float32)


def _paint_cavity(canvas, anatomy, heart, place, away, unit, endo, share, phase, cavity):
    """Papillary muscles, the trabeculated rim and, in what they leave, blood."""
    grown = 1 + 0.15 * phase
    for angle, radius, gap, breadth in anatomy.papillaries:
        stretch = np.sqrt(np.clip(1 - ((share - 0.55) / 0.4) ** 2, 0, 1))
        size = np.minimum(radius * grown, 0.5 * heart.radius) * stretch
        middle = np.maximum(endo - size - gap * (1 - 0.7 * phase), 0.3 * endo)
        seen = place * np.complex64(np.exp(-1j * angle)) - middle
        distance = np.abs(seen.real + 1j * seen.imag / np.float32(breadth))
        waves = 1 + 0.5 * _wave(unit * np.complex64(np.exp(1j * angle)), anatomy.trabecular_ripple)
        canvas.paint(Tissue.MYOCARDIUM, canvas.inside(distance - size * waves) * cavity * (size > 0.5))
    depth = anatomy.trabeculae * (0.4 + share) * grown
    rough = depth * np.maximum(0.3 + _wave(unit * np.exp(2j * share), anatomy.trabecular_ripple), 0)
    angle, sharpness, layer, muscle = anatomy.sponge
    squeezed = min(anatomy.cavity_radius / heart.radius, 1.7)
    rough += max(layer, 0) * squeezed * (0.5 + 0.6 * share) * _bump(unit, angle, sharpness)
    rough = np.minimum(rough, 0.45 * endo)
    canvas.paint(Tissue.BLOOD, canvas.inside(away - endo + rough) * cavity)
    canvas.paint(Tissue.MYOCARDIUM, np.float32(muscle) * cavity)
    canvas.paint(Tissue.BLOOD, cavity)


def _paint_base(canvas, anatomy, place, away, unit, endo, share, heart):
    """Outflow tract in the most basal planes; left atrium and aortic root above the ring."""
    angle, opens, root = anatomy.outflow
    if share.min() > opens:
        return
    opening = np.clip((opens - share) / 0.1, 0, 1)
    near = heart.radius * _profile(np.clip(share, 0, 1), anatomy.bluntness)
    centre = (near + np.where(share < 0, 1.3, 0.45) * root) * np.complex64(np.exp(1j * angle))
    tract = np.abs(place - centre) - root
    canvas.paint(Tissue.BLOOD, canvas.inside(tract) * opening)
    canvas.paint(Tissue.MUSCLE, canvas.inside(tract - 2) * opening)
    atrium = away - 0.9 * endo * (1 + 0.15 * (unit * np.complex64(np.exp(-1j))).real)
    above = (share < 0).astype(np.float32)
    canvas.paint(Tissue.VESSEL, canvas.inside(atrium) * above)
    canvas.paint(Tissue.MUSCLE, canvas.inside(atrium - 2.5) * above)


def _paint_right_ventricle(canvas, anatomy, away, unit, epi, share, phase, rng):
    """The crescent round the septum; return the radii of the heart's outside."""
    right = anatomy.right
    squeezed = 1 - 0.5 * anatomy.ejection_fraction * phase
    reach = np.sqrt(np.clip(1 - (np.maximum(share, 0) / right.end) ** 2, 0, 1))
    hump = _bump(unit, right.angle + 0.5 * (share - 0.4), right.sharpness)
    depth = right.depth * squeezed * reach * (1 + _wave(unit, right.ripple))
    depth = depth * np.clip(1.25 * hump - 0.25, 0, 1)
    epi = np.where(share > 0, epi, 0.95 * epi)
    free_wall = epi + depth
    room = depth > 1
    bands = smooth_field(rng, away.shape[1:], 3.5) - 2.4 + 1.6 * right.trabeculae * share
    canvas.paint(Tissue.MYOCARDIUM, canvas.inside(away - free_wall) * room * np.clip(2 * bands, 0, 0.8))
    canvas.paint(Tissue.RV_BLOOD, canvas.inside(away - free_wall) * room)
    outer = free_wall + right.wall * np.clip(depth / 4, 0, 1)
    canvas.paint(Tissue.MYOCARDIUM, canvas.inside(away - outer))
    return outer


def _paint_thorax(canvas, anatomy, points, z_mm, rng):
    """Everything round the heart, one plane: chest wall, abdomen, aorta, spine, lungs, air."""
    _paint_decoys(canvas, anatomy, points)
    _paint_chest_wall(canvas, anatomy, points, z_mm, rng)
    _paint_mediastinum(canvas, anatomy, points, rng)
    _paint_abdomen(canvas, anatomy, points, z_mm, rng)
    for tissue, (centre, radius), rim in ((Tissue.VESSEL, anatomy.aorta, 2.0), (Tissue.MARROW, anatomy.spine, 3)):
        distance = np.abs(points - centre) - radius
        canvas.paint(tissue, canvas.inside(distance))
        canvas.paint(Tissue.MUSCLE, canvas.inside(distance - rim))
    vessels = smooth_field(rng, points.shape, 1.7) - 3.0 + 0.7 * anatomy.lung_vessels
    canvas.paint(Tissue.VESSEL, np.clip(0.8 * (vessels + 0.6 * smooth_field(rng, points.shape, 14)), 0, 0.8))
    canvas.paint(Tissue.LUNG, 1.0)


def _paint_mediastinum(canvas, anatomy, points, rng):
    """Fat, vessels and soft tissue, all in patches, behind the sternum and beside the right ventricle."""
    (angle, depth), patches = anatomy.mediastinum, smooth_field(rng, points.shape, 5)
    along = (points * np.complex64(np.exp(-1j * angle))).real
    there = canvas.inside(anatomy.chest.distance - depth - along + 4 * smooth_field(rng, points.shape, 9))
    canvas.paint(Tissue.FAT, there * np.clip(0.8 * patches, 0, 1))
    canvas.paint(Tissue.VESSEL, there * np.clip(smooth_field(rng, points.shape, 3) - 1.2, 0, 0.8))
    canvas.paint(Tissue.MUSCLE, there * np.clip(0.9 - patches, 0, 1))


def _paint_decoys(canvas, anatomy, points):
    for centre, radius, aspect, ripple, tissue in anatomy.decoys:
        place = points - centre
        place = place.real + 1j * place.imag / np.float32(aspect)
        away = np.abs(place)
        waves = 1 + _wave(place / np.maximum(away, np.float32(1e-3)), ripple)
        canvas.paint(tissue, canvas.inside(away - radius * waves))


def _paint_chest_wall(canvas, anatomy, points, z_mm, rng):
    """Layers by depth under the skin: fat, muscle, ribs between their muscles; air outside."""
    _, distance, ribs, muscle, fat, long, short, ripple = anatomy.chest
    inward = np.exp(1j * anatomy.chest.angle)
    near = distance - 0.25 * (z_mm - anatomy.length / 2)
    middle = (near + ribs + muscle + fat - short) * inward
    place = (points - np.complex64(middle)) * np.complex64(1j / inward)
    scaled = place.real / long + 1j * place.imag / short
    ratio = np.abs(scaled)
    unit = (scaled / np.maximum(ratio, 1e-3)).astype(np.complex64)
    depth = (1 - ratio * (1 + _wave(unit, ripple))) * np.float32(short)
    wavy = depth + 1.5 * smooth_field(rng, points.shape, 12)
    canvas.paint(Tissue.AIR, canvas.inside(depth))
    canvas.paint(Tissue.MUSCLE, canvas.inside(depth - 1.5))
    canvas.paint(Tissue.FAT, canvas.inside(wavy - fat))
    streaks = np.clip(smooth_field(rng, points.shape, 4) - 0.8, 0, 1)
    canvas.paint(Tissue.FAT, canvas.inside(wavy - fat - muscle) * streaks)
    spaced = _wave(unit ** 12, ripple[:1] + 1)
    bone = np.abs(depth - fat - muscle - ribs / 2) - 0.45 * ribs * spaced
    canvas.paint(Tissue.MARROW, canvas.inside(bone, 2))
    canvas.paint(Tissue.MUSCLE, canvas.inside(wavy - fat - muscle - 0.8 * ribs))
    lining = np.clip(0.3 + smooth_field(rng, points.shape, 8), 0, 1)
    canvas.paint(Tissue.FAT, canvas.inside(wavy - fat - muscle - ribs) * lining)
    canvas.paint(Tissue.MUSCLE, canvas.inside(wavy - fat - muscle - ribs))


def _paint_abdomen(canvas, anatomy, points, z_mm, rng):
    """Below the diaphragm: stomach with folds, liver with vessels, fat between."""
    distance, curvature, slope, rise = anatomy.diaphragm
    x = points.real
    dome = distance - rise * (z_mm - anatomy.length / 2) + slope * x + curvature * (x + 15) ** 2
    below = points.imag - dome
    under = canvas.inside(-below)
    across, down, radius, aspect = anatomy.stomach
    folds = smooth_field(rng, points.shape, 5)
    place = (x - across) + 1j * (below - down) / aspect
    bag = np.abs(place) - radius + 1.5 * smooth_field(rng, points.shape, 10)
    canvas.paint(Tissue.STOMACH, canvas.inside(bag + 4 + 2 * folds, 2) * under)
    canvas.paint(Tissue.MUSCLE, canvas.inside(bag) * under)
    canvas.paint(Tissue.FAT, canvas.inside(bag - 2 - 2 * folds) * under)
    canvas.paint(Tissue.VESSEL, np.clip(smooth_field(rng, points.shape, 2.5) - 2, 0, 0.6) * under)
    beside = canvas.inside(x - across + 0.3 * below + 4 * folds, 2)
    canvas.paint(Tissue.LIVER, beside * canvas.inside(2 - below))
    canvas.paint(Tissue.MUSCLE, under * canvas.inside(below - 2))
    canvas.paint(Tissue.FAT, under * np.clip(folds - 0.6, 0, 1))
    canvas.paint(Tissue.MUSCLE, under)
