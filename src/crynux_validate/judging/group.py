"""Judging one group."""

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
        For each node id the node's answer (`ImageScore`, `TextScore`, `ErrorReport`, or `TwoAnswers` after a second
        round), or `Malformed`, `Absent` or `Withheld`. Groups have 3, 5, 7 or 9 members.
    rule
        `CentreRule()` if left out.

    Returns
    -------
    Verdict
        The verdict, which does not depend on the order of the members; its findings are in that order.

    Raises
    ------
    InvalidInputError
        For another group size, an invalid node id, and a member or a rule of another type.
    """
    check_members(members)
    rule = CentreRule() if rule is None else rule
    if isinstance(rule, type) or not callable(getattr(rule, "judge", None)):
        raise InvalidInputError(f"rule is {shorten(rule)}; expected a rule, like CentreRule(threshold=16)")
    return rule.judge(members)
