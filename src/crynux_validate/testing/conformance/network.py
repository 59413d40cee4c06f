"""A small network of nodes, owners and a creator around a ledger under test."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Final, TypeVar

import pytest

from crynux_validate.answers import Answer, ErrorReport, ImageScore, TextScore
from crynux_validate.commitment import Opening
from crynux_validate.errors import LedgerError, NotEnoughNodes, TooEarlyError
from crynux_validate.ledger.interface import Event, Group, Ledger, Policy, Status
from crynux_validate.machines.admission import class_of
from crynux_validate.machines.classes import Attestation, NodeClass
from crynux_validate.machines.environment import Environment
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import ImageTask, ModelRef, TextTask
from crynux_validate.testing.clock import ManualClock
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.under_test import LedgerUnderTest

T = TypeVar("T")

LEDGER_ID: Final = "test"
TASK: Final = ImageTask(model=ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
CHECKED: Final = TASK.replace(safety_checker=True)
CARD: Final = GpuModel("NVIDIA GeForce RTX 4090", 24)
HONEST: Final = ImageScore(bytes.fromhex("f0f0f0f00f0f0f0f"), bytes(32))
CHEAT: Final = ImageScore(bytes.fromhex("0f0f0f0ff0f0f0f0"), bytes(32))
NEAR: Final = ImageScore(bytes.fromhex("f0f0f0f00f0ff0f0"), bytes(32))
"""16 bits from `HONEST`: too far to agree under the default threshold, too near to be slashed."""
BLANK: Final = ImageScore(bytes(8), bytes(32))
"""What a safety checker leaves of a picture."""
MALFORMED: Final = ImageScore(bytes(16), bytes(32))
FALSE_REPORT: Final = ErrorReport("schema")

TEXT: Final = TextTask(model=ModelRef("owner/name", revision="0" * 40), prompt="tell me of a red cat")
HONEST_TEXT: Final = TextScore(bytes(range(32)), bytes(range(32)))
CHEAT_TEXT: Final = TextScore(bytes(32), bytes(32))

POLICY: Final = Policy(
    min_stake=400,
    slash_per_fee=None,
    min_pool_ppm=250_000,
    no_quorum_ppm=0,
    fault_fee_ppm=100_000,
    commit_seconds=100,
    reveal_seconds=50,
    draw_seconds=20,
    epoch_seconds=1_000,
    attest_commit_seconds=100,
    attest_reveal_seconds=100,
)


@dataclass(frozen=True)
class Machine:
    """What a node says of its kernels, and what they really are: only that decides its canary."""

    says: str = "driver 580.1, torch 2.13.0"
    is_really: str = ""

    def attestation(self, challenge: bytes, epoch: int) -> Attestation:
        """Return what such a machine attests in an epoch."""
        driver, torch = self.says.split(", ")
        environment = Environment({"driver": driver, "torch": torch}, {"tf32": False})
        canary = hashlib.sha256(challenge + (self.is_really or self.says).encode()).digest()
        return Attestation.of(environment, epoch=epoch, canary=canary)


MACHINE: Final = Machine()
OTHER_DRIVER: Final = Machine("driver 590.2, torch 2.13.0")
OTHER_TORCH: Final = Machine("driver 580.1, torch 2.14.0")
FALSE_DECLARER: Final = Machine(MACHINE.says, is_really="another card")


class SilentBeacon:
    """A beacon that fell silent; it has the name of the one that a `LocalBeacon` is."""

    name: Final = "local/1"
    on_ledger_clock: Final = True

    def next_round(self, now: int) -> int:
        """Return the number of the first round that is not public yet."""
        return now + 1

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002, ARG002
        """Return None: no round is ever public."""
        return None


class Network:
    """A ledger with a clock, nodes n0, n1, ... of owners o0, o1, ..., and a creator ``app`` with money.

    Parameters
    ----------
    ledger, clock
        A new ledger, and what moves its time.
    nodes, stake
        How many nodes join, and with what stake; each owner has 5,000 before that, the creator 10,000.
    messages
        Whether the words and numbers of errors are compared (capability ``messages``).
    log
        Whether the log is looked at (capability ``log``).
    waits
        Whether the ledger's time moves by itself, and is waited for (without the capability ``manual_clock``).
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: ManualClock,
        *,
        nodes: int = 5,
        stake: int = 1_000,
        messages: bool = True,
        log: bool = True,
        waits: bool = False,
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.messages, self.log, self._waits = messages, log, waits
        self.openings: dict[tuple[str, str], Opening] = {}
        self.attestations: dict[str, tuple[Attestation, bytes]] = {}
        self._given = 0
        self.fill(nodes, stake)

    def fill(self, nodes: int, stake: int = 1_000) -> None:
        """Let the creator deposit its money, and the nodes join."""
        self.ledger.deposit("app", 10_000)
        for at in range(nodes):
            self.ledger.deposit(f"o{at}", 5_000)
            self.ledger.join(f"n{at}", owner=f"o{at}", gpu=CARD, stake=stake)

    def attest(self, machines: Mapping[str, Machine] | None = None) -> None:
        """Let nodes attest in the next epoch, all of them the same machine if left out, until that is in force."""
        if machines is None:
            machines = {node.id: MACHINE for node in self.ledger.nodes()}
        self.clock.now = self.ledger.epoch().starts + self.ledger.policy.epoch_seconds
        for node, machine in machines.items():
            self.attest_commit(node, machine)
        self.clock.now = self.ledger.epoch().commit_deadline
        for node in machines:
            self.attest_reveal(node)
        self.clock.now = self.ledger.epoch().reveal_deadline

    def attest_commit(self, node: str, machine: Machine = MACHINE) -> Node:
        """Bind a node to what a machine attests in the present epoch."""
        made, commitment = self._attestation(node, machine)
        committed = self.ledger.attest_commit(node, commitment, epoch=made[0].epoch)
        self.attestations[node] = made
        return committed

    def attestation_of(self, node: str, machine: Machine = MACHINE) -> bytes:
        """Return the commitment to what a machine attests in the present epoch; `attest_reveal` opens it."""
        self.attestations[node], commitment = self._attestation(node, machine)
        return commitment

    def _attestation(self, node: str, machine: Machine) -> tuple[tuple[Attestation, bytes], bytes]:
        epoch = self.ledger.epoch()
        made = machine.attestation(epoch.challenge or b"", epoch.number)
        nonce = f"nonce of {node} in {epoch.number}".encode().ljust(32)
        digests = (made.kernel, made.numerics, made.canary)
        return (made, nonce), by_hand.attestation_commitment(self.ledger.id, made.epoch, node, digests, nonce)

    def attest_reveal(self, node: str) -> Node:
        """Open what a node is bound to."""
        return self.ledger.attest_reveal(node, *self.attestations[node])

    def class_of(self, node: str) -> NodeClass | None:
        """Return the class of a node that is in force."""
        return class_of(self.ledger.node(node), self.ledger.epoch().in_force)

    def opened(self, fee: int = 100, task: ImageTask | TextTask = TASK, creator: str = "app") -> Group:
        """Open a group for such a task, with a seed of its own."""
        return self.ledger.open_group(self.fresh(task), creator=creator, fee=fee)

    def fresh(self, task: ImageTask | TextTask = TASK) -> ImageTask | TextTask:
        """Return such a task with a seed of its own: none can be given twice (L9)."""
        self._given += 1
        return task.replace(seed=task.seed + self._given)

    def drawn(self, fee: int = 100, task: ImageTask | TextTask = TASK) -> Group:
        """Open a group and draw its members a second later."""
        return self.draw(self.opened(fee, task))

    def draw(self, group: Group) -> Group:
        """Draw a group when the value of its beacon round is public: a second later, or when the ledger has it."""
        if not self._waits:
            self.clock.advance(1)
            return self.ledger.draw(group.id)
        while True:
            try:
                return self.ledger.draw(group.id)
            except TooEarlyError:
                now = self.ledger.now()
                if now >= group.draw_deadline:
                    raise
                self.until(now + 1)

    def just_before(self, deadline: int) -> None:
        """Let the ledger's time come to the last second before a deadline; where it moves by itself, leave it be."""
        if not self._waits:
            self.clock.now = deadline - 1

    def until(self, time: int) -> None:
        """Let the ledger's time come to a moment; wait for it where it moves by itself."""
        if not self._waits:
            self.clock.now = max(time, self.clock.now)
            return
        first, began = self.ledger.now(), monotonic()
        while (now := self.ledger.now()) < time:
            if monotonic() - began > 10 + 2 * (time - first):
                pytest.fail(
                    f"now() was {first}, and after {monotonic() - began:.0f} s is {now}, not yet {time}: it is the "
                    "time that an action would have, and has to go on while there is none"
                )
            sleep(0.02)

    def commit(self, group: str, node: str, answer: Answer = HONEST) -> Opening:
        """Bind a member to an answer; the commitment is computed by hand."""
        opening = Opening.of(answer)
        found = self.ledger.group(group)
        drawn = bytes(32) if found.draw is None else by_hand.draw_digest(found)
        commitment = by_hand.commitment(drawn, node, opening.answer_bytes, opening.nonce)
        self.ledger.commit(group, node, commitment)
        self.openings[group, node] = opening
        return opening

    def reveal(self, group: str, node: str) -> Group:
        """Open what a member is bound to."""
        return self.ledger.reveal(group, node, self.openings[group, node])

    def committed(self, *answers: Answer | None, fee: int = 100, task: ImageTask | TextTask = TASK) -> Group:
        """A drawn group whose members committed to these answers, with reveals open; None stays away."""
        group = self.drawn(fee, task)
        for node, answer in zip(group.members, answers, strict=True):
            if answer is not None:
                self.commit(group.id, node, answer)
        if None in answers:
            self.until(group.commit_deadline)
        return self.ledger.group(group.id)

    def answered(self, *answers: Answer | None, fee: int = 100, task: ImageTask | TextTask = TASK) -> Group:
        """A settled group whose members gave these answers; None stays away."""
        group = self.committed(*answers, fee=fee, task=task)
        for node in group.commitments:
            self.reveal(group.id, node)
        return self.ledger.settle(group.id)

    def refused(self, error: type[Exception], action: Callable[[], Any], match: str | None = None) -> None:
        """An action is refused with a reason, and changes nothing that a glance shows (L1)."""
        before = self.glance()
        with pytest.raises(error, match=match if self.messages else None):
            action()
        assert self.glance() == before, "the action was refused, and yet something has changed (L1)"

    def taken(self, action: Callable[[], T]) -> T:
        """An action is not refused; returns what it returns."""
        try:
            return action()
        except LedgerError as error:
            pytest.fail(f"the action was refused, and yet the rules allow it: {error!r}")

    def too_few(self, available: int, needed: int, action: Callable[[], Any], match: str | None = None) -> None:
        """An action is refused, since so many are available and so many are needed."""
        with pytest.raises(NotEnoughNodes, match=match if self.messages else None) as caught:
            action()
        assert not self.messages or (caught.value.available, caught.value.needed) == (available, needed)

    def glance(self) -> object:
        """Return what shows at little cost whether something changed."""
        if not self.log:
            return everything(self.ledger)
        return tuple(self.ledger.events()), self.ledger.totals(), by_id(self.ledger)

    def check_money(self) -> None:
        """Compare all money with what the log says, added up by hand; without a log, with itself (L2-L4)."""
        check_money(self.ledger)


