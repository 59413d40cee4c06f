"""Error messages of the library name parameters of Python. On the command line they name options instead."""

import argparse
import re
from collections.abc import Iterator
from typing import Final

_PHRASES: Final = {
    "pass the other as None": "leave the other out",
    ', or hash image.convert("RGB") if all pixels are opaque': "",
    ": to hash the pixels that Pillow decodes, pass image.convert('RGB')": ": save it as PNG",
    ": delete image.info['transparency'], or pass image.convert('RGBA')": ": save it again without that colour",
}
"""Other parts of messages that are replaced on the command line."""


def in_options(message: str, arguments: argparse.Namespace | None) -> str:
    """Return an error message with the options of a command in place of the parameters.

    ``slash_threshold is 65`` becomes ``--slash-threshold is 65``, ``background='white'`` becomes ``--background
    white``, and ``allow_unpinned=True`` becomes ``--allow-unpinned``. A name that is also a word is replaced only at
    the beginning of a message. Names that are not options are fields of a task: ``safety_checker=False`` becomes
    ``"safety_checker": false``.
    """
    if arguments is not None:
        for name, option in arguments.options.items():
            message = re.sub(rf"(?<![\w-]){name}=True\b", option, message)
            message = re.sub(rf"(?<![\w-]){name}=[\x22\x27]?([\w.#-]+)[\x22\x27]?", rf"{option} \1", message)
            begins = "" if "_" in name else r"(?:\A|(?<= and )(?=\w+ (?:is|are) ))"
            # ``out is not there`` is about a file with this name, ``model: is missing`` about a field of a task.
            message = re.sub(rf"{begins}(?<![\w.-]){name}(?![\w.=(:-]|: | is not there)", option, message)
    for found, said in _PHRASES.items():
        message = message.replace(found, said)
    return re.sub(r"\b([a-z_]+)=(True|False)\b", lambda field: f'"{field[1]}": {field[2].lower()}', message)


def options(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[str, str]:
    """Return the options of the command that was given, by the names of their parameters."""
    return dict(_options(parser, vars(arguments)))


def _options(parser: argparse.ArgumentParser, known: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the parameter and the long spelling of every option of the command that was given."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                if part.get_default("main") in {None, known.get("main")}:
                    yield from _options(part, known)
        for option in action.option_strings:
            if option.startswith("--") and action.dest in known:
                yield action.dest, option
