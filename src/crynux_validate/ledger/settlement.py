"""What a group's members did, what `judge` says of it, and where the money goes (protocol J1-J6, L3, L4, C3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from crynux_validate.answers import ErrorReport, check_answer
from crynux_validate.errors import InvalidAnswerError
from crynux_validate.judging import Absent, Finding, Malformed, Member, Outcome, Verdict, Withheld, judge
from crynux_validate.ledger.interface import PPM, Group, Transfer
from crynux_validate.machines.roster import Node

_SLASHED: Final = (Finding.INVALID, Finding.WITHHELD)


@dataclass(frozen=True)
class Settlement:
    """What settling a group does: the verdict, whose result is delivered, and every movement of money."""

    verdict: Verdict
    delivered_by: str | None
    transfers: tuple[Transfer, ...]


def members_of(group: Group) -> dict[str, Member]:
    """Return what each member did, in the order of the draw (C3, C4)."""
    return {node: _member(group, node) for node in group.members}


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
    verdict = judge(members, group.policy.rule)
    transfers = _payments(group, members, verdict, nodes)
    paid = sum(transfer.amount for transfer in transfers)
    if group.fee > paid:
        transfers.append(Transfer(group.id, group.creator, group.fee - paid, "refund"))
    transfers += _slashes(group, verdict, nodes)
    return Settlement(verdict, _delivered_by(members, verdict), tuple(transfers))


def _member(group: Group, node: str) -> Member:
    if node not in group.commitments:
        return Absent()
    if node not in group.openings:
        return Withheld()
    try:
        answer = group.openings[node].answer()
        check_answer(group.task, answer)
    except InvalidAnswerError as error:
        return Malformed(str(error))
    return answer


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


def _delivered_by(members: Mapping[str, Member], verdict: Verdict) -> str | None:
    """The member with the delivered score that was drawn first (J6)."""
    if verdict.delivered_score is None:
        return None
    delivered = (verdict.delivered_score.algorithm, verdict.delivered_score.hex)
    for node, member in members.items():
        if verdict.findings[node] is Finding.VALID and (member.algorithm, member.hex) == delivered:  # type: ignore[union-attr]
            return node
    return None
