"""Checking one answer by doing a part of its work again."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from crynux_validate.answers import ImageScore, TextScore
from crynux_validate.audits.image import ImageAudit
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.text_proof import TextProof
from crynux_validate.audits.text_result import TextAudit
from crynux_validate.encoding import check_function, check_type
from crynux_validate.errors import InvalidInputError, needed_for
from crynux_validate.pipelines.runner import Runner
from crynux_validate.tasks import ImageTask, Task, TextTask

if TYPE_CHECKING:
    import torch

    from crynux_validate.audits.bands import AuditBands


@overload
def audit(
    task: ImageTask,
    answer: ImageScore,
    proof: TraceProof,
    *,
    seed: bytes,
    count: int,
    kinds: tuple[str, str] | None = None,
    bands: "AuditBands | None" = None,
    against: ImageTask | None = None,
    device: "str | torch.device | None" = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageAudit: ...


@overload
def audit(
    task: TextTask,
    answer: TextScore,
    proof: TextProof,
    *,
    seed: bytes | None = None,
    count: int = 32,
    kinds: tuple[str, str] | None = None,
    bands: "AuditBands | None" = None,
    against: TextTask | None = None,
    whole: bool = False,
    device: "str | torch.device | None" = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TextAudit: ...


def audit(task: Task, answer: Any, proof: Any, **settings: Any) -> ImageAudit | TextAudit:
    """Do a part of an answer's work again, and say whether it was computed as its task says.

    Of an image drawn steps are computed again, with one evaluation of the model each, and the picture is decoded where
    the proof shows it (protocol U5). A text is read in one pass, with input and claimed tokens (U9). For more than one
    audit with a model use `Runner.audit` or a `TextAuditor`.

    Parameters
    ----------
    task
        An image task with ``binding="trace"``, or a text task.
    answer
        The node's answer, as it was committed to.
    proof
        What the node shows: ``result.prove(image, steps)`` of an image; of a text its tokens, and with
        ``binding="top"`` the rows of drawn positions (`TextProof`).
    seed, count
        What draws the steps (`crynux_validate.audits.steps.audit_steps`) or positions (`audit_positions`): 1 to 256
        bytes that nobody knew when the answer was bound, and how many. A text task that binds no rows has no seed.
    kinds
        The names of the node's kind of machine and of this one, as in the bands. Of images the band is uncalibrated
        without them. To make a band from this audit they are needed.
    bands
        What counts as noise; those of this package by default (`crynux_validate.calibration.calibrate_audits`).
    whole
        Of texts: look at all tokens even where a limit is passed, so that a band can be made from the audit.
    against
        A second hypothesis. For images the same task with another model that the node may have used, like a known
        rounding of the weights: one evaluation more for each step with other bits. For texts the same task with another
        model or sampled in another way: a second pass.
    device
        As for `Runner`.
    on_progress
        Called with how much is done, and how much there is as far as is known by now: evaluations of the model for
        images, tokens for a text.

    Returns
    -------
    ImageAudit or TextAudit
        Its `finding`, and why.

    Raises
    ------
    InvalidInputError
        For a task, answer and proof that do not fit together, steps or positions that the seed does not draw, tokens
        and shapes that the model does not have. All but the last before the model is loaded.
    ModelError, PipelineError, DeterminismError
        As for `Runner`.
    """
    check_type(task, (ImageTask, TextTask), "the task", "an ImageTask or a TextTask")
    if isinstance(task, TextTask):
        with needed_for("audit", "text"):
            from crynux_validate.pipelines.text.audit import audit_text
        return audit_text(task, answer, proof, **settings)
    return _audit_image(task, answer, proof, **settings)


def _audit_image(
    task: ImageTask,
    answer: ImageScore,
    proof: TraceProof,
    *,
    seed: bytes,
    count: int,
    kinds: tuple[str, str] | None = None,
    bands: "AuditBands | None" = None,
    against: ImageTask | None = None,
    device: "str | torch.device | None" = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageAudit:
    with needed_for("audit", "image"):
        from crynux_validate.pipelines.images.audit import check_proof
    check_proof(task, answer, proof, seed, count, kinds, bands)
    check_function(on_progress, "on_progress")
    if against is not None:
        check_type(against, ImageTask, "against", "an ImageTask, or None")
        if against.replace(model=task.model) != task:
            raise InvalidInputError("against differs from the task in more than its model; give the task with another")
    settings: Any = {"seed": seed, "count": count, "kinds": kinds, "bands": bands, "on_progress": on_progress}
    with Runner.for_task(task, device) as runner:
        if against is None:
            return runner.audit(task, answer, proof, **settings)
        with Runner.for_task(against, device) as other:
            return runner.audit(task, answer, proof, **settings, against=other)
