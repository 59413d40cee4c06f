"""What is said of a log that does not fit together (protocol L5)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from crynux_validate import Event, MemoryLedger, verify_chain
from crynux_validate.errors import BrokenLogError
from crynux_validate.testing.conformance.log import rechained
from tests.ledger.helpers import CHEAT, HONEST, Network


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
        (lambda log: [*log[:3], replace(log[3], time=5), *log[4:]], "event 4 .* does not follow .* edited or left out"),
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
            r"\(settle\) says something else than a replay of it",
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
