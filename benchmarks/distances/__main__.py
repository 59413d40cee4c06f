"""Measure, print tables, draw pictures: ``python -m benchmarks.distances``."""

import argparse
import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attacks import ATTACKS

from benchmarks.distances import plan, record, sheet, tables, work
from crynux_validate import ModelRef
from crynux_validate.errors import CrynuxValidateError
from crynux_validate.testing import fake_hardware


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure or read, then show; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distances", description=__doc__)
    parser.add_argument("--prompts", type=int, default=100, metavar="N", help="how many tasks; 100 by default")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="a Stable Diffusion; by default the one for tests")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="kinds of fake hardware; by default all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="read it again and draw nothing")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the distances: .png, .svg or .pdf")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="show one prompt's honest picture and the cheats"
    )
    options = parser.parse_args(arguments)
    if options.source and options.sheet:
        parser.error("--sheet shows pictures, which are not kept in the file that --from reads")
    for file in (options.json, options.plot, options.sheet):
        # Better now than after half an hour.
        if file is not None and not file.parent.is_dir():
            parser.error(f"there is no folder {file.parent} to write {file.name} into")
    try:
        if options.plot:
            from benchmarks.distances import plot  # where matplotlib is missing, it is said before anything is drawn
        measured = record.Record.from_json(options.source.read_text("utf-8")) if options.source else measure(options)
        print(tables.tables(measured))
        if options.plot:
            plot.draw_plot(options.plot, measured)
    except (CrynuxValidateError, OSError) as error:
        print(f"benchmarks.distances: {error}", file=sys.stderr)
        return 2
    return 0


def measure(options: argparse.Namespace) -> record.Record:
    """Draw everything, compare it, and write what is asked for: the record, the sheet of one prompt."""
    known = [kind.name for kind in fake_hardware.kinds()]
    chosen = options.kinds or known
    if unknown := set(chosen) - set(known):
        raise CrynuxValidateError(f"--kinds names {', '.join(unknown)}; this machine imitates {', '.join(known)}")
    kinds = [kind for kind in known if kind in chosen or kind == plan.NATIVE]
    with tempfile.TemporaryDirectory() as scratch:
        model = ModelRef.local(options.model) if options.model else _own_model(Path(scratch))
        asked = plan.tasks(model, options.prompts)
        planned = plan.plan(asked, kinds, ATTACKS)
        found = work.draw_all(planned)
    about = {
        "model": str(model.digest)[:16],
        "prompts": str(len(asked)),
        "torch": importlib.metadata.version("torch"),
        "diffusers": importlib.metadata.version("diffusers"),
        "processor": _processor(),
        "minutes of processor time for drawing": f"{sum(drawn.seconds for drawn in found.values()) / 60:.1f}",
    }
    measured = record.record(asked, found, kinds, about)
    if options.json:
        options.json.write_text(measured.to_json(), encoding="utf-8")
    if options.sheet:
        sheet.draw_sheet(options.sheet, asked, found, kinds)
    return measured


def _own_model(folder: Path) -> ModelRef:
    """Return the model that the library makes for tests."""
    from crynux_validate.testing import tiny_image_model

    return tiny_image_model(folder / "model")


def _processor() -> str:
    """Name the processor."""
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    sys.exit(main())
