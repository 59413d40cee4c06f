"""Write the options of every command: ``python -m tools.make_command_docs``.

The tables of ``docs/command-options.md``, from the parsers of the command line. A test says that they are up to date.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from crynux_validate.cli.program import build_parser

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "command-options.md"

ABOUT: Final = """# Options of the commands

`python -m tools.make_command_docs` makes this page from the command line. `crynux-validate COMMAND --help` prints
the same. [Command line](command-line.md) explains the commands, with files and exit codes.
"""


def written() -> str:
    """Return the content of the page."""
    return "\n".join([ABOUT, *(line for parser in _parsers(build_parser()) for line in _section(parser))])


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The program, its commands, and theirs."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                yield from _parsers(part)


def _section(parser: argparse.ArgumentParser) -> Iterator[str]:
    name = parser.prog.partition(" ")[2]
    yield f"## {name or parser.prog}\n"
    yield f"{_plain(parser.description or '')}\n"
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    rows = [row for action in actions for row in _rows(action, parser)]
    if rows:
        yield "| argument | meaning | default |\n|---|---|---|"
        yield from rows
        yield ""


def _rows(action: argparse.Action, parser: argparse.ArgumentParser) -> Iterator[str]:
    """A line for an argument, or one for each command."""
    if isinstance(action, argparse._SubParsersAction):
        for choice in action._choices_actions:
            link = re.sub(r"\W+", "-", f"{parser.prog.partition(' ')[2]} {choice.dest}".strip())
            yield f"| [`{choice.dest}`](#{link}) | {_plain(choice.help or '')} | |"
        return
    if action.help == argparse.SUPPRESS:
        return
    formatter = argparse.HelpFormatter(parser.prog)
    metavar = formatter._format_args(action, formatter._get_default_metavar_for_optional(action)).replace("|", "\\|")
    if action.option_strings:
        shown = ", ".join(f"`{option}{' ' + metavar if metavar else ''}`" for option in action.option_strings)
    else:
        shown = f"`{formatter._format_args(action, formatter._get_default_metavar_for_positional(action))}`"
    meaning = _plain((action.help or "") % {**vars(action), "prog": parser.prog})
    meaning, _, default = meaning.partition("default: ")
    if action.required and action.default is None:
        default = "required"
    yield f"| {shown} | {meaning.rstrip(' ;,(')} | {default.removesuffix(')')} |"


def _plain(text: str) -> str:
    """A help text as one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Write the page."""
    PAGE.write_text(written(), "utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
