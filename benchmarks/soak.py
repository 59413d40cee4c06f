"""Hard use of stored ledgers: processes that act all at once, and processes that are killed while they write.

``python -m benchmarks.soak`` takes minutes; the tests run the same with small numbers. What is checked in the end is
what the processes said was done: every action that was acknowledged is in the log, the log is one chain, replaying it
gives what is stored, all money is accounted for, and no node was in two groups at once.
"""

import argparse
import collections
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import crynux_validate as cv

ROOT: Final = Path(__file__).parents[1]
POLICY: Final = cv.Policy(
    min_stake=100, stake_per_fee=1, draw_seconds=60_000, commit_seconds=400, reveal_seconds=200, slash_ppm=100_000
)
"""Times are milliseconds here, so that groups are drawn and settled while somebody waits."""

TASK: Final = cv.ImageTask(model=cv.ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
HONEST: Final = cv.ImageScore(bytes.fromhex("f0f0f0f00f0f0f0f"), bytes(32))
CHEAT: Final = cv.ImageScore(bytes.fromhex("0f0f0f0ff0f0f0f0"), bytes(32))
CARD: Final = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)

Say = Callable[[str, dict[str, str]], None]
"""Tells what was acknowledged: a kind of event, and fields of its action or of its result."""


def milliseconds() -> int:
    """A clock that all processes of this machine share."""
    return time.time_ns() // 1_000_000


def set_up(url: str, nodes: int = 12) -> None:
    """Make a ledger with some nodes."""
    with cv.SqlLedger(url, POLICY, ledger_id="soak", clock=milliseconds) as ledger:
        ledger.deposit("app", 10**9)
        for at in range(nodes):
            ledger.deposit(f"o{at}", 10**6)
            ledger.join(f"n{at}", owner=f"o{at}", gpu=CARD, stake=10**5)


