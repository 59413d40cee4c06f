"""``crynux-validate ledger``: show and check what is in a ledger's database, and take evidence from it."""

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.cli.common import Commands, add_json_flag, say, say_json
from crynux_validate.cli.progress import Progress
from crynux_validate.encoding import DIGEST_BYTES, parse_hex
from crynux_validate.errors import BrokenLogError, InvalidInputError, StorageError
from crynux_validate.files import write_or_refuse
from crynux_validate.ledger.beacon import MissingBeacon
from crynux_validate.ledger.clock import MOST_BEHIND

if TYPE_CHECKING:
    from crynux_validate.ledger.interface import Event, Group, Policy, Totals
    from crynux_validate.ledger.sql import SqlLedger
    from crynux_validate.machines.admission import ClassFacts
    from crynux_validate.machines.roster import Node

DEFAULT_GROUPS: Final = 20


def add_parser(commands: Commands) -> None:
    """Add the command with its parts."""
    parser = commands.add_parser(
        "ledger",
        help="show or check a ledger's database",
        description="Look into a ledger that is stored in a database. Nothing in it is changed.",
    )
    parts = parser.add_subparsers(title="parts", metavar="PART", required=True)
    show = parts.add_parser(
        "show",
        help="nodes, classes, groups, verdicts, money",
        description="Print the nodes, the classes of machines, the groups that wait for their draw, the last groups "
        "with their verdicts or why they were closed, and where all money is.",
    )
    show.add_argument(
        "--groups", type=int, default=DEFAULT_GROUPS, metavar="N", help=f"how many groups (default {DEFAULT_GROUPS})"
    )
    show.set_defaults(main=main_show)
    verify = parts.add_parser(
        "verify",
        help="check the file, the log and the records",
        description="Check the file and the chain of the log, do every action of the log again, and compare the "
        "result with what is stored. Exit code 0: everything holds, 1: something does not.",
    )
    verify.add_argument(
        "--head",
        metavar="HEX",
        help="the digest of the last event, as you kept it elsewhere. Without it, a log that the owner of the "
        "database rewrote or shortened is not found",
    )
    verify.set_defaults(main=main_verify)
    evidence = parts.add_parser(
        "evidence",
        help="write the evidence of a finding, for a third person",
        description="Write the evidence for the finding of one member of a settled group. `crynux-validate evidence` "
        "checks it without the ledger.",
    )
    evidence.set_defaults(main=main_evidence)
    for part in (show, verify, evidence):
        part.add_argument("database", metavar="FILE", help="a SQLite file, or a URL such as postgresql+psycopg://...")
    for part in (show, verify):
        add_json_flag(part)
    evidence.add_argument("group", metavar="GROUP", help="a settled group")
    evidence.add_argument("node", metavar="NODE", help="one of its members")
    evidence.add_argument("--out", metavar="FILE", help="where to write it; printed if left out")


def main_show(arguments: argparse.Namespace) -> int:
    """Print what is in a ledger."""
    from crynux_validate.machines import classes_of

    with open_ledger(arguments.database) as ledger:
        head, policy, nodes, totals = ledger.head(), ledger.policy, ledger.all_nodes(), ledger.totals()
        clock = ledger.clock_time()
        groups, waiting = ledger.last_groups(arguments.groups), ledger.waiting()
        closed = _why_closed(ledger, groups)
        # By the time of the last event: this machine's clock need not be the ledger's.
        in_force = policy.epoch_at(head.time).in_force
        classes = classes_of(nodes, epoch=in_force, min_stake=policy.min_stake, weight_unit=policy.weight_unit).values()
        if arguments.json:
            say_json(
                {
                    "id": ledger.id,
                    "events": head.seq + 1,
                    "head": head.digest,
                    "time": head.time,
                    "clock": clock,
                    "clock_ahead": clock - head.time,
                    "policy": policy.to_dict(),
                    "beacon": ledger.beacon.name,
                    "waiting": list(waiting),
                    "most_waiting": _most_waiting(nodes, policy),
                    "money": _money(totals),
                    "accounts": {name: str(balance) for name, balance in ledger.accounts().items()},
                    "nodes": [_node_row(node, policy.min_stake) for node in nodes],
                    "classes": [
                        {"class": facts.node_class.digest, "gpu": str(facts.node_class.gpu), "owners": facts.owners,
                         "available": facts.available, "stake": str(facts.stake)}
                        for facts in classes
                    ],
                    "groups": [_group_row(group, closed) for group in groups],
                }
            )  # fmt: skip
            return 0
        say(f"ledger {ledger.id}: {head.seq + 1} events, the last {when(head.time)}\nhead {head.digest}")
        say(_clock_line(clock, head.time))
        say(
            f"groups of {policy.group_size}, threshold {policy.threshold}, least stake {policy.min_stake}, "
            f"least fee {policy.least_fee}, beacon {ledger.beacon.name}"
        )
        next_group = ledger.group(waiting[0]) if waiting else None
        say(_queue_line(next_group, len(waiting), _most_waiting(nodes, policy)))
        _say_money(totals, len(ledger.accounts()))
        _say_nodes(nodes, list(classes), policy.min_stake)
        _say_groups(groups, closed)
    return 0


