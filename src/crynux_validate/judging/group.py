"""One group, one verdict."""

from collections.abc import Mapping

from crynux_validate.encoding import check_id, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging.centre import CentreRule
from crynux_validate.judging.verdict import GROUP_SIZES, Member, Rule, Verdict


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
    if not isinstance(members, Mapping):
        raise InvalidInputError(f"members is a {type(members).__name__}; expected a mapping of node ids to answers")
    if len(members) not in GROUP_SIZES:
        sizes = ", ".join(map(str, GROUP_SIZES))
        raise InvalidInputError(f"a group has {sizes} members, not {len(members)}")
    for node, member in members.items():
        check_id(node, "a node id")
        if not isinstance(member, Member):
            raise InvalidInputError(
                f"the answer of {node} is a {type(member).__name__}; expected an ImageScore, TextScore, ErrorReport, "
                "Malformed, Absent or Withheld"
            )
    rule = CentreRule() if rule is None else rule
    if isinstance(rule, type) or not callable(getattr(rule, "judge", None)):
        raise InvalidInputError(f"rule is {shorten(rule)}; expected a rule, like CentreRule(threshold=16)")
    return rule.judge(members)
