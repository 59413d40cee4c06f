"""Which URLs of SQLite a ledger takes: those that name a file in which all is kept, with locks, and no other."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

import crynux_validate as cv
from crynux_validate.ledger.sql.urls import read_url, url_of_file
from tests.ledger.postgresql import fast_folder


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    """Each test makes its own ledgers."""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="urls-", dir=fast_folder()) as found:
        monkeypatch.chdir(found)
        yield Path(found)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///:memory:?uri=true",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file:%3Amemory%3A?uri=true",
        "sqlite:///file:%253Amemory%253A?uri=true",
        "sqlite:///file:?uri=true",
        "sqlite:///file:?mode=rwc&uri=true",
        "sqlite:///file://?uri=true",
        "sqlite:///file:#x.db?uri=true",
        "sqlite:///file:%2500x.db?uri=true",
        "sqlite:///file:x.db?mode=memory&uri=true",
        "sqlite:///file:x.db?mode=ro&mode=memory&uri=true",
        "sqlite:///file:x.db?mode=memory",
        "sqlite:///file:x.db%3Fmode=memory?uri=true",
        "sqlite:///file:x.db?m%256Fde=memory&uri=true",
        "sqlite:///file:x.db?cache=shared&uri=true",
        "sqlite:///file:x.db?vfs=memdb&uri=true",
        "sqlite:///file:/x.db?vfs=memdb&uri=true",
        "sqlite:///file:x.db?vfs=unix-none&uri=true",
        "sqlite:///file:x.db?vfs=unix-dotfile&uri=true",
        "sqlite:///file:x.db?nolock=1&uri=true",
        "sqlite:///file:x.db?immutable=1&uri=true",
        "sqlite:///file:x.db?psow=0&uri=true",
        "sqlite:///file:x.db?MODE=memory&uri=true",
        "sqlite:///file:x.db?mode=nothing&uri=true",
        "sqlite:///x.db?mode=memory&uri=true",
        "sqlite:///x.db?mode=memory",
        "sqlite:///x.db?cache=shared",
        "sqlite:///x.db?uri=true",
        "sqlite:///file:x.db",
        "sqlite:///file:x.db?uri=false",
        "sqlite:///file://host/x.db?uri=true",
        "sqlite://x.db",
        "sqlite://host/x.db",
        "sqlite:///x.db?isolation_level=EXCLUSIVE",
        "sqlite:///x.db?timeout=5",
        "sqlite:////dev/null",
        "sqlite:////dev/zero",
        "sqlite:///file:/dev/null?uri=true",
        "sqlite:////tmp",
        "sqlite:///.",
    ],
)
def test_what_stores_nothing_or_locks_nothing_is_refused(folder: Path, url: str) -> None:
    with pytest.raises(cv.errors.InvalidInputError, match=r"sqlite:///|MemoryLedger|name a file"):
        cv.SqlLedger(url)
    assert os.listdir(folder) == []


def test_a_pipe_and_a_file_without_a_name_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(cv.errors.InvalidInputError, match="no regular file"):
        cv.SqlLedger("sqlite:///pipe")
    with tempfile.TemporaryFile(dir=folder) as unnamed:
        path = f"/proc/self/fd/{unnamed.fileno()}"
        if not Path(path).exists():
            pytest.skip("this system has no /proc")
        with pytest.raises(cv.errors.InvalidInputError, match="stores nothing"):
            cv.SqlLedger(f"sqlite:///{path}")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///ledger.db",
        "sqlite:///./ledger.db",
        "sqlite:///file:ledger.db?uri=true",
        "sqlite:///file:ledger.db?mode=rwc&uri=true",
        "sqlite:///file:%256cedger.db?mode=rwc&uri=1",
        "sqlite+pysqlite:///ledger.db",
    ],
)
def test_what_names_a_file_keeps_in_that_file(folder: Path, url: str) -> None:
    with cv.SqlLedger(url) as ledger:
        assert ledger.deposit("alice", 1) == 1
        assert {name for name in os.listdir(folder) if "-" not in name} == {"ledger.db"}
    assert os.listdir(folder) == ["ledger.db"]
    with sqlite3.connect(folder / "ledger.db") as connection:
        assert connection.execute("SELECT balance FROM accounts").fetchall() == [("1",)]
    connection.close()


@pytest.mark.parametrize("name", [" x.db", "a b%3F?.db", "x.db?mode=memory", "#.db", "é:memory:.db", ":memory:", "%00"])
def test_a_path_of_any_characters(folder: Path, name: str) -> None:
    with cv.SqlLedger(url_of_file(folder / name, "rwc")) as ledger:
        ledger.deposit("alice", 1)
    assert os.listdir(folder) == [name]
    assert cv.SqlLedger(url_of_file(folder / name, "ro")).account("alice") == 1


def test_a_relative_path_stays_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "below").mkdir()
    ledger = cv.SqlLedger("sqlite:///file:ledger.db?uri=true")
    monkeypatch.chdir(folder / "below")
    ledger.close()
    ledger.deposit("alice", 1)
    assert os.listdir(folder / "below") == []
    assert ledger.account("alice") == 1


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_what_makes_no_file(folder: Path, mode: str) -> None:
    with pytest.raises(cv.errors.StorageError, match="cannot be opened"):
        cv.SqlLedger(f"sqlite:///file:ledger.db?mode={mode}&uri=true")
    assert os.listdir(folder) == []
    assert read_url(f"sqlite:///file:x?mode={mode}&uri=true").mode == mode
