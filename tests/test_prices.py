"""The arrays of `benchmarks.prices` say what the library says."""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
import pytest
from benchmarks.prices import alone, exact, together
from benchmarks.prices.money import Did, settle_many
from benchmarks.prices.pools import Nodes, orders

import crynux_validate as cv
from crynux_validate import Group, Policy
from crynux_validate.frozen import FrozenMapping
from crynux_validate.ledger.group import Round
from crynux_validate.ledger.settlement import settle_group
from crynux_validate.machines import Node

CARD: Final = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)
IMAGE: Final = cv.ImageTask(model=cv.ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
TEXT: Final = cv.TextTask(model=cv.ModelRef("owner/name", revision="0" * 40), prompt="tell me of a red cat")
HASHES: Final = np.random.default_rng(1).bytes(8 * 400)


def unlike_hashes() -> list[bytes]:
    """Eleven hashes, each far from all others and not degenerate."""
    found: list[int] = []
    for at in range(0, len(HASHES), 8):
        one = int.from_bytes(HASHES[at : at + 8], "big")
        if 24 <= one.bit_count() <= 40 and all((one ^ other).bit_count() >= 28 for other in found):
            found.append(one)
    return [one.to_bytes(8, "big") for one in found[:11]]


UNLIKE: Final = unlike_hashes()


def answer(did: Did, member: int, task: cv.ImageTask | cv.TextTask) -> cv.answers.Answer:
    if did is Did.REPORT:
        return cv.ErrorReport("limits")
    if did is Did.FAILED:
        return cv.ErrorReport("failed", "out of memory")
    which = {Did.HONEST: 0, Did.CHEAT: 1}.get(did, 2 + member)
    if isinstance(task, cv.ImageTask):
        return cv.ImageScore(UNLIKE[which], bytes(32))
    return cv.TextScore(bytes([which] * 32), bytes([which] * 32))


def settled(
    did: Sequence[Did], stakes: Sequence[int], fee: int, policy: Policy, task: cv.ImageTask | cv.TextTask
) -> tuple[list[int], list[int], int]:
    """What the library pays and slashes, for each member, and what it burns of the fee."""
    names = [f"n{at}" for at in range(len(did))]
    committed = [at for at, one in enumerate(did) if one is not Did.ABSENT]
    revealed = [at for at in committed if did[at] is not Did.WITHHELD]
    openings = {names[at]: cv.Opening(answer(did[at], at, task).to_bytes(), bytes(32)) for at in revealed}
    done = Round(0, 0, FrozenMapping({names[at]: bytes(32) for at in committed}), FrozenMapping(openings))
    pool = cv.machines.Pool(cv.machines.Candidate(name, f"o{name}", 1) for name in names)
    draw = cv.machines.Draw("test", "group-1", task.digest, policy.digest, fee, 1, bytes(1), pool, {}, 0, tuple(names))
    group = Group(
        id="group-1", task=task, creator="app", fee=fee, min_memory_gib=0, policy=policy, pool=pool, base=1,
        beacon_round=1, opened=0, draw_deadline=1, draw=draw, rounds=(done,),
    )  # fmt: skip
    nodes = {name: Node(name, f"o{name}", CARD, stake) for name, stake in zip(names, stakes, strict=True)}
    moves = settle_group(group, nodes).transfers
    assert sum(move.amount for move in moves if move.source == group.id) == fee
    paid = [sum(move.amount for move in moves if move.target == f"o{name}") for name in names]
    slashed = [sum(move.amount for move in moves if move.source == name) for name in names]
    return paid, slashed, sum(move.amount for move in moves if move.why == "no_quorum")


def policies(size: int) -> list[tuple[Policy, int]]:
    """Policies and fees."""
    odd: dict[str, Any] = {
        "slash_ppm": 333_333,
        "withheld_ppm": 654_321,
        "no_quorum_ppm": 123_457,
        "fault_fee_ppm": 98_765,
    }
    return [
        (Policy(group_size=size), size),
        (Policy(group_size=size), 1_000 * size + 1),
        (Policy(group_size=size, slash_per_fee=None, **odd), 77 * size + 2),
        (Policy(group_size=size, slash_per_fee=13, **odd), 77 * size + 2),
    ]


def patterns(size: int) -> list[tuple[Did, ...]]:
    """Everything that the members of a group can do: all of it for small groups, a part of it for larger ones."""
    if size <= 5:
        return list(itertools.product(Did, repeat=size))
    likely = [0.25, 0.25, 0.1, 0.2, 0.05, 0.1, 0.05]
    drawn = np.random.default_rng(size).choice(len(Did), size=(2_000, size), p=likely)
    return [tuple(Did(one) for one in row) for row in drawn]


@pytest.mark.parametrize(("size", "task"), [(3, IMAGE), (3, TEXT), (5, TEXT), (7, TEXT), (9, IMAGE)])
def test_the_money_is_the_library_s(size: int, task: cv.ImageTask | cv.TextTask) -> None:
    rng = np.random.default_rng(size)
    for number, (policy, fee) in enumerate(policies(size)):
        did = patterns(size)[:: 1 if size == 3 or number == 0 else 7]
        stakes = rng.integers(400, 20_000, size=(len(did), size))
        money = settle_many(np.array(did), stakes, fee, policy)
        for at, pattern in enumerate(did):
            found = money.paid[at].tolist(), money.slashed[at].tolist(), int(money.burnt[at])
            assert found == settled(pattern, stakes[at].tolist(), fee, policy, task), pattern


def test_orders_are_draws_by_weight() -> None:
    order = orders(Nodes(2, 3, 1, 4), 40_000, 5, np.random.default_rng(3))
    assert (np.sort(order, axis=1) == np.arange(5)).all()
    first = np.bincount(order[:, 0], minlength=5) / len(order)
    assert np.abs(first - np.array([1, 1, 4, 4, 4]) / 14).max() < 0.01
    second = np.bincount(order[order[:, 0] == 2, 1], minlength=5) / (order[:, 0] == 2).sum()
    assert np.abs(second - np.array([1, 1, 0, 4, 4]) / 10).max() < 0.02


@pytest.mark.parametrize("size", alone.SIZES)
def test_the_simulation_is_the_inequality(size: int) -> None:
    nodes, policy = Nodes(300, 1_200), Policy(group_size=size)
    order = orders(nodes, 20_000, size, np.random.default_rng(size))
    found = dict(alone.prices(nodes, size, 1_000 * policy.least_fee, policy, order))
    share, no_quorum = Fraction(1, 5), Fraction(policy.no_quorum_ppm, 1_000_000)
    price = found[together.CHEAPEST]
    expected = policy.slash_per_fee or 0
    assert price.burnt == pytest.approx(float(expected * exact.outvoted(size, share)), rel=0.15)
    assert price.cost == pytest.approx(float(no_quorum * size * exact.without_quorum(size, share)), rel=0.02)
    assert max(found.values(), key=lambda one: one.ratio).ratio == price.ratio


@pytest.mark.parametrize("size", alone.SIZES)
def test_a_tenth_of_the_base_burns_less_than_it_pays(size: int) -> None:
    policy = Policy(group_size=size)
    assert policy.slash_per_fee is not None
    share = Fraction(1, 10) * 1_000_000 / policy.min_pool_ppm  # where all that is busy is honest (P4d)
    assert policy.slash_per_fee < exact.largest_slash(size, share, Fraction(policy.no_quorum_ppm, 1_000_000))


def test_the_inequality_by_hand() -> None:
    share, no_quorum = Fraction(1, 10), Fraction(2, 5)
    assert exact.outvoted(3, share) == Fraction(27, 1_000)
    assert exact.without_quorum(3, share) == Fraction(972, 1_000)
    assert exact.largest_slash(3, share, no_quorum) == Fraction(3 * 2 * 972, 5 * 27)
    assert exact.cheapest_cost(3, share, Fraction(1)) == Fraction(3 * 729 + 2 * 243, 1_000)


def test_free_weight() -> None:
    order = np.array([[0, 2, 3, 1, 4, 5]])
    free, share = together.free_weight(Nodes(2, 4, 1, 2), order, 3)
    assert free.tolist() == [[1.0, 0.5]]
    assert share.tolist() == [[0.2, 0.2]]
