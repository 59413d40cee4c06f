"""What a ledger asks of its beacon, and that it keeps the one that it began with (protocol P4a)."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import crynux_validate as cv
from crynux_validate.ledger.base import StoringLedger
from crynux_validate.ledger.beacon import MissingBeacon, beacon_named, check_beacon
from crynux_validate.ledger.replay import Genesis
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.draws import SlowBeacon
from crynux_validate.testing.conformance.log import rechained
from crynux_validate.testing.conformance.network import LEDGER_ID, SilentBeacon
from crynux_validate.testing.conformance.network import Network as NetworkAround
from tests.ledger import backends
from tests.ledger.helpers import HONEST, POLICY, TASK, Network

AT_A_DISTANCE = replace(POLICY, beacon_delay_seconds=15)
OTHERS = (cv.ledger.LocalBeacon(b"secret", period=2), SlowBeacon())


def foreign(nodes: int = 6) -> NetworkAround:
    """A ledger whose beacon is not this library's."""
    clock = ManualClock()
    ledger = backends.current.make(AT_A_DISTANCE, ledger_id=LEDGER_ID, clock=clock, beacon=SlowBeacon())
    return NetworkAround(ledger, clock, nodes=nodes)


def opened_with(ledger: cv.Ledger, beacon: Any) -> StoringLedger:
    """The same ledger once more: its database, or for one in memory its log."""
    assert isinstance(ledger, StoringLedger)
    clock = ManualClock()
    clock.now = 1_000_100
    if backends.current.name == "memory":
        return cv.MemoryLedger.replay(ledger.events(), clock=clock, beacon=beacon)
    return cv.SqlLedger(backends.current.url_of(ledger), clock=clock, beacon=beacon, trust_clock=True)


def test_the_genesis_holds_the_name_of_the_beacon() -> None:
    assert Network().ledger.events()[0].payload["action"]["beacon"] == "local/1"
    assert foreign().ledger.events()[0].payload["action"]["beacon"] == "slow"
    assert cv.ledger.LocalBeacon(period=30).name == "local/30"
    assert cv.ledger.LocalBeacon(b"a").name == cv.ledger.LocalBeacon(b"b").name, "it says nothing of the secret"


def test_a_ledger_is_opened_with_the_beacon_that_it_began_with() -> None:
    network, far = Network(policy=AT_A_DISTANCE), foreign()
    before = network.ledger.events(), far.ledger.events()
    for beacon in OTHERS:
        with pytest.raises(
            cv.errors.InvalidInputError, match=f"the beacon is '{beacon.name}'; ledger test needs local/1"
        ):
            opened_with(network.ledger, beacon)
    with pytest.raises(cv.errors.InvalidInputError, match="the beacon is 'local/2'; ledger test needs slow"):
        opened_with(far.ledger, OTHERS[0])
    assert opened_with(network.ledger, cv.ledger.LocalBeacon(b"secret")).events() == before[0]
    assert opened_with(far.ledger, SlowBeacon()).events() == before[1]


def test_a_log_is_replayed_with_the_beacon_that_it_began_with() -> None:
    events = foreign().ledger.events()
    with pytest.raises(cv.errors.InvalidInputError, match="the beacon is 'local/1'; ledger test needs slow"):
        backends.current.replay(events, beacon=cv.ledger.LocalBeacon())
    again = backends.current.replay(events, clock=ManualClock(), beacon=SlowBeacon())
    assert again.events() == events
    assert again.open_group(TASK, creator="app", fee=100).beacon_round == 100_002


@pytest.mark.parametrize("name", ["local/2", "local/1", "slow"])
def test_another_name_in_the_log_is_another_log(name: str) -> None:
    """Who rewrites the genesis rewrites every digest that follows."""
    network = foreign()
    events = list(network.ledger.events())
    action = {**events[0].payload["action"], "beacon": name}
    forged = rechained(events, 0, payload={"action": action, "result": {}})
    assert (forged[-1].digest == events[-1].digest) == (name == "slow")


