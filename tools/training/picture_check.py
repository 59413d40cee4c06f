"""Look at a picture and say what it shows, without being told: what `pictures` draws, and what was learned from it."""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from tools.training import pictures
from tools.training.pictures import Picture, Scene

_RING: Final = 7
"""Pixels at the border that shapes never reach."""

_FAR: Final = 45.0
"""A pixel that differs by so much from all of the border is no background."""

_FEW: Final = 150
"""A shape has at least so many pixels."""

_CROP: Final = 32

Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def look(picture: Picture) -> Scene | None:
    """Say what a picture of (128, 128, 3) shows; None where there is no shape."""
    values = picture.astype(np.float64)
    border = _border(values)
    seen = _nearest_background(border)
    to_border = _distance_to_border(values, border)
    mask = _smooth(to_border > _FAR)
    if mask.sum() < _FEW:
        return None
    colour = _nearest(np.median(values[mask], axis=0), pictures.COLOURS)
    mask = _smooth(np.linalg.norm(values - np.array(pictures.COLOURS[colour]), axis=2) < to_border)
    if mask.sum() < _FEW:
        return None
    crop, middle = _cropped(mask)
    shape = min(pictures.SHAPES, key=lambda name: min(np.abs(crop - model).mean() for model in _models(name)))
    radius = math.sqrt(mask.sum() / _area(shape))
    size = min(pictures.SIZES, key=lambda name: abs(pictures.SIZES[name] - radius))
    place = min(pictures.PLACES, key=lambda name: math.dist(pictures.PLACES[name], middle))
    return Scene(shape, colour, seen, size, place)


def agreement(asked: Scene, seen: Scene | None) -> dict[str, bool]:
    """Say for each part of a scene whether it is what was asked for."""
    return {name: seen is not None and getattr(seen, name) == value for name, value in vars(asked).items()}


def _border(values: Numbers) -> Numbers:
    """Return the pixels at the border, (n, 3)."""
    inside = np.zeros(values.shape[:2], bool)
    inside[_RING:-_RING, _RING:-_RING] = True
    return np.asarray(values[~inside])


def _features(border: Numbers) -> Numbers:
    """Return a mean colour, and how much brightness varies."""
    return np.append(border.mean(axis=0), border.mean(axis=1).std())


@cache
def _backgrounds() -> Mapping[str, Numbers]:
    """The features of drawn backgrounds."""
    plain = Scene("circle", "red", "", "small")
    found = {}
    for name in pictures.BACKGROUNDS:
        scene = Scene(plain.shape, plain.colour, name, plain.size)
        drawn = [pictures.draw(scene, np.random.default_rng(i)) for i in range(8)]
        found[name] = np.mean([_features(_border(picture.astype(np.float64))) for picture in drawn], axis=0)
    return found


def _nearest_background(border: Numbers) -> str:
    features = _features(border)
    return min(_backgrounds(), key=lambda name: float(np.linalg.norm(features - _backgrounds()[name])))


def _nearest(colour: Numbers, named: Mapping[str, tuple[int, int, int]]) -> str:
    return min(named, key=lambda name: math.dist(named[name], colour))


def _distance_to_border(values: Numbers, border: Numbers) -> Numbers:
    """Return for each pixel how far its colour is from the nearest one at the border, (128, 128)."""
    shades = border[::40]
    pixels = values.reshape(-1, 3)
    squares = (pixels**2).sum(axis=1)[:, None] - 2 * pixels @ shades.T + (shades**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares.min(axis=1), 0)).reshape(values.shape[:2]))


def _smooth(mask: Mask) -> Mask:
    """Drop what is thinner than some pixels."""
    return np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MedianFilter(5))) > 127


def _cropped(mask: Mask) -> tuple[Numbers, tuple[float, float]]:
    """Return a shape that fills its square, (32, 32), and the middle of that square in the picture."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, upper, right, lower = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    image = Image.fromarray(mask).convert("L").crop((left, upper, right, lower))
    crop = np.asarray(image.resize((_CROP, _CROP), Image.Resampling.BOX), np.float64) / 255
    return crop, ((left + right - 1) / 2, (upper + lower - 1) / 2)


@cache
def _models(shape: str) -> tuple[Numbers, ...]:
    """A shape at some angles, cropped."""
    return tuple(_cropped(mask)[0] for mask in _turned(shape))


def _turned(shape: str) -> Iterator[Mask]:
    for angle in (-0.07, 0.0, 0.07):
        yield _smooth(pictures.outline(shape, (64.0, 64.0), 30.0, angle) > 0.5)


@cache
def _area(shape: str) -> float:
    """The area of a shape whose radius is 1."""
    return float(pictures.outline(shape, (64.0, 64.0), 40.0).sum()) / 40.0**2
