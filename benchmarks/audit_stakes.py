"""Check the formulas of docs/audit-or-group.md against simulated audits: ``python -m benchmarks.audit_stakes``.

For each setting a million tasks are worked by a cheat, and a million by an honest node, at the required stake and fee.
Some are audited. An audit draws steps, each for itself, and accuses a cheat where one of them was cheated; an
honest node it accuses by chance. Then the node is slashed, or a group is drawn by the rule of ``draw/2``: colluders
acquit their own and accuse all others, honest members find alike whatever they find, or are absent, and whoever more
than half of the group names is paid or slashed. The last column is what a cheat gains with half of that stake. What is
seen is compared with the formulas in standard errors. Groups
are counted as the formulas do: of a cheat those that have it among their members, of an honest node those of others.

The second table counts groups of others than the cheat, as a ledger would draw them: there no cheat may keep more.
"""

import argparse
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.stakes import Seen, drawn
from crynux_validate import expected_gain, required_stake
from crynux_validate.stakes import PPM, AuditedGain, AuditedStake, AuditTerms

TASKS: Final = 1_000_000

SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {"detection": 0.99, "false_alarms": 3e-4},
    {"detection": 0.6, "false_alarms": 0.2, "sampling_rate": 1},
    {"detection": 1, "false_alarms": 0, "sampling_rate": 0.02},
    {"detection": 0.9, "false_alarms": 0.05, "saves": 0.8, "sampling_rate": 0.5},
    {"steps": 1, "cheated": 0.25, "false_alarms": 0.01},
    {"steps": 5, "cheated": 0.5, "false_alarms": 3e-4},
    {"steps": 3, "cheated": 0.2, "saves": 0.2, "false_alarms": 0.01, "slash_ppm": 500_000},
    {"detection": 0.99, "false_alarms": 0.05, "then": "group", "confirms_falsely": 0},
    {"detection": 0.9, "false_alarms": 0.2, "then": "group", "confirms_falsely": 0.3, "sampling_rate": 1},
    {"detection": 0.95, "false_alarms": 0.3, "then": "group", "confirms": 1, "group_size": 5, "absent": 0.3,
     "sampling_rate": 1},
    {"steps": 5, "cheated": 0.5, "false_alarms": 0.1, "then": "group", "honest": 70, "dishonest": 30, "absent": 0.2,
     "confirms_falsely": 0.1, "dishonest_weight": 2, "sampling_rate": 0.5},
    {"detection": 0.8, "false_alarms": 0.02, "then": "group", "confirms": 0.7, "confirms_falsely": 0.05,
     "group_size": 7, "honest": 20, "dishonest": 6, "sampling_rate": 0.25},
)  # fmt: skip
"""What differs from a tenth of the tasks audited, 90 honest and 10 dishonest nodes, and groups of three."""

STEPS: Final = 20
"""Of a task; 1 to 5 of them are drawn."""

TERMS: Final = frozenset(AuditTerms.__dataclass_fields__)

Flags = npt.NDArray[np.bool_]


