"""What fake-hardware workers run for these tests; a worker finds it by its name."""

import json
from importlib.resources import files
from typing import Any

import numpy as np

from crynux_validate.hashing import image_hash

VECTORS = files("crynux_validate") / "vectors" / "phash"


def load_vectors() -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / "vectors.json").read_text("utf-8"))["vectors"]
    return vectors


def picture_bytes(vector: dict[str, Any]) -> bytes:
    data: bytes = (VECTORS / "images" / vector["file"]).read_bytes()
    return data


def symmetric_pictures() -> list[Any]:
    """Pictures with coefficients that are 0 but for the last bits of sums, so that those bits decide the hash."""
    rng = np.random.default_rng(5)
    found = []
    for side in (64, 128, 100, 37):
        quarter = rng.integers(0, 128, (side, side, 3), dtype=np.uint8)
        mirrored = quarter + quarter[:, ::-1]
        found += [mirrored, mirrored // 2 + mirrored[::-1] // 2, np.full_like(quarter, 200)]
    return found


def go_hashes() -> dict[str, tuple[str, float]]:
    """Hash and margin of the vectors and of symmetric pictures."""
    pictures = {vector["file"]: picture_bytes(vector) for vector in load_vectors()}
    pictures |= {f"symmetric {number}": picture for number, picture in enumerate(symmetric_pictures())}
    found = {name: image_hash(picture, "phash-go/1") for name, picture in pictures.items()}
    return {name: (value.hex, value.margin) for name, value in found.items()}