def main_verify(arguments: argparse.Namespace) -> int:
    """Check a ledger; 1 where something does not hold."""
    kept = None if arguments.head is None else parse_hex(arguments.head, "--head", DIGEST_BYTES).hex()
    done: list[str] = []
    problem = None

    def holds(what: str) -> None:
        done.append(what)
        if not arguments.json:
            say(f"holds: {what}")

    with open_ledger(arguments.database) as ledger:
        head = ledger.head()
        try:
            ledger.verify_storage()
            holds("the database is whole")
            ledger.verify_log(kept, on_event=events_shown("reading the log", head.seq))
            holds(f"the log is one chain of {head.seq + 1} events" + (" and ends as it should" if kept else ""))
            ledger.verify_records(on_event=events_shown("doing every action again", head.seq))
            holds("doing every action again gives what is stored, and all money is accounted for")
        except (BrokenLogError, StorageError) as error:
            problem = str(error)
        unknown = ledger.beacon.name if isinstance(ledger.beacon, MissingBeacon) else None
    if arguments.json:
        found = {"holds": problem is None, "problem": problem, "checked": done, "head": head.digest}
        say_json({**found, "beacon_not_asked": unknown})
    elif problem is None:
        if unknown is not None:
            say(f"not compared: the values that draws had from the beacon {unknown}, which nobody here can ask")
        say(f"head {head.digest}")
    else:
        say(f"does not hold: {problem}")
    return 0 if problem is None else 1


def events_shown(what: str, last: int) -> "Callable[[Event], None]":
    """Show how far a reader of the log is."""
    shown = Progress(what, last + 1, "events")

    def show(event: "Event") -> None:
        shown.show(event.seq + 1)

    return show


def main_evidence(arguments: argparse.Namespace) -> int:
    """Write the evidence of a finding."""
    with open_ledger(arguments.database) as ledger:
        evidence = ledger.evidence(arguments.group, arguments.node)
        text = evidence.to_json()
    if arguments.out is None:
        say(text)
        return 0
    write_or_refuse(arguments.out, f"{text}\n".encode())
    say(f"{evidence.node} is {evidence.finding} in {evidence.group.id}: {arguments.out}")
    return 0


def open_ledger(database: str) -> "SqlLedger":
    from crynux_validate import SqlLedger
    from crynux_validate.ledger.sql.urls import url_of_file

    if "://" in database:
        return SqlLedger(database)
    if not os.path.isfile(database):  # Path.is_file() raises where a folder may not be looked into
        raise InvalidInputError(f"there is no file {database}; expected a SQLite file, or a URL")
    return SqlLedger(url_of_file(Path(database), "ro"))


def _why_closed(ledger: "SqlLedger", groups: "Iterable[Group]") -> dict[str, str]:
    """Why groups were closed. The log alone says it: it is read from its end, no further back than is needed."""
    wanted = {group.id for group in groups if group.status.value == "CLOSED"}
    found: dict[str, str] = {}
    since = end = ledger.head().seq + 1
    while since and not wanted <= set(found):
        since = max(0, end - 4 * max(250, end - since))
        for event in ledger.events(since):
            if event.kind == "draw" and "closed" in event.payload["result"]:
                found[event.payload["action"]["group"]] = event.payload["result"]["closed"]
    return found


