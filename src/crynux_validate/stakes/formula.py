"""The stake that makes a counterfeit a loss, and what a counterfeit is expected to gain."""

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
    """Return the stake at which a counterfeit is expected to gain nothing, and the policy that goes with it.

    A coalition that sees that it holds a quorum cheats at no risk, whatever its stake: that is bounded by the pool, and
    by computing a share of the tasks again, outside the ledger, which takes no task twice (L9).

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
        The chance that an honest member hands in nothing, each for itself; 0 to 1. Colluders are never absent.
    threshold
        1 to 64 (`false_accept_rate`); None for text, where nothing agrees by chance. ``default`` is 16, or with a
        calibration both thresholds that it recommends.
    slash_threshold
        As of `CentreRule`: a counterfeit between the two is ``BORDERLINE``, not paid and not slashed.
    images
        Pictures of a task, 1 to 16; left out, 1, or what the calibration was made for.
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
        Of a blind counterfeit's chance of agreement; ``photographs`` if left out
        (`false_accept_rate`). Not with a calibration.
    view
        Of the chance of collusion. ``network`` with `threshold` None is the live network's formula.
    calibration
        Takes the chances of the cheats that it measured: f is the upper end of the interval of how often one is
        accepted, and a group without a quorum of colluders slashes it as often as the lower end says.
    cheats
        Which of the calibration's cheats; all if left out.
    audits
        One node works, and is audited at the sampling rate: the result is an `AuditedStake`. The pool is then that of
        groups that decide about an accused node. Nothing compares hashes, so that `threshold`, `slash_threshold`,
        `images`, `source`, `view`, `calibration` and `cheats` must be left out.

    Returns
    -------
    RequiredStake
        With its parts; with a calibration those of the cheat that needs the most, and what each needs in `cheats`.
        ``s`` is infinite where a counterfeit is never slashed, as with fewer honest nodes than a quorum, and where
        `slash_per_fee` lets a slash take too little. The result's own `stake_per_fee` and `slash_per_fee` are what a
        policy should at least have, whatever `slash_per_fee` was given.

    Raises
    ------
    InvalidInputError
        For arguments outside their ranges, a calibration that was made for something else, recommends no thresholds
        where none are given, or has not measured a cheat, and where the stake exceeds the range of a float64.
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
    """Return what a counterfeit is expected to gain: E = (1-r) k + r (e k - x l), where a slash takes l.

    With `audits` it is (1 - r d (1-e)) w - r d x l - (1-m) k: what the cheat is paid, less what a slash takes, less
    what the work is worth that it does. The fee w leaves an honest node with the same stake the price.

    Parameters
    ----------
    stake
        What the cheating node has at stake, at least 0, in the unit of the price. A slash takes the lesser of
        `stake` x `slash_ppm` / 10^6 and `slash_per_fee` x `price` (with `audits` the fee).
    honest, dishonest, group_size, dishonest_weight, absent, threshold, slash_threshold, images, sampling_rate, price
        As of `required_stake`.
    slash_ppm, slash_per_fee, source, view, calibration, cheats, audits
        As of `required_stake`.

    Returns
    -------
    ExpectedGain
        With its parts; with a calibration those of the cheat that gains the most, and what each gains in `cheats`.
        With `audits` an `AuditedGain`, whose ``gain`` and ``fee`` are infinite where no fee leaves an honest node the
        price.

    Raises
    ------
    InvalidInputError
        As of `required_stake`.
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
