"""What a cheat can hand in for a task that binds its trace: another run, in the form that the task asks for.

Nothing that is checked without a model shows it; an audit does.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from crynux_validate.audits.layout import Content, leaves_of, step_count
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.trace import Trace
from crynux_validate.errors import InvalidInputError
from crynux_validate.pipelines.images.drawing import ImageResult, tensor_bytes
from crynux_validate.pipelines.models.loading import DTYPES
from crynux_validate.tasks import ImageTask


def forged_result(task: ImageTask, run: ImageResult) -> ImageResult:
    """Return a run of another task as if it were one of this task; errors as of `forged_trace`."""
    if task.binding == "pixels":
        return replace(run, task=task)
    if run.trace is None:
        raise InvalidInputError("the run has no trace; run a task with binding='trace'")
    trace = forged_trace(task, run.trace, [image.convert("RGB").tobytes() for image in run.images])
    return replace(run, task=task, trace=trace, score=replace(run.score, result_digest=trace.root))


def forged_trace(task: ImageTask, run: Trace, pixels: Sequence[bytes]) -> Trace:
    """Bind a run to the task that was asked for; a run with other steps is stretched to as many, linearly between them.

    Parameters
    ----------
    task
        What was asked for; it binds its trace.
    run
        The trace of the run, of as many images in the same size.
    pixels
        The pictures that are handed in, 8-bit RGB.

    Raises
    ------
    InvalidInputError
        For a run of another size or fewer images.
    """
    done = run.task
    if (
        (done.width, done.height) != (task.width, task.height)
        or len(pixels) != task.images
        or done.images < task.images
    ):
        raise InvalidInputError(
            f"the run has {done.images} images of {done.width}x{done.height}, and {len(pixels)} pictures are given; "
            f"expected {task.images} of {task.width}x{task.height}, as the task asks"
        )
    steps, asked = step_count(done), step_count(task)
    proofs = [run.prove(image, range(steps), pixels=False) for image in range(task.images)]
    trace, dtype = Trace(task, run.latent), DTYPES[task.dtype]
    for leaf in leaves_of(task):
        if leaf.content is Content.PIXELS:
            trace.append(pixels[leaf.image])
        else:
            last = steps if leaf.content is Content.LATENT else steps - 1
            values = _between(proofs[leaf.image], leaf.content, min(leaf.step * steps / asked, last))
            trace.append(tensor_bytes(values.to(dtype), dtype))
    return trace


def _between(proof: TraceProof, content: Content, step: float) -> torch.Tensor:
    """The values of a step, or between two steps."""
    low, high = (proof.array(content, at) for at in (math.floor(step), math.ceil(step)))
    share = np.float32(step - math.floor(step))
    return torch.from_numpy(np.asarray((1 - share) * low + share * high if share else low, dtype=np.float32))
