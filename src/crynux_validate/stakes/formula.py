"""The stake that makes a counterfeit a loss, and what a counterfeit is expected to gain."""

import math
from fractions import Fraction
from typing import Any, Final

from crynux_validate.encoding import check_type, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import DEFAULT_THRESHOLD, CentreRule
from crynux_validate.stakes.agreement import Source, check_images, exact_false_accept_rate
from crynux_validate.stakes.audits import AuditTerms, audited_stake
from crynux_validate.stakes.groups import View, quorums
from crynux_validate.stakes.numbers import Number, as_float, exact
from crynux_validate.stakes.odds import MOST_PER_FEE, ExpectedGain, RequiredStake

PPM: Final = 1_000_000

_UNUSED: Final = (None, 1, "photographs", "drawn")
"""Slash threshold, images, source and view, as they are left out."""


def required_stake(
    honest: int,
    dishonest: int,
    *,
    group_size: int = 3,
    dishonest_weight: Number = 1,
    absent: Number = 0,
    threshold: int | None = DEFAULT_THRESHOLD,
    slash_threshold: int | None = None,
    images: int = 1,
    sampling_rate: Number = 1,
    price: Number = 1,
    slash_ppm: int = PPM,
    slash_per_fee: int | None = None,
    source: Source = "photographs",
    view: View = "drawn",
    audits: AuditTerms | None = None,
) -> RequiredStake:
    """Return the stake at which a counterfeit is expected to gain nothing, and the policy that goes with it.

    A coalition that sees that it holds a quorum cheats at no risk, whatever its stake: that is bounded by the pool, and
    by computing a share of the tasks again, outside the ledger, which takes no task twice (L9).

    Parameters
    ----------
    honest, dishonest
        Nodes of the pool that can be drawn together, at most 2^53 - 1 each; for text one class, not the network.
    group_size
        3, 5, 7 or 9.
    dishonest_weight
        The weight of one dishonest node in the draw, above 0; an honest one has 1. The draw is by stake: a node with
        four times the stake has four times the weight.
    absent
        The chance that an honest member hands in nothing, each for itself; 0 to 1. Colluders are never absent.
    threshold
        1 to 64 (`false_accept_rate`); None for text, where nothing agrees by chance.
    slash_threshold
        As of `CentreRule`: a counterfeit between the two is ``BORDERLINE``, not paid and not slashed.
    images
        Pictures of a task, 1 to 16.
    sampling_rate
        The share of tasks that a group validates, above 0, at most 1; below 1 it presupposes sealed jobs (S1).
    price
        What a counterfeit saves, at least 0, at most a member's share of the fee, for which it is taken; the stake has
        its unit. With 1 the stake is the factor for a price.
    slash_ppm
        Which part of a stake a slash takes, in millionths: the lesser of a policy's `slash_ppm` and `withheld_ppm`,
        since a cheat can choose not to reveal.
    slash_per_fee
        A slash takes at most this many times a member's share of the fee, 0 to 2^31; None for no bound.
    source
        Of the chance of agreement (`false_accept_rate`).
    view
        Of the chance of collusion. ``network`` with `threshold` None is the live network's formula.
    audits
        One node works, and is audited at the sampling rate: the result is an `AuditedStake`. The pool is then that of
        groups that decide about an accused node; nothing compares hashes, so that `threshold`, `slash_threshold`,
        `images`, `source` and `view` must be left out.

    Returns
    -------
    RequiredStake
        With its parts. ``s`` is infinite where a counterfeit is never slashed, as with fewer honest nodes than a
        quorum, and where `slash_per_fee` lets a slash take too little. The result's own `stake_per_fee` and
        `slash_per_fee` are what a policy should at least have, whatever `slash_per_fee` was given.

    Raises
    ------
    InvalidInputError
        For arguments outside their ranges, and where the stake exceeds the range of a float64.
    """
    if audits is not None:
        check_type(audits, AuditTerms, "audits", "AuditTerms")
        unused = (threshold, slash_threshold, images, source, view)
        if unused not in {(DEFAULT_THRESHOLD, *_UNUSED), (None, *_UNUSED)}:
            raise InvalidInputError(
                f"threshold, slash_threshold, images, source and view are {shorten(unused)}, and audits compare no"
                " hashes; leave these out"
            )
        threshold = None
    odds = _Odds(
        honest, dishonest, group_size, dishonest_weight, absent, threshold, slash_threshold, images, sampling_rate,
        price, slash_ppm, slash_per_fee, source, view,
    )  # fmt: skip
    if audits is not None:
        return audited_stake(
            audits, rate=odds.r, price=odds.k, part=odds.slashed, slash_per_fee=slash_per_fee, cheats=odds.quorums,
            absent=odds.absent, given=odds.given,
        )  # fmt: skip
    slash = odds.required_slash()
    stake = odds.stake_for(slash)
    return RequiredStake(
        s=_float_or_infinite(stake, "the required stake"),
        slash=_float_or_infinite(slash, "what a slash must take"),
        stake_per_fee=(per_fee := odds.per_fee(slash)),
        slash_per_fee=per_fee,
        cost=as_float(odds.k * (1 + odds.r * (group_size - 1)), "the cost of a task"),
        **odds.parts(),
    )


