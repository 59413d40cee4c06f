"""``crynux-validate schema``: the JSON Schema of a kind of tasks."""

import argparse

from crynux_validate.cli.common import Commands, say
from crynux_validate.tasks.schema import TASK_KINDS, schema_text


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "schema",
        help="the JSON Schema of image tasks or text tasks",
        description="Print the JSON Schema (draft 2020-12) of a task's JSON. Every task fits it. JSON that fits it "
        "can still be an invalid task, because some fields depend on others: task_from_json and the other commands "
        "check everything.",
    )
    parser.add_argument("kind", choices=sorted(TASK_KINDS), help="which kind of tasks")
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    say(schema_text(arguments.kind), end="")
    return 0