@pytest.mark.parametrize("name", ["", "two words", "a\n", "é", "x" * 129, None, 5])
def test_a_name_in_a_log_is_one_word(name: Any) -> None:
    events = list(Network().ledger.events())
    action = {**events[0].payload["action"], "beacon": name}
    forged = rechained(events, 0, payload={"action": action, "result": {}})
    with pytest.raises(cv.errors.BrokenLogError, match=r"event 0 \(genesis\) cannot be repeated"):
        backends.current.replay(forged)


def test_a_log_without_a_name_is_refused() -> None:
    events = list(Network().ledger.events())
    action = {name: value for name, value in events[0].payload["action"].items() if name != "beacon"}
    with pytest.raises(cv.errors.BrokenLogError, match=r"event 0 \(genesis\) cannot be repeated"):
        backends.current.replay(rechained(events, 0, payload={"action": action, "result": {}}))


def test_a_clock_of_its_own_needs_a_distance_and_nothing_is_made(
    backend: backends.Backend, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(
        cv.errors.InvalidInputError, match=r"beacon_delay_seconds is 0; .* a clock of its own .*set it to 30"
    ):
        backend.make(POLICY, clock=ManualClock(), beacon=SlowBeacon())
    if backend.name == "sqlite":
        file = tmp_path / "ledger.db"
        with pytest.raises(cv.errors.InvalidInputError, match="beacon_delay_seconds"):
            cv.SqlLedger(f"sqlite:///{file}", POLICY, beacon=SlowBeacon())
        with pytest.raises(cv.errors.InvalidInputError, match="the beacon is 5"):
            cv.SqlLedger(f"sqlite:///{file}", POLICY, beacon=5)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []
    if backend.name == "postgresql":
        from sqlalchemy import create_engine, inspect

        url = request.getfixturevalue("server").new_url()
        with pytest.raises(cv.errors.InvalidInputError, match="beacon_delay_seconds"):
            cv.SqlLedger(url, POLICY, beacon=SlowBeacon())
        engine = create_engine(url)
        assert inspect(engine).get_table_names() == []
        engine.dispose()
    network = foreign()
    assert network.ledger.policy.beacon_delay_seconds == 15


def test_a_replayed_log_of_a_foreign_beacon_can_be_looked_at() -> None:
    """What needs a value that only the beacon has says so; all else goes on."""
    network = foreign()
    group = network.opened()
    network.clock.now = 10 * group.beacon_round
    network.ledger.draw(group.id)
    second = network.opened(fee=3)
    last = network.clock.now
    again = opened_with(network.ledger, None)
    again._clock = lambda: last
    for question in (
        lambda ledger: ledger.events(),
        lambda ledger: ledger.totals(),
        lambda ledger: ledger.nodes(),
        lambda ledger: ledger.group(group.id),
        lambda ledger: ledger.head(),
        lambda ledger: ledger.verify_log(),
        lambda ledger: ledger.now(),
    ):
        ask: Callable[[Any], Any] = question
        assert ask(again) == ask(network.ledger)
    members = again.group(group.id).members
    for node in members:
        opening = cv.Opening.of(HONEST)
        again.commit(group.id, node, opening.commitment(again.group(group.id).draw_digest, node=node))
        network.openings[group.id, node] = opening
    for node in members:
        again.reveal(group.id, node, network.openings[group.id, node])
    assert again.settle(group.id).status is cv.ledger.Status.SETTLED
    assert again.deposit("app", 5) > 0
    before = again.events()
    for needs, needed in (
        (lambda: again.open_group(TASK, creator="app", fee=100), f"its next round at {last + 15}"),
        (lambda: again.draw(second.id), f"its round {second.beacon_round}"),
        (again.epoch, "its next round at"),
        (lambda: again.attest_commit("n0", bytes(32), epoch=1), "its next round at"),
    ):
        act: Callable[[], Any] = needs
        with pytest.raises(cv.errors.InvalidInputError, match=rf"needs {needed}.* from the beacon slow.*beacon=\.\.\."):
            act()
    assert again.events() == before
    if isinstance(again, cv.SqlLedger):
        again.verify_records()


def test_who_stands_for_a_beacon() -> None:
    missing = MissingBeacon("drand/quicknet")
    assert missing.name == "drand/quicknet"
    for ask in (lambda: missing.next_round(5), lambda: missing.value(7, 5)):
        with pytest.raises(
            cv.errors.InvalidInputError, match=r"needs .* from the beacon drand/quicknet.*beacon=\.\.\."
        ):
            ask()
    for period in (1, 30, 2**31):
        local = beacon_named(f"local/{period}", b"secret")
        assert isinstance(local, cv.ledger.LocalBeacon)
        assert local.name == f"local/{period}"
        assert local.value(1, period) == cv.ledger.LocalBeacon(b"secret").value(1, 1)
    for name in ("local", "local/", "local/0", f"local/{2**31 + 1}", "local/1.5", "local/-1", "local/x", "local/٣"):
        assert isinstance(beacon_named(name), MissingBeacon), name
        assert beacon_named(name).name == name
    padded = beacon_named("local/007")
    assert padded.name == "local/007", "whoever stands for a beacon has its name"


class Named:
    """A beacon whose members a test chooses."""

    def __init__(self, **members: Any) -> None:
        chosen = {"name": "mine", "on_ledger_clock": True, "next_round": lambda now: now + 1}
        chosen["value"] = lambda round, now: None  # noqa: A006, ARG005
        for name, value in {**chosen, **members}.items():
            if value is not ...:
                setattr(self, name, value)

    def __repr__(self) -> str:
        return "<Named>"


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({"name": ...}, "the beacon's name is None"),
        ({"name": ""}, "the beacon's name is ''"),
        ({"name": "two words"}, "the beacon's name is 'two words'"),
        ({"name": "x" * 129}, "the beacon's name is 'xxx"),
        ({"name": b"mine"}, "the beacon's name is b'mine'"),
        ({"name": "é"}, "the beacon's name is"),
        ({"on_ledger_clock": ...}, "on_ledger_clock of the beacon is None; expected True or False"),
        ({"on_ledger_clock": 1}, "on_ledger_clock of the beacon is 1"),
        ({"on_ledger_clock": "no"}, "on_ledger_clock of the beacon is 'no'"),
        ({"on_ledger_clock": False}, "beacon_delay_seconds is 0"),
        ({"next_round": ...}, "which has no method next_round; expected a beacon, like LocalBeacon"),
        ({"next_round": 5}, "which has no method next_round"),
        ({"value": ...}, "which has no method value"),
        ({"value": b"5"}, "which has no method value"),
    ],
)
def test_what_is_no_beacon(members: dict[str, Any], match: str) -> None:
    check_beacon(Named(), POLICY)
    with pytest.raises(cv.errors.InvalidInputError, match=re.escape(match)):
        check_beacon(Named(**members), POLICY)
    with pytest.raises(cv.errors.InvalidInputError, match=re.escape(match)):
        backends.current.make(POLICY, clock=ManualClock(), beacon=Named(**members))
    with pytest.raises(cv.errors.InvalidInputError):
        opened_with(Network().ledger, Named(**members))


