"""What may lie in a synthetic brain: tumours of one or several foci, and what is no tumour.

The family is far wider than any hospital's, so that a network learns what all of them share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from components.cohort.phantom.anatomy import tissue_map
from components.core.imaging.grid import Grid
from components.preprocess.registration.resampling import triple
from components.synthetic.contrast import stretched
from components.synthetic.head import SPACING_MM, Head, Push

MOST_FOCI = 3
VOLUME_ML = (1.5, 180.0)

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Focus:
    """One tumour focus.

    Attributes:
        place: 0 to 1, position among the voxels in which a tumour may begin.
        volume_ml: of the ellipsoid from which it grows.
        stretch: relative lengths of the half axes.
        turn: radians about x, y, z.
        roughness, rough_mm, seed: amplitude (share of the radius), length and seed of the border's
            irregularity.
        along_white: how much further it reaches in white matter than in grey, share of the radius.
        core: share of the radius at which oedema ends.
        rim: thickness of the enhancing rim, share of the radius; 0 without one.
        dead: share of the radius that is necrosis or cyst.
        spared: how sharply it stops at CSF, share of the radius.
    """

    place: float
    volume_ml: float
    stretch: tuple[float, float, float]
    turn: tuple[float, float, float]
    roughness: float
    rough_mm: float
    seed: int
    along_white: float
    core: float
    rim: float
    dead: float
    spared: float

    @property
    def radius(self) -> float:
        """mm of the ball of the same volume."""
        return _radius_mm(self.volume_ml)


@dataclass(frozen=True)
class LesionDraw:
    """The random numbers of all lesions of one head.

    Attributes:
        foci: of the tumour; none in a healthy brain.
        mass: strength of the tissue's displacement, see Push.
        seed: of what is no tumour.
        rim_mm: bright rims around the ventricles; patches: share of white matter with bright spots.
        infarct: volume in mL of an old infarct; 0 without one.
        vessels: share of the dura, and of the plexus, that takes up contrast agent.
    """

    foci: tuple[Focus, ...]
    mass: float
    seed: int
    rim_mm: float
    patches: float
    infarct: float
    vessels: float


@dataclass(frozen=True)
class Lesions:
    """Shares, float32 (z, y, x): the parts of a tumour, and what is none."""

    oedema: np.ndarray
    solid: np.ndarray
    rim: np.ndarray
    necrosis: np.ndarray
    gliosis: np.ndarray
    cavity: np.ndarray
    vessel: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """The whole tumour, which the segmenter learns to outline."""
        return np.clip(self.oedema + self.solid + self.rim + self.necrosis, 0.0, 1.0)


def _radius_mm(volume_ml: float) -> float:
    """Of a ball."""
    return float((3.0 * volume_ml * 1000.0 / (4.0 * np.pi)) ** (1.0 / 3.0))


def draw_lesions(rng: np.random.Generator, *, healthy: float = 0.1) -> LesionDraw:
    """Draw the lesions of one head; a share `healthy` of the heads has no tumour."""
    count = 0 if rng.random() < healthy else 1 + int(rng.choice(MOST_FOCI, p=(0.85, 0.1, 0.05)))
    volumes = [_volume(rng, first=index == 0) for index in range(count)]
    return LesionDraw(
        foci=tuple(_draw_focus(rng, volume) for volume in volumes),
        mass=float(rng.uniform(0.0, 0.3)),
        seed=int(rng.integers(2**31)),
        rim_mm=float(rng.uniform(1.5, 7.0)) if rng.random() < 0.5 else 0.0,
        patches=float(rng.uniform(0.002, 0.04)) if rng.random() < 0.5 else 0.0,
        infarct=float(np.exp(rng.uniform(np.log(0.5), np.log(20.0))))
        if rng.random() < 0.08
        else 0.0,
        vessels=float(rng.uniform(0.0, 0.7)) if rng.random() < 0.7 else 0.0,
    )


def _volume(rng: np.random.Generator, *, first: bool) -> float:
    low, high = np.log(VOLUME_ML)
    # Most gliomas are found when they are tens of millilitres; further foci are small.
    value = rng.normal(np.log(45.0), 0.9) if first else rng.uniform(low, np.log(15.0))
    return float(np.exp(np.clip(value, low, high)))


def _draw_focus(rng: np.random.Generator, volume_ml: float) -> Focus:
    enhancing, cystic = rng.random() < 0.5, rng.random() < 0.12
    dead = rng.uniform(0.15, 0.65) if (enhancing and rng.random() < 0.6) or cystic else 0.0
    stretch = np.exp(rng.normal(0.0, 0.25, 3))
    return Focus(
        place=float(rng.random()),
        volume_ml=volume_ml,
        stretch=triple(stretch / np.prod(stretch) ** (1.0 / 3.0), float),
        turn=triple(rng.uniform(-np.pi, np.pi, 3), float),
        roughness=float(rng.uniform(0.05, 0.45)),
        rough_mm=float(rng.uniform(4.0, 12.0)),
        seed=int(rng.integers(2**31)),
        along_white=float(rng.uniform(0.0, 0.5)),
        core=float(rng.choice([rng.uniform(0.25, 0.7), rng.uniform(0.7, 1.0)])),
        rim=float(rng.uniform(0.06, 0.25)) if enhancing else 0.0,
        dead=float(dead),
        spared=float(rng.uniform(0.2, 0.8)),
    )


def centres_of(draw: LesionDraw, scale: tuple[float, float, float]) -> list[Place]:
    """LPS mm of the middle of each focus: anywhere in the brain but its outermost 6 mm.

    Args:
        scale: MNI152's size over the head's, along x, y, z.
    """
    inside = _deep_places()
    return [triple(inside[int(focus.place * len(inside))] / scale, float) for focus in draw.foci]


@cache
def _deep_places() -> np.ndarray:
    """float64 [n, 3]: MNI152's voxels well inside the brain, LPS mm."""
    image = tissue_map("t1")
    grid = Grid.of(image)
    brain = sitk.GetArrayFromImage(image) > 0.15
    depth = ndimage.distance_transform_edt(brain, sampling=grid.spacing[::-1])
    places = np.argwhere(depth > 6.0)[:, ::-1]
    return places @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def masses_of(draw: LesionDraw, centres: list[Place]) -> list[Push]:
    """How the foci displace the tissue around them."""
    return [
        Push(centre, 1.2 * focus.radius, draw.mass * focus.core)
        for focus, centre in zip(draw.foci, centres, strict=True)
    ]


