"""Stored ledgers: settled groups, one by one and in bulk, beside the same rows written directly; growth; bytes on disk.

The goals: at least half as many groups as sqlite3 or psycopg alone writes with the same statements and transactions,
1,000 groups a second in bulk on SQLite, and a time for each action that does not grow with the number of groups.
"""

import os
import sqlite3
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

from sqlalchemy import make_url
from tests.ledger.conftest import start_server
from tests.ledger.postgresql import Server

import crynux_validate as cv
from benchmarks.peers import medians, report
from crynux_validate.ledger.sql.channel import Channel, Statement
from crynux_validate.testing import ManualClock

NODES: Final = 100
POLICY: Final = cv.Policy(min_stake=1_000)
TASK: Final = cv.ImageTask(model=cv.ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
TASKS: Final = (TASK.replace(seed=seed) for seed in count())
"""Every group has one of its own: the same task is not given twice (L9)."""

HONEST: Final = cv.ImageScore(bytes.fromhex("f0f0f0f00f0f0f0f"), bytes(32))

GROUPS: Final = "CRYNUX_VALIDATE_BENCHMARK_GROUPS"
"""Names how many groups `test_growth` goes up to; 10,000 if it is not set."""

Written = list[tuple[str, list[Any]]]
"""What a transaction writes: statements, each with its rows."""


def made(url: str, nodes: int = NODES) -> str:
    """Make a ledger whose nodes have joined."""
    with (
        cv.SqlLedger(url, POLICY, ledger_id="benchmark", clock=ManualClock(), trust_clock=True) as ledger,
        ledger.batch(),
    ):
        ledger.deposit("creator", 10**12)
        for at in range(nodes):
            ledger.deposit(f"owner-{at}", 1_000)
            ledger.join(f"node-{at}", owner=f"owner-{at}", gpu=cv.GpuModel("card", 24), stake=1_000)
    return url


def opened(url: str) -> tuple[cv.SqlLedger, ManualClock]:
    clock = ManualClock()
    ledger = cv.SqlLedger(url, clock=clock, trust_clock=True)
    clock.now = ledger.head().time
    return ledger, clock


def settle_a_group(ledger: cv.ledger.StoringLedger, clock: ManualClock) -> str:
    """One group from its task to its money: nine actions, nine transactions."""
    group = ledger.open_group(next(TASKS), creator="creator", fee=300)
    clock.advance(1)
    group = ledger.draw(group.id)
    openings = {node: cv.Opening.of(HONEST) for node in group.members}
    for node, opening in openings.items():
        ledger.commit(group.id, node, opening.commitment(group.draw_digest, node=node))
    for node, opening in openings.items():
        ledger.reveal(group.id, node, opening)
    assert ledger.settle(group.id).status is cv.ledger.Status.SETTLED
    return group.id


def settle_in_bulk(ledger: cv.ledger.StoringLedger, clock: ManualClock, groups: int) -> None:
    """The same in one transaction."""
    with ledger.batch():
        for _ in range(groups):
            settle_a_group(ledger, clock)


def recorded(url: str, act: Callable[[cv.SqlLedger, ManualClock], object], times: int) -> list[Written]:
    """What acting some times writes, in each transaction."""
    ledger, clock = opened(url)
    transactions: list[Written] = []
    begin, write = Channel.begin, Channel.write

    def begun(channel: Channel, *arguments: Any) -> list[Any]:
        transactions.append([])
        return begin(channel, *arguments)

    def noted(channel: Channel, statement: Statement, rows: list[Any]) -> None:
        if rows:
            transactions[-1].append((statement.compiled(ledger._engine.dialect)[0], rows))
        write(channel, statement, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Channel, "begin", begun)
        patch.setattr(Channel, "write", noted)
        for _ in range(times):
            act(ledger, clock)
    ledger.close()
    return transactions


def write_directly(connection: Any, transactions: list[Written]) -> None:
    cursor = connection.cursor()
    for written in transactions:
        cursor.execute("BEGIN IMMEDIATE" if isinstance(connection, sqlite3.Connection) else "BEGIN")
        for statement, rows in written:
            if len(rows) == 1:
                cursor.execute(statement, rows[0])
            else:
                cursor.executemany(statement, rows)
        cursor.execute("COMMIT")


class Sqlite:
    """Files on the disk, with `synchronous=FULL` and a write-ahead log."""

    driver = "sqlite3"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new_url(self) -> str:
        return f"sqlite:///{self._folder / f'{len(list(self._folder.iterdir()))}.db'}"

    def direct(self, url: str) -> Any:
        connection = sqlite3.connect(str(make_url(url).database), isolation_level=None)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        return connection


class Postgresql:
    """Schemas of a server of its own, with its files on the disk."""

    driver = "psycopg"

    def __init__(self, server: Server) -> None:
        self.new_url = server.new_url

    def direct(self, url: str) -> Any:
        import psycopg

        query = make_url(url).query
        host, options = str(query["host"]), str(query["options"])
        return psycopg.connect(host=host, user="postgres", dbname="postgres", options=options, autocommit=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sqlite | Postgresql]:
    """Where ledgers are made."""
    if request.param == "sqlite":
        yield Sqlite(tmp_path)
        return
    pytest.importorskip("psycopg", reason="needs the extra 'postgresql'")
    server = start_server(Path(tempfile.gettempdir()))  # on a disk: flushing is what this is about
    yield Postgresql(server)
    server.stop()


@pytest.mark.parametrize("groups", [1, 100])
def test_settled_groups(
    place: Sqlite | Postgresql, groups: int, benchmark: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """One group in nine transactions, and a hundred in one, beside the same transactions without this library.

    Ten in one where nothing is timed.
    """
    rounds = (40 if groups == 1 else 15) if benchmark.enabled else 2
    groups = groups if benchmark.enabled else min(groups, 10)

    def act(ledger: cv.SqlLedger, clock: ManualClock) -> None:
        if groups == 1:
            settle_a_group(ledger, clock)
        else:
            settle_in_bulk(ledger, clock, groups)

    transactions = recorded(made(place.new_url()), act, rounds)
    each = 9 if groups == 1 else 1
    assert len(transactions) == each * rounds
    url = made(place.new_url())
    ledger, clock = opened(url)
    direct = place.direct(made(place.new_url()))

    def next_of_them() -> None:
        write_directly(direct, transactions[:each])
        del transactions[:each]

    to = f"{place.driver}, the same rows"
    times = medians({to: next_of_them, "SqlLedger": lambda: act(ledger, clock)}, rounds)
    direct.close()
    ledger.verify_records()
    if benchmark.enabled:
        how = "nine transactions" if groups == 1 else f"{groups} in one transaction"
        per_group = {name: seconds / groups for name, seconds in times.items()}
        report(capsys, f"{place.driver}: one settled group, {how}", per_group, to)
    benchmark.pedantic(lambda: act(ledger, clock), rounds=1)
    ledger.close()


def seconds_of(actions: dict[str, Callable[[], object]]) -> dict[str, float]:
    found = {}
    for name, action in actions.items():
        start = time.perf_counter()
        action()
        found[name] = time.perf_counter() - start
    return found


def time_actions(
    ledger: cv.SqlLedger, clock: ManualClock, rounds: int, waiting: deque[str] | None = None
) -> dict[str, float]:
    """Median seconds of each kind of action; the group that is drawn and settled is the one that waits longest.

    Parameters
    ----------
    waiting
        The groups that wait, the first to be drawn first; as many wait afterwards.
    """
    waiting = deque() if waiting is None else waiting
    seen: dict[str, list[float]] = {}
    for task in islice(TASKS, rounds):
        found = seconds_of({"open": lambda t=task: ledger.open_group(t, creator="creator", fee=300)})  # type: ignore[misc]
        waiting.append(ledger.last_groups(1)[0].id)
        clock.advance(1)
        group = waiting.popleft()
        found |= seconds_of({"draw": lambda g=group: ledger.draw(g)})  # type: ignore[misc]
        drawn = ledger.group(group)
        openings = {node: cv.Opening.of(HONEST) for node in drawn.members}
        for node, opening in openings.items():
            bound = opening.commitment(drawn.draw_digest, node=node)
            found |= seconds_of({"commit": lambda g=group, n=node, b=bound: ledger.commit(g, n, b)})  # type: ignore[misc]
        for node, opening in openings.items():
            found |= seconds_of({"reveal": lambda g=group, n=node, o=opening: ledger.reveal(g, n, o)})  # type: ignore[misc]
        found |= seconds_of({"settle": lambda g=group: ledger.settle(g), "deposit": lambda: ledger.deposit("x", 1)})  # type: ignore[misc]
        for name, seconds in found.items():
            seen.setdefault(name, []).append(seconds)
    return {name: statistics.median(of_one) for name, of_one in seen.items()}


def test_growth(tmp_path: Path, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Time for each action, and bytes, as the groups become more."""
    most = int(os.environ.get(GROUPS, "10000"))
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= most] if benchmark.enabled else [2, 4]
    path = tmp_path / "ledger.db"
    url = made(f"sqlite:///{path}")
    settled, before = 0, path.stat().st_size
    for size in sizes:
        ledger, clock = opened(url)
        began, first = time.perf_counter(), settled
        while settled < size:
            more = min(500, size - settled)
            settle_in_bulk(ledger, clock, more)
            settled += more
        rate = (settled - first) / (time.perf_counter() - began)
        ledger.close()
        grown = path.stat().st_size - before
        ledger, clock = opened(url)
        rounds = 30 if benchmark.enabled else 1
        times = time_actions(ledger, clock, rounds)
        settled += rounds
        ledger.close()
        if benchmark.enabled:
            title = f"{size} groups: {grown / size:,.0f} bytes on disk for each, {rate:,.0f} a second in bulk"
            report(capsys, title, times, "deposit")
    ledger, clock = opened(url)
    benchmark.pedantic(lambda: settle_a_group(ledger, clock), rounds=1)


def test_groups_that_wait(tmp_path: Path, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Time for each action while other groups wait for their draw: at most a third of the nodes (P4a)."""
    sizes = (0, 100, 3_000) if benchmark.enabled else (0, 4)
    url = made(f"sqlite:///{tmp_path / 'ledger.db'}", 3 * sizes[-1] + 3)
    ledger, clock = opened(url)
    waiting: deque[str] = deque()
    for size in sizes:
        with ledger.batch():
            while len(waiting) < size:
                waiting.append(ledger.open_group(next(TASKS), creator="creator", fee=300).id)
        times = time_actions(ledger, clock, 30 if benchmark.enabled else 1, waiting)
        if benchmark.enabled:
            report(capsys, f"{size} groups wait, {3 * sizes[-1] + 3} nodes", times, "deposit")
    benchmark.pedantic(lambda: ledger.draw(waiting[-1]), rounds=1)  # which draws all of them
    assert ledger.group(waiting[0]).status is not cv.ledger.Status.OPEN
    ledger.close()


@pytest.mark.parametrize("nodes", [1_000, 10_000])
def test_large_pools(tmp_path: Path, nodes: int, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Opening reads all nodes; the pools of many groups share what they have in common."""
    nodes = nodes if benchmark.enabled else 20
    groups = 50 if benchmark.enabled else 2
    path = tmp_path / "ledger.db"
    url = made(f"sqlite:///{path}", nodes)
    before = path.stat().st_size
    ledger, clock = opened(url)
    settle_in_bulk(ledger, clock, groups)
    ledger.close()
    grown = path.stat().st_size - before
    ledger, clock = opened(url)
    times = time_actions(ledger, clock, 10 if benchmark.enabled else 1)
    if benchmark.enabled:
        report(capsys, f"{nodes} nodes: {grown / groups:,.0f} bytes for each of {groups} groups", times, "deposit")
    benchmark.pedantic(lambda: settle_a_group(ledger, clock), rounds=1)