class Whole:
    """A class that has all members of a beacon, which only its objects are."""

    name = "mine"
    on_ledger_clock = True

    def next_round(self, now: int) -> int:
        return now + 1

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002
        return bytes([round % 256]) if round <= now else None


@pytest.mark.parametrize("beacon", [5, "local/1", b"secret", cv.ledger.LocalBeacon, Whole, [], lambda: None])
def test_another_thing_than_a_beacon(beacon: Any) -> None:
    with pytest.raises(cv.errors.InvalidInputError, match="beacon"):
        backends.current.make(POLICY, clock=ManualClock(), beacon=beacon)
    with pytest.raises(cv.errors.InvalidInputError, match="beacon"):
        backends.current.replay(Network().ledger.events(), clock=ManualClock(), beacon=beacon)


@pytest.mark.parametrize("wrong", [None, "1", 1.0, True, [], -(2**53), 2**53])
def test_what_a_local_beacon_is_asked(wrong: Any) -> None:
    beacon = cv.ledger.LocalBeacon(b"secret")
    asked: list[Callable[[], object]] = [
        lambda: beacon.next_round(wrong),
        lambda: beacon.value(wrong, 10),
        lambda: beacon.value(1, wrong),
        lambda: cv.ledger.LocalBeacon(period=wrong),
    ]
    for ask in asked:
        with pytest.raises(cv.errors.InvalidInputError):
            ask()
    with pytest.raises(cv.errors.InvalidInputError, match="secret"):
        cv.ledger.LocalBeacon("secret")  # type: ignore[arg-type]
    assert beacon.value(10, 9) is None
    assert beacon.value(10, 10) == beacon.value(10, 2**40), "once public, for ever"


