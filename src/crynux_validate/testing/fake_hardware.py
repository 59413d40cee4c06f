"""Fake hardware: honest numeric divergence on one machine, without a GPU.

The numeric libraries under torch choose their kernels by what the processor can do, and can be told to do with less.
A process that was started so computes the same task with really different kernels, and gets slightly different bits:
for everything built on comparing answers it is a machine of another kind. The settings are read when the libraries are
loaded, so each kind is a process of its own; a `Worker` keeps one alive, because loading torch takes seconds::

    with Worker(kinds()[1]) as worker:
        other = worker.run(compute, task)

`gpu_kinds` are workers whose products have the arithmetic of a card's tensor cores, on any processor.
"""

import contextlib
import json
import os
import pickle
import platform
import queue
import select
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from crynux_validate.errors import FakeHardwareError, InvalidInputError
from crynux_validate.interrupts import interrupts_held_back
from crynux_validate.testing import worker as _child
from crynux_validate.testing.kinds import NUMERIC_VARIABLES, NumericKind, gpu_kinds, kinds
from crynux_validate.testing.worker import send

__all__ = ["NumericKind", "Worker", "Workers", "gpu_kinds", "kinds", "send"]

T = TypeVar("T")

_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_BOOTSTRAP: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from crynux_validate.testing import worker; "
    "worker.serve(int(sys.argv[2]), int(sys.argv[3]), *json.loads(sys.argv[4]))"
)
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class _Job:
    path: bytes
    call: bytes
    name: str
    on_message: Callable[[Any], None] | None
    future: "Future[Any]"


class _Channel:
    """The process and its pipes; one thread at a time talks to it. (It is apart from `Worker` to let that be freed.)"""

    def __init__(self, kind: NumericKind) -> None:
        self.kind = kind
        self.closed = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._owner = os.getpid()
        kept = {key: value for key, value in os.environ.items() if key not in NUMERIC_VARIABLES}
        card = json.dumps([kind.architecture, kind.splits])
        child_reads, self._requests = os.pipe()
        self._replies, child_writes = os.pipe()
        try:
            with interrupts_held_back():
                self.process = subprocess.Popen(  # noqa: S603 - this interpreter and a constant program
                    [sys.executable, "-c", _BOOTSTRAP, json.dumps(sys.path), str(child_reads), str(child_writes), card],
                    env={**kept, **_ONE_THREAD, **kind.variables},
                    stdin=subprocess.DEVNULL,
                    stdout=2,
                    pass_fds=(child_reads, child_writes),
                )
        except OSError as error:
            os.close(self._requests)
            os.close(self._replies)
            raise FakeHardwareError(f"the worker {kind.name!r} could not be started: {error}") from error
        finally:
            os.close(child_reads)
            os.close(child_writes)

    def put(self, job: _Job) -> None:
        """Add a job, unless the worker was closed: nobody would ever do it."""
        with self._closing:
            if self.closed:
                raise FakeHardwareError(f"the worker {self.kind.name!r} was closed; it cannot run {job.name}")
            self._jobs.put(job)

    def serve(self) -> None:
        """Do the jobs one after the other, until there is a None."""
        while (job := self._jobs.get()) is not None:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                result = self._talk(job)
            except BaseException as error:  # noqa: BLE001 - it is raised again where the future is asked
                job.future.set_exception(error)
            else:
                job.future.set_result(result)
            # Or the last result and its arrays would live until the next job.
            del job
        os.close(self._requests)
        os.close(self._replies)

    def _talk(self, job: _Job) -> Any:
        broken: Exception | None = None
        try:
            _child.write_frame(self._requests, job.path)
            _child.write_frame(self._requests, job.call)
            while True:
                frame = _child.read_frame(self._replies, self._wait)
                letter, body = frame[:1], memoryview(frame)[1:]
                if letter == _child.MESSAGE:
                    if job.on_message is not None and broken is None:
                        try:
                            job.on_message(pickle.loads(body))  # noqa: S301 - from our own child
                        except Exception as error:  # noqa: BLE001 - raised below, when the child is through
                            broken = error
                    continue
                if broken is not None:
                    raise broken
                if letter == _child.FAILURE:
                    raise self._failure(job, body)
                return pickle.loads(body)  # noqa: S301 - from our own child
        except (EOFError, BrokenPipeError) as error:
            raise self._death(job.name) from error

    def _wait(self) -> None:
        """Wait for a reply; a process that the child left behind may hold the pipe open, so look whether it lives."""
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        while not poll.poll(_POLL_SECONDS * 1000):
            if self.process.poll() is not None and not poll.poll(0):
                raise EOFError

    def _failure(self, job: _Job, body: memoryview) -> BaseException:
        pickled, line, text = pickle.loads(body)  # noqa: S301 - from our own child
        error: BaseException = FakeHardwareError(f"{job.name} raised in the worker {self.kind.name!r}: {line}")
        if pickled is not None:
            # An exception can be pickled and yet not be read back: its arguments may not fit its constructor.
            with contextlib.suppress(Exception):
                error = pickle.loads(pickled)  # noqa: S301 - from our own child
        error.add_note(f"Raised in the fake-hardware worker {self.kind.name!r}:\n{text}")
        return error

    def _death(self, name: str) -> FakeHardwareError:
        try:
            status = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return FakeHardwareError(f"the worker {self.kind.name!r} closed its pipe while it ran {name}")
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        when = "was closed" if self.closed else how
        settings = " ".join(f"{key}={value}" for key, value in self.kind.variables.items())
        return FakeHardwareError(f"the worker {self.kind.name!r} ({settings or 'native'}) {when}; it cannot run {name}")

    def end(self) -> None:
        """End the process and its thread. A process that was forked from the owner leaves them alone."""
        if os.getpid() != self._owner:
            return
        with self._closing:
            if self.closed:
                return
            self.closed = True
            self._jobs.put(None)
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Worker:
    """A process of one numeric kind that runs functions until it is closed.

    Functions are named, not copied: they must be importable (a function of a test module is). The process inherits the
    environment except the variables that change bits, looks for modules where this process does, and uses one thread.
    What it prints goes to this process's standard error.

    Parameters
    ----------
    kind
        One of `kinds` or `gpu_kinds`, or settings of your own.

    Raises
    ------
    FakeHardwareError
        When the process cannot be started. One that dies later is reported by whatever it was asked to run.
    """

    def __init__(self, kind: NumericKind) -> None:
        if os.name != "posix":
            raise FakeHardwareError(f"fake-hardware workers need a POSIX system; this is {platform.system()}")
        self.kind = kind
        self._channel = _Channel(kind)
        # Not a thread of an executor: the interpreter would wait for its last job before it exits.
        threading.Thread(target=self._channel.serve, name=f"fake-hardware-{kind.name}", daemon=True).start()
        self._end = weakref.finalize(self, self._channel.end)

    def __repr__(self) -> str:
        """Name the kind and say whether the process lives."""
        return f"<Worker {self.kind.name!r} {'alive' if self.alive else 'ended'}>"

    @property
    def alive(self) -> bool:
        """Whether the process lives."""
        return self._channel.process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._channel.process.pid

    def submit(
        self, function: Callable[..., T], /, *args: Any, on_message: Callable[[Any], None] | None = None, **kwargs: Any
    ) -> "Future[T]":
        """Run a function in the process, after those that were submitted before, without waiting.

        Parameters
        ----------
        function
            Anything that can be pickled by its name: a function, a method of an importable class, a partial of one.
        on_message
            Called with each message that the function gives to `send`, from a thread of this process.

        Raises
        ------
        InvalidInputError
            When the function is a lambda, a local one or one of ``__main__``, or when an argument cannot be pickled.
        """
        name, call = _pickle_call(function, args, kwargs)
        future: Future[T] = Future()
        self._channel.put(_Job(json.dumps(sys.path).encode(), call, name, on_message, future))
        return future

    def run(
        self, function: Callable[..., T], /, *args: Any, on_message: Callable[[Any], None] | None = None, **kwargs: Any
    ) -> T:
        """Run a function in the process and wait for what it returns; parameters as in `submit`.

        Raises
        ------
        Exception
            Whatever the function raised, with the process's traceback as a note.
        FakeHardwareError
            When the process died, with its exit status.
        """
        return self.submit(function, *args, on_message=on_message, **kwargs).result()

    def close(self) -> None:
        """End the process; what it still runs fails with `FakeHardwareError`. Closing twice is fine."""
        self._end()

    def __enter__(self) -> Self:
        """Return the worker."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the worker."""
        self.close()


