"""The ledgers that every test of the rules runs on, each made anew wherever a test asks for one."""

import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import crynux_validate as cv
from crynux_validate.ledger.base import StoringLedger

NAMES: Final = ("memory", "sqlite", "postgresql")

_numbers = itertools.count()


class Backend:
    """Makes ledgers of one kind, and others that hold what a log says."""

    def __init__(self, name: str, new_url: Callable[[], str] | None = None) -> None:
        self.name = name
        self._new_url = new_url
        self._made: WeakKeyDictionary[StoringLedger, tuple[str, dict[str, Any]]] = WeakKeyDictionary()

    def make(self, policy: cv.Policy | None = None, **options: Any) -> StoringLedger:
        """A new, empty ledger; `again` opens it once more."""
        if self._new_url is None:
            return cv.MemoryLedger(policy, **options)
        url = self._new_url()
        ledger = cv.SqlLedger(url, policy, **options)
        self._made[ledger] = url, {name: options[name] for name in ("clock", "beacon") if name in options}
        return ledger

    def again(self, ledger: StoringLedger) -> StoringLedger:
        """Another process's view of a ledger: nothing but what is stored. A ledger in memory has only itself."""
        if self._new_url is None:
            return ledger
        url, options = self._made[ledger]
        return cv.SqlLedger(url, **options)

    def url_of(self, ledger: StoringLedger) -> str:
        """Where a ledger is stored."""
        return self._made[ledger][0]

    def replay(self, events: Sequence[cv.Event], **options: Any) -> StoringLedger:
        """A new ledger that a log describes."""
        if self._new_url is None:
            return cv.MemoryLedger.replay(events, **options)
        return cv.SqlLedger.replay(events, self._new_url(), **options)


current = Backend("memory")
"""What the test that runs now uses; a fixture sets it."""


def use(backend: Backend) -> None:
    """Let the tests that follow run on another kind of ledger."""
    global current
    current = backend


def sqlite(folder: Path) -> Backend:
    """Ledgers in files of a folder."""
    return Backend("sqlite", lambda: f"sqlite:///{folder / f'ledger-{next(_numbers)}.db'}")


def fast_folder() -> str | None:
    """A folder in memory, where the system has one: flushing is not what most tests are about."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class Server:
    """A PostgreSQL server of our own, in a folder that is deleted with it."""

    def __init__(self) -> None:
        found = [*map(Path, sorted(Path("/usr/lib/postgresql").glob("*/bin"))), *filter(None, [_on_path()])]
        if not found:
            raise FileNotFoundError("PostgreSQL's initdb is not installed")
        self._bin = found[-1]
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir=fast_folder()))
        self._user = None
        if Path("/proc/self").owner() == "root":  # the server refuses to run as root
            self._user = "postgres"
            shutil.chown(self.folder, "postgres")
        try:
            self._run("initdb", "-D", f"{self.folder}/data", "-U", "postgres", "-A", "trust", "--no-sync")
            options = f"-k {self.folder} -c listen_addresses= -c max_connections=60"
            self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-l", f"{self.folder}/log", "-o", options, "start")
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            user=self._user,
            cwd=self.folder,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stdout}")

    def backend(self) -> Backend:
        """Ledgers in schemas of their own."""
        return Backend("postgresql", self.new_url)

    def new_url(self) -> str:
        """The URL of an empty schema."""
        import psycopg

        name = f"ledger_{next(_numbers)}"
        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}&options=-csearch_path%3D{name}"

    def stop(self) -> None:
        """End the server and delete what it has."""
        with suppress(RuntimeError):
            self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)


def _on_path() -> Path | None:
    found = shutil.which("initdb")
    return Path(found).parent if found else None
