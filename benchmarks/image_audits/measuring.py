"""Honest pictures of all kinds and cheats, audited by other kinds; what a record holds is not measured again."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from attacks.scenes import MOST_PROMPTS, prompts

import crynux_validate as cv
from benchmarks.image_audits import work
from benchmarks.image_audits.rows import Record
from crynux_validate.testing.fake_hardware import Worker
from crynux_validate.testing.kinds import NumericKind, gpu_kinds, kinds


@dataclass(frozen=True)
class Plan:
    """What is measured: picture i is drawn by node i, with scheduler i, each in turn, from seed and prompt i."""

    model: cv.ModelRef
    dtype: str
    side: int
    steps: int
    pictures: range
    nodes: list[str]
    auditors: list[str]
    schedulers: list[str]
    cheats: list[str | None]
    against: bool

    def cases(self) -> Iterator[tuple[dict[str, Any], cv.ImageTask]]:
        """The head of each row but for the auditor, and the task."""
        asked = prompts(MOST_PROMPTS, seed=1)
        for number in self.pictures:
            scheduler = self.schedulers[number // len(self.nodes) % len(self.schedulers)]
            settings: Any = {"dtype": self.dtype, "scheduler": scheduler, "steps": self.steps}
            task = cv.ImageTask(
                model=self.model,
                prompt=asked[number % MOST_PROMPTS],
                seed=number,
                width=self.side,
                height=self.side,
                binding="trace",
                **settings,
            )
            node = self.nodes[number % len(self.nodes)]
            named = {"dtype": self.dtype, "scheduler": scheduler, "side": self.side, "count": self.steps}
            for cheat in self.cheats:
                yield {**named, "picture_number": number, "cheat": cheat, "node": node}, task


def measure(plan: Plan, record: Record, minutes: float) -> None:
    """Measure what is missing, for so long."""
    end = time.monotonic() + 60 * minutes
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}

        def worker(name: str) -> Worker:
            if name not in workers:
                workers[name] = stack.enter_context(Worker(kind_of(name)))
            return workers[name]

        for done, (head, task) in enumerate(plan.cases()):
            missing = [
                {**head, "auditor": name}
                for name in plan.auditors
                if not (head["cheat"] is None and name == head["node"]) and not record.has({**head, "auditor": name})
            ]
            if time.monotonic() > end:
                print(f"stopped before case {done}; the same command goes on", flush=True)
                return
            if missing:
                answer, proof = worker(head["node"]).run(work.draw, task, head["cheat"])
                for row in missing:
                    record.add({**row, **worker(row["auditor"]).run(work.check, task, answer, proof, plan.against)})


def kind_of(name: str) -> NumericKind:
    """A kind by its name."""
    return {kind.name: kind for kind in [*kinds(), *gpu_kinds()]}[name]
