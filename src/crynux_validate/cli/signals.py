"""Signals and standard streams of the process that is one command."""

import os
import signal
import sys

TYPE_CHECKING = False  # that of typing is not imported: every millisecond before the first handler counts
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""What people and systems end a command with; Windows knows no SIGHUP."""


class Ended(KeyboardInterrupt):
    """A signal that ends the command: what cleans up after Ctrl-C cleans up after SIGTERM."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def exit_code(interrupt: BaseException) -> int:
    """Return what a shell says of a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT)


def describe(interrupt: BaseException) -> str:
    """Say what ended the command."""
    number = interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


def run_process(command: "Callable[[], int]") -> int:
    """Run a function as all that this process does; returns its exit code.

    While the command is imported nothing is there to be tidied up, so a signal ends the process at once. `raise_them`
    changes that. Once the command is done, a signal changes nothing any more.
    """
    _fill_closed_streams()
    _handle(_leave_at_once)
    sys.unraisablehook = _unraisable
    try:
        code = command()
    except SystemExit as ended:  # argparse's
        code = int(ended.code or 0)
    _handle(signal.SIG_IGN)
    _drop_broken_streams()
    return code


def raise_them() -> None:
    """From now on raise `Ended` for a signal: there is something to be tidied up."""
    _handle(_raise)


def _handle(handler: "Callable[[int, FrameType | None], Any] | int") -> None:
    """Let a function handle all signals, except those that whoever started this process wants ignored (nohup)."""
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _raise(number: int, _: "FrameType | None") -> None:
    """Let what is there be tidied up; whoever sends a second signal does not want to wait for it."""
    _handle(_leave_at_once)
    raise Ended(number)


def _leave_at_once(number: int, _: "FrameType | None") -> None:
    _leave(Ended(number))


def _leave(interrupt: BaseException) -> None:
    """End the process here and now; what was printed before still goes out."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is sys.stderr and stream is not None:
                wipe = "\r\x1b[K" if stream.isatty() else ""  # a line of progress may stand there
                stream.write(f"{wipe}crynux-validate: {describe(interrupt)}\n")
            if stream is not None:
                stream.flush()
        except (OSError, ValueError, RuntimeError):  # RuntimeError: the signal came within a write to that stream
            continue
    os._exit(exit_code(interrupt))


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """A signal in a place where Python can only print it, such as the callback of a weak reference: leave there."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _leave(unraisable.exc_value)
    sys.__unraisablehook__(unraisable)


def _fill_closed_streams() -> None:
    """Where a standard stream is closed, put the null device there: or the next file that is opened takes its place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends


def _drop_broken_streams() -> None:
    """Point a stream that cannot be written to nowhere: or Python tries again at exit, and makes it exit code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            try:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
            except (OSError, ValueError):
                continue
