"""What an audit says of one part of the work that it did again."""

from enum import StrEnum


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


__all__ = ["AuditFinding"]
