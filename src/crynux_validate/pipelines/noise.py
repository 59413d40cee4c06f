"""Random numbers with the same bits on every processor, keyed by what they are for.

torch's generators do not give that: ``torch.randn`` on a CPU differs between instruction sets, and on CUDA between
models of GPU. Here a value depends on nothing but (seed, purpose, image, draw, position), so that image *i* does not
depend on the images before it, and anyone can compute any value alone (protocol, "Bytes").

The bits are specified as follows; another implementation that follows it gives the same values.

**Words.** Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the test vectors of
Random123 hold). The key is the seed as two u32, low word first. The counter is four u32: (block, draw, image, purpose).
Block *b* = 0, 1, 2, ... gives four words, which are words 4b to 4b+3 of the draw.

**Uniform.** Value *j* is (r + 0.5) * 2^-32 of word *j*, exact in float64, never 0 or 1.

**Normal** (Box-Muller, float64, rounded to float32 at the end). Words 2j and 2j+1, call them *r* and *s*, give values
2j and 2j+1::

    radius = sqrt(-2 * log((r + 0.5) * 2^-32))
    value 2j   = float32(radius * cosine(s))
    value 2j+1 = float32(radius * sine(s))          sine(s) is that of the angle 2 pi (s + 0.5) * 2^-32

**Gumbel** (float64, for sampling tokens). Value *t*, for token id *t*, is::

    -log(-log((r + 0.5) * 2^-32))                   r = word t of the draw

Logarithm, sine and cosine are those of `crynux_validate.pipelines.elementary`, to the bit.
"""

import math
import operator
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from crynux_validate.encoding import MAX_SAFE_INTEGER
from crynux_validate.errors import InvalidInputError
from crynux_validate.pipelines.elementary import Float64s, cosine_sine, log

Words = npt.NDArray[np.uint64]
FourWords = tuple[Words, Words, Words, Words]

MAX_VALUES: Final = 2**31
"""The most values of one draw; beyond it somebody has mistaken a shape."""

_MASK: Final = np.uint64(0xFFFFFFFF)
_HALF_WORD: Final = np.uint64(32)
_MULTIPLIERS: Final = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
_ROUNDS: Final = 10
# Blocks that are computed together: the intermediate arrays stay in a processor's cache. No bit depends on it.
_BLOCKS_AT_ONCE: Final = 8192


class Purpose(IntEnum):
    """What random numbers are for: the last word of the counter. A number is never given to another purpose."""

    IMAGE = 0
    """Latents (draw 0) and what a scheduler draws (draws 1, 2, ...)."""
    TOKEN = 1
    """Sampling of tokens: the draw is the step, the image is the sequence."""
    WEIGHTS = 2
    """Weights of tiny models for tests."""
    CANARY = 3
    """What the canary computes with."""
    PICTURE = 4
    """What is drawn of the latents that an encoder gives of a picture: draw 0."""


