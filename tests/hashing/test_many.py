"""Distances of many hashes: each is that of one pair, however the hashes are given and whatever is done in pieces."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate.errors import InvalidInputError
from crynux_validate.hashing import (
    PerceptualHash,
    block_distances,
    hamming,
    hamming_distances,
    hamming_matrix,
    hash_array,
    hashes_within,
    many,
    nearest_hashes,
)

numbers = st.integers(0, 2**64 - 1)
# Few distinct hashes, near to each other, so that distances are shared by many.
close = st.integers(0, 15).map(lambda low: 0xF0F0F0F0F0F0F0F0 ^ low)
rows = st.lists(st.one_of(numbers, close), max_size=40)


@pytest.fixture(autouse=True, params=[many._AT_ONCE, 7], ids=["at once", "in pieces"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_AT_ONCE", request.param)
    if request.param == 7:
        monkeypatch.setattr(many, "_SORTED_AT_ONCE", 2)


def forms(values: list[int]) -> list[Any]:
    data = b"".join(value.to_bytes(8, "big") for value in values)
    array = np.array(values, np.uint64)
    return [
        values, array, array.astype(">u8"), np.repeat(array, 2)[::2], data, bytearray(data), memoryview(data),
        data.hex(), data.hex().upper(), f"0x{data.hex()}", list(array), [f"{value:016x}" for value in values],
        tuple(value.to_bytes(8, "big") for value in values),
        [PerceptualHash(value.to_bytes(8, "big"), "phash/1", 0.0) for value in values],
    ]  # fmt: skip


@given(rows)
def test_every_form_is_the_same_array(values: list[int]) -> None:
    for form in forms(values):
        found = hash_array(form)
        assert found.dtype == np.uint64
        assert found.dtype.isnative
        assert found.tolist() == values


@given(numbers)
def test_one_hash_is_an_array_of_one(value: int) -> None:
    data = value.to_bytes(8, "big")
    for form in (value, np.uint64(value), data, data.hex(), PerceptualHash(data, "phash/1", 0.0)):
        assert hash_array(form).tolist() == [value]  # type: ignore[arg-type]


@given(st.lists(st.tuples(numbers, numbers), max_size=40))
def test_pair_by_pair(pairs: list[tuple[int, int]]) -> None:
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    expected = [hamming(*pair) for pair in pairs]
    found = hamming_distances(a, b)
    assert found.dtype == np.uint8
    assert found.tolist() == hamming_distances(b, a).tolist() == expected


@given(numbers, rows)
def test_one_with_each_of_many(one: int, values: list[int]) -> None:
    expected = [hamming(one, value) for value in values]
    assert hamming_distances([one], values).tolist() == hamming_distances(values, one).tolist() == expected


@given(rows, rows)
def test_all_pairs(a: list[int], b: list[int]) -> None:
    found = hamming_matrix(a, b)
    assert found.shape == (len(a), len(b))
    assert found.tolist() == [[hamming(x, y) for y in b] for x in a]
    assert (hamming_matrix(a) == hamming_matrix(a, a)).all()
    assert (hamming_matrix(b, a) == found.T).all()


@given(st.integers(1, 4), st.integers(0, 12), st.randoms(use_true_random=False))
def test_scores_of_several_images_block_by_block(images: int, scores: int, random: Any) -> None:
    """A3."""
    one = random.randbytes(8 * images)
    others = [random.randbytes(8 * images) for _ in range(scores)]
    found = hamming_distances(hash_array(one), hash_array(b"".join(others)).reshape(scores, images))
    assert found.tolist() == [block_distances(one, other) for other in others]
    cube = np.arange(24, dtype=np.uint64).reshape(2, 3, 4)
    assert (hamming_distances(cube, cube[:1]) == np.bitwise_count(cube ^ cube[:1])).all()


@given(numbers | close, rows, st.integers(0, 64))
def test_within(one: int, values: list[int], distance: int) -> None:
    found = hashes_within(one, values, distance)
    expected = sorted((hamming(one, value), at) for at, value in enumerate(values) if hamming(one, value) <= distance)
    assert list(zip(found.distances.tolist(), found.indices.tolist(), strict=True)) == expected


@given(numbers | close, rows, st.integers(1, 50))
def test_nearest(one: int, values: list[int], k: int) -> None:
    found = nearest_hashes(one, values, k)
    expected = sorted((hamming(one, value), at) for at, value in enumerate(values))[:k]
    assert list(zip(found.distances.tolist(), found.indices.tolist(), strict=True)) == expected


@pytest.mark.parametrize("k", [1, 10, 3_000, 100_003, 200_000])
def test_nearest_of_very_many(k: int) -> None:
    values = np.random.default_rng(3).integers(0, 2**64, 100_003, dtype=np.uint64)
    if len(values) > 1_000 * many._AT_ONCE:  # in pieces of 7
        values = values[:2_003]
    distances = np.bitwise_count(values ^ values[5])
    expected = np.argsort(distances, kind="stable")[:k]
    found = nearest_hashes(values[5], values, k)
    assert (found.indices == expected).all()
    assert (found.distances == distances[expected]).all()


def test_the_farthest_hash_is_found_too() -> None:
    values = [2**64 - 1] * 5
    assert nearest_hashes(0, values, 3).distances.tolist() == [64, 64, 64]
    assert hashes_within(0, values, 63).indices.tolist() == []


def test_many_hashes_are_counted_in_pieces() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2**64, 100_003, dtype=np.uint64)
    assert (hamming_distances(values, values[:1]) == np.bitwise_count(values ^ values[0])).all()
    assert (hamming_matrix(values[:3], values) == np.bitwise_count(values[:3, None] ^ values)).all()
    assert (hamming_matrix(values, values[:3]) == np.bitwise_count(values[:, None] ^ values[:3])).all()


def test_what_is_given_is_not_changed() -> None:
    values = np.arange(10, dtype=np.uint64)
    values.flags.writeable = False
    hamming_matrix(values)
    nearest_hashes(3, values, 2)
    assert hash_array(values).tolist() == list(range(10))


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("hashes", "reason"),
    [
        ("0" * 15, "even number of hexadecimal digits"),
        ("0" * 18, "has 9 bytes; expected 8 for each hash"),
        ("0x" + "0" * 14, "has 7 bytes"),
        ("0x" + "0" * 15, "hexadecimal"),
        ("a:" + "0" * 16, "another kind of hash"),
        (bytes(9), "has 9 bytes"),
        (np.zeros(3, np.int64), "dtype int64 .*expected uint64"),
        (np.zeros((3, 8), np.uint8), r"dtype uint8 and shape \(3, 8\).*tobytes"),
        (np.zeros(3), "dtype float64"),
        (np.zeros(3, bool), "dtype bool"),
        ([bytes(8), bytes(9)], r"\[1\] is .*expected one hash"),
        ([0, -1], r"\[1\] is -1"),
        ([2**64], "expected one hash"),
        ([None], "expected one hash"),
        ([True], "expected one hash"),
        (["0" * 15], r"\[0\] has 15 characters"),
        (None, "expected one hash"),
        (1.5, "expected one hash"),
        ({1, 2}, "expected one hash"),
    ],
)
def test_what_are_no_hashes(hashes: Any, reason: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: hash_array(hashes),
        lambda: hamming_distances(hashes, [1]),
        lambda: hamming_distances([1], hashes),
        lambda: hamming_matrix(hashes),
        lambda: hashes_within(0, hashes, 3),
        lambda: nearest_hashes(0, hashes, 3),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match=reason):
            call()


@pytest.mark.parametrize("one", [b"", bytes(16), "0" * 32, [1], -1, 2**64, None, True, np.zeros(1, np.uint64)])
def test_what_is_not_one_hash(one: Any) -> None:
    calls: list[Callable[[], object]] = [lambda: hashes_within(one, [1], 3), lambda: nearest_hashes(one, [1], 3)]
    for call in calls:
        with pytest.raises(InvalidInputError, match=r"^one (is|has) .*expected"):
            call()


def test_two_algorithms_are_never_compared() -> None:
    live, ours = PerceptualHash(bytes(8), "phash-go/1", 0.0), PerceptualHash(bytes(8), "phash/1", 0.0)
    calls: list[Callable[[], object]] = [
        lambda: hash_array([ours, bytes(8), live]),
        lambda: hamming_distances([ours], [live]),
        lambda: hamming_matrix([ours, ours], [live]),
        lambda: hashes_within(ours, [live], 3),
        lambda: nearest_hashes(live, [ours], 3),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match=r"phash.*/1 and .* is phash.*/1; expected one algorithm"):
            call()
    assert hashes_within(live, [live, live], 0).indices.tolist() == [0, 1]
    assert hashes_within(live, bytes(16), 0).indices.tolist() == [0, 1], "bytes do not say their algorithm"


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(InvalidInputError, match=r"a has shape \(3,\) and b \(2,\).*hamming_matrix"):
        hamming_distances([1, 2, 3], [1, 2])
    square = np.zeros((2, 2), np.uint64)
    calls: list[Callable[[], object]] = [
        lambda: hamming_matrix(square),
        lambda: hamming_matrix([1], square),
        lambda: hashes_within(0, square, 1),
        lambda: nearest_hashes(0, square, 1),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match=r"has shape \(2, 2\); expected hashes in one row"):
            call()


@pytest.mark.parametrize("distance", [-1, 65, 1.0, None, True, "3"])
def test_distances_that_are_none(distance: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"distance is .*expected an integer from 0 to 64"):
        hashes_within(0, [1], distance)


@pytest.mark.parametrize("k", [0, -1, 1.0, None, True, "3"])
def test_numbers_of_neighbours_that_are_none(k: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"k is .*expected an integer of at least 1"):
        nearest_hashes(0, [1], k)
