"""Settling: what is said of the members, and where the money goes (protocol J1-J6, C3, L3, L4, L6)."""

import pickle
from dataclasses import replace

from crynux_validate.answers import Answer, ErrorReport
from crynux_validate.errors import ClockError
from crynux_validate.judging import Finding, Outcome
from crynux_validate.ledger.interface import Group, Status
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import (
    BLANK,
    CHEAT,
    CHECKED,
    FALSE_REPORT,
    HONEST,
    NEAR,
    POLICY,
    TASK,
    Network,
)


def findings(group: Group) -> list[Finding]:
    """Return what became of the members, in the order of the draw."""
    assert group.verdict is not None
    assert set(group.verdict.findings) == set(group.members)
    return [group.verdict.findings[node] for node in group.members]


def owner_of(node: str) -> str:
    """Return the owner of node n0, n1, ..."""
    return f"o{node[1:]}"


def earned(network: Network, group: Group) -> list[int]:
    """Return what each member's owner has more than it had after its node joined with 1,000."""
    return [network.ledger.account(owner_of(node)) - 4_000 for node in group.members]


class SettlementRules(Harness):
    """Standard tests of verdicts and payments."""

    def test_j2_a_cheat_is_invalid_and_the_honest_are_valid(self) -> None:
        network = self.network()
        group = network.answered(HONEST, HONEST, CHEAT)
        assert group.status is Status.SETTLED
        assert group.verdict is not None
        assert group.verdict.outcome is Outcome.VALIDATED
        assert group.verdict.delivered_score is not None
        assert group.verdict.delivered_score.hex == HONEST.hex
        assert findings(group) == [Finding.VALID, Finding.VALID, Finding.INVALID]
        assert pickle.loads(pickle.dumps(group)) == group, "groups can be given to other processes"  # noqa: S301
        assert network.ledger.group(group.id) == group
        assert all(node.group is None for node in network.ledger.nodes())

    def test_j2_what_is_too_near_for_a_slash_is_neither_paid_nor_slashed(self) -> None:
        network = self.network()
        group = network.answered(HONEST, HONEST, NEAR)
        assert findings(group) == [Finding.VALID, Finding.VALID, Finding.BORDERLINE]
        assert earned(network, group) == [33, 33, 0]
        assert network.ledger.node(group.members[2]).stake == 1_000
        network.check_money()

    def test_j2_a_blank_picture_is_slashed_only_where_the_task_has_no_safety_checker(self) -> None:
        for checked, found, stake in ((False, Finding.INVALID, 0), (True, Finding.BORDERLINE, 1_000)):
            network = self.network()
            group = network.answered(HONEST, HONEST, BLANK, task=CHECKED if checked else TASK)
            assert findings(group) == [Finding.VALID, Finding.VALID, found]
            assert earned(network, group) == [33, 33, 0]
            assert network.ledger.node(group.members[2]).stake == stake
            network.check_money()

    def test_j2_a_safety_checker_protects_no_other_picture(self) -> None:
        group = self.network().answered(HONEST, HONEST, CHEAT, task=CHECKED)
        assert findings(group) == [Finding.VALID, Finding.VALID, Finding.INVALID]

    def test_j3_a_false_report_is_slashed_and_a_failure_is_not(self) -> None:
        network = self.network(policy=replace(POLICY, group_size=5, min_fee=5))
        group = network.answered(HONEST, HONEST, HONEST, FALSE_REPORT, ErrorReport("failed", "out of memory"), fee=500)
        assert findings(group) == [Finding.VALID] * 3 + [Finding.INVALID, Finding.ERROR]
        assert earned(network, group) == [100, 100, 100, 0, 0]
        assert [network.ledger.node(node).stake for node in group.members] == [1_000] * 3 + [0, 1_000]
        network.check_money()

    def test_j4_agreeing_reports_of_an_invalid_task_are_paid_a_little(self) -> None:
        network = self.network()
        group = network.answered(FALSE_REPORT, FALSE_REPORT, HONEST, fee=300)
        assert group.verdict is not None
        assert group.verdict.outcome is Outcome.TASK_FAULT
        assert findings(group) == [Finding.ERROR, Finding.ERROR, Finding.UNDECIDED]
        assert earned(network, group) == [10, 10, 0]
        assert network.ledger.account("app") == 10_000 - 20
        assert network.ledger.totals().burnt == 0
        network.check_money()

    def test_j4_a_report_of_another_fault_earns_nothing(self) -> None:
        network = self.network(policy=replace(POLICY, group_size=5, min_fee=5))
        reports = (FALSE_REPORT, FALSE_REPORT, FALSE_REPORT, ErrorReport("limits"), HONEST)
        group = network.answered(*reports, fee=500)
        assert earned(network, group) == [10, 10, 10, 0, 0]
        network.check_money()

    def test_j5_without_a_quorum_everything_goes_back_and_nobody_is_slashed(self) -> None:
        network = self.network()
        group = network.answered(HONEST, CHEAT, FALSE_REPORT)
        assert group.verdict is not None
        assert group.verdict.outcome is Outcome.NO_QUORUM
        assert findings(group) == [Finding.UNDECIDED, Finding.UNDECIDED, Finding.ERROR]
        assert network.ledger.account("app") == 10_000
        assert network.ledger.totals().burnt == 0
        network.check_money()

    def test_j6_the_member_that_was_drawn_first_delivers(self) -> None:
        for answers, at in (((HONEST, HONEST, CHEAT), 0), ((CHEAT, HONEST, HONEST), 1), ((HONEST, CHEAT, HONEST), 0)):
            group = self.network().answered(*answers)
            assert group.delivered_by == group.members[at]
        assert self.network().answered(HONEST, CHEAT, FALSE_REPORT).delivered_by is None

    def test_c3_absence_earns_and_costs_nothing(self) -> None:
        network = self.network()
        group = network.answered(HONEST, HONEST, None)
        assert findings(group) == [Finding.VALID, Finding.VALID, Finding.ABSENT]
        assert earned(network, group) == [33, 33, 0]
        assert network.ledger.node(group.members[2]).stake == 1_000
        nobody = network.drawn()
        network.until(nobody.commit_deadline)
        assert findings(network.ledger.settle(nobody.id)) == [Finding.ABSENT] * 3
        network.check_money()

    def test_c3_withholding_costs_stake(self) -> None:
        self._withheld(HONEST, HONEST)

    @needs("manual_clock")
    def test_c3_withholding_costs_stake_also_where_nobody_else_answers(self) -> None:
        """Then there is no verdict (J5)."""
        self._withheld(None, None)

    def _withheld(self, *others: Answer | None) -> None:
        network = self.network(policy=replace(POLICY, withheld_ppm=750_000))
        group = network.committed(*others, HONEST)
        for node in group.members[:2]:
            if node in group.commitments:
                network.reveal(group.id, node)
        network.until(group.reveal_deadline)
        settled = network.ledger.settle(group.id)
        withheld = group.members[2]
        assert findings(settled)[2] is Finding.WITHHELD
        assert network.ledger.node(withheld).stake == 250
        assert network.ledger.totals().burnt == 750
        network.check_money()

    def test_l3_each_valid_member_is_paid_its_share_and_the_rest_goes_back(self) -> None:
        """Nobody earns by knocking another out."""
        network = self.network()
        group = network.answered(HONEST, HONEST, CHEAT, fee=101)
        assert earned(network, group) == [33, 33, 0]
        assert network.ledger.account("app") == 10_000 - 66
        assert sorted((t.target, t.amount) for t in group.transfers if t.why == "fee") == sorted(
            (owner_of(node), 33) for node in group.members[:2]
        )
        assert [(t.target, t.amount) for t in group.transfers if t.why == "refund"] == [("app", 35)]
        network.check_money()

    def test_l3_the_invalid_are_not_paid(self) -> None:
        network = self.network()
        group = network.answered(HONEST, HONEST, CHEAT)
        assert network.ledger.account(owner_of(group.members[2])) == 4_000
        network.check_money()

    def test_l4_a_slash_is_burnt(self) -> None:
        network = self.network(policy=replace(POLICY, slash_ppm=333_333))
        group = network.answered(HONEST, HONEST, CHEAT)
        assert network.ledger.node(group.members[2]).stake == 1_000 - 333
        assert network.ledger.totals().burnt == 333
        assert [network.ledger.node(node).stake for node in group.members[:2]] == [1_000, 1_000]
        network.check_money()

    def test_l4_a_slash_goes_to_the_account_that_the_policy_names(self) -> None:
        network = self.network(policy=replace(POLICY, slash_account="treasury", slash_ppm=250_000, stake_per_fee=1))
        network.answered(HONEST, HONEST, CHEAT)
        assert network.ledger.account("treasury") == 250
        assert network.ledger.totals().burnt == 0
        network.check_money()

    def test_l4_a_policy_can_do_without_slashes(self) -> None:
        network = self.network(policy=replace(POLICY, slash_ppm=0, stake_per_fee=0))
        network.answered(HONEST, HONEST, CHEAT, fee=9_000)
        assert network.ledger.totals().burnt == 0
        network.check_money()

    def test_l6_settling_again_changes_nothing(self) -> None:
        network = self.network()
        group = network.answered(HONEST, HONEST, CHEAT)
        before = network.glance()
        for _ in range(2):
            assert network.ledger.settle(group.id) == group
            assert network.glance() == before
        network.check_money()

    def test_l6_a_clock_that_cannot_be_right_changes_nothing(self) -> None:
        """A ledger that believes one reading in milliseconds is at an end; one that goes back hours has two clocks."""
        network = self.network()
        right = network.clock.now
        for wrong in (-1, right - 61, 0, 4_102_444_801, 1_790_000_000_000):
            network.clock.now = wrong
            network.refused(ClockError, lambda: network.ledger.deposit("app", 1))
            network.refused(ClockError, network.ledger.epoch)
        network.clock.now = right
        assert network.ledger.deposit("app", 1) == 10_001

    def test_l6_time_never_runs_backwards(self) -> None:
        network = self.network()
        group = network.drawn()
        network.commit(group.id, group.members[0])
        before = network.clock.now
        network.clock.now = before - 60
        network.ledger.deposit("app", 1)
        assert network.ledger.now() == before
        network.clock.now = group.commit_deadline
        network.ledger.deposit("app", 1)
        network.clock.now = group.commit_deadline - 60
        network.reveal(group.id, group.members[0])
