"""The second answering round: answers that are made with a seed that nobody knew before (protocol C5)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from crynux_validate.answers import Answer, ErrorReport
from crynux_validate.commitment import Opening
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    InvalidInputError,
    NotAMemberError,
    TooEarlyError,
    TooLateError,
)
from crynux_validate.judging import Finding, Outcome
from crynux_validate.keyed import KeyedScore
from crynux_validate.ledger.interface import Group
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.harness import Harness, RestartableNetwork
from crynux_validate.testing.conformance.network import (
    CHEAT_TEXT,
    HONEST_TEXT,
    POLICY,
    TASK,
    TEXT,
    Network,
    everything,
)
from crynux_validate.testing.conformance.settlement import findings

TWO: Final = replace(POLICY, second_algorithm="digest/1")
TOKENS: Final = ((5, 7, 11),)
OTHER: Final = ((5, 7, 12),)
ODD: Final = ((1,),)

Tokens = Sequence[Sequence[int]] | None


def first_round(network: Network, *answers: Answer | None) -> Group:
    """Return a group whose first round is over; None stays away."""
    group = network.committed(*answers, task=TEXT)
    for node in group.commitments:
        network.reveal(group.id, node)
    return network.ledger.group(group.id)


def seed_of(group: Group) -> bytes:
    """Return the seed of a group's second round, worked out by hand."""
    nonces = {node: opening.nonce for node, opening in group.openings.items()}
    return by_hand.second_seed(by_hand.draw_digest(group), nonces)


def commit_second(network: Network, group: Group, node: str, tokens: Sequence[Sequence[int]] = TOKENS) -> Opening:
    """Bind a member to what it has as a result, in the second round."""
    return commit_second_bytes(network, group, node, by_hand.second_answer(seed_of(group), tokens))


def commit_second_bytes(network: Network, group: Group, node: str, answer: bytes) -> Opening:
    """Bind a member to any bytes, in the second round."""
    opening = Opening(answer)
    bound = by_hand.commitment(seed_of(group), node, opening.answer_bytes, opening.nonce, number=2)
    network.ledger.commit(group.id, node, bound, round=2)
    return opening


def second_round(network: Network, group: Group, *tokens: Tokens) -> Group:
    """Return a settled group, whose members gave these second answers; None stays away."""
    given = {
        node: commit_second(network, group, node, answer)
        for node, answer in zip(group.members, tokens, strict=True)
        if answer is not None
    }
    if None in tokens:
        network.until(group.rounds[1].commit_deadline)
    for node, opening in given.items():
        network.ledger.reveal(group.id, node, opening, round=2)
    if None in tokens:
        network.until(group.rounds[1].reveal_deadline)
    settled = network.ledger.settle(group.id)
    network.check_money()
    return settled


