"""What a process of the demo does: draw the pictures that a task asks for, or cheat; show steps of it; audit."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import crynux_validate as cv
from crynux_validate.audits.proof import TraceProof
from crynux_validate.audits.trace import Trace
from crynux_validate.errors import PipelineError
from crynux_validate.files import write_whole
from crynux_validate.tasks import ImageTask
from crynux_validate.testing import fake_hardware

if TYPE_CHECKING:
    from crynux_validate import ImageResult, Runner
    from crynux_validate.audits import ImageAudit

PROOF: Final = "proof-0.bin"
AUDIT: Final = "audit.json"
"""Names of files in the folder of a result."""

OTHER_PROMPT: Final = "a big red square on stripes"


def _other_prompt(task: ImageTask) -> ImageTask:
    return task.replace(prompt=OTHER_PROMPT if task.prompt != OTHER_PROMPT else "a small white circle on night")


CHEATS: Final[Mapping[str, tuple[str, Callable[[ImageTask], ImageTask]]]] = {
    "none": ("nobody cheats", lambda task: task),
    "other-prompt": ("another prompt", _other_prompt),
    "other-seed": ("another seed", lambda task: task.replace(seed=task.seed + 1)),
    "other-picture": ("one and the same picture for every task", lambda task: _other_prompt(task).replace(seed=0)),
    "fewer-steps": ("a quarter of the steps", lambda task: task.replace(steps=max(1, task.steps // 4))),
}
"""The ways to cheat: in words, and the task that is run in place of the one that was asked."""


class _Process:
    """What this process holds: a runner, loaded once, and the one picture that `other-picture` hands in every time."""

    runner: "Runner | None" = None
    stock: "ImageResult | None" = None


def load(task: ImageTask) -> str:
    """Load the task's model; returns the digest of this process's kernels, as hexadecimal digits."""
    _Process.runner, _Process.stock = cv.Runner.for_task(task, "cpu"), None
    return cv.local_environment("cpu").kernel_digest.hex()


def draw_as(task: ImageTask, architectures: Sequence[str]) -> "dict[str, ImageResult]":
    """Run a task in the arithmetic of the tensor cores of some cards; a message is sent for every step."""
    from crynux_validate.testing import tensor_cores

    results: dict[str, ImageResult] = {}

    def told(done: cv.pipelines.Progress) -> None:
        fake_hardware.send((len(results) * done.steps + done.step, len(architectures) * done.steps))

    with cv.Runner.for_task(task, "cpu") as runner:
        for name in architectures:
            with tensor_cores(name):
                results[name] = runner.run(task, on_step=told)
    return results


def answer(task: ImageTask, cheat: str, folder: Path) -> "ImageResult":
    """Run a task, or what the cheat runs in its place, and save the result; a message is sent for every step.

    What a cheat hands in has the form that the task asks for: it was found by nothing but its content.
    """
    from crynux_validate.testing.forged import forged_result

    result = _Process.stock
    if result is None:
        instead = CHEATS[cheat][1](task)
        result = _runner().run(instead, on_step=lambda done: fake_hardware.send((done.step, done.steps)))
    if cheat == "other-picture":
        _Process.stock = result
    if cheat != "none":
        result = forged_result(task, result)
    result.save(folder)
    return result


def prove(task: ImageTask, folder: Path, steps: Mapping[int, tuple[int, ...]]) -> None:
    """Write the proof of drawn steps into the folder of a result, for its one image."""
    Trace.load(folder / "trace.bin", task).prove(0, steps[0]).save(folder / PROOF)


def audit(task: ImageTask, folder: Path, seed: bytes, count: int) -> "ImageAudit":
    """Audit the answer in a folder, and write the audit beside it; a message is sent for every step."""
    score = cv.answers.answer_from_bytes((folder / "answer.bin").read_bytes())
    if not isinstance(score, cv.ImageScore):
        raise PipelineError(f"{folder} has no score to audit")
    proof = TraceProof.load(folder / PROOF, task)
    found = _runner().audit(
        task, score, proof, seed=seed, count=count, on_progress=lambda *far: fake_hardware.send(far)
    )
    write_whole(folder / AUDIT, f"{json.dumps(found.to_dict(), indent=2)}\n".encode())
    return found


def _runner() -> "Runner":
    if _Process.runner is None:
        raise PipelineError("the node has loaded no model; call load first")
    return _Process.runner
