"""The queue of groups in a database: what a restart or another process reads is what one process knows (P4a-P4e)."""

import random
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra 'sql'")

import crynux_validate as cv
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    NodeStateError,
    TooEarlyError,
    TooLateError,
    UnknownIdError,
)
from crynux_validate.ledger.base import StoringLedger
from crynux_validate.testing import ManualClock
from crynux_validate.testing.conformance.network import Network as NetworkAround
from crynux_validate.testing.conformance.network import by_id
from tests.ledger import backends
from tests.ledger.conftest import using
from tests.ledger.helpers import CARD, HONEST, POLICY, TASK, Network

LOOSE = replace(POLICY, min_pool_ppm=100_000, suspend_after=2)
STEPS, NODES = 150, 24
KINDS = 7 * ["open"] + 5 * ["draw", "settle", "wait"] + 2 * ["join"] + ["leave", "top_up"]
REFUSED = (
    AlreadyDoneError,
    CommitmentMismatchError,
    NodeStateError,
    TooEarlyError,
    TooLateError,
    UnknownIdError,
    cv.errors.NotEnoughNodes,
)
"""What random actions run into."""


@pytest.fixture(scope="module", autouse=True, params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    yield from using(request.param, request)


class Pair:
    """A ledger in memory and one in a database, to which the same happens.

    Of the one in a database several processes have a view, and each action is one of theirs: what a process knows of
    the last time is out of date whenever another one acted. Some actions are a batch.
    """

    def __init__(self, backend: backends.Backend, seed: int, nodes: int = NODES) -> None:
        self.backend, self.chance = backend, random.Random(seed)
        self.clock = ManualClock()
        options: dict[str, Any] = {"ledger_id": "pair", "clock": self.clock, "beacon": cv.ledger.LocalBeacon(b"secret")}
        self.memory: StoringLedger = cv.MemoryLedger(LOOSE, **options)
        self.views = [backend.make(LOOSE, **options)]
        self.given = self.refused = self.found = 0
        for ledger in (self.memory, self.views[0]):
            NetworkAround(ledger, self.clock, nodes=nodes)

    def reopen(self) -> None:
        """Open the database once more; the process that did before lives on, or does not."""
        if len(self.views) == 3:
            self.views.pop(self.chance.randrange(1, 3))  # the first one knows where the database is
        self.views.append(self.backend.again(self.views[0]))

    def act(self, stored: StoringLedger) -> None:
        """Do something at random, twice, with the same end."""
        kind = self.chance.choice(KINDS)
        groups = self._groups()
        node = f"n{self.chance.randrange(NODES)}"
        if kind == "wait":
            self.clock.advance(self.chance.choice((0, 1, 1, 160)))
            return
        if kind == "open":
            self.given += self.chance.random() < 0.9
            task = TASK.replace(seed=self.given)
            self._both(stored, lambda ledger: ledger.open_group(task, creator="app", fee=3))
        elif kind == "draw" and groups:
            waiting = [group for group in groups if group.status is cv.ledger.Status.OPEN] or groups
            name = self.chance.choice(waiting).id
            self._both(stored, lambda ledger: ledger.draw(name))
        elif kind == "settle" and groups:
            drawn = [group for group in groups if group.status is cv.ledger.Status.DRAWN] or groups
            group = self.chance.choice(drawn)
            if group.status is cv.ledger.Status.DRAWN and not group.commitments:
                self._answer(stored, group)
            self._both(stored, lambda ledger: ledger.settle(group.id))
        elif kind == "leave":
            self._both(stored, lambda ledger: ledger.leave(node))
        elif kind == "join":
            self._both(stored, lambda ledger: ledger.join(node, owner=f"o{node[1:]}", gpu=CARD, stake=1_000))
        elif kind == "top_up":
            self._both(stored, lambda ledger: ledger.top_up(node, 1))

    def _answer(self, stored: StoringLedger, group: cv.Group) -> None:
        """All commit and reveal, if it is not too late; or only some commit."""
        answering = group.members[: self.chance.choice((1, 2, 3, 3, 3))]
        openings = {node: cv.Opening.of(HONEST) for node in answering}
        for node, opening in openings.items():
            bound = opening.commitment(group.draw_digest, node=node)
            self._both(stored, lambda ledger, node=node, bound=bound: ledger.commit(group.id, node, bound))
        for node, opening in openings.items():
            self._both(stored, lambda ledger, node=node, opening=opening: ledger.reveal(group.id, node, opening))

    def _both(self, stored: StoringLedger, act: Any) -> None:
        ends: list[object] = []
        for ledger in (self.memory, stored):
            try:
                ends.append(act(ledger))
            except REFUSED as error:
                ends.append((type(error), str(error)))
        assert ends[0] == ends[1]
        self.refused += isinstance(ends[0], tuple)

    def _groups(self) -> list[cv.Group]:
        with self.memory._looking() as store:
            count = store.group_count()
        return [self.memory.group(f"group-{number}") for number in range(1, count + 1)]

    def compare_queue(self, *ledgers: StoringLedger) -> None:
        """Ask each of them for all that decides the next draw, for every group that waits."""
        told = [self._queue(ledger) for ledger in (self.memory, *ledgers)]
        assert all(one == told[0] for one in told)
        taken = told[0][3]
        self.found += sum(map(bool, taken.values()))

    @staticmethod
    def _queue(ledger: StoringLedger) -> tuple[int, int, int, dict[int, Mapping[str, str]]]:
        with ledger._looking() as store:
            opened, handled = store.group_count(), store.handled_count()
            waiting = range(handled + 1, opened + 1)
            return opened, handled, store.last_beacon_round(), {at: dict(store.drawn_since(at)) for at in waiting}

    @staticmethod
    def written_queue(ledger: StoringLedger) -> Mapping[int, Mapping[str, str]]:
        """The same as a process that writes sees it, which keeps what it knows from one time to the next."""
        with ledger._writing() as store:
            waiting = range(store.handled_count() + 1, store.group_count() + 1)
            return {at: dict(store.drawn_since(at)) for at in waiting}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 6))])
