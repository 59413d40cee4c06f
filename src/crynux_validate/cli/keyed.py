"""``crynux-validate keyed``: a node's second answer, from the pictures of its result (protocol C5)."""

import argparse

from crynux_validate.cli.common import Commands, add_json_flag, say, say_json
from crynux_validate.encoding import parse_hex
from crynux_validate.keyed import KeyedScore


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "keyed",
        help="the second answer of a node, from its pictures",
        description="Print the keyed values (keyed/1) of the pictures of a result under the seed of a second round: "
        "the answer bytes to commit to, as hexadecimal digits. Give the same files that the first answer was made "
        "from, in the same order: values of other pixels can be disproved.",
    )
    parser.add_argument("seed", metavar="SEED", help="64 hexadecimal digits: the group's second seed")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a picture of the result, best as PNG")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the answer."""
    seed = parse_hex(arguments.seed, "the seed", 32)
    score = KeyedScore.from_images(seed, arguments.files)
    if arguments.json:
        say_json({"algorithm": score.algorithm, "score": score.hex, "answer": score.to_bytes().hex()})
    else:
        say(score.to_bytes().hex())
    return 0
