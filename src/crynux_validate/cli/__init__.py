"""The command line: one file a command, each with ``add_parser`` and ``main``.

Output is for people by default, ``--json`` for programs; errors go to standard error. Exit code 0: done, or the two
agree; 1: they do not agree; 2: bad input, or this machine could not do it.
"""

import argparse
import sys
from collections.abc import Sequence

import crynux_validate
from crynux_validate.cli import compare, demo, env, evidence, judge, ledger, run, stake, vectors
from crynux_validate.cli import hash as hash_command
from crynux_validate.errors import CrynuxValidateError

EXIT_DONE = 0
EXIT_DISAGREES = 1
EXIT_BAD_INPUT = 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="crynux-validate",
        description="Decide who computed honestly when strangers' machines run the same AI task.",
        epilog="exit code: 0 done, or agrees; 1 does not agree; 2 bad input",
    )
    parser.add_argument("--version", action="version", version=f"crynux-validate {crynux_validate.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (demo, run, hash_command, compare, judge, stake, ledger, evidence, vectors, env):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.main(arguments)
        sys.stdout.flush()
    except CrynuxValidateError as error:
        print(f"crynux-validate: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("crynux-validate: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader is gone; keep Python from complaining about it at exit
        return 141
    return code
