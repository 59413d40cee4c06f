"""The demo's network: four nodes, an auditor and a ledger, and the way of a task from asking to verdict and audit."""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import crynux_validate as cv
from crynux_validate.audits.steps import audit_steps
from crynux_validate.cli import demo_node
from crynux_validate.cli.demo_output import MODELS, Output
from crynux_validate.cli.demo_processes import Processes, Tell, new_ledger
from crynux_validate.errors import TooEarlyError
from crynux_validate.ledger.interface import Group, Policy
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.tasks import ImageTask, ModelRef
from crynux_validate.testing import fake_hardware

if TYPE_CHECKING:
    from crynux_validate import ImageResult
    from crynux_validate.audits import ImageAudit

CARDS: Final = (
    GpuModel("NVIDIA GeForce RTX 4090", 24),
    GpuModel("NVIDIA GeForce RTX 3060", 12),
    GpuModel("NVIDIA A100-SXM4-40GB", 40),
    GpuModel("NVIDIA GeForce RTX 4070", 12),
)
KINDS: Final = ("native", "aten-default", "mkl-compatible", "oldest")
"""The numeric kinds that the four nodes imitate."""

PROMPTS: Final = (
    "a big blue star on sand",
    "a red heart on snow",
    "a big yellow circle on night",
    "a white triangle on the left on bricks",
    "a big green cross on a pink background",
    "an orange square at the bottom on sky",
)
AUDITOR: Final = "native"
"""The numeric kind of the auditor: to the bit that of one node, and other than that of the rest."""

DRAWN_STEPS: Final = 5
"""How many steps of each answer are audited."""

ARCHITECTURES: Final = ("ada", "hopper")
"""Two arithmetics: that of an RTX 4090, and that of an H100."""

SIDE: Final = 128
"""Pixels of the pictures that the small model learned to draw."""

STAKE: Final = 1_000
FEE: Final = 300
FUNDS: Final = 2_000
"""What every owner has before its node joins."""

MAX_TASKS: Final = 24

WRITES: Final = ("demo.db", "demo.db-*", "demo.png", "group-*")
"""What a demo may write into its folder, besides the model."""


@dataclass
class DemoNode:
    """One node: who it is, what it declares, how its process computes, and how it cheats (``none``: not at all)."""

    id: str
    card: GpuModel
    kind: str
    cheat: str
    worker: fake_hardware.Worker = field(repr=False)

    @property
    def owner(self) -> str:
        """The account behind it."""
        return f"owner-of-{self.id}"


@dataclass(frozen=True)
class Round:
    """What became of one task: the settled group, and of each member result, stakes before and after, and audit.

    `seed` drew the audited steps when all answers were bound.
    """

    task: ImageTask
    group: Group
    results: Mapping[str, "ImageResult"]
    stakes: Mapping[str, tuple[int, int]]
    seed: bytes
    audits: Mapping[str, "ImageAudit"]


