"""Vectors of audits: traces, proofs of their steps, and the steps that a seed draws (protocol U1 to U4)."""

from collections.abc import Iterator
from typing import Any

from crynux_validate.answers import ImageScore
from crynux_validate.audits.layout import Content, check_traced, leaves_of
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.steps import audit_steps
from crynux_validate.audits.trace import Trace
from crynux_validate.tasks import task_from_json
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
