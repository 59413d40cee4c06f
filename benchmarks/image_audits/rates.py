"""How often bands are wrong: about honest machines that they were not made from, and about cheats."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from benchmarks.image_audits.fitting import Rows, band_of, fitted, honest_rows, picture_of
from benchmarks.image_audits.rows import COLUMNS
from crynux_validate.audits.bands import Band
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.image import SAME, Along, Errors, judge_step, judge_together
from crynux_validate.calibration.intervals import Clustering, bounds, exact

DRAWN: Final = 50
"""So often steps are drawn of one picture, where there are so many ways."""
COUNTS: Final = (1, 3, 5, 10)

Judged = Callable[[Sequence[int]], bool]


def false_alarms(rows: Rows) -> str:
    """Honest audits under a band that was made from these very rows."""
    lines = ["**Honest, with the band that was made from them**", "", *_HONEST]
    for dtype, honest in _by_dtype(rows):
        fit = fitted(rows, dtype)
        assert fit is not None
        lines.append(_honest_line(dtype, "from these", [(row, fit) for row in honest]))
    return "\n".join([*lines, ""])


def held_out(rows: Rows) -> str:
    """Honest audits of one kind's pictures under a band of other kinds and other prompts."""
    lines = ["**Honest, each kind and half of the prompts held out**", "", *_HONEST]
    for dtype, honest in _by_dtype(rows):
        judged, one_auditor = [], len({row["auditor"] for row in honest}) == 1
        for kind in sorted({row["node"] for row in honest}):
            for half in (0, 1):
                rest = [row for row in rows if row["cheat"] is not None or _apart(row, kind, half, one_auditor)]
                fit = fitted(rest, dtype)
                if fit is not None:
                    tested = [r for r in honest if r["node"] == kind and r["picture_number"] % 2 != half]
                    judged += [(row, fit) for row in tested if row["scheduler"] in fit["latents"]]
        if judged:
            lines.append(_honest_line(dtype, "other kinds and prompts", judged))
    return "\n".join([*lines, ""])


def _apart(row: dict[str, Any], kind: str, half: int, one_auditor: bool) -> bool:
    """Whether an honest row has nothing of a kind, and lies in a half of the prompts.

    In float16 and bfloat16 one kind audits all others: it computes in float32, and is left in.
    """
    apart = kind != row["node"] and (one_auditor or kind != row["auditor"])
    return apart and int(row["picture_number"]) % 2 == half


def cheats(rows: Rows) -> str:
    """How many of the audits with k drawn steps find each cheat."""
    lines = [
        "**Cheats, k of all steps drawn**", "",
        "| dtype | cheat | pictures | first latent | k=1 | k=3 | k=5 | k=10 | known rounding: k=1 | k=5 | k=10 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for dtype, _ in _by_dtype(rows):
        fit = fitted(rows, dtype)
        assert fit is not None
        for cheat in dict.fromkeys(row["cheat"] for row in rows if row["cheat"] is not None and row["dtype"] == dtype):
            found = [row for row in rows if (row["dtype"], row["cheat"]) == (dtype, cheat)]
            first = sum(row["first"] == AuditFinding.CHEAT for row in found) / len(found)
            pictures = len({picture_of(row) for row in found})
            plain = [_rate(found, fit, count, against=False) for count in COUNTS]
            known = [_rate(found, fit, count, against=True) for count in (1, 5, 10)]
            lines.append(f"| {dtype} | {cheat} | {pictures} | {first:.0%} | {' | '.join([*plain, *known])} |")
    return "\n".join([*lines, ""])


_HONEST: Final = (
    "| dtype | band | pictures | pairs of kinds | step checks | alarms | at most | by picture | audits of 5 | alarms | "
    "at most, by picture |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def _by_dtype(rows: Rows) -> Iterator[tuple[str, Rows]]:
    for dtype in ("float32", "float16", "bfloat16"):
        honest = honest_rows(rows, dtype)
        if len({row["picture_number"] for row in honest}) > 1:
            yield dtype, honest


def _honest_line(dtype: str, band: str, judged: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    pictures: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    steps = alarms = audits = accused = 0
    pairs = set()
    for row, fit in judged:
        errors, band_here = (
            [errors_of(one) for one in row["rows"]],
            band_of(fit, row["scheduler"]),
        )
        single = [judge_step(at, one, band_here).finding is AuditFinding.CHEAT for at, one in enumerate(errors)]
        drawn = [_accused(errors, single, chosen, band_here) for chosen in _draws(len(errors), 5)]
        steps, alarms = steps + len(single), alarms + sum(single)
        audits, accused = audits + len(drawn), accused + sum(drawn)
        pictures.setdefault(picture_of(row), []).append((float(np.mean(single)), float(np.mean(drawn))))
        pairs.add((row["node"], row["auditor"]))
    means = np.array([np.mean(of, axis=0) for of in pictures.values()])
    by_picture = bounds(len(means), {"picture": Clustering(means, np.ones(len(means)))}).high
    most = exact(alarms / steps, steps)[1]
    return (
        f"| {dtype} | {band} | {len(pictures)} | {len(pairs)} | {steps} | {alarms} | {float(most):.2g} | "
        f"{by_picture[0]:.2g} | {audits} | {accused} | {by_picture[1]:.2g} |"
    )


def _rate(rows: Rows, fit: dict[str, Any], count: int, *, against: bool) -> str:
    """The share of draws that find a cheat, with bounds by picture."""
    if against and not any(row is not None and row[COLUMNS.index("against")] for of in rows for row in of["rows"]):
        return ""
    pictures: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        band = band_of(fit, row["scheduler"])
        errors = [errors_of(one, against=against) for one in row["rows"]]
        single = [judge_step(at, one, band).finding is AuditFinding.CHEAT for at, one in enumerate(errors)]
        found = [_accused(errors, single, chosen, band) for chosen in _draws(len(errors), count)]
        pictures.setdefault(picture_of(row), []).append(float(np.mean(found)))
    means = np.array([[np.mean(of)] for of in pictures.values()])
    rate = bounds(len(means), {"picture": Clustering(means, np.ones(len(means)))})
    return f"{100 * rate.rate[0]:.4g}% ({100 * rate.low[0]:.3g} to {100 * rate.high[0]:.3g})"


def _draws(steps: int, count: int) -> list[tuple[int, ...]]:
    if count == 1:
        return [(at,) for at in range(steps)]
    generator = np.random.default_rng([steps, count])
    count = min(count, steps)
    return [tuple(sorted(generator.choice(steps, count, replace=False))) for _ in range(DRAWN)]


def _accused(errors: Sequence[Errors], single: Sequence[bool], chosen: Sequence[int], band: Band) -> bool:
    if any(single[at] for at in chosen):
        return True
    together = judge_together((errors[at] for at in chosen), band)
    return together is not None and together.finding is AuditFinding.CHEAT


def errors_of(row: Sequence[float | None] | None, *, against: bool = False) -> Errors:
    """The errors of a step from its row in the record."""
    if row is None:
        return SAME
    of = dict(zip(COLUMNS, row, strict=True))

    def along(name: str) -> Along | None:
        value = of[name]
        return None if value is None or (name == "against" and not against) else Along(value, 0.0)

    length, prediction, smooth, latent = (float(of[name] or 0.0) for name in COLUMNS[:4])
    return Errors(
        equal=False, length=length, prediction=prediction, smooth=smooth, latent=latent,
        guidance=along("guidance"), reuse=along("reuse"), against=along("against"),
    )  # fmt: skip


__all__ = ["cheats", "errors_of", "false_alarms", "held_out"]
