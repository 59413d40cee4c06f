"""Every test of the rules runs on each kind of ledger."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledger import backends


@pytest.fixture(scope="session")
def server() -> Iterator[backends.Server]:
    """A PostgreSQL server, where it is installed."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs the extra 'postgresql': psycopg is not installed")
    try:
        found = backends.Server()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield found
    found.stop()


@pytest.fixture(scope="module", autouse=True, params=backends.NAMES)
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """The kind of ledger that a module's tests run on; a module can have its own fixture of this name."""
    yield from using(request.param, request)


def using(name: str, request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """Let tests run on a kind of ledger, in a folder that is deleted afterwards."""
    if name != "memory" and importlib.util.find_spec("sqlalchemy") is None:
        pytest.skip("needs the extra 'sql': sqlalchemy is not installed")
    folder = Path(tempfile.mkdtemp(prefix="ledgers-", dir=backends.fast_folder()))
    if name == "memory":
        found = backends.Backend("memory")
    elif name == "sqlite":
        found = backends.sqlite(folder)
    else:
        found = request.getfixturevalue("server").backend()
    backends.use(found)
    yield found
    backends.use(backends.Backend("memory"))
    shutil.rmtree(folder, ignore_errors=True)
