"""A group's answers as JSON, as ``crynux-validate judge`` and the vectors write them."""

from typing import Any, Final

from crynux_validate.algorithms import IMAGE_ALGORITHMS, TEXT_ALGORITHMS
from crynux_validate.answers import ErrorReport, ImageScore, TextScore
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging.centre import DEFAULT_THRESHOLD, CentreRule
from crynux_validate.judging.relay import RELAY_THRESHOLD, CrynuxRelayRule
from crynux_validate.judging.verdict import Absent, Malformed, Member, Rule, Withheld

_FIELDS: Final = ("algorithm", "rule", "threshold", "slash_threshold", "safety_checker", "members")
_RULES: Final = ("centre", "crynux-relay")
_ANSWERS: Final = {
    "score": ("score", "algorithm"),
    "invalid_task": ("code",),
    "failed": ("message",),
    "malformed": ("reason",),
    "absent": (),
    "withheld": (),
}
"""The fields of a member beside ``answer``, for each kind of answer."""


def read_group(value: Any) -> tuple[dict[str, Member], Rule]:
    """Return the members and the rule; raises `InvalidInputError` for what is no such object."""
    group = _object(value, "the group", _FIELDS)
    rule = group.get("rule", "centre")
    if rule not in _RULES:
        raise InvalidInputError(f"rule is {shorten(rule)}; expected {' or '.join(map(repr, _RULES))}")
    algorithm = group.get("algorithm", "phash/1")
    _check_algorithm(algorithm, "algorithm")
    members = group.get("members")
    if not isinstance(members, dict):
        raise InvalidInputError("members is missing; expected an object with an answer for each node")
    extra = ("seconds",) if rule == "crynux-relay" else ()
    read = {node: read_member(node, member, algorithm, extra) for node, member in members.items()}
    if rule == "centre":
        return read, CentreRule(
            group.get("threshold", DEFAULT_THRESHOLD),
            group.get("slash_threshold"),
            safety_checker=group.get("safety_checker", True),
        )
    for name, why in (("slash_threshold", "one threshold"), ("safety_checker", "no exception for blank pictures")):
        if name in group:
            raise InvalidInputError(f"{name} is not for the rule 'crynux-relay', which has {why}")
    seconds = {node: member["seconds"] for node, member in members.items() if "seconds" in member}
    return read, CrynuxRelayRule(group.get("threshold", RELAY_THRESHOLD), seconds=seconds)


def _check_algorithm(algorithm: Any, what: str) -> None:
    if algorithm not in (*IMAGE_ALGORITHMS, *TEXT_ALGORITHMS):
        known = ", ".join((*IMAGE_ALGORITHMS, *TEXT_ALGORITHMS))
        raise InvalidInputError(f"{what} is {shorten(algorithm)}; expected one of {known}")


def read_member(node: str, value: Any, algorithm: Any, extra: tuple[str, ...] = ()) -> Member:
    """Return one member; raises `InvalidInputError` for fields that it does not have, but for those of `extra`."""
    what = f"the answer of {node}"
    answer = value.get("answer") if isinstance(value, dict) else None
    if not isinstance(answer, str) or answer not in _ANSWERS:
        raise InvalidInputError(f"{what} is {shorten(answer)}; expected {', '.join(_ANSWERS)}")
    member = _object(value, what, ("answer", *_ANSWERS[answer], *extra))
    for name, found in member.items():
        if name not in extra and not isinstance(found, str):
            raise InvalidInputError(f"{name} of {node} is {shorten(found)}; expected a string")
    own = member.get("algorithm", algorithm)
    _check_algorithm(own, f"algorithm of {node}")
    if own != algorithm:
        raise InvalidInputError(
            f"the score of {node} is {own} in a group of {algorithm}; a group has one task and one algorithm, so an"
            " answer of another one is malformed"
        )
    try:
        match answer:
            case "score" if algorithm in IMAGE_ALGORITHMS:
                return ImageScore.from_hex(_required(member, "score"), algorithm)
            case "score":
                return TextScore.from_hex(_required(member, "score"), algorithm)
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
