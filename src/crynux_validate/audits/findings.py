"""What an audit says of one part of the work that it did again."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from crynux_validate.answers import Score
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError


class AuditFinding(StrEnum):
    """What an audit says of a step of an image, or of a text."""

    MATCH = "MATCH"
    """The same bits: computed as the task says, on a machine that computes like the auditor's."""
    NOISE = "NOISE"
    """Other bits, and no further off than honest machines of other kinds are."""
    CHEAT = "CHEAT"
    """Further off than any honest machine."""
    INCOMPARABLE = "INCOMPARABLE"
    """It cannot be said; the reason stands beside it."""


def answer_hex(answer: Score) -> str | None:
    """The bytes of an audited answer as hexadecimal digits; None without a result digest, which cannot be submitted."""
    return None if answer.result_digest is None else answer.to_bytes().hex()


def told_band(uncalibrated: str, kinds: tuple[str, str] | None, versions: Mapping[str, str]) -> dict[str, Any]:
    """What an audit's JSON says of its band, and what a calibration needs to make one from it."""
    return {
        "calibrated": not uncalibrated,
        "uncalibrated": uncalibrated,
        "kinds": None if kinds is None else list(kinds),
        "versions": dict(versions),
    }


def shown_band(uncalibrated: str) -> str:
    """What stands behind a finding."""
    return f", uncalibrated: {uncalibrated}" if uncalibrated else ""


def check_kinds(kinds: object) -> None:
    """Refuse what names no pair of kinds of machine, the node's and the auditor's."""
    if kinds is not None and not (isinstance(kinds, tuple) and [type(kind) for kind in kinds] == [str, str]):
        raise InvalidInputError(f"kinds is {shorten(kinds)}; expected the names of two kinds of machine, or None")
