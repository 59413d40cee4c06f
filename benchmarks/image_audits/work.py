"""What runs in the process of one numeric kind: drawing a picture, honestly or not, and auditing what others drew."""

import copy
from dataclasses import replace
from functools import cache
from typing import Any

from attacks import ATTACKS
from attacks.machine import Machine
from attacks.rounding import rounded_weights

import crynux_validate as cv
from benchmarks.image_audits.rows import row_of
from crynux_validate.audits.layout import step_count
from crynux_validate.audits.proof import TraceProof
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.images.audit import audit_image
from crynux_validate.pipelines.images.models import LoadedModel
from crynux_validate.pipelines.images.recomputing import in_float32


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


def check(task: cv.ImageTask, answer: bytes, proof: bytes, against: bool) -> dict[str, Any]:
    """Audit every step; returns the numbers, before any band. `against` are weights rounded to 8 bits."""
    read = TraceProof.from_bytes(proof, task)
    score = cv.answers.answer_from_bytes(answer)
    assert isinstance(score, cv.ImageScore)
    read.check(score)
    runner: Any = _runner(task.model, task.dtype)
    with deterministic():
        found = audit_image(
            runner._loaded,
            task,
            score,
            read,
            None,
            reference=runner._in_float32,
            against=(lambda: _rounded(task.model, task.dtype)) if against else None,
        )
    return {
        "first": found.first.finding,
        "picture": found.picture.off,
        "peak": found.picture.peak,
        "rows": [row_of(step.errors) for step in found.steps],
    }


@cache
def _machine() -> Machine:
    return Machine()


@cache
def _runner(model: cv.ModelRef, dtype: str) -> cv.Runner:
    return cv.Runner(model, "image", dtype, "cpu")  # type: ignore[arg-type]


@cache
def _rounded(model: cv.ModelRef, dtype: str) -> LoadedModel:
    """The model with weights of 8 bits, as the cheat rounds them in this dtype, in float32."""
    runner: Any = cv.Runner(model, "image", dtype, "cpu")  # type: ignore[arg-type]
    with rounded_weights(8)(runner._loaded.pipeline.unet):
        wide = in_float32(runner._loaded)
        return replace(wide, pipeline=copy.deepcopy(wide.pipeline))
