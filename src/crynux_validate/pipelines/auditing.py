"""Checking one answer by doing a part of its work again."""

from typing import TYPE_CHECKING

from crynux_validate.answers import ImageScore
from crynux_validate.audits.image import ImageAudit
from crynux_validate.audits.proof import TraceProof
from crynux_validate.errors import needed_for
from crynux_validate.pipelines.runner import Runner
from crynux_validate.tasks import ImageTask

if TYPE_CHECKING:
    import torch


def audit(
    task: ImageTask,
    answer: ImageScore,
    proof: TraceProof,
    *,
    seed: bytes,
    count: int,
    kinds: tuple[str, str] | None = None,
    device: "str | torch.device | None" = None,
) -> ImageAudit:
    """Compute drawn steps of an image again, and say whether they are what the task asks for (protocol U5).

    Each step costs one evaluation of the model. The prompt is encoded once, and the picture decoded once where the
    proof shows it. For more than one audit with a model make a `Runner` and use `Runner.audit`.

    Parameters
    ----------
    task
        A task with ``binding="trace"``.
    answer
        The node's answer, as it was committed to.
    proof
        Of the drawn steps of one image: ``result.trace.prove(image, steps)`` of the node.
    seed, count
        What draws the steps (`crynux_validate.audits.steps.audit_steps`): a seed that nobody knew when the answer was
        bound, and how many steps.
    kinds
        The names of the node's kind of machine and of this one, as in the file of bands; None where no band was
        measured for them: the widest of the dtype and scheduler counts then.
    device
        As for `Runner`.

    Returns
    -------
    ImageAudit
        A finding for each step, for the first latent and for the picture.

    Raises
    ------
    InvalidInputError
        For a task without a trace; a proof of another task or answer, or of steps that the seed does not draw; latents
        of another shape than the model's. All but the last before the model is loaded.
    InvalidAnswerError
        For an answer to another kind of task.
    ModelError, PipelineError, DeterminismError
        As for `Runner`.
    """
    with needed_for("audit", "image"):
        from crynux_validate.pipelines.image_audit import check_proof
    check_proof(task, answer, proof, seed, count, kinds)
    with Runner.for_task(task, device) as runner:
        return runner.audit(task, answer, proof, seed=seed, count=count, kinds=kinds)


__all__ = ["audit"]
