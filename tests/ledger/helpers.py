"""A small network for the ledger's tests."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from crynux_validate import (
    Attestation,
    Environment,
    ErrorReport,
    GpuModel,
    Group,
    ImageScore,
    ImageTask,
    ModelRef,
    NodeClass,
    Opening,
    Policy,
    TextScore,
    TextTask,
    class_of,
)
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.testing import ManualClock
from tests.ledger import backends

TASK = ImageTask(model=ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
CARD = GpuModel("NVIDIA GeForce RTX 4090", 24)
HONEST = ImageScore(bytes.fromhex("f0f0f0f00f0f0f0f"), bytes(32))
CHEAT = ImageScore(bytes.fromhex("0f0f0f0ff0f0f0f0"), bytes(32))
MALFORMED = ImageScore(bytes(16), bytes(32))
FALSE_REPORT = ErrorReport("schema")

TEXT = TextTask(model=ModelRef("owner/name", revision="0" * 40), prompt="tell me of a red cat")
HONEST_TEXT = TextScore(bytes(range(32)), bytes(range(32)))
CHEAT_TEXT = TextScore(bytes(32), bytes(32))

POLICY = Policy(
    min_stake=400,
    commit_seconds=100,
    reveal_seconds=50,
    draw_seconds=20,
    epoch_seconds=1_000,
    attest_commit_seconds=100,
    attest_reveal_seconds=100,
)

Answer = ImageScore | TextScore | ErrorReport


@dataclass(frozen=True)
class Machine:
    """What a node says of its kernels, and what they really are: only that decides its canary."""

    says: str = "driver 580.1, torch 2.13.0"
    is_really: str = ""

    def attestation(self, challenge: bytes, epoch: int) -> Attestation:
        driver, torch = self.says.split(", ")
        environment = Environment({"driver": driver, "torch": torch}, {"tf32": False})
        canary = hashlib.sha256(challenge + (self.is_really or self.says).encode()).digest()
        return Attestation.of(environment, epoch=epoch, canary=canary)


MACHINE = Machine()


class Network:
    """A ledger with a clock, nodes n0, n1, ... of owners o0, o1, ..., and a creator ``app`` with money."""

    def __init__(self, nodes: int = 5, policy: Policy = POLICY, stake: int = 1000) -> None:
        self.clock = ManualClock()
        self.ledger = backends.current.make(policy, ledger_id="test", clock=self.clock, beacon=LocalBeacon(b"secret"))
        self.openings: dict[tuple[str, str], Opening] = {}
        self.attestations: dict[str, tuple[Attestation, bytes]] = {}
        self.fill(nodes, stake)

    def fill(self, nodes: int, stake: int = 1000) -> None:
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

    def attest_commit(self, node: str, machine: Machine = MACHINE) -> None:
        epoch = self.ledger.epoch()
        attestation = machine.attestation(epoch.challenge or b"", epoch.number)
        nonce = f"nonce of {node} in {epoch.number}".encode().ljust(32)
        commitment = attestation.commitment(ledger=self.ledger.id, node=node, nonce=nonce)
        self.ledger.attest_commit(node, commitment, epoch=epoch.number)
        self.attestations[node] = (attestation, nonce)

    def attest_reveal(self, node: str) -> None:
        self.ledger.attest_reveal(node, *self.attestations[node])

    def class_of(self, node: str) -> NodeClass | None:
        """The class of a node that is in force."""
        return class_of(self.ledger.node(node), self.ledger.epoch().in_force)

    def drawn(self, fee: int = 100, task: ImageTask | TextTask = TASK) -> Group:
        group = self.ledger.open_group(task, creator="app", fee=fee)
        self.clock.advance(1)
        return self.ledger.draw(group.id)

    def commit(self, group: str, node: str, answer: Answer = HONEST) -> Opening:
        opening = Opening.of(answer)
        commitment = opening.commitment(ledger=self.ledger.id, group=group, node=node)
        self.ledger.commit(group, node, commitment)
        self.openings[group, node] = opening
        return opening

    def reveal(self, group: str, node: str) -> Group:
        return self.ledger.reveal(group, node, self.openings[group, node])

    def answered(self, *answers: Answer | None, fee: int = 100, task: ImageTask | TextTask = TASK) -> Group:
        """A settled group whose members gave these answers; None stays away."""
        group = self.drawn(fee, task)
        for node, answer in zip(group.members, answers, strict=True):
            if answer is not None:
                self.commit(group.id, node, answer)
        if None in answers:
            self.clock.advance(self.ledger.policy.commit_seconds)
        for node, answer in zip(group.members, answers, strict=True):
            if answer is not None:
                self.reveal(group.id, node)
        return self.ledger.settle(group.id)
