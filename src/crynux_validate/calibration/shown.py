"""A calibration as text: a table to decide from."""

from typing import Final

from crynux_validate.calibration.rates import Rate
from crynux_validate.calibration.recommendation import Recommendation
from crynux_validate.calibration.result import Calibration, Excluded
from crynux_validate.judging import DEFAULT_SLASH_THRESHOLD, DEFAULT_THRESHOLD

_COLUMNS: Final = (2, 4, 6, 8, 10, 12, 16, 20, 24)
"""The thresholds that the table has at least."""


def text_of(calibration: Calibration) -> str:
    """Return what ``print`` shows: rates over thresholds, then all at one pair of thresholds, then what limits them."""
    found = calibration.recommendation
    recommends = isinstance(found, Recommendation)
    threshold, slash = DEFAULT_THRESHOLD, DEFAULT_SLASH_THRESHOLD
    if isinstance(found, Recommendation):
        threshold, slash = found.threshold, found.slash_threshold
    counted = ", ".join(f"{count:,} {name}" for name, count in calibration.pictures.items())
    why = "what is recommended" if recommends else "which is not recommended"
    return "\n".join([
        f"{calibration.algorithm}, groups of {calibration.group_size}, {len(calibration.kinds)} kinds of machines",
        f"pictures: {counted}",
        "",
        f"% of groups at each threshold, < the upper end of its {100 * calibration.confidence:g}% interval:",
        *_over_thresholds(calibration, sorted({*_COLUMNS, threshold})),
        "",
        f"% of groups at threshold {threshold} and slash threshold {slash}, {why}:",
        *_at(calibration, threshold, slash),
        "",
        *dict.fromkeys(_left_out(one, calibration, threshold) for one in calibration.left_out),
        *(f"note: {warning}" for warning in calibration.warnings),
        str(found),
    ])  # fmt: skip


def _over_thresholds(calibration: Calibration, thresholds: list[int]) -> list[str]:
    rates = [calibration.rates(at) for at in thresholds]
    rows = [["", *map(str, thresholds)], ["honest, one not paid", *(_upper(one.honest.reject) for one in rates)]]
    rows += [[f"{name} accepted", *(_upper(one.cheats[name].accept) for one in rates)] for name in calibration.cheats]
    return _aligned(rows)


def _at(calibration: Calibration, threshold: int, slash: int) -> list[str]:
    rates = calibration.rates(threshold, slash)
    rows = [["", "accepted", "slashed", "upper ends by"]]
    for name, one in rates.cheats.items():
        rows.append([name, _between(one.accept), _between(one.slash), f"{one.accept.by}, {one.slash.by}"])
    honest = rates.honest
    rows += [["", "one not paid", "one slashed", ""]]
    rows += [["honest", _between(honest.reject), _between(honest.slash), f"{honest.reject.by}, {honest.slash.by}"]]
    return _aligned(rows)


def _left_out(one: Excluded, calibration: Calibration, threshold: int) -> str:
    at = calibration.place(threshold)
    agree = "agree" if one.role == "unrelated" else "do not agree"
    return (
        f"leaving out what is {one.rule}: {one.excluded:,} of {one.pairs:,} {one.role} pairs, and of those that {agree}"
        f" at {threshold} {one.excluded_events[at]:,} of {one.events[at]:,}"
    )


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([f"  {first:<{widths[0]}}", *cells]).rstrip())
    return lines


def _upper(rate: Rate) -> str:
    return f"{_percent(rate.rate)} <{_percent(rate.high)}"


def _between(rate: Rate) -> str:
    return f"{_percent(rate.rate)} ({_percent(rate.low)} to {_percent(rate.high)})"


def _percent(share: float) -> str:
    """Two digits, but nearly all is not all, and a little is not nothing."""
    percent = 100 * share
    return f"{percent:.2g}" if percent < 99 else f"{percent:.4g}" if percent < 100 else "100"
