"""A ledger as a chain would be: ids and accounts of its own, a time that moves with its blocks, and no log.

It stands in for what a contract and its client do together. It has images only, one round, no keys, and says why it
refuses in words of its own.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final, NoReturn, cast

import crynux_validate as cv
from crynux_validate.errors import AlreadyDoneError, InvalidInputError, NotEnoughNodes, TooEarlyError, UnknownIdError
from crynux_validate.frozen import FrozenMapping
from crynux_validate.ledger.actions import OpenGroup
from crynux_validate.ledger.rules import Change, check_can_handle
from crynux_validate.machines.pairing import choose_members, is_large_enough, weight_among
from crynux_validate.machines.roster import Draw, Node
from crynux_validate.testing import LedgerWrapper
from crynux_validate.testing.ledger_wrapper import P, T

try:
    from tests.elsewhere import broken
except ModuleNotFoundError:  # where only the wheel is
    import broken  # type: ignore[import-not-found,no-redef]


def address(name: str) -> str:
    """Return the account of a person."""
    return f"0x{sha256(name.encode()).hexdigest()[:40]}"


class Numbered:
    """The records of a ledger, in which groups get the chain's own ids when they open."""

    def __init__(self, store: cv.ledger.Store, chain: "Chain") -> None:
        self._store, self._chain = store, chain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, change: Change, event: cv.ledger.Event) -> None:
        for group in list(change.groups.values()):
            if group.status is cv.ledger.Status.OPEN:
                own = self._chain.new_id(group)
                change.groups = {own: replace(group, id=own)}
        self._store.write(change, event)


