"""Money: deposits, withdrawals, and that none is made or lost (protocol L1, L2)."""

from collections.abc import Callable
from typing import Any

import pytest

from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    InsufficientFundsError,
    InvalidInputError,
    LedgerError,
    NotAMemberError,
    NotEnoughNodes,
    StakeTooLowError,
    TooEarlyError,
    TooLateError,
    UnknownIdError,
)
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import CARD, CHEAT, FALSE_REPORT, HONEST, TASK, everything


class MoneyRules(Harness):
    """Standard tests of L1 and L2."""

    def test_l1_a_refused_action_changes_nothing(self) -> None:
        """One refusal of every kind of action, after all that could be checked late was paid or written."""
        network = self.network()
        ledger = network.ledger
        group = network.drawn()
        first, second, _ = group.members
        network.commit(group.id, first)
        opening = network.openings[group.id, first]
        refusals: list[tuple[type[Exception], Callable[[], Any]]] = [
            (TooEarlyError, lambda: ledger.reveal(group.id, first, opening)),
            (TooEarlyError, lambda: ledger.settle(group.id)),
            (InvalidInputError, lambda: ledger.deposit("app", 0)),
            (InsufficientFundsError, lambda: ledger.withdraw("app", 10**6)),
            (AlreadyDoneError, lambda: ledger.join(first, owner="o0", gpu=CARD, stake=400)),
            (InsufficientFundsError, lambda: ledger.join("new", owner="o0", gpu=CARD, stake=10**6)),
            (StakeTooLowError, lambda: ledger.join("new", owner="o0", gpu=CARD, stake=399)),
            (UnknownIdError, lambda: ledger.leave("stranger")),
            (InsufficientFundsError, lambda: ledger.top_up("n0", 10**6)),
            (NotEnoughNodes, lambda: ledger.open_group(TASK, creator="app", fee=100, min_memory_gib=1_000)),
            (NotEnoughNodes, lambda: ledger.open_group(TASK, creator="app", fee=9_000)),
            (AlreadyDoneError, lambda: ledger.open_group(group.task, creator="app", fee=100)),
            (AlreadyDoneError, lambda: ledger.draw(group.id)),
            (InvalidInputError, lambda: ledger.commit(group.id, second, b"short")),
            (NotAMemberError, lambda: ledger.commit(group.id, "stranger", bytes(32))),
        ]
        if self.has("text"):
            number = ledger.epoch().number
            attestations: list[Any] = ["no attestation"]
            refusals += [
                (TooEarlyError, lambda: ledger.attest_commit("n0", bytes(32), epoch=number + 1)),
                (InvalidInputError, lambda: ledger.attest_reveal("n0", attestations[0], bytes(32))),
            ]
        before = everything(ledger)
        for error, action in refusals:
            with pytest.raises(error):
                action()
            assert everything(ledger) == before, f"{error.__name__} was raised, and yet something has changed"
        network.until(group.commit_deadline)
        later: list[tuple[type[Exception], Callable[[], Any]]] = [
            (TooLateError, lambda: ledger.commit(group.id, second, bytes(32))),
            (CommitmentMismatchError, lambda: ledger.reveal(group.id, second, opening)),
        ]
        for error, action in later:
            with pytest.raises(error):
                action()
            assert everything(ledger) == before, f"{error.__name__} was raised, and yet something has changed"
        network.check_money()

    def test_l2_money_is_integers_of_the_smallest_unit(self) -> None:
        """Anything else is refused, and so is what no account can hold."""
        network = self.network(nodes=0)
        ledger = network.ledger
        amounts: list[Any] = [0, -1, 1.5, 1.0, "1", True, None]
        for amount in amounts:
            network.refused(InvalidInputError, lambda a=amount: ledger.deposit("app", a))  # type: ignore[misc]
            network.refused(InvalidInputError, lambda a=amount: ledger.withdraw("app", a))  # type: ignore[misc]
        for amount in (2**256, 10**5000, -(10**5000)):
            network.refused(InvalidInputError, lambda a=amount: ledger.deposit("app", a), "256")  # type: ignore[misc]
        network.refused(InvalidInputError, lambda: ledger.deposit("", 1))
        assert ledger.deposit("rich", 10**40) == 10**40, "more than 64 bits"
        assert ledger.deposit("rich", 1) == ledger.account("rich") == 10**40 + 1
        network.check_money()

    def test_l2_nobody_withdraws_more_than_the_account_has(self) -> None:
        network = self.network(nodes=1)
        ledger = network.ledger
        network.refused(InsufficientFundsError, lambda: ledger.withdraw("app", 10_001), "deposit more")
        network.refused(InsufficientFundsError, lambda: ledger.withdraw("nobody", 1))
        assert ledger.account("o0") == 4_000
        network.refused(InsufficientFundsError, lambda: ledger.withdraw("o0", 4_001))
        assert ledger.withdraw("app", 10_000) == ledger.account("app") == 0
        assert ledger.totals().withdrawn == 10_000
        network.check_money()

    def test_l2_opening_a_group_keeps_its_fee_in_escrow(self) -> None:
        network = self.network()
        group = network.opened(fee=100)
        assert network.ledger.account("app") == 9_900
        assert network.ledger.totals().escrows == group.escrow == 100
        network.check_money()

    def test_l2_settling_creates_no_money(self) -> None:
        """Nor loses any, under every outcome."""
        network = self.network(nodes=7, stake=4_000)
        for answers in ((HONEST, HONEST, CHEAT), (HONEST, CHEAT, None), (FALSE_REPORT, FALSE_REPORT, HONEST)):
            network.answered(*answers, fee=101)
            network.check_money()
        network.answered(None, None, None, fee=101)
        network.check_money()

    def test_every_refusal_is_a_ledger_error_or_an_input_error(self) -> None:
        """`LedgerError` for what the rules refuse, `InvalidInputError` for what is no input."""
        ledger = self.network(nodes=0).ledger
        for unknown in (lambda: ledger.group("nothing"), lambda: ledger.node("nothing"), lambda: ledger.leave("x")):
            with pytest.raises(LedgerError) as caught:
                unknown()
            assert isinstance(caught.value, UnknownIdError)
        names: list[Any] = [[], None, 5, "", "x" * 129, "x\n", "é"]
        for name in names:
            for query in (ledger.account, ledger.node, ledger.group):
                with pytest.raises(InvalidInputError):
                    query(name)
        assert ledger.account("never-used") == 0
