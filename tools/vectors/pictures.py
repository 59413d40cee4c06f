"""Vectors of perceptual hashes of pictures that are made from a seed."""

from typing import Any

from tools.vectors.common import Vector, vector

import crynux_validate as cv
from crynux_validate.vectors_check.pictures import made_picture


def picture_vectors() -> list[Vector]:
    """Pictures of squares of one shade, whose shades are the bytes of SHAKE-128 of a seed."""
    cases = [
        ("tall", "the width is reduced first, and each pass rounds: Pillow 13 by itself reduces the height first",
         60, 200, 1, 3, "1"),
        ("taller", "the same of a picture sixteen times as high as it is wide", 64, 1024, 1, 8, "15"),
        ("tall-colour", "grey comes before either pass", 96, 256, 3, 5, "10"),
        ("tall-coarse", "half as wide as high, as portraits are", 512, 1024, 1, 24, "8"),
        ("square", "as many rows as columns", 100, 100, 3, 7, "0"),
        ("wide", "wider than high: every Pillow reduces the width first", 200, 60, 1, 3, "0"),
        ("wider", "few rows, which are enlarged", 1000, 5, 3, 1, "0"),
        ("narrow", "as wide as it becomes: one pass", 32, 90, 1, 2, "0"),
        ("low", "as high as it becomes: one pass", 90, 32, 1, 2, "0"),
        ("already-reduced", "32x32 samples are taken as they are", 32, 32, 1, 1, "0"),
        ("one-off", "a pixel more in each direction", 33, 33, 1, 1, "1"),
        ("tiny", "3x5 pixels are enlarged", 3, 5, 3, 1, "0"),
        ("one-column", "one pixel wide: every row is flat, and sums of zero decide", 1, 50, 1, 1, "0"),
        ("one-row", "one pixel high", 50, 1, 1, 1, "0"),
        ("one-pixel", "flat: only the constant coefficient is above the median", 1, 1, 3, 1, "0"),
        ("two-halves", "coefficients that are equal on paper: the order of the transform's operations decides",
         64, 64, 1, 32, "2"),
        ("four-pixels", "the same, enlarged from 2x2", 2, 2, 1, 1, "0"),
    ]  # fmt: skip
    names = ("width", "height", "channels", "grain", "seed")
    vectors = []
    for name, why, *values in cases:
        given: dict[str, Any] = dict(zip(names, values, strict=True))
        found = cv.image_hash(made_picture(**given), "phash/1").hex
        vectors.append(vector(f"picture/{name}", why, **given, phash=found))
    return vectors


def keyed_value_vectors() -> list[Vector]:
    """Keyed values of such pictures, under the same seed and another."""
    cases = [
        ("square", "every band, of fields of whole pixels", 512, 512, 3, 37, "0", 1),
        ("other-seed", "the same picture under another seed", 512, 512, 3, 37, "0", 2),
        ("as-large", "a field is a pixel", 256, 256, 3, 11, "1", 1),
        ("cut", "fields of broken pixels in both directions", 300, 500, 3, 7, "2", 1),
        ("wide", "the shorter side decides which bands there are; one direction is whole", 600, 128, 3, 5, "3", 1),
        ("tall", "as high, and the columns are cut", 100, 160, 3, 3, "4", 1),
        ("without-its-last-band", "a pixel less than a band needs", 127, 127, 3, 9, "5", 1),
        ("grey", "of one channel, as red, green and blue", 64, 64, 1, 5, "6", 1),
        ("smallest", "one band, of 8 x 8", 8, 9, 3, 2, "7", 1),
        ("flat", "one colour: no detail", 64, 64, 3, 64, "8", 1),
    ]  # fmt: skip
    vectors = []
    for name, why, width, height, channels, grain, picture_seed, number in cases:
        picture = made_picture(width=width, height=height, channels=channels, grain=grain, seed=picture_seed)
        seed = bytes([number]) * 32
        score = cv.keyed.KeyedScore.from_images(seed, [picture])
        vectors.append(
            vector(
                f"keyed-values/{name}",
                why,
                width=width,
                height=height,
                channels=channels,
                grain=grain,
                picture_seed=picture_seed,
                seed=seed.hex(),
                score=score.hex,
                answer=score.to_bytes().hex(),
            )
        )
    return vectors
