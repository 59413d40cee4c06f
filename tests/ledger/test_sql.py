"""Ledgers in a database: what was acknowledged stays, whoever acts at once and whatever dies (protocol L1, L2, L7)."""

import json
import multiprocessing
import os
import pickle
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

from benchmarks import soak
from sqlalchemy import Connection, Table, and_, text, update

import crynux_validate as cv
from crynux_validate.encoding import canonical_json
from crynux_validate.errors import BrokenLogError, UnknownIdError
from crynux_validate.ledger.actions import Action, DrawGroup, Join, OpenGroup
from crynux_validate.ledger.sql.audit import check_records
from crynux_validate.ledger.sql.channel import Channel, Statement
from crynux_validate.ledger.sql.statements import HEAD
from crynux_validate.ledger.sql.tables import ACCOUNTS, ANSWERS, EVENTS, GROUPS, LEDGER, NODES, TASKS, WEIGHTS
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.draws import SlowBeacon
from crynux_validate.testing.conformance.network import LEDGER_ID, SilentBeacon
from crynux_validate.testing.conformance.network import Network as NetworkAround
from tests.ledger import backends
from tests.ledger.conftest import using
from tests.ledger.helpers import CARD, CHEAT, HONEST, HONEST_TEXT, POLICY, TASK, TEXT, Network


