"""Processes that are forked while a ledger is in use: they act on it, or are told at once why not."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

import crynux_validate as cv
from crynux_validate.ledger import forks
from crynux_validate.ledger.base import StoringLedger
from tests.ledger import backends
from tests.ledger.helpers import Network

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

REFUSED = "StorageError: .* forked (while a transaction|during a transaction)"


def in_child(act: Callable[[], object]) -> str:
    """What a forked process gets from acting: its result, or its error."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = repr(act())
        except BaseException as error:  # noqa: BLE001 - told to the parent
            said = f"{type(error).__name__}: {error}"
        os.write(writes, said.encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said


@contextmanager
def threads_that(act: Callable[[], object], count: int = 3) -> Iterator[None]:
    """Other threads that do something all the time."""
    stop = threading.Event()

    def go() -> None:
        while not stop.is_set():
            act()

    running = [threading.Thread(target=go) for _ in range(count)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in running:
            thread.join()


@contextmanager
def held_by_another_thread(ledger: StoringLedger) -> Iterator[None]:
    """A thread that is in a transaction, and stays there."""
    begun, end = threading.Event(), threading.Event()

    def hold() -> None:
        with ledger.batch():
            ledger.deposit("held", 1)
            begun.set()
            end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("busy", ["deposit", "account", "verify_log"])
def test_a_child_of_a_busy_process_acts(backend: backends.Backend, busy: str) -> None:
    ledger = Network().ledger
    actions: dict[str, Callable[[], object]] = {
        "deposit": lambda: ledger.deposit("busy", 1),
        "account": lambda: ledger.account("busy"),
        "verify_log": ledger.verify_log,
    }
    with threads_that(actions[busy]):
        for at in range(8):
            assert in_child(lambda name=f"a{at}": ledger.deposit(name, 7)) == "7"  # type: ignore[misc]
    if backend.name != "memory":
        assert [ledger.account(f"a{at}") for at in range(8)] == [7] * 8
    assert ledger.deposit("parent", 1) == 1
    ledger.verify_log()


def test_what_a_child_was_acknowledged_stays_when_its_parent_closes(backend: backends.Backend) -> None:
    """A child that shares its parent's idea of who has the file open loses what it writes when the parent closes it."""
    if backend.name == "memory":
        pytest.skip("a ledger in memory dies with its process")
    ledger = Network().ledger
    url = backend.url_of(ledger)
    to_child, to_parent = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            other = cv.SqlLedger(url)
            other.deposit("first", 1)
            os.write(to_parent[1], b"1")
            os.read(to_child[0], 1)
            other.deposit("second", 1)
            os.write(to_parent[1], b"2")
        os._exit(0)
    assert os.read(to_parent[0], 1) == b"1"
    assert isinstance(ledger, cv.SqlLedger)
    ledger.account("first")
    ledger.close()
    os.write(to_child[1], b"x")
    assert os.read(to_parent[0], 1) == b"2"
    os.waitpid(child, 0)
    for end in (*to_child, *to_parent):
        os.close(end)
    again = cv.SqlLedger(url)
    assert (again.account("first"), again.account("second")) == (1, 1)
    again.verify_records()


def test_a_child_of_a_long_transaction_is_refused_at_once(
    backend: backends.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_WAIT_SECONDS", 0.05)
    ledger = Network().ledger
    with held_by_another_thread(ledger):
        if backend.name == "postgresql":
            assert in_child(lambda: ledger.account("app")) == "10000"
        else:
            began = time.monotonic()
            acts: list[Callable[[], object]] = [lambda: ledger.deposit("a", 1), lambda: ledger.account("a")]
            if backend.name == "sqlite":
                acts.append(lambda: cv.SqlLedger(backend.url_of(ledger)))
            for act in acts:
                said = in_child(act)
                assert re.match(REFUSED, said), said
            assert time.monotonic() - began < 20, "nobody waits for a lock that is not given back"
    assert ledger.deposit("held", 1) == 2
    assert in_child(lambda: ledger.deposit("held", 1)) == "3"
    ledger.verify_log()


def test_a_child_that_leaves_its_parents_batch_stores_nothing(backend: backends.Backend) -> None:
    """It comes to the end of a block that its parent began."""
    ledger = Network().ledger
    reads, writes = os.pipe()
    child = 1
    try:
        with ledger.batch():
            ledger.deposit("a", 1)
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                ledger.deposit("a", 1)
    except cv.errors.StorageError as error:
        os.write(writes, str(error).encode())
    finally:
        if child == 0:
            os._exit(0)
    if backend.name != "memory":
        assert b"forked within" in os.read(reads, 1_000)
    os.close(reads)
    os.close(writes)
    assert ledger.account("a") == 2
    assert backend.again(ledger).account("a") == 2
    ledger.verify_log()


def test_a_child_that_ends_as_usual_harms_nobody() -> None:
    """With all that Python does at its end, within a batch of its parent."""
    if backends.current.name == "memory":
        pytest.skip("a ledger in memory dies with its process")
    program = (
        "import os, sys, crynux_validate as cv\n"
        "ledger = cv.SqlLedger(sys.argv[1])\n"
        "with ledger.batch():\n"
        "    ledger.deposit('a', 1)\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        sys.exit()\n"
        "    os.waitpid(child, 0)\n"
        "    ledger.deposit('a', 1)\n"
        "print(ledger.deposit('a', 1))\n"
        "ledger.verify_records()\n"
    )
    url = backends.current.url_of(backends.current.make())
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"
