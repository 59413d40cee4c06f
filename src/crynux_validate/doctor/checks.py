"""What an examination found: a line for each check, and all that was seen, for a program or for us."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from crynux_validate.shown import Shown

SCHEMA: Final = "crynux-validate/examination/1"

CHECKS: Final = 8
"""How many checks there are on a CPU; on a card there are more."""


class Status(StrEnum):
    """How a check ended."""

    OK = "OK"
    ADVICE = "ADVICE"
    """The machine can serve, but something should be looked at."""
    FAILED = "FAILED"
    """Answers of this machine may be found wrong: do not let it join."""
    SKIPPED = "SKIPPED"
    """It could not be tried here; the reason is given."""


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Parameters
    ----------
    name
        What was tried, in a word or two.
    status
        How it ended.
    found
        What was seen, in a sentence.
    todo
        What to do about it; empty where there is nothing to do.
    seen
        The same as JSON values, with all numbers.
    """

    name: str
    status: Status
    found: str
    todo: str = ""
    seen: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        todo = f"\n{'':>20}{self.todo}" if self.todo else ""
        return f"{self.status:<8} {self.name:<10} {self.found}{todo}"


@dataclass(frozen=True)
class Report(Shown):
    """All checks of one examination.

    Parameters
    ----------
    checks
        In the order in which they were made.
    environment
        The machine's record, as `Environment.to_dict` gives it; None where the guard could not be entered.
    """

    checks: tuple[Check, ...]
    environment: dict[str, Any] | None = None

    @property
    def fit(self) -> bool:
        """Whether nothing failed."""
        return all(check.status is not Status.FAILED for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON: what to send where somebody asks what your machine computes."""
        checks = [
            {"name": check.name, "status": check.status, "found": check.found, "todo": check.todo, **check.seen}
            for check in self.checks
        ]
        return {"schema": SCHEMA, "fit": self.fit, "checks": checks, "environment": self.environment}

    def __str__(self) -> str:
        lines = "\n".join(map(str, self.checks))
        return f"{lines}\n{'this machine is fit' if self.fit else 'this machine is NOT fit: see FAILED'}"
