"""The text demo's network: seven nodes in processes of their own, and ledgers with and without the canary."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import crynux_validate as cv
from crynux_validate.cli import demo_text_node
from crynux_validate.cli.demo_output import MODELS, Output
from crynux_validate.cli.demo_processes import Processes, Tell, new_ledger
from crynux_validate.cli.demo_text_node import Written
from crynux_validate.ledger.interface import Group, Policy
from crynux_validate.machines.admission import ClassFacts, classes_of
from crynux_validate.machines.classes import Attestation
from crynux_validate.machines.environment import Environment
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.tasks import ModelRef, TextTask
from crynux_validate.testing import ManualClock, fake_hardware

CARDS: Final = (GpuModel("NVIDIA GeForce RTX 4090", 24), GpuModel("NVIDIA H100 80GB HBM3", 80))
ARCHITECTURES: Final = ("ada", "hopper")
"""Whose arithmetic each card has."""

STAKE: Final = 1_000
MIN_STAKE: Final = 500
"""Three nodes with a stake of 1,000 are a class that text tasks go to: twice what a group must have."""

FEE: Final = 300
FUNDS: Final = 2_000
WRITES: Final = (
    *(f"{name}{end}" for name in ("with-canary", "without-canary") for end in ("", ".db", ".db-*")),
    "without-pairing",
    "evidence-*.json",
)
"""What a demo may write into its folder, besides the model."""

NO_CANARY: Final = bytes(32)
"""What every node attests where the canary is off."""


@dataclass
class TextNode:
    """One node: what it declares, and how its process computes.

    Parameters
    ----------
    id, card, kind
        Its id, the GPU model that it declares, and the architecture in whose arithmetic its process computes.
    claims
        The node whose kernel and numerics it claims to have; itself, if it is honest.
    """

    id: str
    card: GpuModel
    kind: str
    claims: str
    worker: fake_hardware.Worker = field(repr=False)

    @property
    def owner(self) -> str:
        """The account behind it."""
        return f"owner-of-{self.id}"

    @property
    def honest(self) -> bool:
        """Whether it declares what it has."""
        return self.claims == self.id


@dataclass(frozen=True)
class Served:
    """What became of one task: the settled group, what each member wrote, and its stakes before and after."""

    task: TextTask
    group: Group
    written: Mapping[str, Written]
    stakes: Mapping[str, tuple[int, int]]


class TextNetwork(Processes):
    """Seven nodes; use it in a ``with`` statement, which ends the processes.

    Parameters
    ----------
    out
        The folder that the model and the nodes' results are written to.
    tell
        Called with each line for people.
    """

    def __init__(self, out: Output, tell: Tell) -> None:
        super().__init__(tell)
        self.nodes: list[TextNode] = []
        self._environments: dict[str, Environment] = {}
        self._out = out

    def _start_processes(self) -> None:
        known = {kind.name: kind for kind in fake_hardware.gpu_kinds()}
        for at in range(1, 8):
            has = 0 if at <= 3 else 1
            declares, claims = (has, f"node-{at}") if at < 7 else (0, "node-1")
            kind = ARCHITECTURES[has]
            self.nodes.append(TextNode(f"node-{at}", CARDS[declares], kind, claims, self._start(known[kind])))

    def fetch_model(self) -> ModelRef:
        """Put the small model into the output folder."""
        from crynux_validate.testing import tiny_text_model

        return tiny_text_model(self._out.path / MODELS[1])

    def load(self, task: TextTask) -> None:
        """Let every node load the task's model and read its environment."""
        jobs = {node.id: (node.worker, demo_text_node.load, task) for node in self.nodes}
        self._environments = self._together("loading", "models", jobs)

    def ledger(self, name: str, *, canary: bool) -> "DemoLedger":
        """Return a ledger that all nodes have joined and attested to, with or without the canary."""
        made = DemoLedger(self._out, name)
        self._running.callback(made.ledger.close)
        for node in self.nodes:
            made.ledger.deposit(node.owner, FUNDS)
            made.ledger.join(node.id, owner=node.owner, gpu=node.card, stake=STAKE)
        answers = dict.fromkeys((node.id for node in self.nodes), NO_CANARY)
        if canary:
            challenge = made.challenge()
            jobs = {node.id: (node.worker, demo_text_node.canary, challenge) for node in self.nodes}
            answers = self._together("computing", "canaries", jobs)
        epoch = made.ledger.epoch().number
        attestations = {
            node.id: Attestation.of(self._environments[node.claims], epoch=epoch, canary=answers[node.id])
            for node in self.nodes
        }
        made.attest(attestations)
        return made

    def serve(self, on: "DemoLedger", task: TextTask, group: Group) -> Served:
        """Let the members of a drawn group run its task, commit, reveal; settle it."""
        members = [node for node in self.nodes if node.id in group.members]
        before = {node.id: on.ledger.node(node.id).stake for node in members}
        written = self.write(task, members, on.ledger.id, group.id)
        settled = on.answer(group, {name: done.score for name, done in written.items()})
        return Served(task, settled, written, {name: (before[name], on.ledger.node(name).stake) for name in before})

    def write(self, task: TextTask, nodes: Sequence[TextNode], *where: str) -> dict[str, Written]:
        """Let nodes run a task, all at once, and save their results in a folder of the output."""
        folder = self._out.claim(where[0]).joinpath(*where[1:])
        jobs = {node.id: (node.worker, demo_text_node.answer, task, folder / node.id) for node in nodes}
        return self._together("writing", "tokens", jobs, task.max_new_tokens)


