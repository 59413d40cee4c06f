"""``crynux-validate evidence``: check what a ledger says of a node, without its ledger."""

import argparse
import json
from typing import TYPE_CHECKING, Final

from crynux_validate.cli.common import Commands, add_json_flag, read_file, say, say_json
from crynux_validate.encoding import check_id, parse_hex, printable
from crynux_validate.errors import BrokenEvidenceError, InvalidInputError

if TYPE_CHECKING:
    from crynux_validate.ledger.evidence import Evidence

MAX_SHOWN: Final = 600
"""How many characters of a task are shown."""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evidence",
        help="check and show the evidence of a finding",
        description="Check evidence that a ledger gave: repeat the draw, open the commitments, check the signatures, "
        "and judge again. Say what is shown, and what is not. Exit code 0: it holds, 1: it does not.",
    )
    parser.add_argument("file", metavar="FILE", help="what `crynux-validate ledger evidence` wrote; - for stdin")
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="NODE=HEX",
        help="the public key of a node, as you know it from elsewhere; may be given several times",
    )
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Check and print a piece of evidence; 1 where it does not hold."""
    from crynux_validate.ledger.evidence import MAX_EVIDENCE_BYTES, Evidence, verify_evidence

    keys = _keys(arguments.key)
    data = read_file(arguments.file, "the evidence", MAX_EVIDENCE_BYTES)
    evidence = Evidence.from_json(data.removesuffix(b"\n"))  # a file of text ends with a line feed
    members = evidence.group.members
    if strange := [node for node in keys if node not in members]:
        raise InvalidInputError(
            f"--key names {strange[0]!r}, which is no member of {evidence.group.id} ({', '.join(members)})"
        )
    try:
        checked, problem = verify_evidence(evidence, keys), None
    except BrokenEvidenceError as error:
        checked, problem = None, str(error)
    if arguments.json:
        say_json(
            {
                "holds": problem is None,
                "problem": problem,
                "ledger": evidence.ledger,
                "group": evidence.group.id,
                "node": evidence.node,
                "draw_digest": evidence.group.draw_digest,
                "finding": evidence.finding.value,
                "shown": [] if checked is None else list(checked.shown),
                "rests_on": [] if checked is None else list(checked.rests_on),
            }
        )
        return 0 if problem is None else 1
    _say_evidence(evidence)
    say(str(checked) if checked is not None else f"does not hold: {problem}")
    return 0 if problem is None else 1


def _keys(texts: list[str]) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for node, key in map(_key, texts):
        if keys.setdefault(node, key) != key:
            raise InvalidInputError(f"--key gives {node} two keys; expected one for each node")
    return keys


def _key(text: str) -> tuple[str, bytes]:
    node, separator, digits = text.rpartition("=")
    if not separator:
        raise InvalidInputError(f"--key is {text!r}; expected NODE=HEX, a node's id and 64 hexadecimal digits")
    return check_id(node, "the node of --key"), parse_hex(digits, f"the key of {node}", 32)


def _say_evidence(evidence: "Evidence") -> None:
    group = evidence.group
    say(f"task {group.task.digest}")
    task = json.dumps(group.task.to_dict())  # nothing but ASCII, whatever a stranger wrote
    say(f"  {task if len(task) <= MAX_SHOWN else task[:MAX_SHOWN] + '...'}")
    say(f"group {group.id} of ledger {evidence.ledger}, opened at {group.opened} by {group.creator} for {group.fee}")
    say(f"  drawn by beacon round {group.beacon_round} from {len(group.pool)} nodes; draw digest {group.draw_digest}")
    say(f"verdict, as the ledger says: {evidence.verdict}")
    for number, one in enumerate(group.rounds, 1):
        say(f"answers of round {number}, in the order of the draw")
        for node in group.asked(number):
            answer = group.first_answer(node) if number == 1 else group.second_answer(node)
            signed = ", signed" if node in one.signatures else ""
            say(f"  {node}  {printable(str(answer))}{signed}")
    say("")
