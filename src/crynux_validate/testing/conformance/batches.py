"""Batches: many actions in one transaction, each whole or refused, all of them stored or none (protocol L1, L7)."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import pytest

from crynux_validate.commitment import Opening
from crynux_validate.errors import InsufficientFundsError, InvalidInputError, UnknownIdError
from crynux_validate.ledger.interface import Ledger, Status
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.concurrency import check_chain, hasty_threads
from crynux_validate.testing.conformance.harness import Harness, RestartableNetwork
from crynux_validate.testing.conformance.network import CARD, CHEAT, HONEST, TASK, everything
from crynux_validate.testing.conformance.under_test import own


def batch(ledger: Ledger) -> AbstractContextManager[None]:
    """Begin a batch, which is no part of the Protocol."""
    return cast("AbstractContextManager[None]", cast("Any", own(ledger)).batch())


class BatchRules(Harness):
    """Standard tests of batches."""

    @needs("batch")
    def test_l1_a_batch_does_what_its_actions_do_one_by_one(self) -> None:
        together, alone = self.network(), self.network()
        answers = (CHEAT, HONEST, HONEST)
        openings = [Opening(answer.to_bytes(), bytes([at]) * 32) for at, answer in enumerate(answers)]

        def act(network: RestartableNetwork) -> None:
            ledger = network.ledger
            ledger.deposit("x", 5)
            for _ in range(2):
                group = network.drawn()
                for opening, node in zip(openings, group.members, strict=True):
                    bound = opening.commitment(group.draw_digest, node=node)
                    ledger.commit(group.id, node, bound)
                for opening, node in zip(openings, group.members, strict=True):
                    ledger.reveal(group.id, node, opening)
                assert ledger.settle(group.id) == ledger.group(group.id)
                slashed = ledger.node(group.members[0])
                assert slashed.stake == 0
                ledger.leave(slashed.id)
            ledger.join("late", owner="o0", gpu=CARD, stake=500)
            ledger.top_up("late", 7)
            ledger.withdraw("x", 1)

        with batch(together.ledger):
            act(together)
            inside = everything(together.ledger)
        act(alone)
        assert everything(together.ledger) == inside == everything(alone.ledger)
        check_chain(together.ledger)
        together.check_money()

    @needs("batch", "restart")
    def test_l7_a_batch_that_has_ended_survives_a_restart(self) -> None:
        network = self.network()
        with batch(network.ledger):
            network.ledger.deposit("x", 5)
            network.opened()
        before = everything(network.ledger)
        network.restart()
        assert everything(network.ledger) == before

    @needs("batch")
    def test_l1_a_refused_action_changes_nothing_and_the_batch_goes_on(self) -> None:
        ledger = self.network().ledger
        with batch(ledger):
            ledger.deposit("x", 5)
            before = everything(ledger)
            refusals: list[tuple[type[Exception], Callable[[], object]]] = [
                (InsufficientFundsError, lambda: ledger.withdraw("x", 6)),
                (InvalidInputError, lambda: ledger.deposit("x", -1)),
                (UnknownIdError, lambda: ledger.settle("no-such-group")),
            ]
            for error, action in refusals:
                with pytest.raises(error):
                    action()
            assert everything(ledger) == before
            ledger.withdraw("x", 1)
        assert ledger.account("x") == 4
        check_chain(ledger)

    @needs("batch")
    def test_l1_an_exception_that_leaves_a_batch_undoes_all_of_it(self) -> None:
        network = self.network(nodes=8)
        waiting = network.opened(fee=3)
        network.clock.advance(1)
        before = everything(network.ledger)

        def fail(error: type[BaseException]) -> None:
            ledger = network.ledger
            with batch(ledger):
                ledger.deposit("x", 5)
                ledger.join("late", owner="o0", gpu=CARD, stake=500)
                ledger.draw(waiting.id)
                ledger.open_group(TASK, creator="app", fee=3)
                assert everything(ledger) != before
                raise error

        for error in (InsufficientFundsError, RuntimeError, KeyboardInterrupt):
            with pytest.raises(error):
                fail(error)
            assert everything(network.ledger) == before
        if self.has("restart"):
            network.restart()
            assert everything(network.ledger) == before
        assert network.ledger.draw(waiting.id).status is Status.DRAWN
        check_chain(network.ledger)

    @needs("batch")
    def test_a_batch_holds_no_other(self) -> None:
        ledger, other = self.new_ledger(), self.new_ledger()
        with batch(ledger), batch(other):
            ledger.deposit("x", 5)
            with pytest.raises(InvalidInputError), batch(ledger):
                pass
            other.deposit("y", 6)
            ledger.deposit("x", 5)
        assert (ledger.account("x"), other.account("y")) == (10, 6)
        with batch(ledger):
            pass
        with batch(ledger):
            ledger.deposit("x", 1)
        assert ledger.account("x") == 11

    @needs("batch", "threads")
    def test_l1_threads_have_batches_of_their_own(self) -> None:
        ledger = self.new_ledger()

        def act() -> None:
            for _ in range(2):
                with batch(ledger):
                    for _ in range(3):
                        ledger.deposit("x", 1)

        threads = [threading.Thread(target=act) for _ in range(3)]
        with hasty_threads():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert ledger.account("x") == 18
        check_chain(ledger)
