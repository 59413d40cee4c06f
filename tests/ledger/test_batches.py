"""Batches: many actions in one transaction, each whole or refused, all of them stored or none (protocol L1, L7)."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import pytest

import crynux_validate as cv
from crynux_validate.errors import InsufficientFundsError, UnknownIdError
from crynux_validate.ledger.base import StoringLedger
from tests.ledger import backends
from tests.ledger.helpers import CARD, CHEAT, HONEST, TASK, Network


def everything(ledger: StoringLedger) -> tuple[object, ...]:
    """All that can be asked of a ledger of `Network`."""
    groups: list[cv.Group] = []
    while True:
        try:
            groups.append(ledger.group(f"group-{len(groups) + 1}"))
        except UnknownIdError:
            break
    balances = [ledger.account(name) for name in ("app", "x", "y", *(f"o{at}" for at in range(6)))]
    return ledger.events(), ledger.totals(), ledger.nodes(), balances, groups, ledger.head()


def test_a_batch_does_what_its_actions_do_one_by_one(backend: backends.Backend) -> None:
    network, alone = Network(), Network()
    openings = {at: cv.Opening(HONEST.to_bytes() if at else CHEAT.to_bytes(), bytes([at]) * 32) for at in range(3)}

    def act(network: Network) -> None:
        ledger = network.ledger
        ledger.deposit("x", 5)
        for _ in range(3):
            group = ledger.open_group(TASK, creator="app", fee=100)
            network.clock.advance(1)
            members = ledger.draw(group.id).members
            for at, node in enumerate(members):
                bound = openings[at].commitment(ledger=ledger.id, group=group.id, node=node)
                ledger.commit(group.id, node, bound)
            for at, node in enumerate(members):
                ledger.reveal(group.id, node, openings[at])
            settled = ledger.settle(group.id)
            assert ledger.group(group.id) == settled
            assert settled.verdict is not None
            slashed = ledger.node(members[0])
            assert slashed.stake == 0
            ledger.leave(slashed.id)
        ledger.join("late", owner="o0", gpu=CARD, stake=500)
        ledger.top_up("late", 7)
        assert len(ledger.group(ledger.open_group(TASK, creator="app", fee=3).id).pool) == 3
        ledger.withdraw("x", 1)

    with network.ledger.batch():
        act(network)
        inside = everything(network.ledger)
    act(alone)
    assert everything(network.ledger) == inside == everything(alone.ledger)
    assert everything(backend.again(network.ledger)) == inside
    assert network.ledger.verify_log() == network.ledger.head().digest
    if isinstance(network.ledger, cv.SqlLedger):
        network.ledger.verify_records()
        network.ledger.verify_storage()


def test_nothing_is_acknowledged_before_a_batch_has_ended(backend: backends.Backend) -> None:
    ledger = Network().ledger
    again = backend.again(ledger)
    with ledger.batch():
        ledger.deposit("x", 5)
        assert ledger.account("x") == 5
        if again is not ledger:
            assert again.account("x") == 0
    assert again.account("x") == 5


def test_a_refused_action_changes_nothing_and_the_batch_goes_on(backend: backends.Backend) -> None:
    ledger = Network().ledger
    with ledger.batch():
        ledger.deposit("x", 5)
        before = everything(ledger)
        with pytest.raises(InsufficientFundsError):
            ledger.withdraw("x", 6)
        with pytest.raises(cv.InvalidInputError):
            ledger.deposit("x", -1)
        with pytest.raises(UnknownIdError):
            ledger.settle("group-9")
        assert everything(ledger) == before
        ledger.withdraw("x", 1)
    assert ledger.account("x") == 4
    assert everything(backend.again(ledger)) == everything(ledger)
    ledger.verify_log()


def test_an_exception_that_leaves_a_batch_undoes_all_of_it(backend: backends.Backend) -> None:
    network = Network(nodes=8)
    ledger = network.ledger
    waiting = ledger.open_group(TASK, creator="app", fee=3)
    network.clock.advance(1)
    before = everything(ledger)

    def fail(error: type[BaseException]) -> None:
        with ledger.batch():
            ledger.deposit("x", 5)
            ledger.join("late", owner="o0", gpu=CARD, stake=500)
            ledger.draw(waiting.id)
            ledger.open_group(TASK, creator="app", fee=3)
            assert everything(ledger) != before
            raise error

    for error in (InsufficientFundsError, RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
        assert everything(ledger) == before
        assert everything(backend.again(ledger)) == before
    with pytest.raises(cv.LedgerError, match="in the pool of group-1"):
        ledger.leave("n0")
    assert ledger.draw(waiting.id).status is cv.Status.DRAWN
    ledger.verify_log()
    if isinstance(ledger, cv.SqlLedger):
        ledger.verify_records()


def test_an_error_of_another_database_stays_what_it_is() -> None:
    ledger = Network().ledger

    def fail() -> None:
        with ledger.batch():
            ledger.deposit("x", 5)
            sqlite3.connect(":memory:").execute("SELECT * FROM songs")

    with pytest.raises(sqlite3.OperationalError, match="no such table: songs"):
        fail()
    assert ledger.account("x") == 0


def test_a_batch_holds_no_other() -> None:
    ledger, other = Network().ledger, Network().ledger
    with ledger.batch(), other.batch():
        ledger.deposit("x", 5)
        with pytest.raises(cv.InvalidInputError, match="in a batch of this ledger"), ledger.batch():
            pass
        other.deposit("y", 6)
        ledger.deposit("x", 5)
    assert (ledger.account("x"), other.account("y")) == (10, 6)
    with ledger.batch():
        pass
    with ledger.batch():
        ledger.deposit("x", 1)
    assert ledger.account("x") == 11


def test_other_threads_wait(backend: backends.Backend) -> None:
    ledger = Network().ledger
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(ledger.deposit("x", 1)))
    with ledger.batch():
        ledger.deposit("x", 5)
        thread.start()
        thread.join(0.2)
        assert not done
        assert ledger.deposit("x", 5) == 10
    thread.join()
    assert done == [11]
    assert backend.again(ledger).account("x") == 11
    ledger.verify_log()


def test_threads_have_batches_of_their_own() -> None:
    ledger = Network().ledger

    def act() -> None:
        for _ in range(5):
            with ledger.batch():
                for _ in range(10):
                    ledger.deposit("x", 1)

    threads = [threading.Thread(target=act) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.account("x") == 200
    ledger.verify_log()


@pytest.mark.parametrize("error", [RuntimeError("the machine stopped here"), cv.InvalidInputError("no such thing")])
def test_a_batch_whose_storing_failed_cannot_go_on(
    error: Exception, backend: backends.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the caller catches, nothing of what may be stored in part is."""
    ledger = Network().ledger
    before = everything(ledger)
    with ledger._reading() as store:
        kind: Any = type(store)
    write = kind.write

    def fail(store: object, *arguments: object) -> None:
        write(store, *arguments)
        raise error

    def swallow() -> None:
        with ledger.batch():
            ledger.deposit("x", 5)
            with monkeypatch.context() as patch:
                patch.setattr(kind, "write", fail)
                with pytest.raises(type(error)):
                    ledger.deposit("x", 6)
            for again in (lambda: ledger.deposit("x", 7), lambda: ledger.account("x"), ledger.head):
                with pytest.raises(cv.StorageError, match="could not be stored"):
                    again()

    with pytest.raises(cv.StorageError, match=r"could not be stored .* nothing of the batch is"):
        swallow()
    assert everything(ledger) == before
    assert everything(backend.again(ledger)) == before
    assert ledger.deposit("x", 1) == 1
    ledger.verify_log()


