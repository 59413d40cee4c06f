"""Vectors of audits: traces, proofs of their steps, the largest logits of texts, and what a seed draws (U1 to U8)."""

import struct
from collections.abc import Iterator
from typing import Any

from crynux_validate.answers import ImageScore, TextScore
from crynux_validate.audits.layout import Content, check_traced, leaves_of
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.steps import audit_steps
from crynux_validate.audits.top import LARGEST, TopLogits, audit_positions, row_of
from crynux_validate.audits.trace import Trace
from crynux_validate.encoding import check_type
from crynux_validate.tasks import TextTask, task_from_json
from crynux_validate.vectors_check.files import Vector


def trace(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The root of a trace, and the proof of some steps of it."""
    given = vector.content
    task = check_traced(task_from_json(given["task"]))
    made, contents, shades = Trace(task, tuple(given["latent"])), iter(given["contents"]), iter(given["shades"])
    for leaf in leaves_of(task):
        if leaf.content is Content.PIXELS:
            made.append(bytes([next(shades)]) * (3 * task.width * task.height))
        else:
            made.append(bytes.fromhex(next(contents)))
    yield "root", made.root.hex()
    yield "proof", made.prove(given["image"], given["steps"], pixels=False).to_bytes().hex()
    yield "root", TraceProof.from_bytes(bytes.fromhex(given["proof"]), task).root.hex()


def steps(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The steps that a seed draws."""
    given = vector.content
    task = check_traced(task_from_json(given["task"]))
    answer = ImageScore(bytes(8 * task.images), bytes.fromhex(given["result_digest"]))
    found = audit_steps(bytes.fromhex(given["seed"]), task, answer, given["count"])
    yield "steps", {str(image): list(drawn) for image, drawn in found.items()}


def top(vector: Vector) -> Iterator[tuple[str, Any]]:
    """The rows of a text, their root and the score; the positions that a seed draws, with their siblings."""
    given = vector.content
    task = task_from_json(given["task"])
    check_type(task, TextTask, "the task", "a TextTask")
    rows = [[_row(bytes.fromhex(logits)) for logits in some] for some in given["logits"]]
    yield "rows", [[row.hex() for row in some] for some in rows]
    made = TopLogits(task, rows)  # type: ignore[arg-type]  # it is a TextTask
    yield "root", made.root.hex()
    score = TextScore.from_tokens(given["token_ids"], top=made.root)
    yield "score", score.hex
    seed = bytes.fromhex(given["seed"])
    places = audit_positions(seed, made.task, score, given["token_ids"], given["count"])
    yield "places", [list(place) for place in places]
    yield "siblings", [node.hex() for node in made.open(places).siblings]


def _row(logits: bytes) -> bytes:
    """The row of some logits, without numpy."""
    values = [value for (value,) in struct.iter_unpack("<f", logits)]
    order = sorted(range(len(values)), key=lambda token: (-values[token], token))
    return row_of([(token, values[token]) for token in order[:LARGEST]])
