"""What the processes of the soak do: everything that a ledger allows, each acknowledged action told at once."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import crynux_validate as cv

POLICY: Final = cv.Policy(
    min_stake=100, stake_per_fee=1, draw_seconds=60_000, commit_seconds=400, reveal_seconds=200, slash_ppm=100_000
)
"""Times are milliseconds here, so that groups are drawn and settled while somebody waits."""

TASK: Final = cv.ImageTask(model=cv.ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
"""Every group has it with another seed: the same task is not given twice (L9)."""

HONEST: Final = cv.ImageScore(bytes.fromhex("f0f0f0f00f0f0f0f"), bytes(32))
CHEAT: Final = cv.ImageScore(bytes.fromhex("0f0f0f0ff0f0f0f0"), bytes(32))
CARD: Final = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)

Say = Callable[[str, dict[str, str]], None]
"""Tells what was acknowledged: a kind of event, and fields of its action or of its result."""


def milliseconds() -> int:
    """A clock that all processes of this machine share. It begins anew after 46 days, for a ledger's ends in 2100."""
    return time.time_ns() // 1_000_000 % 4_000_000_000


def set_up(url: str, nodes: int = 12) -> None:
    """Make a ledger with some nodes."""
    with cv.SqlLedger(url, POLICY, ledger_id="soak", clock=milliseconds, trust_clock=True) as ledger:
        ledger.deposit("app", 10**9)
        for at in range(nodes):
            ledger.deposit(f"o{at}", 10**6)
            ledger.join(f"n{at}", owner=f"o{at}", gpu=CARD, stake=10**5)


def work(url: str, name: str, actions: int, say: Say, *, outlives: bool = False) -> None:
    """Act as somebody who does everything, until enough was acknowledged.

    Parameters
    ----------
    url
        Of a ledger that is set up.
    name
        Of this process; seeds what it does.
    actions
        How many acknowledged actions to do.
    say
        Called after each.
    outlives
        Whether to go on where the database fails, as it does when its server dies. What happened to the action that
        was under way is then not known, and it is not told.
    """
    chance = random.Random(name)
    done = 0

    def tell(kind: str, **fields: str) -> None:
        nonlocal done
        done += 1
        say(kind, fields)

    def move_money() -> None:
        account = f"account-of-{name}"
        amount = 10 + done
        ledger.deposit(account, amount)
        tell("deposit", account=account, amount=str(amount))
        ledger.withdraw(account, amount - 1)
        tell("withdraw", account=account, amount=str(amount - 1))

    def come_and_go() -> None:
        node, owner = f"node-{done}-of-{name}", f"account-of-{name}"
        ledger.deposit(owner, 150)
        tell("deposit", account=owner, amount="150")
        ledger.join(node, owner=owner, gpu=CARD, stake=100)
        tell("join", node=node)
        ledger.top_up(node, 50)
        tell("top_up", node=node)
        ledger.leave(node)
        tell("leave", node=node)

    def draw(group: str) -> None:
        """Draw it, and all that wait longer, unless somebody else has done so."""
        while ledger.group(group).status is cv.ledger.Status.OPEN:
            try:
                ledger.draw(group)
                tell("draw", group=group)
            except cv.errors.LedgerError:
                time.sleep(0.001)

    def serve() -> None:
        """Open one group or some, and draw the last of them: all are drawn in order, and somebody leaves meanwhile."""
        groups: list[str] = []
        for _ in range(chance.choice([1, 1, 1, 3])):
            try:
                group = ledger.open_group(TASK.replace(seed=chance.randrange(2**32)), creator="app", fee=99).id
            except cv.errors.LedgerError:
                if not groups:
                    raise
                break
            tell("open_group", group=group)
            groups.append(group)
        if chance.random() < 0.2:
            come_and_go()
        draw(groups[-1])
        for group in groups:
            answer(group)

    def answer(group: str) -> None:
        drawn = ledger.group(group)
        openings = {node: cv.Opening.of(chance.choice([HONEST, HONEST, CHEAT])) for node in drawn.members}
        for node, opening in openings.items():
            commitment = opening.commitment(drawn.draw_digest, node=node)
            ledger.commit(group, node, commitment)
            tell("commit", group=group, node=node, commitment=commitment.hex())
        for node, opening in openings.items():
            ledger.reveal(group, node, opening)
            tell("reveal", group=group, node=node, opening=opening.to_bytes().hex())
        ledger.settle(group)
        if ledger.group(group).status is cv.ledger.Status.SETTLED:
            tell("settle", group=group)

    def clean_up() -> None:
        """Settle what others left behind, and give back the stakes of those that left."""
        for node in ledger.nodes():
            if node.leaving is not None and not ledger.leave(node.id).joined:
                tell("leave", node=node.id)
        for group in ledger.last_groups(10):
            act = {cv.ledger.Status.OPEN: ledger.draw, cv.ledger.Status.DRAWN: ledger.settle}.get(group.status)
            if act is not None:
                act(group.id)

    with cv.SqlLedger(url, clock=milliseconds, trust_clock=True) as ledger:
        while done < actions:
            try:
                chance.choice([move_money, come_and_go, serve, serve, clean_up])()
            except cv.errors.LedgerError:
                time.sleep(0.001)
            except cv.errors.StorageError:
                if not outlives:
                    raise
                time.sleep(0.02)


def line_of(kind: str, fields: dict[str, str]) -> str:
    """How an acknowledged action is told."""
    return json.dumps([kind, *sorted(fields.items())])


def work_and_write(url: str, name: str, actions: int, told: Path, outlives: bool) -> None:
    """Work, and add a line to a file for each acknowledged action, which stays there when this process is killed."""
    file = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    work(url, name, actions, lambda *said: _write(file, line_of(*said)), outlives=outlives)


def _write(file: int, line: str) -> None:
    os.write(file, f"{line}\n".encode())