def expected_gain(
    stake: Number,
    honest: int,
    dishonest: int,
    *,
    group_size: int = 3,
    dishonest_weight: Number = 1,
    absent: Number = 0,
    threshold: int | None = DEFAULT_THRESHOLD,
    slash_threshold: int | None = None,
    images: int = 1,
    sampling_rate: Number = 1,
    price: Number = 1,
    slash_ppm: int = PPM,
    slash_per_fee: int | None = None,
    source: Source = "photographs",
    view: View = "drawn",
) -> ExpectedGain:
    """Return what a counterfeit is expected to gain: E = (1-r) k + r (e k - x l), where a slash takes l.

    Parameters
    ----------
    stake
        What the cheating node has at stake, at least 0, in the unit of the price. A slash takes the lesser of
        `stake` x `slash_ppm` / 10^6 and `slash_per_fee` x `price`.
    honest, dishonest, group_size, dishonest_weight, absent, threshold, slash_threshold, images, sampling_rate, price
        As of `required_stake`.
    slash_ppm, slash_per_fee, source, view
        As of `required_stake`.

    Raises
    ------
    InvalidInputError
        For arguments outside their ranges, and where the gain exceeds the range of a float64.
    """
    s = exact(stake, "stake")
    odds = _Odds(
        honest, dishonest, group_size, dishonest_weight, absent, threshold, slash_threshold, images, sampling_rate,
        price, slash_ppm, slash_per_fee, source, view,
    )  # fmt: skip
    slash = odds.slash_of(s)
    return ExpectedGain(
        s=as_float(s, "the stake"), slash=as_float(slash, "the slash"), gain=odds.gain(slash), **odds.parts()
    )


class _Odds:
    """The checked arguments, and the parts as fractions; None is infinite."""

    def __init__(
        self,
        honest: int,
        dishonest: int,
        group_size: int,
        dishonest_weight: Number,
        absent: Number,
        threshold: int | None,
        slash_threshold: int | None,
        images: int,
        sampling_rate: Number,
        price: Number,
        slash_ppm: int,
        slash_per_fee: int | None,
        source: Source,
        view: View,
    ) -> None:
        self.r = exact(sampling_rate, "sampling_rate")
        if not 0 < self.r <= 1:
            raise InvalidInputError(
                f"sampling_rate is {shorten(sampling_rate)}; expected a share of tasks above 0, at most 1 (who is never"
                " compared is never slashed)"
            )
        self.k = exact(price, "price")
        away = self.absent = exact(absent, "absent")
        if away > 1:
            raise InvalidInputError(f"absent is {shorten(absent)}; expected a chance from 0 to 1")
        self.slashed = Fraction(_integer(slash_ppm, "slash_ppm", PPM), PPM)
        unbounded = slash_per_fee is None
        self.bound = None if unbounded else _integer(slash_per_fee, "slash_per_fee", MOST_PER_FEE) * self.k
        found = self.quorums = quorums(honest, dishonest, group_size, dishonest_weight, away, view)
        if threshold is None:
            if slash_threshold is not None:
                raise InvalidInputError(
                    f"slash_threshold is {shorten(slash_threshold)} without a threshold; text needs neither"
                )
            check_images(images)
            f = near = Fraction(0)
            slashes_from = None
        else:
            slashes_from = CentreRule(threshold, slash_threshold).slashes_from
            f = exact_false_accept_rate(threshold, images, source)
            near = exact_false_accept_rate(slashes_from, images, source)
        self.e = found.p + found.b * f
        self.x = found.c * (1 - near)
        self.given: dict[str, Any] = {
            "honest": honest,
            "dishonest": dishonest,
            "group_size": group_size,
            "dishonest_weight": as_float(exact(dishonest_weight, "dishonest_weight"), "dishonest_weight"),
            "absent": float(away),
            "sampling_rate": as_float(self.r, "sampling_rate"),
            "price": as_float(self.k, "price"),
            "slash_ppm": slash_ppm,
            "bound": None if self.bound is None else as_float(self.bound, "slash_per_fee times the price"),
            "view": view,
            "threshold": threshold,
            "slash_threshold": slashes_from,
            "images": images,
            "source": None if threshold is None else source,
            **{name: float(value) for name, value in vars(found).items()},
            "f": float(f),
            "e": float(self.e),
            "x": float(self.x),
        }

    def parts(self) -> dict[str, Any]:
        return self.given

    def required_slash(self) -> Fraction | None:
        """What a slash must take so that a counterfeit gains nothing."""
        unpunished = self.k * (1 - self.r + self.r * self.e)
        if not unpunished:
            return Fraction(0)
        return unpunished / (self.r * self.x) if self.x else None

    def stake_for(self, slash: Fraction | None) -> Fraction | None:
        """The least stake of which a slash takes this much."""
        if not slash:
            return slash
        if not self.slashed or (self.bound is not None and slash > self.bound):
            return None
        return slash / self.slashed

    def per_fee(self, slash: Fraction | None) -> int | float:
        """A slash as a multiple of a member's share of the fee, as a policy can ask for it."""
        if not slash:
            return math.inf if slash is None else 0
        needed = math.ceil(slash / self.k)
        return needed if needed <= MOST_PER_FEE else math.inf

    def slash_of(self, stake: Fraction) -> Fraction:
        """What a slash takes of a stake."""
        taken = stake * self.slashed
        return taken if self.bound is None else min(taken, self.bound)

    def gain(self, slash: Fraction) -> float:
        gain = (1 - self.r) * self.k + self.r * (self.e * self.k - self.x * slash)
        return as_float(gain, "the expected gain")


def _integer(value: object, what: str, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected an integer from 0 to {most}")
    return value


def _float_or_infinite(value: Fraction | None, what: str) -> float:
    return math.inf if value is None else as_float(value, what)
