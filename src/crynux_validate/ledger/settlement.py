"""What a group's members did, what `judge` says of it, and where the money goes (protocol J1-J6, L3, L4, C3, C5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from crynux_validate.answers import ErrorReport
from crynux_validate.judging import Finding, Member, Outcome, TwoAnswers, Verdict, judge
from crynux_validate.keyed import KeyedScore
from crynux_validate.ledger.group import Group, Transfer
from crynux_validate.ledger.policy import PPM, Policy


class Staked(Protocol):
    """What of a node decides where money goes; a `Node` has it."""

    @property
    def owner(self) -> str:
        """The owner whose account is paid."""

    @property
    def stake(self) -> int:
        """What there is to be slashed."""


@dataclass(frozen=True)
class Settlement:
    """What settling a group does: the verdict, whose result is delivered, and every movement of money."""

    verdict: Verdict
    delivered_by: str | None
    transfers: tuple[Transfer, ...]


def members_of(group: Group) -> dict[str, Member]:
    """Return what each member did, in the order of the draw (C3, C4, C5).

    If there is a second round, members that gave a score in the first are judged by both answers (J7).
    """
    members = {node: group.first_answer(node) for node in group.members}
    if len(group.rounds) < 2:
        return members
    for node in group.asked(2):
        first, second = members[node], group.second_answer(node)
        members[node] = TwoAnswers(first, second) if isinstance(second, KeyedScore) else second  # type: ignore[arg-type]
    return members


def settle_group(group: Group, nodes: Mapping[str, Staked]) -> Settlement:
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
        Fees, what is burnt and refund together are exactly the group's fee (L3); a slash is at most the node's
        stake, and at most what the policy's bound allows (L4).
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
    group: Group, members: Mapping[str, Member], verdict: Verdict, nodes: Mapping[str, Staked]
) -> list[Transfer]:
    """What of the fee does not go back to the creator (L3, J4, J5)."""
    size = len(members)
    if verdict.outcome is Outcome.VALIDATED:
        share = group.fee // size
        valid = [node for node, finding in verdict.findings.items() if finding is Finding.VALID]
        return [Transfer(group.id, nodes[node].owner, share, "fee") for node in valid]
    burnt = -(-group.fee * group.policy.no_quorum_ppm // PPM)  # rounded up: the least fee burns something as well
    payments = [Transfer(group.id, None, burnt, "no_quorum")] if burnt else []
    if verdict.outcome is Outcome.TASK_FAULT:
        share = group.fee * group.policy.fault_fee_ppm // (PPM * size)
        reports = {n: m.code for n, m in members.items() if isinstance(m, ErrorReport) and m.invalid_task}
        codes = list(reports.values())
        agreeing = [node for node, code in reports.items() if codes.count(code) > size // 2]
        payments += [Transfer(group.id, nodes[node].owner, share, "report") for node in agreeing if share]
    return payments


def slash_of(stake: int, ppm: int, policy: Policy, fee: int) -> int:
    """Return what a finding takes of a stake: floor(stake * ppm / 10^6), at most the policy's bound (L4)."""
    amount = stake * ppm // PPM
    if policy.slash_per_fee is None:
        return amount
    return min(amount, policy.slash_per_fee * (fee // policy.group_size))


def _slashes(group: Group, verdict: Verdict, nodes: Mapping[str, Staked]) -> list[Transfer]:
    policy = group.policy
    parts = {Finding.INVALID: policy.slash_ppm, Finding.WITHHELD: policy.withheld_ppm}
    slashes = []
    for node, finding in verdict.findings.items():
        amount = slash_of(nodes[node].stake, parts.get(finding, 0), policy, group.fee)
        if amount:
            slashes.append(Transfer(node, policy.slash_account, amount, "slash"))
    return slashes


def delivered_by(members: Mapping[str, Member], verdict: Verdict) -> str | None:
    """Return the member with the delivered score that was drawn first (J6); members stand in the order of the draw."""
    if verdict.delivered_score is None:
        return None
    delivered = (verdict.delivered_score.algorithm, verdict.delivered_score.hex)
    for node, member in members.items():
        score = member.first if isinstance(member, TwoAnswers) else member
        if verdict.findings[node] is Finding.VALID and (score.algorithm, score.hex) == delivered:  # type: ignore[union-attr]
            return node
    return None
