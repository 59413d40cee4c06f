"""Pictures to bits to distances.

Importing this room loads neither numpy nor Pillow: a ledger compares hashes that others made, and only who makes one
pays for the libraries that read pictures.
"""

from crynux_validate.hashing.hamming import block_distances, hamming, is_degenerate
from crynux_validate.hashing.images import MAX_PIXELS
from crynux_validate.hashing.many import (
    Matches,
    hamming_distances,
    hamming_matrix,
    hash_array,
    hashes_within,
    nearest_hashes,
)
from crynux_validate.hashing.perceptual import PerceptualHash
from crynux_validate.hashing.registry import image_hash, image_hashes

__all__ = [
    "MAX_PIXELS",
    "Matches",
    "PerceptualHash",
    "block_distances",
    "hamming",
    "hamming_distances",
    "hamming_matrix",
    "hash_array",
    "hashes_within",
    "image_hash",
    "image_hashes",
    "is_degenerate",
    "nearest_hashes",
]
