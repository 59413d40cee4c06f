"""Draw what is missing, compare, print: ``python -m benchmarks.keyed FOLDER``."""

import argparse
import importlib.metadata
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.keyed import drawing, tables
from crynux_validate.errors import CrynuxValidateError
from crynux_validate.testing import tiny_image_model
from crynux_validate.testing.kinds import NumericKind, gpu_kinds, kinds


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and show; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keyed", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the pictures are kept")
    parser.add_argument("--pictures", type=int, default=1000, metavar="N", help="how many tasks; default: %(default)s")
    parser.add_argument(
        "--steps", type=int, default=drawing.STEPS, metavar="N", help="of drawing; default: %(default)s"
    )
    parser.add_argument("--show", action="store_true", help="draw nothing, and print what is there")
    options = parser.parse_args(arguments)
    try:
        if not options.show:
            draw(options.folder, options.pictures, options.steps)
        tables.show(options.folder)
    except (CrynuxValidateError, OSError) as error:
        print(f"benchmarks.keyed: {error}", file=sys.stderr)
        return 2
    return 0


def draw(folder: Path, pictures: int, steps: int) -> None:
    """Draw what the folder lacks."""
    with tempfile.TemporaryDirectory() as scratch:
        model = tiny_image_model(Path(scratch) / "model")
        about = {
            "model": str(model.digest)[:16],
            "pictures": f"{drawing.SIDE}x{drawing.SIDE}, {drawing.SCHEDULER}, {steps} steps",
            "torch": importlib.metadata.version("torch"),
            "diffusers": importlib.metadata.version("diffusers"),
        }
        drawing.fill(folder, list(drawing.parts(known_kinds(), pictures)), model, about, steps)


def known_kinds() -> list[NumericKind]:
    """Return the kinds that this processor imitates, native first, then cards; of equal cards one."""
    cards = [kind for kind in gpu_kinds() if kind.name in ("ampere", "hopper", "cdna3")]
    return [*kinds(), *cards]


if __name__ == "__main__":
    sys.exit(main())
