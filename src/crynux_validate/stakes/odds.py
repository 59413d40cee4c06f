"""The results of the formulas."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from crynux_validate.shown import Shown
from crynux_validate.stakes.agreement import Source
from crynux_validate.stakes.groups import View

MOST_PER_FEE: Final = 2**31
"""The most that a policy's `stake_per_fee` and `slash_per_fee` can be."""

SEALED_JOBS: Final = (
    "a sampling rate below 1 deters only where nodes cannot tell a validated task from another: jobs must be sealed"
    " (S1); without that the rate is 1"
)


@dataclass(frozen=True, kw_only=True)
class Odds(Shown):
    """The chances of a counterfeit, and the values on which they depend.

    Parameters
    ----------
    honest, dishonest
        The numbers of nodes of the pool; for text the pool is one class, not the network.
    group_size
        The number of members of a group. A quorum is more than half of them, also if some are absent.
    dishonest_weight
        The weight of one dishonest node in the draw; an honest one has 1.
    absent
        The chance that an honest member submits nothing, independent of the others.
    sampling_rate
        The share r of tasks that a group validates; above 0, at most 1.
    price
        The cost k that a counterfeit saves, in the unit of the stake: a member's share of the fee.
    slash_ppm
        The part of a stake that a slash takes, in millionths.
    bound
        The most that a slash takes: `slash_per_fee` times the price; None for no bound.
    view
        The groups of the chance `p`: ``drawn`` or ``network``.
    threshold, slash_threshold, images, source
        The conditions of `f`; threshold, slash threshold and source are None for text, source also with a calibration.
    cheat
        The name of a cheat of the calibration; None for a blind counterfeit.
    p
        The chance that colluders are a quorum of the group.
    b
        The chance that they are not, but are one together with the honest members that are present.
    c
        The chance that the honest members that are present are a quorum. If nobody is absent, b and c are 1 - p.
    f
        The chance that a counterfeit agrees with honest answers.
    e
        The chance that it escapes and is paid: p + b f.
    x
        The chance that it is slashed: c (1 - f at the slash threshold). Otherwise it is neither paid nor slashed:
        ``BORDERLINE``, or in a group without a quorum. With a calibration e is as large and x as small as the intervals
        allow; their sum can then be more than 1.
    """

    honest: int
    dishonest: int
    group_size: int
    dishonest_weight: float
    absent: float
    sampling_rate: float
    price: float
    slash_ppm: int
    bound: float | None
    view: View
    threshold: int | None
    slash_threshold: int | None
    images: int
    source: Source | None
    cheat: str | None
    p: float
    b: float
    c: float
    f: float
    e: float
    x: float

    @property
    def presupposes(self) -> str | None:
        """The condition for a sampling rate below 1 (S1); None for a rate of 1."""
        return SEALED_JOBS if self.sampling_rate < 1 else None

    @property
    def group(self) -> str:
        """The groups, in words."""
        weight = "" if self.dishonest_weight == 1 else f" of weight {self.dishonest_weight:g}"
        absent = "" if not self.absent else f", {100 * self.absent:g}% of the honest absent"
        pool = f"{self.honest} honest and {self.dishonest} dishonest nodes{weight}"
        return f"groups of {self.group_size} from {pool}{absent}"

    @property
    def what_a_slash_takes(self) -> str:
        """The part of a stake that a slash takes, in words."""
        bound = "without a bound" if self.bound is None else f"at most {self.bound:g}"
        return f"a slash takes {self.slash_ppm / 10_000:g}% of the stake, {bound}"

    def to_dict(self) -> dict[str, Any]:
        """Return every part for JSON; an infinite number is the string ``infinity``."""
        parts = vars(self) | {"presupposes": self.presupposes}
        return {name: _finite(value) for name, value in parts.items()}

    def __str__(self) -> str:
        quorum = self.group_size // 2 + 1
        found = "of a group that holds one" if self.view == "drawn" else "of all groups"
        blind: list[str] = []
        if self.threshold is None:
            chance = "text never agrees by chance"
        elif self.cheat is not None:
            chance = f"{self.cheat} is accepted: below {self.threshold}, upper end of what was measured"
        else:
            blind = ["  of blind counterfeits: those made from the task agree more often, and need audits"]
            pictures = "the picture" if self.images == 1 else f"each of {self.images} independent pictures"
            chance = f"it agrees by chance: {pictures} below {self.threshold} (source {self.source})"
        slashed = "it is slashed" + (f": {self.slash_threshold} or more away" if self.slash_threshold else "")
        rows = [
            ("p", self.p, f"colluders are {quorum} or more, {found}"),
            ("b", self.b, f"they are fewer, but {quorum} with the honest members that are present"),
            ("c", self.c, f"the honest members that are present are {quorum} or more"),
            ("f", self.f, chance),
            ("e", self.e, "a counterfeit escapes: p + bf"),
            ("x", self.x, slashed),
            ("r", self.sampling_rate, "the share of tasks that a group validates"),
            ("k", self.price, "the price of a task: a member's share of the fee"),
        ]
        lines = [f"  {symbol}  {value:<10.5g}  {words}" for symbol, value, words in rows]
        lines += [f"  {self.group}", f"  {self.what_a_slash_takes}"]
        return "\n".join([*lines, *blind, *([f"  {self.presupposes}"] if self.presupposes else [])])


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    return "infinity" if value == math.inf else value


