"""What a node of the text demo does, in a process of its own: attest, and write what a task asks for."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import crynux_validate as cv
from crynux_validate.answers import TextScore
from crynux_validate.errors import PipelineError
from crynux_validate.machines.environment import Environment
from crynux_validate.tasks import TextTask
from crynux_validate.testing import fake_hardware

if TYPE_CHECKING:
    from crynux_validate import Runner


@dataclass(frozen=True)
class Written:
    """What a node made of a task, without anything that would need torch to read.

    Parameters
    ----------
    score
        The answer to submit.
    tokens
        The ids of the first sequence.
    pieces
        What each of them added to the text.
    """

    score: TextScore
    tokens: tuple[int, ...]
    pieces: tuple[str, ...]


class _Process:
    """What this process holds: a runner, loaded once."""

    runner: "Runner | None" = None


def load(task: TextTask) -> Environment:
    """Load the task's model; returns this machine's environment."""
    _Process.runner = cv.Runner.for_task(task, "cpu")
    return cv.local_environment("cpu")


def canary(challenge: bytes) -> bytes:
    """Answer an epoch's challenge with what this process really computes."""
    return cv.canary(challenge, "cpu")


def answer(task: TextTask, folder: Path) -> Written:
    """Run a task and save the result; a message is sent for every token."""
    if _Process.runner is None:
        raise PipelineError("the node has loaded no model; call load first")
    pieces: list[str] = []

    def told(token: "cv.pipelines.Token") -> None:
        pieces.append(token.text)
        fake_hardware.send((token.step, token.steps))

    result = _Process.runner.run(task, on_token=told)
    result.save(folder)
    return Written(result.score, result.token_ids[0], tuple(pieces))
