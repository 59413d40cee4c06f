"""What can be wrong with a ledger's file or its URL, and what is then said."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

import crynux_validate as cv
from tests.ledger import backends
from tests.ledger.conftest import using
from tests.ledger.helpers import HONEST, POLICY, Network
from tests.ledger.postgresql import fast_folder


@pytest.fixture(scope="module", autouse=True, params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    yield from using(request.param, request)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="files-", dir=fast_folder()) as found:
        yield Path(found)


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def filled(path: Path, groups: int = 3) -> str:
    """A ledger in a file, with nothing left beside it; returns where its log ends."""
    network = Network(nodes=0)
    network.ledger = cv.SqlLedger(url_of(path), POLICY, ledger_id="test", clock=network.clock)
    network.fill(5)
    for _ in range(groups):
        network.answered(HONEST, HONEST, HONEST)
    head = network.ledger.verify_log()
    network.ledger.close()
    assert not path.with_name(f"{path.name}-wal").exists()
    return head


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true", "mysql://host/db", "ledger.db", "",
        "postgresql://host/db", "postgresql+psycopg2://host/db", "sqlite+aiosqlite:///x.db", 5, None,
    ],
)  # fmt: skip
def test_urls_that_name_no_database_for_a_ledger(url: str) -> None:
    with pytest.raises(cv.errors.InvalidInputError, match=r"sqlite:///ledger\.db|MemoryLedger"):
        cv.SqlLedger(url)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(cv.errors.InvalidInputError) as caught:
        cv.SqlLedger("mysql://me:secret@host/db")
    assert "secret" not in str(caught.value)
    with pytest.raises(cv.errors.StorageError, match="the connection failed") as failed:
        cv.SqlLedger("postgresql+psycopg://me:secret@/db?host=/nowhere")
    assert "secret" not in str(failed.value)


def test_bad_arguments_leave_no_file(folder: Path) -> None:
    path = folder / "ledger.db"
    with pytest.raises(cv.errors.InvalidInputError, match="timeout"):
        cv.SqlLedger(url_of(path), timeout=-1)
    with pytest.raises(cv.errors.InvalidInputError, match="ledger id"):
        cv.SqlLedger(url_of(path), ledger_id="")
    with pytest.raises(cv.errors.InvalidInputError, match="integer seconds"):
        cv.SqlLedger(url_of(path), clock=lambda: 1.5)  # type: ignore[arg-type, return-value]
    assert not path.exists()


def test_a_folder_that_is_not_there(folder: Path) -> None:
    with pytest.raises(cv.errors.StorageError, match="No such file or directory"):
        cv.SqlLedger(url_of(folder / "nothing" / "ledger.db"))


def test_what_is_no_database(folder: Path) -> None:
    path = folder / "ledger.db"
    path.write_bytes(b"this is my diary, not a database. " * 50)
    with pytest.raises(cv.errors.StorageError, match="no SQLite database"):
        cv.SqlLedger(url_of(path))
    assert path.read_bytes().startswith(b"this is my diary")


def test_somebody_elses_database_is_left_as_it_was(folder: Path) -> None:
    path = folder / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(cv.errors.StorageError, match=r"something else \(songs\)"):
        cv.SqlLedger(url_of(path))
    assert path.read_bytes() == before


def test_an_empty_file_is_no_new_ledger(folder: Path) -> None:
    path = folder / "ledger.db"
    filled(path)
    os.truncate(path, 0)
    with pytest.raises(cv.errors.StorageError, match="empty file: a ledger that was cut off"):
        cv.SqlLedger(url_of(path), timeout=0.1)
    assert path.stat().st_size == 0


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_file_that_was_cut_off(folder: Path, part: float) -> None:
    path = folder / "ledger.db"
    filled(path)
    os.truncate(path, int(path.stat().st_size * part) // 4096 * 4096)
    with pytest.raises(cv.errors.StorageError, match="damaged, or was cut off"):
        cv.SqlLedger(url_of(path)).verify_log()


def test_a_damaged_file_is_found(folder: Path) -> None:
    path = folder / "ledger.db"
    filled(path)
    size = path.stat().st_size
    for at in range(4096, size, 4096):
        damaged = folder / f"damaged-{at}.db"
        shutil.copy(path, damaged)
        with damaged.open("r+b") as stream:
            stream.seek(at)
            stream.write(b"\xa5" * 4096)
        with pytest.raises(cv.errors.StorageError, match="damaged"):
            cv.SqlLedger(url_of(damaged)).verify_storage()


def test_a_locked_file(folder: Path) -> None:
    path = folder / "ledger.db"
    filled(path)
    ledger = cv.SqlLedger(url_of(path), timeout=0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(cv.errors.StorageBusyError, match=r"another process holds it .* try again"):
            ledger.deposit("a", 1)
        assert ledger.account("app") > 0, "who reads waits for nobody"
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert ledger.deposit("a", 1) == 1


def test_a_thread_that_waits_too_long(folder: Path) -> None:
    ledger = cv.SqlLedger(url_of(folder / "ledger.db"), timeout=0.1)
    with ledger._writing(), pytest.raises(cv.errors.StorageBusyError, match="other threads hold it"):
        ledger.deposit("a", 1)
    assert ledger.deposit("a", 1) == 1


def test_a_file_that_can_only_be_read(folder: Path) -> None:
    path = folder / "ledger.db"
    filled(path)
    ledger = cv.SqlLedger(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert ledger.totals().balanced
    ledger.verify_log()
    ledger.verify_records()
    with pytest.raises(cv.errors.StorageError, match="it can only be read"):
        ledger.deposit("a", 1)
    assert ledger.account("a") == 0


def test_a_full_disk(folder: Path) -> None:
    """The file may not grow any more, as if the disk were full: SQLite says the same."""
    path = folder / "ledger.db"
    filled(path)
    ledger = cv.SqlLedger(url_of(path))
    with ledger._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    done = 0

    def fill() -> None:
        nonlocal done
        while done < 10_000:
            ledger.deposit(f"account-{done}", 1)
            done += 1

    with pytest.raises(cv.errors.StorageError, match="the disk is full"):
        fill()
    again = cv.SqlLedger(url_of(path))
    assert [again.account(f"account-{at}") for at in range(done + 1)] == [1] * done + [0]
    again.verify_storage()
    again.verify_records()
    assert again.deposit("a", 1) == 1


def test_a_disk_that_is_full_within_a_batch(folder: Path) -> None:
    """Nothing of the batch is stored, whatever its caller caught: actions before the full disk neither."""
    path = folder / "ledger.db"
    filled(path)
    ledger = cv.SqlLedger(url_of(path))
    before = ledger.head()
    with ledger._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    def fill() -> None:
        with ledger.batch():
            for at in range(3_000):
                with suppress(cv.errors.StorageError):
                    ledger.deposit(f"account-{at}", 1)

    with pytest.raises(cv.errors.StorageError, match="the disk is full"):
        fill()
    again = cv.SqlLedger(url_of(path))
    assert again.head() == ledger.head() == before
    assert again.account("account-0") == 0
    again.verify_storage()
    again.verify_records()
    assert again.deposit("a", 1) == 1


def test_a_file_without_its_write_ahead_log_is_an_old_ledger_never_a_new_one(folder: Path) -> None:
    path, copy = folder / "ledger.db", folder / "copy.db"
    ledger = cv.SqlLedger(url_of(path), POLICY)
    ledger.deposit("a", 5)
    head = ledger.verify_log()
    shutil.copy(path, copy)
    old = cv.SqlLedger(url_of(copy))
    assert (old.id, old.account("a")) == (ledger.id, 0)
    with pytest.raises(cv.CrynuxValidateError, match="cut off"):
        old.verify_log(head)


def test_every_connection_flushes_and_checks_references(folder: Path) -> None:
    ledger = cv.SqlLedger(url_of(folder / "ledger.db"))
    with ledger._engine.connect() as first, ledger._engine.connect() as second:
        for connection in (first, second):
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("synchronous", "foreign_keys", "journal_mode")
            }
            assert found == {"synchronous": 2, "foreign_keys": 1, "journal_mode": "wal"}


def test_processes_that_begin_a_ledger_at_once_make_one(folder: Path) -> None:
    program = "import sys, crynux_validate as cv; print(cv.SqlLedger(sys.argv[1]).deposit('a', 1))"
    command = [sys.executable, "-c", program, url_of(folder / "ledger.db")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(int(process.communicate()[0]) for process in running) == [1, 2, 3]


def test_the_package_loads_no_sqlalchemy() -> None:
    program = (
        "import sys; from crynux_validate import ImageTask, MemoryLedger, judge; print('sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(("package", "extra"), [("sqlalchemy", "sql"), ("psycopg", "postgresql")])
def test_a_missing_extra_is_named(package: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None\nimport crynux_validate as cv\n"
        "try:\n    cv.SqlLedger('postgresql+psycopg:///x')\n"
        "except cv.errors.MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"crynux-validate[{extra}]" in done.stdout
