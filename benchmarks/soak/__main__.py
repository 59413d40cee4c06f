"""Run all of it, or a share, and print what was seen as a table for docs/measurements/ledgers.md."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.ledger.postgresql import NotInstalledError, Server, fast_folder

from benchmarks.soak import act_together, kill_the_server, kill_while_writing, set_up
from benchmarks.soak.damage import damage_files, edit_logs, fill_the_disk, fill_the_file, hold, small_disk, url_of
from benchmarks.soak.inputs import read_damaged
from benchmarks.soak.sequences import run_on_files, run_sequences

DISK_MIB: Final = 4
SERVER_DISK_MIB: Final = 160
ROOT: Final = Path(__file__).parents[2]
RAY: Final = "CRYNUX_VALIDATE_RAY"
"""The environment variable that names a Python with ray; this one if it is not set."""


class Soak:
    """The parts, each of which says what it saw in one row.

    Parameters
    ----------
    share
        Which part of all is done, above 0; 1 for the numbers that the rows are about.
    folder
        For SQLite files.
    server
        None where PostgreSQL is not installed.
    inputs, notes
        How many damaged inputs each reader is given, and where it is noted how far that is.
    """

    def __init__(self, share: float, folder: Path, server: Server | None, inputs: int, notes: Path | None) -> None:
        self._share = share
        self._inputs = inputs
        self._notes = notes
        self._folder = folder
        self._server = server

    def of(self, number: int) -> int:
        """A share of a number, at least 1."""
        return max(1, round(number * self._share))

    @contextmanager
    def _databases(self, name: str) -> Iterator[list[tuple[str, str]]]:
        """An empty ledger on each kind of database."""
        found = [("SQLite", url_of(self._folder / f"{name}.db"))]
        if self._server is not None:
            found.append(("PostgreSQL", self._server.new_url()))
        for _, url in found:
            set_up(url)
        yield found

    def kills(self) -> Iterator[tuple[str, str]]:
        """Writing processes that are killed."""
        with self._databases("kills") as databases:
            for kind, url in databases:
                acknowledged, events = kill_while_writing(url, self.of(200))
                yield (
                    f"{kind}: a writing process killed {self.of(200)} times (SIGKILL)",
                    f"{acknowledged:,} acknowledged actions, {events:,} events; none lost",
                )

    def server(self) -> Iterator[tuple[str, str]]:
        """A server that is killed."""
        if self._server is None:
            yield "PostgreSQL: the server killed", "not tried: PostgreSQL is not installed"
            return
        server, times = self._server, self.of(40)
        url = server.new_url()
        set_up(url)

        def kill(at: int) -> None:
            (server.kill if at % 2 else server.halt)()

        acknowledged, events = kill_the_server(url, times, kill, server.start)
        yield (
            f"PostgreSQL: the server ended {times} times under 3 writing processes ({-(-times // 2)} immediate stops, "
            f"{times // 2} SIGKILLs of its first process), and started again",
            f"{acknowledged:,} acknowledged actions, {events:,} events; none lost",
        )

    def together(self) -> Iterator[tuple[str, str]]:
        """Processes that act all at once."""
        with self._databases("together") as databases:
            for kind, url in databases:
                began = time.monotonic()
                events = act_together(url, 8, self.of(1_000))
                took = time.monotonic() - began
                yield f"{kind}: 8 processes with {self.of(1_000):,} actions each", f"{events:,} events in {took:.0f} s"

    def disks(self) -> Iterator[tuple[str, str]]:
        """Disks that are full."""
        times = self.of(30)
        with small_disk(DISK_MIB) as disk:
            if disk is None:
                url = url_of(self._folder / "full.db")
                set_up(url)
                acknowledged, errors = fill_the_file(url)
                how = "a file that may not grow (PRAGMA max_page_count; no disk could be mounted), once"
            else:
                url = url_of(disk / "full.db")
                set_up(url)
                acknowledged, errors = fill_the_disk(url, disk, times)
                how = f"a full disk (tmpfs of {DISK_MIB} MiB), {times} times"
        yield f"SQLite: {how}", _with_errors(acknowledged, errors)
        if self._server is None:
            return
        with small_disk(SERVER_DISK_MIB) as disk:
            if disk is None:
                yield "PostgreSQL: a full disk", "not tried: no disk could be mounted"
                return
            server = Server(disk)
            try:
                url = server.new_url()
                set_up(url)
                times = self.of(10)
                acknowledged, errors = fill_the_disk(url, disk, times, server.start_again)
            finally:
                server.stop()
        how = f"a full disk (tmpfs of {SERVER_DISK_MIB} MiB), {times} times"
        yield f"PostgreSQL: {how}", _with_errors(acknowledged, errors)

    def files(self) -> Iterator[tuple[str, str]]:
        """Databases that are held, and files that are damaged."""
        with self._databases("held") as databases:
            for kind, url in databases:
                hold(url)
                yield f"{kind}: held by somebody else", "`StorageBusyError`, nothing changed; then it goes on"
        found = damage_files(self._folder, self.of(1_000), self.of(200))
        yield (
            f"SQLite: 1 to 4,096 bytes overwritten {self.of(1_000):,} times, and cut off anywhere {self.of(200)} times",
            f"{found['found']:,} found (`StorageError`, `BrokenLogError`); {found['in unused space']} changed nothing "
            "that is read",
        )

    def logs(self) -> Iterator[tuple[str, str]]:
        """Logs that were edited."""
        tried = edit_logs(self._folder, self.of(1_000))
        ways = ", ".join(f"{way} {times}" for way, times in sorted(tried.items()))
        yield f"a log changed {self.of(1_000):,} times: {ways}", "all found by `verify_log(head)`"

    def sequences(self) -> Iterator[tuple[str, str]]:
        """Random sequences of actions."""
        plain, faulty, files, rows = self.of(9_000), self.of(700), self.of(200), self.of(100)
        runs: list[tuple[str, Callable[[], object]]] = [
            (f"{plain:,} random sequences on the rules in memory", lambda: run_sequences(plain)),
            (
                f"{faulty:,} with faults before and after a tenth of all actions",
                lambda: run_sequences(faulty, first=plain, faults=0.1),
            ),
            (
                f"{files:,} on SQLite, beside the rules in memory",
                lambda: run_on_files(files, self._folder, first=plain + faulty),
            ),
        ]
        server = self._server
        if server is not None:
            runs.append(
                (
                    f"{rows:,} on PostgreSQL, beside the rules in memory",
                    lambda: run_sequences(rows, first=plain + faulty + files, new_url=server.new_url),
                )
            )
        for what, run in runs:
            yield what, f"{run()}; money conserved"

    def engine(self) -> Iterator[tuple[str, str]]:
        """Ray Data, which judges batch by batch in processes of its own; it lives in an environment of its own."""
        python = os.environ.get(RAY, sys.executable)
        what = f"Ray Data: {self.of(10_000_000):,} groups of three through `judge_table`"
        if subprocess.run([python, "-c", "import ray.data"], capture_output=True, check=False).returncode:
            yield what, f"not tried: ray is not installed (`{RAY}` names a Python that has it)"
            return
        program = [python, str(ROOT / "examples" / "groups_on_ray.py"), str(self.of(10_000_000))]
        done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=3_600)
        if done.returncode:
            raise RuntimeError(f"groups_on_ray.py ended with {done.returncode}\n{done.stdout}{done.stderr}")
        yield what, done.stdout.splitlines()[-1]

    def readers(self) -> Iterator[tuple[str, str]]:
        """Damaged inputs for every reader."""
        yield from read_damaged(self._inputs, self._notes)


def _with_errors(acknowledged: int, errors: set[str]) -> str:
    return f"{acknowledged:,} acknowledged actions, none lost; what was said: {'; '.join(sorted(errors))}"


PARTS: Final = {
    "kills": Soak.kills,
    "server": Soak.server,
    "together": Soak.together,
    "disks": Soak.disks,
    "files": Soak.files,
    "logs": Soak.logs,
    "sequences": Soak.sequences,
    "engine": Soak.engine,
    "readers": Soak.readers,
}


def main() -> int:
    """Run the parts that are asked for, all if none is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="which part of all to do: 0.1 is a tenth")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--inputs", type=int, metavar="N", help="damaged inputs for each reader; default: a million times the share"
    )
    parser.add_argument(
        "--notes", type=Path, metavar="FILE", help="where to note how far the readers are, to go on from there"
    )
    arguments = parser.parse_args()
    if not 0 < arguments.share <= 100:
        parser.error(f"--share is {arguments.share}; expected a number above 0, at most 100")
    began = time.monotonic()
    try:
        server = Server()
    except NotInstalledError as error:
        print(f"without PostgreSQL: {error}", file=sys.stderr)
        server = None
    try:
        with tempfile.TemporaryDirectory(prefix="soak-", dir=fast_folder()) as folder:
            inputs = round(1_000_000 * arguments.share) if arguments.inputs is None else arguments.inputs
            soak = Soak(arguments.share, Path(folder), server, inputs, arguments.notes)
            print("| what | seen | s |\n|---|---|---|", flush=True)
            for name in arguments.only:
                since = time.monotonic()
                for what, seen in PARTS[name](soak):
                    now = time.monotonic()
                    print(f"| {what} | {seen} | {now - since:.0f} |", flush=True)
                    since = now
    finally:
        if server is not None:
            server.stop()
    print(f"\n{time.monotonic() - began:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
