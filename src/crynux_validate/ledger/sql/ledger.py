"""A ledger that stores: what an acknowledged action did survives the death of the process (protocol L7)."""

import os
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self, cast

from sqlalchemy import Connection, Engine, select, text

from crynux_validate.encoding import check_function, check_integer, shorten
from crynux_validate.errors import (
    InvalidInputError,
    LedgerError,
    StorageBusyError,
    StorageError,
)
from crynux_validate.ledger.base import StoringLedger
from crynux_validate.ledger.beacon import check_beacon
from crynux_validate.ledger.clock import checked_time, clock_or_system
from crynux_validate.ledger.forks import Gate, tell_of_forks
from crynux_validate.ledger.interface import Beacon, Clock, Event, Group, Policy
from crynux_validate.ledger.log import event_digest
from crynux_validate.ledger.replay import Genesis, beacon_of, genesis_of
from crynux_validate.ledger.rules import group_id
from crynux_validate.ledger.sql.audit import check_records
from crynux_validate.ledger.sql.beginning import read_own, write_first
from crynux_validate.ledger.sql.channel import Channel, Writer, borrowed
from crynux_validate.ledger.sql.engine import Database
from crynux_validate.ledger.sql.files import claim_file, keep_a_write_ahead_log, where_nothing_can_be_made
from crynux_validate.ledger.sql.known import Known
from crynux_validate.ledger.sql.statements import CLOCK, EVENT, HEAD, HEAD_FOR_UPDATE
from crynux_validate.ledger.sql.store import SqlStore
from crynux_validate.ledger.sql.tables import is_new
from crynux_validate.ledger.sql.troubles import as_storage_error, storage_errors
from crynux_validate.ledger.sql.urls import read_url
from crynux_validate.ledger.store import Head, Store, check_last_value
from crynux_validate.machines.pool import Pool
from crynux_validate.machines.roster import Node

_RESTORED: Final = "it was put back or replaced: open it again, with a new SqlLedger, if that was meant"
_CREATION_LOCK: Final = 0x6372796E7578  # one number that all who make a ledger in PostgreSQL agree on


