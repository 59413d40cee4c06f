"""PostgreSQL behind PgBouncer: each transaction may have another connection, with what others left there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")
pytest.importorskip("psycopg", reason="needs the extra 'postgresql'")

import psycopg

import crynux_validate as cv
from crynux_validate.errors import AlreadyDoneError
from tests.ledger import conftest
from tests.ledger.backends import Backend, use
from tests.ledger.helpers import CHEAT, HONEST, POLICY, TASK, Network
from tests.ledger.pgbouncer import PgBouncer
from tests.ledger.postgresql import Server


@pytest.fixture(autouse=True, scope="module")
def backend() -> None:
    """Each test makes its own ledgers."""


def options_of(server: Server) -> str:
    """A new schema, as part of a URL."""
    return f"&options={server.new_url().partition('&options=')[2]}"


def started(server: Server, mode: str, **settings: object) -> PgBouncer:
    conftest.need_pgbouncer()
    return PgBouncer(server, mode, **settings)


def act_in_threads(url: str, threads: int = 6, actions: int = 15) -> int:
    """Act with many ledgers at once; returns how many actions were acknowledged."""
    done: list[int] = []
    failed: list[BaseException] = []

    def act(number: int) -> None:
        try:
            with cv.SqlLedger(url) as ledger:
                for _ in range(actions):
                    done.append(ledger.deposit(f"account-{number}", 1))
                    assert ledger.account(f"account-{number}") >= 1
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    running = [threading.Thread(target=act, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert failed == []
    return len(done)


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("transaction", {}),
        ("transaction", {"server_reset_query_always": 1}),
        ("transaction", {"server_reset_query": "", "ignore_startup_parameters": "options"}),
        ("session", {}),
    ],
)
def test_all_that_was_acknowledged_is_there(server: Server, mode: str, settings: dict[str, object]) -> None:
    options = options_of(server)
    with started(server, mode, default_pool_size=6 if mode == "session" else 3, **settings) as pooler:
        url = pooler.url(options)
        use(Backend("pgbouncer", lambda: url))
        network = Network()
        group = network.answered(HONEST, HONEST, CHEAT)
        network.ledger.close()  # type: ignore[attr-defined]
        if mode == "transaction":
            assert act_in_threads(url) == 90
        with cv.SqlLedger(url) as again:
            again.verify_log()
            again.verify_records()
            assert again.group(group.id) == group
    with cv.SqlLedger(f"postgresql+psycopg://postgres@/postgres?host={server.folder}{options}") as direct:
        assert direct.group(group.id) == group, "it is in the schema that the URL names"


def test_one_connection_of_the_server_is_enough(server: Server) -> None:
    """What an action reads besides, it reads on the connection that it has."""
    with started(server, "transaction", default_pool_size=1, query_wait_timeout=5) as pooler:
        url = pooler.url(options_of(server))
        use(Backend("pgbouncer", lambda: url))
        network = Network()
        waiting = network.ledger.open_group(TASK, creator="app", fee=3)
        assert cv.SqlLedger(url).group(waiting.id).pool == waiting.pool
        ledger = cv.SqlLedger(url, clock=network.clock, beacon=cv.ledger.LocalBeacon(b"secret"), trust_clock=True)
        ledger.group(waiting.id)
        ledger.deposit("app", 1)
        with pytest.raises(AlreadyDoneError):
            ledger.open_group(waiting.task, creator="app", fee=3)
        network.clock.advance(1)
        assert ledger.draw(waiting.id).members


@pytest.fixture
def left_behind(server: Server) -> Iterator[tuple[str, Callable[[str], None]]]:
    """A ledger behind a pooler with one connection of the server, and what runs a statement on that connection."""
    with started(server, "transaction", default_pool_size=1, server_reset_query="", query_wait_timeout=20) as pooler:
        url = pooler.url(options_of(server))
        with cv.SqlLedger(url, POLICY) as ledger:
            ledger.deposit("alice", 5)

        def leave(statement: str) -> None:
            host, port = str(pooler.folder), pooler.url().rpartition("=")[2]
            with psycopg.connect(
                host=host, port=port, user="postgres", dbname="postgres", autocommit=True, prepare_threshold=None
            ) as other:
                other.execute(statement)

        yield url, leave


@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path = nowhere",
        "SET synchronous_commit = off",
        "SET lock_timeout = '1ms'",
        "SET default_transaction_isolation = 'serializable'",
        "CREATE TEMP TABLE accounts (name text PRIMARY KEY, balance text)",
        "CREATE TEMP TABLE ledger AS SELECT 1 AS one",
        "PREPARE _pg3_0 AS SELECT 1",
        "SET bytea_output = 'escape'",
    ],
)
def test_what_others_leave_on_a_connection_changes_nothing(
    left_behind: tuple[str, Callable[[str], None]], statement: str
) -> None:
    url, leave = left_behind
    with cv.SqlLedger(url) as ledger:
        leave(statement)
        for at in range(12):
            assert ledger.deposit("alice", 1) == 6 + at
        ledger.verify_records()
        store: Any
        with ledger._writing() as store:
            asked = [
                store._channel._connection.driver_connection.execute(f"SHOW {name}").fetchone()[0]
                for name in ("synchronous_commit", "lock_timeout", "transaction_isolation")
            ]
        assert asked == ["on", "30s", "read committed"]
    with cv.SqlLedger(url) as again:
        assert again.account("alice") == 17


def test_nothing_is_left_behind_for_others(left_behind: tuple[str, Callable[[str], None]], server: Server) -> None:
    url, leave = left_behind
    with cv.SqlLedger(url) as ledger:
        for at in range(12):
            ledger.deposit(f"account-{at}", 1)
        leave("SELECT 1 / (count(*) = 0)::int FROM pg_prepared_statements")
        leave("SELECT 1 / (count(*) = 0)::int FROM pg_settings WHERE source = 'session' AND name LIKE '%path%'")
        leave("SELECT 1 / (current_setting('lock_timeout') = '0')::int")


def test_a_pooler_in_statement_mode_is_refused_at_the_start(server: Server) -> None:
    with started(server, "statement") as pooler:
        with pytest.raises(cv.errors.StorageError, match="pool_mode = transaction"):
            cv.SqlLedger(pooler.url(options_of(server)))
        with suppress(cv.errors.StorageError), cv.SqlLedger(pooler.url()):
            pytest.fail("it was taken")


def test_without_it_tests_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.ledger.pgbouncer._FOLDERS", ())
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv(conftest.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is no pgbouncer"):
        conftest.need_pgbouncer()
    monkeypatch.setenv(conftest.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="says that it must be"):
        conftest.need_pgbouncer()
