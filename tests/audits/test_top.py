"""The largest logits of every token: rows, their tree, the draw, and proofs of texts."""

import contextlib
import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crynux_validate import ModelRef, TextScore, TextTask
from crynux_validate.audits.text_proof import TextProof
from crynux_validate.audits.top import TopLogits, audit_positions, entries, row_of
from crynux_validate.errors import InvalidAnswerError, InvalidInputError

TASK = TextTask(
    model=ModelRef("owner/name", revision="0" * 40), prompt="a", binding="top", sequences=2, max_new_tokens=40
)
SEED = b"a beacon's value"
TOKENS = [list(range(40)), list(range(7))]


def row(number: int) -> bytes:
    """Some row, another for each number."""
    return row_of([(number + 3 * at, 5.0 - at - number / 100) for at in range(8)])


def made(task: TextTask = TASK) -> TopLogits:
    """The largest logits of two sequences."""
    return TopLogits(task, [[row(at) for at in range(40)], [row(50 + at) for at in range(7)]])


def answer(top: TopLogits) -> TextScore:
    return TextScore.from_tokens(TOKENS, top=top.root)


def proof(top: TopLogits, count: int = 32) -> TextProof:
    """What the node hands in."""
    places = audit_positions(SEED, top.task, answer(top), TOKENS, count)
    return TextProof(top.task.digest, TOKENS, top.open(places))  # type: ignore[arg-type]


def test_a_proof_holds_for_its_answer_and_is_read_as_it_was_written() -> None:
    top = made()
    found = proof(top)
    assert len(found.top.places) == 32  # type: ignore[union-attr]
    found.check(TASK, answer(top))
    again = TextProof.from_json(found.to_json())
    assert again == found
    again.check(TASK, answer(top))
    assert len(found.to_json()) < 12_000, "docs state the size"


def test_what_a_node_keeps_is_read_as_it_was_written() -> None:
    top = made()
    assert TopLogits.from_bytes(TASK, top.to_bytes()) == top
    with pytest.raises(InvalidInputError, match="for the task"):
        TopLogits.from_bytes(TASK.replace(seed=1), top.to_bytes())
    for cut in (0, 10, 60, 100, len(top.to_bytes()) - 1):
        with pytest.raises(InvalidInputError):
            TopLogits.from_bytes(TASK, top.to_bytes()[:cut])
    with pytest.raises(InvalidInputError, match="something else"):
        TopLogits.from_bytes(TASK, top.to_bytes() + b"\0")


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (TextProof.from_json, lambda found: TopLogits.from_bytes(TASK, found), entries):
        with contextlib.suppress(InvalidInputError):
            read(data)


def test_the_seed_draws_and_the_task_and_answer_do_too() -> None:
    top, other = made(), TopLogits(TASK, [[row(at) for at in range(40)], [row(60 + at) for at in range(7)]])
    first = audit_positions(SEED, TASK, answer(top), TOKENS)
    assert first == audit_positions(SEED, TASK, answer(top), TOKENS)
    assert list(first) == sorted(set(first))
    assert first != audit_positions(b"another", TASK, answer(top), TOKENS)
    assert first != audit_positions(SEED, TASK, answer(other), TOKENS)
    assert first != audit_positions(SEED, TASK.replace(seed=1), answer(top), TOKENS)
    assert len(audit_positions(SEED, TASK, answer(top), TOKENS, 1_000)) == 47, "all that there are"


@pytest.mark.parametrize("place", [(0, 40), (1, 7), (2, 0), (-1, 0)])
def test_a_position_that_is_not_there_cannot_be_opened(place: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="does not have"):
        made().open([place])


def changed(found: TextProof, **fields: Any) -> TextProof:
    """The proof with some of its JSON replaced."""
    value = json.loads(found.to_json())
    value["top"] |= fields
    return TextProof.from_json(json.dumps(value))


