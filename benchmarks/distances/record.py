"""What was measured, as it is written to JSON and read again: tables and pictures are made of nothing else."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from attacks import ATTACKS
from tools.training.pictures import Picture

from benchmarks.distances.plan import MAIN, NATIVE, VARIED, Setting
from benchmarks.distances.work import Found
from crynux_validate import ImageTask
from crynux_validate.hashing import image_hash


@dataclass(frozen=True)
class Honest:
    """Honest machines of one kind beside those of another, for every prompt.

    Parameters
    ----------
    kind, dtype
        Who drew.
    beside, beside_dtype
        Whom they are compared with.
    scheduler, steps
        What both drew with.
    hashes, reference
        The hashes of both, 16 hexadecimal digits each.
    differ
        The share of 8-bit values that differ, 0 to 1.
    mean, most
        The mean and the largest difference of values, 0 to 255.
    """

    kind: str
    dtype: str
    beside: str
    beside_dtype: str
    scheduler: str
    steps: int
    hashes: list[str]
    reference: list[str]
    differ: list[float]
    mean: list[float]
    most: list[int]


@dataclass(frozen=True)
class Cheated:
    """What a cheat hands in beside the honest picture, for every prompt: hashes of 16 hexadecimal digits each."""

    name: str
    group: str
    hashes: list[str]
    reference: list[str]


@dataclass(frozen=True)
class Record:
    """Everything that was measured.

    Parameters
    ----------
    about
        What it was measured on, in words.
    honest, cheats
        The pairs, in the order in which tables show them.
    """

    about: dict[str, str]
    honest: list[Honest]
    cheats: list[Cheated]

    def to_json(self) -> str:
        """Return JSON that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        value: dict[str, Any] = json.loads(text)
        honest = [Honest(**pairs) for pairs in value["honest"]]
        return cls(value["about"], honest, [Cheated(**pairs) for pairs in value["cheats"]])


def record(asked: Sequence[ImageTask], found: Found, kinds: Sequence[str], about: dict[str, str]) -> Record:
    """Compare what was drawn."""
    others = [kind for kind in kinds if kind != NATIVE]
    honest = [_honest(asked, found, kind, setting) for setting in MAIN for kind in others]
    honest.append(_honest(asked, found, NATIVE, MAIN[1], MAIN[0]))
    honest += [
        _honest(asked, found, kind, setting)
        for setting in VARIED
        for kind in others
        if (kind, setting.of(asked[0]).digest) in found
    ]
    reference = [found[NATIVE, task.digest].bits for task in asked]
    cheated = [
        Cheated(cheat.words, cheat.group, [image_hash(picture).hex for picture in pictures], reference)
        for name, cheat in ATTACKS.items()
        if (pictures := handed_in(name, asked, found))
    ]
    return Record(about, honest, cheated)


def handed_in(cheat: str, asked: Sequence[ImageTask], found: Found) -> list[Picture]:
    """Return the picture that a cheat hands in for each task; none where the attack means nothing for these tasks."""
    return [found[cheat, task.digest].pixels for task in asked if (cheat, task.digest) in found]


def _honest(
    asked: Sequence[ImageTask], found: Found, kind: str, setting: Setting, beside: Setting | None = None
) -> Honest:
    """Compare a kind with native, in the same setting or in another."""
    beside = beside or setting
    ours = [found[kind, setting.of(task).digest] for task in asked]
    theirs = [found[NATIVE, beside.of(task).digest] for task in asked]
    apart = [np.abs(a.pixels.astype(int) - b.pixels) for a, b in zip(ours, theirs, strict=True)]
    return Honest(
        kind=kind,
        dtype=setting.dtype,
        beside=NATIVE,
        beside_dtype=beside.dtype,
        scheduler=setting.scheduler,
        steps=setting.steps,
        hashes=[drawn.bits for drawn in ours],
        reference=[drawn.bits for drawn in theirs],
        differ=[float((values > 0).mean()) for values in apart],
        mean=[float(values.mean()) for values in apart],
        most=[int(values.max()) for values in apart],
    )
