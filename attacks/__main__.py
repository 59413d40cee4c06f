"""Run every attack on the same tasks, and print how often each passes: ``python -m attacks --save FILE``."""

import argparse
import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import crynux_validate
from attacks import ATTACKS, BAD_FAITH, scenes, table, work
from attacks.record import NATIVE, Record
from crynux_validate import ModelRef
from crynux_validate.calibration import write_samples
from crynux_validate.calibration.tables import suffix_of
from crynux_validate.errors import CrynuxValidateError, InvalidInputError
from crynux_validate.testing import fake_hardware, tiny_image_model

NAMES: Final = (*ATTACKS, *BAD_FAITH)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, then show everything; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m attacks", description=__doc__)
    parser.add_argument("--pictures", type=int, default=30, metavar="N", help="how many tasks; default: %(default)s")
    parser.add_argument("--attacks", nargs="+", metavar="NAME", help=f"default: all of {', '.join(NAMES)}")
    parser.add_argument(
        "--kinds",
        nargs="*",
        default=["aten-default"],
        metavar="KIND",
        help="honest machines beside native; %(default)s",
    )
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="a Stable Diffusion; by default the one for tests")
    parser.add_argument("--side", type=int, default=128, help="pixels of a picture; default: %(default)s")
    parser.add_argument("--steps", type=int, default=25, help="of denoising; default: %(default)s")
    parser.add_argument("--dtype", default="float32", help="of the tasks; default: %(default)s")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep what is measured, and go on from there")
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="write a table for a calibration: .csv, .jsonl, .parquet"
    )
    options = parser.parse_args(arguments)
    for file in (options.save, options.samples):
        if file is not None and not file.parent.is_dir():  # better now than after an hour
            parser.error(f"there is no folder {file.parent} to write {file.name} into")
    try:
        if options.samples:
            suffix_of(options.samples)
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            model = ModelRef.local(options.model) if options.model else tiny_image_model(scratch / "model")
            measured = measure(model, options)
            if options.samples:
                write_samples(table.samples(measured, str(model.digest)), options.samples)
        print(table.tables(measured))
    except (CrynuxValidateError, OSError) as error:
        print(f"attacks: {error}", file=sys.stderr)
        return 2
    return 0


def measure(model: ModelRef, options: argparse.Namespace) -> Record:
    """Return the record, filled up."""
    names = options.attacks or NAMES
    if unknown := sorted({*names} - {*NAMES}):
        raise InvalidInputError(f"--attacks names {', '.join(unknown)}; there are {', '.join(NAMES)}")
    known = {kind.name: kind for kind in fake_hardware.kinds()}
    if unknown := sorted({*options.kinds} - {*known}):
        raise InvalidInputError(f"--kinds names {', '.join(unknown)}; this machine imitates {', '.join(known)}")
    tasks = [
        task.replace(steps=options.steps, dtype=options.dtype)
        for task in scenes.tasks(model, options.pictures, options.side)
    ]
    about = {
        "model": str(model.digest)[:16],
        "pictures": f"{options.side}x{options.side}, {tasks[0].scheduler}, {options.steps} steps, {options.dtype}",
        "hash": tasks[0].algorithm,
        "first task": tasks[0].digest[:16],  # or the same pictures would count twice where digests are made otherwise
        "crynux_validate": crynux_validate.__version__,
        "torch": importlib.metadata.version("torch"),
        "diffusers": importlib.metadata.version("diffusers"),
        "processor": _processor(),
    }
    record = Record(about, options.save)
    chosen = dict.fromkeys([NATIVE, *options.kinds])
    work.fill(record, tasks, [name for name in NAMES if name in names], [known[name] for name in chosen])
    return record


def _processor() -> str:
    """Name the processor."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text("utf-8").splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
