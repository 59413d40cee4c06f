"""What members hand in: commitments, signed where they must be, and openings (protocol C2, C5, L8)."""

from typing import Any

from crynux_validate.commitment import Opening
from crynux_validate.encoding import DIGEST_BYTES, shorten
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    InvalidAnswerError,
    InvalidInputError,
    NotAMemberError,
    SignatureError,
    TooEarlyError,
    TooLateError,
)
from crynux_validate.frozen import FrozenMapping
from crynux_validate.ledger.actions import Commit, Reveal
from crynux_validate.ledger.interface import Group, Round, Signature, Status
from crynux_validate.ledger.rules.state import Change, State, joined_node, known_group
from crynux_validate.signatures import is_signed


def commit(state: State, change: Change, action: Commit, now: int) -> None:
    """Bind a member to its answer, once in each round (C2)."""
    group, answering = _answering(state, action, now)
    if not isinstance(action.commitment, bytes) or len(action.commitment) != DIGEST_BYTES:
        raise InvalidAnswerError("a commitment has 32 bytes; make it with Opening.commitment (C1)")
    if action.node in answering.commitments:
        raise AlreadyDoneError(f"node {action.node} has committed in group {group.id}; that is never replaced (C2)")
    if now >= answering.commit_deadline:
        raise TooLateError(f"group {group.id} took commitments until {answering.commit_deadline}; it is {now}")
    changes: dict[str, Any] = {"commitments": FrozenMapping({**answering.commitments, action.node: action.commitment})}
    signature = _checked_signature(state, group, action)
    if signature is not None:
        changes["signatures"] = FrozenMapping({**answering.signatures, action.node: signature})
    change.groups[group.id] = group.with_round(action.round, **changes)


def _checked_signature(state: State, group: Group, action: Commit) -> Signature | None:
    """A node that joined with a key signs its commitments, and no other does (L8)."""
    key = joined_node(state, action.node).public_key
    if key is None:
        if action.signature is not None:
            raise SignatureError(f"node {action.node} joined without a key: leave the signature out")
        return None
    if action.signature is None:
        raise SignatureError(
            f"node {action.node} joined with a key: give the signature that SigningKey.sign makes (L8)"
        )
    ids = {"ledger": state.id, "group": group.id, "node": action.node}
    if not is_signed(action.signature, key, action.commitment, **ids, round=action.round):
        raise SignatureError(
            f"this is no signature of {action.node} on this commitment for round {action.round} of {group.id}: another "
            "key, commitment, node, round, group or ledger"
        )
    return Signature(key, action.signature)


def reveal(state: State, change: Change, action: Reveal, now: int) -> None:
    """Open a member's commitment; once for each round, by anyone (C2)."""
    group, answering = _answering(state, action, now)
    opening = Opening.from_bytes(action.opening)
    if not group.reveals_open(now, action.round):
        missing = len(group.asked(action.round)) - len(answering.commitments)
        raise TooEarlyError(
            f"group {group.id} waits for {missing} commitments until {answering.commit_deadline}; it is {now}: "
            "reveal then"
        )
    if action.node not in answering.commitments:
        raise CommitmentMismatchError(f"node {action.node} has not committed in group {group.id}: nothing to open")
    if action.node in answering.openings:
        raise AlreadyDoneError(f"node {action.node} has revealed in group {group.id}")
    if now >= answering.reveal_deadline:
        raise TooLateError(f"group {group.id} took reveals until {answering.reveal_deadline}; it is {now}")
    bound = opening.commitment(ledger=state.id, group=group.id, node=action.node, round=action.round)
    if bound != answering.commitments[action.node]:
        raise CommitmentMismatchError(
            f"this opening does not open the commitment of {action.node} in group {group.id}: another answer or nonce, "
            "or a commitment that was made for another node, round, group or ledger"
        )
    openings = FrozenMapping({**answering.openings, action.node: opening})
    change.groups[group.id] = group.with_round(action.round, openings=openings)


def _answering(state: State, action: Commit | Reveal, now: int) -> tuple[Group, Round]:
    """The group and the round that a member acts in (C2, C5)."""
    group, node, number = known_group(state, action.group), action.node, action.round
    if group.status is Status.OPEN:
        raise TooEarlyError(f"group {group.id} has not been drawn")
    if group.status is not Status.DRAWN:
        raise TooLateError(f"group {group.id} is {group.status}")
    if node not in group.members:
        raise NotAMemberError(f"node {shorten(node)} is not a member of group {group.id} ({', '.join(group.members)})")
    if type(number) is not int or not 1 <= number <= len(group.rounds):
        known = "one round, number 1" if len(group.rounds) == 1 else "the rounds 1 and 2"
        raise InvalidInputError(f"the round is {shorten(number)}; this policy has {known}")
    if number == 2:
        if not group.is_over(now):
            raise TooEarlyError(f"the first round of group {group.id} is not over: answer in the second one then (C5)")
        if node not in group.asked(2):
            raise NotAMemberError(f"node {node} revealed no score in the first round of {group.id}: none is asked now")
    return group, group.rounds[number - 1]
