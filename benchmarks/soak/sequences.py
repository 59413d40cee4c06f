"""Random sequences of actions: what each gives is what a model gives, and no money is made or lost."""

import hashlib
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import crynux_validate as cv
from benchmarks.soak.work import CARD, CHEAT, HONEST, TASK
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.ledger.memory import MemoryLedger
from crynux_validate.testing import Faults, FaultyLedger, ManualClock

POLICY: Final = cv.Policy(
    min_stake=400,
    commit_seconds=100,
    reveal_seconds=50,
    draw_seconds=20,
    epoch_seconds=1_000,
    attest_commit_seconds=100,
    attest_reveal_seconds=100,
)
STEPS: Final = 20
SEEDS: Final = 20
"""Of tasks: few enough that now and then a task is given again, which is refused (L9)."""

NODES: Final = [f"n{at}" for at in range(8)]
ACCOUNTS: Final = ["app", *(f"o{at}" for at in range(6))]
TEXT: Final = cv.TextTask(model=cv.ModelRef("owner/name", revision="0" * 40), prompt="tell me of a red cat")
HONEST_TEXT: Final = cv.TextScore(bytes(range(32)), bytes(range(32)))
CHEAT_TEXT: Final = cv.TextScore(bytes(32), bytes(32))
ANSWERS: Final = (
    HONEST,
    HONEST,
    HONEST,
    HONEST_TEXT,
    CHEAT,
    cv.ErrorReport("schema"),
    cv.ImageScore(bytes(16), bytes(32)),
)

Make = Callable[..., cv.SqlLedger]
"""Makes an empty ledger of a policy, an id, a clock and a beacon."""


@dataclass
class Counts:
    """What was done."""

    sequences: int = 0
    actions: int = 0
    refused: int = 0
    faults: int = 0
    settled: int = 0

    def __str__(self) -> str:
        failed = f" {self.faults:,} failed," if self.faults else ""
        return f"{self.actions:,} actions, {self.refused:,} refused,{failed} {self.settled:,} groups settled"