@pytest.fixture(scope="module", autouse=True, params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    yield from using(request.param, request)


def sql(network: Network) -> cv.SqlLedger:
    assert isinstance(network.ledger, cv.SqlLedger)
    return network.ledger


def edit(ledger: cv.SqlLedger, statement: object) -> None:
    """Change the database behind the ledger's back."""
    with ledger._engine.begin() as connection:
        done = connection.execute(statement)  # type: ignore[call-overload]
        assert done.rowcount == 1


def test_everything_is_there_again(backend: backends.Backend) -> None:
    network = Network(nodes=8)
    network.attest()
    settled = network.answered(HONEST_TEXT, HONEST_TEXT, HONEST_TEXT, task=TEXT)
    slashed = network.answered(HONEST, HONEST, CHEAT)
    drawn = network.drawn()
    network.commit(drawn.id, drawn.members[0])
    network.ledger.leave(next(node.id for node in network.ledger.nodes() if node.group is None))
    waiting = network.ledger.open_group(TASK, creator="app", fee=3)
    network.ledger.deposit("rich", 2**255)
    again = backend.again(network.ledger)
    assert isinstance(again, cv.SqlLedger)
    assert (again.id, again.policy) == ("test", POLICY)
    for group in (settled, slashed, network.ledger.group(drawn.id), waiting):
        assert again.group(group.id) == group
        assert pickle.loads(pickle.dumps(again.group(group.id))) == group
    assert again.account("rich") == 2**255
    assert again.events() == network.ledger.events()
    assert again.events(since=5) == again.events()[5:]
    assert again.totals() == network.ledger.totals()
    assert again.nodes() == network.ledger.nodes()
    assert [group.id for group in again.last_groups()] == ["group-4", "group-3", "group-2", "group-1"]
    assert [group.id for group in again.last_groups(2)] == ["group-4", "group-3"]
    assert sum(again.accounts().values()) == again.totals().accounts
    assert len(again.all_nodes()) == len(again.nodes()) + 1
    assert again.verify_log() == again.events()[-1].digest == again.head().digest
    assert again.head().seq == len(again.events()) - 1
    again.verify_records()
    again.verify_storage()


def test_processes_have_one_beacon(backend: backends.Backend) -> None:
    ledger = backend.make(POLICY, clock=lambda: 1_000_000)
    again = backend.again(ledger)
    assert ledger.epoch().challenge is not None
    assert ledger.epoch() == again.epoch()
    assert backend.make(POLICY, clock=lambda: 1_000_000).epoch() != ledger.epoch()


def test_another_policy_or_id_is_refused(backend: backends.Backend) -> None:
    url = backend.url_of(Network().ledger)
    with pytest.raises(cv.errors.InvalidInputError, match="another policy: threshold is 16 there and 5 here"):
        cv.SqlLedger(url, replace(POLICY, threshold=5))
    with pytest.raises(cv.errors.InvalidInputError, match="holds the ledger 'test', not 'mine'"):
        cv.SqlLedger(url, ledger_id="mine")
    assert cv.SqlLedger(url, POLICY, ledger_id="test").account("app") == 10_000
    listed = replace(POLICY, admitted_declarations=("ab" * 32,))
    assert cv.SqlLedger(backend.url_of(Network(policy=listed).ledger), listed).policy == listed
    assert backend.make().id != backend.make().id, "no two ledgers have one id"


def test_a_newer_or_a_foreign_database_is_refused(backend: backends.Backend) -> None:
    ledger = sql(Network())
    url = backend.url_of(ledger)
    edit(ledger, update(LEDGER).values(schema="crynux-validate/sql-ledger/4"))
    with pytest.raises(cv.errors.StorageError, match=r"newer version .* version 4, this one reads up to 3; upgrade"):
        cv.SqlLedger(url)
    for old in (1, 2):
        edit(ledger, update(LEDGER).values(schema=f"crynux-validate/sql-ledger/{old}"))
        older = (
            rf"older version .* version {old}, this one reads 3. Read its log with that version, .* SqlLedger.replay"
        )
        with pytest.raises(cv.errors.StorageError, match=older):
            cv.SqlLedger(url)
    edit(ledger, update(LEDGER).values(schema="my-ledger/1"))
    with pytest.raises(cv.errors.StorageError, match="says that its tables are 'my-ledger/1'"):
        cv.SqlLedger(url)
    other = sql(Network())
    with other._engine.begin() as connection:
        for table in reversed(LEDGER.metadata.sorted_tables):
            table.drop(connection)
        connection.execute(text("CREATE TABLE ledger (id TEXT)"))
    with pytest.raises(cv.errors.StorageError, match="holds tables of something else"):
        cv.SqlLedger(backend.url_of(other))


def test_a_log_is_replayed_into_a_new_database_only(backend: backends.Backend) -> None:
    network = Network()
    network.answered(HONEST, HONEST, CHEAT)
    events = network.ledger.events()
    url = backend.url_of(backend.make(POLICY))
    with pytest.raises(cv.errors.StorageError, match="holds a ledger"):
        cv.SqlLedger.replay(events, url)
    forged = [*events[:-1], replace(events[-1], kind="draw")]
    with pytest.raises(BrokenLogError):
        backend.replay(forged)
    again = backend.replay(events, clock=network.clock)
    assert (again.id, again.policy, again.events()) == ("test", POLICY, events)
    assert again.deposit("more", 5) == 5


def test_an_edited_record_or_event_is_found(backend: backends.Backend) -> None:
    network = Network()
    group = network.answered(HONEST, HONEST, CHEAT)
    ledger = sql(network)
    head = ledger.verify_log()

    def is_found(statement: object, undo: object, match: str) -> None:
        edit(ledger, statement)
        with pytest.raises(BrokenLogError, match=match):
            ledger.verify_records()
        edit(ledger, undo)
        ledger.verify_records()

    balance, stake = ACCOUNTS.c.name == "app", NODES.c.id == group.members[0]
    is_found(
        update(ACCOUNTS).where(balance).values(balance="10001"),
        update(ACCOUNTS).where(balance).values(balance=str(ledger.account("app"))),
        "account app is not what the log says: 10001 is stored",
    )
    is_found(update(NODES).where(stake).values(stake="1"), update(NODES).where(stake).values(stake="1000"), "node n")
    is_found(update(GROUPS).values(fee="9"), update(GROUPS).values(fee="100"), "group group-1 is not")
    is_found(update(LEDGER).values(burnt="0"), update(LEDGER).values(burnt="1000"), "the money")
    with pytest.raises(BrokenLogError, match="not with the head 00"):
        ledger.verify_log("00" * 32)
    assert ledger.verify_log(head) == head
    body = ledger.events()[3].canonical_bytes.decode()
    edit(ledger, update(EVENTS).where(EVENTS.c.seq == 3).values(body=body.replace('"time":', '"time":1')))
    with pytest.raises(BrokenLogError, match="event 4 "):
        ledger.verify_log()
    edit(ledger, update(EVENTS).where(EVENTS.c.seq == 3).values(body="{}"))
    with pytest.raises(BrokenLogError, match="event 3 cannot be read"):
        ledger.events()
    edit(ledger, update(NODES).where(stake).values(gpu="{"))
    with pytest.raises(cv.errors.StorageError, match="cannot be read: the database was damaged or edited"):
        ledger.nodes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seq":2', '"seq":2,"seq":2'),
        ('"seq":2', '"seq":9,"seq":2'),
        ('"seq":2', '"seq": 2'),
        ('"seq":2', '"seq":2.0'),
        ('"seq":2', '"seq":2e0'),
        ('"kind"', '"k\\u0069nd"'),
        ("{", " {"),
    ],
)
def test_a_row_of_the_log_that_reads_the_same_and_is_not_the_same_is_found(
    backend: backends.Backend, old: str, new: str
) -> None:
    """A repeated key, white space, other forms of a number or a letter: other readers may see something else."""
    ledger = sql(Network())
    body = ledger.events()[2].canonical_bytes.decode()
    edit(ledger, update(EVENTS).where(EVENTS.c.seq == 2).values(body=body.replace(old, new, 1)))
    for check in (ledger.verify_log, ledger.verify_records):
        with pytest.raises(BrokenLogError, match="event 2 "):
            check()


