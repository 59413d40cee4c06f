"""The library's errors speak of Python's parameters; on the command line they speak of its options."""

import argparse
import re
from collections.abc import Iterator
from typing import Final

_PHRASES: Final = {
    "pass the other as None": "leave the other out",
    ', or hash image.convert("RGB") if all of it is opaque': "",
    ": to hash the pixels as Pillow decodes them, pass image.convert('RGB')": ": save it as PNG",
    ": delete image.info['transparency'], or pass image.convert('RGBA')": ": save it again without that colour",
}
"""What else is said otherwise here."""


def in_options(message: str, arguments: argparse.Namespace | None) -> str:
    """Return an error's message with a command's options in place of the parameters that they become.

    ``slash_threshold is 65`` is told as ``--slash-threshold is 65``, ``background='white'`` as ``--background white``,
    ``allow_unpinned=True`` as ``--allow-unpinned``. A name that is a word as well is only read as an option where a
    message begins with it, as those of the library do. What is no option is a field of a task:
    ``safety_checker=False`` is told as ``"safety_checker": false``.
    """
    if arguments is not None:
        for name, option in arguments.options.items():
            message = re.sub(rf"(?<![\w-]){name}=True\b", option, message)
            message = re.sub(rf"(?<![\w-]){name}=[\x22\x27]?([\w.#-]+)[\x22\x27]?", rf"{option} \1", message)
            begins = "" if "_" in name else r"(?:\A|(?<= and )(?=\w+ (?:is|are) ))"
            # ``out is not there`` is about a file that is called so, ``model: is missing`` about a field of a task.
            message = re.sub(rf"{begins}(?<![\w.-]){name}(?![\w.=(:-]|: | is not there)", option, message)
    for found, said in _PHRASES.items():
        message = message.replace(found, said)
    return re.sub(r"\b([a-z_]+)=(True|False)\b", lambda field: f'"{field[1]}": {field[2].lower()}', message)


def options(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[str, str]:
    """Return the options of the command that was given, by the parameters that they become."""
    return dict(_options(parser, vars(arguments)))


def _options(parser: argparse.ArgumentParser, known: dict[str, object]) -> Iterator[tuple[str, str]]:
    """The parameters of the command that was given, and of every option the one spelling with two dashes."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                if part.get_default("main") in {None, known.get("main")}:
                    yield from _options(part, known)
        for option in action.option_strings:
            if option.startswith("--") and action.dest in known:
                yield action.dest, option
