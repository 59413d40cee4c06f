"""Draws that anyone can repeat (protocol P4, P5)."""

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crynux_validate import Candidate, GpuModel, InvalidInputError, Node, NotEnoughNodes, Pool, draw, verify_draw
from crynux_validate.machines.pairing import _below, pool_of, weight_of
from crynux_validate.machines.pool import MAX_WEIGHT

NAMES = {"ledger": "l", "group": "g"}

pools = st.lists(
    st.tuples(st.text("abc", min_size=1, max_size=3), st.integers(1, MAX_WEIGHT)), min_size=3, max_size=30
).map(lambda rows: [Candidate(f"n{at}", f"o-{owner}", weight) for at, (owner, weight) in enumerate(rows)])


@given(pools, st.binary(min_size=1, max_size=40), st.randoms())
def test_a_draw_is_repeatable_and_fair_to_owners(pool: list[Candidate], beacon: bytes, random: object) -> None:
    owners = {candidate.id: candidate.owner for candidate in pool}
    if len(set(owners.values())) < 3:
        with pytest.raises(NotEnoughNodes) as caught:
            draw(pool, 3, beacon=beacon, **NAMES)
        assert (caught.value.available, caught.value.needed) == (len(set(owners.values())), 3)
        return
    found = draw(pool, 3, beacon=beacon, **NAMES)
    assert len({owners[member] for member in found.members}) == 3
    assert verify_draw(found)
    random.shuffle(pool)  # type: ignore[attr-defined]
    assert draw(pool, 3, beacon=beacon, **NAMES) == found


