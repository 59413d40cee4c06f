"""Many at once: threads with one ledger, processes with one folder (protocol L1, L2, L5)."""

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

from crynux_validate.errors import AlreadyDoneError, InsufficientFundsError, LedgerError
from crynux_validate.ledger.interface import Ledger
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.harness import Harness
from crynux_validate.testing.conformance.network import CARD, HONEST, POLICY

ACTIONS = 20


@contextmanager
def hasty_threads() -> Iterator[None]:
    """Let threads that begin now give way at every call and return, so that no race is left to luck."""

    def give_way(*_: object) -> None:
        time.sleep(0)

    before, interval = threading.getprofile(), sys.getswitchinterval()
    threading.setprofile(give_way)
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        threading.setprofile(before)


def at_once(action: Callable[[int], object], count: int) -> list[object]:
    """Do an action in several threads that begin together."""
    start = threading.Barrier(count)

    def begin(at: int) -> object:
        start.wait()
        return action(at)

    with hasty_threads(), ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def check_chain(ledger: Ledger) -> None:
    """Check that a log is one chain: nobody wrote between another's reading and writing."""
    previous = "0" * 64
    for seq, event in enumerate(ledger.events()):
        assert (event.seq, event.previous) == (seq, previous), f"event {seq} does not follow the one before it"
        previous = by_hand.event_digest(event)


class ConcurrencyRules(Harness):
    """Standard tests of what holds whoever acts at the same moment."""

    @needs("threads")
    def test_l1_threads_act_one_after_the_other(self) -> None:
        """No deposit is lost, and the log is one chain."""
        ledger = self.new_ledger()

        def pay(at: int) -> None:
            for _ in range(3):
                ledger.deposit("all", 1)
                ledger.deposit(f"a{at}", 5)

        at_once(pay, 4)
        assert ledger.account("all") == 12
        assert [ledger.account(f"a{at}") for at in range(4)] == [15] * 4
        assert ledger.totals().deposited == 12 * 6
        if self.has("log"):
            assert len(ledger.events()) == 25
            check_chain(ledger)

    @needs("threads")
    def test_l2_only_one_of_many_threads_gets_the_last_of_it(self) -> None:
        ledger = self.new_ledger()
        ledger.deposit("a", 10)

        def take(_: int) -> bool:
            try:
                ledger.withdraw("a", 10)
            except InsufficientFundsError:
                return False
            return True

        assert sum(map(bool, at_once(take, 4))) == 1
        assert ledger.totals().accounts == ledger.account("a") == 0

    @needs("threads")
    def test_c2_only_one_of_many_threads_commits_for_a_member(self) -> None:
        network = self.network()
        group = network.drawn()
        node = group.members[0]
        commitments = [bytes([at]) * 32 for at in range(4)]

        def commit(at: int) -> bytes | None:
            try:
                network.ledger.commit(group.id, node, commitments[at])
            except AlreadyDoneError:
                return None
            return commitments[at]

        (won,) = [found for found in at_once(commit, 4) if found is not None]
        assert network.ledger.group(group.id).commitments == {node: won}

    @needs("threads")
    def test_l6_a_group_is_paid_once_whoever_settles_at_the_same_moment(self) -> None:
        network = self.network()
        group = network.committed(HONEST, HONEST, HONEST)
        for node in group.members:
            network.reveal(group.id, node)
        settled = at_once(lambda _: network.ledger.settle(group.id), 4)
        assert settled == [network.ledger.group(group.id)] * 4
        if self.has("log"):
            assert [event.kind for event in network.ledger.events()].count("settle") == 1
        network.check_money()

    @needs("threads")
    def test_l2_readers_see_one_moment(self) -> None:
        """Money moves from an account to a stake and back: no reading sees it twice, or not at all."""
        ledger = self.new_ledger()
        ledger.deposit("o", 1_000)
        stop = threading.Event()
        problems: list[LedgerError] = []

        def move() -> None:
            try:
                while not stop.is_set():
                    ledger.join("n", owner="o", gpu=CARD, stake=1_000)
                    ledger.leave("n")
            except LedgerError as error:
                problems.append(error)

        mover = threading.Thread(target=move)
        with hasty_threads():
            mover.start()
            try:
                for _ in range(20):
                    totals = ledger.totals()
                    assert totals.accounts + totals.stakes == 1_000, totals
            finally:
                stop.set()
                mover.join()
        assert not problems

    @needs("restart", "processes")
    def test_l1_processes_act_one_after_the_other(self) -> None:
        """No deposit is lost, and the log is one chain, where two processes have the ledger open at once."""
        folder = self.new_folder()
        ledger = self.new_ledger(clock=standing_clock, folder=folder)
        context = multiprocessing.get_context("spawn")
        go = context.Event()
        said: Queue[str] = context.Queue()
        child = context.Process(target=_pay_in_a_child, args=(self, folder, go, said))
        child.start()
        try:
            assert said.get(timeout=120) == "ready"
            go.set()
            for _ in range(ACTIONS):
                ledger.deposit("all", 1)
                ledger.deposit("mine", 5)
            assert said.get(timeout=120) == "done"
            child.join()
        finally:
            child.kill()
        assert ledger.account("all") == 2 * ACTIONS
        assert (ledger.account("mine"), ledger.account("theirs")) == (5 * ACTIONS, 5 * ACTIONS)
        assert len(ledger.events()) == 1 + 4 * ACTIONS
        check_chain(ledger)


def standing_clock() -> int:
    """Return a time that several processes agree on."""
    return 1_000_000


def _pay_in_a_child(harness: Harness, folder: Path, go: Event, said: "Queue[str]") -> None:
    try:
        ledger = harness.new_ledger(POLICY, clock=standing_clock, folder=folder)
        said.put("ready")
        go.wait()
        for _ in range(ACTIONS):
            ledger.deposit("all", 1)
            ledger.deposit("theirs", 5)
        said.put("done")
    except BaseException as error:
        said.put(repr(error))
        raise
