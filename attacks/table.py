"""From a record to tables in Markdown, and to samples that a calibration reads."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Final

from attacks import ATTACKS, BAD_FAITH
from attacks.record import HONEST, NATIVE, Record, Row
from crynux_validate import CentreRule, Finding, judge
from crynux_validate.answers import ImageScore, similarity_score
from crynux_validate.calibration.fields import CHEAT
from crynux_validate.calibration.intervals import exact
from crynux_validate.calibration.samples import Sample, Samples

THRESHOLDS: Final = (8, 10, 12, 16, 20, 24)
SLASH_THRESHOLD: Final = 24

CONFIDENCE: Final = 0.95


def tables(record: Record) -> str:
    """Return everything in Markdown: what it was measured on, a row for each attack, a row for each pair of kinds."""
    about = "; ".join(f"{name} {value}" for name, value in record.about.items())
    parts = [
        f"Measured on: {about}.",
        _table(("attack", *_HEAD, "stands against it"), _attack_rows(record)),
        _table(("honest machines", *_HEAD, "degenerate"), _honest_rows(record)),
    ]
    return "\n\n".join(part for part in parts if part)


def samples(record: Record, model: str) -> Samples:
    """Return what a calibration takes; without tasks that were chosen in bad faith, which nodes do not meet by chance.

    Parameters
    ----------
    model
        What the column of this name says.

    Raises
    ------
    InvalidInputError
        For a record without rows.
    """
    return Samples.of(
        Sample(
            kind=row.kind,
            task=row.asked,
            model=model,
            role=HONEST if row.attack == HONEST else f"{CHEAT}{row.attack}",
            algorithm=row.algorithm,
            score=row.score,
            margin=row.margin,
            degenerate=row.degenerate,
            pixels=row.pixels,
        )
        for row in record
        if row.instead is None
    )


def distances(pairs: Iterable[tuple[Row, Row]]) -> list[int]:
    """Return the similarity score of each pair: the largest Hamming distance of its images."""
    found = []
    for own, other in pairs:
        distance = similarity_score(_score(own), _score(other))
        if distance is None:
            raise ValueError(f"{own} and {other} cannot be compared")
        found.append(distance)
    return found


def below(apart: Sequence[int], threshold: int) -> int:
    """Return how many distances agree at a threshold: they are strictly less."""
    return sum(distance < threshold for distance in apart)


def slashed(pairs: Iterable[tuple[Row, Row]]) -> int:
    """Return how many firsts lose their stake in a group with two of the second, by the default rule."""
    rule = CentreRule(slash_threshold=SLASH_THRESHOLD, safety_checker=False)
    count = 0
    for own, other in pairs:
        honest = _score(other)
        verdict = judge({"one": honest, "two": honest, "three": _score(own)}, rule)
        count += verdict.findings["three"] is Finding.INVALID
    return count


def interval(count: int, n: int) -> tuple[float, float]:
    """Return the ends of the Clopper-Pearson interval of `count` in `n`; two-sided, 95%."""
    low, high = exact(count / n, n, CONFIDENCE)
    return float(low), float(high)


_HEAD: Final = (
    "cost", "n", "distance: mean", *(f"passes at {threshold}" for threshold in THRESHOLDS),
    f"slashed at {SLASH_THRESHOLD}",
)  # fmt: skip


def _attack_rows(record: Record) -> Iterable[list[str]]:
    group = ""
    for name, attack in ATTACKS.items():
        pairs = [(row, honest) for row in record.of(name) if (honest := record.get(HONEST, NATIVE, row.asked))]
        if not pairs:
            continue
        if attack.group != group:
            group = attack.group
            yield [f"**{group}**", *[""] * (len(_HEAD) + 1)]
        cost = statistics.mean(row.cost for row, _ in pairs)
        yield [attack.words, f"{cost:.2f}", *_cells(pairs, honest=False), attack.against]


def _honest_rows(record: Record) -> Iterable[list[str]]:
    """Honest kinds beside native: on the tasks of the record, and on tasks that were chosen in bad faith."""
    for name in (HONEST, *BAD_FAITH):
        for kind in dict.fromkeys(row.kind for row in record if row.kind != NATIVE):
            pairs = [(row, native) for row in record.of(name, kind) if (native := record.get(name, NATIVE, row.asked))]
            if pairs:
                words = "" if name == HONEST else f"{BAD_FAITH[name].words}, "
                cost = statistics.mean(native.cost for _, native in pairs)
                plain = sum(native.degenerate for _, native in pairs)
                yield [
                    f"{words}{kind} beside native",
                    f"{cost:.2f}",
                    *_cells(pairs, honest=True),
                    f"{plain} of {len(pairs)}",
                ]


def _cells(pairs: Sequence[tuple[Row, Row]], *, honest: bool) -> list[str]:
    """Show n, the mean distance, and the shares that pass and are slashed, each with the end that looks worse.

    A cheat that passes, and an honest machine that does not, is worse than it was measured.
    """
    n, apart = len(pairs), distances(pairs)
    passes = [below(apart, threshold) for threshold in THRESHOLDS]
    return [
        str(n),
        f"{statistics.mean(apart):.1f}",
        *(_share(count, n, upper=not honest) for count in passes),
        _share(slashed(pairs), n, upper=honest),
    ]


def _share(count: int, n: int, *, upper: bool) -> str:
    """Show a share with an end of its interval, unless that end says nothing: at most all, at least none."""
    bound = interval(count, n)[upper]
    return f"{count / n:.0%}" + (f" ({'≤' if upper else '≥'} {bound:.1%})" if 0 < bound < 1 else "")


def _score(row: Row) -> ImageScore:
    return ImageScore(bytes.fromhex(row.score), None, row.algorithm)  # type: ignore[arg-type]  # it is checked there


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]]) if len(lines) > 1 else ""