def split(changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pool and the rules of a setting, and its terms."""
    rules = {"honest": 90, "dishonest": 10, "sampling_rate": 0.1} | changes
    return (
        {name: value for name, value in rules.items() if name not in TERMS},
        {name: value for name, value in rules.items() if name in TERMS},
    )


def accused(found: AuditedStake, tasks: int, *, cheat: bool, source: np.random.Generator) -> Flags:
    """Say of each task whether its node is audited and accused."""
    audited = source.random(tasks) < found.sampling_rate
    terms = found.audits
    if not cheat:
        return audited & (source.random(tasks) < float(terms.false_alarms))
    if terms.detection is not None:
        return audited & (source.random(tasks) < float(terms.detection))
    assert terms.steps is not None
    assert terms.cheated is not None
    cheated = round(float(terms.cheated) * STEPS)
    hits = source.integers(0, STEPS, (tasks, terms.steps)) < cheated
    return audited & hits.any(axis=1)


def groups_of(found: AuditedStake, groups: int, *, cheat: bool, fresh: bool, source: np.random.Generator) -> Flags:
    """Return which members of each group are colluders, of groups as the formulas count them.

    `fresh` groups are of others than the cheat; those of others than an honest node always are.
    """
    honest, dishonest = (found.honest - (not cheat), found.dishonest - (fresh and cheat))
    weight, size = Fraction(str(found.dishonest_weight)), found.group_size
    if not cheat or fresh:
        return drawn(honest, dishonest, weight, size, groups, source) >= honest
    kept: list[Flags] = []
    while sum(map(len, kept)) < groups:  # that the cheat is among the members is as likely as they are many
        colluders = drawn(honest, dishonest, weight, size, groups, source) >= honest
        kept += [colluders[source.random(groups) * size < colluders.sum(axis=1)]]
    return np.concatenate(kept)[:groups]


def node(found: AuditedStake, tasks: int, *, cheat: bool, fresh: bool, source: np.random.Generator) -> Any:
    """Return for each task whether its node is slashed, and whether it is paid."""
    hit = accused(found, tasks, cheat=cheat, source=source)
    if found.audits.then == "slash":
        return hit, ~hit
    groups = int(hit.sum())
    colluders = groups_of(found, groups, cheat=cheat, fresh=fresh, source=source)
    here = ~colluders & (source.random(colluders.shape) >= found.absent)
    terms = found.audits
    chance = float(terms.confirmed if cheat else terms.confirmed_falsely)
    accuse = source.random(groups) < chance  # the honest find alike
    with_them, of_the_honest = colluders.sum(axis=1), here.sum(axis=1)
    quorum = found.group_size // 2 + 1
    if cheat:
        is_slashed = accuse & (of_the_honest >= quorum)
        is_paid = np.where(accuse, with_them, with_them + of_the_honest) >= quorum
    else:
        is_slashed = np.where(accuse, with_them + of_the_honest, with_them) >= quorum
        is_paid = ~accuse & (of_the_honest >= quorum)
    slashed, paid = np.zeros(tasks, bool), np.ones(tasks, bool)
    slashed[hit], paid[hit] = is_slashed, is_paid
    return slashed, paid


def compare(changes: dict[str, Any], tasks: int, seed: int, *, fresh: bool = False) -> list[Seen]:
    """Simulate one setting: the chances of a cheat and of an honest node, and what each keeps, in prices.

    At the required stake; at last what a cheat gains with half of it.
    """
    source = np.random.default_rng(seed)
    rules, terms = split(changes)
    found = required_stake(**rules, audits=AuditTerms(**terms))
    assert isinstance(found, AuditedStake)
    seen = []
    for cheat, name, rate, slashed, paid in (
        (True, "a cheat", found.d, found.x, found.e),
        (False, "an honest node", found.a, found.y, found.v),
    ):
        often = found.sampling_rate * rate
        chances = (often * slashed, 1 - often * (1 - paid))
        seen_slashed, seen_paid = node(found, tasks, cheat=cheat, fresh=fresh, source=source)
        slash, spends = found.s * found.slash_ppm / PPM, 1 - float(found.audits.saves) if cheat else 0.0
        keeps = 0.0 if cheat else found.price
        seen += [
            _chance(f"{name} is slashed", chances[0], seen_slashed),
            _chance(f"{name} is paid", chances[1], seen_paid),
            _keeps(f"{name} keeps", keeps, (seen_slashed, seen_paid), chances, (slash, found.fee, spends)),
        ]
        if cheat:
            half = expected_gain(found.s / 2, **rules, audits=AuditTerms(**terms))
            assert isinstance(half, AuditedGain)
            last = _keeps("it gains with half", half.gain, (seen_slashed, seen_paid), chances,
                          (half.slash, half.fee, spends))  # fmt: skip
    return [*seen, last]


def _keeps(
    name: str,
    formula: float,
    seen: tuple[Flags, Flags],
    chances: tuple[float, float],
    money: tuple[float, float, float],
) -> Seen:
    """What a node keeps that is slashed and paid as often: the fee, less the slash and what it spends."""
    slash, fee, spends = money
    keeps = float(seen[1].mean() * fee - seen[0].mean() * slash - spends)
    spread = chances[0] * slash**2 + chances[1] * fee**2 - (chances[1] * fee - chances[0] * slash) ** 2
    return Seen(name, formula, keeps, float(np.sqrt(spread / len(seen[0]))))


def _chance(name: str, formula: float, seen: Flags) -> Seen:
    return Seen(name, formula, float(seen.mean()), float(np.sqrt(formula * (1 - formula) / len(seen))))


def table(tasks: int) -> Iterator[str]:
    """The rows for docs/measurements/stakes.md."""
    near: list[float] = []
    for at, changes in enumerate(SETTINGS):
        found = compare(changes, tasks, seed=at)
        if not at:
            yield f"| setting | {' | '.join(each.name for each in found)} |"
            yield "|---" * (1 + len(found)) + "|"
        yield f"| {_words(changes)} | {' | '.join(str(each) for each in found)} |"
        near += [each.sigma for each in found]
    within = sum(sigma <= 2 for sigma in near)
    yield f"\n{within} of {len(near)} numbers within 2 standard errors, the largest {max(near):.2f}\n"
    yield "| groups of others than the cheat | it is slashed | it is paid | it keeps |"
    yield "|---|---|---|---|"
    for at, changes in enumerate(SETTINGS):
        if changes.get("then") == "group":
            found = compare(changes, tasks, seed=at, fresh=True)[:3]
            yield f"| {_words(changes)} | {' | '.join(str(each) for each in found)} |"


def _words(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in changes.items())


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=TASKS, help="of each setting, default: %(default)s")
    for line in table(parser.parse_args().tasks):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
