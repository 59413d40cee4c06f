"""The log: chained, complete, and enough to build the ledger again (protocol L5)."""

from dataclasses import replace
from typing import Any

import pytest

from crynux_validate.encoding import canonical_json
from crynux_validate.errors import BrokenLogError
from crynux_validate.ledger.interface import Event, Ledger, verify_chain
from crynux_validate.ledger.memory import MemoryLedger
from crynux_validate.machines.classes import Attestation
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.harness import Harness, RestartableNetwork
from crynux_validate.testing.conformance.network import (
    CHEAT,
    HONEST,
    HONEST_TEXT,
    LEDGER_ID,
    MACHINE,
    POLICY,
    TEXT,
    SilentBeacon,
    everything,
)


def rechained(events: list[Event], at: int, **change: Any) -> list[Event]:
    """Change one event, and make all that follow fit it."""
    forged = [*events[:at], replace(events[at], **change)]
    for event in events[at + 1 :]:
        forged.append(replace(event, previous=forged[-1].digest))
    verify_chain(forged)
    return forged


@needs("log")
class LogRules(Harness):
    """Standard tests of the event log."""

    def busy(self) -> RestartableNetwork:
        """Return a network in which every kind of action has happened."""
        network = self.network(nodes=6)
        network.attest()
        network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, task=TEXT)
        network.answered(HONEST, HONEST, CHEAT)
        network.answered(HONEST, HONEST, None)
        network.ledger.withdraw("app", 5)
        network.ledger.top_up("n0", 7)
        free = next(node.id for node in network.ledger.nodes() if node.stake)
        network.ledger.leave(free)
        network.drawn(fee=3)
        return network

    def test_l5_every_action_is_an_event(self) -> None:
        network = self.network(nodes=3)
        before = [event.kind for event in network.ledger.events()]
        assert before == ["genesis", "deposit"] + ["deposit", "join"] * 3
        network.attest({"n0": MACHINE})
        network.answered(HONEST, HONEST, HONEST)
        network.ledger.withdraw("app", 1)
        network.ledger.top_up("n0", 1)
        network.ledger.leave("n0")
        after = [event.kind for event in network.ledger.events(since=len(before))]
        expected = ["attest_commit", "attest_reveal", "open_group", "draw"] + ["commit"] * 3 + ["reveal"] * 3
        assert after == [*expected, "settle", "withdraw", "top_up", "leave"]

    def test_l5_each_event_carries_the_digest_of_the_one_before_it(self) -> None:
        """Computed by hand, from the first event on."""
        events = list(self.busy().ledger.events())
        previous = "0" * 64
        for seq, event in enumerate(events):
            assert (event.seq, event.previous) == (seq, previous), f"event {seq} ({event.kind}) is not chained"
            previous = by_hand.event_digest(event)
            assert event.digest == previous
        times = [event.time for event in events]
        assert times == sorted(times)
        verify_chain(events, previous)

    def test_l5_the_log_begins_with_the_ledgers_id_and_policy(self) -> None:
        ledger = self.new_ledger()
        (genesis,) = ledger.events()
        assert (ledger.id, ledger.policy) == (LEDGER_ID, self.adapted_policy(POLICY))
        assert genesis.kind == "genesis"
        action = dict(genesis.to_dict()["payload"]["action"])
        beacon = action.pop("beacon")
        assert beacon == "local/1" or not self.has("beacon")
        assert canonical_json(action) == canonical_json({"ledger": LEDGER_ID, "policy": ledger.policy.to_dict()})
        assert genesis.to_dict()["payload"]["result"] == {}

    def test_l5_events_can_be_read_from_a_number_on(self) -> None:
        ledger = self.network(nodes=2).ledger
        events = tuple(ledger.events())
        assert tuple(ledger.events(0)) == events
        assert tuple(ledger.events(3)) == events[3:]
        assert tuple(ledger.events(since=len(events))) == ()

    def test_l5_events_cannot_be_changed(self) -> None:
        network = self.network()
        network.answered(HONEST, HONEST, CHEAT)
        last = network.ledger.events()[-1]
        result: Any = last.payload["result"]
        with pytest.raises(TypeError):
            result["outcome"] = "NO_QUORUM"
        assert isinstance(result["transfers"], tuple)
        last.to_dict()["payload"]["result"]["outcome"] = "NO_QUORUM"
        assert network.ledger.events()[-1].payload["result"]["outcome"] == "VALIDATED"

    def test_l5_the_log_says_what_happened(self) -> None:
        """The rules, run on the log alone and without its beacon, give the same ledger."""
        network = self.busy()
        again = MemoryLedger.replay(network.ledger.events(), clock=network.clock, beacon=SilentBeacon())
        assert everything(network.ledger) == everything(again)
        network.check_money()

    @needs("replay")
    def test_l5_a_replay_gives_the_same_ledger(self) -> None:
        """Without its beacon; and what is replayed goes on."""
        network = self.busy()
        again = self._replayed(network.ledger.events(), network)
        assert everything(again) == everything(network.ledger)
        assert (again.id, again.policy, again.epoch().number) == (
            LEDGER_ID,
            self.adapted_policy(POLICY),
            network.ledger.epoch().number,
        )
        balance = again.account("more")
        assert again.deposit("more", 5) == balance + 5
        only = self._replayed(network.ledger.events()[:1], network)
        assert only.policy == self.adapted_policy(POLICY)
        assert len(only.events()) == 1

    @needs("replay")
    def test_l5_an_edited_log_is_not_replayed(self) -> None:
        """Edited, left out, in another order: with and without making the chain fit."""
        network = self.network()
        network.answered(HONEST, HONEST, CHEAT)
        events = list(network.ledger.events())
        first, settle = events[0], len(events) - 1
        assert events[settle].kind == "settle"
        lie = {**events[settle].payload, "result": {**events[settle].payload["result"], "outcome": "NO_QUORUM"}}
        poor = {"action": {"account": "app", "amount": "1"}, "result": {}}
        forged: list[list[Event]] = [
            [*events[:3], replace(events[3], time=5), *events[4:]],
            [*events[:3], *events[4:]],
            [*events[:3], events[4], events[3], *events[5:]],
            events[1:],
            rechained(events, settle, payload=lie),
            rechained(events, 1, payload=poor),
            rechained(events, 1, payload={}),
            rechained(events, 1, time=events[1].time + 9),
            [replace(first, seq=5)],
            [replace(first, payload={**first.payload, "more": 1})],
            [replace(first, payload={"action": {"ledger": "test"}, "result": {}})],
            [replace(first, payload={**first.payload, "action": {**first.payload["action"], "ledger": ""}})],
            [replace(first, payload={**first.payload, "action": {**first.payload["action"], "beacon": "a b"}})],
            [replace(first, time=1.5)],  # type: ignore[arg-type]
        ]
        for log in forged:
            with pytest.raises(BrokenLogError):
                self._replayed(log, network)

    @needs("replay")
    def test_l5_a_forged_attestation_in_a_log_is_not_replayed(self) -> None:
        network = self.network(nodes=3)
        network.attest()
        events = list(network.ledger.events())
        at = next(seq for seq, event in enumerate(events) if event.kind == "attest_reveal")
        action = dict(events[at].payload["action"])
        made = Attestation.from_dict(events[at].to_dict()["payload"]["action"]["attestation"])
        action["attestation"] = replace(made, canary=bytes(32)).to_dict()
        with pytest.raises(BrokenLogError):
            self._replayed(rechained(events, at, payload={**events[at].payload, "action": action}), network)

    def _replayed(self, events: Any, network: RestartableNetwork) -> Ledger:
        return self.replay_ledger(events, network.clock, SilentBeacon(), self.new_folder())
