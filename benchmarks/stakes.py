"""Check the formulas of docs/stakes.md against simulated groups: ``python -m benchmarks.stakes``.

For each setting 150,000 groups are drawn by the rule of ``draw/2``, with random words in place of digests: a word
modulo the sum of weights hits a node, and a node that is hit again is skipped. Honest members hand in one picture's
hash or, each for itself, nothing; colluders hand in one counterfeit; `judge_many` judges. What is seen is compared with
the formulas in standard errors. It takes half a minute; the numbers are the same each time.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crynux_validate import CentreRule, Finding, expected_gain
from crynux_validate import required_stake as required
from crynux_validate.judging import MemberKind, judge_many
from crynux_validate.stakes import PPM, collusion_probability

GROUPS: Final = 150_000
PRICE: Final = 1_000_000
"""A member's share of the fee, in the smallest unit."""

UNIT: Final = 1_000
"""The weight of an honest node."""

HONEST: Final = np.uint64(0xF0F0F0F00F0F0F0F)

SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"dishonest_weight": 4, "threshold": 24},
    {"absent": 0.1},
    {"dishonest_weight": 4, "absent": 0.1, "threshold": 28},
    {"dishonest_weight": 0.25, "threshold": 28, "slash_threshold": 32},
    {"honest": 8, "dishonest": 3, "dishonest_weight": 2.5},
    {"sampling_rate": 0.25, "slash_per_fee": 2},
    {"group_size": 5},
    {"group_size": 5, "dishonest_weight": 4, "absent": 0.1, "slash_ppm": 500_000},
    {"group_size": 5, "honest": 6, "dishonest": 3, "dishonest_weight": 0.5, "threshold": 30},
    {"group_size": 7, "dishonest_weight": 4, "slash_per_fee": 1},
    {"group_size": 7, "honest": 80, "dishonest": 20, "absent": 0.2, "threshold": 28},
    {"group_size": 9, "honest": 80, "dishonest": 20, "dishonest_weight": 2},
    {"group_size": 9, "honest": 80, "dishonest": 20, "dishonest_weight": 4, "absent": 0.25, "threshold": 30},
)
"""What differs from 90 honest and 10 dishonest nodes, groups of three, and a threshold of 16."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """A number of the formulas beside its simulation."""

    name: str
    formula: float
    seen: float
    error: float

    @property
    def sigma(self) -> float:
        """How many standard errors lie between the two."""
        apart = abs(self.seen - self.formula)
        return apart / self.error if self.error else 0.0 if apart < 1e-12 else np.inf

    def __str__(self) -> str:
        return f"{self.formula:.5f}, {self.seen:.5f} ({self.sigma:.1f})"


def drawn(
    honest: int, dishonest: int, weight: Fraction, size: int, groups: int, source: np.random.Generator
) -> Numbers:
    """Return the members of each group, as places in the pool: the honest come first."""
    weights = np.array([UNIT] * honest + [int(weight * UNIT)] * dishonest)
    sums = weights.cumsum()
    members = np.full((groups, size), -1)
    taken = np.zeros(groups, int)
    while (waiting := np.flatnonzero(taken < size)).size:
        hits = sums.searchsorted(source.integers(0, sums[-1], waiting.size), "right")
        new = (members[waiting] != hits[:, None]).all(axis=1)
        members[waiting[new], taken[waiting[new]]] = hits[new]
        taken[waiting[new]] += 1
    return members


def judged(colluders: npt.NDArray[np.bool_], setting: dict[str, Any], source: np.random.Generator) -> Any:
    """Return the verdicts on groups in which colluders hand in one random hash, the honest a picture's or nothing.

    The picture is not degenerate, and the task has no safety checker: otherwise fewer are slashed (J2).
    """
    counterfeit = source.integers(0, 2**64, len(colluders), np.uint64)
    hashes = np.where(colluders, counterfeit[:, None], HONEST)[:, :, None]
    away = ~colluders & (source.random(colluders.shape) < setting["absent"])
    kinds = np.where(away, int(MemberKind.ABSENT), int(MemberKind.SCORE))
    return judge_many(hashes, kinds, CentreRule(setting["threshold"], setting["slash_threshold"], safety_checker=False))


def compare(changes: dict[str, Any], groups: int, seed: int) -> list[Seen]:
    """Simulate one setting: the chances of a quorum of colluders, of an escape and of a slash, and the gain."""
    source = np.random.default_rng(seed)
    setting = {
        "honest": 90, "dishonest": 10, "group_size": 3, "dishonest_weight": 1, "absent": 0, "threshold": 16,
        "slash_threshold": None, "sampling_rate": 1, "slash_ppm": PPM, "slash_per_fee": None, "price": PRICE,
    } | changes | {"source": "binomial"}  # fmt: skip
    stake = int(required(**setting | {"slash_per_fee": None}).s)
    formula = expected_gain(stake, **setting)
    pool = {name: setting[name] for name in ("honest", "dishonest", "group_size", "dishonest_weight")}
    weight = Fraction(str(setting["dishonest_weight"]))
    members = drawn(pool["honest"], pool["dishonest"], weight, pool["group_size"], groups, source)
    colluders = members >= pool["honest"]
    found = judged(colluders, setting, source)
    cheats = colluders.sum(axis=1)
    paid = (colluders & found.found(Finding.VALID)).sum(axis=1)
    slashed = (colluders & found.found(Finding.INVALID)).sum(axis=1)
    slash = stake * setting["slash_ppm"] // PPM
    if setting["slash_per_fee"] is not None:
        slash = min(slash, setting["slash_per_fee"] * PRICE)
    validated = source.random(groups) < setting["sampling_rate"]
    gains = np.where(validated, paid * PRICE - slashed * slash, cheats * PRICE) / PRICE
    quorum = (cheats > pool["group_size"] // 2).astype(float)
    return [
        _share("colluders are a quorum", collusion_probability(**pool, view="network"), quorum, np.ones(groups)),
        _share("escapes", formula.e, paid, cheats),
        _share("is slashed", formula.x, slashed, cheats),
        _share("gain", formula.gain / PRICE, gains, cheats),
    ]


def _share(name: str, formula: float, parts: npt.NDArray[Any], wholes: npt.NDArray[Any]) -> Seen:
    """The sum of parts over the sum of wholes, with its standard error."""
    seen = parts.sum() / wholes.sum()
    rest = parts - seen * wholes
    return Seen(name, formula, float(seen), float(rest.std() * np.sqrt(len(rest)) / wholes.sum()))


def table(groups: int) -> Iterator[str]:
    """The rows for docs/measurements/stakes.md."""
    near: list[float] = []
    for at, changes in enumerate(SETTINGS):
        found = compare(changes, groups, seed=at)
        if not at:
            yield f"| setting | {' | '.join(each.name for each in found)} |"
            yield "|---" * (1 + len(found)) + "|"
        words = ", ".join(f"{name} {value}" for name, value in changes.items()) or "-"
        yield f"| {words} | {' | '.join(str(each) for each in found)} |"
        near += [each.sigma for each in found]
    within = sum(sigma <= 2 for sigma in near)
    yield f"\n{within} of {len(near)} numbers within 2 standard errors, the largest {max(near):.2f}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=GROUPS, help="of each setting, default: %(default)s")
    for line in table(parser.parse_args().groups):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
