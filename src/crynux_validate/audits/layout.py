"""The leaves of a trace: which there are, in which order, and which of them a step needs (protocol U1 to U3).

Everything here follows from the task alone, so that a proof can be read and checked without its model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Final

from crynux_validate.encoding import check_integer, digest, length_prefixed
from crynux_validate.errors import InvalidInputError
from crynux_validate.schedulers import SCHEDULERS
from crynux_validate.tasks import ImageTask, Refiner

MAX_CHANNELS: Final = 64
"""The most channels of a latent that is read."""

_RUNGE_KUTTA: Final = 12
"""How many evaluations PNDM begins with where it does not skip its Runge-Kutta steps."""
_LARGEST_ORDER: Final = 3
"""The largest order of a multistep solver; where the task names none, it is the model's own, and at most this."""

Shape = tuple[int, ...]

DTYPE_BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2, "uint8": 1}
"""Bytes for one value of each dtype that a leaf can have."""


class Content(IntEnum):
    """What a leaf holds; the number stands in it."""

    LATENT = 1
    """What the scheduler was given to change: before each step, and after the last."""
    PREDICTION = 2
    """What the scheduler was told of a latent: the model's prediction, after guidance."""
    CORRECTED = 3
    """The latent as UniPC corrected it in this step, from which the next correction begins."""
    PIXELS = 4
    """The picture: 8-bit RGB."""


@dataclass(frozen=True)
class Leaf:
    """One leaf of a trace.

    Parameters
    ----------
    image
        The number of the image.
    content
        What it holds.
    step
        The step that it belongs to, counted from 0; a latent's is that of the step which it goes into, and the last
        latent's and the picture's is the number of steps.
    """

    image: int
    content: Content
    step: int

    def __str__(self) -> str:
        where = f" of step {self.step}" if self.content is not Content.PIXELS else ""
        return f"the {self.content.name.lower()}{where} of image {self.image}"


def step_count(task: ImageTask) -> int:
    """Return how many steps each image of a task takes: how often its scheduler is told a prediction.

    It is `task.steps`, but for PNDM: one more, or 9 more where it does not skip its Runge-Kutta steps; fewer where the
    task starts with a picture; and with a refiner those of both models, of a task that names them.
    """
    if task.refiner is not None:
        return sum(_taken(task.refiner))
    if task.start is not None:
        return task.start.steps(task.steps, flow=SCHEDULERS[task.scheduler].flow)
    if task.scheduler != "PNDMScheduler":
        return task.steps
    if task.scheduler_args["skip_prk_steps"]:
        return task.steps + 1 if task.steps > 1 else 1
    return task.steps + 9


def skipped_steps(task: ImageTask) -> int:
    """Return how many steps of its schedule a task leaves out at the beginning, since it starts with a picture."""
    return 0 if task.start is None else task.steps - step_count(task)


def leaves_of(task: ImageTask) -> list[Leaf]:
    """Return all leaves of a task's trace, in their order (U2)."""
    steps, found = step_count(task), []
    parts = [Content.LATENT, Content.PREDICTION]
    if task.scheduler == "UniPCMultistepScheduler":
        parts.append(Content.CORRECTED)
    for image in range(task.images):
        found += [Leaf(image, part, step) for step in range(steps) for part in parts]
        found += [Leaf(image, Content.LATENT, steps), Leaf(image, Content.PIXELS, steps)]
    return found


def earlier_steps(task: ImageTask, step: int) -> tuple[int, ...]:
    """Return the steps before this one whose latents and predictions its scheduler remembers, ascending (U3).

    Empty for schedulers without a memory. Where the order of a solver is the model's own, it counts as 3.
    """
    first = 0 if task.refiner is None else _taken(task.refiner)[0]
    if 0 < first <= step:  # the refiner has a scheduler of its own
        return tuple(first + at for at in _earlier(task, step - first))
    return _earlier(task, step)


def _taken(refiner: Refiner) -> Sequence[int]:
    if refiner.taken is None:
        raise InvalidInputError("the task does not say how many steps its models take; expected refiner.taken")
    return refiner.taken


def _earlier(task: ImageTask, step: int) -> tuple[int, ...]:
    match task.scheduler:
        case "DPMSolverMultistepScheduler":
            return tuple(range(max(0, step - _order(task) + 1), step))
        case "UniPCMultistepScheduler":
            return tuple(range(max(0, step - _order(task)), step))
        case "PNDMScheduler":
            return _earlier_in_pndm(step, skips=bool(task.scheduler_args["skip_prk_steps"]))
        case _:
            return ()