def test_whoever_reads_the_queue_reads_the_same(backend: backends.Backend, seed: int) -> None:
    pair = Pair(backend, seed)
    for _ in range(STEPS):
        if pair.chance.random() < 0.15:
            pair.reopen()
        stored = pair.chance.choice(pair.views)
        batch = pair.chance.random() < 0.4
        with stored.batch() if batch else nullcontext():
            for _ in range(pair.chance.randrange(2, 12) if batch else 1):
                pair.act(stored)
                if batch:
                    pair.compare_queue(stored)
        pair.compare_queue(*pair.views)
        assert pair.written_queue(stored) == pair._queue(pair.memory)[3]
        assert pair.views[0].head() == pair.memory.head()
    for view in pair.views:
        assert view.events() == pair.memory.events()
        assert by_id(view) == by_id(pair.memory)
        assert isinstance(view, cv.SqlLedger)
        view.verify_records()
    kinds = [event.kind for event in pair.memory.events()]
    assert min(kinds.count(kind) for kind in ("open_group", "draw", "settle", "join", "reveal")) >= 10
    assert kinds.count("leave") >= 5
    assert pair.found >= 50, "waiting groups had candidates that were taken"
    assert pair.refused >= 50


def test_a_batch_of_openings_and_draws_is_one_log(backend: backends.Backend) -> None:
    """Within a batch, over its end, and after a restart the same groups wait, and the same draws follow."""
    network = Network(nodes=30, policy=LOOSE)
    ledger = network.ledger
    with ledger.batch():
        opened = [network.opened(fee=3) for _ in range(10)]
        with pytest.raises(
            cv.errors.NotEnoughNodes, match=r"10 groups wait for their draw; expected at most 10, .* groups of 3"
        ):
            network.opened(fee=3)
        network.clock.advance(1)
        ledger.draw(opened[2].id)
        with pytest.raises(AlreadyDoneError):
            ledger.draw(opened[0].id)
    again = backend.again(ledger)
    drawn = again.draw(opened[4].id)
    assert drawn.draw is not None
    assert drawn.draw.unavailable_weight == 12_000, "four groups of three were drawn since it opened"
    with ledger.batch():
        for group in opened[5:]:
            ledger.draw(group.id)
            more = network.opened(fee=3, task=TASK.replace(steps=7)) if group is opened[7] else None
            assert more is None or more.beacon_round > group.beacon_round
    members = [node for group in opened for node in ledger.group(group.id).members]
    assert sorted(members) == sorted(f"n{at}" for at in range(30)), "each serves once, whoever draws"
    replayed = cv.MemoryLedger.replay(again.events(), clock=network.clock)
    assert [replayed.group(group.id) for group in opened] == [again.group(group.id) for group in opened]
    assert isinstance(again, cv.SqlLedger)
    again.verify_records()


def test_a_task_is_kept_over_batches_and_restarts(backend: backends.Backend) -> None:
    """L9 from what is unsent, from what is stored, and when a batch is undone."""
    network = Network(nodes=12, policy=LOOSE)
    ledger = network.ledger

    def give(to: StoringLedger) -> cv.Group:
        return to.open_group(TASK, creator="app", fee=3)

    def undone() -> None:
        with ledger.batch():
            give(ledger)
            with pytest.raises(AlreadyDoneError, match="group-1 had this task"):
                give(ledger)
            raise RuntimeError("the machine stopped here")

    with pytest.raises(RuntimeError):
        undone()
    first = give(ledger)
    other = backend.again(ledger)
    with pytest.raises(AlreadyDoneError, match="group-1 had this task"):
        give(other)
    network.clock.advance(1)
    with other.batch():
        network.clock.now = other.draw(first.id).commit_deadline
        other.settle(first.id)
        second = give(other)
        with pytest.raises(AlreadyDoneError, match="group-2 had this task"):
            give(other)
    for view in (ledger, other, backend.again(ledger)):
        with pytest.raises(AlreadyDoneError, match="group-2 had this task"):
            give(view)
    assert second.id == "group-2"
