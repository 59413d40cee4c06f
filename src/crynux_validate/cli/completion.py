"""``crynux-validate completion``: the script that lets a shell complete commands, options and names of files."""

import argparse
from pathlib import Path
from typing import Final

from crynux_validate.cli.common import Commands, say
from crynux_validate.errors import needed_for

SHELLS: Final = ("bash", "zsh", "tcsh")
_FOLDER: Final = "DIR"
_FILES: Final = ("FILE", "TASK.json", "PATH", "LEDGER", "ANSWER.bin", "PROOF")
"""How arguments that are files are called in the help, where their type does not say so."""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help="a script that lets a shell complete this command line",
        description="Print a script that lets a shell complete commands, options and names of files. Bash: "
        'eval "$(crynux-validate completion bash)" in ~/.bashrc. zsh: crynux-validate completion zsh > a file '
        "_crynux-validate in a folder of $fpath. It needs the extra 'completion'; the script needs nothing.",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the script."""
    with needed_for("crynux-validate completion", "completion"):
        import shtab
    from crynux_validate.cli.program import build_parser

    parser = build_parser()
    for action in _actions(parser):
        name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        if name == _FOLDER:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # where shtab looks
        elif action.type is Path or name in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    say(shtab.complete(parser, arguments.shell), end="")
    return 0


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments of the program, of its commands, and of theirs."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in dict.fromkeys(action.choices.values()):
                found += _actions(part)
        else:
            found.append(action)
    return found
