"""What a group's members did, what `judge` says of it, and where the money goes (protocol J1-J6, L3, L4, C3, C5)."""

from collections.abc import Mapping
from dataclasses import dataclass

from crynux_validate.answers import ErrorReport
from crynux_validate.judging import Finding, Malformed, Member, Outcome, Verdict, judge
from crynux_validate.keyed import KeyedScore
from crynux_validate.ledger.group import Group, Transfer
from crynux_validate.ledger.policy import PPM
from crynux_validate.machines.roster import Node


@dataclass(frozen=True)
class Settlement:
    """What settling a group does: the verdict, whose result is delivered, and every movement of money."""

    verdict: Verdict
    delivered_by: str | None
    transfers: tuple[Transfer, ...]


def members_of(group: Group) -> dict[str, Member]:
    """Return what each member did, in the order of the draw (C3, C4, C5).

    Where there are second answers, a score counts only with the one that a quorum gave. Keyed scores agree where they
    are equal, so there is at most one such; whoever gave another agrees with nobody who gave it, not even through
    others.
    """
    members = {node: group.first_answer(node) for node in group.members}
    if len(group.rounds) < 2:
        return members
    seconds = {node: group.second_answer(node) for node in group.asked(2)}
    given = [answer for answer in seconds.values() if isinstance(answer, KeyedScore)]
    for node, answer in seconds.items():
        if not isinstance(answer, KeyedScore):
            members[node] = answer
        elif 2 * given.count(answer) <= len(members):
            members[node] = Malformed("in the second round: no quorum gave this answer")
    return members


def settle_group(group: Group, nodes: Mapping[str, Node]) -> Settlement:
    """Judge a drawn group and say where its money goes.

    Parameters
    ----------
    group
        A group whose reveals are over.
    nodes
        Its members.

    Returns
    -------
    Settlement
        Fees and refund together are exactly the group's fee (L3); a slash is at most the node's stake (L4).
    """
    members = members_of(group)
    verdict = judge(members, group.policy.rule_for(group.task))
    transfers = _payments(group, members, verdict, nodes)
    paid = sum(transfer.amount for transfer in transfers)
    if group.fee > paid:
        transfers.append(Transfer(group.id, group.creator, group.fee - paid, "refund"))
    transfers += _slashes(group, verdict, nodes)
    return Settlement(verdict, delivered_by(members, verdict), tuple(transfers))


def _payments(
    group: Group, members: Mapping[str, Member], verdict: Verdict, nodes: Mapping[str, Node]
) -> list[Transfer]:
    size = len(members)
    if verdict.outcome is Outcome.VALIDATED:
        share = group.fee // size
        valid = [node for node, finding in verdict.findings.items() if finding is Finding.VALID]
        return [Transfer(group.id, nodes[node].owner, share, "fee") for node in valid]
    if verdict.outcome is Outcome.TASK_FAULT:
        share = group.fee * group.policy.fault_fee_ppm // (PPM * size)
        reports = {n: m.code for n, m in members.items() if isinstance(m, ErrorReport) and m.invalid_task}
        codes = list(reports.values())
        agreeing = [node for node, code in reports.items() if codes.count(code) > size // 2]
        return [Transfer(group.id, nodes[node].owner, share, "report") for node in agreeing if share]
    return []


def _slashes(group: Group, verdict: Verdict, nodes: Mapping[str, Node]) -> list[Transfer]:
    parts = {Finding.INVALID: group.policy.slash_ppm, Finding.WITHHELD: group.policy.withheld_ppm}
    slashes = []
    for node, finding in verdict.findings.items():
        amount = nodes[node].stake * parts.get(finding, 0) // PPM
        if amount:
            slashes.append(Transfer(node, group.policy.slash_account, amount, "slash"))
    return slashes


def delivered_by(members: Mapping[str, Member], verdict: Verdict) -> str | None:
    """Return the member with the delivered score that was drawn first (J6); members stand in the order of the draw."""
    if verdict.delivered_score is None:
        return None
    delivered = (verdict.delivered_score.algorithm, verdict.delivered_score.hex)
    for node, member in members.items():
        if verdict.findings[node] is Finding.VALID and (member.algorithm, member.hex) == delivered:  # type: ignore[union-attr]
            return node
    return None
