"""``crynux-validate calibrate-audits``: bands of audits for one's own machines and models."""

import argparse
from pathlib import Path

from crynux_validate.cli.common import Commands, add_json_flag, note, say, say_json
from crynux_validate.errors import InvalidInputError


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "calibrate-audits",
        help="bands of audits for your machines, from audits of honest nodes",
        description="Make what `audit --bands` reads, and say how often honest nodes would be accused by it. Paths are "
        "files that `audit --json --kinds NODE OWN` printed (of texts with --whole), files .jsonl with one a line, or "
        "folders with such files. Each node must have been honest.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="audits of honest nodes")
    parser.add_argument(
        "--cheats", nargs="+", default=[], metavar="PATH", help="audits of images with a false prediction in every step"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="write the bands there, as JSON")
    parser.add_argument("--made-from", default="", metavar="TEXT", help="a description for the file")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Make the bands, write them, and print their error rates."""
    from crynux_validate.calibration import calibrate_audits, read_audits  # numpy: only here

    out = Path(arguments.out)
    if not out.parent.is_dir() or out.is_dir():
        raise InvalidInputError(f"--out {out} is no place for a file; name a file in a folder that is there")
    if out.resolve() in {Path(path).resolve() for path in (*arguments.paths, *arguments.cheats)}:
        raise InvalidInputError(f"--out {out} is read as well; name another file")
    audits = read_audits(*arguments.paths)
    note(f"read {len(audits):,} audits")
    cheats = read_audits(*arguments.cheats)
    found = calibrate_audits(audits, cheats=cheats, made_from=arguments.made_from)
    found.save(out)
    note(f"wrote {out}")
    if arguments.json:
        say_json(found.to_dict())
    else:
        say(str(found))
    return 0