class Chain(cv.MemoryLedger):
    """A chain whose time goes on with every block: one for each action, and one whenever somebody asks for the time.

    Parameters
    ----------
    policy, ledger_id, beacon
        As of `MemoryLedger`; there is no clock.
    draws_ahead
        Whether `draw` draws the groups that wait longer as well.
    """

    def __init__(
        self, policy: cv.Policy, *, ledger_id: str, beacon: cv.ledger.Beacon, draws_ahead: bool = True
    ) -> None:
        self._height, self._draws_ahead = 1_750_000_000, draws_ahead
        self._ids: list[str] = []
        super().__init__(policy, ledger_id=ledger_id, clock=lambda: self._height, beacon=beacon)

    def new_id(self, group: cv.Group) -> str:
        """Return the id of the next group: nobody can tell from it which it is."""
        own = sha256(f"{self.id} {len(self._ids)} {group.task.digest}".encode()).hexdigest()
        self._ids.append(own)
        return own

    @contextmanager
    def _writing(self) -> Iterator[cv.ledger.Store]:
        with self._failing(), super()._writing() as store:
            yield cast("cv.ledger.Store", Numbered(store, self))
            self._height += 1

    @contextmanager
    def _reading(self) -> Iterator[cv.ledger.Store]:
        with self._failing(), super()._reading() as store:
            yield store

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Let errors have the words of this chain, and no numbers."""
        try:
            yield
        except NotEnoughNodes:
            raise NotEnoughNodes("execution reverted", available=0, needed=0) from None
        except cv.errors.LedgerError as error:
            raise type(error)("execution reverted") from None
        except InvalidInputError:
            raise InvalidInputError("execution reverted") from None

    def now(self) -> int:
        """Return the time of the next block, which is mined."""
        with self._lock:
            self._height += 1
            return self._height

    def open_group(
        self,
        task: cv.tasks.Task,
        *,
        creator: str,
        fee: int,
        min_memory_gib: int = 0,
        gpu_class: cv.machines.NodeClass | str | None = None,
    ) -> cv.Group:
        if isinstance(task, cv.TextTask):
            raise NotImplementedError("this chain takes image tasks")
        name = gpu_class.digest if isinstance(gpu_class, cv.machines.NodeClass) else gpu_class
        with self._writing() as store:
            now = self._now(store)
            beacon_round = max(self._beacon.next_round(now), store.last_beacon_round())
            self._record(store, OpenGroup(task, creator, fee, min_memory_gib, name, beacon_round), now)
            return cast("cv.Group", store.find_group(self._ids[-1]))

    def draw(self, group: str) -> cv.Group:
        with self._writing() as store:
            now, asked = self._now(store), store.find_group(group)
            if asked is None:
                raise UnknownIdError(group)
            if asked.status is not cv.ledger.Status.OPEN:
                raise AlreadyDoneError(group)
            waiting = self._ids[store.handled_count() : self._ids.index(group) + 1]
            if not self._draws_ahead:
                waiting = self._only(waiting)
            found = [cast("cv.Group", store.find_group(one)) for one in waiting]
            values = [self._beacon.value(one.beacon_round, now) for one in found]
            for one, value in zip(found, values, strict=True):
                check_can_handle(one, value, now)
            for one, value in zip(found, values, strict=True):
                self._mined(store, self._drawn(store, one, value, now), now)
            return cast("cv.Group", store.find_group(group))

    def _only(self, waiting: list[str]) -> list[str]:
        """The group that is drawn alone, the last of these: it has to be the first."""
        if len(waiting) > 1:
            raise TooEarlyError(waiting[0])
        return waiting

    def _drawn(self, store: cv.ledger.Store, group: cv.Group, value: bytes | None, now: int) -> Change:
        """What a draw changes (P4b-P4d)."""
        number = self._ids.index(group.id) + 1
        taken = store.drawn_since(number)
        unavailable = weight_among(group.pool, taken)
        free, policy = group.pool.total_weight - unavailable, group.policy
        if value is None or not is_large_enough(free, group.base, policy.min_pool_ppm):
            return self._closed(store, group)
        try:
            chosen = choose_members(
                group.pool, policy.group_size, ledger=self.id, group=group.id, beacon=value, unavailable=taken
            )
        except NotEnoughNodes:
            return self._closed(store, group)
        hit = FrozenMapping({node: taken[node] for node in sorted(chosen.hit)})
        draw = Draw(
            self.id, group.id, group.task.digest, policy.digest, group.fee, group.beacon_round, value, group.pool, hit,
            unavailable, chosen.members,
        )  # fmt: skip
        commit_deadline = now + policy.commit_seconds
        rounds = (cv.ledger.Round(commit_deadline, commit_deadline + policy.reveal_seconds),)
        nodes = {node: cast("Node", store.find_node(node)) for node in chosen.members}
        return Change(
            groups={group.id: replace(group, status=cv.ledger.Status.DRAWN, draw=draw, rounds=rounds)},
            nodes={
                name: replace(node, group=group.id, drawn=(len(self._ids), group.id)) for name, node in nodes.items()
            },
            handled=1,
        )

    def _closed(self, store: cv.ledger.Store, group: cv.Group) -> Change:
        account = {group.creator: store.balance(group.creator) + group.fee}
        return Change(groups={group.id: replace(group, status=cv.ledger.Status.CLOSED)}, accounts=account, handled=1)

    def _mined(self, store: cv.ledger.Store, change: Change, now: int) -> None:
        head = store.head
        store.write(change, cv.ledger.Event(head.seq + 1, now, "draw", {}, head.digest))

    def events(self, since: int = 0) -> NoReturn:
        raise NotImplementedError("this chain has no log of the library's form")

    def evidence(self, group: str, node: str) -> NoReturn:
        raise NotImplementedError("this chain gives no evidence")

    def attest_commit(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("this chain takes no attestations")

    attest_reveal = epoch = batch = attest_commit


class Watched(LedgerWrapper):
    """Notes what a ledger did: the name of every action that was not refused."""

    def __init__(self, ledger: cv.Ledger, did: set[str]) -> None:
        super().__init__(ledger)
        self._did = did

    def _call(self, name: str, inner: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        done = inner(*args, **kwargs)
        self._did.add(name)
        return done


class DrawsInAnyOrder(Chain):
    """Leaves the order of draws to its caller, and does not look at it."""

    def _only(self, waiting: list[str]) -> list[str]:
        return waiting[-1:]


CAUGHT_BY: Final[Mapping[type[cv.MemoryLedger], str]] = {
    DrawsInAnyOrder: "test_p4b_no_group_is_drawn_before_one_that_waits_longer",
    broken.CommitsLate: "test_c2_no_commitment_at_or_after_the_deadline",
    broken.CreatesMoney: "test_l2_settling_creates_no_money",
    broken.HalfAppliesWhatItRefuses: "test_p7_a_members_stake_covers_its_share_of_the_fee",
    broken.KeepsTheFeeOfClosedGroups: "test_p4b_a_group_without_a_value_is_refunded_at_its_draw_deadline",
    broken.PaysTheInvalid: "test_l3_the_invalid_are_not_paid",
    broken.RevealsEarly: "test_c2_no_reveal_before_all_have_committed_or_the_deadline",
    broken.SparesTheWithheld: "test_c3_withholding_costs_stake",
}
"""Chains that are wrong, and the standard test that says so."""
