"""The audit of an image: the drawn steps, the first latent and the picture, computed again and compared."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from crynux_validate.answers import ImageScore
from crynux_validate.audits.bands import Band, band_for
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.image import DIRECTED_FROM, Errors, ImageAudit, PartAudit, StepAudit, judge_step
from crynux_validate.audits.layout import Content, Leaf, check_traced, step_count
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.steps import audit_steps
from crynux_validate.encoding import check_type, shorten
from crynux_validate.errors import InvalidInputError, PipelineError
from crynux_validate.hashing import image_hash
from crynux_validate.pipelines.images.decoding import decode
from crynux_validate.pipelines.images.drawing import check_prompts, latent_shape, tensor_bytes
from crynux_validate.pipelines.images.models import LoadedModel
from crynux_validate.pipelines.images.recomputing import Prediction, Proved, advance, first_latent, predict
from crynux_validate.pipelines.models.loading import DTYPES, RUNNING, quiet
from crynux_validate.tasks import ImageTask


def check_proof(
    task: ImageTask,
    answer: ImageScore,
    proof: TraceProof,
    seed: bytes,
    count: int,
    kinds: tuple[str, str] | None = None,
) -> None:
    """Refuse what cannot be audited, before a model is loaded; errors as for `crynux_validate.audit`."""
    check_traced(task)
    if kinds is not None and not (isinstance(kinds, tuple) and [type(kind) for kind in kinds] == [str, str]):
        raise InvalidInputError(f"kinds is {shorten(kinds)}; expected the names of two kinds of machine, or None")
    check_type(proof, TraceProof, "the proof", "a TraceProof, as Trace.prove makes and TraceProof.load reads it")
    if proof.task != task:
        raise InvalidInputError(f"the proof is of the task {proof.task.digest[:16]}..., not of {task.digest[:16]}...")
    drawn = audit_steps(seed, task, answer, count)
    if drawn.get(proof.image) != proof.steps:
        wanted = ", ".join(f"{list(steps)} of image {image}" for image, steps in drawn.items())
        raise InvalidInputError(
            f"the proof is of the steps {list(proof.steps)} of image {proof.image}; the seed draws {wanted}: ask for a"
            " proof of these, or give the seed and the number of steps that were drawn with"
        )
    proof.check(answer)


@torch.no_grad()
def audit_image(
    loaded: LoadedModel, task: ImageTask, answer: ImageScore, proof: TraceProof, kinds: tuple[str, str] | None
) -> ImageAudit:
    """Audit a proof that was checked; enter the guard first."""
    shape = latent_shape(loaded.pipeline, task)
    if proof.latent != shape:
        raise InvalidInputError(f"the proof has latents of shape {proof.latent}; those of the model have {shape}")
    band = band_for(task.dtype, task.scheduler, kinds)
    with quiet("transformers", "diffusers"):
        check_prompts(loaded.pipeline, task)
        proved = Proved(proof, loaded.pipeline.unet.device)
        predictions = predict(loaded, task, {step: proved.latent(step) for step in proof.steps})
        steps = tuple(_step(loaded, task, proof, proved, step, predictions, band) for step in proof.steps)
        first = _first(loaded, task, proof, proved)
        picture = _picture(loaded, task, answer, proof, proved, band)
    return ImageAudit(task.digest, answer, proof.image, steps, first, picture, band)


def _step(
    loaded: LoadedModel,
    task: ImageTask,
    proof: TraceProof,
    proved: Proved,
    step: int,
    predictions: Mapping[int, Prediction],
    band: Band | None,
) -> StepAudit:
    again = predictions[step]
    after, corrected = advance(loaded, task, proof.image, step, proved)
    equal = _same(proof, Content.PREDICTION, step, again.value) and _same(proof, Content.LATENT, step + 1, after)
    equal = equal and (corrected is None or _same(proof, Content.CORRECTED, step, corrected))
    told, before = proved.prediction(step), proved.latent(step)
    off = _difference(told, again.value)
    missed = _norm(_difference(proved.latent(step + 1), after))
    if corrected is not None:
        missed = float(np.hypot(missed, _norm(_difference(proved.corrected(step), corrected))))
    whole = _norm(again.value)
    guidance, guidance_share = _along(off, None if again.guidance is None else again.guidance.cpu().double(), whole)
    before_it = _difference(proved.prediction(step - 1), again.value) if step > 0 else None
    reuse, reuse_share = _along(off, before_it, whole)
    errors = Errors(
        equal=equal,
        prediction=_share(_norm(off), whole),
        # A short step moves a latent by little more than it is rounded by.
        latent=_share(missed, max(_norm(_difference(after, before)), _norm(after))),
        guidance=guidance,
        reuse=reuse,
        guidance_share=guidance_share,
        reuse_share=reuse_share,
    )
    return judge_step(step, errors, band)


def _first(loaded: LoadedModel, task: ImageTask, proof: TraceProof, proved: Proved) -> PartAudit:
    again = first_latent(loaded, task, proof.image, (1, *proof.latent))
    if _same(proof, Content.LATENT, 0, again):
        return PartAudit(AuditFinding.MATCH, 0.0)
    off = _share(_norm(_difference(proved.latent(0), again)), _norm(again))
    # It is noise times a number: what two machines can differ by is the rounding of that number.
    if off <= 4 * torch.finfo(DTYPES[task.dtype]).eps:
        return PartAudit(AuditFinding.NOISE, off, f"off by {off:.2g}: rounding")
    return PartAudit(AuditFinding.CHEAT, off, f"off by {off:.2g} of its length: not that of the task's seed")


def _picture(
    loaded: LoadedModel, task: ImageTask, answer: ImageScore, proof: TraceProof, proved: Proved, band: Band | None
) -> PartAudit:
    if not proof.pixels:
        return PartAudit(AuditFinding.INCOMPARABLE, None, "the proof does not show the picture")
    shown: Any = proof.array(Content.PIXELS, step_count(task))
    found = image_hash(Image.fromarray(shown, "RGB"), task.algorithm).bits
    size = len(found)
    if found != answer.hashes[proof.image * size : (proof.image + 1) * size]:
        return PartAudit(AuditFinding.CHEAT, 0.0, f"its hash is {found.hex()}, and the answer says another")
    try:
        again = np.asarray(decode(loaded.pipeline, proved.latent(step_count(task))))
    except PipelineError as error:
        finding = AuditFinding.INCOMPARABLE if band is None else AuditFinding.CHEAT
        return PartAudit(finding, None, f"the last latent gives no picture: {error}")
    except RUNNING as error:
        raise PipelineError(f"the picture could not be decoded: {type(error).__name__}: {error}") from error
    apart = np.abs(shown.astype(np.float64) - again)
    off, peak = float(np.sqrt(np.mean(apart**2))), int(apart.max())
    if peak == 0:
        return PartAudit(AuditFinding.MATCH, 0.0, peak=0)
    if task.safety_checker and (not shown.any() or not again.any()):
        return PartAudit(AuditFinding.INCOMPARABLE, off, "the safety checker blanked one of the two pictures", peak)
    if band is None:
        reason = "other pixels, and no band for this dtype and scheduler"
        return PartAudit(AuditFinding.INCOMPARABLE, off, reason, peak)
    said = f"off by {off:.2g} levels, one sample by {peak}"
    if off <= band.picture and peak <= band.peak:
        return PartAudit(AuditFinding.NOISE, off, f"{said}, as honest machines are", peak)
    return PartAudit(
        AuditFinding.CHEAT, off, f"{said}; honest machines by {band.picture:.2g}, one by {band.peak:.2g}", peak
    )


def _same(proof: TraceProof, content: Content, step: int, again: torch.Tensor) -> bool:
    if not torch.isfinite(again).all():
        return False  # a proof holds numbers alone
    return proof.contents[Leaf(proof.image, content, step)] == tensor_bytes(again, DTYPES[proof.task.dtype])


def _difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.cpu().double() - b.cpu().double()


def _norm(values: torch.Tensor) -> float:
    return float(values.cpu().double().norm())


def _share(part: float, whole: float) -> float:
    """A part of a whole; infinite where the auditor got no numbers, or nothing."""
    if part == 0:
        return 0.0
    return part / whole if whole and math.isfinite(part) and math.isfinite(whole) else math.inf


def _along(error: torch.Tensor, direction: torch.Tensor | None, whole: float) -> tuple[float | None, float | None]:
    """How many times a direction is in an error, and which share of the error's square that is.

    None where the direction is short against the whole prediction: rounding would be many times it.
    """
    if direction is None or not _norm(direction) >= DIRECTED_FROM * whole:
        return None, None
    length, size = float((direction * direction).sum()), float((error * error).sum())
    if not size:
        return 0.0, 0.0
    inner = float((error * direction).sum())
    return inner / length, inner * inner / (length * size)
