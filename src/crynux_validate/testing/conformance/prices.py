"""What an attack costs: fees, bounded slashes, what is burnt, and tasks given twice (protocol L3, L4, L9, P7)."""

from dataclasses import replace
from typing import Final

import pytest

from crynux_validate.answers import ErrorReport
from crynux_validate.errors import AlreadyDoneError, InvalidInputError, NotEnoughNodes
from crynux_validate.judging import Finding, Outcome
from crynux_validate.ledger.interface import Group, Status
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import (
    CHEAT,
    FALSE_REPORT,
    HONEST,
    NEAR,
    POLICY,
    TEXT,
    SilentBeacon,
)
from crynux_validate.testing.conformance.settlement import findings

PRICED: Final = replace(POLICY, slash_per_fee=20, no_quorum_ppm=200_000, fault_fee_ppm=0)


def moved(group: Group, why: str) -> list[tuple[str | None, int]]:
    """Return where the money went that a settlement moved for one reason."""
    return [(transfer.target, transfer.amount) for transfer in group.transfers if transfer.why == why]


class PriceRules(Harness):
    """Standard tests of what an attack costs."""

    def test_l3_a_fee_is_at_least_the_policys(self) -> None:
        network = self.network(policy=replace(POLICY, min_fee=30))
        network.refused(InvalidInputError, lambda: network.opened(fee=29), "min_fee")
        assert network.opened(fee=30).fee == 30
        assert replace(POLICY, min_fee=None, min_stake=4_321).min_fee == 30
        assert replace(POLICY, min_fee=None, min_stake=399).min_fee == 3

    def test_l4_a_slash_is_bounded_by_the_fee(self) -> None:
        """It is the lesser of the part of the stake and `slash_per_fee` times the share of the fee."""
        for fee, slashed in ((3, 20), (5, 20), (100, 660), (149, 980), (153, 1_000), (300, 1_000)):
            network = self.network(policy=PRICED)
            group = network.answered(HONEST, HONEST, CHEAT, fee=fee)
            assert findings(group)[2] is Finding.INVALID
            assert network.ledger.node(group.members[2]).stake == 1_000 - slashed
            assert network.ledger.totals().burnt == slashed
            assert moved(group, "slash") == [(None, slashed)]
            network.check_money()

    def test_l4_withholding_is_bounded_by_the_fee_as_well(self) -> None:
        network = self.network(policy=replace(PRICED, slash_account="app", withheld_ppm=500_000))
        group = network.committed(HONEST, HONEST, HONEST, fee=60)
        for node in group.members[:2]:
            network.reveal(group.id, node)
        network.until(group.reveal_deadline)
        settled = network.ledger.settle(group.id)
        assert findings(settled)[2] is Finding.WITHHELD
        assert network.ledger.node(group.members[2]).stake == 1_000 - 400
        assert moved(settled, "slash") == [("app", 400)]
        network.check_money()

    def test_p7_the_lesser_of_both_parts_covers_the_fee(self) -> None:
        network = self.network(policy=replace(PRICED, withheld_ppm=500_000))
        with pytest.raises(NotEnoughNodes):
            network.opened(fee=153)
        assert network.opened(fee=150).fee == 150, "10 * 50 is half of 1,000"

    def test_j5_without_a_quorum_a_part_of_the_fee_is_burnt(self) -> None:
        for account in (None, "treasury"):
            network = self.network(policy=replace(PRICED, slash_account=account, no_quorum_ppm=199_999))
            group = network.answered(HONEST, CHEAT, NEAR, fee=101)
            assert group.verdict is not None
            assert group.verdict.outcome is Outcome.NO_QUORUM
            assert moved(group, "no_quorum") == [(None, 21)], "burnt, whatever the slash account is, rounded up"
            assert moved(group, "refund") == [("app", 80)]
            assert network.ledger.account("app") == 10_000 - 21
            assert network.ledger.totals().burnt == 21
            network.check_money()

    def test_j4_a_faulty_task_burns_the_same_part(self) -> None:
        network = self.network(policy=replace(PRICED, fault_fee_ppm=500_000))
        group = network.answered(FALSE_REPORT, FALSE_REPORT, ErrorReport("failed", "x"), fee=100)
        assert group.verdict is not None
        assert group.verdict.outcome is Outcome.TASK_FAULT
        assert moved(group, "no_quorum") == [(None, 20)]
        assert [amount for _, amount in moved(group, "report")] == [16, 16]
        assert moved(group, "refund") == [("app", 48)]
        network.check_money()

    def test_j4_a_report_earns_nothing_by_default(self) -> None:
        network = self.network(policy=PRICED)
        group = network.answered(FALSE_REPORT, FALSE_REPORT, FALSE_REPORT, fee=100)
        assert (moved(group, "report"), moved(group, "refund")) == ([], [("app", 80)])
        network.check_money()

    def test_l3_a_closed_group_burns_nothing(self) -> None:
        network = self.network(policy=PRICED, beacon=SilentBeacon())
        group = network.opened(fee=101)
        network.until(group.draw_deadline)
        network.ledger.draw(group.id)
        assert (network.ledger.account("app"), network.ledger.totals().burnt) == (10_000, 0)
        network.check_money()

    def test_l9_a_task_is_not_given_twice(self) -> None:
        """While a group waits, is drawn, or has been answered; refused before the fee."""
        network = self.network(nodes=6)
        group = network.opened()

        def again(creator: str = "o0", fee: int = 5) -> Group:
            return network.ledger.open_group(group.task, creator=creator, fee=fee)

        network.refused(AlreadyDoneError, again, group.id)
        network.draw(group)
        network.refused(AlreadyDoneError, lambda: again(creator="nobody"), group.id)
        for node in network.ledger.group(group.id).members:
            network.commit(group.id, node)
        for node in network.ledger.group(group.id).members:
            network.reveal(group.id, node)
        network.ledger.settle(group.id)
        network.refused(AlreadyDoneError, again, group.id)
        assert network.ledger.open_group(group.task.replace(seed=12_345), creator="app", fee=5).fee == 5

    def test_l9_a_task_that_nobody_answered_can_be_given_again(self) -> None:
        """One that was closed, or ended with nothing but reports, absences and answers that were never opened."""
        network = self.network(nodes=9, policy=replace(POLICY, suspend_after=9))
        silent = network.drawn()
        reported = network.answered(FALSE_REPORT, FALSE_REPORT, ErrorReport("failed", "out of memory"))
        withheld = network.committed(HONEST, HONEST, HONEST)
        network.until(withheld.reveal_deadline)
        network.ledger.settle(silent.id)
        network.ledger.settle(withheld.id)
        for group in (silent, reported, withheld):
            again = network.taken(
                lambda g=group: network.ledger.open_group(g.task, creator="app", fee=3)  # type: ignore[misc]
            )
            network.refused(
                AlreadyDoneError,
                lambda g=group: network.ledger.open_group(g.task, creator="app", fee=3),  # type: ignore[misc]
                again.id,
            )

    def test_l9_the_task_of_a_closed_group_can_be_given_again(self) -> None:
        network = self.network(beacon=SilentBeacon())
        group = network.opened()
        network.until(group.draw_deadline)
        assert network.ledger.draw(group.id).status is Status.CLOSED
        assert network.ledger.open_group(group.task, creator="app", fee=3).task == group.task

    @needs("second_round", "text")
    def test_l9_with_a_second_round_a_task_can_be_given_twice(self) -> None:
        """Who copied the first answer cannot give the second."""
        network = self.network(nodes=6, policy=replace(POLICY, second_algorithm="digest/1"))
        network.attest()
        first = network.ledger.open_group(TEXT, creator="app", fee=3)
        assert network.ledger.open_group(TEXT, creator="app", fee=3).task == first.task == TEXT