class DemoLedger:
    """A ledger with a clock of its own, so that nobody waits for windows and beacons.

    Parameters
    ----------
    out
        The folder that its file is written to.
    name
        The ledger's id, and its file's.
    """

    def __init__(self, out: Output, name: str) -> None:
        self._clock = ManualClock(1_000 * Policy().epoch_seconds)
        self.ledger = new_ledger(out, name, Policy(min_stake=MIN_STAKE), self._clock)
        self.ledger.deposit("creator", 100 * FEE)

    def challenge(self) -> bytes:
        """Return the present epoch's challenge, once it is public."""
        while (found := self.ledger.epoch().challenge) is None:
            self._clock.advance(1)
        return found

    def attest(self, attestations: Mapping[str, Attestation]) -> None:
        """Commit to all attestations, reveal them, and wait until they are in force."""
        self.challenge()
        epoch = self.ledger.epoch()
        nonces = {name: secrets.token_bytes(32) for name in attestations}
        for name, attested in attestations.items():
            bound = attested.commitment(ledger=self.ledger.id, node=name, nonce=nonces[name])
            self.ledger.attest_commit(name, bound, epoch=epoch.number)
        self._clock.advance(epoch.commit_deadline - self._clock())
        for name, attested in attestations.items():
            self.ledger.attest_reveal(name, attested, nonces[name])
        self._clock.advance(epoch.reveal_deadline - self._clock())

    def classes(self) -> Sequence[ClassFacts]:
        """Return the classes that there are, the heaviest first."""
        policy = self.ledger.policy
        found = classes_of(
            self.ledger.nodes(),
            epoch=self.ledger.epoch().in_force,
            min_stake=policy.min_stake,
            weight_unit=policy.weight_unit,
        )
        return tuple(found.values())

    def open(self, task: TextTask, gpu_class: str | None = None) -> Group:
        """Open a group for a task and draw it."""
        group = self.ledger.open_group(task, creator="creator", fee=FEE, gpu_class=gpu_class)
        self._clock.advance(1)
        return self.ledger.draw(group.id)

    def answer(self, group: Group, scores: Mapping[str, cv.TextScore]) -> Group:
        """Commit to all answers, reveal them, settle."""
        openings = {name: cv.Opening.of(score) for name, score in scores.items()}
        for name, opening in openings.items():
            self.ledger.commit(group.id, name, opening.commitment(group.draw_digest, node=name))
        for name, opening in openings.items():
            self.ledger.reveal(group.id, name, opening)
        return self.ledger.settle(group.id)
