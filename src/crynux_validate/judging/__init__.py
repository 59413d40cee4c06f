"""Do the answers of a group agree, and who was right? (protocol J1-J6)

`judge` is pure: it sees answers, nothing else, and the order of the members never matters. `bulk` judges many groups at
once; it is not imported here, since it loads numpy.
"""

from crynux_validate.judging.centre import DEFAULT_SLASH_THRESHOLD, DEFAULT_THRESHOLD, CentreRule
from crynux_validate.judging.group import judge
from crynux_validate.judging.relay import RELAY_THRESHOLD, CrynuxRelayRule
from crynux_validate.judging.verdict import (
    GROUP_SIZES,
    Absent,
    Finding,
    Malformed,
    Member,
    Outcome,
    Rule,
    TwoAnswers,
    Verdict,
    Withheld,
)

__all__ = [
    "DEFAULT_SLASH_THRESHOLD",
    "DEFAULT_THRESHOLD",
    "GROUP_SIZES",
    "RELAY_THRESHOLD",
    "Absent",
    "CentreRule",
    "CrynuxRelayRule",
    "Finding",
    "Malformed",
    "Member",
    "Outcome",
    "Rule",
    "TwoAnswers",
    "Verdict",
    "Withheld",
    "judge",
]
