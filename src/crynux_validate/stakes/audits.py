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

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, get_args

from crynux_validate.encoding import check_integer, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.stakes.groups import Quorums
from crynux_validate.stakes.numbers import Number, exact

Then = Literal["slash", "group"]
"""What follows when an audit accuses a node: ``slash`` at once, or a ``group`` decides."""

AFTER_AUDIT: Final[tuple[Then, ...]] = get_args(Then)

_CHANCES: Final = ("detection_rate", "false_alarms", "confirmed", "confirmed_falsely")

MAX_STEPS: Final = 10_000

_MOST_BITS: Final = 20_000
"""Of a fraction that is computed exactly."""

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
            raise InvalidInputError(f"expected detection alone, or steps and cheated; found {words or 'none of them'}")
        if self.detection is not None:
            _chance(self.detection, "detection")
        else:
            check_integer(self.steps, "steps", 1, MAX_STEPS)
            _chance(self.cheated, "cheated")
        exact(self.cost, "cost")
        if not _chance(self.saves, "saves"):
            raise InvalidInputError(
                "saves is 0; expected the share of the price that the cheat saves, above 0 and at most 1"
            )
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

    def fee_beside(self, price: Fraction, slash: Fraction, per_fee: int | None) -> Fraction | None:
        """Return the fee that leaves an honest node the price where a slash takes this much; None where none does.

        A slash takes at most `per_fee` times the fee; None for no bound. What a node keeps of a fee grows with it from
        where it keeps anything, so there is one such fee.
        """
        if not self.honest_paid:
            return None if price or (slash and self.honest_slashed) else Fraction(0)
        fee = (price + self.honest_slashed * slash) / self.honest_paid
        if per_fee is None or slash <= per_fee * fee:
            return fee
        return price / (self.honest_paid - self.honest_slashed * per_fee)


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
