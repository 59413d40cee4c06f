"""``crynux-validate env``: what decides which bits this machine computes."""

import argparse
from typing import Any

import crynux_validate
from crynux_validate.cli.common import Commands, add_json_flag, say, say_json


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "env",
        help="what decides which bits this machine computes",
        description="Print the environment of this machine: what decides which kernels run, and every switch of the "
        "guard as it is read back, each with its digest. Machines can be compared where the digests are equal.",
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: cuda, then mps, then cpu")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the environment."""
    environment = crynux_validate.local_environment(arguments.device).to_dict()
    if arguments.json:
        say_json(environment)
        return 0
    for part in ("kernel", "numerics"):
        say(f"{part}  {environment[f'{part}_digest']}")
        for line in _lines(environment[part], "  "):
            say(line)
    return 0


def _lines(value: Any, indent: str) -> list[str]:
    lines = []
    for name, found in value.items():
        if isinstance(found, dict) and found:
            lines += [f"{indent}{name}", *_lines(found, indent + "  ")]
        else:
            text = " ".join(str(found).split())
            lines.append(f"{indent}{name}: {text if len(text) <= 160 else text[:157] + '...'}")
    return lines
