"""Drawing: what a process of one kind does, and giving the kinds their work, two processes at a time."""

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from tools.training.pictures import Picture

from crynux_validate import ImageTask
from crynux_validate.testing.fake_hardware import NumericKind, Worker
from crynux_validate.testing.kinds import kinds

if TYPE_CHECKING:
    from crynux_validate import Runner

AT_ONCE: Final = 2

Found = Mapping[tuple[str, str], "Drawn"]
"""What was drawn: by the kind's name and the task's digest."""


@dataclass(frozen=True)
class Drawn:
    """A picture, its hash, and what it cost.

    Parameters
    ----------
    pixels
        8-bit RGB.
    bits
        The hash as 16 hexadecimal digits.
    seconds
        Processor time of the run.
    """

    pixels: Picture
    bits: str
    seconds: float


_RUNNERS: "dict[str, Runner]" = {}


def draw(task: ImageTask) -> Drawn:
    """Run a task; this is called in the process of a kind, which keeps a runner for each dtype."""
    from crynux_validate import Runner  # imports torch, which only the processes of the kinds need

    if task.dtype not in _RUNNERS:
        _RUNNERS[task.dtype] = Runner.for_task(task, "cpu")
    start = time.process_time()
    result = _RUNNERS[task.dtype].run(task)
    return Drawn(np.asarray(result.images[0]), result.score.hex, time.process_time() - start)


def draw_all(plan: Mapping[str, Sequence[ImageTask]]) -> Found:
    """Draw everything; each kind's process is started once, and ended when it is through.

    Raises
    ------
    FakeHardwareError
        When a process dies, or on a machine that cannot imitate others.
    """
    waiting = deque(sorted((kind for kind in kinds() if kind.name in plan), key=lambda kind: -_size(plan[kind.name])))
    progress = _Progress(sum(map(_size, plan.values())))
    found: dict[tuple[str, str], Drawn] = {}
    running: dict[str, tuple[Worker, deque[tuple[ImageTask, Future[Drawn]]]]] = {}
    with ExitStack() as started:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                kind = waiting.popleft()
                running[kind.name] = _start(kind, plan[kind.name], started)
            wait([jobs[0][1] for _, jobs in running.values()], return_when=FIRST_COMPLETED)
            for name, (worker, jobs) in list(running.items()):
                while jobs and jobs[0][1].done():
                    task, job = jobs.popleft()
                    found[name, task.digest] = job.result()
                    progress.add(task)
                if not jobs:
                    worker.close()
                    del running[name]
                    spent = sum(found[name, task.digest].seconds for task in plan[name])
                    progress.say(f"{name} is through, after {spent / 60:.1f} minutes of processor time")
    return found


def _start(
    kind: NumericKind, tasks: Sequence[ImageTask], started: ExitStack
) -> tuple[Worker, deque[tuple[ImageTask, Future[Drawn]]]]:
    worker = started.enter_context(Worker(kind))
    return worker, deque((task, worker.submit(draw, task)) for task in tasks)


def _size(tasks: Sequence[ImageTask]) -> int:
    """How much work tasks are: their steps."""
    return sum(task.steps for task in tasks)


class _Progress:
    """Says on standard error, now and then, how far the work is and how long it will take."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = self._pictures = 0
        self._start = self._said = time.monotonic()

    def add(self, task: ImageTask) -> None:
        """Count a picture."""
        self._done += task.steps
        self._pictures += 1
        if time.monotonic() - self._said > 15:
            self.say()

    def say(self, event: str = "") -> None:
        """Print a line, with what has just happened."""
        self._said = time.monotonic()
        passed = self._said - self._start
        left = passed * (self._steps - self._done) / max(1, self._done)
        share = self._done / self._steps
        print(
            f"{self._pictures:,} pictures, {share:.0%} of the work, in {passed / 60:.1f} minutes; {left / 60:.1f} left"
            f"{event and f'; {event}'}",
            file=sys.stderr,
            flush=True,
        )
