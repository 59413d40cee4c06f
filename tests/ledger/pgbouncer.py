"""PgBouncer in front of the PostgreSQL server of the tests: connections of the server go from one client to another."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.ledger.postgresql import NotInstalledError, Server

_FOLDERS: Final = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")
"""Where systems keep ``pgbouncer``, beside the path."""

_ports = itertools.count(6_500)


class PgBouncer:
    """A pooler that listens in a folder, and on no port of the network.

    Parameters
    ----------
    server
        Whose connections it lends.
    mode
        For how long somebody has one: ``session``, ``transaction`` or ``statement``.
    settings
        More lines of its file.
    """

    def __init__(self, server: Server, mode: str, **settings: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgb-", dir=server.folder.parent))
        self._port = next(_ports)
        user = server.folder.owner()
        lines = {
            "listen_addr": "", "listen_port": self._port, "unix_socket_dir": self.folder, "auth_type": "any",
            "logfile": self.folder / "log", "pidfile": self.folder / "pid", "pool_mode": mode, "default_pool_size": 3,
        }  # fmt: skip
        text = "\n".join(f"{name} = {value}" for name, value in (lines | settings).items())
        file = self.folder / "pgbouncer.ini"
        file.write_text(
            f"[databases]\npostgres = host={server.folder} dbname=postgres user=postgres\n[pgbouncer]\n{text}\n"
        )
        own = user if user != Path("/proc/self").owner() else None
        if own is not None:
            shutil.chown(self.folder, own)
        self._process = subprocess.Popen([program(), str(file)], user=own, stderr=subprocess.DEVNULL)
        self._wait(30.0)

    def _wait(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while not (self.folder / f".s.PGSQL.{self._port}").exists():
            if self._process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"pgbouncer did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def url(self, options: str = "") -> str:
        """The URL of the database behind it; ``options`` as in `Server.new_url`."""
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}&port={self._port}{options}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def program() -> str:
    """Where ``pgbouncer`` is."""
    found = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS]))
    if found is None:
        raise NotInstalledError("PgBouncer is not installed: there is no pgbouncer")
    return found
