"""Measure, print the tables in Markdown, and draw the picture."""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.divergence.measure import SAMPLING, WAYS, Work, measure
from benchmarks.divergence.openings import openings
from benchmarks.divergence.records import Measurements
from benchmarks.divergence.tables import tables
from crynux_validate import ModelRef
from crynux_validate.testing import tiny_text_model

DTYPES = tuple(dict.fromkeys(way.split(", ")[0] for way in WAYS))


def main() -> int:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.divergence", description=__doc__)
    parser.add_argument("--prompts", type=int, default=100, help="how many openings are continued")
    parser.add_argument("--tokens", type=int, default=200, help="by how many new tokens each")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES, help="default: all")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="without it the model of tiny_text_model")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw a picture: .png, .svg or .pdf")
    parser.add_argument("--save", type=Path, metavar="FILE", help="also write all that was seen, as JSON")
    parser.add_argument("--load", type=Path, metavar="FILE", help="measure nothing: read what --save wrote")
    arguments = parser.parse_args()
    if arguments.tokens < 1:
        parser.error(f"--tokens is {arguments.tokens}; expected 1 or more")
    for file in (arguments.plot, arguments.save):
        if file is not None and not file.parent.is_dir():
            parser.error(f"{file} cannot be written: there is no folder {file.parent}")
    if arguments.plot is not None:
        from benchmarks.divergence import plot  # matplotlib: only here, and before the long runs

        if arguments.plot.suffix.lower() not in plot.FORMATS:
            parser.error(f"--plot is {arguments.plot}; expected a file name that ends in {', '.join(plot.FORMATS)}")
    try:
        prompts = openings(arguments.prompts)
    except ValueError as error:
        parser.error(f"--prompts: {error}")
    if arguments.load is not None:
        seen = Measurements.from_json(arguments.load.read_text(encoding="utf-8"))
    else:
        seen = _measure(prompts, arguments.tokens, arguments.dtypes, arguments.model)
    if arguments.save is not None:
        arguments.save.write_text(seen.to_json(), encoding="utf-8")
    if arguments.plot is not None:
        plot.draw(arguments.plot, seen)
    count = len(next(iter(seen.native.values())))
    print(f"{count} prompts, {seen.tokens} new tokens each; sampled: {SAMPLING}\n\n{tables(seen)}")
    return 0


def _measure(prompts: list[str], tokens: int, dtypes: Sequence[str], model: Path | None) -> Measurements:
    began = time.monotonic()
    ways = tuple(way for way in WAYS if way.split(", ")[0] in dtypes)
    with tempfile.TemporaryDirectory(prefix="divergence-") as scratch:
        found = tiny_text_model(Path(scratch) / "model") if model is None else ModelRef.local(model)
        seen = measure(found, Work(prompts, tokens, scratch, ways))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{time.monotonic() - began:.0f} s; {used.ru_utime + used.ru_stime:.0f} s of the workers' processor time",
        file=sys.stderr,
    )
    return seen


if __name__ == "__main__":
    sys.exit(main())