@needs("second_round", "text", "manual_clock")
class SecondRoundRules(Harness):
    """Standard tests of groups that answer twice."""

    def two_rounds(self) -> RestartableNetwork:
        """Return three nodes of one class, and a policy with a second round."""
        network = self.network(nodes=3, policy=TWO)
        network.attest()
        return network

    def test_c5_the_seed_comes_from_the_nonces_of_the_first_round(self) -> None:
        network = self.two_rounds()
        group = network.drawn(task=TEXT)
        for node in group.members:
            assert network.ledger.group(group.id).second_seed(network.clock.now) is None
            network.commit(group.id, node, HONEST_TEXT)
        for node in group.members:
            found = network.ledger.group(group.id).second_seed(network.clock.now)
            assert found is None, "the last could choose its nonce"
            network.reveal(group.id, node)
        group = network.ledger.group(group.id)
        seed = seed_of(group)
        assert group.second_seed(network.clock.now) == seed
        assert KeyedScore.from_tokens(seed, TOKENS).to_bytes() == by_hand.second_answer(seed, TOKENS)

    def test_c5_who_has_the_result_is_paid(self) -> None:
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
        assert findings(second_round(network, group, TOKENS, TOKENS, TOKENS)) == [Finding.VALID] * 3

    def test_c5_who_bound_a_digest_without_having_the_result_is_invalid(self) -> None:
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
        settled = second_round(network, group, TOKENS, TOKENS, OTHER)
        assert findings(settled) == [Finding.VALID, Finding.VALID, Finding.INVALID]
        assert network.ledger.node(settled.members[2]).stake == 0

    def test_c5_an_answer_counts_only_where_both_rounds_agree(self) -> None:
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, CHEAT_TEXT)
        settled = second_round(network, group, TOKENS, OTHER, OTHER)
        assert findings(settled) == [Finding.UNDECIDED] * 3, "nobody agrees with another in both"
        assert settled.verdict is not None
        assert settled.verdict.outcome is Outcome.NO_QUORUM
        assert network.ledger.account("app") == 10_000

    def test_c5_without_a_quorum_of_second_answers_nobody_is_slashed(self) -> None:
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
        assert findings(second_round(network, group, TOKENS, OTHER, ODD)) == [Finding.UNDECIDED] * 3
        assert network.ledger.account("app") == 10_000

    def test_c5_whoever_is_asked_and_keeps_silent_withholds(self) -> None:
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
        settled = second_round(network, group, TOKENS, TOKENS, None)
        assert findings(settled) == [Finding.VALID, Finding.VALID, Finding.WITHHELD]
        silent = network.ledger.node(settled.members[2])
        assert (silent.stake, silent.absences) == (0, 0)

    def test_c5_what_is_no_second_answer_is_malformed(self) -> None:
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
        *honest, third = group.members
        given = {node: commit_second(network, group, node) for node in honest}
        given[third] = commit_second_bytes(network, group, third, HONEST_TEXT.to_bytes())
        for node, opening in given.items():
            network.ledger.reveal(group.id, node, opening, round=2)
        settled = network.ledger.settle(group.id)
        assert findings(settled) == [Finding.VALID, Finding.VALID, Finding.INVALID]

    def test_c5_only_who_revealed_a_score_is_asked(self) -> None:
        """Neither who reported an error nor who was absent."""
        for answer, finding in ((ErrorReport("failed", "out of memory"), Finding.ERROR), (None, Finding.ABSENT)):
            network = self.two_rounds()
            group = first_round(network, HONEST_TEXT, HONEST_TEXT, answer)
            third = group.members[2]
            assert group.asked(2) == group.members[:2]
            network.refused(
                NotAMemberError,
                lambda n=network, g=group, t=third: n.ledger.commit(g.id, t, bytes(32), round=2),  # type: ignore[misc]
                "revealed no score",
            )
            given = {node: commit_second(network, group, node) for node in group.members[:2]}
            for node, opening in given.items():
                network.ledger.reveal(group.id, node, opening, round=2)
            assert findings(network.ledger.settle(group.id)) == [Finding.VALID, Finding.VALID, finding]

    def test_c5_where_nobody_gave_a_score_the_second_round_is_over_at_once(self) -> None:
        network = self.two_rounds()
        report = ErrorReport("schema")
        settled = network.ledger.settle(first_round(network, report, report, report).id)
        assert settled.verdict is not None
        assert settled.verdict.outcome is Outcome.TASK_FAULT

    def test_c5_the_second_round_follows_the_first(self) -> None:
        """Its deadlines are fixed at the draw as well, and it begins when the first is over."""
        network = self.two_rounds()
        ledger, group = network.ledger, network.drawn(task=TEXT)
        one, two = group.rounds
        assert two.commit_deadline == one.reveal_deadline + TWO.commit_seconds
        assert two.reveal_deadline == two.commit_deadline + TWO.reveal_seconds
        first, second, third = group.members

        def early() -> Group:
            return ledger.commit(group.id, first, bytes(32), round=2)

        network.refused(TooEarlyError, early, "first round")
        for node in group.members:
            network.commit(group.id, node, HONEST_TEXT)
        network.reveal(group.id, first)
        network.reveal(group.id, second)
        network.refused(TooEarlyError, early, "first round")
        network.clock.now = one.reveal_deadline
        opening = commit_second(network, ledger.group(group.id), first)
        network.refused(AlreadyDoneError, early, "never replaced")
        network.refused(NotAMemberError, lambda: ledger.commit(group.id, third, bytes(32), round=2), "no score")
        network.refused(
            TooEarlyError, lambda: ledger.reveal(group.id, first, opening, round=2), "waits for 1 commitments"
        )
        network.refused(
            TooEarlyError, lambda: ledger.settle(group.id), f"{first}, {second} until {two.commit_deadline}"
        )
        network.clock.now = two.commit_deadline
        network.refused(TooLateError, lambda: ledger.commit(group.id, second, bytes(32), round=2), "took commitments")
        network.refused(
            CommitmentMismatchError, lambda: ledger.reveal(group.id, second, opening, round=2), "not committed"
        )
        other = Opening(opening.answer_bytes)
        network.refused(
            CommitmentMismatchError, lambda: ledger.reveal(group.id, first, other, round=2), "another answer"
        )
        ledger.reveal(group.id, first, opening, round=2)
        settled = ledger.settle(group.id)
        assert findings(settled) == [Finding.UNDECIDED, Finding.WITHHELD, Finding.WITHHELD]

    def test_c5_a_first_commitment_is_none_for_the_second_round(self) -> None:
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
        node = group.members[0]
        opening = Opening(by_hand.second_answer(seed_of(group), TOKENS))
        bound = by_hand.commitment(by_hand.draw_digest(group), node, opening.answer_bytes, opening.nonce)
        network.ledger.commit(group.id, node, bound, round=2)
        for other in group.members[1:]:
            commit_second(network, group, other)
        network.refused(
            CommitmentMismatchError, lambda: network.ledger.reveal(group.id, node, opening, round=2), "round"
        )

    def test_c5_an_answer_that_was_made_for_another_seed_is_not_opened(self) -> None:
        """Or an old commitment, whose node signed it, could be handed in once more after a ledger was restored."""
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
        node = group.members[0]
        opening = Opening(by_hand.second_answer(seed_of(group), TOKENS))
        nonces = {member: bytes([at]) * 32 for at, member in enumerate(group.members)}
        other = by_hand.second_seed(by_hand.draw_digest(group), nonces)
        for bound_to in (other, by_hand.draw_digest(group)):
            bound = by_hand.commitment(bound_to, node, opening.answer_bytes, opening.nonce, number=2)
            assert opening.commitment(bound_to.hex(), node=node, round=2) == bound
        network.ledger.commit(group.id, node, bound, round=2)
        for member in group.members[1:]:
            commit_second(network, group, member)
        network.refused(
            CommitmentMismatchError, lambda: network.ledger.reveal(group.id, node, opening, round=2), "seed"
        )

    def test_c5_images_have_no_second_round(self) -> None:
        """Those of honest nodes differ."""
        network = self.two_rounds()
        network.refused(InvalidInputError, lambda: network.opened(task=TASK), "give the ledger text tasks")

    def test_c5_there_are_two_rounds(self) -> None:
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
        numbers: list[Any] = [0, 3, "2", True, 2.0]
        for number in numbers:
            network.refused(
                InvalidInputError,
                lambda n=number: network.ledger.commit(group.id, group.members[0], bytes(32), round=n),  # type: ignore[misc]
                "the rounds 1 and 2",
            )

    @needs("restart")
    def test_c5_a_restart_forgets_nothing_of_the_second_round(self) -> None:
        network = self.two_rounds()
        group = first_round(network, HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
        opening = commit_second(network, group, group.members[0])
        before = everything(network.ledger)
        network.restart()
        assert everything(network.ledger) == before
        for node in group.members[1:]:
            commit_second(network, group, node)
        network.ledger.reveal(group.id, group.members[0], opening, round=2)
        before = everything(network.ledger)
        network.restart()
        assert everything(network.ledger) == before