def render_lesions(draw: LesionDraw, head: Head, centres: list[Place]) -> Lesions:
    """Put the lesions into a head."""
    parts = np.zeros((4, *head.grid.shape), np.float32)
    room = ndimage.gaussian_filter((head.brain & (head.csf < 0.9)).astype(np.float32), 0.5)
    for focus, centre in zip(draw.foci, centres, strict=True):
        # Where foci meet, the later one lies on top.
        found = _grow(focus, head, centre, room)
        parts = parts * (1.0 - found.sum(axis=0)) + found
    gliosis, cavity, vessel = _distractors(draw, head)
    free = 1.0 - parts.sum(axis=0)
    oedema, solid, rim, necrosis = parts
    return Lesions(oedema, solid, rim, necrosis, gliosis * free, cavity * free, vessel * free)


def _grow(focus: Focus, head: Head, centre: Place, room: np.ndarray) -> np.ndarray:
    """Shares [oedema, solid, rim, necrosis] of one focus; `room` is where a tumour may be."""
    depth = _depth(focus, head, centre)
    soft = SPACING_MM / focus.radius

    def inside(level: float) -> np.ndarray:
        return np.clip((level - depth) / soft + 0.5, 0.0, 1.0) * room

    whole, core = inside(1.0), inside(focus.core)
    dead = inside(focus.dead) if focus.dead else np.zeros_like(whole)
    dead = np.minimum(dead, core)
    hull = inside(max(focus.dead, 0.1) + focus.rim) if focus.rim else dead
    rim = np.clip(np.minimum(hull, core) - dead, 0.0, 1.0)
    return np.stack([whole - core, core - dead - rim, rim, dead]).clip(0.0, 1.0)