def philox(counter: FourWords, key: tuple[int, int]) -> FourWords:
    """Encrypt counters with Philox4x32-10.

    Parameters
    ----------
    counter
        Four arrays of equal shape that hold u32 values as uint64, so that a product of two fits.
    key
        Two u32.

    Returns
    -------
    tuple of four arrays
        u32 values as uint64, in the order of Random123.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (second >> _HALF_WORD) ^ c1 ^ np.uint64(k0), second & _MASK
        c2, c3 = (first >> _HALF_WORD) ^ c3 ^ np.uint64(k1), first & _MASK
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(
    seed: int, *, image: int = 0, draw: int = 0, shape: int | tuple[int, ...], purpose: Purpose = Purpose.IMAGE
) -> Float64s:
    """Draw numbers between 0 and 1, exclusive; parameters, layout and errors as in `normal`.

    Returns
    -------
    array of float64
        Multiples of 2^-33 with 33 significant bits at most.
    """
    shape, values = _begin(seed, image, draw, shape)
    out = np.empty(-(-values // 4) * 4, dtype=np.float64)
    for start, words in _blocks(seed, image, draw, purpose, values):
        for column, word in enumerate(words):
            out[start + column : start + 4 * len(word) : 4] = _to_unit(word)
    return out[:values].reshape(shape)


def normal(
    seed: int, *, image: int = 0, draw: int = 0, shape: int | tuple[int, ...], purpose: Purpose = Purpose.IMAGE
) -> npt.NDArray[np.float32]:
    """Draw standard normal numbers with the same bits on every processor.

    Parameters
    ----------
    seed
        The task's seed, 0 to 2^53-1.
    image
        The number of the image (or of the sequence), 0 to 2^32-1.
    draw
        The number of the draw within that image, 0 to 2^32-1: 0 are the latents.
    shape
        The shape of the result, filled in C order (the last axis first); at most 2^31 values.
    purpose
        What the numbers are for.

    Returns
    -------
    array of float32
        Values between -6.77 and 6.77, bit-identical everywhere (see the module's docstring).

    Raises
    ------
    InvalidInputError
        For what lies outside the ranges above.
    """
    shape, values = _begin(seed, image, draw, shape)
    out = np.empty(-(-values // 4) * 4, dtype=np.float32)
    for start, words in _blocks(seed, image, draw, purpose, values):
        stop = start + 4 * len(words[0])
        for column, (first, second) in enumerate((words[:2], words[2:])):
            radius = np.sqrt(-2.0 * log(_to_unit(first)))
            cosine, sine = cosine_sine(second)
            # Assignment rounds float64 to float32, to nearest even.
            out[start + 2 * column : stop : 4] = radius * cosine
            out[start + 2 * column + 1 : stop : 4] = radius * sine
    return out[:values].reshape(shape)


def gumbel(uniforms: Float64s) -> Float64s:
    """Turn uniform numbers into standard Gumbel numbers, between -3.14 and 22.88, with the same bits everywhere.

    Added to logits, the largest sum is a sample from their softmax (the Gumbel-max trick; Maddison, Tarlow and Minka,
    "A* sampling", NeurIPS 2014).
    """
    return -log(-log(uniforms))


def token_uniform(seed: int, *, sequence: int, step: int, tokens: npt.NDArray[np.int64]) -> Float64s:
    """Draw uniform numbers for some tokens of a vocabulary: that of a token does not depend on the others asked for.

    Parameters
    ----------
    seed
        The task's seed, 0 to 2^53-1.
    sequence, step
        Which sequence, and which of its new tokens, both counted from 0.
    tokens
        Token ids, one dimension, not negative.

    Returns
    -------
    array of float64
        One number for each token, as `uniform` gives it at the token's place.
    """
    _begin(seed, sequence, step, len(tokens))
    key = (int(seed) & 0xFFFFFFFF, int(seed) >> 32)
    ids = tokens.astype(np.uint64)
    last = int(ids.max(initial=0))
    if len(ids) > last // 4:
        # Most of the vocabulary: every block once is less work than a block for each token.
        return uniform(seed, image=sequence, draw=step, shape=last + 1, purpose=Purpose.TOKEN)[tokens]
    block = ids >> np.uint64(2)
    counter = (block, np.full_like(block, step), np.full_like(block, sequence), np.full_like(block, Purpose.TOKEN))
    words = np.stack(philox(counter, key))
    return _to_unit(words[ids & np.uint64(3), np.arange(len(ids))])


def _begin(seed: int, image: int, draw: int, shape: int | tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Check what a caller passed; return the shape and the number of values."""
    _check("seed", seed, MAX_SAFE_INTEGER)
    _check("image", image, 0xFFFFFFFF)
    _check("draw", draw, 0xFFFFFFFF)
    sides = shape if isinstance(shape, tuple) else (shape,)
    for side in sides:
        _check("a side of shape", side, MAX_VALUES)
    values = math.prod(sides)
    if values > MAX_VALUES:
        raise InvalidInputError(f"the shape {sides} has {values} values; one draw has at most {MAX_VALUES}")
    return sides, values


def _check(name: str, value: int, most: int) -> None:
    """Refuse what is no integer (booleans included) or outside 0 to `most`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not 0 <= number <= most:
        raise InvalidInputError(f"{name} is {value!r}; expected an integer from 0 to {most}")


def _blocks(seed: int, image: int, draw: int, purpose: Purpose, values: int) -> Iterator[tuple[int, FourWords]]:
    """Yield the index of the first value and the four words of each block, some blocks at a time."""
    key = (int(seed) & 0xFFFFFFFF, int(seed) >> 32)
    total = -(-values // 4)
    for first in range(0, total, _BLOCKS_AT_ONCE):
        block = np.arange(first, min(first + _BLOCKS_AT_ONCE, total), dtype=np.uint64)
        counter = (block, np.full_like(block, draw), np.full_like(block, image), np.full_like(block, purpose))
        yield 4 * first, philox(counter, key)


def _to_unit(word: Words) -> Float64s:
    return (word.astype(np.float64) + 0.5) * 2.0**-32
