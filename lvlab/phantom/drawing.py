"""One short-axis slab of a patient: which share of each pixel is which tissue, and the expert's mask.

Outlines round the ventricle are tables of radii over the angle, one row a plane of the slab; a wavy
outline is a short Fourier series. A pixel looks its own direction up.
"""

from copy import copy
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from lvlab.phantom.anatomy import Tissue, chamber, profile

_ANGLES, _PLANES = 720, 5
_UNIT = np.exp(1j * np.linspace(-np.pi, np.pi, _ANGLES, endpoint=False)).astype(np.complex64)
_WAVES = _UNIT[:, None] ** np.arange(1, 14)

#: Linear algebra on one thread: so small, it is faster than on several, whose number would change how it rounds.
one_thread = ThreadpoolController().wrap(limits=1, user_api="blas")


class Composition(NamedTuple):
    """What one slab holds: shares of each `Tissue` (t, h, w), summing to 1, and the cavity (h, w) bool."""

    tissues: np.ndarray
    mask: np.ndarray


def _wave(coefficients, turned=0.0):
    """Sum a Fourier series (angles), turned by an angle."""
    orders = np.arange(1, len(coefficients) + 1)
    return (_WAVES[:, :len(coefficients)] @ (coefficients * np.exp(1j * turned * orders))).real


def _bump(angle, sharpness):
    """A smooth hump round the circle, 1 at `angle`."""
    return np.exp(sharpness * ((_UNIT * np.exp(-1j * angle)).real - 1))


@lru_cache(maxsize=256)
def _spline(pixels, knots):
    """Weights (pixels, knots) of smooth bumps over a line, each row of unit length."""
    centres = np.linspace(-0.5, pixels - 0.5, knots, dtype=np.float32)
    width = max(centres[1] - centres[0], 1.0)
    weights = np.exp(-((np.arange(pixels, dtype=np.float32)[:, None] - centres) / width) ** 2)
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def _gaussian_field(rng, shape, scale_px):
    rows, cols = (_spline(n, max(3, round(n / scale_px) + 1)) for n in shape)
    knots = rng.standard_normal((rows.shape[1], cols.shape[1]), dtype=np.float32)
    return rows @ knots @ cols.T


@lru_cache(maxsize=32)
def _atlas(step, side):
    """A large field (side, side), always the same, smooth over 2 ** (step / 2) pixels."""
    return _gaussian_field(np.random.default_rng([step, side]), (side, side), 2 ** (step / 2))


def smooth_field(rng, shape, scale_px):
    """Return Gaussian noise (h, w) of unit variance, smooth over about `scale_px` pixels.

    Fine fields are windows of one large field, turned or flipped at random: ten times as fast.
    """
    if scale_px > 12:
        return _gaussian_field(rng, shape, scale_px)
    side = max(512, 2 * max(shape))
    height, width = shape
    turned, down, right, top, left = rng.random(5)
    field = _atlas(round(2 * np.log2(scale_px)), side)
    field = field.T if turned < 0.5 else field
    row, col = int(top * (side - height)), int(left * (side - width))
    return field[row:row + height, col:col + width][::1 if down < 0.5 else -1, ::1 if right < 0.5 else -1]


class _Canvas:
    """Collects tissues front to back: what is painted first hides what comes later."""

    def __init__(self, shape, edge_mm, rng):
        self.clear = np.ones(shape, np.float32)
        self.tissues = np.zeros((len(Tissue), *shape), np.float32)
        self.edge_mm = np.float32(edge_mm)
        self.rng = rng

    def inside(self, distance_mm, spread_mm=0):
        """Soft occupancy of where a signed distance is negative.

        The edge is one pixel wide, and wider where it moves by `spread_mm` across the slab.
        """
        return np.clip(0.5 - distance_mm / (self.edge_mm + np.float32(spread_mm)), 0, 1)

    def window(self, there):
        """Return the canvas of the box round where `there` is true (the same pixels), and the box."""
        rows, cols = (np.flatnonzero(there.any(axis=1 - axis)) for axis in (0, 1))
        box = tuple(slice(line[0], line[-1] + 1) if len(line) else slice(0, 0) for line in (rows, cols))
        part = copy(self)
        part.clear, part.tissues = self.clear[box], self.tissues[:, *box]
        return part, box

    def noise(self, scale_px):
        return smooth_field(self.rng, self.clear.shape, scale_px)

    def paint(self, tissue, occupancy):
        seen = self.clear * occupancy
        self.tissues[tissue] += seen
        self.clear -= seen


