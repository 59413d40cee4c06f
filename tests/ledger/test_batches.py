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
from crynux_validate.errors import UnknownIdError
from crynux_validate.ledger.base import StoringLedger
from tests.ledger import backends
from tests.ledger.helpers import Network


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


def test_nothing_is_acknowledged_before_a_batch_has_ended(backend: backends.Backend) -> None:
    ledger = Network().ledger
    again = backend.again(ledger)
    with ledger.batch():
        ledger.deposit("x", 5)
        assert ledger.account("x") == 5
        if again is not ledger:
            assert again.account("x") == 0
    assert again.account("x") == 5


def test_an_error_of_another_database_stays_what_it_is() -> None:
    ledger = Network().ledger

    def fail() -> None:
        with ledger.batch():
            ledger.deposit("x", 5)
            sqlite3.connect(":memory:").execute("SELECT * FROM songs")

    with pytest.raises(sqlite3.OperationalError, match="no such table: songs"):
        fail()
    assert ledger.account("x") == 0


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


@pytest.mark.parametrize(
    "error", [RuntimeError("the machine stopped here"), cv.errors.InvalidInputError("no such thing")]
)
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
                with pytest.raises(cv.errors.StorageError, match="could not be stored"):
                    again()

    with pytest.raises(cv.errors.StorageError, match=r"could not be stored .* nothing of the batch is"):
        swallow()
    assert everything(ledger) == before
    assert everything(backend.again(ledger)) == before
    assert ledger.deposit("x", 1) == 1
    ledger.verify_log()


def test_a_batch_that_is_never_ended_is_not_stored(backend: backends.Backend) -> None:
    """A process that dies within a batch leaves none of it; what it did in the one before is there."""
    network = Network()
    ledger = network.ledger
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
    network.clock.now = ledger.head().time  # of a process with a clock of its own
    assert ledger.deposit("y0", 1) == 1


def _deposit(ledger: cv.SqlLedger) -> None:
    ledger.deposit("y", 1)


def test_a_process_that_was_forked_is_not_in_the_batch(backend: backends.Backend) -> None:
    if backend.name != "postgresql" or not hasattr(os, "fork"):
        pytest.skip("others refuse it: test_forks.py")
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
            with suppress(cv.errors.StorageError):
                ledger.deposit("y", 5)

    with pytest.raises(cv.errors.StorageError):
        act()
    assert everything(ledger) == before
    assert ledger.deposit("x", 1) == 1
    ledger.verify_log()
