"""One group, one verdict."""

from collections.abc import Mapping

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging.centre import CentreRule
from crynux_validate.judging.verdict import Member, Rule, Verdict, check_members


def judge(members: Mapping[str, Member], rule: Rule | None = None) -> Verdict:
    """Judge the answers of one group (protocol J1-J6).

    Parameters
    ----------
    members
        For each node id its answer, or `Malformed`, `Absent`, `Withheld`. Groups have 3, 5, 7 or 9 members.
    rule
        `CentreRule()` if left out.

    Returns
    -------
    Verdict
        The same for every order of the members; its findings stand in the order given.

    Raises
    ------
    InvalidInputError
            For another group size, a node id that is no id, a member that is no answer, and a rule that is none.
    """
    check_members(members)
    rule = CentreRule() if rule is None else rule
    if isinstance(rule, type) or not callable(getattr(rule, "judge", None)):
        raise InvalidInputError(f"rule is {shorten(rule)}; expected a rule, like CentreRule(threshold=16)")
    return rule.judge(members)
