"""Hashing files in several processes, which do not wait for each other as threads of one process do.

The caller's process begins to hash at once, so a short list does not wait for the others, which load their libraries
first. They are separate programs, not started by multiprocessing: a script needs no ``if __name__ == "__main__"``, and
no code of the caller runs twice.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Final, TypeAlias

from crynux_validate.errors import InvalidImageError, InvalidInputError, PipelineError
from crynux_validate.hashing.images import Picture
from crynux_validate.hashing.perceptual import PerceptualHash
from crynux_validate.interrupts import ignore_interrupts, interrupts_held_back

Outcome: TypeAlias = PerceptualHash | InvalidInputError | PipelineError
"""What a picture gave: its hash, or the error that says why there is none."""

Hasher: TypeAlias = Callable[..., PerceptualHash]

OnResult: TypeAlias = Callable[[int, PerceptualHash | InvalidImageError], None]
"""Called with the place of a picture, and what it gave."""

_AT_ONCE: Final = 2
"""Pictures for each request: few, so that nobody is left with many at the end."""

_TOLD_EVERY: Final = 0.1
"""Seconds between two looks at what the others found, once nothing is left for this process."""

_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_BOOTSTRAP: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from crynux_validate.hashing import processes; "
    "processes.serve()"
)


def hash_in_processes(
    images: Iterable[Picture],
    hasher: Hasher,
    options: dict[str, Any],
    processes: int,
    *,
    return_errors: bool,
    on_result: OnResult | None = None,
) -> list[PerceptualHash | InvalidImageError]:
    """Hash pictures in this process and up to `processes` - 1 others, in the order that they were given in.

    Files go to the other processes as their paths or bytes; pictures in memory are hashed in this one.

    Parameters
    ----------
    images
        They are taken one after the other, by whoever is free.
    hasher, options
        A function of a module that the other processes can import, and its arguments after the picture.
    processes
        1 or more.
    return_errors
        Give an `InvalidImageError` in its place and go on. Otherwise, and with every other error, no more pictures are
        begun, and the first error in order is raised.
    on_result
        As for `image_hashes`.

    Raises
    ------
    PipelineError
        A process could not be started, or died; the message names what it was hashing.
    """
    work = _Work(images, hasher, options, return_errors, on_result)
    others = processes - 1
    with ThreadPoolExecutor(max(others, 1), "image-hashes") as pool:
        helpers = [_Helper(work) for _ in range(others)]
        done = [pool.submit(helper.run) for helper in helpers]
        try:
            while pictures := work.take(1):
                work.put(pictures, [work.hashed(picture) for _, picture in pictures])
                work.tell()
            for helper in helpers:
                helper.release()
            while wait(done, _TOLD_EVERY).not_done:
                work.tell()
            work.tell()
        except KeyboardInterrupt:
            work.tell(gaps=True)
            raise
        finally:
            work.stop()
            for helper in helpers:
                helper.kill()
    return work.result()


class _Work:
    """The pictures that are left, and what the others gave."""

    def __init__(
        self,
        images: Iterable[Picture],
        hasher: Hasher,
        options: dict[str, Any],
        return_errors: bool,
        on_result: OnResult | None,
    ) -> None:
        self.hasher, self.options = hasher, options
        self._return_errors = return_errors
        self._on_result = on_result
        self._told = 0
        self._left = enumerate(images)
        self._lock = threading.Lock()
        self._stopped = False
        self._found: dict[int, PerceptualHash | InvalidImageError] = {}
        self._errors: dict[float, Exception] = {}

    def take(self, count: int) -> list[tuple[int, Picture]]:
        """Return the next pictures with their places; none where all are taken or an error ended it."""
        taken: list[tuple[int, Picture]] = []
        with self._lock:
            while len(taken) < count and not self._stopped:
                try:
                    taken.append(next(self._left))
                except StopIteration:
                    self._stopped = True
                except Exception as error:  # noqa: BLE001 - the caller's own iterable; raised by result()
                    self._fail(float("inf"), error)
        return taken

    def hashed(self, picture: Picture) -> Outcome:
        return outcome(self.hasher, picture, self.options)

    def put(self, pictures: list[tuple[int, Picture]], outcomes: list[Outcome]) -> None:
        with self._lock:
            for (place, _), found in zip(pictures, outcomes, strict=True):
                if isinstance(found, PerceptualHash) or (self._return_errors and isinstance(found, InvalidImageError)):
                    self._found[place] = found
                else:
                    self._fail(place, found)

    def fail(self, pictures: list[tuple[int, Picture]], error: Exception) -> None:
        with self._lock:
            self._fail(pictures[0][0] if pictures else -1, error)

    def _fail(self, place: float, error: Exception) -> None:
        self._errors[place] = error
        self._stopped = True

    def stop(self) -> None:
        with self._lock:
            self._stopped = True

    def tell(self, *, gaps: bool = False) -> None:
        """Tell the caller what was found, in order; those after one that is not found wait, unless gaps are left."""
        if self._on_result is None:
            return
        with self._lock:
            found = dict(self._found)
        while self._told in found:
            self._on_result(self._told, found[self._told])
            self._told += 1
        for place in sorted(found) if gaps else ():
            if place > self._told:
                self._on_result(place, found[place])

    def result(self) -> list[PerceptualHash | InvalidImageError]:
        # Who failed first in time is chance. All before the first in order were taken before it, and are done.
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._found[place] for place in range(len(self._found))]


class _Helper:
    """One more process, and the thread of this one that talks to it."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = self._released = False

    def release(self) -> None:
        """Nothing is left to take: if the process is still loading its libraries, nobody waits for it."""
        with self._lock:
            self._released = True
            if not self._ready and self._process is not None:
                self._process.kill()

    def kill(self) -> None:
        with self._lock:
            self._released = True
            if self._process is not None:
                self._process.kill()

    def run(self) -> None:
        """Start the process, and let it hash until nothing is left."""
        with self._lock:
            if self._released:
                return
            try:
                with interrupts_held_back():
                    self._process = process = subprocess.Popen(  # noqa: S603 - this interpreter and a constant program
                        [sys.executable, "-c", _BOOTSTRAP, json.dumps(sys.path)],
                        env={**os.environ, **_ONE_THREAD},
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                    )
            except (OSError, TypeError) as error:  # TypeError: a program that Python is built into has no executable
                self._work.fail([], PipelineError(f"a process for hashing could not be started: {error}; use threads"))
                return
        with process:
            pictures: list[tuple[int, Picture]] = []
            try:
                _ask(process, (self._work.hasher, self._work.options))
                with self._lock:
                    self._ready = True
                while pictures := self._work.take(_AT_ONCE):
                    self._work.put(pictures, self._hash(process, pictures))
            except (EOFError, OSError, pickle.UnpicklingError):
                if pictures or not self._released:
                    self._work.fail(pictures, _death(process, pictures))
            except Exception as error:  # noqa: BLE001 - raised in the caller's thread
                self._work.fail(pictures, error)
            finally:
                process.kill()  # it holds nothing that is worth the time of an orderly end
                with contextlib.suppress(OSError):  # what it did not read any more
                    process.stdin.close()  # type: ignore[union-attr]

    def _hash(self, process: "subprocess.Popen[bytes]", pictures: list[tuple[int, Picture]]) -> list[Outcome]:
        files = [_file(picture) for _, picture in pictures]
        if None not in files:
            outcomes: list[Outcome] = _ask(process, files)
            return outcomes
        return [self._work.hashed(picture) for _, picture in pictures]


