"""The ids of hashes and scores, and nothing else.

An id stands for exact bits for ever: changed bits are a new id, never a fix. Ids are written into tasks and answers,
so that hashes of two kinds are never compared.
"""

from typing import Final, Literal

ImageAlgorithm = Literal["phash/1", "phash-go/1"]
"""An id of a perceptual hash of images."""

TextAlgorithm = Literal["tokens/1", "logits/1", "top/1"]
"""An id of a score of generated text (protocol A1)."""

KeyedAlgorithm = Literal["digest/1", "keyed/1"]
"""An id of a keyed score: an answer of the second round, made with a seed that nobody knew before (`keyed`)."""

IMAGE_ALGORITHMS: Final[tuple[ImageAlgorithm, ...]] = ("phash/1", "phash-go/1")
TEXT_ALGORITHMS: Final[tuple[TextAlgorithm, ...]] = ("tokens/1", "logits/1", "top/1")
KEYED_ALGORITHMS: Final[tuple[KeyedAlgorithm, ...]] = ("digest/1", "keyed/1")

HASH_BYTES: Final = 8
"""Bytes of one perceptual hash: 64 bits, first bit highest."""

HASH_BITS: Final = 8 * HASH_BYTES

DEGENERATE_OUTSIDE: Final = (24, 40)
"""A perceptual hash with fewer or more set bits than this is of a picture too plain to tell from others (A2)."""