def test_derived_columns_and_rows_that_belong_to_nothing_are_found(backend: backends.Backend) -> None:
    """They decide what later actions read: which nodes changed, which groups wait."""
    network = Network()
    settled, drawn = network.answered(HONEST, HONEST, CHEAT), network.drawn(fee=3)
    ledger = sql(network)
    ledger.verify_records()

    def is_found(statement: object) -> None:
        with ledger._engine.connect() as connection:
            if backend.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            connection.execute(statement)  # type: ignore[call-overload]
            store = ledger._store(Channel(connection.connection, connection.dialect), [_head(connection)], write=False)
            with pytest.raises(BrokenLogError):
                check_records(store, ledger.id, ledger.policy, ledger._beacon, store.head.time)
            connection.rollback()

    of_group, of_node = GROUPS.c.id == drawn.id, NODES.c.id == settled.members[0]
    is_found(update(GROUPS).where(of_group).values(deadlines=" [[1,2]]"))
    is_found(update(GROUPS).where(of_group).values(fee="03"))
    is_found(update(NODES).where(of_node).values(stake="01000"))
    is_found(update(LEDGER).values(time=LEDGER.c.time + 1))
    is_found(ACCOUNTS.insert().values(name="nobody", balance="0"))
    is_found(TASKS.insert().values(digest=bytes(32), body="{}"))
    is_found(WEIGHTS.insert().values(digest=bytes(32), body=b""))
    is_found(
        ANSWERS.insert().values(group_id=drawn.id, round=7, node="n0", commitment=bytes(32)),
    )
    ledger.verify_records()


