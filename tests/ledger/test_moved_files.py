"""What operators do with files while a service has them open: what is acknowledged is in the file at the path."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

import crynux_validate as cv
from crynux_validate.cli import main
from crynux_validate.ledger.sql.channel import Channel
from tests.ledger.postgresql import Server, fast_folder


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    """Each test makes its own ledgers."""


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="moved-", dir=fast_folder()) as found:
        yield Path(found) / "ledger.db"


def made(path: Path) -> cv.SqlLedger:
    ledger = cv.SqlLedger(f"sqlite:///{path}")
    ledger.deposit("alice", 5)
    return ledger


def copy_of(path: Path) -> Path:
    """A sound copy, made as the documentation says."""
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def rotate(path: Path) -> None:
    path.rename(path.with_name("old.db"))


def rotate_all(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).rename(path.with_name(f"old.db{ending}"))


def remove(path: Path) -> None:
    path.unlink()


def remove_all(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink()


def replace(path: Path) -> None:
    copy_of(path).replace(path)


def replace_all(path: Path) -> None:
    copy = copy_of(path)
    remove_all(path)
    copy.rename(path)


def remove_the_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def move_the_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name(f"{path.parent.name}-old"))
    path.parent.mkdir()


def link_elsewhere(path: Path) -> None:
    copy = copy_of(path)
    path.unlink()
    path.symlink_to(copy)


HAPPENS = [
    rotate, rotate_all, remove, remove_all, replace, replace_all, remove_the_log, move_the_folder, link_elsewhere,
]  # fmt: skip


@pytest.mark.parametrize("happens", HAPPENS)
@pytest.mark.parametrize("closed", [False, True])
def test_an_action_on_a_file_that_is_gone_is_refused(path: Path, happens: Callable[[Path], None], closed: bool) -> None:
    """Also by a handle that has given its connections back before, and again and again."""
    if closed and happens in (rotate_all, remove_all, replace_all, remove_the_log):
        pytest.skip("where nobody has it open, there is one file")
    ledger = made(path)
    if closed:
        ledger.close()
    happens(path)
    for _ in range(2):
        with pytest.raises(cv.errors.StorageError, match=r"moved, replaced or removed|cannot be opened"):
            ledger.deposit("alice", 1)
        with pytest.raises(cv.errors.StorageError, match=r"moved, replaced or removed|cannot be opened"):
            ledger.account("alice")
        with pytest.raises(cv.errors.StorageError):
            ledger.verify_storage()
    if happens in (replace, replace_all, link_elsewhere):
        with cv.SqlLedger(f"sqlite:///{path}") as again:
            assert again.account("alice") == 5
            assert again.deposit("alice", 1) == 6
            again.verify_records()
    shutil.rmtree(path.parent.with_name(f"{path.parent.name}-old"), ignore_errors=True)


@pytest.mark.parametrize("happens", [rotate, replace, remove])
def test_what_happens_while_an_action_is_stored(
    path: Path, happens: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is stored, and between storing and acknowledging."""
    ledger = made(path)

    def act() -> None:
        with ledger.batch():
            ledger.deposit("alice", 1)
            happens(path)

    with pytest.raises(cv.errors.StorageError, match="nothing has changed"):
        act()
    path.with_name("ledger.db").unlink(missing_ok=True)
    other = made(path.with_name("other.db"))
    commit = Channel.commit

    def moved(channel: Channel) -> None:
        commit(channel)
        happens(path.with_name("other.db"))

    with monkeypatch.context() as patch:
        patch.setattr(Channel, "commit", moved)
        with pytest.raises(cv.errors.StorageError, match="is in the file that was there before"):
            other.deposit("alice", 1)


def test_a_copy_put_back_into_the_same_file_is_noticed(path: Path) -> None:
    ledger = made(path)
    ledger.close()
    copy = Path(shutil.copy(path, path.with_name("copy.db")))
    ledger.deposit("alice", 1)
    ledger.close()
    shutil.copy(copy, path)
    for _ in range(2):
        with pytest.raises(cv.errors.StorageError, match=r"no event 2 any more, .* put back"):
            ledger.deposit("alice", 1)
        with pytest.raises(cv.errors.StorageError, match=r"no event 2 any more, .* put back"):
            ledger.account("alice")
    with cv.SqlLedger(f"sqlite:///{path}") as again:
        again.deposit("alice", 7)
        again.deposit("alice", 7)
    with pytest.raises(cv.errors.StorageError, match=r"no event 2 any more"):
        ledger.deposit("alice", 1)


