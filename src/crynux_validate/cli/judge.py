"""``crynux-validate judge``: the verdict on a group's answers."""

import argparse
from typing import Any, Final

from crynux_validate.algorithms import IMAGE_ALGORITHMS, TEXT_ALGORITHMS
from crynux_validate.answers import ErrorReport, ImageScore, TextScore
from crynux_validate.cli.common import Commands, add_json_flag, read_file, say, say_json
from crynux_validate.encoding import DIGEST_BYTES, parse_hex, parse_json, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import DEFAULT_THRESHOLD, Absent, CentreRule, Malformed, Member, Withheld, judge

MAX_BYTES: Final = 1_000_000

_FIELDS: Final = ("algorithm", "rule", "threshold", "slash_threshold", "members")
_ANSWERS: Final = {
    "score": ("score",),
    "invalid_task": ("code",),
    "failed": ("message",),
    "malformed": ("reason",),
    "absent": (),
    "withheld": (),
}
"""The fields of a member beside ``answer``, for each kind of answer."""


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "judge",
        help="the verdict on a group's answers",
        description="Judge the answers of one group, as JSON: "
        '{"algorithm":"phash/1","rule":"centre","threshold":16,"slash_threshold":24,"members":{"node-1":'
        '{"answer":"score","score":"<hex>"},"node-2":{"answer":"invalid_task","code":"schema"},'
        '"node-3":{"answer":"absent"}}}; an answer is also failed, withheld or malformed. '
        "Exit code 0 for any verdict: read the outcome.",
    )
    parser.add_argument("file", metavar="FILE", help="a JSON file, or - for standard input")
    add_json_flag(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the verdict."""
    value = parse_json(read_file(arguments.file, "the group", MAX_BYTES), "the group", MAX_BYTES)
    members, rule = _read_group(value)
    verdict = judge(members, rule)
    if arguments.json:
        say_json(verdict.to_dict())
    else:
        say(str(verdict))
    return 0


def _read_group(value: Any) -> tuple[dict[str, Member], CentreRule]:
    group = _object(value, "the group", _FIELDS)
    rule = group.get("rule", "centre")
    if rule != "centre":
        raise InvalidInputError(f"rule is {shorten(rule)}; expected 'centre'")
    algorithm = group.get("algorithm", "phash/1")
    if algorithm not in (*IMAGE_ALGORITHMS, *TEXT_ALGORITHMS):
        known = ", ".join((*IMAGE_ALGORITHMS, *TEXT_ALGORITHMS))
        raise InvalidInputError(f"algorithm is {shorten(algorithm)}; expected one of {known}")
    if not isinstance(group.get("members"), dict):
        raise InvalidInputError("members is missing; expected an object with an answer for each node")
    members = {node: _read_member(node, member, algorithm) for node, member in group["members"].items()}
    return members, CentreRule(group.get("threshold", DEFAULT_THRESHOLD), group.get("slash_threshold"))


def _read_member(node: str, value: Any, algorithm: Any) -> Member:
    what = f"the answer of {node}"
    answer = value.get("answer") if isinstance(value, dict) else None
    if not isinstance(answer, str) or answer not in _ANSWERS:
        raise InvalidInputError(f"{what} is {shorten(answer)}; expected {', '.join(_ANSWERS)}")
    member = _object(value, what, ("answer", *_ANSWERS[answer]))
    for name, found in member.items():
        if not isinstance(found, str):
            raise InvalidInputError(f"{name} of {node} is {shorten(found)}; expected a string")
    try:
        match answer:
            case "score" if algorithm in IMAGE_ALGORITHMS:
                return ImageScore.from_hex(_required(member, "score"), algorithm)
            case "score":
                return TextScore(parse_hex(_required(member, "score"), "a text score", DIGEST_BYTES), None, algorithm)
            case "invalid_task" if member.get("code") == "failed":
                raise InvalidInputError("an invalid_task report has the code schema, limits or unsupported")
            case "invalid_task":
                return ErrorReport(_required(member, "code"))  # type: ignore[arg-type]  # the constructor checks it
            case "failed":
                return ErrorReport("failed", member.get("message", ""))
            case "malformed":
                return Malformed(member.get("reason", ""))
            case "absent":
                return Absent()
            case _:
                return Withheld()
    except InvalidInputError as error:
        raise InvalidInputError(f"{what}: {error}") from error


def _required(member: dict[str, Any], name: str) -> str:
    if name not in member:
        raise InvalidInputError(f"{name} is missing")
    return str(member[name])


def _object(value: Any, what: str, fields: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(f"{what} is {shorten(value)}; expected a JSON object")
    for name in value:
        if name not in fields:
            raise InvalidInputError(f"{what} has no field {name!r}; expected {', '.join(fields)}")
    return value
