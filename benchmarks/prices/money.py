"""Where the money of many groups goes: the rules J1-J5, L3, L4 and C3 over arrays.

Answers are equal or far apart, as those of text tasks are, and as pictures of unrelated tasks are: nothing is
``BORDERLINE``. Reports of an invalid task all have one code.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from crynux_validate import Policy

PPM: Final = 1_000_000

Ints = npt.NDArray[np.int64]


class Did(IntEnum):
    """What a member of a group did."""

    HONEST = 0
    """It gave the answer that honest machines share."""
    CHEAT = 1
    """It gave the answer that the coalition has agreed on."""
    ALONE = 2
    """It gave an answer that nobody else has."""
    REPORT = 3
    """It said that the task is invalid."""
    FAILED = 4
    """It said that its machine could not do the task."""
    WITHHELD = 5
    """It committed, and did not reveal."""
    ABSENT = 6
    """It did not commit."""


@dataclass(frozen=True)
class Money:
    """Where the money of each group went.

    Parameters
    ----------
    paid
        int64 of shape (groups, members): what of the fee each member's owner got.
    slashed
        int64 of shape (groups, members): what each member lost of its stake.
    burnt
        int64 of shape (groups,): what of the fee was burnt; the rest went back to the creator.
    """

    paid: Ints
    slashed: Ints
    burnt: Ints


def settle_many(did: npt.NDArray[np.integer], stakes: Ints, fee: int, policy: Policy) -> Money:
    """Settle many groups.

    Parameters
    ----------
    did
        Integers of shape (groups, members): what each member did (`Did`).
    stakes
        int64 of the same shape, below 2^63 / 10^6.
    fee, policy
        Of every group; the policy's group size is the number of members.
    """
    size = did.shape[1]
    quorum = size // 2 + 1
    share = fee // size
    valid = np.zeros(did.shape, bool)
    for answer in (Did.HONEST, Did.CHEAT):
        given = did == answer
        valid |= given & (given.sum(axis=1, keepdims=True) >= quorum)
    validated = valid.any(axis=1, keepdims=True)
    scored = did <= Did.ALONE
    reported = did == Did.REPORT
    fault = (reported.sum(axis=1, keepdims=True) >= quorum) & ~validated

    report_share = fee * policy.fault_fee_ppm // (PPM * size)
    paid = valid * share + (reported & fault) * report_share
    invalid = (scored | reported) & ~valid & validated
    slashed = np.where(invalid, _slash(stakes, policy.slash_ppm, share, policy), 0)
    slashed += np.where(did == Did.WITHHELD, _slash(stakes, policy.withheld_ppm, share, policy), 0)
    burnt = np.where(valid.any(axis=1), 0, no_quorum_burn(fee, policy))
    return Money(paid, slashed, burnt)


def no_quorum_burn(fee: int, policy: Policy) -> int:
    """What of a fee is burnt where no answer is delivered, rounded up."""
    return -(-fee * policy.no_quorum_ppm // PPM)


def _slash(stakes: Ints, ppm: int, share: int, policy: Policy) -> Ints:
    most = stakes * ppm // PPM
    return most if policy.slash_per_fee is None else np.minimum(most, policy.slash_per_fee * share)
