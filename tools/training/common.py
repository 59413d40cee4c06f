"""What both trainings need: threads, learning rates, checkpoints that survive a kill, and model cards."""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch

from crynux_validate.testing.trained import SUMS


def prepare(seed: int, threads: int) -> None:
    """Seed torch, and keep it to a number of threads."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)


_WARMUP: Final = 50
_FALL: Final = 0.35


def rate(step: int, steps: int) -> float:
    """Return the factor on the learning rate at a step: it rises, stays at 1, and falls to 0 in the last third."""
    return min(1.0, (step + 1) / _WARMUP, (steps - step) / max(1.0, _FALL * steps))


def set_rate(optimizer: torch.optim.Optimizer, base: float, factor: float) -> None:
    """Give every group of parameters this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = base * factor


class Checkpoints:
    """Where a training is written, so that it can go on; whole or not at all.

    There are two files: one from before the learning rate began to fall, and one from after, which names the number of
    steps. So a training can be prolonged, even one that is complete, and loses no more than its last third.

    Parameters
    ----------
    folder, name
        Of the files.
    steps
        How many there will be.
    """

    def __init__(self, folder: Path, name: str, steps: int) -> None:
        self._steady = folder / f"{name}.pt"
        self._falling = folder / f"{name}-{steps}.pt"
        self._steps = steps

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write what is to be known after so many steps."""
        path = self._steady if self._steps - step >= _FALL * self._steps else self._falling
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        torch.save({"step": step, **state}, scratch)
        os.replace(scratch, path)

    def load(self) -> dict[str, Any] | None:
        """Return the last one that is of use, or None where there is none."""
        for path in (self._falling, self._steady):
            if path.exists():
                state: dict[str, Any] = torch.load(path, weights_only=True)
                if state["step"] <= self._steps:
                    return state
        return None


class Clock:
    """How long a training took, over all its sittings: on the wall, and of the processor.

    Parameters
    ----------
    wall, processor
        Seconds of earlier sittings.
    """

    def __init__(self, wall: float = 0.0, processor: float = 0.0) -> None:
        self._wall = time.monotonic() - wall
        self._processor = time.process_time() - processor

    def seconds(self) -> tuple[float, float]:
        """Return the seconds on the wall and of the processor so far."""
        return time.monotonic() - self._wall, time.process_time() - self._processor

    def words(self) -> str:
        """Say both in minutes."""
        wall, processor = self.seconds()
        return f"{wall / 60:.1f} min, {processor / 60:.1f} of them on the processor"


def halve(module: Any) -> Any:
    """Return a network in float16, as it is written.

    Raises
    ------
    ValueError
        Where a weight is beyond what float16 holds.
    """
    half = module.to(torch.float16)
    for name, parameter in half.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"{name} holds values that float16 cannot hold; train with a lower learning rate")
    return half


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Return a Markdown table of facts."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def versions(*packages: str) -> str:
    """Return packages with their versions, in words."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def write_sums(folder: Path) -> None:
    """List the SHA-256 of every file of a finished model, by which the package finds damage."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" for path in paths
    ]
    (folder / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")