@dataclass(frozen=True)
class Everything:
    """All that can be asked of a ledger about what has happened in it."""

    events: tuple[Event, ...]
    totals: object
    joined: Mapping[str, Node]
    nodes: Mapping[str, Node]
    accounts: Mapping[str, int]
    groups: Mapping[str, Group]


def everything(ledger: Ledger) -> Everything:
    """Ask a ledger for all that its log speaks of; without a log, for all that the tests spoke of."""
    if isinstance(ledger, LedgerUnderTest):
        if not ledger.has_log:
            used = [account for account in ledger.accounts if ledger.account(account)]
            return _all_of(ledger, (), used, ledger.known_nodes, ledger.groups)
        ledger = ledger.wrapped
    events = tuple(ledger.events())
    accounts, nodes, groups = {"app"}, set(), []
    for event in events:
        action, result = event.payload["action"], event.payload["result"]
        if event.kind in ("deposit", "join"):
            accounts.add(action["account"] if event.kind == "deposit" else action["owner"])
        if event.kind == "join":
            nodes.add(action["node"])
        if event.kind == "open_group":
            groups.append(result["group"])
    if ledger.policy.slash_account is not None:
        accounts.add(ledger.policy.slash_account)
    return _all_of(ledger, events, accounts, nodes, groups)


