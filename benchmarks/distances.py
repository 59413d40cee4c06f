"""How far honest machines and cheats are from each other, on the small model: ``python -m benchmarks.distances``.

Every task runs on each kind of fake hardware, and on the native kind with each cheat. Printed are the Hamming distances
of the hashes and, for honest machines, how many pixel values differ and by how much.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from crynux_validate import ImageTask, ModelRef, Runner, task_from_json
from crynux_validate.answers import ImageScore, similarity_score
from crynux_validate.cli.demo_network import PROMPTS
from crynux_validate.cli.demo_node import OTHER_PROMPT
from crynux_validate.testing import fake_hardware, tiny_image_model

CHEATS: dict[str, dict[str, Any]] = {
    "half the steps": {"steps": 10},
    "a quarter of the steps": {"steps": 5},
    "another seed": {"seed": 1_000_003},
    "another prompt": {"prompt": OTHER_PROMPT},
    "guidance 5 for 7.5": {"guidance_scale": 5.0},
}

_RUNNERS: dict[str, Runner] = {}


def draw(folder: str, text: str) -> tuple[ImageScore, Any]:
    """Run a task in a worker; returns its score and pixels."""
    task = task_from_json(text)
    if folder not in _RUNNERS:
        _RUNNERS[folder] = Runner(ModelRef.local(folder), device="cpu")
    if not isinstance(task, ImageTask):
        raise TypeError(f"{task!r} is no image task")
    result = _RUNNERS[folder].run(task.replace(model=_RUNNERS[folder].model))
    return result.score, np.asarray(result.images[0], dtype=np.int16)


def distance(a: ImageScore, b: ImageScore) -> int:
    """The similarity score of two scores of one task."""
    found = similarity_score(a, b)
    if found is None:
        raise ValueError("the scores cannot be compared")
    return found


def main() -> None:
    """Measure and print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=12)
    count = parser.parse_args().tasks
    honest: dict[str, list[tuple[int, float, int]]] = {}
    cheats: dict[str, list[int]] = {name: [] for name in CHEATS}
    with tempfile.TemporaryDirectory() as scratch, fake_hardware.Workers() as workers:
        model = tiny_image_model(Path(scratch) / "tiny-sd")
        folder = str(model.path)
        # The worker looks for this function in the module's own name, not in the program's.
        from benchmarks import distances

        for number in range(count):
            task = ImageTask(
                model=model, prompt=PROMPTS[number % len(PROMPTS)], seed=number, steps=20, width=256, height=256
            )
            runs = {kind: workers[kind].submit(distances.draw, folder, task.to_json()) for kind in workers}
            score, pixels = runs.pop("native").result()
            for kind, run in runs.items():
                other, others = run.result()
                apart = np.abs(pixels - others)
                found = (distance(score, other), float((apart > 0).mean()), int(apart.max()))
                honest.setdefault(kind, []).append(found)
            for name, change in CHEATS.items():
                cheat, _ = workers["native"].run(distances.draw, folder, task.replace(**change).to_json())
                cheats[name].append(distance(score, cheat))
    print(f"| honest, {count} tasks, beside native | distance: mean | max | values that differ | by at most |")
    print("|---|---|---|---|---|")
    for kind, rows in honest.items():
        bits, share, most = zip(*rows, strict=True)
        mean = f"{statistics.mean(bits):.2f} | {max(bits)} | {statistics.mean(share):.1%}"
        print(f"| {kind} | {mean} | {max(most)} |")
    print(f"\n| cheat, {count} tasks | mean | min | max | below 16 | below 24 |")
    print("|---|---|---|---|---|---|")
    for name, values in cheats.items():
        under = [sum(value < limit for value in values) for limit in (16, 24)]
        print(f"| {name} | {statistics.mean(values):.1f} | {min(values)} | {max(values)} | {under[0]} | {under[1]} |")


if __name__ == "__main__":
    main()
