"""The trace that a cheat binds: of another run than the task asks for, in the form that the task asks for."""

from collections.abc import Sequence

from attacks.answer import DoesNotFit, Picture
from crynux_validate import ImageResult, ImageTask
from crynux_validate.audits.trace import Trace
from crynux_validate.testing.forged import forged_trace


def bound(task: ImageTask, result: ImageResult, pixels: Sequence[Picture]) -> Trace:
    """Bind a run to the task that was asked for (`crynux_validate.testing.forged`).

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
    return forged_trace(task, result.trace, [picture.tobytes() for picture in pixels])
