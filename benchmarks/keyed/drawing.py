"""Pictures of several kinds of machines and of cheats, in a folder: a file for some tasks of one dtype and kind."""

import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from attacks import ATTACKS, Machine, scenes
from attacks.answer import Picture
from attacks.machine import pixels_of

from crynux_validate import ImageTask, ModelRef
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import write_whole
from crynux_validate.tasks import Dtype
from crynux_validate.testing.fake_hardware import NumericKind, Worker

SIDE: Final = 128
STEPS: Final = 4
SCHEDULER: Final = "DPMSolverMultistepScheduler"
DTYPES: Final[tuple[Dtype, ...]] = ("bfloat16", "float32")

NATIVE: Final = "native"
ONE_STEP_LESS: Final = "one-step-less"
CHEATS: Final = ("half-the-steps", ONE_STEP_LESS, "guidance-5", "int8-weights", "int4-weights", "other-seed")
"""Work of the model's own; what is made from finished pictures alone is made where it is compared."""

AT_ONCE: Final = 25
"""Tasks in a file."""

PROCESSES: Final = 5

FEW: Final = 5
"""Tasks in a file of what takes twenty times as long: emulated cards, and kinds without fast bfloat16."""

KIND_PARTS: Final = 21
"""So many parts are drawn in bfloat16 by every kind, of `FEW` tasks by those that are slow there."""

CHEATED_PARTS: Final = (1, 6, 11, 16)

SLOW: Final = ("onednn-sse41", "oldest")


@dataclass(frozen=True)
class Part:
    """Some tasks, drawn in one dtype by one kind or as one cheat does.

    Parameters
    ----------
    name
        A kind of `crynux_validate.testing`, or a cheat.
    dtype
        What it computes in.
    first, count
        Which tasks.
    kind
        The kind that draws.
    """

    name: str
    dtype: Dtype
    first: int
    count: int
    kind: NumericKind

    def file(self, folder: Path) -> Path:
        """Return where it lies."""
        return folder / f"{self.dtype}-{self.name}-{self.first:04}.npz"


def tasks(model: ModelRef, count: int, dtype: Dtype, steps: int = STEPS) -> list[ImageTask]:
    """Return so many tasks, a prompt and a seed each; fewer are the first of more."""
    asked = scenes.tasks(model, count, SIDE)
    return [task.replace(steps=steps, scheduler=SCHEDULER, dtype=dtype) for task in asked]


_MACHINES: list[Machine] = []


def draw(name: str, asked: Sequence[ImageTask]) -> Picture:
    """Draw tasks honestly or as a cheat does, in the process of a kind: shape (tasks, height, width, 3)."""
    if not _MACHINES:
        _MACHINES.append(Machine())
    (machine,) = _MACHINES
    return np.stack([_drawn(machine, name, task) for task in asked])


def _drawn(machine: Machine, name: str, task: ImageTask) -> Picture:
    if name == ONE_STEP_LESS:
        return machine.run(task.replace(steps=task.steps - 1)).pixels[0]
    if name in ATTACKS:
        return ATTACKS[name](task, machine).pixels[0]
    return pixels_of(machine.honest(task))[0]


def fill(folder: Path, parts: Sequence[Part], model: ModelRef, about: Mapping[str, str], steps: int) -> None:
    """Draw what the folder lacks, in `PROCESSES` processes, each of one kind as long as that kind has work.

    Raises
    ------
    InvalidInputError
        For a folder whose pictures were drawn with something else.
    """
    _check(folder, about)
    missing = [part for part in parts if not part.file(folder).exists()]
    choosing, busy = threading.Lock(), Counter[str]()

    def choose(kind: NumericKind | None) -> Part | None:
        """The next part of this kind; where it has none left, of the kind with the most work for each process."""
        with choosing:
            left = Counter(part.kind.name for part in missing)
            if kind is not None:
                busy[kind.name] -= 1
            if kind is None or not left[kind.name]:
                kind = max(
                    (part.kind for part in missing), key=lambda one: left[one.name] / (1 + busy[one.name]), default=None
                )
            if kind is None:
                return None
            busy[kind.name] += 1
            part = next(part for part in missing if part.kind == kind)
            missing.remove(part)
            return part

    def work() -> None:
        worker: Worker | None = None
        try:
            while (part := choose(worker.kind if worker else None)) is not None:
                if worker is None or worker.kind != part.kind:
                    if worker is not None:
                        worker.close()
                    worker = Worker(part.kind)
                asked = tasks(model, part.first + part.count, part.dtype, steps)[part.first :]
                content = io.BytesIO()
                np.savez_compressed(content, pictures=worker.run(draw, part.name, asked))
                write_whole(part.file(folder), content.getvalue())
                print(f"{part.file(folder).name}; {len(missing)} parts wait", flush=True)
        finally:
            if worker is not None:
                worker.close()

    with ThreadPoolExecutor(PROCESSES) as pool:
        for done in [pool.submit(work) for _ in range(PROCESSES)]:
            done.result()


def _check(folder: Path, about: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "about.json"
    if not file.exists():
        write_whole(file, json.dumps(about, indent=1).encode())
    found = json.loads(file.read_text("utf-8"))
    if found != dict(about):
        raise InvalidInputError(f"{folder} was drawn with {found}, now it is {dict(about)}: name another folder")


def read(folder: Path, dtype: Dtype, name: str) -> dict[int, Picture]:
    """Return the pictures of a kind or a cheat, by the number of the task."""
    found: dict[int, Picture] = {}
    for file in sorted(folder.glob(f"{dtype}-{name}-[0-9][0-9][0-9][0-9].npz")):
        first = int(file.stem[-4:])
        with np.load(file) as stored:
            found |= {first + at: picture for at, picture in enumerate(stored["pictures"])}
    return found


def parts(kinds: Sequence[NumericKind], pictures: int) -> Iterator[Part]:
    """Return what is drawn, in an order in which each beginning is worth something.

    Parameters
    ----------
    kinds
        Native first. The first two draw all pictures, the others the first ones alone; native draws some as a cheat.
    pictures
        How many tasks.
    """
    native, second, *others = kinds
    fast = [kind for kind in others if kind.architecture is None and kind.name not in SLOW]
    slow = [kind for kind in others if kind not in fast]
    for first in range(0, pictures, AT_ONCE):
        at = first // AT_ONCE
        for dtype in DTYPES:
            yield from (Part(kind.name, dtype, first, AT_ONCE, kind) for kind in (native, second))
            if at == 0 or (dtype == DTYPES[0] and at < KIND_PARTS):
                yield from (Part(kind.name, dtype, first, AT_ONCE, kind) for kind in fast)
            if at in CHEATED_PARTS and (dtype == DTYPES[0] or at < CHEATED_PARTS[2]):
                yield from (Part(name, dtype, first, AT_ONCE, native) for name in CHEATS)
        if at < KIND_PARTS:
            yield from (Part(kind.name, "bfloat16", at * FEW, FEW, kind) for kind in slow)
        if at == 0:
            yield from (Part(kind.name, "float32", 0, AT_ONCE, kind) for kind in slow if kind.architecture is None)


__all__ = ["CHEATS", "DTYPES", "NATIVE", "Part", "fill", "parts", "read", "tasks"]
