"""Every test of the rules runs on each kind of ledger."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import pytest

from tests.ledger import backends, pgbouncer
from tests.ledger.postgresql import NotInstalledError, Server, fast_folder

REQUIRED: Final = "CRYNUX_VALIDATE_REQUIRE_POSTGRESQL"
"""An environment variable: set to 1, tests that need PostgreSQL or PgBouncer fail where one is missing, as in CI."""


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server, where it is installed."""
    found = start_server()
    yield found
    found.stop()


def start_server(folder: Path | None = None) -> Server:
    """Start PostgreSQL, with its files in memory, or below a folder.

    Where it is not installed, the test that asks is skipped, or fails where it must be installed.
    """
    try:
        if importlib.util.find_spec("psycopg") is None:
            raise NotInstalledError("needs the extra 'postgresql': psycopg is not installed")
        return Server(folder)
    except NotInstalledError as error:
        _missing(error)


def need_pgbouncer() -> None:
    """Skip the test that asks where PgBouncer is not installed, or fail it where it must be."""
    try:
        pgbouncer.program()
    except NotInstalledError as error:
        _missing(error)


def _missing(error: NotInstalledError) -> NoReturn:
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{error}; {REQUIRED}=1 says that it must be", pytrace=False)
    pytest.skip(str(error))


@pytest.fixture(scope="module", autouse=True, params=backends.NAMES)
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """The kind of ledger that a module's tests run on; a module can have its own fixture of this name."""
    yield from using(request.param, request)


def using(name: str, request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """Let tests run on a kind of ledger, in a folder that is deleted afterwards."""
    if name != "memory" and importlib.util.find_spec("sqlalchemy") is None:
        pytest.skip("needs the extra 'sql': sqlalchemy is not installed")
    folder = Path(tempfile.mkdtemp(prefix="ledgers-", dir=fast_folder()))
    if name == "memory":
        found = backends.Backend("memory")
    elif name == "sqlite":
        found = backends.sqlite(folder)
    else:
        found = backends.postgresql(request.getfixturevalue("server"))
    backends.use(found)
    yield found
    backends.use(backends.Backend("memory"))
    shutil.rmtree(folder, ignore_errors=True)