def test_every_column_that_decides_a_draw_is_checked(backend: backends.Backend) -> None:
    """The queue, who was drawn when, who leaves, what a draw found: one edited row of it, and the check says so."""
    network = Network(nodes=12, policy=replace(POLICY, min_pool_ppm=0))
    settled = network.answered(HONEST, HONEST, CHEAT, fee=3)
    first, second = network.opened(fee=3), network.opened(fee=3)
    network.clock.advance(1)
    drawn = network.ledger.draw(second.id)
    assert drawn.draw is not None
    assert drawn.draw.unavailable
    waiting = network.opened(fee=3, creator="o0")
    free = next(node.id for node in network.ledger.nodes() if node.group is None)
    network.ledger.leave(free)
    ledger = sql(network)
    ledger.verify_records()
    one_less = dict(sorted(drawn.draw.unavailable.items())[1:])
    other_taker = dict.fromkeys(drawn.draw.unavailable, settled.id)

    def in_group(group: cv.Group, **values: object) -> object:
        return update(GROUPS).where(GROUPS.c.id == group.id).values(**values)

    def in_node(node: str, **values: object) -> object:
        return update(NODES).where(NODES.c.id == node).values(**values)

    edits: list[tuple[str, object]] = [
        ("policy and beacon", update(LEDGER).values(beacon="local/2")),
        ("policy and beacon", update(LEDGER).values(beacon="slow")),
        ("policy and beacon", update(LEDGER).values(policy="{}")),
        ("the number of groups", update(LEDGER).values(group_count=5)),
        ("the queue of groups", update(LEDGER).values(handled_count=2)),
        ("the queue of groups", update(LEDGER).values(handled_count=4)),
        ("the queue of groups", update(LEDGER).values(last_round=LEDGER.c.last_round + 1)),
        ("column number", in_group(waiting, number=7)),
        ("column keeps_task", in_group(settled, keeps_task=False)),
        ("column keeps_task", in_group(drawn, keeps_task=False)),
        ("column keeps_task", in_group(waiting, keeps_task=False)),
        ("group group-4", in_group(waiting, base="10999")),
        ("column base", in_group(waiting, base="010000")),
        ("group group-4", in_group(waiting, beacon_round=5)),
        ("group group-3", in_group(drawn, beacon=bytes(32))),
        ("group group-3", in_group(drawn, unavailable="{}")),
        ("group group-3", in_group(drawn, unavailable=canonical_json(one_less).decode())),
        ("group group-3", in_group(drawn, unavailable=canonical_json(other_taker).decode())),
        ("column unavailable", in_group(drawn, unavailable=json.dumps(dict(drawn.draw.unavailable), indent=1))),
        ("group group-3", in_group(drawn, unavailable_weight="2999")),
        ("column unavailable_weight", in_group(drawn, unavailable_weight="03000")),
        ("group group-3", in_group(drawn, members="\n".join(reversed(drawn.members)))),
        (f"node {free}", in_node(free, leaving=None)),
        (f"node {free}", in_node(free, leaving=3)),
        (f"node {drawn.members[0]}", in_node(drawn.members[0], leaving=4)),
        (f"node {drawn.members[0]}", in_node(drawn.members[0], drawn_at=4)),
        (f"node {drawn.members[0]}", in_node(drawn.members[0], drawn_by=first.id)),
        (f"node {drawn.members[0]}", in_node(drawn.members[0], drawn_at=None)),
        (f"node {drawn.members[0]}", in_node(drawn.members[0], group_id=None)),
    ]
    for match, statement in edits:
        with ledger._engine.connect() as connection:
            assert connection.execute(statement).rowcount == 1  # type: ignore[call-overload]
            store = ledger._store(Channel(connection.connection, connection.dialect), [_head(connection)], write=False)
            with pytest.raises(BrokenLogError, match=match):
                check_records(store, ledger.id, ledger.policy, ledger._beacon, store.head.time)
            connection.rollback()
    ledger.verify_records()


def test_the_name_of_the_beacon_is_checked_when_a_ledger_is_opened_again(backend: backends.Backend) -> None:
    ledger = sql(Network())
    url = backend.url_of(ledger)
    for name in ("local/2", "slow", "two words"):
        edit(ledger, update(LEDGER).values(beacon=name))
        with pytest.raises(BrokenLogError, match="id, policy or beacon is not what the log says"):
            cv.SqlLedger(url).verify_records()
        with pytest.raises(cv.errors.InvalidInputError, match=f"needs {name}, with which it began"):
            cv.SqlLedger(url, beacon=cv.ledger.LocalBeacon(b"secret"))


def _head(connection: Connection) -> object:
    return connection.execute(text(HEAD.compiled(connection.dialect)[0])).one()


def test_a_draw_that_the_own_beacon_did_not_make_is_found(backend: backends.Backend) -> None:
    clock = ManualClock()
    honest = backend.make(POLICY, ledger_id=LEDGER_ID, clock=clock)
    network = NetworkAround(honest, clock, nodes=12)
    network.drawn()
    network.drawn()
    assert isinstance(honest, cv.SqlLedger)
    honest.verify_records()
    honest._beacon = cv.ledger.LocalBeacon(b"a value that somebody liked better")
    network.drawn()
    again = backend.again(honest)
    assert isinstance(again, cv.SqlLedger)
    with pytest.raises(
        BrokenLogError, match="the beacon's value for group-3 is not what the ledger's own beacon gives"
    ):
        again.verify_records()


def _forged(ledger: cv.SqlLedger, *actions: Action) -> None:
    """Write what whoever keeps the database can write: actions that the rules allow, whatever the beacon says."""
    with ledger._writing() as store:
        for action in actions:
            ledger._record(store, action, ledger._now(store))


