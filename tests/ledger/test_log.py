"""What is said of a log that does not fit together (protocol L5)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from crynux_validate import MemoryLedger
from crynux_validate.errors import BrokenLogError
from crynux_validate.frozen import thaw
from crynux_validate.ledger import Event, verify_chain
from crynux_validate.testing.conformance.log import rechained
from tests.ledger.helpers import CHEAT, HONEST, POLICY, Network


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    """The ledger in memory is enough: what is tested is given a log."""


@pytest.fixture(scope="module")
def events() -> list[Event]:
    network = Network()
    network.answered(HONEST, HONEST, CHEAT)
    return list(network.ledger.events())


Edit = Callable[[list[Event]], list[Event]]


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (
            lambda log: [*log[:3], replace(log[3], time=5), *log[4:]],
            "event 4 .* does not follow .* was edited or left out",
        ),
        (lambda log: [*log[:3], *log[4:]], "event 3 has the number 4"),
        (lambda log: [*log[:3], log[4], log[3], *log[5:]], "event 3 has the number 4"),
        (lambda log: log[:-1], "cut off or rewritten"),
    ],
)
def test_a_broken_chain_names_the_event(edit: Edit, match: str, events: list[Event]) -> None:
    head = events[-1].digest
    verify_chain(events, head)
    with pytest.raises(BrokenLogError, match=match):
        verify_chain(edit(events), head)


def test_a_log_that_was_cut_off_is_found_by_its_head_alone(events: list[Event]) -> None:
    verify_chain(events[:-1])


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda log: log[1:], "event 0 is not a genesis"),
        (
            lambda log: [replace(log[0], payload={"action": {}, "result": {}})],
            r"event 0 \(genesis\) cannot be repeated",
        ),
        (lambda log: rechained(log, 1, payload={}), r"event 1 \(deposit\) cannot be repeated"),
        (
            lambda log: rechained(log, len(log) - 1, payload={**log[-1].payload, "result": {}}),
            r"\(settle\) differs from its replay",
        ),
        (
            lambda log: rechained(log, 1, payload={"action": {"account": "app", "amount": "1"}, "result": {}}),
            r"event \d+ \(.*\) cannot be repeated: account app has 1",
        ),
    ],
)
def test_a_replay_names_the_event_that_the_rules_do_not_give(edit: Edit, match: str, events: list[Event]) -> None:
    assert MemoryLedger.replay(events).events() == tuple(events)
    with pytest.raises(BrokenLogError, match=match):
        MemoryLedger.replay(edit(events))


# ------------------------------------------------------------------------------------------------ the queue in a log


@pytest.fixture(scope="module")
def queue() -> list[Event]:
    """Three groups that waited, of which the last found candidates taken; one that waits; a node that is leaving."""
    network = Network(nodes=12, policy=replace(POLICY, min_pool_ppm=0))
    opened = [network.opened(fee=3) for _ in range(3)]
    network.clock.advance(1)
    assert network.ledger.draw(opened[2].id).members
    network.opened(fee=3)
    network.ledger.leave("n0")
    return list(network.ledger.events())


def at(log: list[Event], kind: str, number: int = 0) -> int:
    """Where the first, second, ... event of a kind stands."""
    return [event.seq for event in log if event.kind == kind][number]


def changed(log: list[Event], place: int, part: str, **change: object) -> list[Event]:
    """Change the action or the result of one event, and make all that follow fit it."""
    payload = thaw(log[place].payload)
    return rechained(log, place, payload={**payload, part: {**payload[part], **change}})


def swapped(log: list[Event], one: int, other: int) -> list[Event]:
    """Let two events change places."""
    first, second = log[one], log[other]
    between = rechained(log, one, kind=second.kind, payload=thaw(second.payload), time=first.time)
    return rechained(between, other, kind=first.kind, payload=thaw(first.payload), time=second.time)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (
            lambda log: swapped(log, at(log, "draw", 0), at(log, "draw", 1)),
            r"\(draw\) cannot be repeated: group group-2 waits for group-1: groups are drawn in order",
        ),
        (
            lambda log: changed(log, at(log, "draw", 1), "action", group="group-3"),
            r"\(draw\) cannot be repeated: group group-3 waits for group-2",
        ),
        (
            lambda log: changed(log, at(log, "draw", 1), "action", group="group-1"),
            r"\(draw\) cannot be repeated: group group-1 is DRAWN",
        ),
        (
            lambda log: changed(log, at(log, "draw", 1), "action", beacon="00" * 32),
            r"\(draw\) differs from its replay",
        ),
        (
            lambda log: changed(log, at(log, "draw", 1), "action", beacon=None),
            r"\(draw\) cannot be repeated: group group-2 waits for beacon round \d+, which is not public yet",
        ),
        (
            lambda log: changed(log, at(log, "draw", 1), "action", beacon=""),
            r"\(draw\) cannot be repeated: the beacon's value of round \d+ is b''",
        ),
        (
            lambda log: changed(log, at(log, "draw", 2), "result", unavailable={}),
            r"\(draw\) differs from its replay",
        ),
        (
            lambda log: changed(log, at(log, "draw", 2), "result", unavailable_weight="5999"),
            r"\(draw\) differs from its replay",
        ),
        (
            lambda log: changed(log, at(log, "open_group", 1), "action", beacon_round=5),
            r"\(open_group\) cannot be repeated: the beacon's next round is 5; expected at least \d+",
        ),
        (
            lambda log: changed(log, at(log, "open_group", 1), "action", beacon_round=-1),
            r"\(open_group\) cannot be repeated: the beacon's next round is -1",
        ),
        (
            lambda log: changed(log, at(log, "open_group", 1), "result", base="11999"),
            r"\(open_group\) differs from its replay",
        ),
        (
            lambda log: changed(
                log, at(log, "open_group", 1), "action", task=thaw(log[at(log, "open_group")].payload["action"]["task"])
            ),
            r"\(open_group\) cannot be repeated: group-1 had this task",
        ),
        (
            lambda log: changed(log, at(log, "leave"), "result", leaving=3),
            r"\(leave\) differs from its replay",
        ),
        (
            lambda log: changed(log, at(log, "leave"), "result", returned="1000"),
            r"\(leave\) differs from its replay",
        ),
        (
            lambda log: [*log, again(log, "leave")],
            r"event \d+ \(leave\) differs from its replay",
        ),
        (
            lambda log: [*log, again(log, "leave", kind="top_up", action={"node": "n0", "amount": "5"})],
            r"\(top_up\) cannot be repeated: node n0 is leaving",
        ),
    ],
)
def test_a_forged_queue_is_not_repeated(edit: Edit, match: str, queue: list[Event]) -> None:
    assert MemoryLedger.replay(queue).events() == tuple(queue)
    with pytest.raises(BrokenLogError, match=match):
        MemoryLedger.replay(edit(queue))


@pytest.mark.parametrize("place", [1, 3, 5])
def test_a_replay_says_that_an_event_is_missing(place: int, events: list[Event]) -> None:
    """And not that the rules refuse the next one, as a stake without its deposit."""
    with pytest.raises(BrokenLogError, match=rf"event {place} \(.*\) does not follow the event before it"):
        MemoryLedger.replay([*events[:place], *events[place + 1 :]])


def again(log: list[Event], like: str, kind: str | None = None, action: dict[str, object] | None = None) -> Event:
    """One more event, like one that there is, at the end of a log."""
    found = log[at(log, like)]
    payload = thaw(found.payload) if action is None else {"action": action, "result": {}}
    return Event(len(log), log[-1].time, kind or found.kind, payload, log[-1].digest)
