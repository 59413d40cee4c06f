"""From pairs of hashes to tables in Markdown."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from benchmarks.distances.plan import MAIN
from benchmarks.distances.record import Cheated, Honest, Record
from crynux_validate import CentreRule, Finding, judge
from crynux_validate.answers import ImageScore, similarity_score

APART: Final = (8, 16, 24)
PASSES: Final = (8, 12, 16, 20, 24)
RULE: Final = CentreRule(safety_checker=False)
"""No task that was measured had a safety checker."""

Number = TypeVar("Number", int, float)


def distances(pairs: Honest | Cheated) -> list[int]:
    """Return the Hamming distance of each pair."""
    found = []
    for own, reference in zip(pairs.hashes, pairs.reference, strict=True):
        distance = similarity_score(ImageScore.from_hex(own), ImageScore.from_hex(reference))
        if distance is None:
            raise ValueError(f"{own} and {reference} cannot be compared")
        found.append(distance)
    return found


def rank(values: Iterable[Number], share: float) -> Number:
    """Return the smallest value that at least this share of the values does not exceed; `share` above 0, up to 1."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(share * len(ordered) - 1e-9)) - 1]


def below(values: Sequence[int], threshold: int) -> float:
    """Return the share of distances that agree at a threshold: they are strictly less."""
    return sum(value < threshold for value in values) / len(values)


def slashed(pairs: Honest | Cheated) -> float:
    """Return the share of pairs whose first loses its stake in a group with two of the second, by the default rule."""
    count = 0
    for own, reference in zip(pairs.hashes, pairs.reference, strict=True):
        honest = ImageScore.from_hex(reference)
        verdict = judge({"one": honest, "two": honest, "three": ImageScore.from_hex(own)}, RULE)
        count += verdict.findings["three"] is Finding.INVALID
    return count / len(pairs.hashes)


def degenerate(hashes: Sequence[str]) -> int:
    """Return how many hashes are of pictures too plain to tell from others."""
    return sum(bool(ImageScore.from_hex(bits).degenerate) for bits in hashes)


def tables(record: Record) -> str:
    """Return everything in Markdown."""
    about = "; ".join(f"{name} {value}" for name, value in record.about.items())
    plain = degenerate(record.cheats[0].reference)
    count = len(record.cheats[0].reference)
    parts = [
        f"Measured on: {about}.",
        _table(("honest, DDIM, 25 steps, beside native", *_PIXELS, *_BITS), map(_main_row, main_pairs(record))),
        _table(("honest, float32, beside native", "pairs", *_PIXELS, *_BITS), _varied_rows(record)),
        _table(
            (
                "cheat", "distance: mean", "5%", "min", *(f"passes at {threshold}" for threshold in PASSES),
                "slashed", "degenerate",
            ),
            map(_cheat_row, record.cheats),
        ),
        f"Of {count} honest pictures {plain} have a degenerate hash.",
    ]  # fmt: skip
    return "\n\n".join(parts)


_PIXELS: Final = ("values that differ", "mean difference", "largest")
_BITS: Final = ("distance: mean", "95%", "max", *(f"apart at {threshold}" for threshold in APART))


def main_pairs(record: Record) -> list[Honest]:
    """Return the pairs of the main settings."""
    return [pairs for pairs in record.honest if (pairs.scheduler, pairs.steps) == (MAIN[0].scheduler, MAIN[0].steps)]


def _main_row(pairs: Honest) -> list[str]:
    name = f"{pairs.dtype}, {pairs.kind}"
    if pairs.dtype != pairs.beside_dtype:
        name += f" beside {pairs.beside_dtype}, {pairs.beside}: not the same task"
    return [name, *_honest_cells([pairs])]


def _varied_rows(record: Record) -> list[list[str]]:
    """One row for each scheduler and number of steps, over all kinds that drew in each of them."""
    main = main_pairs(record)
    varied = [pairs for pairs in record.honest if pairs not in main]
    kinds = {pairs.kind for pairs in varied}
    varied += [pairs for pairs in main if pairs.kind in kinds and pairs.dtype == MAIN[0].dtype]
    # The main scheduler first, with fewer and more steps, then the others.
    settings = sorted({(pairs.scheduler != MAIN[0].scheduler, pairs.scheduler, pairs.steps) for pairs in varied})
    rows = []
    for _, scheduler, steps in settings:
        chosen = [pairs for pairs in varied if (pairs.scheduler, pairs.steps) == (scheduler, steps)]
        count = sum(len(pairs.hashes) for pairs in chosen)
        rows.append([f"{scheduler}, {steps} steps", str(count), *_honest_cells(chosen)])
    return rows


def _honest_cells(chosen: Sequence[Honest]) -> list[str]:
    apart = [distance for pairs in chosen for distance in distances(pairs)]
    return [
        _percent(statistics.mean(share for pairs in chosen for share in pairs.differ)),
        f"{statistics.mean(mean for pairs in chosen for mean in pairs.mean):.2g}",
        str(max(most for pairs in chosen for most in pairs.most)),
        f"{statistics.mean(apart):.2f}",
        str(rank(apart, 0.95)),
        str(max(apart)),
        *(str(sum(distance >= threshold for distance in apart)) for threshold in APART),
    ]


def _percent(share: float) -> str:
    """Show a share; a small one with two digits that count."""
    return f"{share:.1%}" if share >= 0.01 or share == 0 else f"{100 * share:.2g}%"


def _cheat_row(pairs: Cheated) -> list[str]:
    apart = distances(pairs)
    return [
        pairs.name,
        f"{statistics.mean(apart):.1f}",
        str(rank(apart, 0.05)),
        str(min(apart)),
        *(f"{below(apart, threshold):.0%}" for threshold in PASSES),
        f"{slashed(pairs):.0%}",
        str(degenerate(pairs.hashes)),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
