"""One command, from its arguments to its exit code: whatever goes wrong is one line, and no verdict."""

import argparse
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from crynux_validate.cli import signals
from crynux_validate.cli.output import complain, say
from crynux_validate.cli.versions import ShowVersions
from crynux_validate.cli.words import in_options, options
from crynux_validate.errors import CrynuxValidateError

EXIT_DONE: Final = 0
EXIT_DISAGREES: Final = 1
EXIT_BAD_INPUT: Final = 2

TRACEBACK: Final = "CRYNUX_VALIDATE_TRACEBACK"
"""The environment variable that asks for the traceback of an error."""


class Parser(argparse.ArgumentParser):
    """A parser whose help and errors can be printed anywhere, an error in one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and where to read what is right."""
        complain(f"{message}; see '{self.prog} --help'")
        sys.exit(EXIT_BAD_INPUT)

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stderr and file is not None:
            complain(message)
        elif message:
            say(message, end="")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    # Imported here: what these import can be missing or broken, and then is told like any other error.
    from crynux_validate.cli import (
        audit,
        calibrate,
        calibrate_audits,
        compare,
        completion,
        demo,
        doctor,
        env,
        evidence,
        judge,
        keyed,
        ledger,
        report,
        run,
        schema,
        stake,
        vectors,
    )
    from crynux_validate.cli import hash as hash_command

    parser = Parser(
        prog="crynux-validate",
        description="Decide who computed honestly when strangers' machines run the same AI task.",
        epilog="exit code: 0 done, or agrees; 1 does not agree; 2 bad input, or this machine could not do it; 130 "
        f"after Ctrl-C. {TRACEBACK}=1 in the environment shows where an error comes from.",
    )
    parser.add_argument("--version", action=ShowVersions, help="show this version and what it depends on, and exit")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the library's log on standard error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parts = (
        *(demo, run, audit, hash_command, compare, keyed, judge, calibrate, calibrate_audits, stake),
        *(ledger, evidence, report, vectors, schema, env, doctor, completion),
    )
    for command in parts:
        command.add_parser(commands)
    return parser


def run_command(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code, and raises nothing but what argparse ends with."""
    arguments: argparse.Namespace | None = None
    try:
        parser = build_parser()
        arguments = parser.parse_args(argv)
        arguments.options = options(parser, arguments)
        with _shown_log(verbose=arguments.verbose):
            code: int = arguments.main(arguments)
        say("", end="")  # what else was printed goes out now, or is an error
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)
    except Exception as error:  # noqa: BLE001 - every failure is told, and none looks like a verdict
        if (cause := _interrupt_behind(error)) is not None:
            return _interrupted(cause)
        _show_traceback(error)
        complain(_told(error, arguments))
        return EXIT_BAD_INPUT
    return code


def _interrupted(interrupt: BaseException) -> int:
    complain(signals.describe(interrupt))
    return signals.exit_code(interrupt)


def _interrupt_behind(error: BaseException) -> BaseException | None:
    """Return the interrupt that other code turned into an error of its own, as some do while they are imported."""
    seen: BaseException | None = error
    for _ in range(50):
        if seen is None or isinstance(seen, KeyboardInterrupt):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _show_traceback(error: Exception) -> None:
    if os.environ.get(TRACEBACK, "0") not in {"", "0"} and sys.stderr is not None:
        traceback.print_exception(error)


def _told(error: Exception, arguments: argparse.Namespace | None) -> str:
    """Return what a person is told of an error."""
    if isinstance(error, CrynuxValidateError):
        return in_options(str(error), arguments)
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, MemoryError):
        return f"this machine has too little free memory ({what}){_where(error)}"
    if isinstance(error, ImportError):
        return f"a package that this needs is missing or broken: {what}{_where(error)}; install it again"
    if isinstance(error, OSError):
        names = ", ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return f"{names or 'the system refused'}: {error.strerror or what}" + ("" if names else _where(error))
    return f"this is a bug, please report it: {what}{_where(error)}; {TRACEBACK}=1 shows how it came to be"


def _where(error: Exception) -> str:
    """Say where an error was raised: the file and line, from the package's folder on."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" (in {_short(Path(frames[-1].filename).parts)}, line {frames[-1].lineno})"


def _short(parts: Sequence[str]) -> str:
    """The end of a path, after the last folder that packages are installed in."""
    anchors = [at for at, part in enumerate(parts) if part in {"site-packages", "src"} or part.startswith("python3")]
    return "/".join(parts[anchors[-1] + 1 :] if anchors else parts[-2:])


@contextmanager
def _shown_log(*, verbose: bool) -> Iterator[None]:
    """Show what the library logs, on standard error."""
    if not verbose or sys.stderr is None:
        yield
        return
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("crynux_validate")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
