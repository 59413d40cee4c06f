"""What a transaction has changed and not written yet: each record once, as it is now."""

from collections.abc import Mapping
from typing import Any

from crynux_validate.ledger.interface import Event, Group, Policy
from crynux_validate.ledger.sql import statements
from crynux_validate.ledger.sql.channel import Channel
from crynux_validate.ledger.sql.known import Known, Records
from crynux_validate.ledger.sql.pools import encode_members, encode_weights, weights_digest
from crynux_validate.ledger.sql.records import answers_to_rows, class_to_text, group_progress, node_to_row, task_key
from crynux_validate.machines.pairing import weight_of
from crynux_validate.machines.roster import Node


class Unsent:
    """Collects changed records and events, and writes them.

    Parameters
    ----------
    channel
        Of a transaction that writes.
    known
        What this process has read or written before.
    records
        What the transaction has read and changed.
    policy
        The ledger's.
    """

    def __init__(self, channel: Channel, known: Known, records: Records, policy: Policy) -> None:
        self._channel = channel
        self._known = known
        self._records = records
        self._policy = policy
        self.events: list[Event] = []
        self._begin()

    def _begin(self) -> None:
        self.events = []
        self._accounts: dict[str, int] = {}
        self._nodes: dict[str, Node] = {}
        self._new_nodes: dict[str, int] = {}
        self._groups: dict[str, Group] = {}
        self._before: dict[str, Group] = {}
        self._new_groups: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, str | None] = {}
        self._tasks: dict[bytes, str] = {}
        self._new_weights: dict[bytes, bytes] = {}

    def account(self, name: str, balance: int) -> None:
        """Take a balance."""
        self._accounts[name] = balance

    def node(self, before: Node | None, node: Node) -> None:
        """Take a node that has changed; before, there was none where it is new."""
        if before is None:
            number = self._next_number()
            self._records.count = number + 1
            self._new_nodes[node.id] = number
        if before is None or (before.joined, before.stake) != (node.joined, node.stake):
            self._records.weights = None
        self._nodes[node.id] = node

    def group(self, before: Group, after: Group) -> None:
        """Take a group that has changed since it was read or taken."""
        if after.id not in self._new_groups:
            self._before.setdefault(after.id, before)
        if after.status.is_over and not after.keeps_task:
            self.tasks[after.task.digest] = None
        self._groups[after.id] = after

    def new_group(self, group: Group, number: int, joined: Mapping[str, Node]) -> None:
        """Take a group that opened as this one of its ledger, while these nodes had joined."""
        task, key = group.task, task_key(group.task)
        if group.keeps_task:
            self.tasks[task.digest] = group.id
        if key not in self._known.tasks:
            self._tasks[key] = self._known.tasks.get(key, lambda: task).to_json()
        count = self._next_number()
        unsent = [(number, name, self._nodes[name].owner) for name, number in self._new_nodes.items()]
        _, _, numbers = self._known.names(self._channel, count, unsent)
        members = self._known.members.get(
            (group.pool.digest, count),
            lambda: encode_members([numbers[node] for node in group.pool.ids], count),
        )
        weights = self._weights_of(joined, numbers, count)
        self._known.pools.get((members, weights), lambda: group.pool)
        self._groups[group.id] = group
        self._new_groups[group.id] = {
            "id": group.id,
            "number": number,
            "creator": group.creator,
            "fee": str(group.fee),
            "min_memory_gib": group.min_memory_gib,
            "gpu_class": class_to_text(group.gpu_class),
            "task": key,
            "beacon_round": group.beacon_round,
            "opened": group.opened,
            "draw_deadline": group.draw_deadline,
            "weights": weights,
            "pool": members,
            "base": str(group.base),
        }

    def changed_groups(self) -> tuple[Group, ...]:
        """The groups that have been taken, as they are now."""
        return tuple(self._groups.values())

    def _next_number(self) -> int:
        """How many nodes there are: the number that the next one gets."""
        if self._records.count is None:
            self._records.count = int(self._channel.row(statements.NODE_COUNT)[0])
        return self._records.count

    def _weights_of(self, joined: Mapping[str, Node], numbers: Mapping[str, int], count: int) -> bytes:
        """Return the digest of the weights of all nodes, which are stored where they are new."""
        import numpy as np

        if self._records.weights is None:
            stakes = [node.stake for node in joined.values()]
            unit = self._policy.weight_unit
            weight = {stake: weight_of(stake, unit) for stake in set(stakes)}
            weights = np.zeros(count, np.uint32)
            weights[[numbers[name] for name in joined]] = [weight[stake] for stake in stakes]
            self._records.weights = name = weights_digest(weights)
            if name not in self._known.weights:
                self._known.weights.get(name, lambda: weights)
                self._new_weights[name] = encode_weights(weights)
        return self._records.weights

    def send(self, head: Mapping[str, object]) -> None:
        """Write all of it, with where the log now ends, in an order in which no row refers to one that is not there."""
        write = self._channel.write
        if self._new_groups:
            self._send_new_groups()
        if self._groups:
            self._send_groups()
        if self._nodes:
            self._send_nodes()
        accounts = self._accounts.items()
        write(statements.SET_BALANCE, [{"name": name, "balance": str(balance)} for name, balance in accounts])
        write(
            statements.NEW_EVENT,
            [{"seq": event.seq, "body": event.canonical_bytes.decode("utf-8")} for event in self.events],
        )
        write(statements.SET_HEAD, [head])
        self._begin()

    def _send_new_groups(self) -> None:
        write = self._channel.write
        write(statements.NEW_TASK, [{"digest": key, "body": body} for key, body in self._tasks.items()])
        write(statements.NEW_WEIGHTS, [{"digest": name, "body": body} for name, body in self._new_weights.items()])
        write(
            statements.NEW_GROUP,
            [row | group_progress(self._groups[name]) for name, row in self._new_groups.items()],
        )

    def _send_groups(self) -> None:
        old = ((group, self._before[name]) for name, group in self._groups.items() if name not in self._new_groups)
        moved = [group for group, before in old if group.status is not before.status]
        self._channel.write(statements.SET_GROUP, [{**group_progress(group), "of_group": group.id} for group in moved])
        answers: list[Mapping[str, Any]] = []
        for name, group in self._groups.items():
            before = self._before[name].rounds if name in self._before else ()
            answers += answers_to_rows(name, before, group.rounds)
        self._channel.write(statements.SET_ANSWER, answers)

    def _send_nodes(self) -> None:
        new = self._new_nodes
        rows = {name: node_to_row(node) for name, node in self._nodes.items()}
        self._channel.write(statements.NEW_NODE, [{**rows[name], "number": number} for name, number in new.items()])
        old = [{**row, "of_node": name} for name, row in rows.items() if name not in new]
        self._channel.write(statements.SET_NODE, old)