@dataclass(frozen=True, kw_only=True)
class RequiredStake(Odds):
    """The stake at which the expected gain of a counterfeit is zero, and the policy for it.

    Parameters
    ----------
    s
        The stake; infinite if a counterfeit is never slashed, or the bound of a slash is too low.
    slash
        The amount that a slash must take; infinite if a counterfeit is never slashed.
    stake_per_fee, slash_per_fee
        The least values for a policy with which a slash takes this amount from every member: by P7 each has at least
        `stake_per_fee` times its share of the fee at stake, and a slash takes at most `slash_per_fee` times that share.
        Both are `slash` / `price`, rounded up; infinite if that is more than a policy allows (`MOST_PER_FEE`).
    cost
        The average cost of a task if all nodes are honest: n prices if a group validates it, otherwise one.
    cheats
        With a calibration the amount that a slash must take for each cheat; infinite if the cheat is never slashed.
    """

    s: float
    slash: float
    stake_per_fee: float
    slash_per_fee: float
    cost: float
    cheats: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def hopeless(self) -> tuple[str, ...]:
        """The cheats that no stake makes a loss: they are slashed never, or too rarely for any policy."""
        return tuple(name for name, slash in self.cheats.items() if slash > MOST_PER_FEE * self.price)

    def __float__(self) -> float:
        return self.s

    @property
    def amount(self) -> str:
        """The stake as text; in words if it is infinite."""
        if self.slash == math.inf:
            return "infinite: no stake makes a counterfeit a loss"
        if self.s < math.inf:
            return f"{self.s:.6g}"
        most = f"at most {self.bound:.6g}" if self.slash_ppm and self.bound is not None else "nothing"
        return f"infinite: a slash takes {most}, and must take {self.slash:.6g}"

    @property
    def policy(self) -> str:
        """The values for a policy, in words."""
        if self.slash == math.inf:
            return "no policy makes a counterfeit a loss"
        if self.stake_per_fee == math.inf:
            return f"a policy needs more than a stake_per_fee of {MOST_PER_FEE}, which is the most"
        return f"a policy needs stake_per_fee {self.stake_per_fee}, slash_per_fee {self.slash_per_fee} or more"

    def __str__(self) -> str:
        last = [f"a task costs {self.cost:.6g}: k for each node that works it", self.policy]
        return "\n".join([self.headline, *self._by_cheat(), super().__str__(), *(f"  {line}" for line in last)])

    @property
    def headline(self) -> str:
        """The stake, in units of the price."""
        if math.isinf(self.s):
            return f"required stake {self.amount}"
        times = "" if self.price == 1 else f": {self.s / self.price:.6g}"
        return f"required stake {self.amount}{times} times the price of a task, which is a member's share of the fee"

    def _by_cheat(self) -> list[str]:
        lines = []
        if self.hopeless:
            lines.append(f"no stake helps against {', '.join(self.hopeless)}")
        others = {name: slash for name, slash in self.cheats.items() if name not in self.hopeless}
        if others:
            name = max(others, key=lambda one: others[one])
            most = f"a slash must take {others[name]:.6g} against {name}"
            lines.append(most if len(others) == 1 else f"{most}, and less against {_listed(others, name)}")
        return lines


@dataclass(frozen=True, kw_only=True)
class ExpectedGain(Odds):
    """The expected gain of a counterfeit with a stake of `s`, of which a slash takes `slash`.

    Parameters
    ----------
    s
        The stake.
    slash
        The amount that a slash takes.
    gain
        The expected gain; negative if a counterfeit is a loss.
    cheats
        With a calibration the gain of each cheat.
    """

    s: float
    slash: float
    gain: float
    cheats: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __float__(self) -> float:
        return self.gain

    def __str__(self) -> str:
        stake = f"a stake of {self.s:.6g}, of which a slash takes {self.slash:.6g}"
        gains = [f"{name} gains {gain:.6g}" for name, gain in self.cheats.items()]
        return "\n".join([f"expected gain {self.gain:.6g} with {stake}", *gains, super().__str__()])


def _listed(slashes: Mapping[str, float], most: str) -> str:
    return ", ".join(f"{name} ({slash:.6g})" for name, slash in slashes.items() if name != most)
