"""From a threshold to the odds of a counterfeit to the stake that makes it a loss (protocol, "Stake").

Groups of three are drawn from a pool of h honest and d dishonest nodes, who collude. A task is validated by a group at
the sampling rate r; otherwise its one node is believed. Somebody who hands in a counterfeit saves the price k of the
task, and loses the stake s where it is slashed::

    E = (1 - r) k + r (e k - x s)          what a counterfeit is expected to gain
    e = p + (1 - p) f                      it escapes: a colluder vouches for it, or it agrees by chance
    s = k (1 - r + r e) / (r x)            the stake at which E is zero

All arithmetic is exact; floats are made at the end. A blank picture in a task with a safety checker is another
counterfeit than these: it is never slashed (protocol J2, docs/stakes.md).
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import comb
from typing import Any, Final, Literal

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.answers import check_threshold
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import DEFAULT_THRESHOLD, CentreRule
from crynux_validate.tasks import MAX_IMAGES

GROUP_SIZE: Final = 3

Number = int | float | Fraction
"""A float counts as it is written: 0.1 is a tenth."""

Source = Literal["measured", "binomial"]
"""Where the chance of an agreement between unrelated pictures comes from.

``measured``: 17.9 million pairs of 5,991 synthetic images, with ``phash/1``. ``binomial``: 64 tosses of a fair coin,
exact. Pictures are no coins: at 12 the measured chance is five times the binomial one.
"""

View = Literal["drawn", "network"]
"""Whose chance of collusion: ``drawn``, that of a dishonest node that is in a group already; ``network``, the share of
all groups with two or three colluders, as the live network counts."""

SOURCES: Final[tuple[Source, ...]] = ("measured", "binomial")
VIEWS: Final[tuple[View, ...]] = ("drawn", "network")

MEASURED: Final = {
    5: Fraction(0),
    8: Fraction(0),
    10: Fraction("6e-8"),
    12: Fraction("2.8e-7"),
    16: Fraction("2.2e-5"),
    20: Fraction("9.5e-4"),
    24: Fraction("1.76e-2"),
}
"""The share of pairs of unrelated pictures with a distance below each threshold (docs/measurements.md)."""

SEALED_JOBS: Final = (
    "a sampling rate below 1 deters only where nodes cannot tell a validated task from another: jobs must be sealed"
    " (S1); without that the rate is 1"
)


@dataclass(frozen=True, kw_only=True)
class Odds:
    """What becomes of a counterfeit, with all that it depends on.

    Parameters
    ----------
    honest, dishonest
        Nodes of the pool that can be drawn together; for text these are one class, not the network.
    sampling_rate
        The share r of tasks that a group validates; above 0, at most 1.
    price
        What a counterfeit saves, k, in the unit of the stake.
    view
        Whose chance `p` is.
    threshold, slash_threshold, images, source
        What `f` was taken from; threshold, slash threshold and source are None for text.
    p
        Chance of enough colluders in the group.
    f
        Chance that a counterfeit agrees with an answer that can make it valid.
    e
        Chance that it escapes: p + (1 - p) f.
    x
        Chance that it is slashed: at most 1 - e; the rest is ``BORDERLINE``.
    """

    honest: int
    dishonest: int
    sampling_rate: float
    price: float
    view: View
    threshold: int | None
    slash_threshold: int | None
    images: int
    source: Source | None
    p: float
    f: float
    e: float
    x: float

    @property
    def presupposes(self) -> str | None:
        """What a sampling rate below 1 rests on (S1); None at a rate of 1."""
        return SEALED_JOBS if self.sampling_rate < 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Return every part for JSON; an infinite number is the string ``infinity``, since JSON has none."""
        parts = vars(self) | {"presupposes": self.presupposes}
        return {name: "infinity" if value == math.inf else value for name, value in parts.items()}

    def __str__(self) -> str:
        colluders = "a colluder among the two others" if self.view == "drawn" else "two or three colluders in a group"
        if self.threshold is None:
            chance = "text never agrees by chance"
        else:
            pictures = "the picture" if self.images == 1 else f"each of {self.images} independent pictures"
            chance = f"it agrees by chance: {pictures} below {self.threshold}, {self.source}"
        slashed = "it is slashed" + (f": {self.slash_threshold} or more away" if self.slash_threshold else "")
        rows = [
            ("p", self.p, f"{colluders}; the pool has {self.honest} honest and {self.dishonest} dishonest nodes"),
            ("f", self.f, chance),
            ("e", self.e, "a counterfeit escapes: p + (1-p)f"),
            ("x", self.x, slashed),
            ("r", self.sampling_rate, "the share of tasks that a group validates"),
            ("k", self.price, "the price of a task"),
        ]
        lines = [f"  {symbol}  {value:<10.5g}  {words}" for symbol, value, words in rows]
        return "\n".join([*lines, *([f"  {self.presupposes}"] if self.presupposes else [])])


