"""The records of a `SqlLedger`, as one transaction sees them."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from sqlalchemy import Connection, bindparam, func, insert, select, update

from crynux_validate.encoding import shorten
from crynux_validate.errors import BrokenLogError, StorageError
from crynux_validate.ledger.base import Head
from crynux_validate.ledger.interface import Event, Group, Policy, Round, Status, Totals
from crynux_validate.ledger.rules import Change
from crynux_validate.ledger.sql.pools import (
    StoredPool,
    build_pool,
    decode_members,
    decode_weights,
    encode_members,
    encode_weights,
)
from crynux_validate.ledger.sql.records import (
    NODE_COLUMNS,
    class_from_text,
    class_to_text,
    group_progress,
    lines,
    node_to_row,
    nodes_from_rows,
    readable,
    rounds_from_rows,
    transfers_from_text,
    verdict_from_text,
)
from crynux_validate.ledger.sql.tables import ACCOUNTS, ANSWERS, EVENTS, GROUPS, LEDGER, NODES, TASKS, WEIGHTS
from crynux_validate.machines.pairing import weight_of
from crynux_validate.machines.pool import Pool
from crynux_validate.machines.roster import Draw, Node
from crynux_validate.tasks import Task, task_from_json

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

_KEPT: Final = 64
"""How many tasks, and how many columns of weights, a process keeps; they are named by digests, so they never change."""

_PAGE: Final = 1_000
"""How many events are fetched at a time."""

# Statements are built once: what is sent is then compiled once.
_HEAD: Final = select(LEDGER)
_HEAD_FOR_UPDATE: Final = select(LEDGER).with_for_update()
_SET_HEAD: Final = update(LEDGER)
_BALANCE: Final = select(ACCOUNTS.c.balance).where(ACCOUNTS.c.name == bindparam("account"))
_SET_BALANCE: Final = update(ACCOUNTS).where(ACCOUNTS.c.name == bindparam("account"))
_NODE: Final = select(*NODE_COLUMNS).where(NODES.c.id == bindparam("node"))
_NUMBER: Final = select(NODES.c.number).where(NODES.c.id == bindparam("node"))
_NODE_COUNT: Final = select(func.coalesce(func.max(NODES.c.number) + 1, 0))
_SET_NODE: Final = update(NODES).where(NODES.c.id == bindparam("node"))
_JOINED: Final = select(*NODE_COLUMNS).where(NODES.c.joined).order_by(NODES.c.number)
_CHANGED: Final = (
    select(*NODE_COLUMNS)
    .where(NODES.c.changed > select(GROUPS.c.opened_seq).where(GROUPS.c.id == bindparam("group")).scalar_subquery())
    .order_by(NODES.c.number)
)
_NAMES: Final = (
    select(NODES.c.number, NODES.c.id, NODES.c.owner)
    .where(NODES.c.number >= bindparam("known"))
    .order_by(NODES.c.number)
)
_GROUP: Final = select(GROUPS).where(GROUPS.c.id == bindparam("group"))
_SET_GROUP: Final = update(GROUPS).where(GROUPS.c.id == bindparam("group"))
_POOL: Final = select(GROUPS.c.pool, GROUPS.c.weights).where(GROUPS.c.id == bindparam("group"))
_WAITING: Final = select(GROUPS.c.id, GROUPS.c.pool).where(
    GROUPS.c.escrow.isnot(None), GROUPS.c.status == bindparam("status")
)
_NEW_EVENT: Final = insert(EVENTS)
_NEW_ANSWER: Final = insert(ANSWERS)
_TASK: Final = select(TASKS.c.body).where(TASKS.c.digest == bindparam("digest"))
_WEIGHTS: Final = select(WEIGHTS.c.body).where(WEIGHTS.c.digest == bindparam("digest"))
_ANSWERS: Final = (
    select(*(ANSWERS.c[name] for name in ("round", "node", "commitment", "public_key", "signature", "opening")))
    .where(ANSWERS.c.group_id == bindparam("group"))
    .order_by(ANSWERS.c.round, ANSWERS.c.node)
)
_SET_OPENING: Final = update(ANSWERS).where(
    ANSWERS.c.group_id == bindparam("group"),
    ANSWERS.c.round == bindparam("of_round"),
    ANSWERS.c.node == bindparam("of_node"),
)
_EVENTS: Final = select(EVENTS).where(EVENTS.c.seq >= bindparam("since")).order_by(EVENTS.c.seq).limit(_PAGE)

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values that were used last, for several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, make: "Callable[[], V]") -> V:
        """Return the value of a key, made where it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value