def _file(picture: Picture) -> str | bytes | None:
    """What another process needs to open the file, or None for a picture in memory."""
    path = os.fspath(picture) if isinstance(picture, os.PathLike) else picture
    if isinstance(path, str) or (isinstance(path, bytes) and not isinstance(picture, os.PathLike)):
        return path
    return None


def _ask(process: "subprocess.Popen[bytes]", request: object) -> Any:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    process.stdin.write(pickle.dumps(request))
    process.stdin.flush()
    return pickle.load(process.stdout)  # noqa: S301 - from our own child


def _death(process: "subprocess.Popen[bytes]", pictures: list[tuple[int, Picture]]) -> PipelineError:
    names = [repr(file) if isinstance(file := _file(picture), str) else f"picture {at}" for at, picture in pictures]
    doing = f"hashed {' or '.join(names)}" if names else "loaded its libraries"
    return PipelineError(
        f"a process for hashing ended with code {process.wait()} while it {doing}; see standard error for what it"
        " printed, or use threads"
    )


# ------------------------------------------------------------------------------------------------ the other process


def outcome(hasher: Hasher, picture: Picture, options: dict[str, Any]) -> Outcome:
    """Hash one picture; its error is returned. Errors that this library does not raise on purpose are not caught."""
    try:
        return hasher(picture, **options)
    except (InvalidInputError, PipelineError) as error:
        return error


def serve() -> None:
    """Hash what standard input asks for, until it ends: with the caller, whatever ended it."""
    ignore_interrupts()  # the caller is interrupted as well, and ends this process
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not meet the replies
    requests = sys.stdin.buffer
    with contextlib.suppress(EOFError, BrokenPipeError):
        hasher, options = pickle.load(requests)  # noqa: S301 - from our own parent
        _load_libraries(hasher, options)
        answer: object = None
        while True:
            replies.write(pickle.dumps(answer))
            replies.flush()
            answer = [outcome(hasher, file, options) for file in pickle.load(requests)]  # noqa: S301 - the same


def _load_libraries(hasher: Hasher, options: dict[str, Any]) -> None:
    import numpy as np

    outcome(hasher, np.zeros((1, 1), np.uint8), options)