@dataclass(frozen=True, kw_only=True)
class RequiredStake(Odds):
    """The stake `s` at which a counterfeit gains nothing; infinite where no stake helps."""

    s: float

    def __float__(self) -> float:
        return self.s

    def __str__(self) -> str:
        result = "infinite: no stake makes a counterfeit a loss" if self.s == math.inf else f"{self.s:.6g}"
        return f"required stake {result}\n{super().__str__()}"


@dataclass(frozen=True, kw_only=True)
class ExpectedGain(Odds):
    """What a counterfeit is expected to gain with a stake of `s`: `gain`, negative where it is a loss."""

    s: float
    gain: float

    def __float__(self) -> float:
        return self.gain

    def __str__(self) -> str:
        return f"expected gain {self.gain:.6g} with a stake of {self.s:.6g}\n{super().__str__()}"


def false_accept_rate(threshold: int, *, images: int = 1, source: Source = "measured") -> float:
    """Return the chance that unrelated pictures agree, the f of a blind counterfeit.

    It says nothing of a counterfeit that is made from the task: the same picture at 8 pixels, scaled up, agreed at 24
    in every case that was measured. There f is near 1, and no stake helps.

    Parameters
    ----------
    threshold
        1 to 64; with ``measured`` 1 to 24. Between two measured thresholds the higher one's rate is returned, which is
        an upper bound; below 10 none of 17.9 million pairs agreed, and 0 is returned.
    images
        1 to 16. All of a task's pictures must agree, so that the rate is taken to this power: right only for
        counterfeits that are independent of one another.
    source
        ``measured`` or ``binomial``.

    Raises
    ------
    InvalidInputError
        For a threshold that is out of range or was not measured, and an unknown source.
    """
    return float(_false_accept_rate(threshold, images, source))


def collusion_probability(honest: int, dishonest: int, *, view: View = "drawn") -> float:
    """Return the chance p that a group of three holds enough colluders.

    Parameters
    ----------
    honest, dishonest
        Nodes of the pool that can be drawn together, three or more.
    view
        ``drawn``: a dishonest node is in the group already, and needs one more: 1 - C(h,2) / C(h+d-1,2). ``network``:
        the share of all groups with two or three colluders, (C(d,2) h + C(d,3)) / C(h+d,3), as the live network
        counts. Since a node decides when it knows that it is in a group, the first is what deters it.

    Raises
    ------
    InvalidInputError
        For numbers of nodes that are no integers, negative, or too few for a group; with ``drawn`` also without a
        dishonest node.
    """
    return float(_collusion_probability(honest, dishonest, view))


def required_stake(
    honest: int,
    dishonest: int,
    *,
    threshold: int | None = DEFAULT_THRESHOLD,
    slash_threshold: int | None = None,
    images: int = 1,
    sampling_rate: Number = 1,
    price: Number = 1,
    source: Source = "measured",
    view: View = "drawn",
) -> RequiredStake:
    """Return the stake at which a counterfeit is expected to gain nothing.

    A coalition that sees that it holds a quorum cheats at no risk, whatever its stake: that is bounded by the pool, and
    by running a share of the groups again with other members.

    Parameters
    ----------
    honest, dishonest
        Nodes of the pool that can be drawn together; for text one class, not the network.
    threshold
        1 to 64 (`false_accept_rate`); None for text, where nothing agrees by chance.
    slash_threshold
        As of `CentreRule`: a counterfeit between the two is ``BORDERLINE``, not paid and not slashed.
    images
        Pictures of a task, 1 to 16.
    sampling_rate
        The share of tasks that a group validates, above 0, at most 1; below 1 it presupposes sealed jobs (S1).
    price
        What a counterfeit saves, at least 0; the stake has its unit. With 1 it is the factor for a price.
    source
        Of the chance of agreement.
    view
        Of the chance of collusion. ``network`` with `threshold` None is the live network's formula.

    Returns
    -------
    RequiredStake
        With its parts; ``s`` is infinite where a counterfeit is never slashed, as with fewer than two honest nodes.

    Raises
    ------
    InvalidInputError
        For arguments outside their ranges, and where the stake exceeds the range of a float64.
    """
    odds = _Exact(honest, dishonest, threshold, slash_threshold, images, sampling_rate, price, source, view)
    return RequiredStake(s=odds.required(), **odds.parts())


def expected_gain(
    stake: Number,
    honest: int,
    dishonest: int,
    *,
    threshold: int | None = DEFAULT_THRESHOLD,
    slash_threshold: int | None = None,
    images: int = 1,
    sampling_rate: Number = 1,
    price: Number = 1,
    source: Source = "measured",
    view: View = "drawn",
) -> ExpectedGain:
    """Return what a counterfeit is expected to gain: E = (1-r) k + r (e k - x s).

    Parameters
    ----------
    stake
        What a slash takes, at least 0, in the unit of the price.
    honest, dishonest, threshold, slash_threshold, images, sampling_rate, price, source, view
        As of `required_stake`.

    Raises
    ------
    InvalidInputError
        For arguments outside their ranges, and where the gain exceeds the range of a float64.
    """
    s = _exact(stake, "stake")
    odds = _Exact(honest, dishonest, threshold, slash_threshold, images, sampling_rate, price, source, view)
    return ExpectedGain(s=_float(s, "the stake"), gain=odds.gain(s), **odds.parts())