class Sequence:
    """One random sequence, the same for the same seed, on a model and on any other ledgers at once.

    The model is the rules on a `MemoryLedger`. What it says of itself is checked beside sums of our own: what was
    deposited and not withdrawn is what there is.

    Parameters
    ----------
    seed
        Decides all that happens.
    make
        Makes a ledger that must give the same results, errors and events as the model; only the model if left out.
    faults
        Which part of the model's actions fails before it is done, and which part after.
    """

    def __init__(self, seed: int, make: Make | None = None, faults: float = 0.0) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        options: dict[str, Any] = {"ledger_id": "soak", "clock": self.clock, "beacon": LocalBeacon(b"secret")}
        self.model = MemoryLedger(POLICY, **options)
        self.other = None if make is None else make(POLICY, **options)
        self.faulty = FaultyLedger(
            self.model,
            before=Faults(probability=faults, seed=seed),
            after=Faults(probability=faults, seed=seed + 1),
        )
        self.money = 0
        self.groups: list[str] = []
        self.openings: dict[tuple[str, str], cv.Opening] = {}
        self.attested: dict[str, tuple[cv.machines.Attestation, bytes]] = {}
        self.counts = Counts(sequences=1)

    def run(self) -> Counts:
        """Do all of it, and check; returns what was done."""
        for at in range(len(ACCOUNTS)):
            self.act("deposit", ACCOUNTS[at], 5_000)
            self.act("join", NODES[at], owner=ACCOUNTS[at], gpu=CARD, stake=1_000)
        steps = (
            self.move_money, self.join_or_leave, self.open, self.draw, self.commit, self.reveal, self.settle,
            self.serve, self.serve, self.attest_all, self.attest_one, self.wait, self.wait,
        )  # fmt: skip
        for _ in range(STEPS):
            self.chance.choice(steps)()
        self.check_the_end()
        return self.counts

    def act(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Do one action everywhere, and compare; returns what it gave, None where it was refused."""
        before = self.model.head(), self.model.totals(), self.model.nodes()
        done, found, refusal = True, None, ""
        try:
            found = getattr(self.faulty, name)(*args, **kwargs)
        except (cv.errors.LedgerError, cv.errors.InvalidInputError) as error:
            done, refusal = False, f"{type(error).__name__}: {error}"
        except cv.errors.StorageError:
            self.counts.faults += 1
            done = self.faulty.injected[-1].when == "after"
        self.counts.actions += 1
        self.counts.refused += bool(refusal)
        if not done and (self.model.head(), self.model.totals(), self.model.nodes()) != before:
            raise AssertionError(f"{name} was refused, and has changed something")
        if done and name == "deposit":
            self.money += args[1]
        if done and name == "withdraw":
            self.money -= args[1]
        self.check_money()
        if self.other is not None:
            try:
                same = getattr(self.other, name)(*args, **kwargs) == found and not refusal
            except (cv.errors.LedgerError, cv.errors.InvalidInputError) as error:
                same = f"{type(error).__name__}: {error}" == refusal
            if not same:
                raise AssertionError(f"{name}{args}{kwargs} gave {refusal or found} on the model, and not on the other")
        return found

    def check_money(self) -> None:
        """No money is made or lost, and nobody is in two groups."""
        totals = self.model.totals()
        there = (totals.accounts, totals.stakes, totals.escrows, totals.burnt)
        if sum(there) != self.money or min(there) < 0 or not totals.balanced:
            raise AssertionError(f"{self.money} was brought in, and there is {totals}")
        drawn = [self.model.group(group) for group in self.groups[-6:]]
        busy = [node for group in drawn if group.status is cv.ledger.Status.DRAWN for node in group.members]
        if len(busy) != len(set(busy)):
            raise AssertionError(f"a node is in two groups: {busy}")

    def check_the_end(self) -> None:
        """The log is one chain, and it gives all that is stored."""
        events = self.model.events()
        self.model.verify_log(events[-1].digest)
        again = MemoryLedger.replay(events)
        if (again.totals(), again.nodes(), again.head()) != (
            self.model.totals(),
            self.model.nodes(),
            self.model.head(),
        ):
            raise AssertionError("a replay of the log gives something else")
        if [again.group(group) for group in self.groups] != [self.model.group(group) for group in self.groups]:
            raise AssertionError("a replay of the log gives other groups")
        self.counts.settled = sum(event.kind == "settle" for event in events)
        if self.other is not None:
            if self.other.events() != events or self.other.totals() != self.model.totals():
                raise AssertionError("the other ledger has another log, or other money")
            self.other.verify_log(events[-1].digest)
            self.other.verify_records()
            self.other.close()

    def move_money(self) -> None:
        self.act(
            self.chance.choice(["deposit", "withdraw"]), self.chance.choice(ACCOUNTS), self.chance.randint(-5, 3_000)
        )

    def join_or_leave(self) -> None:
        node, amount = self.chance.choice(NODES), self.chance.randint(-5, 3_000)
        match self.chance.randrange(3):
            case 0:
                self.act("join", node, owner=self.chance.choice(ACCOUNTS), gpu=CARD, stake=amount)
            case 1:
                self.act("leave", node)
            case _:
                self.act("top_up", node, amount)

    def open(self, fee: int | None = None) -> str | None:
        fee = self.chance.choice([0, 2, 3, 3, 30, 100, 300, 600]) if fee is None else fee
        task = self.chance.choice([TASK, TEXT]).replace(seed=self.chance.randrange(SEEDS))
        count = self.model.group_count
        self.act("open_group", task, creator=self.chance.choice(["app", *ACCOUNTS]), fee=fee)
        if self.model.group_count == count:
            return None
        self.groups.append(f"group-{count + 1}")
        return self.groups[-1]

    def draw(self, group: str | None = None) -> None:
        if self.groups:
            self.act("draw", group or self.chance.choice(self.groups))

    def commit(self, group: str | None = None, node: str | None = None) -> None:
        if self.groups:
            group, node = group or self.chance.choice(self.groups), node or self.chance.choice(NODES)
            found = self.model.group(group)
            answers = ANSWERS if isinstance(found.task, cv.ImageTask) else (HONEST_TEXT, HONEST_TEXT, CHEAT_TEXT)
            opening = cv.Opening(self.chance.choice(answers).to_bytes(), self.chance.randbytes(32))
            bound_to = "00" * 32 if found.draw is None else found.draw_digest
            self.act("commit", group, node, opening.commitment(bound_to, node=node))
            if len(self.model.group(group).commitments) and (group, node) not in self.openings:
                self.openings[group, node] = opening

    def reveal(self, group: str | None = None, node: str | None = None) -> None:
        if self.openings:
            of = (group, node) if group and node else self.chance.choice(list(self.openings))
            if of in self.openings:
                self.act("reveal", *of, self.openings[of])

    def settle(self, group: str | None = None) -> None:
        if self.groups:
            self.act("settle", group or self.chance.choice(self.groups))

    def serve(self) -> None:
        """The whole of a group at once, so that many are settled; somebody may stay away."""
        group = self.open(fee=3)
        if group is None:
            return
        self.clock.advance(1)
        self.draw(group)
        members = self.model.group(group).members
        present = [node for node in members if self.chance.random() < 0.9]
        for node in present:
            self.commit(group, node)
        if len(present) < len(members):
            self.clock.advance(POLICY.commit_seconds)
        for node in present:
            self.reveal(group, node)
        self.settle(group)

    def wait(self) -> None:
        self.clock.advance(self.chance.choice([0, 1, 1, 25, 100, 160, 1_000]))

    def attest_all(self) -> None:
        """The whole of an epoch's attesting at once, so that text tasks find a class; some stay away."""
        self.clock.now = self.model.epoch().starts + POLICY.epoch_seconds
        attesting = [node.id for node in self.model.nodes() if self.chance.random() < 0.9]
        for node in attesting:
            self.attest_commit(node)
        self.clock.now = self.model.epoch().commit_deadline
        for node in attesting:
            if node in self.attested:
                self.act("attest_reveal", node, *self.attested[node])
        self.clock.now = self.model.epoch().reveal_deadline

    def attest_one(self) -> None:
        node = self.chance.choice(NODES)
        if node in self.attested and self.chance.random() < 0.5:
            self.act("attest_reveal", node, *self.attested[node])
        else:
            self.attest_commit(node)

    def attest_commit(self, node: str) -> None:
        epoch = self.model.epoch()
        kernel = self.chance.choice([b"k", b"k", b"k", b"l"]) * 32
        canary = hashlib.sha256((epoch.challenge or b"") + kernel).digest()
        attestation, nonce = cv.machines.Attestation(epoch.number, kernel, bytes(32), canary), self.chance.randbytes(32)
        self.act(
            "attest_commit", node, attestation.commitment(ledger="soak", node=node, nonce=nonce), epoch=epoch.number
        )
        self.attested[node] = attestation, nonce


def run_sequences(
    count: int, *, first: int = 0, new_url: Callable[[], str] | None = None, faults: float = 0.0
) -> Counts:
    """Run sequences, on new databases beside the model where URLs are given; returns what was done in all of them."""
    sums = Counts()

    def make(policy: cv.Policy, **options: Any) -> cv.SqlLedger:
        return cv.SqlLedger("" if new_url is None else new_url(), policy, trust_clock=True, **options)

    for at in range(count):
        try:
            done = Sequence(first + at, None if new_url is None else make, faults).run()
        except BaseException as error:
            error.add_note(f"in the sequence of seed {first + at}")
            raise
        for name, value in vars(done).items():
            setattr(sums, name, getattr(sums, name) + value)
    return sums


def run_on_files(count: int, folder: Path, *, first: int = 0) -> Counts:
    """Run sequences on the model and on new SQLite files at once."""
    return run_sequences(count, first=first, new_url=lambda: f"sqlite:///{tempfile.mkdtemp(dir=folder)}/ledger.db")