class SqlLedger(StoringLedger):
    """A `crynux_validate.Ledger` in a database, through SQLAlchemy.

    Threads and processes may share it: actions happen one after the other, and each sees all that were acknowledged
    before. Every action is one transaction with its event (L1), and is acknowledged when it is on the disk (L7).

    Parameters
    ----------
    url
        ``sqlite:///ledger.db`` (three slashes and a relative path, four and an absolute one), a file on a local
        disk; or ``postgresql+psycopg://user@host/database``, a database or schema of its own. What is not there yet is
        made.
    policy
        The parameters; those that the database has if left out, and `Policy()` for a new one.
    ledger_id
        1 to 128 printable ASCII characters, no spaces; part of every commitment and draw. If left out, the one that the
        database has, and a random one for a new one, so that no two ledgers have the same.
    clock
        Returns the time in integer seconds. Left out, it is the host's with SQLite, and with PostgreSQL the server's,
        which is one for all hosts. A reading up to 60 seconds before the last event counts as its time; one that is
        further behind, or beyond the year 2100, is a `ClockError` (L6).
    beacon
        Public randomness; one that is given is given whenever the ledger is opened to draw. Left out, it is a
        `LocalBeacon` whose secret is in the database, the same for all processes: whoever reads the database knows the
        draws beforehand.
    timeout
        How many seconds an action waits for other processes.
    trust_clock
        Takes a `clock` also with PostgreSQL, where hosts with different clocks would do harm: for tests.

    Raises
    ------
    InvalidInputError
        For a URL that names no such database, and for a policy or an id that is not the one that the database has.
    StorageError
        Where the database cannot be opened, is damaged, holds something else, or was written by a newer version.
    StorageBusyError
        Also of every action: others held the database for longer than `timeout`.
    """

    _seen: Head | None = None
    """Where the log ended when this process last looked."""

    _in_use: SqlStore | None = None
    """What the thread that writes just now sees."""

    def __init__(
        self,
        url: str,
        policy: Policy | None = None,
        *,
        ledger_id: str | None = None,
        clock: Clock | None = None,
        beacon: Beacon | None = None,
        timeout: float = 30.0,
        trust_clock: bool = False,
    ) -> None:
        self._connect(url, policy, ledger_id, clock, beacon, timeout, (), trust_clock)

    def _connect(
        self,
        url: str,
        policy: Policy | None,
        ledger_id: str | None,
        clock: Clock | None,
        beacon: Beacon | None,
        timeout: float,
        log: Sequence[Event],
        trust_clock: bool,
    ) -> None:
        address = read_url(url)
        if type(timeout) not in (int, float) or not 0 <= timeout <= 86_400:
            raise InvalidInputError(f"timeout is {shorten(timeout)}; expected seconds, 0 to 86,400")
        if clock is not None and not address.is_sqlite and trust_clock is not True:
            raise InvalidInputError(
                "a ledger on PostgreSQL has the server's clock, which is one for all hosts; leave clock out, or say "
                "trust_clock=True in a test"
            )
        self._asks_server = clock is None and not address.is_sqlite
        # For a database that is new; checked before anything is made.
        if address.path is not None and not address.path.exists():
            checked_time(clock_or_system(clock)())
            if beacon is not None and not log:
                check_beacon(beacon, Policy() if policy is None else policy)
        new_id = f"ledger-{secrets.token_hex(8)}" if ledger_id is None else ledger_id
        super().__init__(new_id, Policy() if policy is None else policy, clock=clock)
        if log:
            self._beacon = beacon_of(genesis_of(log), beacon)
        Genesis(self._id, self._policy, self._beacon.name, 0).event()
        self._where = address.shown
        self._timeout = timeout
        claim_file(address, timeout)
        self._database = Database(where_nothing_can_be_made(address), timeout)
        self._engine = self._database.engine
        self._inherited: list[object] = []
        self._begin_here()
        self.gate = Gate(self._where, waits=address.is_sqlite)
        tell_of_forks(self)
        try:
            with self._asking() as connection:
                new = is_new(connection, self._where)
            if new and not log and beacon is not None:
                self._beacon = check_beacon(beacon, self._policy)
            if new or log:
                with self._here():
                    self._make(log, given=beacon is not None)
            with self._asking() as connection:
                self._id, self._policy, self._beacon = read_own(connection, self._where, ledger_id, policy, beacon)
            if beacon is not None:
                with self._reading() as store:
                    check_last_value(store, beacon)
        except BaseException:
            self.close()
            raise

    @classmethod
    def replay(
        cls,
        events: Sequence[Event],
        url: str,
        *,
        clock: Clock | None = None,
        beacon: Beacon | None = None,
        timeout: float = 30.0,
        trust_clock: bool = False,
    ) -> Self:
        """Build the ledger that a log describes in a new database, by doing every action of it again (L5).

        It is made in one transaction: a log that cannot be repeated leaves the database empty.

        Raises
        ------
        BrokenLogError
            Names the first event that the rules do not allow, or whose result they do not give.
        StorageError
            Where the database holds something.
        """
        start = genesis_of(events)
        ledger = cls.__new__(cls)
        ledger._connect(url, start.policy, start.ledger, clock, beacon, timeout, events, trust_clock)
        return ledger

    def before_fork(self) -> None:
        """Give back the connections to a file: SQLite must not have it open when the process is forked."""
        if self._database.watch is not None:
            self._writer.close()
            self._engine.dispose()

    def after_fork_in_child(self) -> None:
        """Refuse a file on which somebody was in a transaction; a server knows the child by its own connections."""
        if self._database.watch is not None and not self.gate.is_quiet:
            self._database.watch.spoil()

    def close(self) -> None:
        """Give back the connections; the ledger can still be used, and then opens new ones."""
        self._check_process()
        self._writer.close()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SqlLedger {self.id} in {self._where}>"

    @property
    def beacon(self) -> Beacon:
        """Where the values of draws and challenges come from; only its name where it was needed and not given (P4a)."""
        return self._beacon

    def clock_time(self) -> int:
        """Return what the ledger's clock says now, whether or not an action would take it."""
        with self._looking() as store:
            return cast("int", self._time(store))

    def accounts(self) -> Mapping[str, int]:
        """Return all balances, by the accounts' names."""
        with self._looking_around() as store:
            return store.accounts()

    def all_nodes(self) -> Sequence[Node]:
        """Return all nodes, also those that have left."""
        with self._looking_around() as store:
            return tuple(store.all_nodes())

    def waiting(self) -> Sequence[str]:
        """Return the ids of the groups that wait for their draw, the one that is drawn next first (P4a)."""
        with self._looking() as store:
            return tuple(map(group_id, range(store.handled_count() + 1, store.group_count() + 1)))

    def last_groups(self, count: int | None = None) -> Sequence[Group]:
        """Return the groups that opened last, the newest first; all of them if no number is given."""
        if count is not None:
            check_integer(count, "count", 1)
        with self._looking_around() as store:
            return tuple(store.last_groups(count))

    def verify_storage(self) -> None:
        """Let the database check its own files, where it can: SQLite reads all of its file.

        Raises
        ------
        StorageError
            Says what is damaged.
        """
        if self._engine.dialect.name != "sqlite":
            return
        self.head()  # which also looks whether the file is still where it was
        with self._asking() as connection:
            problems = connection.scalars(text("PRAGMA integrity_check")).all()
            orphans = connection.execute(text("PRAGMA foreign_key_check")).all()
        if problems != ["ok"] or orphans:
            found = "; ".join(map(str, problems[:3])) if problems != ["ok"] else f"{len(orphans)} rows refer to nothing"
            raise StorageError(f"{self._where}: the file is damaged ({found}); go back to a copy of it")

    def verify_records(self, *, on_event: Callable[[Event], None] | None = None) -> None:
        """Do every action of the log again, and compare all that is stored with what that gives (L5).

        Of a longer log it keeps nothing but the digests of the tasks that were answered (L9), some 200 bytes each.

        Parameters
        ----------
        on_event
            Is told each event before it is done again, to show how far it is.

        Raises
        ------
        BrokenLogError
            Names the first event that the rules do not allow, or the first record that is not what the log says.
        """
        check_function(on_event, "on_event")
        with self._looking_around() as store:
            present = max(store.head.time, checked_time(self._time(store)))
            check_records(store, self.id, self.policy, self._beacon, present, on_event)

    @contextmanager
    def _here(self) -> Iterator[None]:
        """Be in a transaction, in the process that this is."""
        with self.gate.inside():
            self._check_process()
            yield

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """Give a connection that sees one moment."""
        engine = self._database.engine_for(self._database.begins.reading)
        with self._here(), storage_errors(self._where), engine.begin() as connection:
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let the threads of this process take turns: a database makes them wait by asking again and again."""
        self._check_process()
        turn = self._turn
        if not turn.acquire(timeout=self._timeout):
            raise StorageBusyError(f"{self._where}: other threads hold it; nothing has changed, try again")
        try:
            with self._here():
                yield
        except BaseException as error:
            self._known = Known()  # it may hold what was read or changed by a transaction that did not happen
            named = as_storage_error(error, self._where)
            if named is None:
                raise
            raise named from error
        finally:
            turn.release()

    def _named(self, error: BaseException) -> BaseException:
        return as_storage_error(error, self._where) or error

    @contextmanager
    def _looking_around(self) -> Iterator[SqlStore]:
        """Give the records with what only a database can be asked."""
        with self._looking() as store:
            yield cast("SqlStore", store)

    @contextmanager
    def _reading(self) -> Iterator[SqlStore]:
        watch, seen = self._database.watch, self._seen
        with self._here(), storage_errors(self._where):
            channel = borrowed(self._engine)
            try:
                found = channel.begin(self._database.begins.reading, [HEAD])
                if watch is not None:
                    watch.begun(channel.notes)
                self._follow(seen, found[0])
                store = self._store(channel, found, write=False)
                try:
                    yield store
                finally:
                    store.close()
                if watch is not None:
                    watch.check(channel.notes)
            finally:
                channel.close()

    @contextmanager
    def _writing(self) -> Iterator[SqlStore]:
        refused: Exception | None = None
        first = [HEAD_FOR_UPDATE, CLOCK] if self._asks_server else [HEAD_FOR_UPDATE]
        with self._alone(), self._writer.transaction(first) as (channel, found):
            self._follow(self._seen, found[0], channel)
            store = self._store(channel, found, write=True)
            self._in_use = store
            try:
                yield store
                channel.send_ahead()
                store.send()
            except (LedgerError, InvalidInputError) as error:
                if store.wrote:
                    raise
                refused = error  # nothing has changed: what was read is still right
            finally:
                self._in_use = None
                store.close()
            store.keep()
        self._seen = store.head
        if refused is not None:
            raise refused

    def _store(self, channel: Channel, found: Sequence[Any], *, write: bool) -> SqlStore:
        moment = found[1][0] if len(found) > 1 else None
        return SqlStore(channel, found[0], moment, self._policy, self._known, self._reload_pool, write=write)

    def _follow(self, seen: Head | None, found: Any, channel: Channel | None = None) -> None:
        """Refuse a database that has gone back behind what this process has seen of it: one that was restored.

        Parameters
        ----------
        seen
            Where the log ended before this transaction began, as far as this process knows.
        found
            The ledger's own row; a missing one is somebody else's business.
        channel
            Asks for the event that was seen, where there are newer ones.
        """
        if found is None:
            return
        ledger, seq, moment, digest, *_ = found
        if ledger != self._id:
            raise StorageError(f"{self._where} now holds the ledger {ledger!r}, not {self._id!r}; {_RESTORED}")
        if seen is not None and seq > seen.seq and channel is not None:
            event = channel.row(EVENT, number=seen.seq)
            follows = event is not None and event_digest(event[0].encode("utf-8")) == seen.digest
        else:
            follows = seen is None or seq > seen.seq or (seq == seen.seq and digest == seen.digest)
        if not follows:
            raise StorageError(
                f"{self._where}: the log has no event {seen and seen.seq} any more, with which it ended; {_RESTORED}"
            )
        if seen is None or seq > seen.seq:
            self._seen = Head(seq, moment, digest)

    def _time(self, store: Store) -> object:
        return cast("SqlStore", store).server_time() if self._asks_server else self._clock()

    def _reload_pool(self, group: str) -> Pool:
        writing = self._in_use
        if writing is not None and writing.is_mine():  # a second connection might not be had before this one is free
            return writing.load_pool(group)
        with self._reading() as store:
            return store.load_pool(group)

    def _make(self, log: Sequence[Event], *, given: bool) -> None:
        """Make the tables with the first event, or with all that a log says; `given` is whether the beacon was."""
        if self._engine.dialect.name == "sqlite":
            with storage_errors(self._where):
                keep_a_write_ahead_log(self._engine, self._timeout)
        with self._alone(), self._database.engine_for(self._database.begins.writing).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(text(f"pg_advisory_xact_lock({_CREATION_LOCK})")))
            if not is_new(connection, self._where):
                if log:
                    raise StorageError(f"{self._where} holds a ledger; a log is replayed into a new database")
                return  # somebody else was quicker
            began = log[0].time if log else self._time_of(connection)
            genesis = Genesis(self._id, self._policy, self._beacon.name, began)
            write_first(connection, genesis, kept_secret=not given, repeated=len(log))
            if log:
                channel = Channel(connection.connection, connection.dialect)
                store = self._store(channel, [channel.row(HEAD_FOR_UPDATE)], write=True)
                self._repeat(store, log)
                if given:
                    check_last_value(store, self._beacon)
                store.send()
                store.close()
        if self._engine.dialect.name == "sqlite":
            # The file itself then holds the tables: without its write-ahead log it is an old ledger, never a new one.
            with storage_errors(self._where), self._engine.connect() as connection:
                connection.exec_driver_sql("COMMIT")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.exec_driver_sql("BEGIN")

    def _time_of(self, connection: Connection) -> int:
        if not self._asks_server:
            return self._clock()
        return int(connection.exec_driver_sql(CLOCK.compiled(connection.dialect)[0]).scalar_one())

    def _check_process(self) -> None:
        """A process that was forked has its parent's connections, which it must neither use nor close."""
        if self._process != os.getpid():
            self._inherited += [self._engine.pool, self._writer]
            self._engine.dispose(close=False)
            self._begin_here()

    def _begin_here(self) -> None:
        """Begin in a process, with connections of its own."""
        self._writer = Writer(self._engine, self._database.begins.writing, self._database.watch)
        self._turn = threading.Lock()
        self._known = Known()
        self._in_use = None
        self._process = os.getpid()
        self._finalizer = weakref.finalize(self, _dispose, self._engine, self._writer, self._process)


def _dispose(engine: Engine, writer: Writer, process: int) -> None:
    """Close the connections of a ledger that is gone, in the process that opened them."""
    if process == os.getpid():
        writer.close()
        engine.dispose()
