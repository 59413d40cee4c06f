"""Keyed scores, and every group of three that has two rounds (protocol C5)."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from crynux_validate import ErrorReport, Finding, Opening, TextScore, judge
from crynux_validate.answers import Answer
from crynux_validate.errors import InvalidAnswerError, InvalidInputError
from crynux_validate.keyed import KeyedScore, keyed_seed
from crynux_validate.ledger.settlement import members_of
from tests.ledger.helpers import CHEAT_TEXT, HONEST_TEXT, POLICY, TEXT, TOKENS, TwoRounds

FIRST: dict[str, Answer | None] = {
    "A": HONEST_TEXT,
    "B": CHEAT_TEXT,
    "report": ErrorReport("schema"),
    "withheld": None,
    "absent": None,
}
SECOND = {
    "x": KeyedScore(bytes(32)).to_bytes(),
    "y": KeyedScore(bytes([1]) * 32).to_bytes(),
    "malformed": b"x",
    "silent": None,
}
ANSWERS = [(first, second) for first in FIRST for second in (SECOND if first in ("A", "B") else ["-"])]


def by_the_book(members: Sequence[tuple[str, str]]) -> list[Finding]:
    """What C5 says of a group of three text answers, where two agree only if both of their answers are equal."""
    whole = [member for member in members if member[0] in ("A", "B") and member[1] in ("x", "y")]
    winner = next((member for member in whole if whole.count(member) >= 2), None)

    def finding(first: str, second: str) -> Finding:
        if first == "absent":
            return Finding.ABSENT
        if first == "withheld" or second == "silent":
            return Finding.WITHHELD
        if (first, second) == winner:
            return Finding.VALID
        if winner is not None:
            return Finding.INVALID
        return Finding.ERROR if first == "report" else Finding.UNDECIDED

    return [finding(*member) for member in members]


def test_every_group_of_three() -> None:
    network = TwoRounds()
    drawn = network.drawn(task=TEXT)
    for members in itertools.product(ANSWERS, repeat=3):
        commitments, openings, seconds = {}, {}, {}
        for node, (first, second) in zip(drawn.members, members, strict=True):
            answer, keyed = FIRST[first], SECOND.get(second)
            if first != "absent":
                commitments[node] = bytes(32)
            if answer is not None:
                openings[node] = Opening(answer.to_bytes())
            if keyed is not None:
                seconds[node] = Opening(keyed)
        group = drawn.with_round(1, commitments=commitments, openings=openings).with_round(2, openings=seconds)
        verdict = judge(members_of(group), group.policy.rule_for(group.task))
        assert [verdict.findings[node] for node in group.members] == by_the_book(members), members


def test_a_seed_is_of_one_draw_and_of_what_was_revealed() -> None:
    draw, nonces = "ab" * 32, {f"n{at}": bytes([at]) * 32 for at in range(3)}
    seed = keyed_seed(draw, nonces)
    assert keyed_seed(draw, dict(reversed(nonces.items()))) == seed
    others = [
        keyed_seed("ac" * 32, nonces),
        keyed_seed(draw, {node: nonces[node] for node in ("n0", "n1")}),
        keyed_seed(draw, {**nonces, "n2": bytes(32)}),
        keyed_seed(draw, {"n0": nonces["n1"], "n1": nonces["n0"], "n2": nonces["n2"]}),
    ]
    assert len({seed, *others}) == 5


def test_bad_input() -> None:
    good_draw, good_nonces = "ab" * 32, {"n0": bytes(32)}
    for draw, nonces, match in (
        ("ab", good_nonces, "the draw's digest"),
        (b"x" * 32, good_nonces, "the draw's digest"),
        (good_draw, [bytes(32)], "nonces"),
        (good_draw, {"n0": bytes(31)}, "nonce of n0"),
        (good_draw, {"n0": "00" * 32}, "nonce of n0"),
        (good_draw, {7: bytes(32), "n0": bytes(32)}, "node id among the nonces is 7"),
    ):
        with pytest.raises(InvalidInputError, match=match):
            keyed_seed(draw, nonces)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="second_algorithm is 'keyed/9'; expected digest/1, keyed/1 or None"):
        replace(POLICY, second_algorithm="keyed/9")  # type: ignore[arg-type]
    with pytest.raises(InvalidAnswerError, match="a keyed score of digest/1 has 32 bytes, not 3 bytes"):
        KeyedScore(b"abc")
    with pytest.raises(InvalidAnswerError, match="the algorithm is 'tokens/1'"):
        KeyedScore(bytes(32), "tokens/1")  # type: ignore[arg-type]
    with pytest.raises(InvalidAnswerError, match="the seed is not 32 bytes"):
        KeyedScore.from_tokens(b"", TOKENS)
    with pytest.raises(InvalidAnswerError, match="a token id is -1"):
        KeyedScore.from_tokens(bytes(32), [[-1]])
    good = KeyedScore(bytes(32)).to_bytes()
    for data in (good[:-1], good + b"x"):
        with pytest.raises(InvalidAnswerError):
            KeyedScore.from_bytes(data)
    for data in (b"", TextScore(bytes(32), bytes(32)).to_bytes(), b"\x04"):
        with pytest.raises(InvalidAnswerError, match="not an answer of the second round"):
            KeyedScore.from_bytes(data)
