"""Perceptual hashes of pictures that are made from a seed, by ImageHash."""

import hashlib
import itertools
import math
from typing import Any

import imagehash
import numpy as np
from PIL import Image

import crynux_validate as cv
from tests.vectors.reading import Vector, each, load, prefixed


def picture_of(vector: Vector) -> Image.Image:
    """The picture that the schema's words describe, pixel by pixel."""
    width, height, channels, grain = (vector[name] for name in ("width", "height", "channels", "grain"))
    columns = -(-width // grain)
    shades = hashlib.shake_128(vector["seed"].encode()).digest(columns * -(-height // grain) * channels)
    samples = bytearray()
    for y, x in itertools.product(range(height), range(width)):
        square = (y // grain * columns + x // grain) * channels
        samples += shades[square : square + channels]
    return Image.frombytes("RGB" if channels == 3 else "L", (width, height), bytes(samples))


@each("pictures")
def test_picture(vector: Vector) -> None:
    """ImageHash computes it, of a picture whose width is reduced already: so it does under every Pillow."""
    image = picture_of(vector)
    narrow = image.convert("L").resize((32, image.height), Image.Resampling.LANCZOS)
    assert str(imagehash.phash(narrow)) == vector["phash"] == cv.image_hash(image).hex


@each("keyed-values")
def test_keyed_values(vector: Vector) -> None:
    image = picture_of({**vector, "seed": vector["picture_seed"]})
    score = keyed_values_by_the_book(np.asarray(image.convert("RGB")), bytes.fromhex(vector["seed"]))
    assert score.hex() == vector["score"]
    assert vector["answer"] == (b"\x04" + prefixed(b"keyed/1", score)).hex()
    assert cv.keyed.KeyedScore.from_images(bytes.fromhex(vector["seed"]), [image]).hex == vector["score"]


def keyed_values_by_the_book(picture: Any, seed: bytes) -> bytes:
    """The values as the protocol words them: overlaps of pixels and fields, and sums one place after the other."""
    height, width = picture.shape[:2]
    side = max(n for n in (8, 16, 32, 64, 128, 256) if n <= min(height, width))
    rows = np.tensordot(overlaps(height, side), picture.astype(np.int64), 1)
    sums = np.tensordot(overlaps(width, side), rows, (1, 1)).swapaxes(0, 1)
    mean = (128 * sums + width * height) // (2 * width * height)
    grids = {
        "luma": [77 * mean[..., 0] + 150 * mean[..., 1] + 29 * mean[..., 2] - 128 * 256 * 64],
        "chroma": [mean[..., 0] - mean[..., 1], mean[..., 2] - mean[..., 1]],
    }
    values = b""
    for name in ("luma-8", "luma-16", "chroma-16", "luma-32", "luma-64", "chroma-64", "luma-128", "luma-256"):
        kind, n = name.split("-")[0], int(name.split("-")[1])
        if n > side:
            break
        base = name in ("luma-8", "chroma-16")
        level = (64 if kind == "chroma" else 64 * 256) * (side // n) ** 2 * (1 if base else 4)
        places = []
        for grid in grids[kind]:
            own = summed(grid, side // n)
            above = own if base else summed(grid, 2 * side // n)
            for y, x in itertools.product(range(n), range(n)):
                places.append(int(own[y, x] if base else 4 * own[y, x] - above[y // 2, x // 2]))
        stream = hashlib.shake_128(prefixed(b"crynux-validate/keyed-values/1") + seed + prefixed(name.encode()))
        words = stream.digest(2 * len(places))
        totals = [0] * 30
        for at, number in enumerate(places):
            word = int.from_bytes(words[2 * at : 2 * at + 2], "big")
            totals[word // 2 * 30 // 32768] += -number if word % 2 else number
        contrast = max(4, math.isqrt(sum((16 * number // level) ** 2 for number in places) // len(places)) // 16)
        unit = contrast * math.isqrt(level * level * len(places) // 30)
        cut = (max(-127, min(127, (84 * total + unit) // (2 * unit))) for total in totals)
        values += bytes([contrast, *(value % 256 for value in cut)])
    return values


def overlaps(length: int, side: int) -> Any:
    """How much of each pixel, which is `side` long, lies in each field, which is `length` long."""
    rows = [
        [
            max(0, min((pixel + 1) * side, (field + 1) * length) - max(pixel * side, field * length))
            for pixel in range(length)
        ]
        for field in range(side)
    ]
    return np.array(rows, dtype=np.int64)


def summed(grid: Any, by: int) -> Any:
    n = len(grid) // by
    return grid.reshape(n, by, n, by).sum((1, 3))


def test_pictures_tell_the_order_of_the_passes_and_of_the_sums() -> None:
    """A program that reduces the height first, or sums another way, fails."""
    height_first = [
        vector["id"]
        for vector in load("pictures")
        if str(imagehash.phash(short(picture_of(vector)))) != vector["phash"]
    ]
    assert {"picture/tall", "picture/taller", "picture/tall-colour", "picture/tall-coarse"} <= set(height_first)
    otherwise = [vector["id"] for vector in load("pictures") if by_product(picture_of(vector)) != vector["phash"]]
    assert {"picture/two-halves", "picture/four-pixels", "picture/one-row"} <= set(otherwise)


def short(image: Image.Image) -> Image.Image:
    return image.convert("L").resize((image.width, 32), Image.Resampling.LANCZOS)


def by_product(image: Image.Image) -> str:
    small = image.convert("L").resize((32, image.height), Image.Resampling.LANCZOS).resize((32, 32), 1)
    frequency, position = np.ogrid[:8, :32]
    basis = np.cos(np.pi * frequency * (2 * position + 1) / 64)
    low = basis @ np.asarray(small) @ basis.T
    return np.packbits(low > np.median(low)).tobytes().hex()
