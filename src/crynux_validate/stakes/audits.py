"""Audits in place of groups: one node works, and an auditor does a part of the work again (docs/audit-or-group.md).

A task is audited at the sampling rate r, after the answer is bound. An audit accuses a cheat with the chance d, and an
honest node with the chance a. An accused cheat is slashed with the chance x and paid after all with the chance e; an
honest node that is accused is slashed with the chance y and paid after all with the chance v. The fee w is what leaves
an honest node k in spite of false alarms. A cheat gets the same fee, and saves a share m of the work, which is worth k
at most. A slash of l deters it where it keeps no more than that work::

    (1 - r a (1 - v)) w - r a y l = k            what an honest node keeps
    (1 - r d (1 - e)) w - r d x l = (1 - m) k    what a cheat keeps, at the least l that deters

The auditor alone slashes at once: e = 0, x = 1, y = 1, v = 0. Where a cheat saves all, m = 1, that is
w = k d / (d - a) and l = k (1 - r d) / (r (d - a)).

Or a group decides about the accused. Its members audit again, or do the whole work: of an honest quorum g is the
chance that it accuses a cheat as well, h that it accuses an honest node as well. With the chances of `groups`
e = p + b (1 - g) and x = c g, as if the cheat was one of the members; of groups of others than an honest node
y = p + b h and v = c (1 - h). Of others than the cheat, colluders are a quorum less often: the first choice is to the
disadvantage of audits.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, get_args

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.stakes.groups import Quorums, quorums_beside
from crynux_validate.stakes.numbers import Number, as_float, exact
from crynux_validate.stakes.odds import MOST_PER_FEE, RequiredStake

Then = Literal["slash", "group"]
"""What follows when an audit accuses a node: ``slash`` at once, or a ``group`` decides."""

AFTER_AUDIT: Final[tuple[Then, ...]] = get_args(Then)

_CHANCES: Final = ("detection_rate", "false_alarms", "confirmed", "confirmed_falsely")

MAX_STEPS: Final = 10_000

_MOST_BITS: Final = 20_000
"""Of a fraction that is computed exactly."""

AUDITS_PRESUPPOSE: Final = (
    "the node binds its answer, and all that an audit opens, before anybody knows whether it is audited, and where",
    "who does not open what was drawn is treated as a cheat that was found",
    "the auditor is honest: it says what it finds, and finds nothing for others",
    "somebody pays the auditor for every audit, and not out of slashes: where nobody cheats, there are none",
    "the detection rate is that of the cheat in question; another cheat has another one",
)

ALONE: Final = Quorums(Fraction(0), Fraction(1), Fraction(1))
"""The auditor as a group of one."""


@dataclass(frozen=True, kw_only=True)
class AuditTerms:
    """How answers are audited, and what follows.

    Give `detection`, or `steps` and `cheated`.

    Parameters
    ----------
    false_alarms
        The chance that an audit, all of its steps together, accuses an honest node; 0 to 1. Take the upper bound: where
        none of n audits did, that is 3/n at 95%.
    detection
        The chance that an audit accuses the cheat in question, 0 to 1. Take the lower bound.
    steps, cheated
        An audit draws this many steps, 1 to 10,000, and the cheat spares itself this share of them, 0 to 1. It is found
        with 1 - (1 - `cheated`)^`steps`, if each cheated step that is drawn shows; where only a part of them does, give
        the product of the two. Steps that are drawn without repetition find a little more.
    cost
        Of an audit, as a share of the price of the task; 1 is the whole work again.
    then
        ``slash``: the auditor alone decides. ``group``: the members of a group decide, by audits of their own or by
        doing the whole work.
    confirms
        With ``group``, 0 to 1: the chance that an honest quorum accuses a cheat that the auditor accused. By default
        the detection rate, as if nothing was known of the first audit.
    confirms_falsely
        With ``group``, 0 to 1: the chance that an honest quorum accuses an honest node that the auditor accused. By
        default 1: what misled the auditor misleads the members.
    saves
        The share of the price that the cheat saves, above 0, at most 1. A cheat that spares itself a share of the steps
        saves no more than that share, if it does the rest of the work.

    Raises
    ------
    InvalidInputError
        For numbers outside their ranges, and for what does not belong together.
    """

    false_alarms: Number
    detection: Number | None = None
    steps: int | None = None
    cheated: Number | None = None
    cost: Number = 1
    then: Then = "slash"
    confirms: Number | None = None
    confirms_falsely: Number | None = None
    saves: Number = 1

    def __post_init__(self) -> None:
        _chance(self.false_alarms, "false_alarms")
        if (self.detection is None) == (self.steps is None) or (self.steps is None) != (self.cheated is None):
            given = {name: getattr(self, name) for name in ("detection", "steps", "cheated")}
            words = ", ".join(f"{name}={shorten(value)}" for name, value in given.items() if value is not None)
            raise InvalidInputError(f"give detection alone, or steps and cheated; there is {words or 'none of them'}")
        if self.detection is not None:
            _chance(self.detection, "detection")
        else:
            if type(self.steps) is not int or not 1 <= self.steps <= MAX_STEPS:
                raise InvalidInputError(f"steps is {shorten(self.steps)}; expected an integer from 1 to {MAX_STEPS}")
            _chance(self.cheated, "cheated")
        exact(self.cost, "cost")
        if not _chance(self.saves, "saves"):
            raise InvalidInputError("saves is 0; expected what the cheat saves of the price, above 0, at most 1")
        if self.then not in AFTER_AUDIT:
            raise InvalidInputError(f"then is {shorten(self.then)}; expected one of {', '.join(AFTER_AUDIT)}")
        for name in ("confirms", "confirms_falsely"):
            value = getattr(self, name)
            if value is not None:
                _chance(value, name)
                if self.then != "group":
                    raise InvalidInputError(f"{name} is {shorten(value)}, but no group decides; give then='group'")

    @property
    def detection_rate(self) -> Fraction:
        """d, the chance that an audit accuses a cheat."""
        if self.detection is not None:
            return exact(self.detection, "detection")
        assert self.steps is not None and self.cheated is not None  # noqa: PT018,S101 - __post_init__ looked
        return 1 - _power(1 - exact(self.cheated, "cheated"), self.steps)

    @property
    def confirmed(self) -> Number:
        """g, the chance that whoever decides accuses a cheat that the auditor accused."""
        if self.then == "slash":
            return 1
        return self.detection_rate if self.confirms is None else self.confirms

    @property
    def confirmed_falsely(self) -> Number:
        """h, the chance that whoever decides accuses an honest node that the auditor accused."""
        return 1 if self.confirms_falsely is None else self.confirms_falsely

    def to_dict(self) -> dict[str, Any]:
        """Return the terms for JSON."""
        return {name: float(value) if isinstance(value, Fraction) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Fates:
    """What becomes of a cheat and of an honest node, as chances; the letters are those of this module."""

    r: Fraction
    d: Fraction
    a: Fraction
    e: Fraction
    x: Fraction
    y: Fraction
    v: Fraction
    quorums: Quorums
    f: Fraction

    @property
    def paid(self) -> Fraction:
        """The chance that a cheat is paid."""
        return 1 - self.r * self.d * (1 - self.e)

    @property
    def slashed(self) -> Fraction:
        """The chance that a cheat is slashed."""
        return self.r * self.d * self.x

    @property
    def honest_paid(self) -> Fraction:
        """The chance that an honest node is paid."""
        return 1 - self.r * self.a * (1 - self.v)

    @property
    def honest_slashed(self) -> Fraction:
        """The chance that an honest node is slashed."""
        return self.r * self.a * self.y

    def slash_and_fee(self, price: Fraction, saves: Fraction) -> tuple[Fraction | None, Fraction | None]:
        """Return the least slash that deters, and the fee that leaves an honest node the price beside it.

        None, None where nothing does: the cheat is never slashed, or an honest node fares no better than the cheat.
        """
        if not price:
            return price, price
        kept = self.paid - (1 - saves) * self.honest_paid
        if kept <= 0 < self.honest_paid:  # what it is not paid deters the cheat
            return Fraction(0), price / self.honest_paid
        apart = self.slashed * self.honest_paid - self.honest_slashed * self.paid
        if apart <= 0:
            return None, None
        return price * kept / apart, price * (self.slashed - (1 - saves) * self.honest_slashed) / apart


def fates(terms: AuditTerms, rate: Fraction, cheats: Quorums, nodes: Quorums) -> Fates:
    """Return what becomes of nodes of which this share is audited.

    Parameters
    ----------
    terms
        How they are audited.
    rate
        The share of tasks that are audited.
    cheats, nodes
        The quorums of groups that have a cheat among their members, and of groups of others than an honest node; each
        is `ALONE` where no group decides.
    """
    d, a, again, falsely = (exact(getattr(terms, name), name) for name in _CHANCES)
    return Fates(
        rate, d, a, e=cheats.p + cheats.b * (1 - again), x=cheats.c * again,
        y=nodes.p + nodes.b * falsely, v=nodes.c * (1 - falsely), quorums=cheats, f=1 - again,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AuditedStake(RequiredStake):
    """The stake at which a cheat gains nothing where one node works and others audit it.

    ``sampling_rate`` is the share of tasks that are audited; ``slash``, ``bound``, ``stake_per_fee`` and
    ``slash_per_fee`` are of the one node, whose share of the fee is all of it, ``fee``. `p`, `b`, `c`, `f`, `e` and `x`
    are of a cheat that is accused. All of ``s``, ``slash``, ``fee`` and ``cost`` are infinite where no stake helps.

    Parameters
    ----------
    audits
        The terms.
    d, a
        The chances that an audit accuses a cheat, and an honest node.
    y, v
        The chances that an honest node that is accused is slashed, and paid.
    fee
        What is paid for a task, so that an honest node earns the price in spite of false alarms.
    """

    audits: AuditTerms
    d: float
    a: float
    y: float
    v: float
    fee: float

    @property
    def presupposes(self) -> str:
        """What all of this rests on."""
        return "; ".join(AUDITS_PRESUPPOSE)

    @property
    def group(self) -> str:
        """Who decides, in words."""
        if self.audits.then == "slash":
            return "one node works, and its auditor alone decides"
        return f"one node works; about one that is accused a group decides: {super().group}"

    def to_dict(self) -> dict[str, Any]:
        """Return every part for JSON, as `RequiredStake` does."""
        return super().to_dict() | {"audits": self.audits.to_dict()}

    def __str__(self) -> str:
        terms = self.audits
        found = "an audit accuses the cheat" + (
            "" if terms.steps is None else f": 1 - (1-q)^{terms.steps}, q = {float(terms.cheated or 0):g} of its steps"
        )
        rows = [
            ("d", self.d, found),
            ("a", self.a, "an audit accuses an honest node; the upper bound counts"),
        ]
        if terms.then == "group":
            rows += [
                ("p", self.p, f"colluders are {self.group_size // 2 + 1} or more of a group with an accused cheat"),
                ("g", 1 - self.f, "an honest quorum accuses the cheat as well"),
                (
                    "h",
                    float(terms.confirmed_falsely),
                    "an honest quorum accuses an honest node that is accused as well",
                ),
            ]
        rows += [
            ("e", self.e, "a cheat that is accused is paid after all"),
            ("x", self.x, "it is slashed"),
            ("v", self.v, "an honest node that is accused is paid after all"),
            ("y", self.y, "it is slashed"),
            ("r", self.sampling_rate, "the share of tasks that are audited"),
            ("k", self.price, "the price of a task: what an honest node is to earn"),
            ("m", float(terms.saves), "the share of it that the cheat saves"),
        ]
        cost: list[str] = []
        if self.slash < math.inf:
            rows += [("w", self.fee, "the fee of a task, which leaves an honest node k in spite of false alarms")]
            cost = [f"a task costs {self.cost:.6g}: w, audits at {float(terms.cost):g} k, groups for false alarms"]
            cost += [self.what_a_slash_takes]
        lines = [f"{symbol}  {value:<10.5g}  {words}" for symbol, value, words in rows]
        lines += [self.group, *cost, "this presupposes:", *(f"- {each}" for each in AUDITS_PRESUPPOSE), self.policy]
        return "\n".join([f"required stake {self.amount}", *(f"  {line}" for line in lines)])

    @property
    def amount(self) -> str:
        """The stake, in words where it is infinite."""
        if self.slash < math.inf:
            return super().amount
        if not self.d * self.x * self.sampling_rate:
            return "infinite: the cheat is never slashed, so that no stake deters it"
        return "infinite: an honest node that is audited fares no better than the cheat, whatever the stake"


def audited_stake(
    terms: AuditTerms,
    *,
    rate: Fraction,
    price: Fraction,
    part: Fraction,
    slash_per_fee: int | None,
    cheats: Quorums,
    absent: Fraction,
    given: Mapping[str, Any],
) -> AuditedStake:
    """Return the stake at which a cheat gains nothing, with its parts.

    Parameters
    ----------
    terms
        How answers are audited.
    rate, price
        The share of tasks that are audited, and what an honest node is to earn of one.
    part
        Which part of a stake a slash takes, 0 to 1.
    slash_per_fee
        A slash takes at most this many times the fee; None for no bound.
    cheats
        The quorums of groups that have a cheat among their members.
    absent
        The chance that an honest member hands in nothing.
    given
        The other parts of `Odds`.
    """
    nodes = ALONE
    if terms.then == "slash":
        cheats = ALONE
    else:
        weight = exact(given["dishonest_weight"], "dishonest_weight")
        nodes = quorums_beside(given["honest"], given["dishonest"], given["group_size"], weight, absent)
    found = fates(terms, rate, cheats, nodes)
    slash, fee = found.slash_and_fee(price, exact(terms.saves, "saves"))
    stake, per_fee, cost = slash, math.inf, None
    if slash is not None and fee is not None:
        groups = found.a * given["group_size"] if terms.then == "group" else 0
        cost = fee + rate * price * (exact(terms.cost, "cost") + groups)
        per_fee = needed if (needed := math.ceil(slash / fee) if slash else 0) <= MOST_PER_FEE else math.inf
        if slash:
            bounded = slash_per_fee is not None and slash > slash_per_fee * fee
            stake = None if bounded or not part else slash / part
    values = {"s": stake, "slash": slash, "fee": fee, "cost": cost}
    nothing = dict.fromkeys(("threshold", "slash_threshold", "source", "cheat"))
    parts: dict[str, Any] = {**given, **nothing, "images": 1, "stake_per_fee": per_fee, "slash_per_fee": per_fee}
    parts |= {name: math.inf if value is None else as_float(value, name) for name, value in values.items()}
    parts |= {name: float(getattr(found, name)) for name in ("d", "a", "e", "x", "y", "v", "f")}
    parts |= {name: float(value) for name, value in vars(found.quorums).items()}
    if slash_per_fee is not None:
        parts["bound"] = slash_per_fee and slash_per_fee * parts["fee"]
    return AuditedStake(audits=terms, **parts)


def _power(base: Fraction, exponent: int) -> Fraction:
    """Return the power of a chance, exactly where that is no long number, and rounded up to 100 decimals otherwise."""
    if base.denominator.bit_length() * exponent <= _MOST_BITS:
        return base**exponent
    one = 10**100
    found, square = one, -(-base.numerator * one // base.denominator)
    for bit in reversed(bin(exponent)[2:]):
        if bit == "1":
            found = -(-found * square // one)
        square = -(-square * square // one)
    return Fraction(found, one)


def _chance(value: object, what: str) -> Fraction:
    found = exact(value, what)  # type: ignore[arg-type]
    if found > 1:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected a chance from 0 to 1")
    return found
