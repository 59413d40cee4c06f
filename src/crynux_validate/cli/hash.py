"""``crynux-validate hash``: the perceptual hashes of pictures."""

import argparse
import sys

from crynux_validate.algorithms import IMAGE_ALGORITHMS
from crynux_validate.cli.common import Commands, add_json_flag, say, say_json
from crynux_validate.errors import InvalidImageError
from crynux_validate.hashing import image_hashes


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "hash",
        help="perceptual hashes of pictures",
        description="Print the 64-bit perceptual hash of each picture: 16 hexadecimal digits, first bit highest; its "
        "margin, the smallest gap between a coefficient and the median; and whether it is degenerate, too plain a "
        "picture to tell from others.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a picture")
    parser.add_argument("--algorithm", choices=IMAGE_ALGORITHMS, default="phash/1", help="default: %(default)s")
    parser.add_argument("--background", metavar="COLOUR", help="flatten pictures with alpha onto this colour")
    parser.add_argument("--threads", type=int, metavar="N", help="pictures hashed at a time, default: the processors")
    parser.add_argument("--processes", type=int, metavar="N", help="in place of threads, for hundreds of files")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the hashes; a picture that cannot be hashed is told on standard error, and the others are still hashed."""
    rows = []
    failed = False
    results = image_hashes(
        arguments.files,
        arguments.algorithm,
        background=arguments.background,
        threads=arguments.threads,
        processes=arguments.processes,
        return_errors=True,
    )
    for file, found in zip(arguments.files, results, strict=True):
        if isinstance(found, InvalidImageError):
            print(f"crynux-validate: {found}", file=sys.stderr)
            failed = True
            continue
        rows.append(
            {
                "file": file,
                "algorithm": found.algorithm,
                "hash": found.hex,
                "margin": found.margin,
                "degenerate": found.degenerate,
            }
        )
    if arguments.json:
        say_json(rows)
    else:
        for row in rows:
            plain = "  degenerate: too plain to tell from others" if row["degenerate"] else ""
            say(f"{row['hash']}  {row['file']}  margin {row['margin']:.3g}{plain}")
    return 2 if failed else 0
