"""Drawn pictures with their prompts: one shape of one colour, small or big, somewhere, on a background."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Picture = npt.NDArray[np.uint8]

SIDE: Final = 128
"""Pixels of a picture."""

_FINE: Final = 4
"""Shapes are drawn this many times larger and shrunk, so that their edges are smooth."""

COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    "red": (215, 35, 40),
    "orange": (245, 135, 25),
    "yellow": (250, 220, 40),
    "green": (35, 155, 60),
    "blue": (35, 75, 205),
    "purple": (130, 45, 165),
    "white": (248, 248, 248),
    "black": (22, 22, 24),
}

BACKGROUNDS: Final[Mapping[str, tuple[int, int, int]]] = {
    "sand": (224, 196, 148),
    "grass": (120, 190, 80),
    "sky": (150, 205, 245),
    "night": (30, 30, 80),
    "snow": (236, 240, 246),
    "stripes": (150, 150, 150),
    "bricks": (165, 90, 70),
    "pink": (250, 170, 195),
}
"""What a shape may lie on, with its mean colour."""

_TOO_ALIKE: Final = frozenset(
    {("yellow", "sand"), ("white", "snow"), ("black", "night"), ("blue", "night"), ("purple", "night"),
     ("red", "bricks"), ("orange", "sand"), ("green", "grass"), ("white", "sky")}
)  # fmt: skip

SHAPES: Final = ("circle", "square", "triangle", "star", "cross", "heart")

SIZES: Final[Mapping[str, float]] = {"small": 17.0, "": 26.0, "big": 39.0}
"""Half of a shape's height in pixels; the one without a name is not mentioned in prompts."""

PLACES: Final[Mapping[str, tuple[int, int]]] = {
    "": (64, 64),
    "on the left": (43, 64),
    "on the right": (85, 64),
    "at the top": (64, 43),
    "at the bottom": (64, 85),
}
"""The middle of a shape, before it is varied by some pixels; big ones are only drawn at the centre."""


@dataclass(frozen=True)
class Scene:
    """What a picture shows: keys of `COLOURS`, `SHAPES`, `SIZES`, `PLACES` and `BACKGROUNDS`."""

    shape: str
    colour: str
    background: str
    size: str = ""
    place: str = ""


def draw_scene(generator: np.random.Generator) -> Scene:
    """Return a scene at random; a shape can always be told from its background."""
    while True:
        colour, background = _one_of(generator, COLOURS), _one_of(generator, BACKGROUNDS)
        if (colour, background) not in _TOO_ALIKE:
            break
    size = _one_of(generator, SIZES)
    place = _one_of(generator, PLACES) if size != "big" else ""
    return Scene(_one_of(generator, SHAPES), colour, background, size, place)


def prompt_of(scene: Scene, generator: np.random.Generator | None = None) -> str:
    """Say what a scene shows: always in the same words, or varied."""
    thing = " ".join(word for word in (scene.size, scene.colour, scene.shape) if word)
    ground = f"a {scene.background} background" if scene.background == "pink" else scene.background
    kind = 0 if generator is None else int(generator.integers(6))
    article = "an" if thing.startswith("o") else "a"
    place = f" {scene.place}" if scene.place else ""
    if kind == 4:
        return f"{thing}{place}, {scene.background} background"
    if kind == 5:
        return f"a picture of {article} {thing}{place} on {ground}"
    return f"{thing}{place} on {ground}" if kind == 3 else f"{article} {thing}{place} on {ground}"


def draw(scene: Scene, generator: np.random.Generator) -> Picture:
    """Draw a scene, slightly varied; (128, 128, 3)."""
    x, y = PLACES[scene.place]
    radius = SIZES[scene.size] * generator.uniform(0.94, 1.06)
    middle = (x + generator.uniform(-3, 3), y + generator.uniform(-3, 3))
    mask = outline(scene.shape, middle, radius, generator.uniform(-0.08, 0.08))
    colour = np.array(COLOURS[scene.colour]) + generator.uniform(-7, 7, 3)
    ground = _background(scene.background, generator)
    return np.clip(np.rint(ground + mask[:, :, None] * (colour - ground)), 0, 255).astype(np.uint8)


def outline(shape: str, middle: tuple[float, float], radius: float, angle: float = 0.0) -> npt.NDArray[np.float64]:
    """Return how much of each pixel a shape covers, 0 to 1; `angle` in radians."""
    image = Image.new("L", (SIDE * _FINE, SIDE * _FINE))
    corners = [
        (
            _FINE * (middle[0] + radius * (x * math.cos(angle) - y * math.sin(angle))),
            _FINE * (middle[1] + radius * (x * math.sin(angle) + y * math.cos(angle))),
        )
        for x, y in _CORNERS[shape]
    ]
    ImageDraw.Draw(image).polygon(corners, fill=255)
    return np.asarray(image.reduce(_FINE), np.float64) / 255


def _turned(radii: tuple[float, ...], start: float = -math.pi / 2) -> list[tuple[float, float]]:
    """Corners around a middle, at equal angles."""
    angles = [start + 2 * math.pi * i / len(radii) for i in range(len(radii))]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for radius, angle in zip(radii, angles, strict=True)]


def _heart() -> list[tuple[float, float]]:
    turns = [2 * math.pi * i / 60 for i in range(60)]
    return [
        (
            math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 15 - 0.15,
        )
        for t in turns
    ]


def _cross(arm: float = 0.34) -> list[tuple[float, float]]:
    a = arm
    return [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]


_CORNERS: Final[Mapping[str, list[tuple[float, float]]]] = {
    "circle": _turned((1.0,) * 72),
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": [(0.0, -0.95), (1.05, 0.85), (-1.05, 0.85)],
    "star": _turned((1.15, 0.48) * 5),
    "cross": _cross(),
    "heart": _heart(),
}


def _background(name: str, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a background as numbers, (128, 128, 3)."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    shift = generator.uniform(0, 8)
    light = np.zeros((SIDE, SIDE))
    if name == "sand":
        waves = np.sin((rows + 4 * np.sin((columns + 9 * shift) / 17)) / 4.5)
        light = 8 * waves
    elif name == "grass":
        light = 16 * np.sin((columns + 3 * np.sin(rows / 7 + shift)) / 2.5)
    elif name == "sky":
        light = 22 * (rows / SIDE - 0.5)
    elif name == "night":
        light = -26 * (rows / SIDE - 0.5)
    elif name == "stripes":
        light = np.where((columns + rows + 2 * shift) % 24 < 12, 38.0, -38.0)
    elif name == "bricks":
        row = rows // 12
        seam = (rows % 12 < 2) | ((columns + 12 * (row % 2) + 3 * shift) % 24 < 2)
        light = np.where(seam, 55.0, -12.0)
    colour = np.array(BACKGROUNDS[name]) + generator.uniform(-5, 5, 3)
    return np.clip(colour + light[:, :, None], 0, 255)


def _one_of(generator: np.random.Generator, choices: Mapping[str, object] | tuple[str, ...]) -> str:
    names = tuple(choices)
    return names[int(generator.integers(len(names)))]
