"""Commitments, with their signatures, and openings of members (protocol C2, C5, L8)."""

from typing import Any, Final

from crynux_validate.commitment import Opening
from crynux_validate.encoding import DIGEST_BYTES, shorten
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    InvalidAnswerError,
    InvalidInputError,
    NotAMemberError,
)
from crynux_validate.frozen import FrozenMapping
from crynux_validate.ledger.actions import Commit, Reveal
from crynux_validate.ledger.interface import Group, Round, Signature, Status
from crynux_validate.ledger.life import Act, check_act
from crynux_validate.ledger.rules.signed import check_signature
from crynux_validate.ledger.rules.state import Change, State, joined_node, known_group
from crynux_validate.signatures import signed_bytes

_COMMITS: Final = (Act.COMMIT_1, Act.COMMIT_2)
_REVEALS: Final = (Act.REVEAL_1, Act.REVEAL_2)


def commit(state: State, change: Change, action: Commit, now: int) -> None:
    """Bind a member to its answer, once in each round (C2)."""
    group, answering = _answering(state, action, now)
    if not isinstance(action.commitment, bytes) or len(action.commitment) != DIGEST_BYTES:
        raise InvalidAnswerError(
            f"the commitment is {shorten(action.commitment)}; expected 32 bytes: make it with Opening.commitment (C1)"
        )
    if action.node in answering.commitments:
        raise AlreadyDoneError(
            f"node {action.node} has already committed in group {group.id}; a commitment is never replaced (C2)"
        )
    check_act(group, _COMMITS[action.round - 1], now)
    node = joined_node(state, action.node)
    check_signature(
        node,
        action.signature,
        lambda: signed_bytes(action.commitment, group.bound_to(action.round, now), node=node.id, round=action.round),
        f"this commitment for round {action.round} of {group.id}, as it was drawn",
    )
    changes: dict[str, Any] = {"commitments": FrozenMapping({**answering.commitments, node.id: action.commitment})}
    if node.public_key is not None and action.signature is not None:
        signature = Signature(node.public_key, action.signature)
        changes["signatures"] = FrozenMapping({**answering.signatures, node.id: signature})
    change.groups[group.id] = group.with_round(action.round, **changes)


def reveal(state: State, change: Change, action: Reveal, now: int) -> None:
    """Open a member's commitment; once for each round, by anyone (C2)."""
    group, answering = _answering(state, action, now)
    opening = Opening.from_bytes(action.opening)
    if not group.reveals_open(now, action.round):
        check_act(group, _REVEALS[action.round - 1], now)
    if action.node not in answering.commitments:
        raise CommitmentMismatchError(f"node {action.node} has not committed in group {group.id}, so it cannot reveal")
    if action.node in answering.openings:
        raise AlreadyDoneError(f"node {action.node} has already revealed in group {group.id}")
    check_act(group, _REVEALS[action.round - 1], now)
    bound = opening.commitment(group.bound_to(action.round, now), node=action.node, round=action.round)
    if bound != answering.commitments[action.node]:
        raise CommitmentMismatchError(
            f"the opening does not fit the commitment of {action.node} in group {group.id}: one of them is for another "
            "answer, nonce, node, round, draw or seed"
        )
    openings = FrozenMapping({**answering.openings, action.node: opening})
    change.groups[group.id] = group.with_round(action.round, openings=openings)


def _answering(state: State, action: Commit | Reveal, now: int) -> tuple[Group, Round]:
    """The group and the round that a member acts in (C2, C5)."""
    group, node, number = known_group(state, action.group), action.node, action.round
    if group.status is not Status.DRAWN:
        check_act(group, Act.COMMIT_1, now)
    if node not in group.members:
        raise NotAMemberError(f"node {shorten(node)} is not a member of group {group.id} ({', '.join(group.members)})")
    if type(number) is not int or not 1 <= number <= len(group.rounds):
        known = "one round, number 1" if len(group.rounds) == 1 else "the rounds 1 and 2"
        raise InvalidInputError(f"the round is {shorten(number)}; this policy has {known}")
    if number == 2:
        if not group.is_over(now):
            check_act(group, Act.COMMIT_2, now)
        if node not in group.asked(2):
            raise NotAMemberError(
                f"node {node} revealed no score in the first round of {group.id}, so it has no second answer"
            )
    return group, group.rounds[number - 1]