def test_rounds_are_not_longer_than_groups_wait() -> None:
    """POLICY waits for 20 seconds, AT_A_DISTANCE for 5 after its distance of 15."""
    for policy, longest in ((POLICY, 20), (AT_A_DISTANCE, 5)):
        with pytest.raises(
            cv.errors.InvalidInputError, match=f"draw_seconds is 20, .* of {longest + 1} seconds.*at least .*21"
        ):
            backends.current.make(policy, clock=ManualClock(), beacon=cv.ledger.LocalBeacon(period=longest + 1))
        clock = ManualClock()
        for second in range(0, 40, 3):
            clock.now = 1_000_000 + second
            beacon = cv.ledger.LocalBeacon(period=longest)
            network = NetworkAround(cv.MemoryLedger(policy, clock=clock, beacon=beacon), clock)
            group = network.opened(fee=3)
            clock.now = group.draw_deadline
            assert network.ledger.draw(group.id).status is cv.ledger.Status.DRAWN, (
                "none is closed before its value is public"
            )


@pytest.mark.parametrize("value", [b"", bytes(257), "text"])
def test_what_is_no_value_is_neither_drawn_by_nor_a_challenge(value: Any) -> None:
    """P4b, P6: 1 to 256 bytes."""

    class Loud(SlowBeacon):
        def value(self, round: int, now: int) -> Any:  # noqa: A002
            return super().value(round, now) and value

    network = foreign()
    group = network.opened(fee=3)
    network.ledger._beacon = Loud()  # type: ignore[attr-defined]
    network.clock.advance(30)
    before = network.ledger.events()
    with pytest.raises(cv.errors.InvalidInputError, match=r"the beacon's value of round .*1 to 256 bytes"):
        network.ledger.draw(group.id)
    with pytest.raises(cv.errors.InvalidInputError, match=r"the challenge.* (1 to 256 bytes|expected bytes)"):
        network.ledger.attest_commit("n0", bytes(32), epoch=network.ledger.epoch().number)
    assert network.ledger.events() == before


def test_a_log_with_rounds_that_are_longer_is_refused() -> None:
    """Whoever wrote it: every ledger refuses it, and makes nothing."""
    start = Genesis(LEDGER_ID, POLICY, "local/21", 1_000_000)
    for beacon in (None, cv.ledger.LocalBeacon(period=21)):
        with pytest.raises(cv.errors.InvalidInputError, match=r"draw_seconds is 20, .* of 21 seconds"):
            backends.current.replay([start.event()], clock=ManualClock(), beacon=beacon)


def made(name: str, beacon: cv.ledger.LocalBeacon | None, clock: ManualClock) -> NetworkAround:
    """A ledger in a database with a drawn group, made with a beacon or without."""
    backend = backends.current
    if backend.name == "memory":
        pytest.skip("nobody opens it again")
    given = {} if beacon is None else {"beacon": beacon}
    network = NetworkAround(backend.make(POLICY, ledger_id=name, clock=clock, **given), clock, nodes=12)
    network.drawn(fee=3)
    return network


def open_again(network: NetworkAround, **options: Any) -> cv.SqlLedger:
    assert isinstance(network.ledger, StoringLedger)
    url = backends.current.url_of(network.ledger)
    return cv.SqlLedger(url, clock=network.clock, trust_clock=True, **options)


