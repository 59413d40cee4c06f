"""Processes that act all at once, processes that are killed while they write, and a server that is killed."""

import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.soak.checks import Follower, check
from benchmarks.soak.work import work_and_write

FOR_EVER: Final = 10**9
EVERY: Final = 50
"""After how many kills the whole ledger is checked, not only what is new."""


class Worker:
    """A process of its own that works; started by a helper that has imported everything, which saves a second."""

    def __init__(self, url: str, name: str, folder: Path, actions: int = FOR_EVER, *, outlives: bool = False) -> None:
        self._told = folder / name
        self._read = 0
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.soak.work", "crynux_validate.ledger.sql.ledger"])
        self._process = context.Process(target=work_and_write, args=(url, name, actions, self._told, outlives))
        self._process.start()

    def lines(self) -> list[str]:
        """What was acknowledged and not read yet."""
        if not self._told.exists():
            return []
        with self._told.open("rb") as stream:
            stream.seek(self._read)
            whole = stream.read().rpartition(b"\n")[0]
        self._read += len(whole) + 1 if whole else 0
        return whole.decode().split("\n") if whole else []

    def wait_for_one(self, seconds: float = 60.0) -> list[str]:
        """Wait until something new was acknowledged."""
        ends = time.monotonic() + seconds
        while not (said := self.lines()):
            if self._process.exitcode is not None or time.monotonic() > ends:
                raise AssertionError(f"a process did nothing and ended with {self._process.exitcode}")
            time.sleep(0.002)
        return said

    def kill(self) -> None:
        """End it as nothing can be ended otherwise: SIGKILL."""
        self._process.kill()
        self._process.join()

    def end(self) -> int:
        """Wait until it has done what it should; returns its exit status."""
        self._process.join()
        return self._process.exitcode or 0


@contextmanager
def telling() -> Iterator[Path]:
    """A folder for what processes acknowledge."""
    with tempfile.TemporaryDirectory(prefix="soak-told-") as folder:
        yield Path(folder)


def act_together(url: str, processes: int, actions: int) -> int:
    """Let processes act all at once, and check; returns how many events there are."""
    with telling() as folder:
        running = [Worker(url, f"process-{at}", folder, actions) for at in range(processes)]
        statuses = [worker.end() for worker in running]
        if any(statuses):
            raise AssertionError(f"processes ended with {statuses}")
        said = [worker.lines() for worker in running]
    if any(len(lines) < actions for lines in said):
        raise AssertionError(f"processes did {[len(lines) for lines in said]} of {actions} actions")
    return check(url, (line for lines in said for line in lines))


def kill_while_writing(url: str, kills: int, seed: int = 0) -> tuple[int, int]:
    """Kill a working process at a random moment, check, and again; returns the acknowledged actions, and the events."""
    chance = random.Random(seed)
    follower = Follower(url)
    acknowledged = events = 0
    with telling() as folder:
        for at in range(kills):
            worker = Worker(url, f"process-{seed}.{at}", folder)
            said = worker.wait_for_one()
            time.sleep(chance.random() * 0.3)
            worker.kill()
            said += worker.lines()
            acknowledged += len(said)
            events = follower.check(said, everything=at % EVERY == EVERY - 1 or at == kills - 1)
    return acknowledged, events


def kill_the_server(
    url: str, kills: int, kill: Callable[[int], None], start: Callable[[], None], seed: int = 0
) -> tuple[int, int]:
    """Kill a database's server while processes write; returns the acknowledged actions, and the events.

    The processes live on, and act again when the server is back. Then they are killed as well, and all is checked.

    Parameters
    ----------
    url
        Of a ledger that is set up.
    kills
        How many times.
    kill
        Ends the server without a word; gets which kill it is.
    start
        Starts it again, and returns when it takes connections.
    seed
        Of the moments.
    """
    chance = random.Random(seed)
    follower = Follower(url)
    acknowledged = events = 0
    with telling() as folder:
        for at in range(kills):
            workers = [Worker(url, f"process-{seed}.{at}.{which}", folder, outlives=True) for which in range(3)]
            said = [line for worker in workers for line in worker.wait_for_one()]
            time.sleep(chance.random() * 0.3)
            kill(at)
            said += [line for worker in workers for line in worker.lines()]
            start()
            said += [line for worker in workers for line in worker.wait_for_one()]
            for worker in workers:
                worker.kill()
            said += [line for worker in workers for line in worker.lines()]
            acknowledged += len(said)
            events = follower.check(said, everything=at == kills - 1)
    return acknowledged, events
