"""What the two thresholds let through: a calibration on the small model, ``python -m benchmarks.thresholds``.

Honest pictures of several kinds of machines, what cheats hand in for the same tasks, and parts of photographs as
unrelated pictures. With ``--save`` it goes on where it was stopped, some pictures at a time on every kind.
"""

import argparse
import importlib.metadata
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attacks import scenes, work
from attacks.record import HONEST, NATIVE, Record

from benchmarks.photographs.record import shipped
from crynux_validate import Calibration, calibrate
from crynux_validate.calibration import Sample, Samples, draw_plot
from crynux_validate.errors import CrynuxValidateError
from crynux_validate.hashing import hash_array
from crynux_validate.testing import fake_hardware, tiny_image_model

SIDE: Final = 128
STEPS: Final = 25

DTYPE: Final = "bfloat16"
"""Cards compute so, and kinds of machines differ more than in float32, where all distances were 0 to 2."""

KINDS: Final = (NATIVE, "aten-default", "aten-avx2", "mkl-compatible", "mkl-avx2")
"""As far as this processor imitates them. Of the others two take twenty times as long in bfloat16, and one is equal to
``native``."""

CHEATS: Final = (
    "noise", "plain-grey", "cached-picture", "half-the-steps", "quarter-of-the-steps", "enlarged-from-16",
    "int4-weights", "other-seed", "without-colour",
)  # fmt: skip
"""Attacks that need no other member's answer: commitments stand against those that do."""

AT_ONCE: Final = 20
"""So many tasks are through on every kind before the next are begun."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what is missing, calibrate, print, and write what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thresholds", description=__doc__)
    parser.add_argument("--pictures", type=int, default=200, metavar="N", help="how many tasks; default: %(default)s")
    parser.add_argument("--save", type=Path, metavar="FILE.jsonl", help="keep what is drawn, and go on from there")
    parser.add_argument("--false-reject-rate", type=float, default=0.05, help="default: %(default)s")
    parser.add_argument("--false-slash-rate", type=float, default=0.05, help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the calibration")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it: .png, .svg or .pdf")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            samples = drawn(options.pictures, options.save, Path(scratch)) + photographs()
        found = calibrate(
            samples,
            false_reject_rate=options.false_reject_rate,
            false_slash_rate=options.false_slash_rate,
            safety_checker=False,  # the tasks have none
        )
        show(found, options.out, options.plot)
    except (CrynuxValidateError, OSError) as error:
        print(f"benchmarks.thresholds: {error}", file=sys.stderr)
        return 2
    return 0


def drawn(pictures: int, save: Path | None, scratch: Path) -> Samples:
    """Honest answers of every kind and those of the cheats."""
    model = tiny_image_model(scratch / "model")
    tasks = [task.replace(steps=STEPS, dtype=DTYPE) for task in scenes.tasks(model, pictures, SIDE)]
    about = {
        "model": str(model.digest)[:16],
        "pictures": f"{SIDE}x{SIDE}, {tasks[0].scheduler}, {STEPS} steps, {DTYPE}",
        "torch": importlib.metadata.version("torch"),
        "diffusers": importlib.metadata.version("diffusers"),
    }
    record = Record(about, save)
    kinds = [kind for kind in fake_hardware.kinds() if kind.name in KINDS]
    for end in range(AT_ONCE, pictures + AT_ONCE, AT_ONCE):
        work.fill(record, tasks[:end], CHEATS, kinds)
    asked = {task.digest for task in tasks}
    roles = {HONEST: HONEST} | {name: f"cheat:{name}" for name in CHEATS}
    return Samples.of(
        Sample(
            kind=row.kind,
            task=row.asked,
            role=roles[row.attack],
            algorithm=row.algorithm,
            score=row.score,
            model=str(model),
            margin=row.margin,
            degenerate=row.degenerate,
            pixels=row.pixels,
        )
        for row in record
        if row.asked in asked and row.attack in roles
    )


def photographs() -> Samples:
    """Parts of photographs that packages carry; those of one photograph are never compared."""
    parts = [(found.path, bits) for found in shipped("photographs").pictures for bits in found.hashes["phash/1"]]
    return Samples.from_columns(
        algorithm="phash/1",
        hashes=hash_array([bits for _, bits in parts]),
        task=[path for path, _ in parts],
        role="unrelated",
    )


def show(found: Calibration, out: Path | None, plot: Path | None) -> None:
    """Print a calibration, and write it."""
    print(found)
    if out is not None:
        found.save(out)
    if plot is not None:
        draw_plot(found, plot)


if __name__ == "__main__":
    sys.exit(main())
