"""The trace that a cheat binds: of another run than the task asks for, in the form that the task asks for."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from attacks.answer import DoesNotFit, Picture
from crynux_validate import ImageResult, ImageTask
from crynux_validate.audits.layout import Content, leaves_of, step_count
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.trace import Trace
from crynux_validate.pipelines.images.drawing import tensor_bytes
from crynux_validate.pipelines.models.loading import DTYPES


def bound(task: ImageTask, result: ImageResult, pixels: Sequence[Picture]) -> Trace:
    """Bind a run to the task that was asked for; a run with other steps is stretched to as many, linearly between them.

    Parameters
    ----------
    task
        What was asked for; it binds its trace.
    result
        The cheat's run.
    pixels
        The pictures that it hands in.

    Raises
    ------
    DoesNotFit
        For a run at another resolution: its latents are not those of such a picture, which anybody sees.
    """
    done = result.task
    if result.trace is None or (done.width, done.height) != (task.width, task.height):
        raise DoesNotFit(f"a run at {done.width}x{done.height} cannot be bound to a task of {task.width}x{task.height}")
    steps, asked = step_count(done), step_count(task)
    proofs = [result.trace.prove(image, [*range(steps)], pixels=False) for image in range(task.images)]
    trace = Trace(task, result.trace.latent)
    for leaf in leaves_of(task):
        if leaf.content is Content.PIXELS:
            trace.append(pixels[leaf.image].tobytes())
        else:
            last = steps if leaf.content is Content.LATENT else steps - 1
            values = _between(proofs[leaf.image], leaf.content, min(leaf.step * steps / asked, last))
            dtype = DTYPES[task.dtype]
            trace.append(tensor_bytes(torch.from_numpy(values).to(dtype), dtype))
    return trace


def _between(proof: TraceProof, content: Content, step: float) -> npt.NDArray[np.float32]:
    """The values of a step, or between two steps."""
    low, high = (proof.array(content, at) for at in (math.floor(step), math.ceil(step)))
    share = np.float32(step - math.floor(step))
    return np.asarray((1 - share) * low + share * high if share else low, dtype=np.float32)