class Network(Processes):
    """Four nodes and a ledger; use it in a ``with`` statement, which ends the processes.

    Parameters
    ----------
    cheat
        How the last node cheats; one of `demo_node.CHEATS`.
    policy
        The ledger's parameters.
    out
        The folder that the model, the ledger and the nodes' results are written to.
    tell
        Called with each line for people.
    """

    def __init__(self, cheat: str, policy: Policy, out: Output, tell: Tell) -> None:
        super().__init__(tell)
        self.ledger = new_ledger(out, "demo", policy)
        self._running.callback(self.ledger.close)
        self.nodes: list[DemoNode] = []
        self.served: set[str] = set()
        self._cheat = cheat
        self._out = out

    def _start_processes(self) -> None:
        known = self._known_kinds("all nodes compute alike here, so their pixels will be equal")
        spare = [name for name in known if name not in KINDS]
        for at, (wanted, card) in enumerate(zip(KINDS, CARDS, strict=True), 1):
            name = wanted if wanted in known else (spare.pop() if spare else "native")
            cheat = self._cheat if at == len(CARDS) else "none"
            self.nodes.append(DemoNode(f"node-{at}", card, name, cheat, self._start(known[name])))
        self._auditor = self._start(known[AUDITOR])

    def fetch_model(self) -> ModelRef:
        """Put the small model into the output folder."""
        from crynux_validate.testing import tiny_image_model

        return tiny_image_model(self._out.path / MODELS[0])

    def join(self, task: ImageTask) -> None:
        """Let every node load the task's model and join with a stake, and the creator deposit its money."""
        workers = {node.id: node.worker for node in self.nodes} | {"auditor": self._auditor}
        loaded = self._together("loading", "models", {name: (at, demo_node.load, task) for name, at in workers.items()})
        for node in self.nodes:
            digest = loaded[node.id]
            self.ledger.deposit(node.owner, FUNDS)
            self.ledger.join(node.id, owner=node.owner, gpu=node.card, stake=STAKE)
            how = demo_node.CHEATS[node.cheat][0] if node.cheat != "none" else "honest"
            self._tell(f"  {node.id}  {node.card!s:<32}  computes as {node.kind:<14}  kernels {digest[:8]}  {how}")
        self.ledger.deposit("creator", MAX_TASKS * FEE)
        self._tell(f"  and an auditor, which is no node and computes as {AUDITOR}")

    def rounds(self, task: ImageTask, prompts: Sequence[str], least: int) -> Iterator[Round]:
        """Run a task for one prompt after the other, until there were `least` and every node has served."""
        done = 0
        while done < least or (len(self.served) < len(self.nodes) and done < MAX_TASKS):
            yield self._round(task.replace(prompt=prompts[done % len(prompts)], seed=100 + done))
            done += 1

    def draw_as_cards(self, task: ImageTask) -> dict[str, "ImageResult"]:
        """Let one process run a task in the arithmetic of two cards."""
        one = self.nodes[0]
        job = (one.worker, demo_node.draw_as, task, ARCHITECTURES)
        return self._together("drawing as two cards", "steps", {one.id: job}, len(ARCHITECTURES) * task.steps)[one.id]

    def _round(self, task: ImageTask) -> Round:
        ledger = self.ledger
        group = ledger.open_group(task, creator="creator", fee=FEE)
        group = self._draw(group)
        members = [node for node in self.nodes if node.id in group.members]
        self.served |= set(group.members)
        before = {node.id: ledger.node(node.id).stake for node in members}
        results = self._work(group, task, members)
        openings = {node: cv.Opening.of(result.score) for node, result in results.items()}
        for node, opening in openings.items():
            ledger.commit(group.id, node, opening.commitment(group.draw_digest, node=node))
        for node, opening in openings.items():
            ledger.reveal(group.id, node, opening)
        settled = ledger.settle(group.id)
        stakes = {node: (before[node], ledger.node(node).stake) for node in before}
        seed = secrets.token_bytes(8)  # nobody knew it when the answers were bound
        return Round(task, settled, results, stakes, seed, self._audit(group, task, members, results, seed))

    def _audit(
        self,
        group: Group,
        task: ImageTask,
        members: Sequence[DemoNode],
        results: Mapping[str, "ImageResult"],
        seed: bytes,
    ) -> dict[str, "ImageAudit"]:
        """Let every member prove the steps that are drawn of its answer, and the auditor compute them again."""
        folders = {node.id: self._out.claim(group.id) / node.id for node in members}
        drawn = {node: audit_steps(seed, task, result.score, DRAWN_STEPS) for node, result in results.items()}
        proofs = {node.id: (node.worker, demo_node.prove, task, folders[node.id], drawn[node.id]) for node in members}
        self._together("proving", "answers", proofs)
        audits = {
            node: (self._auditor, demo_node.audit, task, folder, seed, DRAWN_STEPS) for node, folder in folders.items()
        }
        return self._together("auditing", "steps", audits, DRAWN_STEPS)

    def _draw(self, group: Group) -> Group:
        """Draw as soon as the beacon round is public."""
        while True:
            try:
                return self.ledger.draw(group.id)
            except TooEarlyError:
                time.sleep(0.1)

    def _work(self, group: Group, task: ImageTask, members: Sequence[DemoNode]) -> dict[str, "ImageResult"]:
        folder = self._out.claim(group.id)
        jobs = {node.id: (node.worker, demo_node.answer, task, node.cheat, folder / node.id) for node in members}
        return self._together("drawing", "steps", jobs, task.steps)
