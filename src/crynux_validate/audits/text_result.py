"""What an audit of a text found."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crynux_validate.answers import TextScore
from crynux_validate.audits.findings import AuditFinding, answer_hex, shown_band, told_band
from crynux_validate.encoding import summary
from crynux_validate.shown import Shown
from crynux_validate.tasks import TextTask


@dataclass(frozen=True)
class TextAudit(Shown):
    """What an audit of a text found.

    Parameters
    ----------
    task
        The task.
    answer
        The answer that was audited.
    finding
        ``NOISE``: as far from the reference as honest machines are. ``CHEAT``: further. ``INCOMPARABLE``: it cannot be
        said. Never ``MATCH``: a pass over a text rounds in another way than writing it, even on one machine.
    reason
        Why, in a sentence.
    uncalibrated
        Why the band was not made for what was audited (another model, dtype or versions), or why there is none; empty
        where it was made for it.
    tokens, of
        How many tokens were looked at, and how many the text has: an audit stops where it has found a cheat. 0 where
        the task's tokens have no margins.
    odd
        How many of them the reference would not have chosen.
    margins
        The sum of their margins, each at most the band's `clip`; in logits.
    limit
        The largest honest sum.
    top, top_limits
        The mean logarithm of how far the opened rows are from the reference's, and what is honest; None for a task that
        binds none, or where the audit stopped before.
    against, against_limit
        How much better a second hypothesis explains the text (the difference of the two sums), and the largest honest
        value; None without one, and where the audit stopped before.
    seconds
        Wall time, without loading.
    odd_margins
        The place of each odd token, sequences one after the other, and its margin.
    row_logs
        For each opened position that was looked at the logarithm of how far its row is from the reference's.
    kinds
        The names of the node's kind of machine and of the auditor's; None where they were not given.
    versions
        Of the auditor's packages.
    """

    task: TextTask
    answer: TextScore
    finding: AuditFinding
    reason: str
    uncalibrated: str
    tokens: int
    of: int
    odd: int
    margins: float
    limit: float
    top: float | None = None
    top_limits: tuple[float, float] | None = None
    against: float | None = None
    against_limit: float | None = None
    seconds: float = 0.0
    odd_margins: tuple[tuple[int, float], ...] = ()
    row_logs: tuple[float, ...] = ()
    kinds: tuple[str, str] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        """Whether the band was made for what was audited."""
        return not self.uncalibrated

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        value = {name: found for name, found in vars(self).items() if name not in ("task", "answer")}
        limits = None if self.top_limits is None else list(self.top_limits)
        named = {"task_digest": self.task.digest, "task": self.task.to_dict(), "answer": answer_hex(self.answer)}
        rows = [one if math.isfinite(one) else None for one in self.row_logs]
        measured = {
            "odd_margins": [list(found) for found in self.odd_margins],
            "row_logs": rows,
        }
        return {
            **named,
            **value,
            **measured,
            **told_band(self.uncalibrated, self.kinds, self.versions),
            "finding": self.finding.value,
            "top_limits": limits,
        }

    def __str__(self) -> str:
        lines = [
            f"finding      {self.finding}{shown_band(self.uncalibrated)}",
            f"reason       {self.reason}",
        ]
        if self.tokens:
            lines.append(f"tokens       {self.tokens} of {self.of} looked at, {self.odd} unlike the reference's choice")
            lines.append(f"margins      {self.margins:.4g} together; honest up to {self.limit:.4g}")
        if self.top is not None and self.top_limits is not None:
            low, high = self.top_limits
            lines.append(f"rows         {self.top:.3f}; honest from {low:.3f} to {high:.3f}")
        if self.against is not None and self.against_limit is not None:
            lines.append(f"hypothesis   {self.against:.4g} better; honest up to {self.against_limit:.4g}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return summary(self, self.finding, self.reason, f"task {self.task.digest[:12]}")