@pytest.mark.parametrize("beacon", [cv.ledger.LocalBeacon(b"secret"), SlowBeacon()])
@pytest.mark.parametrize("away", [-5_000, -1, 1, 5_000])
def test_a_round_that_was_not_the_next_one_is_found(
    backend: backends.Backend, beacon: cv.ledger.Beacon, away: int
) -> None:
    """Whoever can take a round that was public at the opening chooses the members (P4a)."""
    clock, policy = ManualClock(), replace(POLICY, beacon_delay_seconds=15)
    network = NetworkAround(backend.make(policy, ledger_id=LEDGER_ID, clock=clock, beacon=beacon), clock, nodes=12)
    ledger = network.ledger
    assert isinstance(ledger, cv.SqlLedger)
    if away > 0:  # a round before that of the group before it is refused by the rules
        network.opened(fee=3)
    ledger.verify_records()
    number = beacon.next_round(clock.now + policy.beacon_delay_seconds) + away
    _forged(ledger, OpenGroup(TASK.replace(seed=9), "app", 3, 0, None, number))
    with pytest.raises(BrokenLogError, match=r"the beacon round of group-. is not what the ledger's own beacon gives"):
        ledger.verify_records()


@pytest.mark.parametrize("beacon", [cv.ledger.LocalBeacon(b"secret"), SlowBeacon()])
def test_a_value_before_its_time_is_found(backend: backends.Backend, beacon: cv.ledger.Beacon) -> None:
    """At the time of such a draw the beacon gives nothing that an invented value could be compared with (P4b)."""
    clock, policy = ManualClock(), replace(POLICY, beacon_delay_seconds=15)
    network = NetworkAround(backend.make(policy, ledger_id=LEDGER_ID, clock=clock, beacon=beacon), clock, nodes=12)
    ledger, group = network.ledger, network.opened(fee=3)
    assert isinstance(ledger, cv.SqlLedger)
    _forged(ledger, DrawGroup(group.id, b"a value that somebody liked better"))
    clock.advance(30)  # whoever checks it does so later
    with pytest.raises(BrokenLogError, match="value for group-1 is not what the ledger's own beacon gives"):
        ledger.verify_records()


def test_a_beacon_that_was_ahead_or_fell_silent_is_believed(backend: backends.Backend) -> None:
    """What a beacon with a clock of its own gave cannot be told from what it gave a little later, nor asked then."""
    clock, policy = ManualClock(), replace(POLICY, beacon_delay_seconds=15)
    made = backend.make(policy, ledger_id=LEDGER_ID, clock=clock, beacon=SlowBeacon())
    network = NetworkAround(made, clock, nodes=12)
    ledger, group = network.ledger, network.opened(fee=3)
    assert isinstance(ledger, cv.SqlLedger)
    value = SlowBeacon().value(group.beacon_round, clock.now + 100)
    _forged(ledger, DrawGroup(group.id, value))
    ledger.verify_records()
    clock.advance(100)
    ledger.verify_records()


def test_a_group_that_was_closed_though_its_value_was_public_is_found(backend: backends.Backend) -> None:
    """Whoever can say that a beacon is silent chooses which groups are drawn (P4b)."""
    network = Network()
    ledger = sql(network)
    group = network.opened(fee=3)
    network.clock.now = group.draw_deadline
    own, ledger._beacon = ledger._beacon, SilentBeacon()
    assert ledger.draw(group.id).status is cv.ledger.Status.CLOSED
    ledger.verify_records()
    ledger._beacon = own
    with pytest.raises(
        BrokenLogError, match="the beacon's value for group-1 is not what the ledger's own beacon gives"
    ):
        ledger.verify_records()


def test_a_check_tells_how_far_it_is(backend: backends.Backend) -> None:
    ledger = sql(Network())
    for check in (ledger.verify_log, ledger.verify_records):
        told: list[cv.ledger.Event] = []
        check(on_event=told.append)
        assert tuple(told) == ledger.events()