def test_a_secret_in_the_database_is_the_only_one() -> None:
    """The name of a LocalBeacon does not say which secret it has: another one is found by what it gives."""
    network = made("own", None, ManualClock())
    for secret in (None, b"another"):
        with pytest.raises(
            cv.errors.InvalidInputError,
            match=r"holds the secret of its beacon local/1, which is another: leave beacon out",
        ):
            open_again(network, beacon=cv.ledger.LocalBeacon(secret))
    again = open_again(network)
    network.ledger = again
    network.drawn(fee=3)
    again.verify_records()


def test_a_secret_that_was_given_is_given_again() -> None:
    network = made("given", cv.ledger.LocalBeacon(b"mine"), ManualClock())
    with pytest.raises(
        cv.errors.InvalidInputError, match=r"local/1 has another secret than the one that drew group-1: give"
    ):
        open_again(network, beacon=cv.ledger.LocalBeacon(b"another"))
    without = open_again(network)
    assert without.events() == network.ledger.events()
    without.verify_records()
    with pytest.raises(cv.errors.InvalidInputError, match=r"needs .* from the beacon local/1.*beacon=\.\.\."):
        without.open_group(TASK.replace(seed=9), creator="app", fee=3)
    network.ledger = open_again(network, beacon=cv.ledger.LocalBeacon(b"mine"))
    network.drawn(fee=3)
    assert isinstance(network.ledger, cv.SqlLedger)
    network.ledger.verify_records()


@pytest.mark.parametrize("given", [True, False])
def test_a_log_that_was_taken_to_another_database_goes_on(given: bool) -> None:
    """With its beacon, or with a new one; what is checked then are the values that this one gave."""
    clock = ManualClock()
    beacon = cv.ledger.LocalBeacon(b"mine")
    events = made("first", beacon, clock).ledger.events()
    network = NetworkAround.__new__(NetworkAround)
    network.__dict__.update(made("unused", None, clock).__dict__)
    options: dict[str, Any] = {"beacon": beacon} if given else {}
    network.ledger = again = backends.current.replay(events, clock=clock, **options)
    assert isinstance(again, cv.SqlLedger)
    again.verify_records()
    network.drawn(fee=3)
    again.verify_records()
    again._beacon = cv.ledger.LocalBeacon(b"a value that somebody liked better")
    network.drawn(fee=3)
    again._beacon = beacon if given else cv.ledger.LocalBeacon(secret_of(again))
    with pytest.raises(cv.errors.BrokenLogError, match="value for group-3 is not what the ledger's own beacon gives"):
        again.verify_records()


def test_a_log_is_replayed_with_the_secret_that_drew_its_groups(tmp_path: Path) -> None:
    """One that is wrong makes nothing; the right one goes on, over groups that were closed as well."""
    network = Network(nodes=6)
    network.drawn(fee=3)
    closed = network.opened(fee=3)
    network.clock.now = closed.draw_deadline
    ledger = network.ledger
    own, ledger._beacon = ledger._beacon, SilentBeacon()
    assert ledger.draw(closed.id).status is cv.ledger.Status.CLOSED
    ledger._beacon = own
    with pytest.raises(cv.errors.InvalidInputError, match="another secret than the one that drew group-1"):
        backends.current.replay(ledger.events(), clock=network.clock, beacon=cv.ledger.LocalBeacon(b"another"))
    again = backends.current.replay(ledger.events(), clock=network.clock, beacon=cv.ledger.LocalBeacon(b"secret"))
    assert again.events() == ledger.events()
    if backends.current.name == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
        with pytest.raises(cv.errors.InvalidInputError, match="another secret"):
            cv.SqlLedger.replay(ledger.events(), url, clock=network.clock, beacon=cv.ledger.LocalBeacon(b"another"))
        made = cv.SqlLedger.replay(ledger.events(), url, clock=network.clock, beacon=cv.ledger.LocalBeacon(b"secret"))
        assert made.events() == ledger.events(), "nothing was in the way"


def secret_of(ledger: cv.SqlLedger) -> bytes:
    with ledger._engine.connect() as connection:
        return bytes(connection.exec_driver_sql("SELECT beacon_secret FROM ledger").scalar_one())
