"""The records of a `SqlLedger`, as one transaction sees them."""

import json
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from crynux_validate.encoding import MAX_SAFE_INTEGER, shorten
from crynux_validate.errors import BrokenLogError, InvalidInputError, StorageError
from crynux_validate.ledger.interface import Event, Group, Policy, Round, Status, Totals
from crynux_validate.ledger.rules import Change
from crynux_validate.ledger.sql import statements
from crynux_validate.ledger.sql.channel import Channel, Statement
from crynux_validate.ledger.sql.known import Known, Records
from crynux_validate.ledger.sql.pools import StoredPool, build_pool, decode_members, decode_weights
from crynux_validate.ledger.sql.records import (
    class_from_text,
    lines,
    readable,
    rounds_from_rows,
    task_key,
    transfers_from_text,
    unavailable_from_text,
    verdict_from_text,
)
from crynux_validate.ledger.sql.unsent import Unsent
from crynux_validate.ledger.store import Head
from crynux_validate.machines.pool import Pool
from crynux_validate.machines.roster import Draw, Node
from crynux_validate.tasks import Task, task_from_json

_SENT_AFTER: Final = 5_000
"""After how many events a transaction sends what it has, so that it need not keep more."""


def check_as_written(seq: int, event: Event, body: str) -> None:
    """Refuse a row of the log that is not what this library writes, though it reads the same: L5 is about bytes."""
    try:
        written = event.canonical_bytes
    except InvalidInputError as error:
        raise BrokenLogError(f"event {seq} has no canonical form: {error}") from error
    if written != body.encode("utf-8", "surrogatepass") or event.seq != seq:
        raise BrokenLogError(f"event {seq} is not stored in its canonical form: edited, or written by something else")


def _rows_with(columns: Sequence[str]) -> Any:
    """Return a kind of row whose columns have names."""
    return namedtuple("Row", columns)


_GroupRow: Final = _rows_with(statements.GROUP_COLUMNS)


