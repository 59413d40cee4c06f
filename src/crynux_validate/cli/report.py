"""``crynux-validate report``: one page for the person who decides whether a slash was right."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crynux_validate.cli.common import Commands, say
from crynux_validate.cli.ledger import events_shown, open_ledger
from crynux_validate.encoding import check_id, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.files import write_or_refuse
from crynux_validate.tasks import ImageTask

if TYPE_CHECKING:
    from crynux_validate.calibration import Calibration
    from crynux_validate.ledger.interface import Event, Group
    from crynux_validate.ledger.sql import SqlLedger

_OF_A_GROUP: Final = ("open_group", "draw", "commit", "reveal", "settle")


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="one page about a settled group, for a dispute",
        description="Write one HTML page about a settled group, for the person who decides whether a slash was right: "
        "what was asked, who answered when, how far apart the answers are, the bits of the hashes, audits, the "
        "evidence and whether it can be verified, and the money. The page needs no other file, has no script, and can "
        "be printed.",
    )
    parser.add_argument("database", metavar="LEDGER", help="a SQLite file, or a URL such as postgresql+psycopg://...")
    parser.add_argument("group", metavar="GROUP", help="a settled group")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write the page: a .html file")
    parser.add_argument(
        "--result",
        action="append",
        default=[],
        metavar="NODE=DIR",
        help="the folder with a member's result, as `run` writes it: it is shown, and compared with the answer of "
        "the member; can be given once for each member",
    )
    parser.add_argument(
        "--audit",
        action="append",
        default=[],
        metavar="NODE=FILE",
        help="an audit of a member's answer, as `audit --json` writes it; can be given several times. An audit.json "
        "(or audit-0.json and so on, for each image) in the folder of a --result is shown as well",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help="a calibration of the same hash, as `calibrate --out` writes it: shows how often honest machines, and "
        "cheats, are as far apart as each member",
    )
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from crynux_validate.cli.report_audits import files_in, load_audit
    from crynux_validate.cli.report_page import page
    from crynux_validate.cli.report_results import shown_result

    if arguments.out.suffix.lower() not in (".html", ".htm"):
        raise InvalidInputError(f"--out is {arguments.out}; expected the name of an HTML file, like report.html")
    folders = dict(_node_and_path(text, "--result", "DIR", "a folder") for text in arguments.result)
    given = [_node_and_path(text, "--audit", "FILE", "a file") for text in arguments.audit]
    given += [(node, file) for node, folder in folders.items() for file in files_in(folder)]
    if len(folders) < len(arguments.result):
        raise InvalidInputError("--result names a member twice; give one folder for each")
    with open_ledger(arguments.database) as ledger:
        group = ledger.group(arguments.group)
        if group.verdict is None:
            raise InvalidInputError(f"group {group.id} is {group.status}; a report is of a settled group")
        for option, named in (("--result", folders), ("--audit", dict(given))):
            if strangers := [node for node in named if node not in group.members]:
                members = ", ".join(group.members)
                raise InvalidInputError(f"{option} names {strangers[0]}, which is no member of {group.id} ({members})")
        calibration = _calibration(arguments.calibration, group)
        results = {node: shown_result(group, node, folder) for node, folder in folders.items()}
        audits = {
            node: [load_audit(group, node, file) for whose, file in given if whose == node] for node in group.members
        }
        text = page(ledger.id, group, _events_of(ledger, group), ledger.head(), results, calibration, audits)
    write_or_refuse(arguments.out, text.encode("utf-8"))
    say(f"wrote {arguments.out}: {group.id} of ledger {ledger.id}, {group.verdict.outcome}")
    return 0


def _calibration(path: str | None, group: "Group") -> "Calibration | None":
    """Read a calibration that fits the group's answers."""
    if path is None:
        return None
    from crynux_validate.calibration import Calibration

    if not isinstance(group.task, ImageTask):
        raise InvalidInputError(f"--calibration is of images, and {group.id} has a text task; leave it out")
    found = Calibration.load(path)
    found.check_fits(algorithm=group.task.algorithm, images=group.task.images)
    return found


def _node_and_path(text: str, option: str, form: str, what: str) -> tuple[str, Path]:
    node, is_given, path = text.partition("=")
    if not is_given or not path:
        raise InvalidInputError(f"{option} is {shorten(text)}; expected NODE={form}, a node's id and {what}")
    return check_id(node, f"the node of {option}"), Path(path)


def _events_of(ledger: "SqlLedger", group: "Group") -> "list[Event]":
    """The events of one group, in the order of the log."""
    found = []
    seen = events_shown("reading the log", ledger.head().seq)
    for event in ledger.events():
        seen(event)
        if event.kind in _OF_A_GROUP and event.time >= group.opened:
            payload = event.payload
            if group.id in (payload["action"].get("group"), payload["result"].get("group")):
                found.append(event)
    return found