def _all_of(
    ledger: Ledger, events: Sequence[Event], accounts: Iterable[str], nodes: Iterable[str], groups: Iterable[str]
) -> Everything:
    return Everything(
        events=tuple(events),
        totals=ledger.totals(),
        joined=by_id(ledger),
        nodes={node: ledger.node(node) for node in sorted(nodes)},
        accounts={account: ledger.account(account) for account in sorted(accounts)},
        groups={group: ledger.group(group) for group in groups},
    )


def by_id(ledger: Ledger) -> dict[str, Node]:
    """Return all nodes that have joined."""
    return {node.id: node for node in ledger.nodes()}


def busy_nodes(groups: Mapping[str, Group]) -> list[str]:
    """Return the members of all drawn groups; one that stands twice is in two groups."""
    return [node for group in groups.values() if group.status is Status.DRAWN for node in group.members]


def check_money(ledger: Ledger) -> None:
    """Compare all money of a ledger with what its log says, added up by hand (L2-L4)."""
    found, totals = everything(ledger), ledger.totals()
    held = totals.accounts + totals.stakes + totals.escrows + totals.burnt
    assert held == totals.deposited - totals.withdrawn, "money was made or lost (L2)"
    assert min(totals.accounts, totals.stakes, totals.escrows, totals.burnt) >= 0
    known = sum(found.accounts.values()), sum(node.stake for node in found.nodes.values())
    escrows = sum(group.escrow for group in found.groups.values())
    assert (*known, escrows) == (totals.accounts, totals.stakes, totals.escrows), "the totals are not the sums (L2)"
    if found.events:
        _check_books(ledger, found)


def _check_books(ledger: Ledger, found: Everything) -> None:
    books = by_hand.Books.of(found.events, ledger.policy)
    assert found.accounts == {name: books.accounts[name] for name in found.accounts}, "an account has the wrong balance"
    stakes = {name: node.stake for name, node in found.nodes.items()}
    assert stakes == {name: books.stakes[name] for name in found.nodes}, "a node has the wrong stake"
    escrows = {name: group.escrow for name, group in found.groups.items()}
    assert escrows == {name: books.escrows[name] for name in found.groups}, "a group has the wrong escrow"
    totals = ledger.totals()
    assert (totals.accounts, totals.stakes, totals.escrows) == tuple(
        sum(kind.values()) for kind in (books.accounts, books.stakes, books.escrows)
    )
    assert (totals.burnt, totals.deposited, totals.withdrawn) == (books.burnt, books.deposited, books.withdrawn)
