"""Draws from pools of up to a million nodes, and opening a group among many; one thread.

The goal: a draw from a million candidates in under 50 ms.
"""

from functools import cache
from itertools import count
from typing import Any

import pytest

from crynux_validate import GpuModel, ImageTask, MemoryLedger, ModelRef, Policy, TextTask
from crynux_validate.errors import NotEnoughNodes
from crynux_validate.ledger import LocalBeacon
from crynux_validate.machines import Attestation, Pool
from crynux_validate.machines.pairing import choose_members, weight_among
from crynux_validate.testing import ManualClock

MODEL = ModelRef("owner/name", revision="0" * 40)
TASKS: dict[str, ImageTask | TextTask] = {
    "image": ImageTask(model=MODEL, prompt="a red cat"),
    "text": TextTask(model=MODEL, prompt="a red cat"),
}


UNTIMED = 10_000
"""The most nodes of a pool where nothing is timed."""


def pool_for(benchmark: Any, nodes: int) -> Pool:
    return pool_of_size(nodes if benchmark.enabled else min(nodes, UNTIMED))


@cache
def pool_of_size(nodes: int) -> Pool:
    ids = [f"node-{at:07}" for at in range(nodes)]
    return Pool.from_columns(ids, [f"owner-{at}" for at in range(nodes)], [1 + at % 1_000 for at in range(nodes)])


def network(nodes: int) -> MemoryLedger:
    """A ledger whose nodes have joined and attested, as five classes."""
    clock = ManualClock()
    policy = Policy(min_stake=1_000, epoch_seconds=1_000, attest_commit_seconds=100, attest_reveal_seconds=100)
    ledger = MemoryLedger(policy, clock=clock, beacon=LocalBeacon(b"benchmark"))
    ledger.deposit("creator", 10**12)
    epoch, nonce = ledger.epoch(), bytes(32)
    attested = {
        f"node-{at}": Attestation(epoch.number, bytes([at % 5]) * 32, bytes(32), bytes(32)) for at in range(nodes)
    }
    for node, attestation in attested.items():
        ledger.deposit(f"owner-of-{node}", 1_000)
        ledger.join(node, owner=f"owner-of-{node}", gpu=GpuModel("card", 24), stake=1_000)
        commitment = attestation.commitment(ledger=ledger.id, node=node, nonce=nonce)
        ledger.attest_commit(node, commitment, epoch=epoch.number)
    clock.now = epoch.commit_deadline
    for node, attestation in attested.items():
        ledger.attest_reveal(node, attestation, nonce)
    clock.now = epoch.reveal_deadline
    return ledger


@pytest.mark.benchmark(group="draws")
@pytest.mark.parametrize("nodes", [1_000, 10_000, 100_000, 1_000_000])
def test_draw(nodes: int, benchmark: Any) -> None:
    pool = pool_for(benchmark, nodes)
    found = benchmark(lambda: choose_members(pool, 3, ledger="l", group="g", beacon=b"beacon"))
    assert len(found.members) == 3


@pytest.mark.benchmark(group="draws, a hundredth of the pool unavailable")
@pytest.mark.parametrize("nodes", [1_000, 1_000_000])
def test_draw_with_unavailable_nodes(nodes: int, benchmark: Any) -> None:
    """With the weight of all that are unavailable, which is summed first."""
    pool = pool_for(benchmark, nodes)
    taken = dict.fromkeys(pool.ids[::100], "group-1")

    def drawn() -> int:
        weight = weight_among(pool, taken)
        choose_members(pool, 3, ledger="l", group="g", beacon=b"beacon", unavailable=taken)
        return weight

    assert benchmark(drawn) == sum(pool.weights[::100].tolist())


@pytest.mark.benchmark(group="draws that are given up")
def test_draw_in_vain(benchmark: Any) -> None:
    """All of 1,024 words, as two owners have all of the weight."""
    pool = Pool.from_columns([f"n{at}" for at in range(100)], [f"o{at % 2}" for at in range(100)], [1] * 100)

    def in_vain() -> None:
        with pytest.raises(NotEnoughNodes):
            choose_members(pool, 3, ledger="l", group="g", beacon=b"beacon")

    benchmark(in_vain)


@pytest.mark.benchmark(group="pools")
@pytest.mark.parametrize("nodes", [1_000, 1_000_000])
def test_build_a_pool(nodes: int, benchmark: Any) -> None:
    pool = pool_for(benchmark, nodes)
    ids, owners, weights = list(pool.ids), list(pool.owners), pool.weights.tolist()
    assert benchmark.pedantic(lambda: Pool.from_columns(ids, owners, weights), rounds=3) == pool


@pytest.mark.benchmark(group="ledger")
@pytest.mark.parametrize("kind", list(TASKS))
@pytest.mark.parametrize("nodes", [1_000, 10_000])
def test_open_a_group(kind: str, nodes: int, benchmark: Any) -> None:
    """Choosing the class of a text task included."""
    ledger = network(nodes if benchmark.enabled else 100)
    seeds = count()

    def opened() -> str:
        return ledger.open_group(TASKS[kind].replace(seed=next(seeds)), creator="creator", fee=300).id

    group = benchmark.pedantic(opened, rounds=10)
    assert ledger.group(group).gpu_class is None or kind == "text"


@pytest.mark.benchmark(group="ledger")
@pytest.mark.parametrize("nodes", [1_000, 10_000])
def test_draw_a_group_that_waits(nodes: int, benchmark: Any) -> None:
    """The draw itself, while other groups wait; the groups drawn before have taken some of its pool."""
    ledger = network(nodes if benchmark.enabled else 100)
    task = TASKS["image"]
    waiting = [ledger.open_group(task.replace(seed=at), creator="creator", fee=300).id for at in range(10)]
    clock = ledger._clock
    assert isinstance(clock, ManualClock)
    clock.advance(1)
    drawn = benchmark.pedantic(lambda: ledger.draw(waiting.pop(0)), rounds=10)
    assert len(drawn.members) == 3
