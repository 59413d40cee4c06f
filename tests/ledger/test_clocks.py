"""What a ledger takes for the time (protocol L6)."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

import crynux_validate as cv
from crynux_validate.cli import main
from crynux_validate.ledger.log import Event
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.log import rechained
from tests.ledger import backends
from tests.ledger.conftest import using
from tests.ledger.helpers import HONEST, Network
from tests.ledger.postgresql import Server


@pytest.fixture(scope="module", autouse=True, params=["memory", "sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    yield from using(request.param, request)


@pytest.mark.parametrize("reading", [-1, 4_102_444_801, 1_790_000_000_000, 1_790_000_000_000_000_000, 2**80, -(2**63)])
def test_a_reading_that_is_no_time_changes_nothing(reading: int) -> None:
    network = Network()
    before = network.ledger.events()
    network.clock.now = reading
    for act in (lambda: network.ledger.deposit("a", 1), lambda: network.ledger.epoch()):
        with pytest.raises(cv.errors.ClockError, match=r"expected seconds since 1970, from 0 to 4102444800"):
            act()
    with pytest.raises(cv.errors.ClockError):
        backends.current.make(clock=network.clock)
    network.clock.now = 1_000_000
    assert network.ledger.events() == before
    assert network.ledger.deposit("a", 1) == 1
    assert issubclass(cv.errors.ClockError, cv.errors.LedgerError)


def test_how_far_behind_a_clock_may_be() -> None:
    network = Network()
    ledger, clock = network.ledger, network.clock
    clock.now = 1_000_500
    ledger.deposit("a", 1)
    for behind in (0, 1, 60):
        clock.now = 1_000_500 - behind
        ledger.deposit("a", 1)
        assert ledger.events()[-1].time == 1_000_500
        ledger.epoch()
    before = ledger.events()
    for behind in (61, 7_200, 1_000_500):
        clock.now = 1_000_500 - behind
        with pytest.raises(cv.errors.ClockError, match=f"{behind} seconds before the last event"):
            ledger.deposit("a", 1)
        with pytest.raises(cv.errors.ClockError):
            ledger.epoch()
        assert ledger.account("a") == 4, "what needs no time is answered"
    assert ledger.events() == before
    clock.now = 4_102_444_800
    ledger.deposit("a", 1)


def test_a_host_that_is_ahead_cannot_make_others_late(backend: backends.Backend) -> None:
    """Two hosts with their own clocks would: the group's deadlines pass for everybody at one action."""
    if backend.name != "memory":
        ledger = backend.make()
        url = backend.url_of(ledger)
        if backend.name == "postgresql":
            with pytest.raises(cv.errors.InvalidInputError, match="trust_clock=True"):
                cv.SqlLedger(url, clock=ManualClock())
            with pytest.raises(cv.errors.InvalidInputError, match="trust_clock=True"):
                cv.SqlLedger.replay(ledger.events(), url, clock=ManualClock())
        else:
            cv.SqlLedger(url, clock=ManualClock())


def test_a_log_with_such_a_time_is_not_repeated() -> None:
    network = Network()
    network.answered(HONEST, HONEST, HONEST)
    events = list(network.ledger.events())
    assert backends.current.replay(events).events() == tuple(events)
    last = len(events) - 1
    with pytest.raises(cv.errors.BrokenLogError, match="expected seconds since 1970"):
        backends.current.replay(rechained(events, last, time=1_790_000_000_000))
    genesis: Event = replace(events[0], time=-5)
    with pytest.raises(cv.errors.BrokenLogError, match="event 0"):
        backends.current.replay([genesis])


def test_show_says_how_the_clock_stands(backend: backends.Backend, capsys: pytest.CaptureFixture[str]) -> None:
    if backend.name == "memory":
        pytest.skip("nobody else can look into it")
    url = backend.url_of(Network().ledger)
    assert main(["ledger", "show", url]) == 0
    assert " s after the last event" in capsys.readouterr().out
    ahead = backend.make(clock=lambda: 4_102_444_800)
    ahead.deposit("a", 1)
    assert main(["ledger", "show", backend.url_of(ahead)]) == 0
    shown = capsys.readouterr().out
    assert "the last 2100-01-01 00:00:00 UTC" in shown
    assert "BEFORE the last event: nobody can act" in shown
    with pytest.raises(cv.errors.ClockError):
        cv.SqlLedger(backend.url_of(ahead)).deposit("a", 1)


def test_the_servers_clock_counts_and_not_the_hosts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.new_url()
    right = int(time.time())
    monkeypatch.setattr(time, "time", lambda: right + 7_200.0)
    with cv.SqlLedger(url) as ledger:
        ledger.deposit("a", 1)
        with ledger.batch():
            ledger.deposit("a", 1)
            ledger.deposit("a", 1)
        assert all(abs(event.time - right) < 600 for event in ledger.events())
        assert abs(ledger.clock_time() - right) < 600
        assert abs(ledger.epoch().starts - right) <= ledger.policy.epoch_seconds + 600


def test_the_servers_clock_is_read_after_the_wait(server: Server) -> None:
    """A time that was read before others let go may lie before a deadline that has passed."""
    url = server.new_url()
    ledger, other = cv.SqlLedger(url), cv.SqlLedger(url)
    done: list[int] = []

    def act() -> None:
        other.deposit("late", 1)
        done.append(other.events()[-1].time)

    waiting = threading.Thread(target=act)
    with ledger._writing():
        began = ledger.clock_time()
        waiting.start()
        while ledger.clock_time() < began + 2:
            time.sleep(0.05)
    waiting.join()
    assert done
    assert done[0] >= began + 2