def test_a_record_too_many_or_too_few_is_found(backend: backends.Backend) -> None:
    network = Network()
    settled, drawn = network.answered(HONEST, HONEST, CHEAT), network.drawn(fee=3)
    network.commit(drawn.id, drawn.members[0])
    ledger = sql(network)
    ledger.verify_records()

    def is_found(remove: object, table: Table, match: str) -> None:
        with ledger._engine.begin() as connection:
            rows = connection.execute(table.select().where(remove)).mappings().all()  # type: ignore[arg-type]
            assert connection.execute(table.delete().where(remove)).rowcount == len(rows) == 1  # type: ignore[arg-type]
        with pytest.raises(BrokenLogError, match=match):
            ledger.verify_records()
        with ledger._engine.begin() as connection:
            connection.execute(table.insert(), [dict(row) for row in rows])
        ledger.verify_records()

    for group in (settled, drawn):
        with ledger._engine.connect() as connection:
            answer = connection.execute(ANSWERS.select().where(ANSWERS.c.group_id == group.id)).first()
        assert answer is not None
        of_node = and_(ANSWERS.c.group_id == group.id, ANSWERS.c.node == answer.node)
        is_found(of_node, ANSWERS, f"group {group.id} is not what the log says")
    is_found(ACCOUNTS.c.name == "app", ACCOUNTS, "the money is not what the log says")
    is_found(NODES.c.id == network.ledger.nodes()[-1].id, NODES, "the nodes that have joined")
    with ledger._engine.begin() as connection:
        row = dict(connection.execute(GROUPS.select().where(GROUPS.c.id == drawn.id)).mappings().one())
        connection.execute(GROUPS.insert(), row | {"id": "group-9", "number": 9, "escrow": None})
    with pytest.raises(BrokenLogError, match="the number of groups is not what the log says"):
        ledger.verify_records()
    edit(ledger, GROUPS.delete().where(GROUPS.c.id == "group-9"))
    ledger.verify_records()


@pytest.mark.long
def test_checking_a_longer_log_takes_no_more_memory(backend: backends.Backend) -> None:
    network = Network(nodes=3)
    ledger = sql(network)

    def peak_after(groups: int) -> int:
        with ledger.batch():
            while ledger.head().seq < 9 * groups:
                network.answered(HONEST, HONEST, HONEST, fee=3)
        tracemalloc.start()
        try:
            ledger.verify_records()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_after(10)
    few, many = peak_after(120), peak_after(360)  # from 120 on, a page of the log is full
    assert many < few + 1_000_000, "a group and its events take more than 20,000 bytes in memory"


def test_a_log_that_was_cut_off_is_found(backend: backends.Backend) -> None:
    ledger = sql(Network())
    head = ledger.verify_log()
    edit(ledger, EVENTS.delete().where(EVENTS.c.seq == len(ledger.events()) - 1))
    with pytest.raises(BrokenLogError, match="cut off or rewritten"):
        ledger.verify_log(head)
    with pytest.raises(BrokenLogError, match="cut off or rewritten"):
        ledger.verify_log()


