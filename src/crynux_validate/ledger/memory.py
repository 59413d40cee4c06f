"""A ledger in memory, for tests and simulations."""

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Self

from crynux_validate.commitment import Opening
from crynux_validate.encoding import check_id
from crynux_validate.errors import BrokenLogError, CrynuxValidateError, InvalidInputError, UnknownIdError
from crynux_validate.frozen import thaw
from crynux_validate.ledger.actions import (
    Action,
    AttestCommit,
    AttestReveal,
    Commit,
    Deposit,
    DrawGroup,
    Join,
    Leave,
    OpenGroup,
    Reveal,
    Settle,
    TopUp,
    Withdraw,
    action_from_dict,
    action_to_dict,
)
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.ledger.interface import GENESIS, Beacon, Clock, Epoch, Event, Group, Policy, Status, Totals
from crynux_validate.ledger.rules import Change, apply
from crynux_validate.machines.classes import Attestation, NodeClass
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import Task

_REFUSED: Final = (CrynuxValidateError, AttributeError, KeyError, TypeError, ValueError)
"""What a log that somebody else wrote can raise when it is repeated."""


def _checked_time(now: object) -> int:
    if type(now) is not int:
        raise InvalidInputError(f"the time is {now!r}; expected integer seconds")
    return now


class MemoryState:
    """The records of a `MemoryLedger`; implements `crynux_validate.ledger.rules.State`."""

    def __init__(self, ledger_id: str, policy: Policy) -> None:
        self.id = ledger_id
        self.policy = policy
        self._accounts: dict[str, int] = {}
        self._nodes: dict[str, Node] = {}
        self._groups: dict[str, Group] = {}
        self._waiting: dict[str, Group] = {}
        self._changed: dict[str, set[str]] = {}
        self._deposited = self._withdrawn = self._burnt = 0

    def balance(self, account: str) -> int:
        return self._accounts.get(account, 0)

    def find_node(self, node: str) -> Node | None:
        return self._nodes.get(node)

    def joined_nodes(self) -> Iterable[Node]:
        return [node for node in self._nodes.values() if node.joined]

    def find_group(self, group: str) -> Group | None:
        return self._groups.get(group)

    def waiting_groups(self) -> Iterable[Group]:
        return self._waiting.values()

    def changed_nodes(self, group: str) -> Collection[str]:
        return self._changed[group]

    def group_count(self) -> int:
        return len(self._groups)

    def write(self, change: Change) -> None:
        """Store a change; it cannot fail half-way."""
        self._accounts |= change.accounts
        self._nodes |= change.nodes
        self._groups |= change.groups
        for changed in self._changed.values():
            changed.update(change.nodes)
        for group in change.groups.values():
            if group.status is Status.OPEN:
                self._waiting[group.id] = group
                self._changed[group.id] = set()
            else:
                self._waiting.pop(group.id, None)
                self._changed.pop(group.id, None)
        self._deposited += change.deposited
        self._withdrawn += change.withdrawn
        self._burnt += change.burnt

    def totals(self) -> Totals:
        """Return where all money is (L2), added up from the records."""
        return Totals(
            accounts=sum(self._accounts.values()),
            stakes=sum(node.stake for node in self._nodes.values()),
            escrows=sum(group.escrow for group in self._groups.values()),
            burnt=self._burnt,
            deposited=self._deposited,
            withdrawn=self._withdrawn,
        )


