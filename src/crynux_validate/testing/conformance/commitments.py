"""Commit and reveal (protocol C1, C2, C4)."""

from dataclasses import replace
from typing import Any

from crynux_validate.commitment import Opening
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    InvalidInputError,
    NotAMemberError,
    TooEarlyError,
    TooLateError,
    UnknownIdError,
)
from crynux_validate.judging import Finding
from crynux_validate.ledger.interface import Status
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import CHEAT, HONEST, MALFORMED, TASK, Network


class CommitmentRules(Harness):
    """Standard tests of commitments and their openings."""

    def test_c1_a_commitment_binds_draw_round_node_answer_and_nonce(self) -> None:
        """Each is computed by hand; one that was made for anything else is not opened."""
        network = self.network(nodes=9)
        groups = [network.draw(group) for group in [network.opened() for _ in range(3)]]
        opening = Opening.of(HONEST)
        drawn = groups[0].draw
        assert drawn is not None
        others: list[dict[str, Any]] = [
            {"drawn": by_hand.draw_digest(groups[1])},
            {"node": groups[0].members[0]},
            {"number": 2},
            {"answer": CHEAT.to_bytes()},
            {"nonce": bytes(32)},
            {"drawn": by_hand.draw_digest(replace(groups[1], fee=101))},
            {"drawn": by_hand.draw_digest(replace(groups[2], task=TASK))},
            {"drawn": by_hand.draw_digest(replace(groups[2], policy=replace(groups[2].policy, threshold=20)))},
            {"drawn": by_hand.draw_digest(replace(groups[2], draw=replace(drawn, group=groups[2].id)))},
        ]
        seats = [(group, node) for group in groups for node in group.members]
        for (group, node), other in zip(seats, others, strict=True):
            right: dict[str, Any] = {"drawn": by_hand.draw_digest(group), "node": node, "nonce": opening.nonce}
            right["answer"] = opening.answer_bytes
            assert opening.commitment(group.draw_digest, node=node) == by_hand.commitment(**right)
            assert by_hand.commitment(**(right | other)) != by_hand.commitment(**right)
            network.ledger.commit(group.id, node, by_hand.commitment(**(right | other)))
        for group, node in seats:
            network.refused(
                CommitmentMismatchError,
                lambda g=group, n=node: network.ledger.reveal(g.id, n, opening),  # type: ignore[misc]
            )

    def test_c1_what_is_bound_to_the_draw_can_be_opened(self) -> None:
        """The ledger works out the same bytes from ledger, group, task, policy, fee, beacon and members."""
        network = self.network()
        group = network.drawn()
        for node in group.members:
            network.commit(group.id, node)
        for node in group.members:
            assert self._opens(network, group.id, node), "the commitment is not the one of the protocol"

    def _opens(self, network: Network, group: str, node: str) -> bool:
        try:
            network.reveal(group, node)
        except CommitmentMismatchError:
            return False
        return True

    def test_c1_a_copied_commitment_cannot_be_opened_by_the_copier(self) -> None:
        network = self.network()
        group = network.drawn()
        honest, thief, third = group.members
        opening = network.commit(group.id, honest)
        network.ledger.commit(group.id, thief, network.ledger.group(group.id).commitments[honest])
        network.commit(group.id, third)
        network.reveal(group.id, honest)
        network.refused(
            CommitmentMismatchError,
            lambda: network.ledger.reveal(group.id, thief, opening),
            "does not fit the commitment",
        )

    def test_c2_a_commitment_is_never_replaced(self) -> None:
        network = self.network()
        group = network.drawn()
        first = group.members[0]
        network.commit(group.id, first)
        kept = network.ledger.group(group.id).commitments[first]
        network.refused(AlreadyDoneError, lambda: network.commit(group.id, first, CHEAT), "never replaced")
        network.refused(AlreadyDoneError, lambda: network.ledger.commit(group.id, first, kept))
        assert network.ledger.group(group.id).commitments == {first: kept}

    def test_c2_no_commitment_at_or_after_the_deadline(self) -> None:
        network = self.network()
        group = network.drawn()
        first, second, _ = group.members
        network.just_before(group.commit_deadline)
        network.commit(group.id, first)
        network.until(group.commit_deadline)
        network.refused(TooLateError, lambda: network.commit(group.id, second), "took commitments until")
        network.until(group.commit_deadline + 1)
        network.refused(TooLateError, lambda: network.commit(group.id, second))

    def test_c2_only_members_commit(self) -> None:
        network = self.network()
        group = network.drawn()
        stranger = next(node.id for node in network.ledger.nodes() if node.id not in group.members)
        network.refused(NotAMemberError, lambda: network.commit(group.id, stranger))
        network.refused(NotAMemberError, lambda: network.commit(group.id, "nobody"))
        network.refused(UnknownIdError, lambda: network.commit("no-such-group", group.members[0]))

    def test_c2_what_is_no_commitment_is_refused(self) -> None:
        network = self.network()
        group = network.drawn()
        node = group.members[0]
        values: list[Any] = [b"short", bytes(31), bytes(33), "00" * 32, None]
        for value in values:
            network.refused(InvalidInputError, lambda v=value: network.ledger.commit(group.id, node, v), "32 bytes")  # type: ignore[misc]
        numbers: list[Any] = [True, 1.0, "1", 2, 0]
        for number in numbers:
            network.refused(
                InvalidInputError,
                lambda n=number: network.ledger.commit(group.id, node, bytes(32), round=n),  # type: ignore[misc]
                "one round",
            )
            network.refused(
                InvalidInputError,
                lambda n=number: network.ledger.reveal(group.id, node, bytes(36), round=n),  # type: ignore[misc]
                "one round",
            )

    def test_c2_deadlines_are_fixed_when_the_group_is_drawn(self) -> None:
        network = self.network()
        group = network.drawn()
        deadlines, policy = (group.commit_deadline, group.reveal_deadline), network.ledger.policy
        first = deadlines[0] - policy.commit_seconds
        assert group.opened <= first <= network.ledger.now()
        assert deadlines[1] == deadlines[0] + policy.reveal_seconds
        for node in group.members:
            if self.has("manual_clock"):
                network.clock.advance(7)
            network.commit(group.id, node)
        found = network.ledger.group(group.id)
        assert (found.commit_deadline, found.reveal_deadline) == deadlines

    def test_c2_no_reveal_before_all_have_committed_or_the_deadline(self) -> None:
        network = self.network()
        group = network.drawn()
        first, second, _ = group.members
        network.commit(group.id, first)
        network.refused(TooEarlyError, lambda: network.reveal(group.id, first), "waits for 2 commitments")
        network.commit(group.id, second)
        network.just_before(group.commit_deadline)
        network.refused(TooEarlyError, lambda: network.reveal(group.id, first))
        network.until(group.commit_deadline)
        assert network.reveal(group.id, first).openings == {first: network.openings[group.id, first]}

    def test_c2_reveals_open_when_all_have_committed(self) -> None:
        network = self.network()
        group = network.committed(HONEST, HONEST, HONEST)
        for node in reversed(group.members):
            network.reveal(group.id, node)
        assert network.ledger.settle(group.id).status is Status.SETTLED
        network.refused(TooLateError, lambda: network.reveal(group.id, group.members[0]), "SETTLED")

    def test_c2_no_reveal_at_or_after_the_deadline(self) -> None:
        network = self.network()
        group = network.committed(HONEST, HONEST, HONEST)
        first, second, third = group.members
        network.just_before(group.reveal_deadline)
        network.reveal(group.id, first)
        network.until(group.reveal_deadline)
        network.refused(TooLateError, lambda: network.reveal(group.id, second), "took reveals until")
        network.until(group.reveal_deadline + 1)
        network.refused(TooLateError, lambda: network.reveal(group.id, third))

    def test_c2_a_reveal_opens_the_members_own_commitment(self) -> None:
        network = self.network()
        group = network.committed(HONEST, HONEST, HONEST)
        first, second, _ = group.members
        openings = network.openings
        other_answer = Opening(CHEAT.to_bytes(), openings[group.id, first].nonce)
        for opening in (Opening.of(HONEST), Opening.of(CHEAT), other_answer, openings[group.id, second]):
            network.refused(CommitmentMismatchError, lambda o=opening: network.ledger.reveal(group.id, first, o))  # type: ignore[misc]
        assert network.reveal(group.id, first).openings == {first: openings[group.id, first]}

    def test_c2_nothing_is_revealed_without_a_commitment(self) -> None:
        network = self.network()
        group = network.committed(HONEST, HONEST, None)
        opening = network.openings[group.id, group.members[0]]
        absent = group.members[2]
        network.refused(
            CommitmentMismatchError, lambda: network.ledger.reveal(group.id, absent, opening), "not committed"
        )
        network.refused(NotAMemberError, lambda: network.ledger.reveal(group.id, "stranger", opening))

    def test_c2_nobody_reveals_twice(self) -> None:
        network = self.network()
        group = network.committed(HONEST, HONEST, HONEST)
        network.reveal(group.id, group.members[0])
        network.refused(AlreadyDoneError, lambda: network.reveal(group.id, group.members[0]))

    def test_c2_anyone_may_hand_in_an_opening(self) -> None:
        """As bytes as well: that is how it travels."""
        network = self.network()
        group = network.committed(HONEST, HONEST, CHEAT)
        for node in group.members:
            network.ledger.reveal(group.id, node, network.openings[group.id, node].to_bytes())
        assert network.ledger.settle(group.id).status is Status.SETTLED

    def test_c2_no_settling_before_all_have_revealed_or_the_deadline(self) -> None:
        network = self.network()
        group = network.drawn()
        network.refused(TooEarlyError, lambda: network.ledger.settle(group.id))
        for node in group.members:
            network.commit(group.id, node)
        network.refused(TooEarlyError, lambda: network.ledger.settle(group.id))
        for node in group.members[:2]:
            network.reveal(group.id, node)
        network.refused(TooEarlyError, lambda: network.ledger.settle(group.id), group.members[2])
        network.just_before(group.reveal_deadline)
        network.refused(TooEarlyError, lambda: network.ledger.settle(group.id))
        network.until(group.reveal_deadline)
        assert network.ledger.settle(group.id).status is Status.SETTLED

    def test_c4_an_opening_has_at_most_4096_bytes(self) -> None:
        network = self.network()
        group = network.committed(HONEST, HONEST, HONEST)
        node = group.members[0]
        network.refused(InvalidInputError, lambda: network.ledger.reveal(group.id, node, bytes(5_000)), "4096")
        network.refused(InvalidInputError, lambda: network.ledger.reveal(group.id, node, b"x"), "opening")
        network.refused(InvalidInputError, lambda: network.ledger.reveal(group.id, node, b""), "opening")

    def test_c4_a_malformed_answer_is_accepted_and_judged(self) -> None:
        network = self.network()
        group = network.answered(HONEST, HONEST, MALFORMED)
        assert group.verdict is not None
        assert group.verdict.findings[group.members[2]] is Finding.INVALID
        network = self.network()
        group = network.drawn()
        for node in group.members[:2]:
            network.commit(group.id, node)
        largest = Opening(b"\xff" * 4_060)
        node = group.members[2]
        commitment = by_hand.commitment(by_hand.draw_digest(group), node, largest.answer_bytes, largest.nonce)
        network.ledger.commit(group.id, node, commitment)
        for member in group.members[:2]:
            network.reveal(group.id, member)
        network.ledger.reveal(group.id, node, largest)
        settled = network.ledger.settle(group.id)
        assert settled.verdict is not None
        assert settled.verdict.findings[node] is Finding.INVALID