def _most_waiting(nodes: "Iterable[Node]", policy: "Policy") -> int:
    """How many groups can wait for their draw at once (P4a)."""
    return sum(node.joined for node in nodes) // policy.group_size


def _queue_line(first: "Group | None", waiting: int, most: int) -> str:
    if first is None:
        return f"no group waits for its draw; {most} can\n"
    return f"{waiting} of at most {most} groups wait for their draw: {first.id} first, by round {first.beacon_round}\n"


def _clock_line(clock: int, last: int) -> str:
    """How the ledger's clock stands beside its log."""
    ahead = clock - last
    line = f"clock {when(clock)}, {abs(ahead)} s {'after' if ahead >= 0 else 'BEFORE'} the last event"
    return line if ahead >= -MOST_BEHIND else f"{line}: nobody can act; set the clock right"


def when(seconds: int) -> str:
    """A ledger's time, as people write it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return f"at {seconds}"  # a clock of its own


def _money(totals: "Totals") -> dict[str, str]:
    names = ("accounts", "stakes", "escrows", "burnt", "deposited", "withdrawn")
    return {name: str(getattr(totals, name)) for name in names}


def _state_of(node: "Node", min_stake: int) -> str:
    """What a node can be given now; `is_available` decides the same."""
    if not node.joined:
        return "left"
    if node.leaving is not None:
        return "leaving" if node.group is None else f"leaving, in {node.group}"
    if node.group is not None:
        return f"in {node.group}"
    if node.suspended:
        return "suspended"
    return "free" if node.stake >= min_stake else "stake too low"


def _node_row(node: "Node", min_stake: int) -> dict[str, Any]:
    return {
        "id": node.id,
        "owner": node.owner,
        "gpu": str(node.gpu),
        "stake": str(node.stake),
        "state": _state_of(node, min_stake),
        "absences": node.absences,
    }


def _group_row(group: "Group", closed: dict[str, str]) -> dict[str, Any]:
    return {
        "id": group.id,
        "status": group.status.value,
        "task": group.task.digest,
        "creator": group.creator,
        "fee": str(group.fee),
        "opened": group.opened,
        "pool": len(group.pool),
        "pool_weight": str(group.pool.total_weight),
        "base": str(group.base),
        "beacon_round": group.beacon_round,
        "closed": closed.get(group.id),
        "members": list(group.members),
        "verdict": None if group.verdict is None else group.verdict.to_dict(),
        "delivered_by": group.delivered_by,
    }


def _say_money(totals: "Totals", accounts: int) -> None:
    rows = [
        (f"in {accounts} accounts", totals.accounts),
        ("at stake", totals.stakes),
        ("in escrow", totals.escrows),
        ("burnt", totals.burnt),
        ("deposited less withdrawn", totals.deposited - totals.withdrawn),
    ]
    _say_table("money", [[name, str(amount)] for name, amount in rows])
    if not totals.balanced:
        say("these do not add up: the database was edited or damaged\n")


def _say_nodes(nodes: "Sequence[Node]", classes: "Sequence[ClassFacts]", min_stake: int) -> None:
    rows = [[node.id, node.owner, str(node.gpu), str(node.stake), _state_of(node, min_stake)] for node in nodes]
    _say_table(f"{sum(node.joined for node in nodes)} nodes: id, owner, GPU, stake, state", rows)
    _say_table(f"{len(classes)} classes of equal machines", [[str(facts)] for facts in classes])


def _say_groups(groups: "Sequence[Group]", closed: dict[str, str]) -> None:
    rows = []
    for group in groups:
        outcome = closed.get(group.id, "-") if group.verdict is None else str(group.verdict.outcome)
        findings = {} if group.verdict is None else group.verdict.findings
        who = ", ".join(f"{node} {findings.get(node, '')}".strip() for node in group.members) or "-"
        pool = f"{group.pool.total_weight / max(1, group.base):.0%} of the base"
        rows.append([group.id, str(group.status), f"fee {group.fee}", pool, outcome, who])
    _say_table("groups, the last first: id, status, fee, pool, outcome or why closed, members", rows)


def _say_table(title: str, rows: Iterable[Sequence[str]]) -> None:
    rows = list(rows)
    say(title if rows else f"{title}: none")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    say("")
