"""The ids of hashes and scores.

The bits that belong to an id never change: an algorithm that gives other bits gets a new id. Ids are written into
tasks and answers, so that hashes of two kinds are never compared.
"""

from typing import Final, Literal

ImageAlgorithm = Literal["phash/1", "phash-go/1"]
"""The id of a perceptual hash of images."""

TextAlgorithm = Literal["tokens/1", "logits/1", "top/1"]
"""The id of a score of generated text (protocol A1)."""

KeyedAlgorithm = Literal["digest/1", "keyed/1"]
"""The id of a keyed score: an answer of the second round, computed with a seed that nobody knew before (`keyed`)."""

IMAGE_ALGORITHMS: Final[tuple[ImageAlgorithm, ...]] = ("phash/1", "phash-go/1")
TEXT_ALGORITHMS: Final[tuple[TextAlgorithm, ...]] = ("tokens/1", "logits/1", "top/1")
KEYED_ALGORITHMS: Final[tuple[KeyedAlgorithm, ...]] = ("digest/1", "keyed/1")

HASH_BYTES: Final = 8
"""Bytes of one perceptual hash: 64 bits, the most significant bit first."""

HASH_BITS: Final = 8 * HASH_BYTES

DEGENERATE_OUTSIDE: Final = (24, 40)
"""The least and largest number of set bits of a hash that is not degenerate (protocol A2)."""