class _Round:
    """The pixels round the ventricle's axis: how far, and in which direction."""

    def __init__(self, place):
        self.place, self.away = place, np.abs(place)
        turns = np.arctan2(place.imag, place.real) / np.float32(2 * np.pi) + np.float32(0.5)
        self.turn = (turns * _ANGLES).astype(np.int32) % _ANGLES

    def look(self, table):
        """Return the table's value (h, w) at each pixel's angle."""
        return np.asarray(table, np.float32)[self.turn]

    def window(self, box):
        part = copy(self)
        part.place, part.away, part.turn = self.place[box], self.away[box], self.turn[box]
        return part

    def beyond(self, table):
        """Signed distance (h, w) of each pixel outside an outline, and the outline's spread in the slab."""
        middle, spread = table[_PLANES // 2], np.ptp(table, axis=0)
        return self.away - self.look(middle), self.look(spread)


@one_thread
def render(anatomy, z_mm, phase, shape=(128, 128), spacing_mm=1.4, thickness_mm=8.0, heart=True):
    """Return the `Composition` of the slab round `z_mm` at `phase` (0 end-diastole, 1 end-systole).

    The mask is what an expert draws in the slab's middle: papillary muscles, trabeculae and the
    outflow tract up to the aortic valve are inside. `heart=False`: the chest alone, an empty mask.
    """
    rng = np.random.default_rng([anatomy.seed, int(round(10 * z_mm)) % 100_000])
    points = _points(anatomy, shape, spacing_mm)
    canvas = _Canvas(shape, spacing_mm, rng)
    mask = np.zeros(shape, bool)
    if heart:
        depths = z_mm + thickness_mm * np.linspace(-0.45, 0.45, _PLANES)
        mask = _paint_heart(canvas, anatomy, points, depths, phase)
    _paint_thorax(canvas, anatomy, points, z_mm)
    return Composition(canvas.tissues, mask)


def _points(anatomy, shape, spacing_mm):
    """The pixels' places in the heart's frame, mm, complex (h, w)."""
    rows, cols = ((np.arange(n) - (n - 1) / 2) * spacing_mm for n in shape)
    image = (cols[None, :] + 1j * rows[:, None]) - anatomy.offset
    turned = image * np.exp(-1j * anatomy.rotation)
    return (turned.conj() if anatomy.mirrored else turned).astype(np.complex64)


def _paint_heart(canvas, anatomy, points, depths, phase):
    """Paint the heart from its inside to its fat; return the mask (h, w)."""
    heart = chamber(anatomy, phase)
    middle = depths[_PLANES // 2]
    place = points - np.complex64(anatomy.tilt * (middle - anatomy.length / 2))
    share = ((depths - heart.base) / heart.length)[:, None]
    endo, epi = _left_walls(anatomy, heart, depths[:, None], share)
    outer = _outside(anatomy, epi, share, phase)
    mask = np.zeros(place.shape, bool)
    canvas, box = canvas.window(np.abs(place) < max(outer.max(), 1.5 * heart.radius) + 30)
    if not mask[box].size:
        return mask
    pixels = _Round(place[box])
    mask[box] = _paint_left_ventricle(canvas, anatomy, heart, pixels, (endo, epi), share, phase)
    _paint_right_ventricle(canvas, anatomy, pixels, outer, share)
    _paint_covers(canvas, anatomy, pixels, outer[2])
    return mask


def _paint_left_ventricle(canvas, anatomy, heart, pixels, walls, share, phase):
    """Paint base, cavity and wall; return the mask."""
    endo, epi = walls
    mask = np.zeros(pixels.away.shape, bool)
    present = np.float32(np.clip(share * heart.length / 2 + 0.5, 0, 1).mean())
    inner, box = canvas.window(pixels.away < endo.max() + 2 * canvas.edge_mm)
    near = pixels.window(box)
    outside, spread = near.beyond(endo)
    if share[_PLANES // 2] >= 0:
        mask[box] = outside < 0
    _paint_cavity(inner, anatomy, heart, near, endo, share, phase, present * inner.inside(outside, spread))
    outside, spread = pixels.beyond(epi)
    canvas.paint(Tissue.MYOCARDIUM, canvas.inside(outside, spread) * present)
    return mask | _paint_base(canvas, anatomy, heart, pixels, endo, share)


def _left_walls(anatomy, heart, z, share):
    """Radii (planes, angles) of the endocardium and the epicardium.

    Whatever the shape, the cavity keeps the area of a circle of the chamber's radius.
    """
    scar = anatomy.scar.height * _bump(anatomy.scar.angle, anatomy.scar.sharpness)
    mean = heart.radius * profile(np.clip(share, 0, 1), anatomy.bluntness)
    at_rest = anatomy.cavity_radius * profile(np.clip(z / anatomy.length, 0, 1), anatomy.bluntness)
    endo = mean + scar * np.maximum(at_rest - mean, 0) * (share < 0.95)
    endo = endo * (1 + _wave(anatomy.endo_ripple))
    facing = np.maximum((_UNIT * np.exp(-1j * anatomy.right.angle)).real, 0.05)
    flat = anatomy.septum * mean / facing
    endo = (endo ** -9.0 + flat ** -9.0) ** (-1 / 9)
    tongue, open_by = _tongue(anatomy.outflow, share)
    endo = (endo ** 6 + (tongue * mean) ** 6) ** (1 / 6)
    endo = endo * mean / np.maximum(np.sqrt((endo ** 2).mean(axis=1, keepdims=True)), 1e-6)
    stretch = 1 + 1.1 * heart.wall / heart.length
    outer = (heart.radius + heart.wall) * profile(np.clip(share, 0, None), anatomy.bluntness, stretch)
    thin = open_by * 0.65 * _bump(anatomy.outflow.angle, 5)
    angle, sharpness, height = anatomy.gap
    thin = thin + np.clip(1 - share / 0.2, 0, 1) * height * _bump(angle, sharpness)
    wall = (outer - mean) * np.clip(1 + _wave(anatomy.wall_ripple), 0.45, 2) * (1 - scar)
    return endo, endo + wall * np.clip(1 - thin, 0.15, 1)


def _tongue(outflow, share):
    """How far (planes, angles), in mean radii, the outflow tract reaches, and how open (planes, 1) it is.

    The far side, seen from the axis, of a finger with a round tip, laid from the axis to the valve.
    """
    open_by = np.clip((outflow.opens - share) / 0.12, 0, 1)
    length = outflow.reach * open_by
    seen = _UNIT * np.exp(-1j * outflow.angle)
    side = outflow.width / np.maximum(np.abs(seen.imag), 1e-3)
    tip = length * seen.real + np.sqrt(np.maximum(outflow.width ** 2 - (length * seen.imag) ** 2, 0))
    return np.where(seen.real > 0, np.where(side * seen.real <= length, side, tip), 0), open_by


def _paint_cavity(canvas, anatomy, heart, pixels, endo, share, phase, cavity):
    """Papillary muscles, what the trabeculae leave of the blood, and the muscle round it."""
    middle, here = endo[_PLANES // 2], float(share[_PLANES // 2, 0])
    grown = 1 + 0.2 * phase
    for angle, radius, gap, breadth in anatomy.papillaries:
        size = grown * radius * np.sqrt(max(1 - ((here - 0.55) / 0.42) ** 2, 0))
        near = middle[int((angle / (2 * np.pi) + 0.5) * _ANGLES) % _ANGLES]
        size = min(size, 0.5 * near)
        if size < 0.5:
            continue
        deep = max(near - size - gap * (1 - 0.7 * phase), 0.3 * near)
        seen = pixels.place * np.complex64(np.exp(-1j * angle)) - np.float32(deep)
        ragged = np.float32(size) * (1 + np.float32(0.3) * canvas.noise(3))
        distance = np.hypot(seen.real, seen.imag / np.float32(breadth)) - ragged
        canvas.paint(Tissue.MYOCARDIUM, canvas.inside(distance) * cavity)
    rim = _rim(anatomy, heart, middle, here, phase)
    basal = max(0, 1 - here / 0.3)
    lost = canvas.noise(6) + (1 + basal) * anatomy.voids - 2.2
    rough = pixels.look(0.2 * rim) * canvas.noise(3)
    inner = canvas.inside(pixels.away - pixels.look(middle - rim) + rough) * cavity
    canvas.paint(Tissue.VOID, np.clip(lost, 0, 0.9) * inner)
    canvas.paint(Tissue.BLOOD, inner)
    drawn_over = np.minimum(anatomy.outline * _free_wall(anatomy), 0.5 * middle)
    canvas.paint(Tissue.MYOCARDIUM, canvas.inside(pixels.look(middle - drawn_over) - pixels.away) * cavity)
    muscle = max(anatomy.sponge_muscle, min(1, 2 * anatomy.filling * phase))
    canvas.paint(Tissue.MYOCARDIUM, np.clip(muscle + 0.25 * canvas.noise(2.5), 0, 1) * cavity)
    canvas.paint(Tissue.BLOOD, cavity)


def _rim(anatomy, heart, middle, share, phase):
    """Depth (angles), mm, of the muscle between the outline and the blood: deepest at end-systole."""
    waves = _wave(anatomy.trabecular_ripple, 2 * share)
    rough = anatomy.trabeculae * (0.4 + share) * (1 + 0.15 * phase) * np.maximum(0.3 + waves, 0)
    angle, sharpness, layer = anatomy.sponge
    squeezed = min(anatomy.cavity_radius / heart.radius, 1.7)
    rough = rough + layer * squeezed * (0.5 + 0.6 * share) * _bump(angle, sharpness)
    filled = anatomy.filling * phase * middle * (0.75 + 0.3 * waves) * min(1, 0.4 + 1.5 * share)
    most = max(0.6, anatomy.filling) if phase else 0.5
    return np.minimum(_free_wall(anatomy) * (anatomy.outline + np.maximum(rough, filled)), most * middle)


def _free_wall(anatomy):
    """How deep (angles), relative to the mean, muscle lies inside the outline: the septum is the smooth side."""
    return 1 - anatomy.free_wall * (_UNIT * np.exp(-1j * anatomy.right.angle)).real


def _paint_base(canvas, anatomy, heart, pixels, endo, share):
    """Above the mitral ring: left atrium, aortic root, and under the valve the end of the outflow tract.

    Returns what of it is mask: the outflow tract up to the valve.
    """
    outflow, here = anatomy.outflow, float(share[_PLANES // 2, 0])
    if share.min() >= 0:
        return False
    above = np.float32((share < 0).mean())
    root = outflow.width * heart.radius
    centre = np.complex64((outflow.reach * heart.radius + 0.6 * root) * np.exp(1j * outflow.angle))
    tract = np.abs(pixels.place - centre) - np.float32(root)
    below_valve = -here * heart.length < outflow.above
    canvas.paint(Tissue.BLOOD if below_valve else Tissue.VESSEL, canvas.inside(tract) * above)
    canvas.paint(Tissue.MUSCLE, canvas.inside(tract - 2) * above)
    atrium = pixels.away - pixels.look(0.9 * endo[_PLANES // 2] * (1 + 0.15 * (_UNIT * np.exp(-1j)).real))
    canvas.paint(Tissue.VESSEL, canvas.inside(atrium) * above)
    canvas.paint(Tissue.MUSCLE, canvas.inside(atrium - 2.5) * above)
    return (tract < 0) & (here < 0) & below_valve


def _outside(anatomy, epi, share, phase):
    """Radii (3, angles) of the left ventricle's outside, of the right one's inside and of its outside."""
    right, here = anatomy.right, float(share[_PLANES // 2, 0])
    squeezed = 1 - 0.5 * anatomy.ejection_fraction * phase
    reach = np.sqrt(np.clip(1 - (max(here, 0) / right.end) ** 2, 0, 1))
    depth = right.depth * squeezed * reach * np.clip(1 + _wave(right.ripple), 0.3, 2)
    depth = depth * np.clip(1.25 * _bump(right.angle + 0.5 * (here - 0.4), right.sharpness) - 0.25, 0, 1)
    left = epi[_PLANES // 2] * (1 if here > 0 else 0.95)
    return np.stack([left, left + depth, left + depth + right.wall * np.clip(depth / 4, 0, 1)])


def _paint_right_ventricle(canvas, anatomy, pixels, outer, share):
    """The crescent round the septum, with trabeculae and flow."""
    left, inner, outside = outer
    inside = canvas.inside(pixels.away - pixels.look(inner), pixels.look(0.1 * (inner - left)))
    inside = inside * pixels.look(inner - left > 1)
    bands = canvas.noise(3.5) - 2.4 + 1.6 * anatomy.right.trabeculae * max(share[_PLANES // 2, 0], 0)
    canvas.paint(Tissue.MYOCARDIUM, inside * np.clip(2 * bands, 0, 0.8))
    canvas.paint(Tissue.VOID, inside * np.clip(canvas.noise(6) + anatomy.voids - 2.4, 0, 0.9))
    canvas.paint(Tissue.RV_BLOOD, inside)
    canvas.paint(Tissue.MYOCARDIUM, canvas.inside(pixels.away - pixels.look(outside)))


def _paint_covers(canvas, anatomy, pixels, outer):
    """Fluid in the pericardium, then fat."""
    angle, sharpness, height = anatomy.pericardium
    if height:
        outer = outer + height * _bump(angle, sharpness)
        canvas.paint(Tissue.FLUID, canvas.inside(pixels.away - pixels.look(outer)))
        canvas.paint(Tissue.MUSCLE, canvas.inside(pixels.away - pixels.look(outer) - 1.2))
    pads = sum(pad.height * _bump(pad.angle, pad.sharpness) for pad in anatomy.fat.pads if pad.height > 0)
    rim = anatomy.fat.thickness * (1 + _wave(anatomy.fat.ripple)) + pads
    canvas.paint(Tissue.FAT, canvas.inside(pixels.away - pixels.look(outer + np.maximum(rim, 0))))


def _paint_thorax(canvas, anatomy, points, z_mm):
    """Everything round the heart: chest wall and air, vessels, spine and decoys, abdomen, fluid, lungs."""
    _paint_chest_wall(canvas, anatomy, points, z_mm)
    _paint_decoys(canvas, anatomy, points)
    _paint_mediastinum(canvas, anatomy, points)
    _paint_abdomen(canvas, anatomy, points, z_mm)
    if anatomy.pleura:
        level = 75 - np.float32(anatomy.pleura) + 3 * canvas.noise(9)
        canvas.paint(Tissue.FLUID, canvas.inside(level - points.real - 0.3 * points.imag))
    vessels = canvas.noise(1.7) - 3.0 + 0.7 * anatomy.lung_vessels + 0.6 * canvas.noise(14)
    canvas.paint(Tissue.VESSEL, np.clip(0.8 * vessels, 0, 0.8))
    canvas.paint(Tissue.LUNG, 1.0)


def _paint_decoys(canvas, anatomy, points):
    """Round things: a filling, folds in it, a wall."""
    for centre, radius, aspect, tissue, wall, folds in anatomy.decoys:
        place = points - np.complex64(centre)
        distance = np.hypot(place.real, place.imag / np.float32(aspect)) - np.float32(radius)
        if distance.min() > 0:
            continue
        distance = distance + np.float32(0.08 * radius) * canvas.noise(10)
        if wall:
            canvas.paint(tissue, canvas.inside(distance + wall + folds * canvas.noise(3.5)))
            tissue = Tissue.MUSCLE
        canvas.paint(tissue, canvas.inside(distance))


def _paint_mediastinum(canvas, anatomy, points):
    """Fat, vessels and soft tissue, all in patches, behind the sternum and beside the right ventricle."""
    angle, depth = anatomy.chest.patches_angle, anatomy.chest.patches_depth
    patches = canvas.noise(5)
    along = (points * np.complex64(np.exp(-1j * angle))).real
    there = canvas.inside(anatomy.chest.distance - depth - along + 4 * canvas.noise(9))
    canvas.paint(Tissue.FAT, there * np.clip(0.8 * patches, 0, 1))
    canvas.paint(Tissue.VESSEL, there * np.clip(canvas.noise(3) - 1.2, 0, 0.8))
    canvas.paint(Tissue.MUSCLE, there * np.clip(0.9 - patches, 0, 1))


def _paint_chest_wall(canvas, anatomy, points, z_mm):
    """Layers by depth under the skin: fat, muscle, ribs between their muscles; air outside."""
    angle, distance, ribs, muscle, fat, long, short = anatomy.chest[:7]
    inward = np.exp(1j * angle)
    near = distance - 0.25 * (z_mm - anatomy.length / 2)
    middle = (near + ribs + muscle + fat - short) * inward
    place = (points - np.complex64(middle)) * np.complex64(1j / inward)
    ratio = np.hypot(place.real / np.float32(long), place.imag / np.float32(short))
    depth = (1 - ratio) * np.float32(short) + 2 * canvas.noise(30)
    wavy = depth + np.float32(1.5) * canvas.noise(12)
    if depth.min() > fat + muscle + ribs + 8:
        return
    canvas.paint(Tissue.AIR, canvas.inside(depth))
    canvas.paint(Tissue.MUSCLE, canvas.inside(depth - 1.5))
    canvas.paint(Tissue.FAT, canvas.inside(wavy - fat))
    canvas.paint(Tissue.FAT, canvas.inside(wavy - fat - muscle) * np.clip(canvas.noise(4) - 0.8, 0, 1))
    spaced = np.cos(place.real * np.float32(12 / long))
    bone = np.abs(depth - fat - muscle - ribs / 2) - np.float32(0.45 * ribs) * spaced
    canvas.paint(Tissue.MARROW, canvas.inside(bone, canvas.edge_mm))
    deep = wavy - fat - muscle - ribs
    canvas.paint(Tissue.MUSCLE, canvas.inside(deep + 0.2 * ribs))
    canvas.paint(Tissue.FAT, canvas.inside(deep) * np.clip(0.3 + canvas.noise(8), 0, 1))
    canvas.paint(Tissue.MUSCLE, canvas.inside(deep))


def _paint_abdomen(canvas, anatomy, points, z_mm):
    """Below the diaphragm: stomach with folds, liver with vessels, fat between."""
    distance, curvature, slope, rise = anatomy.diaphragm
    x = points.real
    dome = distance - rise * (z_mm - anatomy.length / 2) + slope * x + curvature * (x + 15) ** 2
    below = points.imag - dome.astype(np.float32)
    if below.max() < 0:
        return
    under = canvas.inside(-below)
    centre, radius, aspect, tissue, wall, waves = anatomy.stomach
    x = x - centre.real
    folds = canvas.noise(5)
    bag = np.hypot(x, (below - centre.imag) / aspect) - radius + np.float32(1.5) * canvas.noise(10)
    canvas.paint(tissue, canvas.inside(bag + wall + waves * folds, canvas.edge_mm) * under)
    canvas.paint(Tissue.MUSCLE, canvas.inside(bag) * under)
    canvas.paint(Tissue.FAT, canvas.inside(bag - 2 - 2 * folds) * under)
    canvas.paint(Tissue.VESSEL, np.clip(canvas.noise(2.5) - 2, 0, 0.6) * under)
    beside = canvas.inside(x + 0.3 * below + 4 * folds, canvas.edge_mm)
    canvas.paint(Tissue.LIVER, beside * canvas.inside(2 - below))
    canvas.paint(Tissue.MUSCLE, under * canvas.inside(below - 2))
    canvas.paint(Tissue.FAT, under * np.clip(folds - 0.6, 0, 1))
    canvas.paint(Tissue.MUSCLE, under)
