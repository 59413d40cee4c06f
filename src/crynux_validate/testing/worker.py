"""The child program of a fake-hardware worker: runs the functions that its parent names, until the parent is gone.

Parent and child talk through two pipes that nothing else uses, so that what a function prints cannot be mistaken for
an answer. A message is a frame: its length as u64 big-endian, then the bytes. A request is two frames: the parent's
``sys.path`` as JSON, then the pickled call; they are apart because the call can only be unpickled once the modules that
it names can be found. Replies are one frame each, and start with one of the letters below.
"""

import contextlib
import faulthandler
import json
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from crynux_validate.errors import FakeHardwareError, needed_for
from crynux_validate.interrupts import ignore_interrupts

MESSAGE: Final = b"m"
"""A reply on the way: what the function gave to `send`."""
RESULT: Final = b"r"
"""The last reply: what the function returned."""
FAILURE: Final = b"e"
"""The last reply: the exception (pickled, or None where that is impossible), its one-line form, its traceback."""

_LENGTH_BYTES: Final = 8
_sending = threading.Lock()
_replies: int | None = None


def write_frame(descriptor: int, *parts: bytes) -> None:
    """Write one frame, the parts put together."""
    length = sum(len(part) for part in parts)
    for part in (length.to_bytes(_LENGTH_BYTES, "big"), *parts):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def read_frame(descriptor: int, wait: Callable[[], None] | None = None) -> bytes:
    """Read one frame.

    Parameters
    ----------
    descriptor
        The reading end of a pipe.
    wait
        Called before each read: returns when there is something to read, raises when nothing will come.

    Raises
    ------
    EOFError
        When the other side closed the pipe.
    """

    def read(size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            if wait is not None:
                wait()
            part = os.read(descriptor, min(size - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    return read(int.from_bytes(read(_LENGTH_BYTES), "big"))


def send(message: Any) -> None:
    """Give a message to the ``on_message`` of the caller, from inside a function that a `Worker` runs.

    Raises
    ------
    FakeHardwareError
        When called anywhere else.
    """
    if _replies is None:
        raise FakeHardwareError("send() works only inside a function that a fake-hardware Worker runs")
    _reply(MESSAGE, pickle.dumps(message))


def _reply(letter: bytes, body: bytes) -> None:
    if _replies is None:
        raise FakeHardwareError("this process is no fake-hardware worker")
    with _sending:
        write_frame(_replies, letter, body)


def _describe(error: BaseException) -> bytes:
    """Pickle an exception, if it can be, together with what it looks like here."""
    line = "".join(traceback.format_exception_only(error)).strip()
    text = "".join(traceback.format_exception(error))
    pickled: bytes | None = None
    # Whatever a stranger's __reduce__ raises: the text is still reported.
    with contextlib.suppress(Exception):
        pickled = pickle.dumps(error)
    return pickle.dumps((pickled, line, text))


def _arithmetic(architecture: str | None, splits: int) -> AbstractContextManager[object]:
    """What every call runs in."""
    if architecture is None:
        return contextlib.nullcontext()
    with needed_for(f"a worker that computes as {architecture} does", "text"):
        from crynux_validate.testing.gpu.mode import tensor_cores
    return tensor_cores(architecture, splits=splits)


def _answer(call: bytes, architecture: str | None, splits: int) -> None:
    """Run one call and reply with what came of it."""
    try:
        function, args, kwargs = pickle.loads(call)  # noqa: S301 - the parent's bytes, through a private pipe
        with _arithmetic(architecture, splits):
            result = function(*args, **kwargs)
        try:
            body = pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise FakeHardwareError(f"the result, a {type(result).__name__}, cannot be pickled: {error}") from error
    except Exception as error:  # noqa: BLE001 - it is raised again in the caller
        _reply(FAILURE, _describe(error))
    else:
        _reply(RESULT, body)


def serve(requests: int, replies: int, architecture: str | None = None, splits: int = 1) -> None:
    """Answer requests until the parent closes its end.

    Parameters
    ----------
    requests, replies
        File descriptors to read from and to write to.
    architecture, splits
        Whose tensor cores every call emulates (`NumericKind`).
    """
    global _replies
    for descriptor in (requests, replies):
        os.set_inheritable(descriptor, False)
    # Ctrl-C reaches the whole process group; it is the parent that decides when its workers end.
    ignore_interrupts()
    faulthandler.enable()
    _replies = replies
    try:
        while True:
            path = json.loads(read_frame(requests))
            if path != sys.path:
                sys.path[:] = path
            _answer(read_frame(requests), architecture, splits)
    except (EOFError, BrokenPipeError):
        return
