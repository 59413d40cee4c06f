"""How many groups are judged, drawn and settled in a second, one thread."""

import random
from itertools import count
from typing import Any

import numpy as np
import pytest

from crynux_validate import GpuModel, ImageScore, ImageTask, MemoryLedger, ModelRef, Opening, Outcome, Policy, judge
from crynux_validate.judging import judge_many
from crynux_validate.ledger import LocalBeacon
from crynux_validate.testing import ManualClock


def groups(count: int, size: int) -> list[dict[str, ImageScore]]:
    """Groups of honest members with noise of a few bits, and one cheat."""
    source = random.Random(1)
    found = []
    for _ in range(count):
        picture = source.getrandbits(64)
        hashes = [picture ^ (1 << source.randrange(64)) for _ in range(size - 1)] + [source.getrandbits(64)]
        found.append({f"node-{at}": ImageScore(value.to_bytes(8, "big")) for at, value in enumerate(hashes)})
    return found


@pytest.mark.parametrize("size", [3, 9])
def test_judge(benchmark: Any, size: int) -> None:
    many = groups(500, size)
    verdicts = benchmark(lambda: [judge(members) for members in many])
    benchmark.extra_info["groups"] = len(many)
    assert all(verdict.outcome == "VALIDATED" for verdict in verdicts)


@pytest.mark.parametrize("size", [3, 9])
def test_judge_many(benchmark: Any, size: int) -> None:
    """The same groups as arrays, each many times over; reading them into arrays is not timed."""
    few = np.array([[score.blocks for score in members.values()] for members in groups(500, size)], np.uint64)
    many = np.tile(few, (200, 1, 1))
    verdicts = benchmark(lambda: judge_many(many))
    benchmark.extra_info["groups"] = len(many)
    assert verdicts.ended(Outcome.VALIDATED).all()


def test_settle(benchmark: Any) -> None:
    """A whole group on a ledger in memory: open, draw, three commits, three reveals, settle; 100 nodes."""
    clock = ManualClock()
    ledger = MemoryLedger(Policy(min_stake=1_000), clock=clock, beacon=LocalBeacon(b"benchmark"))
    for at in range(100):
        ledger.deposit(f"owner-{at}", 1_000)
        ledger.join(f"node-{at}", owner=f"owner-{at}", gpu=GpuModel("card", 24), stake=1_000)
    ledger.deposit("creator", 10**12)
    task = ImageTask(model=ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
    score = ImageScore(bytes.fromhex("f0f0f0f00f0f0f0f"), bytes(32))

    seeds = count()

    def one_group() -> str:
        group = ledger.open_group(task.replace(seed=next(seeds)), creator="creator", fee=300)
        clock.advance(1)
        group = ledger.draw(group.id)
        openings = {node: Opening.of(score) for node in group.members}
        for node, opening in openings.items():
            ledger.commit(group.id, node, opening.commitment(group.draw_digest, node=node))
        for node, opening in openings.items():
            ledger.reveal(group.id, node, opening)
        return str(ledger.settle(group.id).status)

    assert benchmark(one_group) == "SETTLED"
