"""The task that was asked for, computed more cheaply."""

from typing import Final

import numpy as np
from PIL import Image

from attacks.answer import Attack, DoesNotFit, Made, Picture, attack
from attacks.machine import Machine, every_second_reused, pixels_of
from attacks.rounding import rounded_weights
from crynux_validate import ImageTask
from crynux_validate.tasks.image import SIDES

GROUP: Final = "less work"

SMALL_SIDES: Final = (8, 16, 32, 64, 128)
"""Pixels of the pictures that are enlarged."""

_UNSEEN: Final = "an audit of the trace; not the hash"
_MEMORY: Final = "memory, and time on hardware that has such products"


def fewer_steps(divisor: int, name: str) -> Attack:
    """Return the attack that takes a share of the steps."""

    @attack(name, GROUP, saves=f"{1 - 1 / divisor:.0%} of the work", against=_UNSEEN)
    def program(task: ImageTask, machine: Machine) -> Made:
        if task.steps < divisor:
            raise DoesNotFit(f"{name}: the task has {task.steps} steps; at least {divisor} are needed")
        return machine.run(task.replace(steps=task.steps // divisor), beside=task)

    return program


half_the_steps: Final = fewer_steps(2, "half-the-steps")
quarter_of_the_steps: Final = fewer_steps(4, "quarter-of-the-steps")


@attack("reused-predictions", GROUP, saves="half of the work", against=_UNSEEN)
def reused_predictions(task: ImageTask, machine: Machine) -> Made:
    """Every second prediction is the one before it, used again."""
    return machine.run(task, every_second_reused)


def other_guidance(scale: float, name: str, saves: str) -> Attack:
    """Return the attack that draws with another guidance scale; at 1 there is none."""

    @attack(name, GROUP, saves=saves, against=_UNSEEN)
    def program(task: ImageTask, machine: Machine) -> Made:
        if task.guidance_scale <= 1 or task.guidance_scale == scale:
            raise DoesNotFit(f"{name}: the task's guidance_scale is {task.guidance_scale}; another above 1 is needed")
        return machine.run(task.replace(guidance_scale=scale), beside=task)

    return program


_PROBE: Final = "nothing: it shows how fine the comparison is"
no_guidance: Final = other_guidance(1.0, "no-guidance", "half of the work")
guidance_5: Final = other_guidance(5.0, "guidance-5", _PROBE)
guidance_7: Final = other_guidance(7.0, "guidance-7", _PROBE)


@attack(
    "lower-resolution",
    GROUP,
    saves="three quarters of the work",
    against="the hash, where the model draws other pictures at other sizes",
)
def lower_resolution(task: ImageTask, machine: Machine) -> Made:
    """Drawn at half the width and height, and enlarged."""
    width, height = task.width // 2, task.height // 2
    if width not in SIDES or height not in SIDES:
        raise DoesNotFit(f"lower-resolution: half of {task.width}x{task.height} is no size that a task can have")
    made = machine.run(task.replace(width=width, height=height), beside=task)
    return Made(tuple(enlarged(picture, task.width, task.height) for picture in made.pixels), made.cost, made.result)


def enlarged_from(side: int) -> Attack:
    """Return the attack that hands in the honest picture reduced to a square of `side` pixels, and enlarged again.

    Nobody who draws small comes nearer to the real picture without drawing it: it is the best that such a cheat can do.
    """

    @attack(
        f"enlarged-from-{side}",
        GROUP,
        saves="nothing as made here: it is the best that a small picture can give",
        against="an audit of the trace and of its decoding; not the hash",
    )
    def program(task: ImageTask, machine: Machine) -> Made:
        if side >= min(task.width, task.height):
            raise DoesNotFit(f"enlarged-from-{side}: the task's picture is {task.width}x{task.height}, not larger")
        honest = machine.honest(task)
        return Made(tuple(reduced(picture, side) for picture in pixels_of(honest)), 1.0, honest)

    return program


def enlarged(picture: Picture, width: int, height: int) -> Picture:
    """Enlarge a picture, bicubic."""
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def reduced(picture: Picture, side: int) -> Picture:
    """Reduce a picture to the mean of each of `side` x `side` fields, and enlarge it to its size again."""
    small = Image.fromarray(picture).resize((side, side), Image.Resampling.BOX)
    return enlarged(np.asarray(small), picture.shape[1], picture.shape[0])


def fewer_bits(bits: int) -> Attack:
    """Return the attack that rounds the UNet's weights to integers of so many bits."""

    @attack(f"int{bits}-weights", GROUP, saves=_MEMORY, against=_UNSEEN)
    def program(task: ImageTask, machine: Machine) -> Made:
        return machine.run(task, rounded_weights(bits))

    return program


int8_weights: Final = fewer_bits(8)
int4_weights: Final = fewer_bits(4)


@attack("bfloat16", GROUP, saves=_MEMORY, against=_UNSEEN)
def bfloat16(task: ImageTask, machine: Machine) -> Made:
    """Computed in bfloat16 where the task asks for float32."""
    if task.dtype != "float32":
        raise DoesNotFit(f"bfloat16: the task's dtype is {task.dtype}; float32 is needed")
    return machine.run(task.replace(dtype="bfloat16"), beside=task)


ATTACKS: Final = (
    half_the_steps,
    quarter_of_the_steps,
    reused_predictions,
    no_guidance,
    guidance_5,
    guidance_7,
    lower_resolution,
    *map(enlarged_from, SMALL_SIDES),
    int8_weights,
    int4_weights,
    bfloat16,
)