class _Exact:
    """The checked arguments, and the parts as fractions."""

    def __init__(
        self,
        honest: int,
        dishonest: int,
        threshold: int | None,
        slash_threshold: int | None,
        images: int,
        sampling_rate: Number,
        price: Number,
        source: Source,
        view: View,
    ) -> None:
        self.r = _exact(sampling_rate, "sampling_rate")
        if not 0 < self.r <= 1:
            raise InvalidInputError(
                f"sampling_rate is {shorten(sampling_rate)}; expected a share of tasks above 0, at most 1 (who is never"
                " compared is never slashed)"
            )
        self.k = _exact(price, "price")
        self.p = _collusion_probability(honest, dishonest, view)
        if threshold is None:
            if slash_threshold is not None:
                raise InvalidInputError(
                    f"slash_threshold is {shorten(slash_threshold)} without a threshold; text needs neither"
                )
            _check_images(images)
            self.f = near = Fraction(0)
            slashes_from = None
        else:
            slashes_from = CentreRule(threshold, slash_threshold).slashes_from
            self.f = _false_accept_rate(threshold, images, source)
            near = _false_accept_rate(slashes_from, images, source)
        self.e = self.p + (1 - self.p) * self.f
        self.x = (1 - self.p) * (1 - near)
        self.given: dict[str, Any] = {
            "honest": honest,
            "dishonest": dishonest,
            "view": view,
            "threshold": threshold,
            "slash_threshold": slashes_from,
            "images": images,
            "source": None if threshold is None else source,
        }

    def required(self) -> float:
        unpunished = self.k * (1 - self.r + self.r * self.e)
        if not unpunished:
            return 0.0
        return math.inf if not self.x else _float(unpunished / (self.r * self.x), "the required stake")

    def gain(self, s: Fraction) -> float:
        return _float((1 - self.r) * self.k + self.r * (self.e * self.k - self.x * s), "the expected gain")

    def parts(self) -> dict[str, Any]:
        return self.given | {
            "sampling_rate": _float(self.r, "sampling_rate"),
            "price": _float(self.k, "price"),
            **{name: float(getattr(self, name)) for name in "pfex"},
        }


@cache
def _binomial_below(threshold: int) -> Fraction:
    """P(X < threshold) for X heads of 64 tosses of a fair coin."""
    return Fraction(sum(comb(HASH_BITS, bits) for bits in range(threshold)), 1 << HASH_BITS)


def _false_accept_rate(threshold: int, images: int, source: Source) -> Fraction:
    check_threshold(threshold, "threshold")
    _check_images(images)
    if source not in SOURCES:
        raise InvalidInputError(f"source is {shorten(source)}; expected one of {', '.join(SOURCES)}")
    if source == "binomial":
        return _binomial_below(threshold) ** images
    at = next((measured for measured in MEASURED if threshold <= measured), None)
    if at is None:
        raise InvalidInputError(
            f"no chance of agreement was measured at {threshold}, only up to {max(MEASURED)}; take source='binomial'"
        )
    return MEASURED[at] ** images


def _collusion_probability(honest: int, dishonest: int, view: View) -> Fraction:
    for name, value in (("honest", honest), ("dishonest", dishonest)):
        if type(value) is not int or value < 0:
            raise InvalidInputError(f"{name} is {shorten(value)}; expected a number of nodes, at least 0")
    if view not in VIEWS:
        raise InvalidInputError(f"view is {shorten(view)}; expected one of {', '.join(VIEWS)}")
    nodes = honest + dishonest
    if nodes < GROUP_SIZE:
        raise InvalidInputError(f"honest and dishonest are {nodes} nodes together; a group needs {GROUP_SIZE}")
    if view == "network":
        return Fraction(comb(dishonest, 2) * honest + comb(dishonest, 3), comb(nodes, 3))
    if not dishonest:
        raise InvalidInputError(
            "dishonest is 0; the node that would cheat is one of them: give at least 1, or take view='network'"
        )
    return 1 - Fraction(comb(honest, 2), comb(nodes - 1, 2))


def _check_images(images: object) -> None:
    if type(images) is not int or not 1 <= images <= MAX_IMAGES:
        raise InvalidInputError(f"images is {shorten(images)}; expected an integer from 1 to {MAX_IMAGES}")


def _exact(value: Number, what: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction) or not _is_finite(value) or value < 0:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected a finite number, at least 0")
    return Fraction(str(float(value))) if isinstance(value, float) else Fraction(value)


def _is_finite(value: Number) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _float(value: Fraction, what: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise InvalidInputError(f"{what} is beyond the range of a float64; give other units or rates") from error
