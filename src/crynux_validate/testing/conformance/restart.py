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
    LEDGER_ID,
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
        network.attest()
        settled = network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, task=TEXT)
        slashed = network.answered(HONEST, HONEST, CHEAT)
        drawn = network.drawn()
        network.commit(drawn.id, drawn.members[0])
        network.ledger.leave(next(node.id for node in network.ledger.nodes() if node.group is None))
        waiting = network.opened(fee=3)
        network.ledger.deposit("rich", 2**255)
        before = everything(network.ledger)
        network.restart()
        assert everything(network.ledger) == before
        assert (network.ledger.id, network.ledger.policy) == (LEDGER_ID, self.adapted(POLICY))
        for group in (settled, slashed, waiting):
            assert network.ledger.group(group.id) == group
        network.check_money()

    @needs("restart")
    def test_l7_a_restart_after_any_action_forgets_nothing(self) -> None:
        """The last action before the process ended is there, whichever it was."""
        network = self.network(nodes=3)
        seen: list[str] = []

        def restart() -> None:
            before = everything(network.ledger)
            seen.append(before.events[-1].kind)
            network.restart()
            assert everything(network.ledger) == before, f"{seen[-1]} was acknowledged and forgotten"

        restart()
        network.ledger.deposit("o0", 5)
        restart()
        network.ledger.withdraw("o0", 5)
        restart()
        network.ledger.top_up("n0", 5)
        restart()
        network.attest_commit("n0")
        restart()
        network.clock.now = network.ledger.epoch().commit_deadline
        network.attest_reveal("n0")
        restart()
        group = network.opened()
        restart()
        network.clock.advance(1)
        members = network.ledger.draw(group.id).members
        restart()
        for node in members:
            network.commit(group.id, node)
        restart()
        for node in members:
            network.reveal(group.id, node)
        restart()
        network.ledger.settle(group.id)
        restart()
        network.ledger.leave("n0")
        restart()
        assert set(seen) == {
            "join", "deposit", "withdraw", "top_up", "attest_commit", "attest_reveal", "open_group", "draw", "commit",
            "reveal", "settle", "leave",
        }  # fmt: skip

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
        events = len(network.ledger.events())
        assert network.ledger.settle(group.id) == settled
        assert len(network.ledger.events()) == events
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
        assert len(ledger.events()) == 1 + ledger.account("a")
        check_chain(ledger)
        balance = ledger.account("a")
        assert ledger.deposit("a", 1) == balance + 1
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
