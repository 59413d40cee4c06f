"""What the JSON of an audit says, for people: checked, and each number beside what honest machines may be apart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from crynux_validate.audits.findings import AuditFinding
from crynux_validate.encoding import parse_json, shorten
from crynux_validate.errors import InvalidInputError

MAX_AUDIT_BYTES: Final = 4 * 2**20
"""The largest file that is read: ten thousand steps have less."""

_GRAVER: Final = (AuditFinding.MATCH, AuditFinding.NOISE, AuditFinding.INCOMPARABLE, AuditFinding.CHEAT)


@dataclass(frozen=True)
class ToldPart:
    """One part of the work that was done again.

    Parameters
    ----------
    name
        In words, like ``step 3``.
    finding
        What is said of it.
    reason
        Why, in words; empty where the finding says it.
    times
        How far it is off, as a multiple of what honest machines may be apart: of its numbers the one that is furthest.
        1 is the edge of the band, infinite what is no number; None where it has no band.
    """

    name: str
    finding: AuditFinding
    reason: str
    times: float | None


@dataclass(frozen=True)
class ToldAudit:
    """An audit of one answer.

    Parameters
    ----------
    task
        The digest of the task.
    answer
        The bytes of the answer.
    finding
        What it says of all parts together.
    calibrated
        Whether the bands were made for these machines, or this model.
    parts
        What was done again: of an image the first latent, the drawn steps and the picture; of a text its tokens.
    image
        The number of the image; None for a text.
    """

    task: str
    answer: bytes
    finding: AuditFinding
    calibrated: bool
    parts: tuple[ToldPart, ...]
    image: int | None


def read_audit(data: bytes, what: str) -> ToldAudit:
    """Read what ``crynux-validate audit --json`` writes.

    Parameters
    ----------
    data
        The file.
    what
        Its name, for errors.

    Raises
    ------
    InvalidInputError
        For a value that is not an audit, or contradicts itself.
    """
    value = parse_json(data, what, MAX_AUDIT_BYTES)
    try:
        return told_audit(value)
    except InvalidInputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"{what} is no audit ({type(error).__name__}: {shorten(str(error))}); expected the output of `audit --json`"
        ) from error


def told_audit(value: Mapping[str, Any]) -> ToldAudit:
    """Return an audit from its JSON values; what is missing or of another type is a KeyError, TypeError or ValueError.

    Raises
    ------
    InvalidInputError
        Where the finding is milder than that of a part.
    """
    parts = _of_image(value) if "steps" in value else _of_text(value)
    finding = AuditFinding(value["finding"])
    worst = max(parts, key=lambda part: _GRAVER.index(part.finding))
    if _GRAVER.index(finding) < _GRAVER.index(worst.finding):
        raise InvalidInputError(
            f"the audit says {finding}, and {worst.finding} of its {worst.name}: it was changed; audit the answer again"
        )
    if type(value["calibrated"]) is not bool:
        raise TypeError("calibrated is neither true nor false")
    image = value["image"] if "steps" in value else None
    if image is not None and type(image) is not int:
        raise TypeError("image is no number")
    return ToldAudit(
        _text(value, "task_digest"), bytes.fromhex(value["answer"]), finding, value["calibrated"], tuple(parts), image
    )


def _of_image(value: Mapping[str, Any]) -> list[ToldPart]:
    parts = [_part("first latent", value["first"])]
    for step in value["steps"]:
        if type(step["step"]) is not int:
            raise TypeError("a step has no number")
        parts.append(_part(f"step {step['step']}", step))
    together = value["together"]
    if together is not None:
        if type(together["steps"]) is not int:
            raise TypeError("the steps together have no number")
        # What is far outside counts for less in a mean, which then says less than that step alone.
        if all(part.finding is not AuditFinding.CHEAT for part in parts):
            parts.append(_part(f"{together['steps']} steps together", together))
    return [*parts, _part("picture", value["picture"])]


def _of_text(value: Mapping[str, Any]) -> list[ToldPart]:
    tokens, of = value["tokens"], value["of"]
    if type(tokens) is not int or type(of) is not int:
        raise TypeError("tokens are no numbers")
    reason = _text(value, "reason")
    times = _times(value["margins"], value["limit"]) if tokens else None
    return [ToldPart(f"tokens, {tokens} of {of}", AuditFinding(value["finding"]), reason, times)]


def _part(name: str, value: Mapping[str, Any]) -> ToldPart:
    finding, told = AuditFinding(value["finding"]), value["times"]
    if told is None:
        # JSON has no infinite number.
        return ToldPart(name, finding, _text(value, "reason"), math.inf if finding is AuditFinding.CHEAT else None)
    return ToldPart(name, finding, _text(value, "reason"), _times(told, 1.0))


def _times(number: object, limit: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not isinstance(limit, int | float):
        raise TypeError(f"{shorten(number)} or {shorten(limit)} is no number")
    if number < 0 or limit < 0:
        raise ValueError(f"{number} or {limit} is less than 0")
    if number == 0:
        return 0.0
    return number / limit if limit else math.inf


def _text(value: Mapping[str, Any], name: str) -> str:
    if not isinstance(value[name], str):
        raise TypeError(f"{name} is no text")
    return str(value[name])
