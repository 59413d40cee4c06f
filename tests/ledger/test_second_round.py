"""The second answering round: answers that are made with a seed that nobody knew before (protocol C5)."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from crynux_validate import (
    Answer,
    ErrorReport,
    Finding,
    Group,
    InvalidInputError,
    KeyedScore,
    MemoryLedger,
    Opening,
    Outcome,
)
from crynux_validate.encoding import length_prefixed
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    NotAMemberError,
    TooEarlyError,
    TooLateError,
)
from tests.ledger import backends
from tests.ledger.helpers import CHEAT_TEXT, HONEST_TEXT, POLICY, TASK, TEXT, Network

TWO = replace(POLICY, second_algorithm="digest/1")
TOKENS = [[5, 7, 11]]
OTHER = [[5, 7, 12]]

Tokens = Sequence[Sequence[int]] | None


class TwoRounds(Network):
    """Three nodes of one class, and groups of two rounds."""

    def __init__(self, **change: Any) -> None:
        super().__init__(nodes=3, policy=replace(TWO, **change))
        self.attest()

    def first(self, *answers: Answer | None) -> Group:
        """A group whose first round is over; None stays away."""
        group = self.drawn(task=TEXT)
        for node, answer in zip(group.members, answers, strict=True):
            if answer is not None:
                self.commit(group.id, node, answer)
        if None in answers:
            self.clock.now = group.commit_deadline
        for node, answer in zip(group.members, answers, strict=True):
            if answer is not None:
                self.reveal(group.id, node)
        return self.ledger.group(group.id)

    def seed(self, group: Group) -> bytes:
        found = self.ledger.group(group.id).second_seed(self.clock.now)
        assert found is not None
        return found

    def commit_second(self, group: Group, node: str, tokens: Sequence[Sequence[int]] = TOKENS) -> Opening:
        opening = Opening(KeyedScore.from_tokens(self.seed(group), tokens).to_bytes())
        return self.commit_bytes(group, node, opening)

    def commit_bytes(self, group: Group, node: str, opening: Opening) -> Opening:
        bound = opening.commitment(ledger="test", group=group.id, node=node, round=2)
        self.ledger.commit(group.id, node, bound, round=2)
        return opening

    def second(self, group: Group, *tokens: Tokens) -> Group:
        """A settled group, whose members gave these second answers; None stays away."""
        given = {
            node: self.commit_second(group, node, answer)
            for node, answer in zip(group.members, tokens, strict=True)
            if answer is not None
        }
        if None in tokens:
            self.clock.now = group.rounds[1].commit_deadline
        for node, opening in given.items():
            self.ledger.reveal(group.id, node, opening, round=2)
        if None in tokens:
            self.clock.now = group.rounds[1].reveal_deadline
        settled = self.ledger.settle(group.id)
        assert backends.current.again(self.ledger).group(group.id) == settled
        assert MemoryLedger.replay(self.ledger.events()).group(group.id) == settled
        assert self.ledger.totals().balanced
        return settled


def findings_of(group: Group) -> list[Finding]:
    assert group.verdict is not None
    return [group.verdict.findings[node] for node in group.members]


def test_the_seed_and_the_score_are_what_the_protocol_says() -> None:
    network = TwoRounds()
    group = network.drawn(task=TEXT)
    for node in group.members:
        assert network.ledger.group(group.id).second_seed(network.clock.now) is None
        network.commit(group.id, node, HONEST_TEXT)
    for node in group.members:
        assert network.ledger.group(group.id).second_seed(network.clock.now) is None, "the last could choose its nonce"
        network.reveal(group.id, node)
    expected = hashlib.sha256(length_prefixed("crynux-validate/keyed-seed/1") + length_prefixed(group.id))
    for node in sorted(group.members):
        expected.update(network.openings[group.id, node].nonce)
    assert network.seed(group) == expected.digest()
    body = b"".join(number.to_bytes(4, "big") for number in (1, 3)) + b"".join(
        t.to_bytes(4, "little") for t in (5, 7, 11)
    )
    score = hashlib.sha256(length_prefixed("crynux-validate/keyed-score/1") + expected.digest() + length_prefixed(body))
    made = KeyedScore.from_tokens(network.seed(group), TOKENS)
    assert made.score == score.digest()
    assert made.to_bytes() == b"\x04" + length_prefixed("digest/1") + length_prefixed(made.score)
    assert KeyedScore.from_bytes(made.to_bytes()) == made


def test_who_had_the_result_is_paid() -> None:
    network = TwoRounds()
    settled = network.second(network.first(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT), TOKENS, TOKENS, TOKENS)
    assert findings_of(settled) == [Finding.VALID] * 3


def test_who_bound_a_digest_without_having_the_result_is_found() -> None:
    network = TwoRounds()
    settled = network.second(network.first(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT), TOKENS, TOKENS, OTHER)
    assert findings_of(settled) == [Finding.VALID, Finding.VALID, Finding.INVALID]
    assert network.ledger.node(settled.members[2]).stake == 0


def test_an_answer_counts_only_where_both_rounds_agree() -> None:
    network = TwoRounds()
    settled = network.second(network.first(HONEST_TEXT, HONEST_TEXT, CHEAT_TEXT), TOKENS, OTHER, OTHER)
    assert findings_of(settled) == [Finding.UNDECIDED] * 3, "nobody agrees with another in both"
    assert settled.verdict is not None
    assert settled.verdict.outcome is Outcome.NO_QUORUM


def test_without_a_quorum_of_second_answers_nobody_is_slashed() -> None:
    network = TwoRounds()
    group = network.first(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
    settled = network.second(group, TOKENS, OTHER, [[1]])
    assert findings_of(settled) == [Finding.UNDECIDED] * 3
    assert network.ledger.account("app") == 10_000


def test_whoever_is_asked_and_keeps_silent_withholds() -> None:
    network = TwoRounds()
    settled = network.second(network.first(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT), TOKENS, TOKENS, None)
    assert findings_of(settled) == [Finding.VALID, Finding.VALID, Finding.WITHHELD]
    assert network.ledger.node(settled.members[2]).stake == 0
    assert network.ledger.node(settled.members[2]).absences == 0


def test_what_is_no_second_answer_is_malformed() -> None:
    network = TwoRounds()
    group = network.first(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
    *honest, third = group.members
    given = {node: network.commit_second(group, node) for node in honest}
    given[third] = network.commit_bytes(group, third, Opening(HONEST_TEXT.to_bytes()))
    for node, opening in given.items():
        network.ledger.reveal(group.id, node, opening, round=2)
    assert findings_of(network.ledger.settle(group.id)) == [Finding.VALID, Finding.VALID, Finding.INVALID]


def test_only_who_revealed_a_score_is_asked() -> None:
    network = TwoRounds(group_size=3)
    group = network.first(HONEST_TEXT, HONEST_TEXT, ErrorReport("failed", "out of memory"))
    assert group.asked(2) == group.members[:2]
    with pytest.raises(NotAMemberError, match="revealed no score"):
        network.commit_second(group, group.members[2])
    given = {node: network.commit_second(group, node) for node in group.members[:2]}
    for node, opening in given.items():
        network.ledger.reveal(group.id, node, opening, round=2)
    assert findings_of(network.ledger.settle(group.id)) == [Finding.VALID, Finding.VALID, Finding.ERROR]


def test_an_absent_member_is_not_asked_again() -> None:
    network = TwoRounds()
    group = network.first(HONEST_TEXT, HONEST_TEXT, None)
    given = {node: network.commit_second(group, node) for node in group.members[:2]}
    for node, opening in given.items():
        network.ledger.reveal(group.id, node, opening, round=2)
    assert findings_of(network.ledger.settle(group.id)) == [Finding.VALID, Finding.VALID, Finding.ABSENT]


def test_where_nobody_gave_a_score_the_second_round_is_over_at_once() -> None:
    network = TwoRounds()
    report = ErrorReport("schema")
    group = network.first(report, report, report)
    assert network.ledger.settle(group.id).verdict.outcome is Outcome.TASK_FAULT  # type: ignore[union-attr]


def test_deadlines() -> None:
    network = TwoRounds()
    group = network.drawn(task=TEXT)
    one, two = group.rounds
    assert two.commit_deadline == one.reveal_deadline + TWO.commit_seconds
    assert two.reveal_deadline == two.commit_deadline + TWO.reveal_seconds
    first, second, third = group.members
    ledger = network.ledger
    with pytest.raises(TooEarlyError, match="first round"):
        ledger.commit(group.id, first, bytes(32), round=2)
    for node in group.members:
        network.commit(group.id, node, HONEST_TEXT)
    network.reveal(group.id, first)
    network.reveal(group.id, second)
    with pytest.raises(TooEarlyError, match="first round"):
        ledger.commit(group.id, first, bytes(32), round=2)
    network.clock.now = one.reveal_deadline
    opening = network.commit_second(group, first)
    with pytest.raises(AlreadyDoneError, match="never replaced"):
        ledger.commit(group.id, first, bytes(32), round=2)
    with pytest.raises(NotAMemberError, match="revealed no score"):
        ledger.commit(group.id, third, bytes(32), round=2)
    with pytest.raises(TooEarlyError, match="waits for 1 commitments"):
        ledger.reveal(group.id, first, opening, round=2)
    with pytest.raises(TooEarlyError, match=f"waits for {first}, {second} until {two.commit_deadline}"):
        ledger.settle(group.id)
    network.clock.now = two.commit_deadline
    with pytest.raises(TooLateError, match="took commitments until"):
        network.commit_second(group, second)
    with pytest.raises(CommitmentMismatchError, match="not committed"):
        ledger.reveal(group.id, second, opening, round=2)
    with pytest.raises(CommitmentMismatchError, match="another answer or nonce"):
        ledger.reveal(group.id, first, Opening(opening.answer_bytes), round=2)
    ledger.reveal(group.id, first, opening, round=2)
    settled = ledger.settle(group.id)
    assert findings_of(settled) == [Finding.UNDECIDED, Finding.WITHHELD, Finding.WITHHELD]


def test_a_first_commitment_is_none_for_the_second_round() -> None:
    network = TwoRounds()
    group = network.first(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
    node = group.members[0]
    opening = Opening(KeyedScore.from_tokens(network.seed(group), TOKENS).to_bytes())
    network.ledger.commit(group.id, node, opening.commitment(ledger="test", group=group.id, node=node), round=2)
    for other in group.members[1:]:
        network.commit_second(group, other)
    with pytest.raises(CommitmentMismatchError, match="round"):
        network.ledger.reveal(group.id, node, opening, round=2)


def test_images_of_honest_nodes_differ_so_they_have_no_second_round() -> None:
    network = TwoRounds()
    with pytest.raises(InvalidInputError, match="give the ledger text tasks"):
        network.ledger.open_group(TASK, creator="app", fee=100)


@pytest.mark.parametrize("number", [0, 3, "2", True, 2.0])
def test_there_are_two_rounds(number: Any) -> None:
    network = TwoRounds()
    group = network.first(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT)
    with pytest.raises(InvalidInputError, match="the rounds 1 and 2"):
        network.ledger.commit(group.id, group.members[0], bytes(32), round=number)