class Known:
    """What never changes once it is stored, and so need not be read twice: tasks, weights, who has which number."""

    def __init__(self) -> None:
        self.tasks: Recent[bytes, Task] = Recent(_KEPT)
        self.weights: Recent[bytes, NDArray[np.uint32]] = Recent(_KEPT)
        self.ids: list[str] = []
        self.owners: list[str] = []
        self.numbers: dict[str, int] = {}
        self.lock = threading.Lock()


class SqlStore:
    """Implements `crynux_validate.ledger.base.Store` on a connection that is in a transaction.

    Parameters
    ----------
    connection
        Of a database that holds a ledger; for writing, in a transaction that sees all that was written before.
    policy
        The ledger's.
    known
        What this process has read before.
    reload_pool
        Reads a group's pool once this transaction is over.
    write
        Whether to keep all others from writing.
    """

    def __init__(
        self,
        connection: Connection,
        policy: Policy,
        known: Known,
        reload_pool: "Callable[[str], Pool]",
        *,
        write: bool,
    ) -> None:
        row = connection.execute(_HEAD_FOR_UPDATE if write else _HEAD).one_or_none()
        if row is None:
            raise StorageError("the ledger's own row is missing: the database was damaged or edited")
        self.id: str = row.id
        self.policy = policy
        self._connection = connection
        self._known = known
        self._reload_pool = reload_pool
        self._thread: int | None = threading.get_ident()
        with readable("the ledger's own row"):
            self._head = Head(row.seq, row.time, row.digest)
            self._money = {name: int(getattr(row, name)) for name in ("deposited", "withdrawn", "burnt")}
            self._group_count = int(row.group_count)
        self._groups: dict[str, Group] = {}
        self._roster: Iterable[Node] | None = None

    def close(self) -> None:
        """End with the transaction: what is read later is read in another one."""
        self._thread = None

    def _is_mine(self) -> bool:
        """Whether who asks may use this transaction's connection."""
        return self._thread == threading.get_ident()

    @property
    def head(self) -> Head:
        return self._head

    def balance(self, account: str) -> int:
        found = self._connection.scalar(_BALANCE, {"account": account})
        with readable(f"the balance of {account}"):
            return 0 if found is None else int(found)

    def find_node(self, node: str) -> Node | None:
        return next(iter(nodes_from_rows(self._connection.execute(_NODE, {"node": node}))), None)

    def joined_nodes(self) -> Iterable[Node]:
        self._roster = nodes_from_rows(self._connection.execute(_JOINED))
        return self._roster

    def find_group(self, group: str) -> Group | None:
        if group not in self._groups:
            row = self._connection.execute(_GROUP, {"group": group}).one_or_none()
            if row is None:
                return None
            self._groups[group] = self._group_from_row(row)
        return self._groups[group]

    def waiting_group_of(self, node: str) -> str | None:
        number = self._connection.scalar(_NUMBER, {"node": node})
        if number is None:
            return None
        for row in self._connection.execute(_WAITING, {"status": Status.OPEN.value}):
            with readable(f"the pool of {row.id}"):
                if number in decode_members(row.pool):
                    return str(row.id)
        return None

    def changed_nodes(self, group: str) -> Iterable[Node]:
        return nodes_from_rows(self._connection.execute(_CHANGED, {"group": group}))

    def group_count(self) -> int:
        return self._group_count

    def write(self, change: Change, event: Event) -> None:
        """Store a change and its event."""
        for account, balance in change.accounts.items():
            self._write_balance(account, balance)
        for group in change.groups.values():
            self._write_group(group, event.seq)
        for node in change.nodes.values():
            self._write_node(node, event.seq)
            self._roster = None
        self.append(event)
        for name in self._money:
            self._money[name] += getattr(change, name)
        self._head = Head.of(event)
        self._connection.execute(
            _SET_HEAD,
            {
                "seq": self._head.seq,
                "time": self._head.time,
                "digest": self._head.digest,
                "group_count": self._group_count,
                **{name: str(amount) for name, amount in self._money.items()},
            },
        )

    def append(self, event: Event) -> None:
        """Write one line of the log."""
        self._connection.execute(_NEW_EVENT, {"seq": event.seq, "body": event.canonical_bytes.decode("utf-8")})

    def events(self, since: int) -> Iterator[Event]:
        while rows := self._connection.execute(_EVENTS, {"since": since}).all():
            for row in rows:
                try:
                    event = Event(**json.loads(row.body))
                except (TypeError, ValueError) as error:
                    raise BrokenLogError(f"event {row.seq} cannot be read: {error}") from error
                yield event
            since = rows[-1].seq + 1

    def totals(self) -> Totals:
        def added(column: Any) -> int:
            with readable(f"the column {column}"):
                return sum(map(int, self._connection.scalars(select(column).where(column.isnot(None)))))

        return Totals(
            accounts=added(ACCOUNTS.c.balance),
            stakes=added(NODES.c.stake),
            escrows=added(GROUPS.c.escrow),
            burnt=self._money["burnt"],
            deposited=self._money["deposited"],
            withdrawn=self._money["withdrawn"],
        )

    def accounts(self) -> dict[str, int]:
        """Return every balance, by the accounts' names."""
        rows = self._connection.execute(select(ACCOUNTS).order_by(ACCOUNTS.c.name))
        with readable("an account's balance"):
            return {row.name: int(row.balance) for row in rows}

    def all_nodes(self) -> list[Node]:
        """Return every node, also those that have left, in the order in which they first joined."""
        return nodes_from_rows(self._connection.execute(select(*NODE_COLUMNS).order_by(NODES.c.number)))

    def last_groups(self, count: int | None) -> list[Group]:
        """Return the groups that opened last, the newest first; all of them for None."""
        rows = self._connection.execute(select(GROUPS).order_by(GROUPS.c.opened_seq.desc()).limit(count)).all()
        return [self._group_from_row(row) for row in rows]

    def every_group(self) -> Iterator[Group]:
        """Read all groups, the oldest first, one at a time."""
        for name in self._connection.scalars(select(GROUPS.c.id).order_by(GROUPS.c.opened_seq)).all():
            yield self._group_from_row(self._connection.execute(_GROUP, {"group": name}).one())

    def load_pool(self, group: str) -> Pool:
        """Read the pool of a group."""
        row = self._connection.execute(_POOL, {"group": group}).one()
        with readable(f"the pool of {group}"):
            weights = self._known.weights.get(
                row.weights,
                lambda: decode_weights(self._connection.execute(_WEIGHTS, {"digest": row.weights}).scalar_one()),
            )
            ids, owners, _ = self._names(len(weights))
            return build_pool(decode_members(row.pool), weights, ids, owners)

    def _names(self, count: int) -> tuple[list[str], list[str], dict[str, int]]:
        """Ids and owners of at least the first `count` nodes, and the number of each id."""
        known = self._known
        with known.lock:
            if len(known.ids) < count:
                for row in self._connection.execute(_NAMES, {"known": len(known.ids)}):
                    if row.number != len(known.ids):
                        raise StorageError(f"node number {len(known.ids)} is missing: the database was damaged")
                    known.numbers[row.id] = row.number
                    known.ids.append(row.id)
                    known.owners.append(row.owner)
        return known.ids, known.owners, known.numbers

    def _write_balance(self, account: str, balance: int) -> None:
        done = self._connection.execute(_SET_BALANCE, {"account": account, "balance": str(balance)})
        if not done.rowcount:
            self._connection.execute(insert(ACCOUNTS), {"name": account, "balance": str(balance)})

    def _write_node(self, node: Node, seq: int) -> None:
        row = node_to_row(node, seq)
        if not self._connection.execute(_SET_NODE, {**row, "node": node.id}).rowcount:
            number = self._connection.execute(_NODE_COUNT).scalar_one()
            self._connection.execute(insert(NODES), {**row, "number": number})

    def _write_group(self, group: Group, seq: int) -> None:
        """Write what of a group is new."""
        before = self.find_group(group.id)
        if before is None:
            self._insert_group(group, seq)
        elif before.status is not group.status:
            self._connection.execute(_SET_GROUP, {**group_progress(group), "group": group.id})
        else:
            for number, (old, new) in enumerate(zip(before.rounds, group.rounds, strict=True), 1):
                self._write_answers(group.id, number, old, new)
        self._groups[group.id] = group

    def _write_answers(self, group: str, number: int, old: Round, new: Round) -> None:
        for node in new.commitments.keys() - old.commitments.keys():
            signature = new.signatures.get(node)
            row = {
                "group_id": group,
                "round": number,
                "node": node,
                "commitment": new.commitments[node],
                "public_key": None if signature is None else signature.public_key,
                "signature": None if signature is None else signature.value,
            }
            self._connection.execute(_NEW_ANSWER, row)
        for node in new.openings.keys() - old.openings.keys():
            keys = {"group": group, "of_round": number, "of_node": node}
            self._connection.execute(_SET_OPENING, {**keys, "opening": new.openings[node].to_bytes()})

    def _insert_group(self, group: Group, seq: int) -> None:
        digest = group.task.digest
        if self._connection.scalar(_TASK, {"digest": digest}) is None:
            self._connection.execute(insert(TASKS), {"digest": digest, "body": group.task.to_json()})
        weights, members = self._write_pool(group.pool)
        self._connection.execute(
            insert(GROUPS),
            {
                "id": group.id,
                "creator": group.creator,
                "fee": str(group.fee),
                "min_memory_gib": group.min_memory_gib,
                "gpu_class": class_to_text(group.gpu_class),
                "task": digest,
                "beacon_round": group.beacon_round,
                "opened": group.opened,
                "opened_seq": seq,
                "draw_deadline": group.draw_deadline,
                "weights": weights,
                "pool": members,
                **group_progress(group),
            },
        )
        self._group_count += 1

    def _write_pool(self, pool: Pool) -> tuple[bytes, bytes]:
        """Store the weights of all nodes, where they are new; returns their digest, and who is in the pool."""
        import numpy as np

        count: int = self._connection.execute(_NODE_COUNT).scalar_one()
        _, _, numbers = self._names(count)
        weights = np.zeros(count, np.uint32)
        for node in self.joined_nodes() if self._roster is None else self._roster:
            weights[numbers[node.id]] = weight_of(node.stake, self.policy.weight_unit)
        members = [numbers[node] for node in pool.ids]
        weights[members] = pool.weights
        digest, body = encode_weights(weights)
        if self._connection.scalar(_WEIGHTS, {"digest": digest}) is None:
            self._connection.execute(insert(WEIGHTS), {"digest": digest, "body": body})
        return digest, encode_members(members, count)

    def _group_from_row(self, row: Any) -> Group:
        name: str = row.id
        with readable(f"group {name}"):
            status = Status(row.status)
            pool = StoredPool(lambda: self.load_pool(name) if self._is_mine() else self._reload_pool(name))
            found: Draw | None = None
            rounds: tuple[Round, ...] = ()
            if row.members is not None:
                unavailable = frozenset(lines(row.unavailable))
                found = Draw(self.id, name, row.beacon, pool, unavailable, lines(row.members))
                answers = self._connection.execute(_ANSWERS, {"group": name})
                rounds = rounds_from_rows(row.deadlines, answers)
            return Group(
                id=name,
                task=self._task(row.task),
                creator=row.creator,
                fee=int(row.fee),
                min_memory_gib=row.min_memory_gib,
                policy=self.policy,
                pool=pool,
                beacon_round=row.beacon_round,
                opened=row.opened,
                draw_deadline=row.draw_deadline,
                gpu_class=class_from_text(row.gpu_class),
                status=status,
                draw=found,
                rounds=rounds,
                verdict=verdict_from_text(row.verdict),
                delivered_by=row.delivered_by,
                transfers=transfers_from_text(row.transfers),
            )

    def _task(self, digest: bytes) -> Task:
        def read() -> Task:
            task = task_from_json(self._connection.execute(_TASK, {"digest": digest}).scalar_one())
            if task.digest != digest:
                raise StorageError(f"the task {digest.hex()} is stored as {shorten(task.digest.hex())}: edited")
            return task

        return self._known.tasks.get(digest, read)
