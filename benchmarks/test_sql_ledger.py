"""A ledger in a SQLite file: settled groups beside the same rows written directly, growth, bytes on disk.

The goals: at least half as many groups as sqlite3 alone writes with the same statements and transactions, and a time
for each action that does not grow with the number of groups.
"""

import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

from sqlalchemy import event

import crynux_validate as cv
from benchmarks.peers import medians, report
from crynux_validate.ledger.actions import Commit, Deposit, DrawGroup, Join, OpenGroup, Reveal, Settle
from crynux_validate.testing import ManualClock

NODES: Final = 100
POLICY: Final = cv.Policy(min_stake=1_000)
TASK: Final = cv.ImageTask(model=cv.ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
HONEST: Final = cv.ImageScore(bytes.fromhex("f0f0f0f00f0f0f0f"), bytes(32))

Statements = list[list[tuple[str, Any]]]
"""For each transaction what it writes, with its parameters."""


def made(path: Path, nodes: int = NODES) -> None:
    """Make a ledger whose nodes have joined."""
    with cv.SqlLedger(f"sqlite:///{path}", POLICY, ledger_id="benchmark", clock=ManualClock()) as ledger:
        ledger.deposit("creator", 10**12)
        with ledger._writing() as store:
            for at in range(nodes):
                ledger._act(store, Deposit(f"owner-{at}", 1_000))
                ledger._act(store, Join(f"node-{at}", f"owner-{at}", cv.GpuModel("card", 24), 1_000))


def opened(path: Path) -> tuple[cv.SqlLedger, ManualClock]:
    clock = ManualClock()
    ledger = cv.SqlLedger(f"sqlite:///{path}", clock=clock)
    clock.now = ledger.head().time
    return ledger, clock


def settle_a_group(ledger: cv.SqlLedger, clock: ManualClock) -> str:
    """One group from its task to its money: nine actions, nine transactions."""
    group = ledger.open_group(TASK, creator="creator", fee=300)
    clock.advance(1)
    members = ledger.draw(group.id).members
    openings = {node: cv.Opening.of(HONEST) for node in members}
    for node, opening in openings.items():
        ledger.commit(group.id, node, opening.commitment(ledger=ledger.id, group=group.id, node=node))
    for node, opening in openings.items():
        ledger.reveal(group.id, node, opening)
    assert ledger.settle(group.id).status is cv.Status.SETTLED
    return group.id


def settle_in_bulk(ledger: cv.SqlLedger, clock: ManualClock, groups: int) -> None:
    """The same in one transaction, to have many groups soon."""
    with ledger._writing() as store:
        for _ in range(groups):
            now = clock.advance(1)
            beacon_round = ledger._beacon.next_round(now)
            action: Any = OpenGroup(TASK, "creator", 300, 0, None, beacon_round)
            group = f"group-{store.group_count() + 1}"
            ledger._record(store, action, now)
            now = clock.advance(1)
            ledger._record(store, DrawGroup(group, ledger._beacon.value(beacon_round, now)), now)
            found = store.find_group(group)
            assert found is not None
            openings = {node: cv.Opening.of(HONEST) for node in found.members}
            for node, opening in openings.items():
                bound = opening.commitment(ledger=ledger.id, group=group, node=node)
                ledger._record(store, Commit(group, node, 1, bound), now)
            for node, opening in openings.items():
                ledger._record(store, Reveal(group, node, 1, opening.to_bytes()), now)
            ledger._record(store, Settle(group), now)


def recorded(path: Path, groups: int) -> Statements:
    """What settling some groups writes."""
    ledger, clock = opened(path)
    transactions: Statements = []

    def begun(*_: object) -> None:
        transactions.append([])

    def sent(_c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith(("INSERT", "UPDATE")):
            transactions[-1].append((statement, parameters))

    event.listen(ledger._engine, "begin", begun)
    event.listen(ledger._engine, "before_cursor_execute", sent)
    for _ in range(groups):
        settle_a_group(ledger, clock)
    ledger.close()
    return [written for written in transactions if written]


def write_directly(connection: sqlite3.Connection, transactions: Statements) -> None:
    for written in transactions:
        connection.execute("BEGIN IMMEDIATE")
        for statement, parameters in written:
            connection.execute(statement, parameters)
        connection.execute("COMMIT")


def test_settled_groups(tmp_path: Path, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = 40 if benchmark.enabled else 2
    first = tmp_path / "first.db"
    made(first)
    for name in ("ours.db", "record.db", "direct.db"):
        shutil.copy(first, tmp_path / name)
    transactions = recorded(tmp_path / "record.db", 3 * rounds)
    assert len(transactions) == 9 * 3 * rounds
    ledger, clock = opened(tmp_path / "ours.db")
    direct = sqlite3.connect(tmp_path / "direct.db", isolation_level=None)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        direct.execute(f"PRAGMA {pragma}")
    assert direct.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    def next_group() -> None:
        write_directly(direct, transactions[:9])
        del transactions[:9]

    times = medians({"sqlite3, the same rows": next_group, "SqlLedger": lambda: settle_a_group(ledger, clock)}, rounds)
    direct.close()
    ledger.verify_records()
    if benchmark.enabled:
        report(capsys, "one settled group, nine transactions, synchronous=FULL", times, "sqlite3, the same rows")
    benchmark.pedantic(lambda: settle_a_group(ledger, clock), rounds=1)


def seconds_of(actions: dict[str, Callable[[], object]]) -> dict[str, float]:
    found = {}
    for name, action in actions.items():
        start = time.perf_counter()
        action()
        found[name] = time.perf_counter() - start
    return found


def time_actions(ledger: cv.SqlLedger, clock: ManualClock, rounds: int) -> dict[str, float]:
    """Median seconds of each kind of action."""
    seen: dict[str, list[float]] = {}
    for _ in range(rounds):
        found = seconds_of({"open": lambda: ledger.open_group(TASK, creator="creator", fee=300)})
        group = ledger.last_groups(1)[0].id
        clock.advance(1)
        found |= seconds_of({"draw": lambda g=group: ledger.draw(g)})  # type: ignore[misc]
        members = ledger.group(group).members
        openings = {node: cv.Opening.of(HONEST) for node in members}
        for node, opening in openings.items():
            bound = opening.commitment(ledger=ledger.id, group=group, node=node)
            found |= seconds_of({"commit": lambda g=group, n=node, b=bound: ledger.commit(g, n, b)})  # type: ignore[misc]
        for node, opening in openings.items():
            found |= seconds_of({"reveal": lambda g=group, n=node, o=opening: ledger.reveal(g, n, o)})  # type: ignore[misc]
        found |= seconds_of({"settle": lambda g=group: ledger.settle(g), "deposit": lambda: ledger.deposit("x", 1)})  # type: ignore[misc]
        for name, seconds in found.items():
            seen.setdefault(name, []).append(seconds)
    return {name: statistics.median(of_one) for name, of_one in seen.items()}


def test_growth(tmp_path: Path, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Time for each action, and bytes, as the groups become more."""
    sizes = [1_000, 10_000] if benchmark.enabled else [2, 4]
    path = tmp_path / "ledger.db"
    made(path)
    settled, before = 0, path.stat().st_size
    for size in sizes:
        ledger, clock = opened(path)
        while settled < size:
            more = min(500, size - settled)
            settle_in_bulk(ledger, clock, more)
            settled += more
        ledger.close()
        grown = path.stat().st_size - before
        ledger, clock = opened(path)
        rounds = 30 if benchmark.enabled else 1
        times = time_actions(ledger, clock, rounds)
        settled += rounds
        ledger.close()
        if benchmark.enabled:
            report(capsys, f"{size} groups: {grown / size:,.0f} bytes on disk for each", times, "deposit")
    ledger, clock = opened(path)
    benchmark.pedantic(lambda: settle_a_group(ledger, clock), rounds=1)


@pytest.mark.parametrize("nodes", [1_000, 10_000])
def test_large_pools(tmp_path: Path, nodes: int, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Opening reads all nodes; the pools of many groups share what they have in common."""
    nodes = nodes if benchmark.enabled else 20
    groups = 50 if benchmark.enabled else 2
    path = tmp_path / "ledger.db"
    made(path, nodes)
    before = path.stat().st_size
    ledger, clock = opened(path)
    settle_in_bulk(ledger, clock, groups)
    ledger.close()
    grown = path.stat().st_size - before
    ledger, clock = opened(path)
    times = time_actions(ledger, clock, 10 if benchmark.enabled else 1)
    if benchmark.enabled:
        report(capsys, f"{nodes} nodes: {grown / groups:,.0f} bytes for each of {groups} groups", times, "deposit")
    benchmark.pedantic(lambda: settle_a_group(ledger, clock), rounds=1)
