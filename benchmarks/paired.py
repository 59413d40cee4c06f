"""Two versions of the library beside each other: draws, and groups from their opening to their settlement.

    python -m benchmarks.paired OLD/src NEW/src [--rounds 15]

Each round runs both versions, one after the other and in turn first, each in a process of its own, and compares the
processor's time. What is printed are the medians of both, and the median of the
ratios of a round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

NODES = 10_000
GROUPS = 25


def main() -> None:
    """Measure one version, or compare two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, help="two folders that hold crynux_validate, the old one first")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(MEASURES[chosen.measure]()))
        return
    if len(chosen.trees) != 2:
        parser.error("give two folders that hold crynux_validate: the version before, and this one")
    print(f"| measure | before | now | ratio (median of {chosen.rounds} rounds) | quartiles |\n|---|---|---|---|---|")
    for name in MEASURES:
        _compare(name, chosen.trees, chosen.rounds)


def _compare(name: str, trees: list[Path], rounds: int) -> None:
    found: list[dict[str, list[float]]] = [{}, {}]
    for number in range(rounds):
        for at in (0, 1) if number % 2 else (1, 0):
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(trees[at].resolve()), os.getcwd()])}
            command = [sys.executable, "-m", "benchmarks.paired", "--measure", name]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            for what, seconds in json.loads(done.stdout).items():
                found[at].setdefault(what, []).append(seconds)
    for what in found[0]:
        ratios = [new / old for old, new in zip(found[0][what], found[1][what], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        old, new = (statistics.median(one[what]) * 1_000 for one in found)
        print(f"| {name}: {what} | {old:.3f} ms | {new:.3f} ms | {middle:.3f} | {low:.3f} to {high:.3f} |", flush=True)


def _best(action: Callable[[int], object], times: int) -> float:
    """The processor's time of an action, the median of several."""
    taken = []
    for at in range(times):
        before = time.process_time()
        action(at)
        taken.append(time.process_time() - before)
    return statistics.median(taken)


def _pool(nodes: int) -> Any:
    from crynux_validate.machines.pool import Pool

    names = [f"n{at:07}" for at in range(nodes)]
    return Pool.from_columns(names, [f"o{at}" for at in range(nodes)], [1 + at % 97 for at in range(nodes)])


def draws(nodes: int) -> dict[str, float]:
    """Draw three members."""
    from crynux_validate.machines import pairing

    draw = getattr(pairing, "choose_members", None) or pairing.draw  # type: ignore[attr-defined]  # before
    pool = _pool(nodes)
    gone = list(pool.ids[:: nodes // 30])
    ids = {"ledger": "test"}
    return {
        "all available": _best(lambda at: draw(pool, 3, group=f"g{at}", beacon=b"value", **ids), 200),
        "30 unavailable": _best(lambda at: draw(pool, 3, group=f"g{at}", beacon=b"v", unavailable=gone, **ids), 200),
    }


def groups(stored: bool, text: bool) -> dict[str, float]:
    """Open groups, draw, answer and settle them, one by one."""
    import crynux_validate as cv
    from crynux_validate.testing import ManualClock
    from crynux_validate.testing.conformance import network as kit

    clock = ManualClock()
    with tempfile.TemporaryDirectory() as folder:
        policy = cv.Policy(commit_seconds=100, reveal_seconds=50, draw_seconds=20, epoch_seconds=1_000,
                           attest_commit_seconds=100, attest_reveal_seconds=100)  # fmt: skip
        ledger: Any = (
            cv.SqlLedger(f"sqlite:///{folder}/ledger.db", policy, clock=clock)
            if stored
            else cv.MemoryLedger(policy, clock=clock)
        )
        network = kit.Network(ledger, clock, nodes=0)
        with ledger.batch():
            for at in range(NODES):
                ledger.deposit(f"o{at}", 1_000)
                ledger.join(f"n{at}", owner=f"o{at}", gpu=kit.CARD, stake=1_000)
        if text:
            with ledger.batch():
                network.attest()
        task, answer = (kit.TEXT, kit.HONEST_TEXT) if text else (kit.TASK, kit.HONEST)
        taken: dict[str, list[float]] = {"open": [], "draw": [], "commit and reveal": [], "settle": []}

        def timed(what: str, action: Callable[[], Any]) -> Any:
            before = time.process_time()
            done = action()
            taken[what].append(time.process_time() - before)
            return done

        def commit_and_reveal(group: Any) -> None:
            openings = {node: cv.Opening.of(answer) for node in group.members}
            for node, opening in openings.items():
                ledger.commit(group.id, node, _commitment(opening, group, node))
            for node, opening in openings.items():
                ledger.reveal(group.id, node, opening)

        for at in range(GROUPS):
            given = task.replace(seed=1_000 + at)
            group = timed("open", partial(ledger.open_group, given, creator="app", fee=30))
            clock.advance(1)
            group = timed("draw", partial(ledger.draw, group.id))
            timed("commit and reveal", partial(commit_and_reveal, group))
            timed("settle", partial(ledger.settle, group.id))
        found = {what: statistics.median(times[2:]) for what, times in taken.items()}
        return {**found, "all of a group": sum(found.values()), "open and settle": found["open"] + found["settle"]}


def _commitment(opening: Any, group: Any, node: str) -> bytes:
    if hasattr(group, "draw_digest"):
        return opening.commitment(group.draw_digest, node=node)  # type: ignore[no-any-return]
    return opening.commitment(ledger=group.draw.ledger, group=group.id, node=node)  # type: ignore[no-any-return]


MEASURES: dict[str, Callable[[], dict[str, float]]] = {
    "draw from 10,000": lambda: draws(10_000),
    "draw from 1,000,000": lambda: draws(1_000_000),
    "memory, image": lambda: groups(stored=False, text=False),
    "memory, text": lambda: groups(stored=False, text=True),
    "SQLite, image": lambda: groups(stored=True, text=False),
    "SQLite, text": lambda: groups(stored=True, text=True),
}

if __name__ == "__main__":
    main()
