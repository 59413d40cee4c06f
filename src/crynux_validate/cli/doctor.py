"""``crynux-validate doctor``: is this machine fit to be a node?"""

import argparse
import json
from pathlib import Path

from crynux_validate.cli.common import Commands, add_device_flag, add_json_flag, note, say, say_json
from crynux_validate.cli.program import EXIT_DISAGREES, EXIT_DONE
from crynux_validate.cli.progress import Progress
from crynux_validate.doctor.checks import CHECKS, Check
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import write_or_refuse


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="whether this machine is fit to be a node, and what to do if not",
        description="Try on this machine what an honest node depends on: the guard, hashes and digests, the same "
        "picture and text again after other tasks and in another process, the canary, and the answers of another "
        "machine. Takes about a minute on a CPU; downloads nothing. On a CUDA or ROCm card, sums are compared with "
        "the card's emulated arithmetic as well, and the guard is timed: send us the file that --out writes. Exit "
        "code 0: fit, 1: something failed, 2: bad input.",
    )
    add_device_flag(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all that was seen as JSON")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Examine this machine; 1 where something failed."""
    from crynux_validate.doctor import examine

    if arguments.out is not None and arguments.out.is_dir():
        raise InvalidInputError(f"--out {arguments.out} is a folder; name a file")
    note("a minute on a CPU ...")
    made = 0

    def told(check: Check) -> None:
        nonlocal made
        made += 1
        if not arguments.json:
            say(str(check))
        progress.show(made)

    with Progress("examining", CHECKS, "checks") as progress:
        progress.show(0)
        report = examine(arguments.device, told)
    if arguments.out is not None:
        text = json.dumps(report.to_dict(), indent=2) + "\n"
        write_or_refuse(arguments.out, text.encode("utf-8"))
    if arguments.json:
        say_json(report.to_dict())
    else:
        say("this machine is fit" if report.fit else "this machine is NOT fit: see FAILED")
    return EXIT_DONE if report.fit else EXIT_DISAGREES
