"""``crynux-validate judge``: the verdict on a group's answers."""

import argparse
from typing import Final

from crynux_validate.cli.common import Commands, add_json_flag, read_file, say, say_json
from crynux_validate.encoding import parse_json
from crynux_validate.judging import judge
from crynux_validate.judging.reading import read_group

MAX_BYTES: Final = 1_000_000


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "judge",
        help="the verdict on a group's answers",
        description="Judge the answers of one group, as JSON: "
        '{"algorithm":"phash/1","rule":"centre","threshold":16,"slash_threshold":24,"safety_checker":false,'
        '"members":{"node-1":'
        '{"answer":"score","score":"<hex>"},"node-2":{"answer":"invalid_task","code":"schema"},'
        '"node-3":{"answer":"absent"}}}; an answer is also failed, withheld or malformed. '
        'The rule "crynux-relay" is the live network\'s: it takes the execution time of each member, "seconds":1.5. '
        "Exit code 0 for any verdict: read the outcome.",
    )
    parser.add_argument("file", metavar="FILE", help="a JSON file, or - for standard input")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the verdict."""
    value = parse_json(read_file(arguments.file, "the group", MAX_BYTES), "the group", MAX_BYTES)
    verdict = judge(*read_group(value))
    if arguments.json:
        say_json(verdict.to_dict())
    else:
        say(str(verdict))
    return 0
