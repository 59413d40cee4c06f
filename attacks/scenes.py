"""Prompts that the small trained model understands."""

from typing import Final

import numpy as np
from tools.training import pictures

from crynux_validate import ImageTask, ModelRef
from crynux_validate.errors import InvalidInputError

MOST_PROMPTS: Final = 3_000
"""There are 3,630 different scenes; the last ones would be long in coming."""


def prompts(count: int, seed: int = 0) -> list[str]:
    """Return different prompts, always the same ones; fewer are the first of more.

    Raises
    ------
    InvalidInputError
        For a count outside 2..3,000.
    """
    if not 2 <= count <= MOST_PROMPTS:
        raise InvalidInputError(f"the number of prompts is {count}; expected 2 to {MOST_PROMPTS:,}")
    generator = np.random.default_rng([seed, 2])  # tools.training.image asks a trained model from [seed, 1]
    found: dict[str, None] = {}
    while len(found) < count:
        found[pictures.prompt_of(pictures.draw_scene(generator))] = None
    return list(found)


def tasks(model: ModelRef, count: int, side: int = pictures.SIDE) -> list[ImageTask]:
    """Return so many tasks: a prompt and a seed each, pictures of `side` pixels, otherwise as `ImageTask` has it."""
    return [
        ImageTask(model=model, prompt=text, seed=number, width=side, height=side)
        for number, text in enumerate(prompts(count))
    ]


def another_scene(task: ImageTask) -> str:
    """Return a prompt that is not the task's; the same one for the same task."""
    generator = np.random.default_rng(list(bytes.fromhex(task.digest)))
    while True:
        prompt = pictures.prompt_of(pictures.draw_scene(generator))
        if prompt != task.prompt:
            return prompt
