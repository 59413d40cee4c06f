"""Distances: the axioms of a metric, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate.errors import InvalidInputError
from crynux_validate.hashing import PerceptualHash, block_distances, hamming, is_degenerate

blocks = st.binary(min_size=8, max_size=8)


@given(blocks, blocks, blocks)
def test_it_is_a_metric(a: bytes, b: bytes, c: bytes) -> None:
    assert 0 <= hamming(a, b) <= 64
    assert hamming(a, a) == 0
    assert (hamming(a, b) == 0) == (a == b)
    assert hamming(a, b) == hamming(b, a)
    assert hamming(a, c) <= hamming(a, b) + hamming(b, c)


@given(blocks, st.sets(st.integers(0, 63)))
def test_it_counts_flipped_bits(a: bytes, flipped: set[int]) -> None:
    mask = sum(1 << bit for bit in flipped)
    b = (int.from_bytes(a, "big") ^ mask).to_bytes(8, "big")
    assert hamming(a, b) == len(flipped)


@given(blocks, blocks)
def test_every_form_of_a_hash_gives_the_same_distance(a: bytes, b: bytes) -> None:
    def forms(value: bytes) -> list[Any]:
        number = int.from_bytes(value, "big")
        hashed = PerceptualHash(value, "phash/1", 0.0)
        digits = value.hex()
        return [
            value,
            digits,
            digits.upper(),
            f"0x{digits}",
            f"0X{digits.upper()}",
            f"p:{digits}",
            number,
            np.uint64(number),
            hashed,
        ]

    assert {hamming(x, y) for x in forms(a) for y in forms(b)} == {hamming(a, b)}


@pytest.mark.parametrize(
    "value",
    [b"", bytes(7), bytes(16), bytearray(8), "", "0" * 15, "0" * 32, "0x" + "0" * 14, "g" * 16, " " * 16, -1, 2**64,
     True, 1.0, None],
)  # fmt: skip
def test_what_is_not_one_hash_is_refused(value: Any) -> None:
    for pair in [(value, bytes(8)), (bytes(8), value)]:
        with pytest.raises(InvalidInputError, match=r"^(a|b) (is|has) .*expected"):
            hamming(*pair)


def test_two_algorithms_are_never_compared() -> None:
    a = PerceptualHash(bytes(8), "phash/1", 0.0)
    b = PerceptualHash(bytes(8), "phash-go/1", 0.0)
    with pytest.raises(InvalidInputError, match=r"phash/1 .* phash-go/1"):
        hamming(a, b)


@given(st.lists(st.tuples(blocks, blocks), min_size=1, max_size=9))
def test_blocks_are_compared_one_by_one_and_never_summed(pairs: list[tuple[bytes, bytes]]) -> None:
    """A3."""
    a, b = b"".join(pair[0] for pair in pairs), b"".join(pair[1] for pair in pairs)
    expected = [hamming(*pair) for pair in pairs]
    assert block_distances(a, b) == block_distances(b, a) == expected


@pytest.mark.parametrize(
    ("a", "b"),
    [(b"", b""), (bytes(8), bytes(16)), (bytes(7), bytes(7)), (bytes(12), bytes(12)), ("0" * 16, "0" * 16),
     (bytes(8), None)],
)  # fmt: skip
def test_malformed_scores_are_refused(a: Any, b: Any) -> None:
    """A2: in the live network two empty scores agree."""
    with pytest.raises(InvalidInputError, match="expected"):
        block_distances(a, b)


@given(blocks)
def test_degenerate_blocks(block: bytes) -> None:
    """A2: set bits outside 24..40."""
    set_bits = sum(bin(byte).count("1") for byte in block)
    assert is_degenerate(block) is (set_bits not in range(24, 41))
    assert is_degenerate(block) is PerceptualHash(block, "phash/1", 0.0).degenerate


@pytest.mark.parametrize("block", [b"", bytes(7), bytes(16), "0" * 16, None])
def test_degenerate_takes_one_block(block: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected 8 bytes"):
        is_degenerate(block)