def by_the_book(pool: list[Candidate], size: int, beacon: bytes, unavailable: set[str]) -> list[str]:
    """The draw as the protocol words it, one candidate after the other."""
    seed = b"".join(len(part).to_bytes(4, "big") + part for part in (b"crynux-validate/draw/1", b"l", b"g", beacon))
    stream = hashlib.shake_256(seed).digest(8 * 2_000)
    words = iter([int.from_bytes(stream[at : at + 8], "big") for at in range(0, len(stream), 8)])
    left = sorted((c.id, c.owner, c.weight) for c in pool if c.id not in unavailable)
    members: list[str] = []
    while len(members) < size:
        total = sum(weight for _, _, weight in left)
        word = next(word for word in words if word < 2**64 // total * total) % total
        running = 0
        for node, owner, weight in left:
            running += weight
            if running > word:
                members.append(node)
                left = [row for row in left if row[1] != owner]
                break
    return members


@given(pools, st.binary(min_size=1, max_size=40), st.sampled_from([1, 3, 5]), st.data())
def test_a_draw_is_what_the_protocol_says(pool: list[Candidate], beacon: bytes, size: int, data: st.DataObject) -> None:
    unavailable = data.draw(st.sets(st.sampled_from([c.id for c in pool])))
    owners = {c.owner for c in pool if c.id not in unavailable}
    if len(owners) < size:
        with pytest.raises(NotEnoughNodes) as caught:
            draw(pool, size, beacon=beacon, unavailable=unavailable, **NAMES)
        assert (caught.value.available, caught.value.needed) == (len(owners), size)
        return
    found = draw(Pool(pool), size, beacon=beacon, unavailable=unavailable, **NAMES)
    assert list(found.members) == by_the_book(pool, size, beacon, unavailable)
    assert found.unavailable == unavailable
    assert verify_draw(found)
    assert draw(pool, size, beacon=beacon, unavailable=unavailable, **NAMES) == found


def test_the_heaviest_pool_is_drawn_without_overflow() -> None:
    pool = [Candidate(f"n{at:05}", f"o{at}", MAX_WEIGHT) for at in range(10_000)]
    for beacon in (b"1", b"2", b"3"):
        assert list(draw(pool, 9, beacon=beacon, **NAMES).members) == by_the_book(pool, 9, beacon, set())


def test_a_forged_draw_is_found() -> None:
    pool = [Candidate(f"n{at}", f"o{at}", 10 + at) for at in range(10)]
    found = draw(pool, 3, beacon=b"\1", **NAMES)
    assert verify_draw(found)
    assert not verify_draw(replace(found, members=tuple(reversed(found.members))))
    assert not verify_draw(replace(found, beacon=b"\2"))
    assert not verify_draw(replace(found, group="h"))
    assert not verify_draw(replace(found, members=("n0",) * 11))
    assert not verify_draw(replace(found, members=()))
    heavier = tuple(replace(c, weight=MAX_WEIGHT) if c.id == "n9" else c for c in found.pool)
    assert not verify_draw(replace(found, pool=heavier))


@given(st.lists(st.integers(1, 9), min_size=3, max_size=4), st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_draws_follow_the_weights(weights: list[int], seed: int) -> None:
    """Ordered pairs, so that the second member follows the weights that remain; by a chi-square over many beacons."""
    pool = Pool([Candidate(f"n{at}", f"o{at}", weight) for at, weight in enumerate(weights)])
    draws = 3_000
    beacons = (seed.to_bytes(4, "big") + at.to_bytes(4, "big") for at in range(draws))
    seen = Counter(draw(pool, 2, beacon=beacon, **NAMES).members for beacon in beacons)
    total, statistic = sum(weights), 0.0
    for first, second in permutations(range(len(weights)), 2):
        expected = draws * weights[first] / total * weights[second] / (total - weights[first])
        statistic += (seen[f"n{first}", f"n{second}"] - expected) ** 2 / expected
    # Five to eleven degrees of freedom: beyond 75 lies less than one fair case in 10^11.
    assert statistic < 75


def test_unavailable_candidates_are_left_out_alone() -> None:
    pool = [Candidate("a1", "a", 1), Candidate("a2", "a", 1), Candidate("b", "b", 1), Candidate("c", "c", 1)]
    for at in range(50):
        found = draw(pool, 3, beacon=bytes([at]), unavailable=["a1", "stranger"], **NAMES)
        assert set(found.members) == {"a2", "b", "c"}
        assert found.unavailable == {"a1"}


@pytest.mark.parametrize(
    ("pool", "beacon"),
    [
        ([Candidate("a", "a", 1)] * 2, b"x"),
        ([Candidate("a", "a", 0)], b"x"),
        ([Candidate("a", "a", MAX_WEIGHT + 1)], b"x"),
        ([Candidate("a", "a", 1)], b""),
        ([Candidate("a", "a", 1.0)], b"x"),  # type: ignore[arg-type]
        ([Candidate("a", "a", True)], b"x"),
        ([Candidate("", "a", 1)], b"x"),
        ([Candidate("a", "a\n", 1)], b"x"),
        (["a"], b"x"),
    ],
)
def test_bad_input(pool: list[Candidate], beacon: bytes) -> None:
    with pytest.raises(InvalidInputError):
        draw(pool, 1, beacon=beacon, **NAMES)


def test_words_that_would_favour_low_numbers_are_rejected() -> None:
    limit = 2**64 // 3 * 3
    assert _below(3, iter([limit, 2**64 - 1, limit - 1])) == (limit - 1) % 3
    with pytest.raises(StopIteration):
        _below(3, iter([limit]))


def test_weights() -> None:
    assert weight_of(0, 10) == 1
    assert weight_of(99, 10) == 9
    assert weight_of(10**30, 10) == MAX_WEIGHT


def test_who_is_in_the_pool() -> None:
    card = GpuModel("card", 24)
    nodes = [
        Node("fits", "o1", card, 500),
        Node("own", "creator", card, 500),
        Node("small", "o2", GpuModel("card", 8), 500),
        Node("poor", "o3", card, 399),
        Node("busy", "o4", card, 500, group="group-1"),
        Node("lazy", "o5", card, 500, suspended=True),
        Node("gone", "o6", card, 0, joined=False),
    ]
    pool = pool_of(nodes, creator="creator", min_stake=400, min_memory_gib=16, weight_unit=100)
    assert list(pool) == [Candidate("fits", "o1", 5)]
