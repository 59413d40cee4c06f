"""Judging the answers of a group: which of them agree, and who is paid or slashed (protocol J1-J7).

`judge` depends on the answers only, and never on the order of the members. `judge_many` judges many groups at once; it
loads numpy when it is first used. `judge`, `CentreRule`, `Verdict`, `Outcome` and `Finding` are in `crynux_validate`.
"""

import crynux_validate.lazy as _lazy
from crynux_validate.judging.centre import DEFAULT_SLASH_THRESHOLD as DEFAULT_SLASH_THRESHOLD
from crynux_validate.judging.centre import DEFAULT_THRESHOLD as DEFAULT_THRESHOLD
from crynux_validate.judging.centre import CentreRule as CentreRule
from crynux_validate.judging.group import judge as judge
from crynux_validate.judging.relay import RELAY_THRESHOLD as RELAY_THRESHOLD
from crynux_validate.judging.relay import CrynuxRelayRule
from crynux_validate.judging.verdict import (
    GROUP_SIZES as GROUP_SIZES,
)
from crynux_validate.judging.verdict import (
    Absent,
    Malformed,
    Member,
    Rule,
    TwoAnswers,
    Withheld,
)
from crynux_validate.judging.verdict import (
    Finding as Finding,
)
from crynux_validate.judging.verdict import (
    Outcome as Outcome,
)
from crynux_validate.judging.verdict import (
    Verdict as Verdict,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crynux_validate.judging.bulk import MemberKind, Verdicts, judge_many

_MODULE_OF = dict.fromkeys(("MemberKind", "Verdicts", "judge_many"), "bulk")
_NEEDS = dict.fromkeys(_MODULE_OF, ("ledger", ("numpy",)))

__all__ = [
    "Absent",
    "CrynuxRelayRule",
    "Malformed",
    "Member",
    "MemberKind",
    "Rule",
    "TwoAnswers",
    "Verdicts",
    "Withheld",
    "judge_many",
]

__all__ = _lazy.public(__all__, _NEEDS)
if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, _MODULE_OF, _NEEDS)