def test_an_action_that_fails_half_way_changes_nothing(
    backend: backends.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever statement of an action fails, all others are undone with it (L1)."""
    network = Network()
    group = network.drawn()
    for node in group.members:
        network.commit(group.id, node)
    ledger = sql(network)

    def act() -> None:
        """In one transaction, so that it writes to every table that a group changes."""
        with ledger.batch():
            for node in group.members:
                network.reveal(group.id, node)
            ledger.settle(group.id)

    before = (ledger.events(), ledger.totals(), ledger.all_nodes(), ledger.accounts(), ledger.group(group.id))
    sent = 0

    def failing(at: int) -> Callable[..., None]:
        original = Channel.write

        def write(channel: Channel, statement: Statement, rows: Sequence[Any]) -> None:
            nonlocal sent
            original(channel, statement, rows)
            sent += bool(rows)
            if sent == at:
                raise RuntimeError("the machine stopped here")

        return write

    for at in range(1, 7):  # the group, its answers, nodes, balances, the event, the head
        sent = 0
        with monkeypatch.context() as patch:
            patch.setattr(Channel, "write", failing(at))
            with pytest.raises(RuntimeError):
                act()
        assert sent == at
        again = backend.again(ledger)
        assert isinstance(again, cv.SqlLedger)
        assert (again.events(), again.totals(), again.all_nodes(), again.accounts(), again.group(group.id)) == before
    act()
    assert ledger.group(group.id).status is cv.ledger.Status.SETTLED
    ledger.verify_records()


def connection_of(ledger: cv.SqlLedger) -> int:
    with ledger._engine.connect() as connection:
        return id(connection.connection.dbapi_connection)


def _in_a_child(ledger: cv.SqlLedger, results: "multiprocessing.Queue[tuple[int, int]]") -> None:
    results.put((ledger.deposit("a", 1), connection_of(ledger)))


def test_a_forked_process_opens_its_own_connections(backend: backends.Backend) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("this platform has no fork")
    ledger = sql(Network())
    mine = connection_of(ledger)
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    child = context.Process(target=_in_a_child, args=(ledger, results))
    child.start()
    balance, theirs = results.get(timeout=60)
    child.join()
    assert balance == 1
    if backend.name == "postgresql":  # a file is closed while a process is forked
        assert theirs != mine, "an object that lives in both processes stands at one address"
        assert connection_of(ledger) == mine
    assert ledger.deposit("a", 1) == 2
    ledger.verify_log()


def test_what_was_undone_is_not_remembered(backend: backends.Backend) -> None:
    """A node that joined in a transaction that failed gives its number to the next one that joins."""
    ledger = sql(Network(nodes=3))
    ledger.deposit("o3", 1_000)

    def fail() -> None:
        with ledger._writing() as store:
            ledger._act(store, Join("never", "o3", CARD, 500))
            ledger._act(store, OpenGroup(TASK, "app", 3, 0, None, 1_000_001))
            raise RuntimeError("the machine stopped here")

    with pytest.raises(RuntimeError):
        fail()
    ledger.join("later", owner="o3", gpu=CARD, stake=700)
    group = ledger.open_group(TASK, creator="app", fee=3)
    assert group.pool.ids == ("later", "n0", "n1", "n2")
    assert ledger.group(group.id).pool == group.pool
    ledger.verify_records()


def test_processes_act_all_at_once(backend: backends.Backend) -> None:
    url = backend.url_of(backend.make(soak.POLICY, ledger_id="soak", clock=soak.milliseconds))
    soak.set_up(url)
    assert soak.act_together(url, processes=4, actions=25) > 100


def test_nothing_acknowledged_is_lost_when_a_process_is_killed(backend: backends.Backend) -> None:
    url = backend.url_of(backend.make(soak.POLICY, ledger_id="soak", clock=soak.milliseconds))
    soak.set_up(url)
    acknowledged, events = soak.kill_while_writing(url, kills=3)
    assert 3 <= acknowledged <= events


def test_the_soak_sees_what_is_lost(backend: backends.Backend) -> None:
    url = backend.url_of(backend.make(soak.POLICY, ledger_id="soak", clock=soak.milliseconds))
    soak.set_up(url)
    said = soak.line_of("deposit", {"account": "app", "amount": str(10**9)})
    soak.check(url, [said])
    with pytest.raises(AssertionError, match="acknowledged and lost"):
        soak.check(url, [said, said])


def test_pools_of_many_groups_are_stored_once(backend: backends.Backend) -> None:
    network = Network(nodes=5, policy=replace(POLICY, min_pool_ppm=0))
    ledger = sql(network)

    def opened(creator: str = "app") -> cv.Group:
        """A group that waits no longer than this, and nobody commits in it: all are free again."""
        group = network.opened(fee=3, creator=creator)
        network.clock.advance(1)
        network.clock.now = ledger.draw(group.id).commit_deadline
        ledger.settle(group.id)
        return group

    groups = [opened() for _ in range(4)]
    ledger.join("late", owner="o0", gpu=CARD, stake=401)
    groups.append(opened())
    groups.append(opened(creator="o1"))
    backend.again(ledger).join("later", owner="o0", gpu=CARD, stake=402)  # what the first one keeps is out of date
    groups.append(opened())
    with ledger._engine.connect() as connection:
        assert len(connection.execute(WEIGHTS.select()).all()) == 3
    again = backend.again(ledger)
    for group in groups:
        assert again.group(group.id).pool == group.pool
        assert again.group(group.id).pool.digest == group.pool.digest
    assert [len(group.pool) for group in groups] == [5, 5, 5, 5, 6, 5, 7]
    assert again.group(groups[4].id).pool[0].weight == 401
    stored = again.group(groups[0].id).pool
    assert isinstance(stored, cv.machines.Pool)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = stored.nothing  # type: ignore[attr-defined]


def test_questions_and_their_errors(backend: backends.Backend) -> None:
    ledger = sql(Network())
    with pytest.raises(UnknownIdError):
        ledger.group("group-9")
    for since in (-1, True, "0", None, 2**63):
        with pytest.raises(cv.errors.InvalidInputError, match="since"):
            ledger.events(since)  # type: ignore[arg-type]
    for count in (0, -1, True, "1"):
        with pytest.raises(cv.errors.InvalidInputError, match="count"):
            ledger.last_groups(count)  # type: ignore[arg-type]
    with cv.SqlLedger(backend.url_of(ledger)) as inside:
        assert inside.account("app") == 10_000
    assert inside.account("app") == 10_000, "a closed ledger opens again"
    assert "SqlLedger test in" in repr(ledger)
