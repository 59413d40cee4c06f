"""The audit of an image: the drawn steps, the first latent and the picture, computed again and compared."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from crynux_validate.answers import ImageScore
from crynux_validate.audits.bands import AuditBands, bands_or_shipped, installed
from crynux_validate.audits.findings import AuditFinding, check_kinds
from crynux_validate.audits.image import SAME, Errors, ImageAudit, PartAudit, judge_step, judge_together
from crynux_validate.audits.image_bands import Band
from crynux_validate.audits.layout import Content, Leaf, check_traced, step_count
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.steps import audit_steps
from crynux_validate.encoding import check_type
from crynux_validate.errors import InvalidInputError, PipelineError
from crynux_validate.hashing import image_hash
from crynux_validate.pipelines.images.comparing import Computed, compare, norm, share, wide
from crynux_validate.pipelines.images.decoding import decode
from crynux_validate.pipelines.images.drawing import tensor_bytes
from crynux_validate.pipelines.images.models import LoadedModel
from crynux_validate.pipelines.images.recomputing import Prediction, Proved, advance, predict
from crynux_validate.pipelines.images.starting import Begun, begin
from crynux_validate.pipelines.models.loading import DTYPES, RUNNING, quiet
from crynux_validate.tasks import ImageTask


def check_proof(
    task: ImageTask,
    answer: ImageScore,
    proof: TraceProof,
    seed: bytes,
    count: int,
    kinds: tuple[str, str] | None = None,
    bands: AuditBands | None = None,
) -> None:
    """Refuse what cannot be audited, before a model is loaded; errors as for `crynux_validate.audit`."""
    check_traced(task)
    check_kinds(kinds)
    bands_or_shipped(bands)
    check_type(proof, TraceProof, "the proof", "a TraceProof, as Trace.prove makes and TraceProof.load reads it")
    if proof.task != task:
        raise InvalidInputError(f"the proof is of the task {proof.task.digest[:16]}..., not of {task.digest[:16]}...")
    drawn = audit_steps(seed, task, answer, count)
    if drawn.get(proof.image) != proof.steps:
        wanted = ", ".join(f"{list(steps)} of image {image}" for image, steps in drawn.items())
        raise InvalidInputError(
            f"the proof is of the steps {list(proof.steps)} of image {proof.image}; the seed draws {wanted}. Ask for a"
            " proof of these, or give the seed and the number of steps of the draw"
        )
    proof.check(answer)


@torch.no_grad()
def audit_image(
    loaded: LoadedModel,
    task: ImageTask,
    answer: ImageScore,
    proof: TraceProof,
    kinds: tuple[str, str] | None,
    bands: AuditBands | None = None,
    *,
    reference: Callable[[], LoadedModel],
    against: Callable[[], LoadedModel] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageAudit:
    """Audit a proof that was checked; enter the guard first.

    Parameters
    ----------
    loaded, task, answer, proof, kinds, bands, on_progress
        As for `Runner.audit`.
    reference
        Gives the model in float32, made from the task's weights; called where bits differ.
    against
        Gives another model in float32 that the node may have used; called likewise.
    """
    shape = loaded.latent_shape(task)
    if proof.latent != shape:
        raise InvalidInputError(f"the proof has latents of shape {proof.latent}; those of the model have {shape}")
    band = loaded.family.band(bands_or_shipped(bands), task, kinds)
    with quiet("transformers", "diffusers"):
        loaded.check(task)
        proved = Proved(proof, loaded.device)
        heard = _Evaluations(on_progress)
        heard.needs(len(proof.steps))
        own = predict(loaded, task, {step: proved.latent(step) for step in proof.steps}, heard)
        begun = begin(loaded, task, proof.image)
        followed = {step: _followed(loaded, task, proof, proved, step, begun) for step in proof.steps}
        equal = {step: _same(proof, Content.PREDICTION, step, own[step].value) for step in proof.steps}
        differ = [step for step in proof.steps if not equal[step] or followed[step] > 0]
        computed = _computed(task, proved, differ, own, reference, against, heard)
        errors = {step: _errors(proved, step, computed.get(step), followed[step]) for step in proof.steps}
        first = _first(task, proof, proved, begun.latent)
        picture = _picture(loaded, task, answer, proof, proved, band)
    steps = tuple(judge_step(step, found, band) for step, found in errors.items())
    together = judge_together(errors.values(), band)
    given = "tasks that are given pictures" if task.pictures_named() else "this dtype and scheduler"
    what = "tasks with a refiner" if task.refiner is not None else given
    uncalibrated = f"there is no band for {what}" if band is None else band.uncalibrated
    return ImageAudit(
        task, answer, proof.image, steps, together, first, picture, uncalibrated, kinds, dict(installed())
    )


class _Evaluations:
    """Tells how many evaluations of the model were made, and how many are known to be needed."""

    def __init__(self, on_progress: Callable[[int, int], None] | None) -> None:
        self._on_progress = on_progress
        self._done = self._total = 0

    def needs(self, more: int) -> None:
        """So many more are needed."""
        self._total += more

    def __call__(self) -> None:
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)


def _computed(
    task: ImageTask,
    proved: Proved,
    steps: Sequence[int],
    own: Mapping[int, Prediction],
    reference: Callable[[], LoadedModel],
    against: Callable[[], LoadedModel] | None,
    heard: "_Evaluations",
) -> dict[int, Computed]:
    """What the steps with other bits are compared with."""
    if not steps:
        return {}
    latents = {step: proved.latent(step).float() for step in steps}
    heard.needs(len(steps) * ((task.dtype != "float32") + (against is not None)))
    again = own if task.dtype == "float32" else predict(reference(), task, latents, heard)
    other = None if against is None else predict(against(), task, latents, heard)
    return {
        step: Computed(
            again[step].value,
            None if task.dtype == "float32" else own[step].value,
            again[step].guidance,
            None if other is None else other[step].value,
        )
        for step in steps
    }


def _errors(proved: Proved, step: int, computed: Computed | None, followed: float) -> Errors:
    if computed is None:
        return SAME
    before = proved.prediction(step - 1) if step > 0 else None
    return compare(proved.prediction(step), before, computed, followed)


def _followed(
    loaded: LoadedModel, task: ImageTask, proof: TraceProof, proved: Proved, step: int, begun: Begun
) -> float:
    """How far the next latent is from what the scheduler makes of the proved predictions; 0 for equal bits alone."""
    after, corrected = advance(loaded, task, proof.image, step, proved, begun)
    if _same(proof, Content.LATENT, step + 1, after) and (
        corrected is None or _same(proof, Content.CORRECTED, step, corrected)
    ):
        return 0.0
    missed = norm(wide(proved.latent(step + 1)) - wide(after))
    if corrected is not None:
        missed = float(np.hypot(missed, norm(wide(proved.corrected(step)) - wide(corrected))))
    # A short step moves a latent by little more than it is rounded by. Zeros of two signs are no distance apart.
    return share(missed, max(norm(wide(after) - wide(proved.latent(step))), norm(after))) or math.ulp(0.0)


def _first(task: ImageTask, proof: TraceProof, proved: Proved, again: torch.Tensor) -> PartAudit:
    if _same(proof, Content.LATENT, 0, again):
        return PartAudit(AuditFinding.MATCH, 0.0, times=0.0)
    off = share(norm(wide(proved.latent(0)) - wide(again)), norm(again))
    if task.start is not None:
        reason = f"off by {off:.2g} of its length, and no band for latents of pictures"
        return PartAudit(AuditFinding.INCOMPARABLE, off, reason)
    # It is noise times a number: what two machines can differ by is the rounding of that number.
    times = off / (4 * torch.finfo(DTYPES[task.dtype]).eps)
    if times <= 1:
        return PartAudit(AuditFinding.NOISE, off, f"off by {off:.2g}: rounding", times=times)
    reason = f"off by {off:.2g} of its length: not that of the task's seed"
    return PartAudit(AuditFinding.CHEAT, off, reason, times=times)


def _picture(
    loaded: LoadedModel, task: ImageTask, answer: ImageScore, proof: TraceProof, proved: Proved, band: Band | None
) -> PartAudit:
    if not proof.pixels:
        return PartAudit(AuditFinding.INCOMPARABLE, None, "the proof does not show the picture")
    shown: Any = proof.array(Content.PIXELS, step_count(task))
    found = image_hash(Image.fromarray(shown, "RGB"), task.algorithm).bits
    size = len(found)
    if found != answer.hashes[proof.image * size : (proof.image + 1) * size]:
        reason = f"its hash is {found.hex()}, and the answer says another"
        return PartAudit(AuditFinding.CHEAT, 0.0, reason, times=math.inf)
    try:
        again = np.asarray(decode(loaded, proved.latent(step_count(task))))
    except PipelineError as error:
        reason = f"the last latent gives no picture: {error}"
        if band is None:
            return PartAudit(AuditFinding.INCOMPARABLE, None, reason)
        return PartAudit(AuditFinding.CHEAT, None, reason, times=math.inf)
    except RUNNING as error:
        raise PipelineError(f"the picture could not be decoded: {type(error).__name__}: {error}") from error
    apart = np.abs(shown.astype(np.float64) - again)
    off, peak = float(np.sqrt(np.mean(apart**2))), int(apart.max())
    if peak == 0:
        return PartAudit(AuditFinding.MATCH, 0.0, peak=0, times=0.0)
    if task.safety_checker and (not shown.any() or not again.any()):
        return PartAudit(AuditFinding.INCOMPARABLE, off, "the safety checker blanked one of the two pictures", peak)
    if band is None:
        reason = "other pixels, and no band for such tasks (dtype, scheduler, pictures)"
        return PartAudit(AuditFinding.INCOMPARABLE, off, reason, peak)
    said = f"off by {off:.2g} levels, one sample by {peak}"
    times = max(band.times("picture", off), band.times("peak", peak))
    finding = band.finding(times)
    if finding is AuditFinding.NOISE:
        return PartAudit(finding, off, f"{said}, as honest machines are", peak, times)
    reason = f"{said}; honest machines by {band.most('picture'):.2g}, one by {band.most('peak'):.2g}"
    return PartAudit(finding, off, reason, peak, times)


def _same(proof: TraceProof, content: Content, step: int, again: torch.Tensor) -> bool:
    if not torch.isfinite(again).all():
        return False  # a proof holds numbers alone
    return proof.contents[Leaf(proof.image, content, step)] == tensor_bytes(again, DTYPES[proof.task.dtype])
