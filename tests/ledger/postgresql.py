"""A PostgreSQL server of our own: it starts, is killed and starts again as a test or the soak asks."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_FOLDERS: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
)
"""Where systems keep ``initdb``, which few have on their path."""

_numbers = itertools.count()


class NotInstalledError(Exception):
    """There is no PostgreSQL that could be started here; says what is missing."""


def fast_folder() -> str | None:
    """A folder in memory, where the system has one: flushing is not what most tests are about."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class Server:
    """A server in a folder that is deleted with it; it listens there, and on no port.

    Parameters
    ----------
    folder
        Where to make its folder; in memory if left out.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._bin = _programs()
        self._user = None
        if Path("/proc/self").exists() and Path("/proc/self").owner() == "root":  # the server refuses to run as root
            self._user = "postgres"
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir=folder or fast_folder()))
        try:
            if self._user is not None:
                shutil.chown(self.folder, self._user)
            self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync", "--wal-segsize=1")
            self.start()
        except LookupError as error:
            self.stop()
            raise NotInstalledError("PostgreSQL does not run as root, and there is no user 'postgres'") from error
        except BaseException:
            self.stop()
            raise

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self, seconds: float = 60.0) -> None:
        """Start it, and return when it takes connections; again where what is left of the last one is in the way."""
        options = f"-k {self.folder} -c listen_addresses= -c max_connections=60"
        ends = time.monotonic() + seconds
        while True:
            try:
                self._control("-w", "-l", f"{self.folder}/log", "-o", options, "start")
                return
            except RuntimeError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server's first process with SIGKILL; the others notice, and end."""
        os.kill(int((self._data / "postmaster.pid").read_text("ascii").split()[0]), signal.SIGKILL)

    def halt(self) -> None:
        """Let all of its processes end at once, without writing what they have in memory."""
        self._control("-m", "immediate", "-w", "stop")

    def start_again(self) -> None:
        """Start it where it has ended, or cannot go on."""
        with suppress(RuntimeError):
            self.halt()
        self.start()

    def new_url(self) -> str:
        """The URL of an empty schema."""
        return url_in(self.folder, f"ledger_{next(_numbers)}")

    def stop(self) -> None:
        """End the server and delete what it has."""
        if (self._data / "postmaster.pid").exists():
            with suppress(RuntimeError):
                self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._data), *arguments)

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


def url_in(server: Path, schema: str) -> str:
    """The URL of a schema of the server in a folder; made where it is not there."""
    import psycopg

    name = schema.replace("-", "_")
    with psycopg.connect(host=str(server), user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name}")
    return f"postgresql+psycopg://postgres@/postgres?host={server}&options=-csearch_path%3D{name}"


def _programs() -> Path:
    """The folder of ``initdb``: the one on the path, or the newest that is installed."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = [path for pattern in _FOLDERS for path in Path("/").glob(f"{pattern[1:]}/initdb")]
    if not found:
        raise NotInstalledError("PostgreSQL is not installed: there is no initdb")
    return max(found, key=lambda path: _version(path)).parent


def _version(program: Path) -> list[int]:
    """The last number in a path, as in /usr/lib/postgresql/15/bin/initdb and /usr/pgsql-9.6/bin/initdb."""
    return [int(part) for part in (re.findall(r"[0-9.]*[0-9]", str(program)) or ["0"])[-1].split(".") if part]
