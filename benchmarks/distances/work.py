"""Drawing: what a process of one kind does, and giving the kinds their work, two processes at a time."""

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from attacks import ATTACKS, DoesNotFit, Machine
from attacks.answer import Picture
from attacks.machine import pixels_of

from benchmarks.distances.plan import Job
from crynux_validate import ImageTask, image_hash
from crynux_validate.testing.fake_hardware import NumericKind, Worker
from crynux_validate.testing.kinds import kinds

AT_ONCE: Final = 2

Found = Mapping[tuple[str, str], "Drawn"]
"""What was drawn: by the name of the kind or of the cheat, and the task's digest."""


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


_MACHINES: list[Machine] = []


def draw(name: str, task: ImageTask) -> Drawn | None:
    """Answer a task as the cheat of this name does, or honestly; None where the cheat means nothing for the task.

    It is called in the process of a kind, which keeps one machine.
    """
    if not _MACHINES:
        _MACHINES.append(Machine())
    (machine,) = _MACHINES
    start = time.process_time()
    try:
        picture = ATTACKS[name](task, machine).pixels[0] if name in ATTACKS else pixels_of(machine.honest(task))[0]
    except DoesNotFit:
        return None
    return Drawn(picture, image_hash(picture, task.algorithm).hex, time.process_time() - start)


def draw_all(plan: Mapping[str, Sequence[Job]]) -> Found:
    """Draw everything; each kind's process is started once, and ended when it is through.

    Raises
    ------
    FakeHardwareError
        When a process dies, or on a machine that cannot imitate others.
    """
    waiting = deque(sorted((kind for kind in kinds() if kind.name in plan), key=lambda kind: -_size(plan[kind.name])))
    progress = _Progress(sum(map(_size, plan.values())))
    found: dict[tuple[str, str], Drawn] = {}
    running: dict[str, tuple[Worker, deque[tuple[Job, Future[Drawn | None]]]]] = {}
    spent = dict.fromkeys(plan, 0.0)
    with ExitStack() as started:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                kind = waiting.popleft()
                running[kind.name] = _start(kind, plan[kind.name], started)
            wait([jobs[0][1] for _, jobs in running.values()], return_when=FIRST_COMPLETED)
            for name, (worker, jobs) in list(running.items()):
                while jobs and jobs[0][1].done():
                    (who, task), job = jobs.popleft()
                    drawn = job.result()
                    if drawn is not None:
                        found[who, task.digest] = drawn
                        spent[name] += drawn.seconds
                    progress.add(task)
                if not jobs:
                    worker.close()
                    del running[name]
                    progress.say(f"{name} is through, after {spent[name] / 60:.1f} minutes of processor time")
    return found


def _start(
    kind: NumericKind, jobs: Sequence[Job], started: ExitStack
) -> tuple[Worker, deque[tuple[Job, Future[Drawn | None]]]]:
    worker = started.enter_context(Worker(kind))
    return worker, deque((job, worker.submit(draw, *job)) for job in jobs)


def _size(jobs: Sequence[Job]) -> int:
    """How much work tasks are: their steps. Of cheats some do less."""
    return sum(task.steps for _, task in jobs)


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
