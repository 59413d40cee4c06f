"""Vectors of logs."""

from tools.vectors.common import CARD, HUB, Vector, vector
from tools.vectors.verdicts import A, far

import crynux_validate as cv

TASK = cv.ImageTask(model=HUB, prompt="a red cat")
START = 1_700_000_000


def event_vectors() -> list[Vector]:
    """Logs of ledgers from genesis on, and the digest of each event."""
    cases = [
        ("membership", "deposits, a node that joins, tops up and leaves", membership_log()),
        ("settled-group", "a group of three with a cheat, from its opening to its settlement", settled_log()),
        ("queue", "two groups wait, and the second is drawn without the members of the first; nobody agrees in one",
         queue_log()),
    ]  # fmt: skip
    return [
        vector(
            f"event/{name}",
            why,
            events=[event.to_dict() for event in log],
            digests=[event.digest for event in log],
            head=log[-1].digest,
        )
        for name, why, log in cases
    ]


def membership_log() -> list[cv.ledger.Event]:
    """A ledger with one node."""
    ledger = cv.MemoryLedger(ledger_id="ledger-1", clock=lambda: START, beacon=cv.ledger.LocalBeacon(bytes(32)))
    ledger.deposit("owner-1", 10**30)
    ledger.join("node-1", owner="owner-1", gpu=CARD, stake=400)
    ledger.top_up("node-1", 100)
    ledger.leave("node-1")
    ledger.withdraw("owner-1", 10**30)
    return list(ledger.events())


def network(nodes: int) -> cv.MemoryLedger:
    """A ledger on which nodes have joined; each action takes a second."""
    time = iter(range(START, START + 1_000))
    ledger = cv.MemoryLedger(ledger_id="ledger-1", clock=lambda: next(time), beacon=cv.ledger.LocalBeacon(bytes(32)))
    ledger.deposit("app", 1_000)
    for at in range(1, nodes + 1):
        ledger.deposit(f"owner-{at}", 500)
        ledger.join(f"node-{at}", owner=f"owner-{at}", gpu=CARD, stake=500)
    return ledger


def answer(ledger: cv.MemoryLedger, group: str, scores: list[int]) -> None:
    """Let the members commit to these perceptual hashes, in the order drawn, reveal, and be judged."""
    drawn = ledger.group(group)
    openings = {
        node: cv.Opening(cv.ImageScore(found.to_bytes(8, "big"), bytes([at]) * 32).to_bytes(), bytes([at]) * 32)
        for at, (node, found) in enumerate(zip(drawn.members, scores, strict=True))
    }
    for node, opening in openings.items():
        ledger.commit(group, node, opening.commitment(drawn.draw_digest, node=node))
    for node, opening in openings.items():
        ledger.reveal(group, node, opening)
    ledger.settle(group)


def settled_log() -> list[cv.ledger.Event]:
    """A ledger with a settled group, two of whose members agree."""
    ledger = network(3)
    opened = ledger.open_group(TASK, creator="app", fee=100)
    ledger.draw(opened.id)
    answer(ledger, opened.id, [A, A, far(30)])
    return list(ledger.events())


def queue_log() -> list[cv.ledger.Event]:
    """A ledger on which two groups wait at once, and a node leaves meanwhile."""
    ledger = network(7)
    first = ledger.open_group(TASK, creator="app", fee=101)
    second = ledger.open_group(TASK.replace(seed=1), creator="app", fee=102)
    ledger.leave("node-1")
    ledger.draw(second.id)
    answer(ledger, first.id, [A, far(20), far(30, 30)])
    answer(ledger, second.id, [A, A, A])
    ledger.leave("node-1")
    return list(ledger.events())
