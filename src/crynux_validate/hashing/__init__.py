"""Pictures to bits to distances.

Importing this room loads neither numpy nor Pillow: a ledger compares hashes that others made, and only who makes one
pays for the libraries that read pictures.
"""

from crynux_validate.hashing.hamming import block_distances, hamming, is_degenerate
from crynux_validate.hashing.images import MAX_PIXELS
from crynux_validate.hashing.perceptual import PerceptualHash
from crynux_validate.hashing.registry import image_hash

__all__ = [
    "MAX_PIXELS",
    "PerceptualHash",
    "block_distances",
    "hamming",
    "image_hash",
    "is_degenerate",
]
