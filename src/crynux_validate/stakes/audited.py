"""The stake that one audited node needs, and the expected gain with another stake (docs/audit-or-group.md)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from crynux_validate.stakes.audits import ALONE, AuditTerms, Fates, fates
from crynux_validate.stakes.groups import Quorums, quorums_beside
from crynux_validate.stakes.numbers import as_float, exact
from crynux_validate.stakes.odds import MOST_PER_FEE, ExpectedGain, Odds, RequiredStake

AUDITS_PRESUPPOSE: Final = (
    "the node binds its answer, and all that an audit opens, before anybody knows whether it is audited, and where",
    "who does not open what was drawn is treated as a cheat that was found",
    "the auditor is honest: it says what it finds, and finds nothing for others",
    "somebody pays the auditor for every audit, and not out of slashes: where nobody cheats, there are none",
    "the detection rate is that of the cheat in question; another cheat has another one",
)


@dataclass(frozen=True, kw_only=True)
class AuditedOdds(Odds):
    """The chances of a cheat and of an honest node if one node works and others audit it.

    ``sampling_rate`` is the share of tasks that are audited. The one node gets the whole ``fee``, to which ``bound``
    and ``slash_per_fee`` refer. `p`, `b`, `c`, `f`, `e` and `x` are for a cheat that is accused.

    Parameters
    ----------
    audits
        The terms.
    d, a
        The chances that an audit accuses a cheat, and an honest node.
    y, v
        The chances that an honest node that is accused is slashed, and paid.
    fee
        The fee of a task with which an honest node earns the price in spite of false alarms.
    """

    audits: AuditTerms
    d: float
    a: float
    y: float
    v: float
    fee: float

    @property
    def presupposes(self) -> str:
        """The conditions under which the numbers are valid."""
        return "; ".join(AUDITS_PRESUPPOSE)

    @property
    def group(self) -> str:
        """Whether the auditor or a group decides, in words."""
        if self.audits.then == "slash":
            return "one node works, and its auditor alone decides"
        return f"one node works; about one that is accused a group decides: {super().group}"

    def to_dict(self) -> dict[str, Any]:
        """Return every part for JSON, as `Odds` does."""
        return super().to_dict() | {"audits": self.audits.to_dict()}

    def _told(self, first: str, *last: str) -> str:
        """All of it in words: a first line, the letters, who decides, and other lines."""
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
        if self.fee < math.inf:
            rows.append(("w", self.fee, "the fee of a task, which leaves an honest node k in spite of false alarms"))
        lines = [f"{symbol}  {value:<10.5g}  {words}" for symbol, value, words in rows]
        lines += [self.group, *last]
        return "\n".join([first, *(f"  {line}" for line in lines)])


@dataclass(frozen=True, kw_only=True)
class AuditedStake(AuditedOdds, RequiredStake):
    """The stake at which a cheat gains nothing if one node works and others audit it.

    ``s``, ``slash``, ``fee`` and ``cost`` are infinite if no stake helps.
    """

    def __str__(self) -> str:
        cost: list[str] = []
        if self.slash < math.inf:
            cost = [
                f"a task costs {self.cost:.6g}: w, audits at {float(self.audits.cost):g} k, groups for false alarms"
            ]
            cost += [self.what_a_slash_takes]
        last = ["this presupposes:", *(f"- {each}" for each in AUDITS_PRESUPPOSE), self.policy]
        return self._told(self.headline, *cost, *last)

    @property
    def amount(self) -> str:
        """The stake as text; in words if it is infinite."""
        if self.slash < math.inf:
            return super().amount
        if not self.d * self.x * self.sampling_rate:
            return "infinite: the cheat is never slashed, so that no stake deters it"
        return "infinite: an honest node that is audited fares no better than the cheat, whatever the stake"


@dataclass(frozen=True, kw_only=True)
class AuditedGain(AuditedOdds, ExpectedGain):
    """The expected gain of a cheat with a stake of ``s`` if one node works and others audit it.

    ``gain`` is what the cheat keeps beyond the value of its work. With ``fee`` an honest node with the same stake earns
    the price. Both are infinite if there is no such fee.
    """

    def __str__(self) -> str:
        stake = f"a stake of {self.s:.6g}, of which a slash takes {self.slash:.6g}"
        last = ["this presupposes:", *(f"- {each}" for each in AUDITS_PRESUPPOSE)]
        return self._told(f"expected gain {self.gain:.6g} with {stake}", self.what_a_slash_takes, *last)


class Audited:
    """The checked arguments of both, and what becomes of nodes.

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
        The chance that an honest member submits nothing.
    given
        The other parts of `Odds`.
    """

    def __init__(
        self,
        terms: AuditTerms,
        *,
        rate: Fraction,
        price: Fraction,
        part: Fraction,
        slash_per_fee: int | None,
        cheats: Quorums,
        absent: Fraction,
        given: Mapping[str, Any],
    ) -> None:
        nodes = ALONE
        if terms.then == "slash":
            cheats = ALONE
        else:
            weight = exact(given["dishonest_weight"], "dishonest_weight")
            nodes = quorums_beside(given["honest"], given["dishonest"], given["group_size"], weight, absent)
        self.fates: Fates = fates(terms, rate, cheats, nodes)
        self.saves = exact(terms.saves, "saves")
        self.terms, self.rate, self.price, self.part = terms, rate, price, part
        self.slash_per_fee, self.given = slash_per_fee, given

    def required(self) -> AuditedStake:
        """Return the stake at which a cheat gains nothing, with its parts."""
        found = self.fates
        slash, fee = found.slash_and_fee(self.price, self.saves)
        stake, per_fee, cost = slash, math.inf, None
        if slash is not None and fee is not None:
            groups = found.a * self.given["group_size"] if self.terms.then == "group" else 0
            cost = fee + self.rate * self.price * (exact(self.terms.cost, "cost") + groups)
            per_fee = needed if (needed := math.ceil(slash / fee) if slash else 0) <= MOST_PER_FEE else math.inf
            if slash:
                bounded = self.slash_per_fee is not None and slash > self.slash_per_fee * fee
                stake = None if bounded or not self.part else slash / self.part
        numbers = {"s": stake, "slash": slash, "fee": fee, "cost": cost}
        return AuditedStake(stake_per_fee=per_fee, slash_per_fee=per_fee, **self._parts(numbers))

    def expected(self, stake: Fraction) -> AuditedGain:
        """Return what a cheat is expected to gain with a stake, with its parts."""
        found, bound = self.fates, self.slash_per_fee
        slash = stake * self.part
        fee = found.fee_beside(self.price, slash, bound)
        gain = None
        if fee is not None:
            slash = slash if bound is None else min(slash, bound * fee)
            gain = found.paid * fee - found.slashed * slash - (1 - self.saves) * self.price
        return AuditedGain(**self._parts({"s": stake, "slash": slash, "fee": fee, "gain": gain}))

    def _parts(self, numbers: Mapping[str, Fraction | None]) -> dict[str, Any]:
        """The parts of a result: these numbers, of which None is infinite, and what both have."""
        found = self.fates
        nothing = dict.fromkeys(("threshold", "slash_threshold", "source", "cheat"))
        parts: dict[str, Any] = {"audits": self.terms, **self.given, **nothing, "images": 1}
        parts |= {name: math.inf if value is None else as_float(value, name) for name, value in numbers.items()}
        parts |= {name: float(getattr(found, name)) for name in ("d", "a", "e", "x", "y", "v", "f")}
        parts |= {name: float(value) for name, value in vars(found.quorums).items()}
        if self.slash_per_fee is not None:
            parts["bound"] = self.slash_per_fee and self.slash_per_fee * parts["fee"]
        return parts
