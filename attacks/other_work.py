"""Other work than what was asked for, or the right picture without its colours."""

from typing import Final

import numpy as np
from PIL import Image

from attacks.answer import Made, attack
from attacks.machine import Machine, pixels_of
from attacks.scenes import another_scene
from crynux_validate import ImageTask
from crynux_validate.encoding import MAX_SAFE_INTEGER

GROUP: Final = "other work"

_SEEDS_ON: Final = 1_000_003
_NOTHING: Final = "nothing: it shows what the comparison sees"
_COLOUR: Final = "an audit of the trace and of its decoding; not the hash, which sees no colour"


@attack(
    "other-seed",
    GROUP,
    saves="everything, where somebody asked for the prompt before",
    against="the hash, unless the model draws a prompt alike with every seed",
)
def other_seed(task: ImageTask, machine: Machine) -> Made:
    """The prompt drawn from another seed."""
    return machine.run(task.replace(seed=(task.seed + _SEEDS_ON) % (MAX_SAFE_INTEGER + 1)), beside=task)


@attack("other-prompt", GROUP, saves="everything, where the picture was in store", against="the hash")
def other_prompt(task: ImageTask, machine: Machine) -> Made:
    """Another scene than the one that was asked for; which one follows from the task."""
    return machine.run(task.replace(prompt=another_scene(task)), beside=task)


@attack("other-model", GROUP, saves="what the other model is smaller by", against="the hash")
def other_model(task: ImageTask, machine: Machine) -> Made:
    """The task drawn by another model."""
    return machine.run(task.replace(model=machine.other_model), beside=task)


@attack("without-colour", GROUP, saves=_NOTHING, against=_COLOUR)
def without_colour(task: ImageTask, machine: Machine) -> Made:
    """The honest picture in greys."""
    honest = machine.honest(task)
    greys = (Image.fromarray(picture).convert("L").convert("RGB") for picture in pixels_of(honest))
    return Made(tuple(map(np.asarray, greys)), 1.0, honest)


@attack("exchanged-hues", GROUP, saves=_NOTHING, against=_COLOUR)
def exchanged_hues(task: ImageTask, machine: Machine) -> Made:
    """The honest picture with red as green, green as blue, blue as red."""
    honest = machine.honest(task)
    return Made(tuple(np.roll(picture, 1, axis=2) for picture in pixels_of(honest)), 1.0, honest)


ATTACKS: Final = (other_seed, other_prompt, other_model, without_colour, exchanged_hues)
