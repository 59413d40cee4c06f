"""Measure how far honest machines and cheats are off, make the bands from it, and say how often these are wrong.

    python -m benchmarks.image_audits measure honest.jsonl --dtype bfloat16 --nodes ampere hopper --auditors native
    python -m benchmarks.image_audits measure cheats.jsonl --dtype bfloat16 --cheats guidance-7 int8-weights
    python -m benchmarks.image_audits bands *.jsonl
    python -m benchmarks.image_audits rates *.jsonl

What a record holds is not measured again: a command that was stopped goes on.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.image_audits.measuring import Plan, measure
from benchmarks.image_audits.rates import cheats, honest
from benchmarks.image_audits.rows import Record, Rows, record_of
from crynux_validate.audits import bands as shipped
from crynux_validate.audits.bands import AuditBands, shipped_bands
from crynux_validate.calibration.audits.calibrating import bands_of
from crynux_validate.testing import tiny_image_model

CHEATS: Final = (
    "guidance-7", "guidance-5", "other-seed", "other-prompt", "int8-weights", "int4-weights", "bfloat16",
    "reused-predictions", "half-the-steps",
)  # fmt: skip
"""Of `attacks`; those that make no picture of their own have no trace."""


BANDS: Final = Path(shipped.__file__).parent / "bands.json"
EVERY_STEP: Final = ("guidance-7", "guidance-5", "int8-weights", "int4-weights", "other-prompt", "bfloat16")
"""Cheats with a false prediction in every step."""


def bands(rows: Rows) -> AuditBands:
    """The bands of what was measured."""
    honest = [record_of(row) for row in rows if row["cheat"] is None]
    false = [record_of(row) for row in rows if row["cheat"] in EVERY_STEP]
    return bands_of(honest, [], cheats=false, made_from="")


def main() -> None:
    """Measure, or make bands, or print rates."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.image_audits",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("measure", "bands", "rates"))
    parser.add_argument("records", type=Path, nargs="+", help="measure appends to the first")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the number of the first picture")
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--nodes", nargs="+", default=["native"])
    parser.add_argument("--auditors", nargs="+", default=["native"])
    parser.add_argument("--schedulers", nargs="+", default=["DDIMScheduler"])
    parser.add_argument("--cheats", nargs="*", help="these in place of honest pictures; without a name all")
    parser.add_argument("--against", action="store_true", help="compare with weights of 8 bits as well")
    parser.add_argument("--minutes", type=float, default=1e6)
    options = parser.parse_args()
    record = Record(options.records)
    if options.what == "bands":
        replace(shipped_bands(), images=bands(record.rows).images).save(BANDS)
    elif options.what == "rates":
        found = bands(record.rows)
        print(honest(found))
        print(cheats(record.rows, found))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asked = [None] if options.cheats is None else list(options.cheats or CHEATS)
            plan = Plan(
                model=tiny_image_model(Path(folder) / "model"),
                dtype=options.dtype,
                side=options.side,
                steps=options.steps,
                pictures=range(options.first, options.first + options.pictures),
                nodes=options.nodes,
                auditors=options.auditors,
                schedulers=options.schedulers,
                cheats=[cheat for cheat in asked if cheat != options.dtype],
                against=options.against,
            )
            measure(plan, record, options.minutes)


if __name__ == "__main__":
    main()
