"""What an acknowledged action did survives the death of the process (protocol L7)."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

from crynux_validate.errors import AlreadyDoneError
from crynux_validate.ledger.interface import Status
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.concurrency import check_chain, standing_clock
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import (
    CARD,
    CHEAT,
    HONEST,
    HONEST_TEXT,
    POLICY,
    TASK,
    TEXT,
    everything,
)

ACKNOWLEDGED = 25
"""How many deposits a process has acknowledged when it is killed."""


class RestartRules(Harness):
    """Standard tests of a ledger that is opened again."""

    @needs("restart")
    def test_l7_a_restart_forgets_nothing(self) -> None:
        """Of what an application does from its first deposit to the last group, and in every state of a group."""
        network = self.network(nodes=8)
        if self.has("text") and self.has("manual_clock"):
            network.attest()
            settled = network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, task=TEXT)
        else:
            settled = network.answered(HONEST, HONEST, HONEST)
        slashed = network.answered(HONEST, HONEST, CHEAT)
        drawn = network.drawn()
        network.commit(drawn.id, drawn.members[0])
        network.ledger.leave(next(node.id for node in network.ledger.nodes() if node.group is None))
        waiting = network.opened(fee=3)
        network.ledger.deposit("rich", 2**255)
        before, named = everything(network.ledger), (network.ledger.id, network.ledger.policy)
        network.restart()
        assert everything(network.ledger) == before
        assert (network.ledger.id, network.ledger.policy) == named
        for group in (settled, slashed, waiting):
            assert network.ledger.group(group.id) == group
        network.check_money()

    @needs("restart")
    def test_l7_a_restart_after_any_action_forgets_nothing(self) -> None:
        """The last action before the process ended is there, whichever it was."""
        network = self.network(nodes=3)

        def restart_after(action: str) -> None:
            before = everything(network.ledger)
            assert not network.log or before.events[-1].kind == action
            network.restart()
            assert everything(network.ledger) == before, f"{action} was acknowledged and forgotten"

        restart_after("join")
        network.ledger.deposit("o0", 5)
        restart_after("deposit")
        network.ledger.withdraw("o0", 5)
        restart_after("withdraw")
        network.ledger.top_up("n0", 5)
        restart_after("top_up")
        if self.has("text") and self.has("manual_clock"):
            network.attest_commit("n0")
            restart_after("attest_commit")
            network.clock.now = network.ledger.epoch().commit_deadline
            network.attest_reveal("n0")
            restart_after("attest_reveal")
        group = network.opened()
        restart_after("open_group")
        members = network.draw(group).members
        restart_after("draw")
        for node in members:
            network.commit(group.id, node)
        restart_after("commit")
        for node in members:
            network.reveal(group.id, node)
        restart_after("reveal")
        network.ledger.settle(group.id)
        restart_after("settle")
        network.ledger.leave("n0")
        restart_after("leave")

    @needs("restart")
    def test_l7_a_restarted_ledger_keeps_its_rules(self) -> None:
        """What was done cannot be done again, what was fixed is not fixed anew, and time does not run backwards."""
        network = self.network()
        group = network.drawn()
        for node in group.members:
            network.commit(group.id, node)
        network.restart()
        member = group.members[0]
        network.refused(AlreadyDoneError, lambda: network.commit(group.id, member, CHEAT))
        network.refused(AlreadyDoneError, lambda: network.ledger.draw(group.id))
        network.refused(AlreadyDoneError, lambda: network.ledger.join(member, owner="o0", gpu=CARD, stake=400))
        for node in group.members:
            network.reveal(group.id, node)
        settled = network.ledger.settle(group.id)
        assert settled.status is Status.SETTLED
        network.restart()
        before = network.glance()
        assert network.ledger.settle(group.id) == settled
        assert network.glance() == before
        if self.has("manual_clock"):
            reached = network.clock.now
            network.clock.now = reached - 60
            assert network.ledger.open_group(TASK, creator="app", fee=3).opened == reached
        network.check_money()

    @needs("restart")
    def test_l7_what_was_acknowledged_survives_a_killed_process(self) -> None:
        """A process acts and says so after each action; it is killed while it acts."""
        folder = self.new_folder()
        context = multiprocessing.get_context("spawn")
        hears, says = context.Pipe(duplex=False)
        child = context.Process(target=_deposit_until_killed, args=(self, folder, says))
        child.start()
        says.close()
        acknowledged = 0
        try:
            while acknowledged < ACKNOWLEDGED:
                assert hears.poll(120), "the process does not act"
                acknowledged = _heard(hears)
        finally:
            child.kill()
            child.join()
        try:
            while True:
                acknowledged = _heard(hears)
        except EOFError:
            hears.close()
        ledger = self.new_ledger(clock=standing_clock, folder=folder)
        assert acknowledged <= ledger.account("a") <= acknowledged + 1, "acknowledged and lost, or done twice"
        if self.has("log"):
            assert len(ledger.events()) == 1 + ledger.account("a")
            check_chain(ledger)
        balance = ledger.account("a")
        assert ledger.deposit("a", 1) == balance + 1
        if self.has("log"):
            check_chain(ledger)


def _heard(hears: "Connection[int, int]") -> int:
    found = hears.recv()
    if not isinstance(found, int):
        raise AssertionError(f"the process could not act: {found}")
    return found


def _deposit_until_killed(harness: Harness, folder: Path, says: "Connection[int | str, int]") -> None:
    try:
        ledger = harness.new_ledger(POLICY, clock=standing_clock, folder=folder)
        while True:
            says.send(ledger.deposit("a", 1))
    except BaseException as error:
        says.send(repr(error))
        raise
