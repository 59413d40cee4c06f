"""Vectors of verdicts and settlements: what a group's answers amount to, and where the money goes (J1-J6, L3, L4)."""

from collections.abc import Iterator, Mapping
from typing import Any

from crynux_validate.answers import ErrorReport, ImageScore
from crynux_validate.commitment import NONCE_BYTES, Opening
from crynux_validate.encoding import DIGEST_BYTES, parse_decimal
from crynux_validate.judging import Absent, Member, Verdict, Withheld, judge
from crynux_validate.judging.reading import read_group, read_member
from crynux_validate.ledger.group import Group, Round, Status
from crynux_validate.ledger.policy import Policy
from crynux_validate.ledger.settlement import settle_group
from crynux_validate.machines.gpu import GpuModel
from crynux_validate.machines.pool import Candidate, Pool
from crynux_validate.machines.roster import Draw, Node
from crynux_validate.tasks import ImageTask, ModelRef
from crynux_validate.vectors_check.files import Vector


def verdict(vector: Vector) -> Iterator[tuple[str, Any]]:
    """What `judge` says, whatever the order of the members."""
    group = vector.content["group"]
    yield "verdict", judged(group).to_dict()
    yield "verdict", judged(group | {"members": dict(reversed(group["members"].items()))}).to_dict()


def settlement(vector: Vector) -> Iterator[tuple[str, Any]]:
    """Findings and transfers, in their order."""
    yield from settled(vector.content).items()


def judged(group: Mapping[str, Any]) -> Verdict:
    """Return the verdict on a group as a vector, or ``crynux-validate judge``, writes it."""
    return judge(*read_group(group))


def settled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what settling a vector's group does: outcome, findings, who delivers, and every transfer."""
    nodes = {
        member["node"]: Node(member["node"], member["owner"], _CARD, parse_decimal(member["stake"], "a stake"))
        for member in given["members"]
    }
    found = settle_group(_group(given), nodes)
    moves = [{"from": t.source, "to": t.target, "amount": str(t.amount), "why": t.why} for t in found.transfers]
    return {
        "outcome": found.verdict.outcome.value,
        "findings": {node: finding.value for node, finding in found.verdict.findings.items()},
        "delivered_by": found.delivered_by,
        "transfers": moves,
    }


_NODE = ("node", "owner", "stake")
_CARD = GpuModel("NVIDIA GeForce RTX 4090", 24)
_TASK = ImageTask(model=ModelRef("owner/name", revision="0" * 40), prompt="a red cat")
"""One image without a safety checker, by `phash/1`: nothing else of a task decides where money goes."""


def _group(given: Mapping[str, Any]) -> Group:
    """The group of a vector, drawn, with everything handed in."""
    policy, fee = Policy.from_dict(given["policy"]), parse_decimal(given["fee"], "the fee")
    pool = Pool(Candidate(member["node"], member["owner"], 1) for member in given["members"])
    draw = Draw(
        ledger="ledger-1",
        group=given["group"],
        task=_TASK.digest,
        policy=policy.digest,
        fee=fee,
        beacon_round=1,
        beacon=bytes(1),
        pool=pool,
        unavailable={},
        unavailable_weight=0,
        members=tuple(member["node"] for member in given["members"]),
    )
    answers = {
        member["node"]: {name: member[name] for name in member if name not in _NODE} for member in given["members"]
    }
    said = {node: read_member(node, answer, _TASK.algorithm) for node, answer in answers.items()}
    openings = {node: Opening(_answer_bytes(one), bytes(NONCE_BYTES)) for node, one in said.items() if _opened(one)}
    commitments = {node: bytes(DIGEST_BYTES) for node, one in said.items() if not isinstance(one, Absent)}
    return Group(
        id=given["group"],
        task=_TASK,
        creator=given["creator"],
        fee=fee,
        min_memory_gib=0,
        policy=policy,
        pool=pool,
        base=pool.total_weight,
        beacon_round=1,
        opened=0,
        draw_deadline=policy.draw_seconds,
        status=Status.DRAWN,
        draw=draw,
        rounds=(Round(1, 2, commitments, openings),),
    )


def _opened(member: Member) -> bool:
    return not isinstance(member, Absent | Withheld)


def _answer_bytes(member: Member) -> bytes:
    """What a member revealed: its answer, or bytes that are none."""
    if isinstance(member, ImageScore):
        return ImageScore(member.hashes, bytes(DIGEST_BYTES), member.algorithm).to_bytes()
    return member.to_bytes() if isinstance(member, ErrorReport) else b""
