"""Running attacks: what a process of one kind does, and giving the kinds their work."""

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from attacks import ATTACKS, BAD_FAITH
from attacks.answer import Answer, DoesNotFit
from attacks.machine import Machine, pixels_of
from attacks.record import HONEST, NATIVE, Record, Row
from crynux_validate import ImageTask, task_from_json
from crynux_validate.testing.fake_hardware import NumericKind, Worker

_MACHINES: list[Machine] = []


def attacked(attack: str, kind: str, task: ImageTask) -> Row | None:
    """Attack a task; None where the attack means nothing for it. It is called in the process of a kind."""
    try:
        return _row({**ATTACKS, **BAD_FAITH}[attack](task, _machine()), kind, task)
    except DoesNotFit:
        return None


def honest(kind: str, task: ImageTask) -> Row:
    """Answer a task honestly. It is called in the process of a kind."""
    result = _machine().honest(task)
    return _row(Answer(HONEST, "nothing", task, pixels_of(result), 1.0, result), kind, task)


def _machine() -> Machine:
    """The one machine of this process."""
    if not _MACHINES:
        _MACHINES.append(Machine())
    return _MACHINES[0]


def fill(record: Record, tasks: Sequence[ImageTask], attacks: Iterable[str], kinds: Sequence[NumericKind]) -> None:
    """Measure what a record lacks: honest answers on all kinds, attacks on the first.

    A task that an attack chose is answered honestly by all kinds: who asked in bad faith wants them to disagree.

    Raises
    ------
    FakeHardwareError
        When a process dies, or on a machine that cannot imitate others.
    """
    names = list(attacks)
    chosen = [name for name in names if name in BAD_FAITH]
    say = _Progress(len(tasks) * (len(kinds) * (1 + len(chosen)) + len(names) - len(chosen)))
    for kind in kinds:
        with Worker(kind) as worker:
            for task in tasks:
                for name in (HONEST, *(names if kind.name == NATIVE else chosen)):
                    say()
                    if record.get(name, kind.name, task.digest) is not None:
                        continue
                    row = _measured(worker, record, name, task)
                    if row is not None:
                        record.add(row)


def _measured(worker: Worker, record: Record, name: str, task: ImageTask) -> Row | None:
    kind = worker.kind.name
    if name == HONEST:
        return worker.run(honest, kind, task)
    if kind == NATIVE:
        return worker.run(attacked, name, kind, task)
    first = record.get(name, NATIVE, task.digest)
    if first is None or first.instead is None:
        return None
    row = worker.run(honest, kind, task_from_json(first.instead).replace(model=task.model))
    return replace(row, attack=name, asked=task.digest, instead=first.instead)


def _row(answer: Answer, kind: str, asked: ImageTask) -> Row:
    chosen = answer.task.digest != asked.digest
    digest = answer.score.result_digest
    return Row(
        attack=answer.name,
        kind=kind,
        asked=asked.digest,
        algorithm=answer.score.algorithm,
        score=answer.score.hex,
        margin=min(found.margin for found in answer.hashes),
        degenerate=bool(answer.score.degenerate),
        pixels="" if digest is None else digest.hex(),
        cost=answer.cost,
        instead=answer.task.canonical_bytes.decode("utf-8") if chosen else None,
    )


class _Progress:
    """Says on standard error, now and then, how far the work is."""

    def __init__(self, all_of_them: int) -> None:
        self._all = all_of_them
        self._done = -1
        self._said = time.monotonic()

    def __call__(self) -> None:
        """Count one more."""
        self._done += 1
        if time.monotonic() - self._said > 15:
            self._said = time.monotonic()
            print(f"{self._done:,} of {self._all:,} answers", file=sys.stderr, flush=True)