class SqlStore:
    """Implements `crynux_validate.ledger.store.Store` in a transaction.

    What an action changes is kept until the transaction ends, or somebody asks for more than single records: so each
    record is read once and written once, however many actions of a batch change it.

    Parameters
    ----------
    channel
        In a transaction on a database that holds a ledger; for writing, one that sees all that was written before.
    found
        The ledger's own row in it: what `statements.HEAD` asks for.
    moment
        What a server's clock said when the transaction had begun, if it was asked.
    policy
        The ledger's.
    known
        What this process has read before.
    reload_pool
        Reads a group's pool once this transaction is over.
    write
        Whether all others are kept from writing.
    """

    def __init__(
        self,
        channel: Channel,
        found: Any,
        moment: float | None,
        policy: Policy,
        known: Known,
        reload_pool: Callable[[str], Pool],
        *,
        write: bool,
    ) -> None:
        self._channel = channel
        if found is None:
            raise StorageError("the ledger's own row is missing: the database was damaged or edited")
        self.policy = policy
        self._known = known
        self._reload_pool = reload_pool
        self._moment, self._asked = moment, time.monotonic()
        self._thread: int | None = threading.get_ident()
        kept = known.records
        # Nobody has written since these were kept, or the head would be another one.
        self._records = kept if write and kept is not None and kept.row == found else Records.of(found)
        self.id = self._records.ledger
        self._unsent = Unsent(self._channel, known, self._records, policy)
        self.wrote = False

    def close(self) -> None:
        """End with the transaction: what is read later is read in another one."""
        self._thread = None

    def keep(self) -> None:
        """Leave what was read and changed to the next transaction of this process that writes."""
        self._known.records = self._records if self._records.worth_keeping else None

    def server_time(self) -> int:
        """Return the seconds since 1970 by the server's clock, which is asked once in a transaction."""
        if self._moment is None:
            (self._moment,), self._asked = self._channel.row(statements.CLOCK), time.monotonic()
        return int(self._moment + time.monotonic() - self._asked)

    @property
    def head(self) -> Head:
        return self._records.head

    def is_mine(self) -> bool:
        """Whether who asks may use this transaction's connection."""
        return self._thread == threading.get_ident()

    def balance(self, account: str) -> int:
        if account not in self._records.balances:
            row = self._channel.row(statements.BALANCE, account=account)
            with readable(f"the balance of {account}"):
                self._records.balances[account] = 0 if row is None else int(row[0])
        return self._records.balances[account]

    def find_node(self, node: str) -> Node | None:
        if node not in self._records.nodes:
            rows = self._channel.rows(statements.NODE, node=node)
            self._records.nodes[node] = next(iter(self._known.nodes(rows)), None)
        return self._records.nodes[node]

    def joined_nodes(self) -> Iterable[Node]:
        return tuple(self._joined().values())

    def _joined(self) -> dict[str, Node]:
        if self._records.roster is None:
            self.send()
            self._records.roster = {node.id: node for node in self._known.nodes(self._channel.rows(statements.JOINED))}
            self._records.nodes.update(self._records.roster)
        return self._records.roster

    def find_group(self, group: str) -> Group | None:
        found = self._records.groups.get(group)
        if found is None:
            row = self._channel.row(statements.GROUP, group=group)
            if row is None:
                return None
            found = self._group_from_row(_GroupRow._make(row))
            if not found.status.is_over:  # there is no end of those that are
                self._records.groups[group] = found
        return found

    def group_count(self) -> int:
        return self._records.group_count

    def handled_count(self) -> int:
        return self._records.handled_count

    def last_beacon_round(self) -> int:
        return self._records.last_round

    def drawn_since(self, number: int) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if number < self._records.complete_from:
            found = dict(self._channel.rows(statements.DRAWN_SINCE, number=number))
        for opened, group, members in reversed(self._records.drawn):
            if opened < number:
                break
            found |= dict.fromkeys(members, group)
        return found

    def group_with(self, task: str) -> str | None:
        if task in self._unsent.tasks:
            return self._unsent.tasks[task]
        row = self._channel.row(statements.WITH_TASK, digest=bytes.fromhex(task))
        return None if row is None else str(row[0])

    def write(self, change: Change, event: Event) -> None:
        """Take a change and its event; `send` writes them."""
        self.wrote = True
        for account, balance in change.accounts.items():
            self._records.balances[account] = balance
            self._unsent.account(account, balance)
        for group in change.groups.values():
            if group.status is Status.OPEN:
                self._records.group_count += 1
                self._records.last_round = group.beacon_round
                self._unsent.new_group(group, self._records.group_count, self._joined())
            else:
                self._unsent.group(self._records.groups[group.id], group)
                if change.handled and group.draw is not None:
                    self._records.drawn.append((self._records.group_count, group.id, group.members))
            self._records.groups[group.id] = group
        self._records.handled_count += change.handled
        while self._records.drawn and self._records.drawn[0][0] <= self._records.handled_count:
            self._records.drawn.popleft()
        for node in change.nodes.values():
            self._write_node(node)
        self._unsent.events.append(event)
        for name in self._records.money:
            self._records.money[name] += getattr(change, name)
        self._records.head = Head.of(event)
        if len(self._unsent.events) >= _SENT_AFTER:
            self.send()

    def _write_node(self, node: Node) -> None:
        before = self.find_node(node.id)
        self._unsent.node(before, node)
        self._records.nodes[node.id] = node
        if self._records.roster is None:
            return
        if node.joined:
            self._records.roster[node.id] = node
        else:
            self._records.roster.pop(node.id, None)

    def send(self) -> None:
        """Write what has been taken."""
        if not self._unsent.events:
            return
        head, changed = self._records.head, self._unsent.changed_groups()
        amounts = map(str, self._records.money.values())
        queue = self._records.group_count, self._records.handled_count, self._records.last_round
        row = self._records.row = (self.id, head.seq, head.time, head.digest, *queue, *amounts)
        self._unsent.send(dict(zip(statements.HEAD_COLUMNS[1:], row[1:], strict=True)))
        for group in changed:  # only these: there may be many that wait
            if group.status.is_over:
                del self._records.groups[group.id]

    def events(self, since: int) -> Iterator[Event]:
        self.send()
        while rows := self._channel.rows(statements.EVENTS_FROM, since=since):
            for seq, body in rows:
                try:
                    event = Event(**json.loads(body))
                except (TypeError, ValueError) as error:
                    raise BrokenLogError(f"event {seq} cannot be read: {error}") from error
                check_as_written(seq, event, body)
                yield event
            since = rows[-1][0] + 1

    def held(self) -> int:
        return self._records.money["deposited"] - self._records.money["withdrawn"]

    def totals(self) -> Totals:
        self.send()

        def added(what: str, column: Statement) -> int:
            with readable(what):
                return sum(int(amount) for (amount,) in self._channel.rows(column))

        return Totals(
            accounts=sum(self.accounts().values()),
            stakes=added("a node's stake", statements.STAKES),
            escrows=added("a group's escrow", statements.ESCROWS),
            **self._records.money,
        )

    def accounts(self) -> dict[str, int]:
        """Return every balance, by the accounts' names."""
        self.send()
        rows = self._channel.rows(statements.BALANCES)
        with readable("an account's balance"):
            return {name: int(balance) for name, balance in rows}

    def all_nodes(self) -> list[Node]:
        """Return every node, also those that have left, in the order in which they first joined."""
        self.send()
        return self._known.nodes(self._channel.rows(statements.ALL_NODES))

    def last_groups(self, count: int | None) -> list[Group]:
        """Return the groups that opened last, the newest first; all of them for None."""
        self.send()
        rows = self._channel.rows(statements.LAST_GROUPS, count=MAX_SAFE_INTEGER if count is None else count)
        return [self._group_from_row(_GroupRow._make(row)) for row in rows]

    def count_groups(self) -> int:
        """Count the groups that are stored."""
        self.send()
        return int(self._channel.row(statements.GROUPS_STORED)[0])

    def first_of(self, statement: Statement, **values: object) -> Any:
        """Return the first row of the answer to a statement, as it is stored; None where there is none."""
        self.send()
        return self._channel.row(statement, **values)

    def node_rows(self) -> list[Any]:
        """Return the rows of all nodes, as they are stored."""
        self.send()
        return self._channel.rows(statements.NODE_ROWS)

    def load_pool(self, group: str) -> Pool:
        """Read the pool of a group."""
        self.send()
        row = self._channel.row(statements.POOL, group=group)
        if row is None:
            raise StorageError(f"there is no group {group} whose pool could be read")
        members, digest = row
        with readable(f"the pool of {group}"):
            return self._known.pools.get((members, digest), lambda: self._build_pool(members, digest))

    def _build_pool(self, members: bytes, digest: bytes) -> Pool:
        weights = self._known.weights.get(
            digest, lambda: decode_weights(self._channel.row(statements.WEIGHTS_OF, digest=digest)[0])
        )
        ids, owners, _ = self._known.names(self._channel, len(weights))
        return build_pool(decode_members(members), weights, ids, owners)

    def _group_from_row(self, row: Any) -> Group:
        name: str = row.id
        with readable(f"group {name}"):
            status = Status(row.status)
            pool = StoredPool(lambda: self.load_pool(name) if self.is_mine() else self._reload_pool(name))
            found: Draw | None = None
            rounds: tuple[Round, ...] = ()
            task, fee = self._task(row.task), int(row.fee)
            if row.members is not None:
                found = Draw(
                    ledger=self.id,
                    group=name,
                    task=task.digest,
                    policy=self.policy.digest,
                    fee=fee,
                    beacon_round=row.beacon_round,
                    beacon=row.beacon,
                    pool=pool,
                    unavailable=unavailable_from_text(row.unavailable),
                    unavailable_weight=int(row.unavailable_weight),
                    members=lines(row.members),
                )
                rounds = rounds_from_rows(row.deadlines, self._channel.rows(statements.ANSWERS_OF, group=name))
            return Group(
                id=name,
                task=task,
                creator=row.creator,
                fee=fee,
                min_memory_gib=row.min_memory_gib,
                policy=self.policy,
                pool=pool,
                base=int(row.base),
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

    def _task(self, key: bytes) -> Task:
        def read() -> Task:
            task = task_from_json(self._channel.row(statements.TASK, digest=key)[0])
            if task_key(task) != key:
                raise StorageError(f"the task {key.hex()} is stored as {shorten(task.digest)}: edited")
            return task

        return self._known.tasks.get(key, read)