class MemoryLedger:
    """A `crynux_validate.Ledger` that lives as long as its process; nothing is stored.

    Thread-safe: actions happen one after the other.

    Parameters
    ----------
    policy
        The parameters; `Policy()` if left out.
    ledger_id
        1 to 128 printable ASCII characters; part of every commitment and draw.
    clock
        Returns the time in integer seconds; the system's if left out. Time never runs backwards in a ledger: an earlier
        reading counts as the time of the last event.
    beacon
        Public randomness; a `LocalBeacon` if left out, and then whoever runs this process is trusted for the draw.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        ledger_id: str = "memory",
        clock: Clock | None = None,
        beacon: Beacon | None = None,
    ) -> None:
        self._clock: Clock = clock or (lambda: int(time.time()))
        self._beacon = beacon or LocalBeacon()
        self._state = MemoryState(check_id(ledger_id, "the ledger id"), policy or Policy())
        self._lock = threading.RLock()
        self._events = [self._genesis(_checked_time(self._clock()))]

    @property
    def id(self) -> str:
        """The ledger's id."""
        return self._state.id

    @property
    def policy(self) -> Policy:
        """The parameters for groups that open now."""
        return self._state.policy

    def deposit(self, account: str, amount: int) -> int:
        """Bring money in; returns the new balance."""
        with self._lock:
            self._act(Deposit(account, amount))
            return self.account(account)

    def withdraw(self, account: str, amount: int) -> int:
        """Take money out; returns the new balance."""
        with self._lock:
            self._act(Withdraw(account, amount))
            return self.account(account)

    def join(self, node: str, *, owner: str, gpu: GpuModel, stake: int) -> Node:
        """Join with a stake from the owner's account; a suspended node leaves first and joins again."""
        with self._lock:
            self._act(Join(node, owner, gpu, stake))
            return self.node(node)

    def leave(self, node: str) -> Node:
        """Leave; the stake goes back to the owner's account."""
        with self._lock:
            self._act(Leave(node))
            return self.node(node)

    def top_up(self, node: str, amount: int) -> Node:
        """Add to a stake from the owner's account."""
        with self._lock:
            self._act(TopUp(node, amount))
            return self.node(node)

    def attest_commit(self, node: str, commitment: bytes, *, epoch: int) -> Node:
        """Bind a node to its attestation for the present epoch: `Attestation.commitment` (P6).

        Raises
        ------
        TooEarlyError, TooLateError
            Where the epoch is another, its challenge is not public yet, or its commitments are over.
        AlreadyDoneError
            Where the node has committed in this epoch.
        """
        with self._lock:
            self._act(AttestCommit(node, epoch, self.epoch().challenge, commitment))
            return self.node(node)

    def attest_reveal(self, node: str, attestation: Attestation, nonce: bytes) -> Node:
        """Open a node's commitment to its attestation; anyone may hand it in (P6).

        Raises
        ------
        TooEarlyError, TooLateError
            Where the epoch is another, or its reveals have not begun or are over.
        AlreadyDoneError
            Where the node has revealed in this epoch.
        CommitmentMismatchError
            Where the node has not committed, or to something else.
        """
        with self._lock:
            self._act(AttestReveal(node, attestation, nonce))
            return self.node(node)

    def open_group(
        self,
        task: Task,
        *,
        creator: str,
        fee: int,
        min_memory_gib: int = 0,
        gpu_class: NodeClass | str | None = None,
    ) -> Group:
        """Escrow the fee and fix the pool; the members are drawn by a beacon round that is not public yet (P4).

        Parameters
        ----------
        task
            What is asked; its model is pinned.
        creator
            Whose account pays; its own nodes are left out.
        fee
            In the smallest unit, at least one for each member.
        min_memory_gib
            The memory of one card that the task needs; 0 for any.
        gpu_class
            For a text task, the class to take the members from, or its digest as hexadecimal digits; whether it can be
            trusted is the caller's business. Left out, it is the heaviest class that the policy admits and that has
            enough owners with an available node (P3).

        Raises
        ------
        NotEnoughNodes
            Where too few owners have a node that could be drawn; nothing changes.
        InsufficientFundsError
            Where the creator's account does not cover the fee.
        """
        name = gpu_class.hex if isinstance(gpu_class, NodeClass) else gpu_class
        with self._lock:
            beacon_round = self._beacon.next_round(self._now())
            change = self._act(OpenGroup(task, creator, fee, min_memory_gib, name, beacon_round))
            return self.group(change.result["group"])

    def draw(self, group: str) -> Group:
        """Draw the members; anyone may. A group that cannot be drawn any more is closed and refunded."""
        with self._lock:
            found = self.group(group)
            self._act(DrawGroup(group, self._beacon.value(found.beacon_round, self._now())))
            return self.group(group)

    def commit(self, group: str, node: str, commitment: bytes, *, round: int = 1) -> Group:  # noqa: A002
        """Bind a member to its answer, once (C2)."""
        with self._lock:
            self._act(Commit(group, node, round, commitment))
            return self.group(group)

    def reveal(self, group: str, node: str, opening: Opening | bytes, *, round: int = 1) -> Group:  # noqa: A002
        """Open a member's commitment; anyone may hand it in (C2)."""
        data = opening.to_bytes() if isinstance(opening, Opening) else opening
        with self._lock:
            self._act(Reveal(group, node, round, data))
            return self.group(group)

    def settle(self, group: str) -> Group:
        """Judge and pay; anyone may, and again changes nothing (L6)."""
        with self._lock:
            self._act(Settle(group))
            return self.group(group)

    def epoch(self) -> Epoch:
        """Return the present epoch, with its challenge once that is public (P6).

        The challenge is the value of the first beacon round that becomes public at or after the epoch's start.
        """
        with self._lock:
            now = self._now()
            starts = self.policy.epoch_at(now).starts
            return self.policy.epoch_at(now, self._beacon.value(self._beacon.next_round(starts - 1), now))

    def account(self, account: str) -> int:
        """Return a balance; 0 for an account that was never used."""
        with self._lock:
            return self._state.balance(check_id(account, "the account"))

    def node(self, node: str) -> Node:
        """Return a node, also one that has left."""
        with self._lock:
            found = self._state.find_node(check_id(node, "the node id"))
        if found is None:
            raise UnknownIdError(f"this ledger has no node {node!r}")
        return found

    def nodes(self) -> Sequence[Node]:
        """Return all nodes that have joined."""
        with self._lock:
            return tuple(self._state.joined_nodes())

    def group(self, group: str) -> Group:
        """Return a group."""
        with self._lock:
            found = self._state.find_group(check_id(group, "the group id"))
        if found is None:
            raise UnknownIdError(f"this ledger has no group {group!r}")
        return found

    def events(self, since: int = 0) -> Sequence[Event]:
        """Return the events from number `since` on."""
        with self._lock:
            return tuple(self._events[since:])

    def totals(self) -> Totals:
        """Return where all money is (L2)."""
        with self._lock:
            return self._state.totals()

    @classmethod
    def replay(cls, events: Sequence[Event], *, clock: Clock | None = None, beacon: Beacon | None = None) -> Self:
        """Build the ledger that a log describes, by doing every action of it again (L5).

        Raises
        ------
        BrokenLogError
            Names the first event that the rules do not allow, or whose result they do not give.
        """
        if not events or events[0].kind != "genesis":
            raise BrokenLogError("event 0 is not a genesis: a replay needs the log from its first event on")
        try:
            start = thaw(events[0].payload["action"])
            ledger = cls(Policy.from_dict(start["policy"]), ledger_id=start["ledger"], clock=clock, beacon=beacon)
            ledger._events = [ledger._genesis(_checked_time(events[0].time))]
        except _REFUSED as error:
            raise BrokenLogError(f"event 0 (genesis) cannot be repeated: {error!r}") from error
        ledger._check_repeated(0, events[0])
        for seq, event in enumerate(events[1:], 1):
            try:
                if _checked_time(event.time) < ledger._events[-1].time:
                    raise BrokenLogError(f"its time {event.time} lies before that of the event before it")
                ledger._record(action_from_dict(event.kind, thaw(event.payload["action"])), event.time)
            except _REFUSED as error:
                raise BrokenLogError(f"event {seq} ({event.kind}) cannot be repeated: {error}") from error
            ledger._check_repeated(seq, event)
        return ledger

    def _check_repeated(self, seq: int, event: Event) -> None:
        """Compare an event of a log with what repeating it gave."""
        if len(self._events) != seq + 1 or self._events[seq].digest != event.digest:
            raise BrokenLogError(f"event {seq} ({event.kind}) says something else than a replay of it")

    def _genesis(self, now: int) -> Event:
        payload = {"action": {"ledger": self.id, "policy": self.policy.to_dict()}, "result": {}}
        genesis = Event(0, now, "genesis", payload, GENESIS)
        _ = genesis.digest  # raises where a policy has no canonical form
        return genesis

    def _now(self) -> int:
        return max(_checked_time(self._clock()), self._events[-1].time)

    def _act(self, action: Action) -> Change:
        return self._record(action, self._now())

    def _record(self, action: Action, now: int) -> Change:
        """Store a change together with its event, or neither."""
        change = apply(self._state, action, now)
        if change is None:
            return Change()
        payload = {"action": action_to_dict(action), "result": change.result}
        event = Event(len(self._events), now, action.kind, payload, self._events[-1].digest)
        _ = event.digest  # raises here, before anything is stored, if the event has no canonical form
        self._state.write(change)
        self._events.append(event)
        return change
