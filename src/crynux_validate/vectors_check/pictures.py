"""Vectors of perceptual hashes: of pictures that are made from a seed, and of stored ones."""

import hashlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crynux_validate.errors import needed_for
from crynux_validate.hashing import image_hash
from crynux_validate.keyed import KeyedScore
from crynux_validate.vectors_check.files import Vector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


def made(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The hash of a picture that the vector describes."""
    given = {name: vector.content[name] for name in ("width", "height", "channels", "grain", "seed")}
    with needed_for("a vector of a picture", "hash"):
        picture = made_picture(**given)
    yield "phash", image_hash(picture, "phash/1").hex


def keyed_values(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The keyed score of a picture that the vector describes."""
    given = {name: vector.content[name] for name in ("width", "height", "channels", "grain")}
    with needed_for("a vector of a picture", "hash"):
        picture = made_picture(**given, seed=vector.content["picture_seed"])
    score = KeyedScore.from_images(bytes.fromhex(vector.content["seed"]), [picture])
    yield "score", score.hex
    yield "answer", score.to_bytes().hex()


def stored(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The hashes of a picture that lies beside the vector."""
    picture = vector.folder.joinpath("images", vector.content["file"]).read_bytes()
    yield "go", image_hash(picture, "phash-go/1").hex
    yield "imagehash", image_hash(_opaque(picture), "phash/1").hex


def made_picture(*, width: int, height: int, channels: int, grain: int, seed: str) -> "NDArray[np.uint8]":
    """Return the picture that a vector describes: squares of `grain` pixels, shades from SHAKE-128 of the seed.

    The squares are in rows from the top left; those at the right and at the bottom may be cut. A square of colour takes
    three bytes, for red, green and blue; one of grey takes one.
    """
    import numpy as np

    columns, rows = -(-width // grain), -(-height // grain)
    shades = hashlib.shake_128(seed.encode()).digest(columns * rows * channels)
    coarse = np.frombuffer(shades, np.uint8).reshape(rows, columns, channels)
    samples = coarse.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]
    return samples if channels == 3 else samples[:, :, 0]


def _opaque(picture: bytes) -> "bytes | Image":
    """The picture as ImageHash sees it, which drops alpha without a word; phash/1 refuses it."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        if not image.has_transparency_data:
            return picture
        grey = image.convert("L")
    grey.info.clear()
    return grey
