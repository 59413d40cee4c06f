"""What every ledger that stores has in common: public methods that check and apply the rules, hooks that store.

A storing ledger is a `Store`, which reads and writes records, and a subclass of `StoringLedger` that gives one within a
transaction.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from crynux_validate.commitment import Opening
from crynux_validate.encoding import (
    DIGEST_BYTES,
    check_function,
    check_id,
    check_integer,
    check_type,
    parse_hex,
    shorten,
)
from crynux_validate.errors import BrokenLogError, InvalidInputError, UnknownIdError
from crynux_validate.ledger import actions
from crynux_validate.ledger.batch import Batch, UndoError
from crynux_validate.ledger.beacon import LocalBeacon, check_beacon
from crynux_validate.ledger.clock import clock_or_system, time_after
from crynux_validate.ledger.evidence import Evidence
from crynux_validate.ledger.interface import Beacon, Clock, Epoch, Event, Group, Policy, Status, Totals, verify_chain
from crynux_validate.ledger.replay import genesis_of, repeat, telling
from crynux_validate.ledger.rules import check_can_handle, group_id, group_number
from crynux_validate.ledger.rules.state import known_group
from crynux_validate.ledger.store import Head, Store, recorded
from crynux_validate.machines.classes import Attestation, NodeClass
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import Task


class _Mine(threading.local):
    """What each thread has of a ledger."""

    batch: Batch | None = None


class StoringLedger(ABC):
    """A `crynux_validate.Ledger` that runs the rules itself and stores what they change.

    A subclass implements `_reading` and `_writing`, and `_named` where its store raises errors of its own. It
    does not override the public methods: what they check holds for every ledger.

    Parameters
    ----------
    ledger_id
        1 to 128 printable ASCII characters, no spaces; part of every commitment and draw.
    policy
        The parameters.
    clock
        Returns the time in integer seconds; the system's if left out. A reading up to 60 seconds before the last event
        counts as its time; one that is further behind, or beyond the year 2100, is a `ClockError` (L6).
    beacon
        Public randomness. If left out, a `LocalBeacon`: then the operator of this process must be trusted for draws.
    """

    def __init__(self, ledger_id: str, policy: Policy, *, clock: Clock | None = None, beacon: Beacon | None = None):
        self._id = check_id(ledger_id, "the ledger id")
        check_type(policy, Policy, "the policy", "a Policy")
        self._policy = policy
        self._clock = clock_or_system(clock)
        self._beacon = check_beacon(LocalBeacon() if beacon is None else beacon, policy)
        self._mine = _Mine()

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Store]:
        """Give the records as they are at one moment; nothing is written."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Store]:
        """Give the records to nobody else, until what was written is stored for good (L7).

        Where the block or the storing of it fails, nothing has changed (L1).
        """

    def _named(self, error: BaseException) -> BaseException:
        """Return what the store of `_writing` has raised within its block as a `StorageError`, if it was its own."""
        return error

    @property
    def id(self) -> str:
        """The ledger's id."""
        return self._id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def policy(self) -> Policy:
        """The parameters for groups that open now."""
        return self._policy

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Do many actions as one transaction: ``with ledger.batch(): ...``, many times faster than one by one.

        It holds all actions that this thread does on this ledger within the block; other threads and processes wait.
        What it asks of this ledger there is answered as if the actions had happened. Each action is whole or refused on
        its own: a `LedgerError` or `InvalidInputError` that the caller catches changes nothing, and the batch goes on.
        Nothing is acknowledged before the block has ended; an exception that leaves it undoes all of it (L1). A process
        that is forked within it is not in it.

        Raises
        ------
        InvalidInputError
            Within another batch of this ledger.
        StorageError
            At the end of the block, and of each action in it that follows: an action could not be stored, so nothing of
            the batch is, whether or not the caller caught the first error.
        """
        if self._batch is not None:
            raise InvalidInputError("this thread is in a batch of this ledger; end it before the next, or go on in it")
        left: BaseException | None = None
        try:
            with self._writing() as store:
                self._mine.batch = batch = Batch(store, self._named)
                try:
                    yield
                except BaseException as error:
                    left = error
                    raise UndoError from error
                finally:
                    self._mine.batch = None
                batch.check()
        except UndoError:
            if left is not None:
                raise left from left.__cause__

    def deposit(self, account: str, amount: int) -> int:
        """Bring money in; returns the new balance."""
        with self._acting() as store:
            self._act(store, actions.Deposit(account, amount))
            return store.balance(account)

    def withdraw(self, account: str, amount: int) -> int:
        """Take money out; returns the new balance."""
        with self._acting() as store:
            self._act(store, actions.Withdraw(account, amount))
            return store.balance(account)

    def join(self, node: str, *, owner: str, gpu: GpuModel, stake: int, public_key: bytes | None = None) -> Node:
        """Join with a stake from the owner's account; a suspended node leaves first and joins again.

        With a `SigningKey.public_key`, every commitment of the node must be signed from then on (L8).
        """
        with self._acting() as store:
            self._act(store, actions.Join(node, owner, gpu, stake, public_key))
            return _node(store, node)

    def leave(self, node: str) -> Node:
        """Ask to leave; the stake goes back to the owner's account once no group can need it any more (P4e).

        The first call says that the node takes no more groups: it enters no new pool, and cannot attest or top up.
        Where no group has it and no group waits that opened before, the node has left at once (`Node.joined` is False).
        Otherwise call again when those groups are over; until then a call changes nothing.
        """
        with self._acting() as store:
            self._act(store, actions.Leave(_node_id(node)))
            return _node(store, node)

    def top_up(self, node: str, amount: int) -> Node:
        """Add to a stake from the owner's account; it counts in pools that open later."""
        with self._acting() as store:
            self._act(store, actions.TopUp(_node_id(node), amount))
            return _node(store, node)

    def attest_commit(self, node: str, commitment: bytes, *, epoch: int, signature: bytes | None = None) -> Node:
        """Bind a node to its attestation for the present epoch: `Attestation.commitment` (P6).

        A node that joined with a key signs it: `SigningKey.sign_attestation` (L8).

        Raises
        ------
        TooEarlyError, TooLateError
            Where the epoch is another, its challenge is not public yet, or its commitments are over.
        AlreadyDoneError
            Where the node has committed in this epoch.
        """
        with self._acting() as store:
            now = self._now(store)
            challenge = self._epoch_at(now).challenge
            self._record(store, actions.AttestCommit(_node_id(node), epoch, challenge, commitment, signature), now)
            return _node(store, node)

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
        with self._acting() as store:
            self._act(store, actions.AttestReveal(_node_id(node), attestation, nonce))
            return _node(store, node)

    def open_group(
        self,
        task: Task,
        *,
        creator: str,
        fee: int,
        min_memory_gib: int = 0,
        gpu_class: NodeClass | str | None = None,
    ) -> Group:
        """Escrow the fee and fix the pool; the members are drawn by a beacon round that is not public yet (P4a, P4d).

        Parameters
        ----------
        task
            What is asked; its model is pinned.
        creator
            Whose account pays; its own nodes are left out.
        fee
            In the smallest unit, at least `Policy.min_fee`.
        min_memory_gib
            The memory of one card that the task needs; 0 for any.
        gpu_class
            For a text task, the class to take the members from, or its digest as hexadecimal digits; whether it can be
            trusted is the caller's business. Left out, it is the heaviest class that the policy admits and that has
            nodes of enough owners, busy or not (P3).

        Raises
        ------
        NotEnoughNodes
            Where too few owners have a node that could be drawn, too much of the weight is in groups, or too many
            groups wait for their draw; nothing changes.
        AlreadyDoneError
            Where a group has this task already, and its answers could be copied (L9); nothing changes.
        InsufficientFundsError
            Where the creator's account does not cover the fee.
        """
        name = gpu_class.digest if isinstance(gpu_class, NodeClass) else gpu_class
        with self._acting() as store:
            now = self._now(store)
            next_round = self._beacon.next_round(now + self.policy.beacon_delay_seconds)
            beacon_round = max(check_integer(next_round, "the beacon's next round"), store.last_beacon_round())
            self._record(store, actions.OpenGroup(task, creator, fee, min_memory_gib, name, beacon_round), now)
            return _group(store, group_id(store.group_count()))

    def draw(self, group: str) -> Group:
        """Draw the members, and before them those of every group that waits longer; anyone may (P4b).

        A group that cannot be drawn is closed and refunded; `Group.status` says so.

        Raises
        ------
        TooEarlyError
            Where the beacon round of this group, or of one that waits longer, is not public yet: it names the group.
        AlreadyDoneError
            Where the group was drawn or closed before.
        """
        with self._acting() as store:
            now = self._now(store)
            if _group(store, group).status is not Status.OPEN:
                self._record(store, actions.DrawGroup(group, None), now)  # which the rules refuse
            draws = []
            for number in range(store.handled_count() + 1, group_number(group) + 1):
                waiting = _group(store, group_id(number))
                value = self._beacon.value(waiting.beacon_round, now)
                check_can_handle(waiting, value, now)
                draws.append(actions.DrawGroup(waiting.id, value))
            for action in draws:
                self._record(store, action, now)
            return _group(store, group)

    def commit(
        self,
        group: str,
        node: str,
        commitment: bytes,
        *,
        round: int = 1,  # noqa: A002
        signature: bytes | None = None,
    ) -> Group:
        """Bind a member to its answer, once in each round (C2); signed where the node joined with a key (L8)."""
        with self._acting() as store:
            self._act(store, actions.Commit(_group_id(group), node, round, commitment, signature))
            return _group(store, group)

    def reveal(self, group: str, node: str, opening: Opening | bytes, *, round: int = 1) -> Group:  # noqa: A002
        """Open a member's commitment; anyone may hand it in (C2)."""
        data = opening.to_bytes() if isinstance(opening, Opening) else opening
        with self._acting() as store:
            self._act(store, actions.Reveal(_group_id(group), node, round, data))
            return _group(store, group)

    def settle(self, group: str) -> Group:
        """Judge and pay; anyone may, and again changes nothing (L6)."""
        with self._acting() as store:
            self._act(store, actions.Settle(_group_id(group)))
            return _group(store, group)

    def now(self) -> int:
        """Return the ledger's time, by which it would act now, in seconds (L6)."""
        with self._looking() as store:
            return self._now(store)

    def epoch(self) -> Epoch:
        """Return the present epoch, with its challenge once that is public (P6).

        The challenge is the value of the first beacon round that becomes public at or after the epoch's start.
        """
        with self._looking() as store:
            now = self._now(store)
        return self._epoch_at(now)

    def account(self, account: str) -> int:
        """Return a balance; 0 for an account that was never used."""
        check_id(account, "the account")
        with self._looking() as store:
            return store.balance(account)

    def node(self, node: str) -> Node:
        """Return a node, also one that has left."""
        with self._looking() as store:
            return _node(store, node)

    def nodes(self) -> Sequence[Node]:
        """Return all nodes that have joined, in no particular order."""
        with self._looking() as store:
            return tuple(store.joined_nodes())

    def group(self, group: str) -> Group:
        """Return a group."""
        with self._looking() as store:
            return _group(store, group)

    def evidence(self, group: str, node: str) -> Evidence:
        """Return what a third person needs to check a member's finding in a settled group: `verify_evidence` (L8)."""
        return Evidence(self.id, node, self.group(group))

    def events(self, since: int = 0) -> Sequence[Event]:
        """Return the events from number `since` on."""
        check_integer(since, "since")
        with self._looking() as store:
            return tuple(store.events(since))

    def totals(self) -> Totals:
        """Return where all money is (L2)."""
        with self._looking() as store:
            return store.totals()

    def head(self) -> Head:
        """Return where the log ends; kept elsewhere, its digest shows a log that was rewritten or shortened (L5)."""
        with self._looking() as store:
            return store.head

    def verify_log(self, head: str | None = None, *, on_event: Callable[[Event], None] | None = None) -> str:
        """Check that the log is one chain, from its first event to where this ledger says that it ends (L5).

        Parameters
        ----------
        head
            The digest of the last event, as it was kept elsewhere. Without it a log that was rewritten or shortened by
            whoever keeps this ledger is not found.
        on_event
            Is told each event before it is checked, to show how far it is.

        Returns
        -------
        str
            The digest of the last event: what to keep elsewhere.

        Raises
        ------
        BrokenLogError
            Names the first event that does not fit.
        InvalidInputError
            For a head that is not 64 hexadecimal digits.
        """
        kept = None if head is None else parse_hex(head, "the head", DIGEST_BYTES).hex()
        check_function(on_event, "on_event")
        with self._looking() as store:
            ends = store.head
            verify_chain(telling(store.events(0), on_event), ends.digest)
        if kept is not None and kept != ends.digest:
            raise BrokenLogError(f"the log ends with {ends.digest}, not with the head {kept}: cut off or rewritten")
        return ends.digest

    def _repeat(self, store: Store, events: Sequence[Event]) -> None:
        """Do every action of a log again, in a ledger that was made with `genesis_of` the same log (L5)."""
        start = genesis_of(events)
        for _ in repeat(events, start, lambda action, now: self._record(store, action, now)):
            pass

    @property
    def _batch(self) -> Batch | None:
        """The batch that this thread is in; a process that was forked from it is not."""
        batch = self._mine.batch
        return batch if batch is None or batch.is_here else None

    def _acting(self) -> AbstractContextManager[Store]:
        batch = self._batch
        return self._writing() if batch is None else batch

    def _looking(self) -> AbstractContextManager[Store]:
        batch = self._batch
        return self._reading() if batch is None else batch

    def _time(self, store: Store) -> object:  # noqa: ARG002 - a server is asked through it
        """Return what the clock says, while this transaction has the ledger for itself."""
        return self._clock()

    def _now(self, store: Store) -> int:
        return time_after(self._time(store), store.head.time)

    def _epoch_at(self, now: int) -> Epoch:
        starts = self.policy.epoch_at(now).starts
        return self.policy.epoch_at(now, self._beacon.value(self._beacon.next_round(starts - 1), now))

    def _act(self, store: Store, action: actions.Action) -> Event | None:
        return self._record(store, action, self._now(store))

    def _record(self, store: Store, action: actions.Action, now: int) -> Event | None:
        """Store what an action changes together with its event; None where nothing changes."""
        done = recorded(store, action, now)
        if done is None:
            return None
        (self._batch or store).write(*done)
        return done[1]


def _node_id(node: object) -> str:
    return check_id(node, "the node id")


def _group_id(group: object) -> str:
    return check_id(group, "the group id")


def _node(store: Store, node: str) -> Node:
    found = store.find_node(_node_id(node))
    if found is None:
        raise UnknownIdError(f"this ledger has no node {shorten(node)}", id=node)
    return found


def _group(store: Store, group: str) -> Group:
    return known_group(store, _group_id(group))
