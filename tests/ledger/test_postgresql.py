"""PostgreSQL: skipped or failing where it is not installed, and started again while somebody has a ledger open."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crynux_validate as cv
from crynux_validate.ledger.sql import engine
from tests.ledger import backends, conftest, postgresql
from tests.ledger.conftest import using
from tests.ledger.postgresql import NotInstalledError, Server


@pytest.fixture(scope="module", autouse=True, params=["memory"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    yield from using(request.param, request)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgresql, "_FOLDERS", ())


@pytest.mark.usefixtures("nothing_installed")
def test_without_it_tests_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(conftest.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"there is no initdb|psycopg"):
        conftest.start_server()


@pytest.mark.usefixtures("nothing_installed")
def test_where_it_is_required_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(conftest.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="CRYNUX_VALIDATE_REQUIRE_POSTGRESQL=1 says that it must be"):
        conftest.start_server()


def test_the_newest_is_taken_and_the_one_on_the_path_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version in ("9", "15", "15.2", "16"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "initdb").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgresql, "_FOLDERS", (f"{tmp_path}/*/bin",))
    assert postgresql._programs() == tmp_path / "16" / "bin"
    monkeypatch.setenv("PATH", str(tmp_path / "9" / "bin"))
    assert postgresql._programs() == tmp_path / "9" / "bin"


def test_root_without_the_servers_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_user(*_: object) -> None:
        raise LookupError("no such user: 'postgres'")

    monkeypatch.setattr(postgresql, "_programs", lambda: tmp_path)
    monkeypatch.setattr(Path, "owner", lambda _: "root")
    monkeypatch.setattr("shutil.chown", no_user)
    with pytest.raises(NotInstalledError, match="no user 'postgres'"):
        postgresql.Server(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_was_started_again_while_nobody_acted(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="needs the extra 'postgresql'")
    server = conftest.start_server()
    try:
        ledger = cv.SqlLedger(server.new_url(), cv.Policy())
        ledger.deposit("alice", 1)
        server.halt()
        server.start()
        monkeypatch.setattr(engine, "_RESTED_SECONDS", 0.0)
        assert ledger.deposit("alice", 1) == 2
        server.halt()
        server.start()
        monkeypatch.setattr(engine, "_RESTED_SECONDS", 3_600.0)
        with pytest.raises(cv.errors.StorageError, match="the connection failed"):
            ledger.deposit("alice", 1)
        assert ledger.deposit("alice", 1) == 3, "it has a new connection"
    finally:
        server.stop()


def test_tables_that_a_crash_empties_are_refused(server: Server) -> None:
    import psycopg

    url = server.new_url()
    name = url.rpartition("%3D")[2]
    with cv.SqlLedger(url) as ledger:
        ledger.deposit("alice", 1)
    with psycopg.connect(host=str(server.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {name}.accounts SET UNLOGGED")
    with pytest.raises(cv.errors.StorageError, match="does not keep the table 'accounts'"):
        cv.SqlLedger(url)
    for path in ("pg_temp", "nowhere", ""):
        with pytest.raises(cv.errors.StorageError, match="names no schema in which tables are kept"):
            cv.SqlLedger(url.replace(name, path))


def test_options_of_the_url_hold(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.new_url()
    with cv.SqlLedger(url + "%20--default_statistics_target=7%20-c%20application_name=a%5C%20b") as ledger:
        channel: Any
        with ledger._writing() as store:
            channel = store._channel
            run = channel._connection.driver_connection.execute
            assert run("SHOW default_statistics_target").fetchone() == ("7",)
            assert run("SHOW application_name").fetchone() == ("a b",)
        ledger.deposit("alice", 1)
    base, _, options = url.partition("&options=")
    monkeypatch.setenv("PGOPTIONS", options.replace("%3D", "="))
    assert cv.SqlLedger(base).account("alice") == 1
    for wrong in ("-d%205", "-cnothing", "name=value"):
        with pytest.raises(cv.errors.InvalidInputError, match="expected -c name=value"):
            cv.SqlLedger(f"{base}&options={wrong}")
    with pytest.raises(cv.errors.StorageError, match="refused"):
        cv.SqlLedger(f"{url}%20-cno_such_thing=1")