def test_an_edited_proof_is_refused() -> None:
    top = made()
    found = proof(top)
    value = json.loads(found.to_json())["top"]
    other_row = [row(99).hex(), *value["rows"][1:]]
    other_node = ["00" * 32, *value["siblings"][1:]]
    swapped = [value["rows"][1], value["rows"][0], *value["rows"][2:]]
    for edited in ({"rows": other_row}, {"siblings": other_node}, {"rows": swapped}):
        with pytest.raises(InvalidAnswerError, match="answer binds other"):
            changed(found, **edited).check(TASK, answer(top))
    with pytest.raises(InvalidInputError, match="siblings"):
        changed(found, siblings=value["siblings"][1:]).check(TASK, answer(top))
    with pytest.raises(InvalidInputError, match="does not have"):
        changed(found, places=[*value["places"][:-1], [1, 7]]).check(TASK, answer(top))


def test_a_proof_of_something_else_is_refused() -> None:
    top = made()
    found = proof(top)
    other = TASK.replace(seed=9)
    with pytest.raises(InvalidAnswerError, match=f"for the task {TASK.digest[:16]}..., not for {other.digest[:16]}..."):
        found.check(other, answer(top))
    with pytest.raises(InvalidAnswerError, match="answer binds other"):
        TextProof(other.digest, TOKENS, found.top).check(other, answer(top))  # type: ignore[arg-type]
    with pytest.raises(InvalidAnswerError, match="answer binds other tokens"):
        TextProof(TASK.digest, [[1] * 40, [1] * 7], found.top).check(TASK, answer(top))  # type: ignore[arg-type]
    with pytest.raises(InvalidAnswerError, match="has no rows"):
        TextProof(TASK.digest, TOKENS).check(TASK, answer(top))  # type: ignore[arg-type]
    plain, score = TASK.replace(binding="tokens"), TextScore.from_tokens(TOKENS)
    with pytest.raises(InvalidAnswerError, match="leave them out"):
        TextProof(plain.digest, TOKENS, found.top).check(plain, score)  # type: ignore[arg-type]
    for changes, said in (
        ({"max_new_tokens": 39}, "40 tokens; the task allows 39"),
        ({"sequences": 3}, "2 sequences; the task asks for 3"),
    ):
        changed_task = plain.replace(**changes)
        with pytest.raises(InvalidAnswerError, match=said):
            TextProof(changed_task.digest, TOKENS).check(changed_task, score)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="TextScore"):
        TextProof(plain.digest, TOKENS).check(plain, "score")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tokens", "word"),
    [
        ([], "1 to 16"),
        ([[]], "at least one"),
        ([[1, -1]], "-1"),
        ([[2**31]], "2147483648"),
        ([[True]], "True"),
        ("ab", "sequence 0 is .a."),
        ([[1]] * 17, "1 to 16"),
        ([[1.0]], "1.0"),
    ],
)
def test_what_is_no_text(tokens: Any, word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        TextProof(TASK.digest, tokens)


def entry(token: int, value: float) -> bytes:
    return struct.pack("<If", token, value)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "entries"),
        (b"\0" * 7, "entries"),
        (entry(1, 0.0) * 9, "entries"),
        (entry(1, math.nan), "NaN or infinite"),
        (entry(1, math.inf), "NaN or infinite"),
        (entry(1, -math.inf), "NaN or infinite"),
        (entry(1, 2.0) + entry(2, math.nan), "NaN or infinite"),
        (entry(1, 1.0) + entry(2, 2.0), "order"),
        (entry(2, 1.0) + entry(1, 1.0), "order"),
        (entry(1, 2.0) + entry(2, 1.5) + entry(1, 1.0), "twice"),
    ],
)
def test_what_is_no_row(data: bytes, word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        entries(data)


def test_a_row_may_end_with_tokens_that_are_ruled_out() -> None:
    assert entries(entry(4, 1.0) + entry(1, -math.inf) + entry(2, -math.inf))[1] == (1, -math.inf)


def test_a_score_binds_the_logits_or_the_largest() -> None:
    with pytest.raises(InvalidAnswerError, match="or logits are given as well"):
        TextScore.from_tokens([[1]], [[bytes(32)]], bytes(32))
    with pytest.raises(InvalidAnswerError, match="32 bytes"):
        TextScore.from_tokens([[1]], top=bytes(31))
