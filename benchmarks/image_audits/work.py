"""What runs in the process of one numeric kind: drawing a picture, honestly or not, and auditing what others drew."""

from dataclasses import asdict
from functools import cache
from typing import Any

from attacks import ATTACKS
from attacks.machine import Machine

import crynux_validate as cv
from crynux_validate.audits.layout import step_count
from crynux_validate.audits.proof import TraceProof
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.images.audit import audit_image


def draw(task: cv.ImageTask, cheat: str | None) -> tuple[bytes, bytes]:
    """Return the bytes of the answer, and those of the proof of all steps."""
    if cheat is None:
        result = _runner(task.model, task.dtype).run(task)
        trace, score = result.trace, result.score
    else:
        answer = ATTACKS[cheat](task, _machine())
        trace, score = answer.trace, answer.score
    assert trace is not None
    return score.to_bytes(), trace.prove(0, range(step_count(task))).to_bytes()


def check(task: cv.ImageTask, answer: bytes, proof: bytes) -> dict[str, Any]:
    """Audit every step; returns the numbers, before any band."""
    read = TraceProof.from_bytes(proof, task)
    score = cv.answer_from_bytes(answer)
    assert isinstance(score, cv.ImageScore)
    read.check(score)
    runner: Any = _runner(task.model, task.dtype)
    with deterministic():
        found = audit_image(runner._loaded, task, score, read, None)
    steps = [asdict(step.errors) for step in found.steps]
    equal = sum(step.errors.equal for step in found.steps)
    return {
        "steps": steps,
        "equal": equal,
        "first": found.first.off,
        "picture": found.picture.off,
        "peak": found.picture.peak,
    }


@cache
def _machine() -> Machine:
    return Machine()


@cache
def _runner(model: cv.ModelRef, dtype: str) -> cv.Runner:
    return cv.Runner(model, "image", dtype, "cpu")  # type: ignore[arg-type]
