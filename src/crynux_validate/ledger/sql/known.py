"""What a process need not read or write twice: what never changes, and records that nobody has changed since."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from crynux_validate.errors import StorageError
from crynux_validate.ledger.interface import Group
from crynux_validate.ledger.sql import statements
from crynux_validate.ledger.sql.channel import Channel
from crynux_validate.ledger.sql.records import node_from_row, readable
from crynux_validate.ledger.store import Head
from crynux_validate.machines.pool import Pool
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEPT: Final = 64
"""How many tasks, and how many columns of weights, a process keeps; they are named by digests, so they never change."""

_KEPT_POOLS: Final = 4
"""How many pools a process keeps, each by who is in it and the digest of the weights."""

_KEPT_RECORDS: Final = 100_000
"""How many balances and groups a process keeps from one transaction to the next."""

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values that were used last, for several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
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

    def __contains__(self, key: K) -> bool:
        return key in self._values


@dataclass
class Records:
    """Records as they were when the ledger's own row was `row`: what a transaction has read and changed.

    Whoever writes moves the head of the log, so the next transaction of this process may take them over where the row
    is still the same. Whoever edits the database past the log is not noticed by that, nor by anything but
    `verify_records`.

    Parameters
    ----------
    row
        The columns `statements.HEAD_COLUMNS`, as they are stored.
    ledger, head, group_count, handled_count, last_round, money
        What the row says: the id, where the log ends, how many groups were opened, how many left the queue, the beacon
        round of the last one, and what came, went and was burnt by the name of its column. All but the id move on with
        each action, before the row is written.
    balances, nodes, groups
        Accounts, nodes and groups that are not over, by their names; None for a node that is not there.
    roster
        All nodes that have joined, once they were read.
    count
        How many nodes there are, once it was asked.
    weights
        The digest of the weights of all nodes, which are stored, once it was asked.
    complete_from
        From which group's opening on `drawn` has every draw: the first group that opened since these records began.
    drawn
        The draws since then that a waiting group can have to ask for: how many groups had been opened, the group, and
        its members.
    """

    row: tuple[Any, ...]
    ledger: str
    head: Head
    group_count: int
    handled_count: int
    last_round: int
    money: dict[str, int]
    complete_from: int
    balances: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, Node | None] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    roster: dict[str, Node] | None = None
    count: int | None = None
    weights: bytes | None = None
    drawn: deque[tuple[int, str, tuple[str, ...]]] = field(default_factory=deque)

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> "Records":
        """Begin with nothing but the ledger's own row."""
        with readable("the ledger's own row"):
            ledger, seq, time, digest, groups, handled, last_round, *amounts = row
            money = dict(zip(statements.HEAD_COLUMNS[-3:], map(int, amounts), strict=True))
            head = Head(seq, time, digest)
            return cls(row, ledger, head, int(groups), int(handled), int(last_round), money, int(groups) + 1)

    @property
    def worth_keeping(self) -> bool:
        """Whether they are not too many."""
        return len(self.balances) + len(self.groups) <= _KEPT_RECORDS


class Known:
    """What a process has read or written of a database.

    Tasks, weights, and who has which number never change; a node is known by its row; `records` are as of a head.
    """

    def __init__(self) -> None:
        self.records: Records | None = None
        self.tasks: Recent[bytes, Task] = Recent(_KEPT)
        self.weights: Recent[bytes, NDArray[np.uint32]] = Recent(_KEPT)
        self.members: Recent[tuple[str, int], bytes] = Recent(_KEPT)
        self.pools: Recent[tuple[bytes, bytes], Pool] = Recent(_KEPT_POOLS)
        self.ids: list[str] = []
        self.owners: list[str] = []
        self.numbers: dict[str, int] = {}
        self.lock = threading.Lock()
        self._nodes: dict[str, tuple[Any, Node]] = {}

    def nodes(self, rows: Iterable[Any]) -> list[Node]:
        """Read nodes; a row that is the one that was read last is the same node, and not built again."""
        found = []
        for row in rows:
            kept = self._nodes.get(row[0])
            if kept is None or kept[0] != row:
                kept = self._nodes[row[0]] = (row, node_from_row(row))
            found.append(kept[1])
        return found

    def names(
        self, channel: Channel, count: int, unsent: Sequence[tuple[int, str, str]] = ()
    ) -> tuple[list[str], list[str], dict[str, int]]:
        """Return ids and owners of at least the first `count` nodes, and the number of each id.

        Parameters
        ----------
        channel
            To read those that are not known yet.
        count
            How many are wanted.
        unsent
            Numbers, ids and owners of the nodes that the transaction of the channel has not written yet.
        """
        with self.lock:
            if len(self.ids) < count:
                for number, name, owner in [*channel.rows(statements.NAMES, known=len(self.ids)), *unsent]:
                    if number < len(self.ids):
                        continue  # unsent, and known from a group that opened before
                    if number > len(self.ids):
                        raise StorageError(f"node number {len(self.ids)} is missing: the database was damaged")
                    self.numbers[name] = number
                    self.ids.append(name)
                    self.owners.append(owner)
        return self.ids, self.owners, self.numbers
