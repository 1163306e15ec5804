"""A patient: a beating heart in a thorax, as named numbers in millimetres, and how they are drawn at random.

The heart's own frame: x to the lateral wall, y to the diaphragm, z from the mitral ring (0, at
end-diastole) to the apex. A point of a plane is a complex number x + iy.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
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
    FLUID = 14
    VOID = 15  # blood whose signal is lost to its flow


# Per group, at end-diastole: cavity radius, wall and long axis in mm; then the ejection fraction.
# Healthy size, wall and function: reference values of the SCMR (Kawel-Boehm et al. 2020,
# doi:10.1186/s12968-020-00683-3). Hypertrophic walls: 13 to over 30 mm (Maron and Maron 2013,
# doi:10.1016/S0140-6736(12)60397-3). The wild ranges are wider than any source on purpose: a network
# that has seen more than reality holds on the next patient (doi:10.1016/j.media.2023.102789).
_USUAL = {"normal": ((20, 26), (6.5, 10), (78, 95), (0.54, 0.70)),
          "infarct": ((27, 37), (6, 9.5), (85, 105), (0.15, 0.40)),
          "hypertrophic": ((18, 24), (12, 19), (74, 92), (0.55, 0.75)),
          "dilated": ((29, 38), (5, 8.5), (90, 112), (0.12, 0.35)),
          "right overload": ((16, 23), (6, 9), (70, 92), (0.45, 0.68))}
_WIDER = {"normal": ((16, 30), (4.5, 13), (60, 105), (0.38, 0.74)),
          "infarct": ((22, 40), (4.5, 12), (75, 115), (0.08, 0.45)),
          "hypertrophic": ((14, 27), (11, 26), (60, 100), (0.40, 0.80)),
          "dilated": ((26, 44), (3.5, 10), (80, 120), (0.06, 0.40)),
          "right overload": ((12, 26), (4.5, 11), (55, 98), (0.30, 0.70))}
GROUPS = tuple(_USUAL)
_SHARES = {"realistic": (0.35, 0.3, 0.25, 0.05, 0.05), "wild": (0.26, 0.2, 0.28, 0.1, 0.16)}


class Hump(NamedTuple):
    """A smooth hump round the ventricle: where, how narrow, how high (mm, or a share)."""

    angle: float
    sharpness: float
    height: float


class Papillary(NamedTuple):
    """A papillary muscle: its angle, radius, gap to the wall (mm) and breadth along the wall (ratio)."""

    angle: float
    radius: float
    gap: float
    breadth: float


class Outflow(NamedTuple):
    """The outflow tract, a tongue of the cavity: where, the share of the long axis at which it opens,
    its reach and its half width (shares of the cavity's radius), how far the valve is above the ring (mm).
    """

    angle: float
    opens: float
    reach: float
    width: float
    above: float


class RightVentricle(NamedTuple):
    """The crescent round the septum; `end` is the share of the long axis at which it closes."""

    depth: float
    angle: float
    sharpness: float
    end: float
    wall: float
    ripple: np.ndarray
    trabeculae: float  # 0..1


class FatRim(NamedTuple):
    """Fat on the heart: its mean thickness, the ripple in it, and pads."""

    thickness: float
    ripple: np.ndarray
    pads: tuple[Hump, ...]


class Chest(NamedTuple):
    """The chest wall: from the cavity's axis to the ribs, its layers, and half of the body's axes."""

    angle: float
    distance: float
    ribs: float
    muscle: float
    fat: float
    long: float
    short: float
    patches_angle: float  # where patchy tissue lies behind the sternum, and how deep under the ribs
    patches_depth: float


class Diaphragm(NamedTuple):
    """A dome: distance, curvature per mm, slope, rise per mm of z."""

    distance: float
    curvature: float
    slope: float
    rise: float


class Decoy(NamedTuple):
    """A round thing that is no heart; `wall` (mm) is 0 where it has none, `folds` (mm) its inner waves."""

    centre: complex
    radius: float
    aspect: float
    tissue: Tissue
    wall: float
    folds: float


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
    septum: float             # how far it is from the axis, in radii: under 1 it is flat
    outline: float            # how far outside of the blood's edge the expert draws
    free_wall: float          # by which share all muscle inside is deeper at the free wall, and less at the septum
    trabeculae: float         # depth of the trabeculated rim
    trabecular_ripple: np.ndarray
    filling: float            # share of the radius that muscle fills at end-systole
    sponge: Hump              # the non-compacted layer inside the wall, mm
    sponge_muscle: float      # its share of muscle
    papillaries: tuple[Papillary, ...]
    scar: Hump                # height: how much of the contraction is lost, 0..1
    outflow: Outflow
    gap: Hump                 # where the basal wall is thin, by which share
    voids: float              # 0..1
    right: RightVentricle
    pericardium: Hump         # fluid round the heart
    pleura: float             # how deep fluid stands in the chest, mm; 0 where there is none
    fat: FatRim
    chest: Chest
    diaphragm: Diaphragm
    stomach: Decoy            # its centre's y: below the diaphragm
    lung_vessels: float
    decoys: tuple[Decoy, ...]
    rotation: float
    mirrored: bool
    offset: complex
    seed: int                 # of the textures


class Chamber(NamedTuple):
    """The left ventricle at one phase, mm: base plane, cavity length, mid radius, mid wall."""

    base: float
    length: float
    radius: float
    wall: float


def sample_anatomy(rng, variety="realistic", group=None):
    """Draw a patient; `variety` is "realistic" or "wild" (far wider; a third of it realistic)."""
    wild = is_wild(rng, variety)
    group = group or str(rng.choice(GROUPS, p=_SHARES[variety]))
    between = drawer(rng, wild)
    radius, wall, length, ejection = (rng.uniform(*r) for r in (_WIDER if wild else _USUAL)[group])
    parts = (_left_ventricle(rng, between, group, ejection) | _muscle_inside(rng, between, group)
             | _right_heart(rng, between, group) | _thorax(rng, between, radius + wall)
             | _pose(rng, wild))
    anatomy = Anatomy(group=group, ejection_fraction=ejection, cavity_radius=radius, wall=wall, length=length,
                      free_wall=0, decoys=_decoys(rng, wild, radius + wall), **parts)
    # The upper septum is smooth; papillary muscles and most trabeculae stand on the free wall and towards the apex (Ho
    # 2009, doi:10.1093/ejechocard/jep159). How far outside of the blood experts draw differs between them.
    return anatomy if variety == "realistic" else replace(anatomy, outline=rng.uniform(0.2, 2.8),
                                                          free_wall=rng.uniform(0, 1))


def is_wild(rng, variety):
    """Return whether this draw is a wild one: never where realistic, two in three else."""
    if variety not in ("realistic", "wild"):
        raise ValueError(f"variety {variety!r}: choose 'realistic' or 'wild'")
    return variety == "wild" and rng.random() > 1 / 3


def drawer(rng, wild):
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
    uneven = _ripple(rng, between((0.06, 0.13), (0.02, 0.2)), 1, 4)
    if group == "hypertrophic":
        uneven[0] -= rng.uniform(0, 0.35)
    septum = between((0.45, 0.9), (0.2, 1.0)) if group == "right overload" else between((0.95, 1.4), (0.8, 1.4))
    return dict(
        bluntness=between((2.0, 2.6), (1.8, 3.2)),
        shortening=min(between((0.10, 0.16), (0.04, 0.18)), 0.6 * ejection),
        tilt=complex(*rng.normal(0, 0.06, 2)), septum=septum,
        endo_ripple=_ripple(rng, between((0.015, 0.045), (0.01, 0.065)), 2, 5), wall_ripple=uneven,
        scar=Hump(rng.uniform(-np.pi, np.pi), rng.uniform(1.5, 5), scarred * rng.uniform(0.3, 0.7)),
        outflow=Outflow(-2.2 + rng.normal(0, 0.3), between((0.2, 0.3), (0.12, 0.36)),
                        between((0.85, 1.15), (0.65, 1.3)), between((0.45, 0.6), (0.35, 0.65)),
                        between((-2, 2), (-4, 4))),
        gap=Hump(rng.normal(0.6, 0.8), rng.uniform(1, 5), max(0, between((-0.5, 0.5), (-0.6, 0.8)))),
        voids=max(0, between((-0.5, 0.6), (-0.6, 1))))


def _muscle_inside(rng, between, group):
    """What lies between the blood and the outline that the expert draws: all of it is cavity.

    Non-compaction: the inner layer 2.3 times as deep as the compact wall, or more (Petersen et al. 2005,
    doi:10.1016/j.jacc.2005.03.045).
    """
    thick = group in ("hypertrophic", "normal", "right overload")
    big = 1.25 if group == "hypertrophic" else 1.0
    count = rng.choice([0, 1, 2, 2, 2, 2, 3, 4])
    angles = np.array([0.9, -0.8, 0.1, 1.8])[:count] + rng.normal(0, 0.35, count)
    muscles = tuple(Papillary(a, big * between((3.0, 6.5), (2.0, 9.5)), rng.uniform(-5, 4),
                              rng.uniform(0.8, 2.0)) for a in angles)
    return dict(
        papillaries=muscles, trabeculae=between((0.5, 3.0), (0.0, 5.5)), outline=between((0.2, 1.5), (0, 2.4)),
        trabecular_ripple=_ripple(rng, 0.45, 4, 13),
        filling=between((0.05, 0.3), (0, 0.5)) if thick else between((0, 0.15), (0, 0.3)),
        sponge=Hump(rng.normal(0, 1), rng.uniform(0, 2.5), max(0, between((0, 5), (-4, 10)))),
        sponge_muscle=rng.uniform(0.35, 1.0))


def _right_heart(rng, between, group):
    loaded = group == "right overload"
    pads = (Hump(-2.2, rng.uniform(2, 8), between((-4, 16), (-8, 25))),
            Hump(1.9, rng.uniform(2, 8), between((-4, 16), (-8, 25))),
            Hump(rng.uniform(-np.pi, np.pi), rng.uniform(2, 8), between((-6, 10), (-8, 25))))
    right = RightVentricle(
        depth=between((40, 65), (35, 85)) if loaded else between((18, 42), (4, 55)),
        angle=np.pi + 0.25 + rng.normal(0, 0.25),
        sharpness=between((1.4, 2.6), (1.0, 3)) if loaded else between((1.8, 3.6), (0.8, 5)),
        end=between((0.75, 1.0), (0.4, 1.05)),
        wall=between((2.5, 6), (1.5, 9)) if loaded else between((2.0, 3.5), (1.0, 6.0)),
        ripple=_ripple(rng, 0.2, 1, 6), trabeculae=rng.uniform(0.1, 0.9))
    fluid = Hump(rng.uniform(-np.pi, np.pi), rng.uniform(0, 3), max(0, between((-20, 5), (-25, 14))))
    return dict(right=right, pericardium=fluid,
                fat=FatRim(between((0.0, 2.0), (-2, 5)), _ripple(rng, 1.2, 1, 8), pads))


def _thorax(rng, between, heart):
    chest = Chest(
        angle=-2.3 + rng.normal(0, 0.3), distance=between((2, 24), (0, 70)) + heart,
        ribs=between((8, 14), (4, 18)), muscle=between((2, 14), (0, 22)), fat=between((6, 28), (2, 45)),
        long=between((150, 190), (110, 220)), short=between((105, 135), (90, 180)),
        patches_angle=rng.uniform(-3.6, -2.2), patches_depth=rng.uniform(-30, 45))
    return dict(
        chest=chest,
        diaphragm=Diaphragm(between((-4, 12), (-6, 45)) + heart, between((0.001, 0.006), (-0.002, 0.01)),
                            rng.normal(0, 0.25), rng.uniform(0.0, 0.2)),
        stomach=Decoy(complex(rng.uniform(-10, 60), rng.uniform(18, 35)), between((12, 28), (8, 40)),
                      rng.uniform(0.5, 1), Tissue.STOMACH, 4, 2),
        pleura=max(0, between((-60, 10), (-60, 50))), lung_vessels=between((0.0, 1.0), (-0.5, 1.5)))


def _pose(rng, wild):
    quarter = rng.choice([0, 0, 0, 1, 3]) * np.pi / 2
    turn = rng.uniform(-np.pi, np.pi) if wild else quarter + rng.normal(0, 0.25)
    reach = 32 if wild else 22
    away = reach * np.sqrt(rng.random()) * np.exp(2j * np.pi * rng.random())
    return dict(rotation=turn, mirrored=bool(wild and rng.random() < 0.5), offset=complex(away),
                seed=int(rng.integers(2 ** 31)))


def _decoys(rng, wild, heart, count=None):
    """Draw aorta, spine, and round things beside the heart: up to two, or up to five where wild."""
    count = rng.integers(0, 6 if wild else 3) if count is None else count
    aorta = Decoy(complex(rng.uniform(30, 90), rng.uniform(55, 95)), rng.uniform(9, 14), 1, Tissue.VESSEL, 2, 0)
    spine = Decoy(complex(rng.uniform(-20, 40), rng.uniform(100, 130)), rng.uniform(18, 25), 1, Tissue.MARROW, 3, 0)
    return (aorta, spine, *(_decoy(rng, wild, heart) for _ in range(count)))


def _decoy(rng, wild, heart):
    """Spleen and bowel, with and without a wall or folds, vessels and atria."""
    radius = rng.uniform(5, 32) if wild else rng.uniform(5, 16)
    angle = rng.uniform(-np.pi, np.pi) if wild else rng.uniform(0.3, 2.2)
    away = heart + radius + rng.uniform(2, 50)
    tissue = Tissue(rng.choice([Tissue.DECOY_A, Tissue.DECOY_B, Tissue.DECOY_C, Tissue.VESSEL]))
    wall = max(0, rng.uniform(-6, 9) if wild else rng.uniform(-4, 4))
    return Decoy(complex(away * np.exp(1j * angle)), radius, rng.uniform(0.5, 1.0), tissue, wall,
                 max(0, rng.uniform(-3, 6)))


def exaggerate(rng, anatomy, kind):
    """Return the patient with what makes this kind of slice hard; see `course.KINDS`."""
    heart = anatomy.cavity_radius + anatomy.wall
    if kind == "huge_rv":
        right = anatomy.right._replace(
            depth=rng.uniform(1.7, 3.0) * anatomy.cavity_radius + 12, sharpness=rng.uniform(1.0, 2.2),
            end=rng.uniform(0.9, 1.1), ripple=0.5 * anatomy.right.ripple)
        return replace(anatomy, right=right, septum=rng.uniform(0.2, 0.95))
    if kind == "obliterated":
        return replace(anatomy, filling=rng.uniform(0.6, 1.05))
    if kind == "decoys":
        return replace(anatomy, decoys=_decoys(rng, True, heart, rng.integers(4, 9)))
    if kind == "heart_free":
        return replace(anatomy, decoys=_decoys(rng, True, rng.uniform(-25, 20), rng.integers(0, 7)))
    return anatomy


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
    """Return the cavity's mean radius at `z_mm`; 0 above the base and below the apex.

    A circle of this radius has the area of the mask, outflow tract and muscle inside included.
    """
    heart = chamber(anatomy, phase)
    share = (np.asarray(z_mm) - heart.base) / heart.length
    radius = heart.radius * profile(share, anatomy.bluntness)
    return np.where((share >= 0) & (share <= 1), radius, 0.0)


def cavity_volume_ml(anatomy, phase):
    """Return the cavity's volume, by summing discs."""
    z = np.linspace(-10, anatomy.length + 10, 2001)
    return float(np.pi * (cavity_radius_mm(anatomy, z, phase) ** 2).sum() * (z[1] - z[0]) / 1000)


def profile(share, bluntness, stretch=1.0):
    """Radius of a truncated ellipsoid, 1 at its widest, over the share 0 (base) to 1 (apex)."""
    along = np.abs(1.4 * share - 0.4) / stretch
    return np.sqrt(np.clip(1 - along ** bluntness, 0, None))


def apical_share(anatomy, phase, radius_mm):
    """Return the share of the long axis at which, towards the apex, the cavity has this radius."""
    ratio = min(radius_mm / chamber(anatomy, phase).radius, 1)
    return float((0.4 + (1 - ratio ** 2) ** (1 / anatomy.bluntness)) / 1.4)
