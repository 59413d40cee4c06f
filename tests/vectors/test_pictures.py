"""Perceptual hashes of pictures that are made from a seed, by ImageHash."""

import hashlib
import itertools

import imagehash
import numpy as np
from PIL import Image

import crynux_validate as cv
from tests.vectors.reading import Vector, each, load


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
