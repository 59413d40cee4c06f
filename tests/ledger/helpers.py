"""A small network for the ledger's tests."""

from crynux_validate import ErrorReport, GpuModel, Group, ImageScore, ImageTask, MemoryLedger, ModelRef, Opening, Policy
from crynux_validate.ledger.beacon import LocalBeacon
from crynux_validate.testing import ManualClock

TASK = ImageTask(model=ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
CARD = GpuModel("NVIDIA GeForce RTX 4090", 24)
HONEST = ImageScore(bytes.fromhex("f0f0f0f00f0f0f0f"), bytes(32))
CHEAT = ImageScore(bytes.fromhex("0f0f0f0ff0f0f0f0"), bytes(32))
MALFORMED = ImageScore(bytes(16), bytes(32))
FALSE_REPORT = ErrorReport("schema")

POLICY = Policy(min_stake=400, commit_seconds=100, reveal_seconds=50, draw_seconds=20)


class Network:
    """A ledger with a clock, nodes n0, n1, ... of owners o0, o1, ..., and a creator ``app`` with money."""

    def __init__(self, nodes: int = 5, policy: Policy = POLICY, stake: int = 1000) -> None:
        self.clock = ManualClock()
        self.ledger = MemoryLedger(policy, ledger_id="test", clock=self.clock, beacon=LocalBeacon(b"secret"))
        self.openings: dict[tuple[str, str], Opening] = {}
        self.fill(nodes, stake)

    def fill(self, nodes: int, stake: int = 1000) -> None:
        """Let the creator deposit its money, and the nodes join."""
        self.ledger.deposit("app", 10_000)
        for at in range(nodes):
            self.ledger.deposit(f"o{at}", 5_000)
            self.ledger.join(f"n{at}", owner=f"o{at}", gpu=CARD, stake=stake)

    def drawn(self, fee: int = 100) -> Group:
        group = self.ledger.open_group(TASK, creator="app", fee=fee)
        self.clock.advance(1)
        return self.ledger.draw(group.id)

    def commit(self, group: str, node: str, answer: ImageScore | ErrorReport = HONEST) -> Opening:
        opening = Opening.of(answer)
        commitment = opening.commitment(ledger=self.ledger.id, group=group, node=node)
        self.ledger.commit(group, node, commitment)
        self.openings[group, node] = opening
        return opening

    def reveal(self, group: str, node: str) -> Group:
        return self.ledger.reveal(group, node, self.openings[group, node])

    def answered(self, *answers: ImageScore | ErrorReport | None, fee: int = 100) -> Group:
        """A settled group whose members gave these answers; None stays away."""
        group = self.drawn(fee)
        for node, answer in zip(group.members, answers, strict=True):
            if answer is not None:
                self.commit(group.id, node, answer)
        if None in answers:
            self.clock.advance(self.ledger.policy.commit_seconds)
        for node, answer in zip(group.members, answers, strict=True):
            if answer is not None:
                self.reveal(group.id, node)
        return self.ledger.settle(group.id)
