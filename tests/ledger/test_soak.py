"""The soak with small numbers, and that it sees what is wrong."""

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

from benchmarks import soak
from benchmarks.soak import damage, sequences
from benchmarks.soak.checks import Follower
from benchmarks.soak.work import CARD, TASK, work

import crynux_validate as cv
from crynux_validate.errors import BrokenLogError
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.ledger.interface import verify_chain
from crynux_validate.testing import ManualClock
from tests.ledger import backends
from tests.ledger.conftest import using
from tests.ledger.postgresql import Server


@pytest.fixture(scope="module", autouse=True, params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    yield from using(request.param, request)


@pytest.fixture
def url(backend: backends.Backend) -> str:
    """Of a ledger that is set up."""
    found = backend.url_of(backend.make(soak.POLICY, ledger_id="soak", clock=soak.milliseconds))
    soak.set_up(found)
    return found


def test_the_work_makes_groups_wait_and_nodes_leave_meanwhile(url: str) -> None:
    work(url, "alone", 400, lambda _kind, _fields: None)
    with cv.SqlLedger(url, clock=soak.milliseconds, trust_clock=True) as ledger:
        results = [(event.kind, event.payload["result"]) for event in ledger.events()]
    assert any("leaving" in result for kind, result in results if kind == "leave")
    assert any(result.get("unavailable") for kind, result in results if kind == "draw")
    soak.check(url, [])


def test_nothing_acknowledged_is_lost_when_the_server_dies(server: Server) -> None:
    url = server.new_url()
    soak.set_up(url)

    def kill(at: int) -> None:
        (server.kill if at % 2 else server.halt)()

    acknowledged, events = soak.kill_the_server(url, 2, kill, server.start)
    assert 12 <= acknowledged <= events


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with damage.small_disk(4) as disk:
        if disk is None:
            pytest.skip("no disk can be mounted here")
        url = damage.url_of(disk / "ledger.db")
        soak.set_up(url)
        acknowledged, errors = damage.fill_the_disk(url, disk, 2)
    assert acknowledged >= 40
    assert errors
    assert all("the disk is full" in error or "reading or writing the disk failed" in error for error in errors)


def test_a_file_that_may_not_grow(url: str) -> None:
    _, errors = damage.fill_the_file(url)
    assert errors == {"the disk is full (database or disk is full)"}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_that_others_hold(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("url") if kind == "sqlite" else request.getfixturevalue("server").new_url()
    if kind == "postgresql":
        soak.set_up(url)
    damage.hold(url)


def test_files_that_are_damaged_or_cut_off(tmp_path: Path) -> None:
    found = damage.damage_files(tmp_path, damages=20, cuts=5)
    assert sum(found.values()) == 25
    assert found["found"] > 5


def test_text_that_is_none_in_the_schema(url: str) -> None:
    """What SQLite then says of it cannot be decoded either."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = CAST(x'4352ae' AS TEXT) WHERE name = 'events'")
    connection.close()
    with pytest.raises(cv.errors.StorageError, match="damaged"):
        cv.SqlLedger(url).verify_log()


def test_a_pool_that_cannot_be_unpacked(url: str) -> None:
    with cv.SqlLedger(url, clock=soak.milliseconds, trust_clock=True) as ledger:
        group = ledger.open_group(TASK, creator="app", fee=3).id
    for column, table in (("pool", "groups"), ("body", "weights")):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute(f"UPDATE {table} SET {column} = x'00'")
        connection.close()
        with pytest.raises(cv.errors.StorageError, match=r"pool cannot be read: the database was damaged"):
            len(cv.SqlLedger(url).group(group).pool)


def test_an_event_that_has_no_canonical_form() -> None:
    """JSON can hold such numbers: 1e999."""
    ledger = cv.MemoryLedger(soak.POLICY)
    ledger.deposit("app", 1)
    events = list(ledger.events())
    events[1] = replace(events[1], payload={**events[1].payload, "result": {"more": float("inf")}})
    for read in (verify_chain, cv.MemoryLedger.replay):
        with pytest.raises(BrokenLogError, match=r"event 1 \(deposit\) has no canonical form"):
            read(events)


def test_logs_that_are_edited(tmp_path: Path) -> None:
    assert sum(damage.edit_logs(tmp_path, 40).values()) == 40


def test_an_edit_changes_the_log() -> None:
    ledger = cv.MemoryLedger(soak.POLICY)
    for at in range(5):
        ledger.deposit("app", 1 + at)
    events = ledger.events()
    for seed in range(50):
        _, changed = damage.tamper(events, random.Random(seed))
        assert list(events) != changed


def test_random_sequences(tmp_path: Path) -> None:
    counts = sequences.run_sequences(15)
    assert counts.sequences == 15
    assert counts.settled > 5
    assert 0 < counts.refused < counts.actions / 2
    assert counts.faults == 0
    assert sequences.run_sequences(5, faults=0.2).faults > 10
    assert sequences.run_on_files(1, tmp_path).actions > 20


def test_a_sequence_is_the_same_again() -> None:
    assert sequences.Sequence(7).run() == sequences.Sequence(7).run() != sequences.Sequence(8).run()


class _Generous(cv.SqlLedger):
    """Pays more out than it books."""

    def withdraw(self, account: str, amount: int) -> int:
        return super().withdraw(account, max(1, amount - 1))


def test_a_ledger_that_does_something_else_is_found(tmp_path: Path) -> None:
    def make(policy: cv.Policy, **options: Any) -> cv.SqlLedger:
        return _Generous(f"sqlite:///{tmp_path}/ledger.db", policy, **options)

    sequence = sequences.Sequence(0, make)
    sequence.act("deposit", "app", 10)
    with pytest.raises(AssertionError, match=r"withdraw.* not on the other"):
        sequence.act("withdraw", "app", 5)


def test_money_that_comes_from_nowhere_is_found() -> None:
    sequence = sequences.Sequence(0)
    sequence.act("deposit", "app", 10)
    sequence.model.deposit("app", 5)
    with pytest.raises(AssertionError, match="10 was brought in"):
        sequence.check_money()


def test_a_record_that_was_changed_is_found_without_reading_everything(url: str) -> None:
    follower = Follower(url)
    assert follower.check([]) == 26
    with cv.SqlLedger(url, clock=soak.milliseconds, trust_clock=True) as ledger:
        ledger.deposit("app", 5)
    assert follower.check([soak.line_of("deposit", {"account": "app", "amount": "5"})]) == 27
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE accounts SET balance = '7' WHERE name = 'app'")
    connection.close()
    with pytest.raises(AssertionError, match="money was made or lost"):
        follower.check([])
    with pytest.raises(AssertionError, match="acknowledged and lost"):
        follower.find([soak.line_of("deposit", {"account": "app", "amount": "6"})])


def test_a_node_in_two_groups_is_found() -> None:
    clock = ManualClock()
    ledger = cv.MemoryLedger(soak.POLICY, clock=clock, beacon=LocalBeacon(b"secret"))
    sequence = sequences.Sequence(0)
    sequence.model = ledger
    for at in range(3):
        ledger.deposit(f"o{at}", 100)
        ledger.join(f"n{at}", owner=f"o{at}", gpu=CARD, stake=100)
    ledger.deposit("app", 100)
    sequence.money = 400
    group = ledger.open_group(TASK, creator="app", fee=3).id
    clock.advance(1)
    ledger.draw(group)
    sequence.groups = [group]
    sequence.check_money()
    sequence.groups = [group, group]
    with pytest.raises(AssertionError, match="in two groups"):
        sequence.check_money()
