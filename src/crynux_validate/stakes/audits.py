"""Audits instead of groups: one node works, and an auditor does a part of the work again (docs/audit-or-group.md).

A task is audited at the sampling rate r, after the answer is bound. An audit accuses a cheat with the chance d, and an
honest node with the chance a. An accused cheat is slashed with the chance x and paid after all with the chance e; an
honest node that is accused is slashed with the chance y and paid after all with the chance v. The fee w is such that an
honest node earns k in spite of false alarms. A cheat gets the same fee, and saves a share m of the work, which is worth
k at most. A slash of l deters the cheat if it keeps no more than the value of the work that it does::

    (1 - r a (1 - v)) w - r a y l = k            what an honest node keeps
    (1 - r d (1 - e)) w - r d x l = (1 - m) k    what a cheat keeps, at the least l that deters

If the auditor alone slashes: e = 0, x = 1, y = 1, v = 0. For a cheat that saves everything, m = 1, this gives
w = k d / (d - a) and l = k (1 - r d) / (r (d - a)).

Or a group decides about the accused node. Its members audit again, or do the whole work. An honest quorum accuses a
cheat as well with the chance g, and an honest node as well with the chance h. With the chances of `groups`,
e = p + b (1 - g) and x = c g, as if the cheat were a member, and for groups without the honest node y = p + b h and
v = c (1 - h). (In groups without the cheat, colluders would be a quorum less often: this is on the safe side.)
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, get_args

from crynux_validate.encoding import check_integer, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.stakes.groups import Quorums
from crynux_validate.stakes.numbers import Number, exact

Then = Literal["slash", "group"]
"""What happens after an audit accuses a node: a ``slash`` at once, or a ``group`` decides."""

AFTER_AUDIT: Final[tuple[Then, ...]] = get_args(Then)

_CHANCES: Final = ("detection_rate", "false_alarms", "confirmed", "confirmed_falsely")

MAX_STEPS: Final = 10_000

_MOST_BITS: Final = 20_000
"""Of a fraction that is computed exactly."""

ALONE: Final = Quorums(Fraction(0), Fraction(1), Fraction(1))
"""The auditor as a group of one."""


@dataclass(frozen=True, kw_only=True)
class AuditTerms:
    """How answers are audited, and what happens after an audit accuses a node.

    Give `detection`, or `steps` and `cheated`.

    Parameters
    ----------
    false_alarms
        The chance that a whole audit accuses an honest node, 0 to 1. Take the upper bound: if none of n audits accused
        an honest node, it is 3/n at 95%.
    detection
        The chance that an audit accuses the cheat, 0 to 1. Take the lower bound.
    steps, cheated
        The number of steps that an audit draws, 1 to 10,000, and the share of steps that the cheat leaves out, 0 to 1.
        The detection rate is then 1 - (1 - `cheated`)^`steps`, if every such step that is drawn is recognised. If only
        a part is recognised, give `cheated` times this part. Drawing without repetition finds a little more.
    cost
        The cost of an audit as a share of the price of the task; 1 is the whole work again.
    then
        ``slash``: the auditor alone decides. ``group``: the members of a group decide, by audits of their own or by
        doing the whole work.
    confirms
        With ``group``: the chance that an honest quorum accuses a cheat that the auditor accused, 0 to 1. The default
        is the detection rate, as for an independent audit.
    confirms_falsely
        With ``group``: the chance that an honest quorum accuses an honest node that the auditor accused, 0 to 1. The
        default is 1, as if the members always made the auditor's mistake.
    saves
        The share of the price that the cheat saves, above 0, at most 1. A cheat that leaves out a share of the steps
        and does the rest saves at most that share.

    Raises
    ------
    InvalidInputError
        For numbers outside their ranges, and for arguments that exclude each other.
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
        """g, the chance that those who decide accuse a cheat that the auditor accused."""
        if self.then == "slash":
            return 1
        return self.detection_rate if self.confirms is None else self.confirms

    @property
    def confirmed_falsely(self) -> Number:
        """h, the chance that those who decide accuse an honest node that the auditor accused."""
        return 1 if self.confirms_falsely is None else self.confirms_falsely

    def to_dict(self) -> dict[str, Any]:
        """Return the terms for JSON."""
        return {name: float(value) if isinstance(value, Fraction) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Fates:
    """The chances that a cheat and an honest node are paid or slashed; the letters are those of this module."""

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
        """Return the least slash that deters, and the fee with which an honest node then earns the price.

        None, None if no slash deters: the cheat is never slashed, or an honest node earns no more than the cheat.
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
        """Return the fee with which an honest node earns the price if a slash takes this much; None if there is none.

        A slash takes at most `per_fee` times the fee; None for no bound. What an honest node keeps grows with the fee,
        so there is at most one such fee.
        """
        if not self.honest_paid:
            return None if price or (slash and self.honest_slashed) else Fraction(0)
        fee = (price + self.honest_slashed * slash) / self.honest_paid
        if per_fee is None or slash <= per_fee * fee:
            return fee
        return price / (self.honest_paid - self.honest_slashed * per_fee)


def fates(terms: AuditTerms, rate: Fraction, cheats: Quorums, nodes: Quorums) -> Fates:
    """Return the chances of nodes if this share of tasks is audited.

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
