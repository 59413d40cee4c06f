"""Draws that anyone can repeat (protocol P4, P5)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import Candidate, GpuModel, InvalidInputError, Node, NotEnoughNodes, draw, verify_draw
from crynux_validate.machines.pairing import MAX_WEIGHT, _below, pool_of, weight_of

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


def test_draws_follow_the_weights() -> None:
    pool = [Candidate("a", "a", 1), Candidate("b", "b", 2), Candidate("c", "c", 5)]
    firsts = [draw(pool, 1, beacon=at.to_bytes(4, "big"), **NAMES).members[0] for at in range(4000)]
    for name, expected in (("a", 500), ("b", 1000), ("c", 2500)):
        deviation = (expected * (1 - expected / 4000)) ** 0.5
        assert abs(firsts.count(name) - expected) < 4 * deviation


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
    assert pool == (Candidate("fits", "o1", 5),)