def test_a_batch_that_is_never_ended_is_not_stored(backend: backends.Backend) -> None:
    """A process that dies within a batch leaves none of it; what it did in the one before is there."""
    ledger = Network().ledger
    if backend.name == "memory":
        pytest.skip("a ledger in memory dies with its process")
    program = """
import os, signal, sys, crynux_validate as cv
ledger = cv.SqlLedger(sys.argv[1])
with ledger.batch():
    for _ in range(50):
        ledger.deposit("x", 1)
with ledger.batch():
    for at in range(2_000):
        ledger.deposit(f"y{at}", 1)
    assert ledger.account("y0") == 1
    os.kill(os.getpid(), signal.SIGKILL)
"""
    head = ledger.head().seq
    done = subprocess.run([sys.executable, "-c", program, backend.url_of(ledger)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (ledger.account("x"), ledger.account("y0"), ledger.head().seq) == (50, 0, head + 50)
    ledger.verify_log()
    assert isinstance(ledger, cv.SqlLedger)
    ledger.verify_records()
    ledger.verify_storage()
    assert ledger.deposit("y0", 1) == 1


def _deposit(ledger: cv.SqlLedger) -> None:
    ledger.deposit("y", 1)


def test_a_process_that_was_forked_is_not_in_the_batch(backend: backends.Backend) -> None:
    if backend.name != "postgresql" or not hasattr(os, "fork"):
        pytest.skip("SQLite does not let a process that was forked while a file was locked use that file")
    ledger = Network().ledger
    with ledger.batch():
        ledger.deposit("x", 5)
        child = multiprocessing.get_context("fork").Process(target=_deposit, args=(ledger,))
        child.start()
        child.join(0.3)
        assert child.is_alive(), "it waits, as any other process does"
        ledger.deposit("x", 5)
    child.join()
    assert (ledger.account("x"), ledger.account("y")) == (10, 1)
    ledger.verify_log()


def test_a_connection_that_breaks_within_a_batch(backend: backends.Backend) -> None:
    if backend.name != "postgresql":
        pytest.skip("only a server has connections that break")
    ledger = Network().ledger
    other = backend.again(ledger)
    assert isinstance(ledger, cv.SqlLedger)
    assert isinstance(other, cv.SqlLedger)
    before = everything(ledger)

    def act() -> None:
        with ledger.batch():
            ledger.deposit("x", 5)
            with other._engine.connect() as connection:
                killed = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
                assert connection.exec_driver_sql(f"{killed} AND pid <> pg_backend_pid()").all()
            with suppress(cv.StorageError):
                ledger.deposit("y", 5)

    with pytest.raises(cv.StorageError):
        act()
    assert everything(ledger) == before
    assert ledger.deposit("x", 1) == 1
    ledger.verify_log()
