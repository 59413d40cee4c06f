"""The stake that makes a counterfeit a loss, and the expected gain of a counterfeit."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from crynux_validate.calibration.result import Calibration
from crynux_validate.encoding import check_integer, check_type, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.stakes.agreement import Source
from crynux_validate.stakes.audited import Audited
from crynux_validate.stakes.audits import AuditTerms
from crynux_validate.stakes.counterfeits import DEFAULT_GROUP_SIZE, Counterfeit, Threshold, counterfeits
from crynux_validate.stakes.groups import View, quorums
from crynux_validate.stakes.numbers import Number, as_float, exact
from crynux_validate.stakes.odds import MOST_PER_FEE, ExpectedGain, RequiredStake

PPM: Final = 1_000_000


def required_stake(
    honest: int,
    dishonest: int,
    *,
    group_size: int | None = None,
    dishonest_weight: Number = 1,
    absent: Number = 0,
    threshold: Threshold = "default",
    slash_threshold: int | None = None,
    images: int | None = None,
    sampling_rate: Number = 1,
    price: Number = 1,
    slash_ppm: int = PPM,
    slash_per_fee: int | None = None,
    source: Source | None = None,
    view: View = "drawn",
    calibration: Calibration | None = None,
    cheats: Sequence[str] | None = None,
    audits: AuditTerms | None = None,
) -> RequiredStake:
    """Return the stake at which the expected gain of a counterfeit is zero, and the policy for it.

    A coalition that is a quorum of a group cheats at no risk, whatever its stake. Only a large honest pool, and
    computing a share of the tasks again outside the ledger, limit this (the ledger takes no task twice, L9).

    Parameters
    ----------
    honest, dishonest
        Nodes of the pool that can be drawn together, at most 2^53 - 1 each; for text one class, not the network.
    group_size
        3, 5, 7 or 9; left out, 3, or what the calibration was made for.
    dishonest_weight
        The weight of one dishonest node in the draw, above 0; an honest one has 1. The draw is by stake: a node with
        four times the stake has four times the weight.
    absent
        The chance that an honest member submits nothing, independent of the others; 0 to 1. Colluders always submit.
    threshold
        1 to 64 (`false_accept_rate`); None for text, where nothing agrees by chance. ``default`` is 16, or with a
        calibration the two thresholds that it recommends.
    slash_threshold
        As for `CentreRule`: a counterfeit between the two is ``BORDERLINE``, not paid and not slashed.
    images
        The number of images of a task, 1 to 16; if left out 1, or that of the calibration.
    sampling_rate
        The share of tasks that a group validates, above 0, at most 1. Below 1, jobs must be sealed (S1).
    price
        The cost that a counterfeit saves, 0 or more, which is taken for a member's share of the fee. The stake has the
        same unit: with 1 the stake is a factor of the price.
    slash_ppm
        The part of a stake that a slash takes, in millionths: the lesser of a policy's `slash_ppm` and `withheld_ppm`,
        since a cheat can choose not to reveal.
    slash_per_fee
        A slash takes at most this many times a member's share of the fee, 0 to 2^31; None for no bound.
    source
        The source of a blind counterfeit's chance of agreement (`false_accept_rate`); ``photographs`` if left out. Not
        with a calibration.
    view
        The groups over which the chance of collusion is taken: ``drawn``, those with the cheating node, or
        ``network``, all groups. ``network`` with `threshold` None is the live network's formula.
    calibration
        The measured chances of cheats: f is the upper end of the interval for a cheat's acceptance, and a group without
        a quorum of colluders slashes the cheat as often as the lower end of the interval for that.
    cheats
        The names of cheats of the calibration; all if left out.
    audits
        If given, one node works and is audited at the sampling rate, and the result is an `AuditedStake`. The pool is
        then that of groups that decide about an accused node. No hashes are compared, so `threshold`,
        `slash_threshold`, `images`, `source`, `view`, `calibration` and `cheats` must be left out.

    Returns
    -------
    RequiredStake
        The stake and its parts. With a calibration they are for the cheat that needs the largest stake; `cheats` has
        the stake of each. ``s`` is infinite if a counterfeit is never slashed, for example with fewer honest nodes than
        a quorum, or if `slash_per_fee` is too small. `stake_per_fee` and `slash_per_fee` of the result are the least
        values for a policy, whatever `slash_per_fee` was given.

    Raises
    ------
    InvalidInputError
        For arguments outside their ranges; for a calibration that was made for other groups or images, that has no
        recommendation if no thresholds are given, or that has not measured a cheat; and if the stake exceeds the range
        of a float64.
    """
    terms = _Terms(
        honest, dishonest, _group_size(group_size, calibration), dishonest_weight, absent, sampling_rate, price,
        slash_ppm, slash_per_fee, view,
    )  # fmt: skip
    if audits is not None:
        _check_left_out(threshold, slash_threshold, images, source, view, calibration, cheats)
        return terms.audited(audits, slash_per_fee).required()
    found = [
        terms.required(one) for one in counterfeits(threshold, slash_threshold, images, source, calibration, cheats)
    ]
    worst = max(found, key=lambda one: (one.slash, one.f))
    return replace(worst, cheats={one.cheat: one.slash for one in found if one.cheat is not None})


def expected_gain(
    stake: Number,
    honest: int,
    dishonest: int,
    *,
    group_size: int | None = None,
    dishonest_weight: Number = 1,
    absent: Number = 0,
    threshold: Threshold = "default",
    slash_threshold: int | None = None,
    images: int | None = None,
    sampling_rate: Number = 1,
    price: Number = 1,
    slash_ppm: int = PPM,
    slash_per_fee: int | None = None,
    source: Source | None = None,
    view: View = "drawn",
    calibration: Calibration | None = None,
    cheats: Sequence[str] | None = None,
    audits: AuditTerms | None = None,
) -> ExpectedGain:
    """Return the expected gain of a counterfeit: E = (1-r) k + r (e k - x l), if a slash takes l.

    With `audits` it is (1 - r d (1-e)) w - r d x l - (1-m) k: the fee for the cheat, less what a slash takes, less the
    value of the work that the cheat does. The fee w is such that an honest node with the same stake earns the price.

    Parameters
    ----------
    stake
        The stake of the cheating node, 0 or more, in the unit of the price. A slash takes the lesser of
        `stake` x `slash_ppm` / 10^6 and `slash_per_fee` x `price` (with `audits` x the fee).
    honest, dishonest, group_size, dishonest_weight, absent, threshold, slash_threshold, images, sampling_rate, price
        As for `required_stake`.
    slash_ppm, slash_per_fee, source, view, calibration, cheats, audits
        As for `required_stake`.

    Returns
    -------
    ExpectedGain
        The gain and its parts. With a calibration they are for the cheat that gains the most; `cheats` has the gain of
        each. With `audits` it is an `AuditedGain`; its ``gain`` and ``fee`` are infinite if with no fee an honest node
        earns the price.

    Raises
    ------
    InvalidInputError
        As for `required_stake`.
    """
    s = exact(stake, "stake")
    terms = _Terms(
        honest, dishonest, _group_size(group_size, calibration), dishonest_weight, absent, sampling_rate, price,
        slash_ppm, slash_per_fee, view,
    )  # fmt: skip
    if audits is not None:
        _check_left_out(threshold, slash_threshold, images, source, view, calibration, cheats)
        return terms.audited(audits, slash_per_fee).expected(s)
    found = [
        terms.expected(s, one) for one in counterfeits(threshold, slash_threshold, images, source, calibration, cheats)
    ]
    best = max(found, key=lambda one: one.gain)
    return replace(best, cheats={one.cheat: one.gain for one in found if one.cheat is not None})


def _check_left_out(
    threshold: Threshold,
    slash_threshold: int | None,
    images: int | None,
    source: Source | None,
    view: View,
    calibration: Calibration | None,
    cheats: Sequence[str] | None,
) -> None:
    """Refuse what audits have no use for."""
    given = {
        "threshold": threshold not in ("default", None), "slash_threshold": slash_threshold is not None,
        "images": images is not None, "source": source is not None, "view": view != "drawn",
        "calibration": calibration is not None, "cheats": cheats is not None,
    }  # fmt: skip
    for name, there in given.items():
        if there:
            raise InvalidInputError(f"{name} and audits are both given, but audits compare no hashes; leave {name} out")


def _group_size(given: int | None, calibration: Calibration | None) -> int:
    """The members of a group: what is given, or what a calibration was made for, which it must fit."""
    if not isinstance(calibration, Calibration):
        return DEFAULT_GROUP_SIZE if given is None else given
    calibration.check_fits(group_size=given)
    return calibration.group_size


class _Terms:
    """The checked arguments that are the same for every counterfeit."""

    def __init__(
        self,
        honest: int,
        dishonest: int,
        group_size: int,
        dishonest_weight: Number,
        absent: Number,
        sampling_rate: Number,
        price: Number,
        slash_ppm: int,
        slash_per_fee: int | None,
        view: View,
    ) -> None:
        self.r = exact(sampling_rate, "sampling_rate")
        if not 0 < self.r <= 1:
            raise InvalidInputError(
                f"sampling_rate is {shorten(sampling_rate)}; expected a share of tasks above 0, at most 1"
            )
        self.k = exact(price, "price")
        away = self.absent = exact(absent, "absent")
        if away > 1:
            raise InvalidInputError(f"absent is {shorten(absent)}; expected a chance from 0 to 1")
        self.slashed = Fraction(check_integer(slash_ppm, "slash_ppm", 0, PPM), PPM)
        unbounded = slash_per_fee is None
        self.bound = None if unbounded else check_integer(slash_per_fee, "slash_per_fee", 0, MOST_PER_FEE) * self.k
        self.quorums = quorums(honest, dishonest, group_size, dishonest_weight, away, view)
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
        }

    def audited(self, audits: AuditTerms, slash_per_fee: int | None) -> Audited:
        """The same for one node that is audited."""
        check_type(audits, AuditTerms, "audits", "AuditTerms")
        return Audited(
            audits, rate=self.r, price=self.k, part=self.slashed, slash_per_fee=slash_per_fee, cheats=self.quorums,
            absent=self.absent, given=self.given,
        )  # fmt: skip

    def required(self, counterfeit: Counterfeit) -> RequiredStake:
        """The stake at which a counterfeit gains nothing."""
        odds = _Odds(self, counterfeit)
        slash = odds.required_slash()
        return RequiredStake(
            s=_float_or_infinite(self.stake_for(slash), "the required stake"),
            slash=_float_or_infinite(slash, "what a slash must take"),
            stake_per_fee=(per_fee := self.per_fee(slash)),
            slash_per_fee=per_fee,
            cost=as_float(self.k * (1 + self.r * (self.given["group_size"] - 1)), "the cost of a task"),
            **odds.parts(),
        )

    def expected(self, stake: Fraction, counterfeit: Counterfeit) -> ExpectedGain:
        """What a counterfeit is expected to gain with a stake."""
        odds = _Odds(self, counterfeit)
        slash = self.slash_of(stake)
        return ExpectedGain(
            s=as_float(stake, "the stake"), slash=as_float(slash, "the slash"), gain=odds.gain(slash), **odds.parts()
        )

    def stake_for(self, slash: Fraction | None) -> Fraction | None:
        """The least stake of which a slash takes this much; None is infinite."""
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


class _Odds:
    """What becomes of one counterfeit, as fractions; None is infinite."""

    def __init__(self, terms: _Terms, counterfeit: Counterfeit) -> None:
        self.terms = terms
        self.counterfeit = counterfeit
        self.e = terms.quorums.p + terms.quorums.b * counterfeit.f
        self.x = terms.quorums.c * counterfeit.slashed

    def parts(self) -> dict[str, Any]:
        one = self.counterfeit
        return {
            **self.terms.given,
            "threshold": one.threshold,
            "slash_threshold": one.slash_threshold,
            "images": one.images,
            "source": one.source,
            "cheat": one.cheat,
            **{name: float(value) for name, value in vars(self.terms.quorums).items()},
            "f": float(one.f),
            "e": float(self.e),
            "x": float(self.x),
        }

    def required_slash(self) -> Fraction | None:
        """What a slash must take so that a counterfeit gains nothing."""
        k, r = self.terms.k, self.terms.r
        unpunished = k * (1 - r + r * self.e)
        if not unpunished:
            return Fraction(0)
        return unpunished / (r * self.x) if self.x else None

    def gain(self, slash: Fraction) -> float:
        k, r = self.terms.k, self.terms.r
        return as_float((1 - r) * k + r * (self.e * k - self.x * slash), "the expected gain")


def _float_or_infinite(value: Fraction | None, what: str) -> float:
    return math.inf if value is None else as_float(value, what)