def _order(task: ImageTask) -> int:
    return int(task.scheduler_args.get("solver_order", _LARGEST_ORDER))


def _earlier_in_pndm(step: int, *, skips: bool) -> tuple[int, ...]:
    """PNDM keeps four predictions: that of the step it takes twice once only, of each Runge-Kutta step the first."""
    if not skips and step < _RUNGE_KUTTA:
        return tuple(range(step // 4 * 4, step))
    if step == 1 and skips:
        return (0,)
    kept = [0, *range(2, step)] if skips else [0, 4, 8, *range(_RUNGE_KUTTA, step)]
    return tuple(at for at in kept if at < step)[-3:]


def needed_leaves(task: ImageTask, image: int, steps: tuple[int, ...], *, pixels: bool) -> list[Leaf]:
    """Return the leaves that a proof of some steps shows, in the order of the trace.

    For each step: the latents before and after it, its prediction and the one before, what its scheduler remembers, and
    what UniPC corrected in it and before it. Also the first and the last latent, and with `pixels` the picture.
    """
    last = step_count(task)
    wanted = {(Content.LATENT, 0), (Content.LATENT, last)}
    if pixels:
        wanted.add((Content.PIXELS, last))
    for step in steps:
        wanted |= {(Content.LATENT, at) for at in (*earlier_steps(task, step), step, step + 1)}
        wanted |= {(Content.PREDICTION, at) for at in (*earlier_steps(task, step), step - 1, step) if at >= 0}
        wanted |= {(Content.CORRECTED, at) for at in (step - 1, step) if at >= 0}
    return [leaf for leaf in leaves_of(task) if leaf.image == image and (leaf.content, leaf.step) in wanted]


def form_of(task: ImageTask, leaf: Leaf, latent: Shape) -> tuple[str, Shape]:
    """Return dtype and shape of a leaf, where latents have the shape `latent`: channels, height, width."""
    if leaf.content is Content.PIXELS:
        return "uint8", (task.height, task.width, 3)
    return task.dtype, latent


def size_of(task: ImageTask, leaf: Leaf, latent: Shape) -> int:
    """Return how many bytes a leaf holds."""
    dtype, shape = form_of(task, leaf, latent)
    return DTYPE_BYTES[dtype] * prod(shape)


def leaf_digest(task: ImageTask, leaf: Leaf, latent: Shape, data: bytes) -> bytes:
    """Return a leaf's digest, 32 bytes (U2)."""
    dtype, shape = form_of(task, leaf, latent)
    numbers = (leaf.image, leaf.content, leaf.step, len(shape), *shape)
    head = b"".join(number.to_bytes(4, "big") for number in numbers)
    return digest("trace-leaf", bytes.fromhex(task.digest), head, length_prefixed(dtype), length_prefixed(data))


def check_shape(task: ImageTask, shape: Shape) -> None:
    """Refuse a shape that no latent of the task can have, whatever its model."""
    if len(shape) != 3:
        raise InvalidInputError(f"the shape of a latent is {shape!r:.80}; expected channels, height and width")
    channels, height, width = shape
    if not (1 <= channels <= MAX_CHANNELS and 1 <= height <= task.height and 1 <= width <= task.width):
        raise InvalidInputError(
            f"the trace has latents of shape {shape}; expected channels (at most {MAX_CHANNELS}), height and width, "
            f"which for this task are at most {task.height} and {task.width}"
        )


def check_traced(task: object) -> ImageTask:
    """Return an image task that binds its trace, or refuse it."""
    if not isinstance(task, ImageTask):
        raise InvalidInputError(
            f"the task is a {type(task).__name__}; expected an ImageTask, since only images have a trace"
        )
    if task.binding != "trace":
        raise InvalidInputError("the task has no trace; to audit steps, give it binding='trace' before it is run")
    return task


def check_place(task: ImageTask, image: object, steps: object) -> tuple[int, tuple[int, ...]]:
    """Return the number of an image, and the steps of it that are asked for, ascending."""
    number = check_integer(image, "the image", 0, task.images - 1)
    if not isinstance(steps, (list, tuple, range)) or not steps:
        raise InvalidInputError(f"the steps are {steps!r:.80}; expected a list of steps, like [3, 17]")
    last = step_count(task) - 1
    found = sorted(check_integer(step, "a step", 0, last) for step in steps)
    if len(set(found)) != len(found):
        raise InvalidInputError(f"the steps {found!r:.80} have one step twice; name each step once")
    return number, tuple(found)
