"""Hashes of pictures, and distances of hashes.

Importing this module loads neither numpy nor Pillow: programs that only compare hashes need neither. `image_hash` and
`hamming` are in `crynux_validate`.
"""

from crynux_validate.hashing.hamming import block_distances
from crynux_validate.hashing.hamming import hamming as hamming
from crynux_validate.hashing.hamming import is_degenerate as is_degenerate
from crynux_validate.hashing.images import MAX_PIXELS as MAX_PIXELS
from crynux_validate.hashing.many import (
    Matches,
    hamming_distances,
    hamming_matrix,
    hash_array,
    hashes_within,
    nearest_hashes,
)
from crynux_validate.hashing.perceptual import PerceptualHash
from crynux_validate.hashing.registry import image_hash as image_hash
from crynux_validate.hashing.registry import image_hashes

__all__ = [
    "Matches",
    "PerceptualHash",
    "block_distances",
    "hamming_distances",
    "hamming_matrix",
    "hash_array",
    "hashes_within",
    "image_hashes",
    "nearest_hashes",
]
