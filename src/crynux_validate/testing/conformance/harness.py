"""What a subclass of `LedgerConformance` gives, and what its tests are built on."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings

from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.ledger.interface import Beacon, Clock, Event, Ledger, Policy
from crynux_validate.testing.clock import ManualClock
from crynux_validate.testing.conformance.network import LEDGER_ID, POLICY, Network
from crynux_validate.testing.conformance.under_test import Accounts, LedgerUnderTest, own

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
SECRET: Final = b"secret"

T = TypeVar("T")


class KitClock(ManualClock):
    """A `ManualClock` that skips the test that reads or moves it where the ledger does not follow it."""

    def __init__(self, lacks: str | None) -> None:
        self._lacks: str | None = None
        super().__init__()
        self._lacks = lacks

    def __call__(self) -> int:
        """Return the time, to a ledger that asks for it all the same."""
        return self._now

    @property
    def now(self) -> int:
        """The time."""
        if self._lacks is not None:
            pytest.skip(self._lacks)
        return self._now

    @now.setter
    def now(self, value: int) -> None:
        if self._lacks is not None:
            pytest.skip(self._lacks)
        self._now = value


class PromptBeacon(LocalBeacon):
    """A beacon whose next round is public when it has been asked for: where time cannot be moved, none is lost."""

    _last = 0

    def next_round(self, now: int) -> int:  # noqa: ARG002
        """Return a number of its own for each who asks."""
        self._last += 1
        return self._last

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002, ARG002
        """Return the value that a `LocalBeacon` with the same secret has in the end."""
        return super().value(round, round)


class Harness:
    """Makes ledgers of the kind under test, and skips what it is declared to lack."""

    lacks: ClassVar[Mapping[str, str]] = NOTHING
    """What the ledger cannot do, each with the reason: `conformance.CAPABILITIES` lists the names."""

    overridden: ClassVar[Mapping[str, str]] = NOTHING
    """Standard tests that the subclass defines anew, or sets to None, each with the reason."""

    xfails: ClassVar[Mapping[str, str]] = NOTHING
    """Standard tests that fail, each with the reason; one that passes is then a failure."""

    examples: ClassVar[int] = 5
    """How many random cases each hypothesis test tries; what is quick can have more."""

    steps: ClassVar[int] = 60
    """How many actions a random sequence has at most."""

    window: ClassVar[int] = 2
    """Without ``manual_clock``, how many seconds of the ledger's time a test leaves for a draw, for commitments and for
    openings, and waits where they stay away: enough for a beacon's round, and for five nodes to act one after the
    other."""

    folders: ClassVar[str | None] = None
    """Where the folders of ledgers are made; None for the system's temporary folder."""

    _root: Path
    _accounts: Accounts
    _made = 0

    def make_ledger(self, policy: Policy, ledger_id: str, clock: Clock, beacon: Beacon, folder: Path) -> Ledger:
        """Open the ledger that a folder holds; make it where the folder is empty. Every subclass has this method.

        Parameters
        ----------
        policy, ledger_id
            The parameters and the id, the same whenever the folder is the same.
        clock, beacon
            Time and public randomness, as `MemoryLedger` takes them.
        folder
            A folder of this ledger's own; what is not a file can use its name, which no two ledgers share.
        """
        raise NotImplementedError(f"{type(self).__name__} has no make_ledger: define it, it opens or makes a ledger")

    def replay_ledger(self, events: Sequence[Event], clock: Clock, beacon: Beacon, folder: Path) -> Ledger:
        """Make the ledger that a log describes, in an empty folder (L5); not asked of what lacks ``replay``."""
        raise NotImplementedError(
            f"{type(self).__name__} has no replay_ledger: define it, or declare lacks = {{'replay': 'why'}}"
        )

    def account(self, name: str) -> str:
        """Return what the ledger calls an account of the tests: ``app``, ``o0``, ``o1``, ``treasury``, ...

        A ledger whose accounts have names of its own, such as the addresses of a chain, gives one for each name, and
        always the same. The tests see their own names, whatever the ledger returns.
        """
        return name

    def let_go(self, ledger: Ledger) -> None:
        """End what an object holds, as the death of its process would: a lock, a connection. Nothing, if left out."""

    @contextmanager
    def full_disk(self, folder: Path) -> Iterator[None]:
        """Let writes below a ledger's folder fail, as on a full disk, until the block ends.

        As it stands, no file of this process can grow to more than 1,000 bytes above the largest in the folder: for
        ledgers in files of this process. A ledger elsewhere defines its own, or lacks ``full_disk``.
        """
        resource = pytest.importorskip("resource", reason="this system has no limit for the size of files")
        largest = max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 1_000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    @pytest.fixture(autouse=True)
    def conformance(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Skip what the ledger lacks, expect what is declared to fail, and give the test a folder of its own."""
        for name in getattr(request.function, "conformance_needs", ()):
            if name in self.lacks:
                pytest.skip(self._lacks(name))
        if request.function.__name__ in self.xfails:
            request.applymarker(pytest.mark.xfail(reason=self.xfails[request.function.__name__], strict=True))
        with tempfile.TemporaryDirectory(prefix="ledgers-", dir=self.folders, ignore_cleanup_errors=True) as root:
            self._root, self._accounts = Path(root), Accounts(self.account)
            yield

    def new_folder(self) -> Path:
        """Return an empty folder, deleted after the test; its name is like no other."""
        self._made += 1
        folder = self._root / f"{self._root.name}-{self._made}"
        folder.mkdir()
        return folder

    def new_clock(self) -> ManualClock:
        """Return a clock that stands at 1,000,000."""
        return KitClock(None if self.has("manual_clock") else self._lacks("manual_clock"))

    def new_ledger(
        self,
        policy: Policy = POLICY,
        *,
        clock: Clock | None = None,
        beacon: Beacon | None = None,
        folder: Path | None = None,
    ) -> Ledger:
        """Make a ledger; with a folder that holds one, open that."""
        if beacon is not None and not self.has("beacon"):
            pytest.skip(self._lacks("beacon"))
        if beacon is None:
            beacon = LocalBeacon(SECRET) if self.has("manual_clock") else PromptBeacon(SECRET)
        clock, folder = clock or self.new_clock(), folder or self.new_folder()
        made = self.make_ledger(self.adapted_policy(policy), LEDGER_ID, clock, beacon, folder)
        if made is None:
            raise TypeError(f"{type(self).__name__}.make_ledger returned None; expected a ledger: return it")
        return self.under_test(made)

    def under_test(self, ledger: Ledger) -> Ledger:
        """Return a ledger as the tests see it: with their names of accounts, and skipping what it lacks."""
        if type(self).account is Harness.account and all(map(self.has, ("draw_ahead", "log", "text"))):
            return ledger
        return LedgerUnderTest(ledger, self._accounts, {name: self._lacks(name) for name in self.lacks})

    def adapted_policy(self, policy: Policy) -> Policy:
        """Return a policy of the tests as the ledger gets it: with its own accounts, and short where it has to wait."""
        if policy.slash_account is not None:
            policy = replace(policy, slash_account=self._accounts.own(policy.slash_account))
        if self.has("manual_clock"):
            return policy
        window = self.window
        return replace(policy, draw_seconds=window, commit_seconds=window, reveal_seconds=window)

    def has(self, capability: str) -> bool:
        """Whether the ledger does not lack a capability."""
        return capability not in self.lacks

    def network(
        self, nodes: int = 5, policy: Policy = POLICY, stake: int = 1_000, *, beacon: Beacon | None = None
    ) -> "RestartableNetwork":
        """Make a ledger with a small network around it."""
        clock, folder = self.new_clock(), self.new_folder()
        ledger = self.new_ledger(policy, clock=clock, beacon=beacon, folder=folder)
        network = RestartableNetwork(
            ledger,
            clock,
            nodes=nodes,
            stake=stake,
            messages=self.has("messages"),
            log=self.has("log"),
            waits=not self.has("manual_clock"),
        )

        def restart() -> None:
            seen = network.ledger if isinstance(network.ledger, LedgerUnderTest) else None
            self.let_go(own(network.ledger))
            del network.ledger
            if seen is not None:
                del seen.wrapped
            network.ledger = self.new_ledger(policy, clock=clock, beacon=beacon, folder=folder)
            if seen is not None:  # which knows what to ask for
                seen.wrapped = own(network.ledger)
                network.ledger = seen

        network.restart = restart
        return network

    def tried(self, check: Callable[..., None], *strategies: Any) -> None:
        """Try a check on random arguments; made anew for each class, or hypothesis would take them for one."""
        small = settings(max_examples=self.examples, deadline=None, suppress_health_check=list(HealthCheck))
        small(given(*strategies)(check))()  # type: ignore[no-untyped-call]

    def _lacks(self, name: str) -> str:
        return f"{type(self).__name__} lacks {name}: {self.lacks[name]}"


class RestartableNetwork(Network):
    """A network whose ledger can be opened anew, as after the death of its process (L7)."""

    restart: Callable[[], None]