def _depth(focus: Focus, head: Head, centre: Place) -> np.ndarray:
    """Distance from the beginning in units of the border's radius: below 1 is tumour."""
    grid = head.grid
    axes = [
        np.arange(n, dtype=np.float32) * s + o - c
        for n, s, o, c in zip(grid.size, grid.spacing, grid.origin, centre, strict=True)
    ]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij", sparse=True)
    radii = focus.radius * np.array(focus.stretch)
    rows = (_rotation(focus.turn).T / radii[:, None]).astype(np.float32)
    squares = [(row[0] * x + row[1] * y + row[2] * z) ** 2 for row in rows]
    radius = np.sqrt(squares[0] + squares[1] + squares[2])
    noise = _noise(focus.seed, head.grid.shape, focus.rough_mm)
    growth = focus.along_white * head.white - focus.spared * head.csf
    return radius + focus.roughness * noise - growth + 0.5 * focus.along_white


def _distractors(draw: LesionDraw, head: Head) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gliosis (bright on FLAIR), cavities of old infarcts, and what takes up contrast agent."""
    shape, rng = head.grid.shape, np.random.default_rng(draw.seed)
    seeds = rng.integers(2**31, size=3)
    deep = ndimage.binary_erosion(head.brain, iterations=4)
    ventricle = ndimage.binary_opening((head.csf > 0.8) & deep)
    spots = _noise(int(seeds[0]), shape, 3.0)
    gliosis = np.zeros(shape, np.float32)
    if draw.rim_mm and ventricle.any():
        distance = ndimage.distance_transform_edt(~ventricle, sampling=SPACING_MM)
        gliosis += (distance < draw.rim_mm * (1.0 + 0.5 * spots)) & ~ventricle
    if draw.patches:
        white = (head.white > 0.6) & deep
        cut = np.quantile(spots[white], 1.0 - draw.patches) if white.any() else np.inf
        gliosis += white & (spots > cut)
    cavity = np.zeros(shape, np.float32)
    if draw.infarct:
        inside = np.argwhere(head.brain)
        z, y, x = inside[int(rng.random() * len(inside))]
        radius = _radius_mm(draw.infarct) / SPACING_MM
        axes = np.ogrid[tuple(slice(n) for n in shape)]
        apart = np.sqrt(sum((a - p) ** 2 for a, p in zip(axes, (z, y, x), strict=True)))
        apart = apart * (1.0 + 0.25 * spots)
        cavity = ((apart < 0.8 * radius) & head.brain).astype(np.float32)
        gliosis += (apart < radius) & (cavity == 0) & head.brain
    fuzzy = _noise(int(seeds[1]), shape, 4.0) > np.sqrt(2.0) * (1.0 - 2.0 * draw.vessels)
    vessel = (head.dura > 0) | (ventricle & (spots > 1.0))
    vessel = (vessel & fuzzy).astype(np.float32) if draw.vessels else np.zeros(shape, np.float32)
    return np.clip(gliosis, 0.0, 1.0).astype(np.float32), cavity, vessel


def _noise(seed: int, shape: tuple[int, ...], length_mm: float) -> np.ndarray:
    """Smooth noise of mean 0 and SD 1."""
    coarse = max(1, int(length_mm / SPACING_MM / 2.0))
    small = tuple(-(-n // coarse) for n in shape)
    values = np.random.default_rng(seed).standard_normal(small, dtype=np.float32)
    values = ndimage.gaussian_filter(values, length_mm / SPACING_MM / coarse)
    values = stretched(values, shape) if coarse > 1 else values
    return values / values.std()


def _rotation(angles: tuple[float, float, float]) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", angles).as_matrix()