def test_another_ledger_in_the_same_file_is_noticed(path: Path) -> None:
    ledger, other = made(path), made(path.with_name("other.db"))
    ledger.close()
    other.close()
    shutil.copy(path.with_name("other.db"), path)
    with pytest.raises(cv.errors.StorageError, match="now holds the ledger"):
        ledger.deposit("alice", 1)


def test_a_server_that_was_put_back_is_noticed(server: Server) -> None:
    import psycopg

    url = server.new_url()
    name = url.rpartition("%3D")[2]
    ledger, other = cv.SqlLedger(url), cv.SqlLedger(url)
    ledger.deposit("alice", 5)
    with psycopg.connect(host=str(server.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
        before = connection.execute(f"SELECT seq, time, digest, deposited FROM {name}.ledger").fetchone()
        assert other.deposit("bob", 1) == 1, "what others add is no trouble"
        assert ledger.deposit("bob", 1) == 2
        connection.execute(f"DELETE FROM {name}.events WHERE seq > 1")
        connection.execute(f"DELETE FROM {name}.accounts WHERE name = 'bob'")
        connection.execute(f"UPDATE {name}.ledger SET (seq, time, digest, deposited) = (%s, %s, %s, %s)", before)
    with pytest.raises(cv.errors.StorageError, match="no event 3 any more"):
        ledger.deposit("alice", 1)
    assert cv.SqlLedger(url).deposit("alice", 1) == 6


@contextmanager
def without_permission(folder: Path) -> Iterator[None]:
    """A folder with files that this process may read and not write; root becomes somebody else meanwhile."""
    folder.parent.chmod(0o755)
    for file in (*folder.iterdir(), folder):
        file.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_read_only_medium(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with made(path) as ledger:
        head = ledger.head().digest
    before = path.read_bytes()
    with without_permission(path.parent):
        assert main(["ledger", "show", str(path)]) == 0
        assert main(["ledger", "verify", str(path), "--head", head]) == 0
        with cv.SqlLedger(f"sqlite:///file:{path}?mode=ro&uri=true") as found:
            assert found.account("alice") == 5
            with pytest.raises(cv.errors.StorageError, match="can only be read"):
                found.deposit("alice", 1)
        with pytest.raises(cv.errors.StorageError, match=r"can only be read|mode=ro"):
            cv.SqlLedger(f"sqlite:///{path}")
    assert head in capsys.readouterr().out
    assert os.listdir(path.parent) == ["ledger.db"]
    assert path.read_bytes() == before


def test_a_read_only_file_in_a_folder_of_ones_own(path: Path) -> None:
    made(path).close()
    path.chmod(0o444)
    assert main(["ledger", "verify", str(path)]) == 0


def test_a_read_only_medium_without_the_newest_actions(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To show the older state that the file itself holds would be wrong."""
    ledger = made(path)
    (path.parent / "medium").mkdir()
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", path.parent / "medium")
    with without_permission(path.parent / "medium"):
        assert main(["ledger", "show", str(path.parent / "medium" / "ledger.db")]) == 2
    assert "its newest actions are in ledger.db-wal" in capsys.readouterr().err
    assert ledger.account("alice") == 5


def test_a_read_only_medium_that_somebody_writes_to(path: Path) -> None:
    made(path).close()
    with without_permission(path.parent):
        ledger = cv.SqlLedger(f"sqlite:///file:{path}?mode=ro&uri=true")
        assert ledger.account("alice") == 5
    path.chmod(0o644)
    with cv.SqlLedger(f"sqlite:///{path}") as writer:
        writer.deposit("alice", 1)
        with pytest.raises(cv.errors.StorageError, match="somebody wrote to it"):
            ledger.account("alice")
