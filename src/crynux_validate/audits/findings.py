"""What an audit says of one part of the work that it did again."""

from enum import StrEnum

from crynux_validate.answers import Score


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


__all__ = ["AuditFinding", "answer_hex"]
