"""What a node hands in to have its text audited: the tokens, and where the task binds ``top`` rows (protocol U8)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from crynux_validate.answers import TextScore, check_answer
from crynux_validate.audits.top import LARGEST, TopOpenings
from crynux_validate.encoding import DIGEST_BYTES, check_type, parse_hex, parse_json, shorten, summary
from crynux_validate.errors import InvalidAnswerError, InvalidInputError
from crynux_validate.tasks import MAX_SEQUENCES, TextTask

MAX_PROOF_BYTES: Final = 2**24
"""The largest proof that is read: 16 sequences of 65,536 tokens need 12 MB."""

_MAX_TOKEN: Final = 2**31 - 1


@dataclass(frozen=True)
class TextProof:
    """The claimed tokens of a task, and what opens some of the logits that were bound with them.

    Parameters
    ----------
    task_digest
        The digest of the task that the node says it answers (`TextTask.digest`), 64 hexadecimal digits: tokens do not
        show it by themselves.
    token_ids
        For each sequence its new token ids, 0 to 2^31-1, with the end-of-sequence token if it was produced.
    top
        For a task with ``binding="top"`` the opened rows (`TopLogits.open`); otherwise None.

    Raises
    ------
    InvalidInputError
        For what is no digest, no sequence, more than 16, one without tokens, and what is no token id.
    """

    task_digest: str
    token_ids: tuple[tuple[int, ...], ...]
    top: TopOpenings | None = None

    def __post_init__(self) -> None:
        named = parse_hex(self.task_digest, "task_digest", DIGEST_BYTES).hex()
        object.__setattr__(self, "task_digest", named)
        object.__setattr__(self, "token_ids", _checked(self.token_ids))
        check_type(self.top, (TopOpenings, type(None)), "top", "what TopLogits.open returns, or None")

    def check(self, task: TextTask, answer: TextScore) -> None:
        """Say whether these tokens and rows are those of an answer to a task; no model is needed.

        Raises
        ------
        InvalidAnswerError
            For a proof of another task, an answer that does not fit the task, other tokens than it binds, more or
            longer sequences than the task allows, rows that are missing, not wanted, or not those that it binds.
        """
        check_type(task, TextTask, "the task", "a TextTask")
        check_type(answer, TextScore, "the answer", "a TextScore; an error report has no text to audit")
        if self.task_digest != task.digest:
            raise InvalidAnswerError(
                f"the proof is for the task {self.task_digest[:16]}..., not for {task.digest[:16]}...; get that of "
                "this task"
            )
        check_answer(task, answer)
        if len(self.token_ids) != task.sequences:
            raise InvalidAnswerError(
                f"the proof has {len(self.token_ids)} sequences; the task asks for {task.sequences}"
            )
        longest = max(map(len, self.token_ids))
        if longest > task.max_new_tokens:
            raise InvalidAnswerError(
                f"the proof has a sequence of {longest} tokens; the task allows {task.max_new_tokens}"
            )
        plain = TextScore.from_tokens(self.token_ids)
        if plain.score != (answer.score if answer.algorithm == "tokens/1" else answer.result_digest):
            raise InvalidAnswerError("the answer binds other tokens than the proof has; get the proof of this answer")
        if (self.top is not None) != (task.binding == "top"):
            raise InvalidAnswerError(
                "the proof has no rows of the largest logits; TopLogits.open makes them"
                if self.top is None
                else f"the proof has rows of the largest logits, but the task binds {task.binding} only: leave them out"
            )
        if self.top is not None:
            found = TextScore.from_tokens(self.token_ids, top=self.top.root(task, self.token_ids))
            if found.score != answer.score:
                raise InvalidAnswerError(
                    "the answer binds other rows of the largest logits than the proof has: a proof of another task, "
                    "answer or position, or was changed"
                )

    def to_json(self) -> str:
        """Return the proof as JSON, which `from_json` reads."""
        value: dict[str, Any] = {"task_digest": self.task_digest, "token_ids": self.token_ids}
        if self.top is not None:
            value["top"] = {
                "places": self.top.places,
                "rows": [row.hex() for row in self.top.rows],
                "siblings": [node.hex() for node in self.top.siblings],
            }
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def from_json(cls, data: str | bytes) -> Self:
        """Read a proof, or the ``answer.json`` that `TextResult.save` writes: of that the task's digest and the tokens.

        Raises
        ------
        InvalidInputError
            For anything else, and for more than 16 MiB.
        """
        value = parse_json(data, "the proof", MAX_PROOF_BYTES)
        for name in ("task_digest", "token_ids"):
            if not isinstance(value, dict) or name not in value:
                raise InvalidInputError(
                    f"the proof has no {name}; give TextProof.to_json, or the answer.json of a result"
                )
        top = value.get("top")
        return cls(value["task_digest"], value["token_ids"], None if top is None else _read_top(top))

    def __repr__(self) -> str:
        rows = "" if self.top is None else f"{len(self.top.rows)} rows"
        lengths = ", ".join(str(len(ids)) for ids in self.token_ids)
        return summary(self, f"task {self.task_digest[:12]}", f"of {lengths} tokens", rows)


def _checked(sequences: Any) -> tuple[tuple[int, ...], ...]:
    if not isinstance(sequences, Sequence) or not 1 <= len(sequences) <= MAX_SEQUENCES:
        raise InvalidInputError(
            f"token_ids is {shorten(sequences)}; expected a list of tokens for each of 1 to {MAX_SEQUENCES} sequences"
        )
    found = []
    for number, ids in enumerate(sequences):
        if not isinstance(ids, Iterable) or isinstance(ids, str | bytes) or not (row := tuple(ids)):
            raise InvalidInputError(f"sequence {number} is {shorten(ids)}; expected a list of at least one token id")
        for at, token in enumerate(row):
            if type(token) is not int or not 0 <= token <= _MAX_TOKEN:
                raise InvalidInputError(
                    f"token {at} of sequence {number} is {shorten(token)}; expected an id of 0 to {_MAX_TOKEN}"
                )
        found.append(row)
    return tuple(found)


def _read_top(value: Any) -> TopOpenings:
    fields = ("places", "rows", "siblings")
    if not isinstance(value, dict) or sorted(value) != sorted(fields):
        raise InvalidInputError(f"top is {shorten(value)}; expected an object with {', '.join(fields)}")
    for name in fields:
        if not isinstance(value[name], list):
            raise InvalidInputError(f"top.{name} is {shorten(value[name])}; expected a list")
    places = [_place(place) for place in value["places"]]
    if not places or places != sorted(set(places)) or len(places) != len(value["rows"]):
        raise InvalidInputError("top.places are not ascending, or not one for each row; get the proof again")
    rows = [parse_hex(row, "a row of top") for row in value["rows"]]
    if any(len(row) > 8 * LARGEST for row in rows):
        raise InvalidInputError(f"a row of top is longer than {8 * LARGEST} bytes; get the proof again")
    siblings = [parse_hex(node, "a sibling of top", DIGEST_BYTES) for node in value["siblings"]]
    return TopOpenings(tuple(places), tuple(rows), tuple(siblings))


def _place(value: Any) -> tuple[int, int]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(part) is int and 0 <= part <= _MAX_TOKEN for part in value)
    ):
        raise InvalidInputError(f"a place of top is {shorten(value)}; expected [sequence, position]")
    return value[0], value[1]