def _pickle_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, bytes]:
    """Return the function's name and the pickled call."""
    module = getattr(function, "__module__", None) or ""
    short = getattr(function, "__qualname__", None) or repr(function)
    name = f"{module}.{short}" if module else short
    if "<lambda>" in short or "<locals>" in short:
        raise InvalidInputError(f"{name} has no name to find it by; move it to the top of a module")
    if module == "__main__":
        raise InvalidInputError(f"{name} is in the program itself, which the worker cannot import; move it to a module")
    try:
        return name, pickle.dumps((function, args, kwargs), protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"the call of {name} cannot be pickled for the worker: {error}") from error


class Workers(Mapping[str, Worker]):
    """One worker for each kind, by name, started when it is first asked for and again should it have died.

    Parameters
    ----------
    known
        The kinds; those of `kinds` if left out.

    Raises
    ------
    FakeHardwareError
        Where `kinds` does.
    """

    def __init__(self, known: Iterable[NumericKind] | None = None) -> None:
        self._kinds = {kind.name: kind for kind in (kinds() if known is None else known)}
        self._started: dict[str, Worker] = {}

    def __getitem__(self, name: str) -> Worker:
        """Return the worker of a kind."""
        worker = self._started.get(name)
        if worker is None or not worker.alive:
            if worker is not None:
                worker.close()
            worker = self._started[name] = Worker(self._kinds[name])
        return worker

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the kinds, in their order."""
        return iter(self._kinds)

    def __len__(self) -> int:
        """Return the number of kinds."""
        return len(self._kinds)

    def close(self) -> None:
        """Close every worker that was started."""
        for worker in self._started.values():
            worker.close()
        self._started.clear()

    def __enter__(self) -> Self:
        """Return the workers."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the workers."""
        self.close()