def work(url: str, name: str, actions: int, say: Say) -> None:
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
    """
    chance = random.Random(name)
    ledger = cv.SqlLedger(url, clock=milliseconds)
    done = 0

    def tell(kind: str, **fields: str) -> None:
        nonlocal done
        done += 1
        say(kind, fields)

    def move_money() -> None:
        account = f"account of {name}"
        amount = 10 + done
        ledger.deposit(account, amount)
        tell("deposit", account=account, amount=str(amount))
        ledger.withdraw(account, amount - 1)
        tell("withdraw", account=account, amount=str(amount - 1))

    def come_and_go() -> None:
        node, owner = f"node {done} of {name}", f"account of {name}"
        ledger.deposit(owner, 150)
        tell("deposit", account=owner, amount="150")
        ledger.join(node, owner=owner, gpu=CARD, stake=100)
        tell("join", node=node)
        ledger.top_up(node, 50)
        tell("top_up", node=node)
        ledger.leave(node)
        tell("leave", node=node)

    def serve() -> None:
        group = ledger.open_group(TASK, creator="app", fee=99).id
        tell("open_group", group=group)
        while True:
            try:
                drawn = ledger.draw(group)
                break
            except cv.LedgerError:
                if ledger.group(group).status is not cv.Status.OPEN:
                    return
                time.sleep(0.001)
        tell("draw", group=group)
        openings = {node: cv.Opening.of(chance.choice([HONEST, HONEST, CHEAT])) for node in drawn.members}
        for node, opening in openings.items():
            commitment = opening.commitment(ledger=ledger.id, group=group, node=node)
            ledger.commit(group, node, commitment)
            tell("commit", group=group, node=node, commitment=commitment.hex())
        for node, opening in openings.items():
            ledger.reveal(group, node, opening)
            tell("reveal", group=group, node=node, opening=opening.to_bytes().hex())
        ledger.settle(group)
        if ledger.group(group).status is cv.Status.SETTLED:
            tell("settle", group=group)

    def clean_up() -> None:
        """Settle what others left behind."""
        for group in ledger.last_groups(10):
            act = {cv.Status.OPEN: ledger.draw, cv.Status.DRAWN: ledger.settle}.get(group.status)
            if act is not None:
                act(group.id)

    while done < actions:
        try:
            chance.choice([move_money, come_and_go, serve, serve, clean_up])()
        except cv.LedgerError:
            time.sleep(0.001)


def start(url: str, name: str, actions: int) -> "subprocess.Popen[str]":
    """Start a process that works, and writes a line for each acknowledged action."""
    command = [sys.executable, "-m", "benchmarks.soak", "--work", url, name, str(actions)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def check(url: str, acknowledged: Iterable[str]) -> int:
    """Check a ledger against what was acknowledged; returns how many events it has."""
    with cv.SqlLedger(url, clock=milliseconds) as ledger:
        ledger.verify_storage()
        ledger.verify_log()
        ledger.verify_records()
        totals, events = ledger.totals(), ledger.events()
    if not totals.balanced:
        raise AssertionError(f"money was made or lost: {totals}")
    found = collections.Counter(line for event in events for line in _lines_of(event))
    for line, times in collections.Counter(acknowledged).items():
        if found[line] < times:
            raise AssertionError(f"acknowledged and lost: {line}")
    _check_nobody_is_in_two_groups(events)
    return len(events)


def _line(kind: str, fields: dict[str, str]) -> str:
    return json.dumps([kind, *sorted(fields.items())])


_TOLD: Final = {
    "deposit": ("account", "amount"),
    "withdraw": ("account", "amount"),
    "join": ("node",),
    "top_up": ("node",),
    "leave": ("node",),
    "draw": ("group",),
    "commit": ("group", "node", "commitment"),
    "reveal": ("group", "node", "opening"),
    "settle": ("group",),
}


def _lines_of(event: cv.Event) -> list[str]:
    if event.kind == "open_group":
        return [_line(event.kind, {"group": event.payload["result"]["group"]})]
    return [_line(event.kind, {name: event.payload["action"][name] for name in _TOLD.get(event.kind, ())})]


def _check_nobody_is_in_two_groups(events: Iterable[cv.Event]) -> None:
    busy: dict[str, str] = {}
    members: dict[str, Any] = {}
    for event in events:
        group = event.payload["action"].get("group")
        if event.kind == "draw" and "members" in event.payload["result"]:
            members[group] = event.payload["result"]["members"]
            for node in members[group]:
                if node in busy:
                    raise AssertionError(f"{node} was drawn for {group} while it was in {busy[node]}")
                busy[node] = group
        if event.kind == "settle":
            for node in members[group]:
                del busy[node]


def act_together(url: str, processes: int, actions: int) -> int:
    """Let processes act all at once, and check; returns how many events there are."""
    running = [start(url, f"process {at}", actions) for at in range(processes)]
    lines = [process.communicate()[0].splitlines() for process in running]
    if any(process.returncode for process in running):
        raise AssertionError(f"processes ended with {[process.returncode for process in running]}")
    if any(len(said) < actions for said in lines):
        raise AssertionError(f"processes did {[len(said) for said in lines]} of {actions} actions")
    return check(url, (line for said in lines for line in said))


def kill_while_writing(url: str, kills: int, seed: int = 0) -> tuple[int, int]:
    """Kill a working process at a random moment, check, and again; returns the acknowledged actions, and the events."""
    chance = random.Random(seed)
    acknowledged: list[str] = []
    events = 0
    for at in range(kills):
        process = start(url, f"process {seed}.{at}", 10**9)
        assert process.stdout is not None
        acknowledged.append(process.stdout.readline().rstrip("\n"))
        time.sleep(chance.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        whole = [line for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
        acknowledged += [line.rstrip("\n") for line in whole]
        events = check(url, acknowledged)
    return len(acknowledged), events


def main() -> int:
    """Run all of it on SQLite, or on the database that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=3, metavar=("URL", "NAME", "ACTIONS"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help="an empty database; a new SQLite file for each part if left out")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--actions", type=int, default=1_000)
    arguments = parser.parse_args()
    if arguments.work:
        url, name, actions = arguments.work
        work(url, name, int(actions), lambda kind, fields: print(_line(kind, fields), flush=True))
        return 0
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        began = time.monotonic()
        acknowledged = events = 0
        rounds = 1 if arguments.url else -(-arguments.kills // 10)
        for at in range(rounds):
            url = arguments.url or f"sqlite:///{folder}/kills-{at}.db"
            set_up(url)
            found = kill_while_writing(url, arguments.kills // rounds, seed=at)
            acknowledged, events = acknowledged + found[0], events + found[1]
            print(
                f"{(at + 1) * (arguments.kills // rounds)} kills: {acknowledged} acknowledged, "
                f"{events} events, none lost"
            )
        url = arguments.url or f"sqlite:///{folder}/together.db"
        if not arguments.url:
            set_up(url)
        events = act_together(url, arguments.processes, arguments.actions)
        print(f"{arguments.processes} processes with {arguments.actions} actions each: {events} events, nothing lost")
        print(f"{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
