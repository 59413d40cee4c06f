"""``crynux-validate calibrate``: what a threshold is worth on one's own machines and models."""

import argparse
import os
from pathlib import Path
from typing import Any

from crynux_validate.calibration.recommendation import NotEnough
from crynux_validate.cli.common import Commands, add_json_flag, note, number_of, say, say_json
from crynux_validate.cli.progress import Progress
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.plots import plot_path


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "calibrate",
        help="what each threshold lets through, from answers of your machines",
        description="Measure how often honest machines are rejected and slashed, and how often each cheat passes, at "
        "every threshold, from answers that you collected; recommend two thresholds. Paths are tables (.csv, .jsonl, "
        ".parquet) or folders with results of crynux-validate run: the folder above a result says what it is, honest, "
        "unrelated or cheat-NAME. Exit code 0: thresholds are recommended; 1: there are not enough data; 2: bad input.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a table, or a folder with results")
    parser.add_argument("--group-size", type=int, default=3, metavar="N", help="3, 5, 7 or 9; default: %(default)s")
    parser.add_argument(
        "--false-reject-rate",
        default="0.01",
        metavar="R",
        help="the largest share of honest groups that may have a member that is not paid; default: %(default)s",
    )
    parser.add_argument(
        "--false-slash-rate",
        default="0.001",
        metavar="R",
        help="the largest share of honest groups that may have a member that is slashed; default: %(default)s",
    )
    parser.add_argument(
        "--confidence",
        default="0.95",
        metavar="C",
        help="confidence of all intervals and of the recommendation; default: %(default)s",
    )
    parser.add_argument(
        "--no-safety-checker",
        dest="safety_checker",
        action="store_false",
        help="the tasks have no safety checker, so a blank picture can be slashed",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of everything that is drawn; default: %(default)s"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the calibration as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it: .png, .svg or .pdf")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="keep what was compared in this file, and go on from it later: for millions of unrelated pictures",
    )
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Calibrate, print, and write what is asked for."""
    from crynux_validate.calibration import calibrate, draw_plot, read_samples  # numpy: only here

    _check_outputs(arguments)
    rates: dict[str, Any] = {
        name: number_of(getattr(arguments, name), f"--{name.replace('_', '-')}")
        for name in ("false_reject_rate", "false_slash_rate", "confidence")
    }
    samples = read_samples(*arguments.paths)
    note(f"read {len(samples):,} answers")
    try:
        with Progress("comparing", 0, "pairs of pictures") as progress:
            found = calibrate(
                samples,
                group_size=arguments.group_size,
                safety_checker=arguments.safety_checker,
                seed=arguments.seed,
                state=arguments.state,
                on_progress=progress.of,
                **rates,
            )
    except KeyboardInterrupt:
        if arguments.state is not None and arguments.state.exists():
            note(f"{arguments.state} holds what was compared; the same command goes on from there")
        raise
    if arguments.out:
        found.save(arguments.out)
        note(f"wrote {arguments.out}")
    if arguments.plot:
        note(f"wrote {draw_plot(found, arguments.plot)}")
    if arguments.json:
        say_json(found.to_dict())
    else:
        say(str(found))
    return 1 if isinstance(found.recommendation, NotEnough) else 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse before the work what could not be written after it, or would be written over."""
    if arguments.plot:
        plot_path(arguments.plot)
    used = {os.path.realpath(path): "is read" for path in arguments.paths}
    for name in ("out", "plot", "state"):
        path = getattr(arguments, name)
        if path is None:
            continue
        said = f"--{name} is {shorten(str(path))}"
        if not path.parent.is_dir():
            raise InvalidInputError(f"{said}; there is no folder {path.parent}")
        if path.is_dir():
            raise InvalidInputError(f"{said}, which is a folder; name a file")
        if (other := used.setdefault(os.path.realpath(path), f"is --{name}")) != f"is --{name}":
            raise InvalidInputError(f"{said}, which {other} as well; name another file")
