"""The picture of a calibration: what every threshold does to honest machines, and what it lets through."""

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

from crynux_validate.calibration.rates import Rate
from crynux_validate.calibration.recommendation import Recommendation
from crynux_validate.calibration.result import Calibration
from crynux_validate.encoding import check_type
from crynux_validate.judging import DEFAULT_THRESHOLD
from crynux_validate.plots import BAD, GOOD, INK, PALE, RULE, plot_path, save_figure

HUES: Final = (
    "#2f4d7a", "#b4540a", "#6b3fa0", "#0b7285", "#a61e4d", "#5c7a00", "#8a5a2b", "#3b5bdb", "#087f5b", "#862e9c",
    "#e67700", "#495057", "#d6336c", "#1971c2", "#66a80f", "#9c36b5",
)  # fmt: skip
"""Of the cheats, one after the other."""

_LAST: Final = 40
"""The highest threshold drawn, where none that is recommended is higher: beyond it nearly everything agrees."""

_LEAST: Final = 1e-6
"""The lowest rate that an axis ends at."""


def draw_plot(calibration: Calibration, path: str | PathLike[str]) -> Path:
    """Draw a calibration; returns the path.

    Above, how often groups reject and slash honest machines; below, how often they accept each cheat. A line is what
    was measured, the band around it the interval.

    Parameters
    ----------
    calibration
        What is drawn.
    path
        Its suffix chooses the format: ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    InvalidInputError
        For another suffix, and where the file cannot be written.
    MissingExtraError
        Without matplotlib.
    """
    check_type(calibration, Calibration, "calibration", "a Calibration")
    target = plot_path(path)
    return save_figure(_figure(calibration), target)


def _figure(calibration: Calibration) -> Any:
    from matplotlib.figure import Figure

    found = calibration.recommendation
    chosen = found if isinstance(found, Recommendation) else None
    last = max(_LAST, chosen.slash_threshold + 4) if chosen else _LAST
    names = calibration.cheats
    high = 7.2 + 0.2 * max(0, len(names) - 10)
    figure = Figure(figsize=(10, high), facecolor="white")
    left, width = 0.09, 0.56
    above = figure.add_axes((left, 1 - 3.2 / high, width, 2.05 / high))
    below = figure.add_axes((left, 0.62 / high, width, 1 - 4.15 / high), sharex=above)
    _honest(above, calibration, chosen, last)
    _cheats(below, calibration, chosen, last)
    for axes in (above, below):
        axes.set_xlim(1, last)
        axes.set_xticks(range(4, last + 1, 4))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=PALE)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        if chosen:
            axes.axvline(chosen.threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            axes.axvline(chosen.slash_threshold, color=INK, linewidth=1, linestyle=(0, (1, 2)))
    if chosen:
        _mark(above, chosen)
    below.set_xlabel("threshold: two answers agree where their hashes differ in fewer bits", color=INK)
    _title(figure, calibration, high)
    return figure


def _mark(axes: Any, chosen: Recommendation) -> None:
    """Name the two lines, each on its own side."""
    for at, words, side in (
        (chosen.threshold, f"threshold {chosen.threshold} ", "right"),
        (chosen.slash_threshold, f" slash threshold {chosen.slash_threshold}", "left"),
    ):
        axes.text(at, 1.02, words, transform=axes.get_xaxis_transform(), color=INK, fontsize=8.5, ha=side, va="bottom")


def _title(figure: Any, calibration: Calibration, high: float) -> None:
    pictures = calibration.pictures
    unrelated = f", {pictures['unrelated']:,} unrelated pictures" if "unrelated" in pictures else ""
    about = (
        f"{calibration.algorithm}, groups of {calibration.group_size}, {len(calibration.kinds)} kinds of machines, "
        f"{pictures['honest']:,} pictures{unrelated}\n{calibration.recommendation}. "
        f"Lines: what was measured; thin lines: the upper ends of {100 * calibration.confidence:g}% intervals"
    )
    title = "What a threshold does to honest machines, and what it lets through"
    figure.text(0.02, 1 - 0.34 / high, title, fontsize=14, color=INK, fontweight="bold")
    figure.text(0.02, 1 - 0.48 / high, about, fontsize=9.5, color=PALE, va="top", linespacing=1.5)


def _honest(axes: Any, calibration: Calibration, chosen: Recommendation | None, last: int) -> None:
    """Rejects at each threshold; slashes at each slash threshold, for the threshold that is recommended."""
    rejects = {at: calibration.rates(at).honest.reject for at in range(1, last + 1)}
    fixed = chosen.threshold if chosen else None
    slashes = {at: calibration.rates(fixed or at, at).honest.slash for at in range(fixed or 1, last + 1)}
    floor = _log_axis(axes, [*rejects.values(), *slashes.values()], calibration.false_slash_rate)
    where = f"at threshold {fixed}" if fixed else "where both thresholds are one"
    for rates, colour, limit, words in (
        (rejects, GOOD, calibration.false_reject_rate, "groups with an honest member that is not paid"),
        (slashes, BAD, calibration.false_slash_rate, f"with one that is slashed, by slash threshold, {where}"),
    ):
        _band(axes, rates, colour, floor, label=words, filled=True)
        axes.axhline(limit, color=colour, linewidth=0.9, linestyle=(0, (6, 4)))
        axes.text(
            1.01, limit, f"at most {_percent(limit)} was asked for", transform=axes.get_yaxis_transform(), color=colour,
            fontsize=8.5, va="center",
        )  # fmt: skip
    axes.set_ylabel("honest machines", color=INK)
    axes.legend(frameon=False, loc="upper right", fontsize=8.5, labelcolor="linecolor")


def _cheats(axes: Any, calibration: Calibration, chosen: Recommendation | None, last: int) -> None:
    """What is accepted of each cheat, with a list beside it: those that pass most often first."""
    at = chosen.threshold if chosen else DEFAULT_THRESHOLD
    rates = {
        name: {place: calibration.rates(place).cheats[name].accept for place in range(1, last + 1)}
        for name in calibration.cheats
    }
    floor = _log_axis(axes, [rate for found in rates.values() for rate in found.values()], 1e-3)
    axes.set_ylabel("cheats that are accepted", color=INK)
    order = sorted(rates, key=lambda name: (-rates[name][at].rate, -rates[name][at].high, name))
    slashed = calibration.rates(at, chosen.slash_threshold if chosen else None).cheats
    words = f"at threshold {at}" + ("" if chosen else ", which is not recommended")
    step = min(0.07, 1 / (len(order) + 2))
    head = f"{words}\n{'accepted':>8} {'up to':>7} {'slashed ≥':>10}"
    axes.text(1.03, 1, head, transform=axes.transAxes, color=PALE, fontsize=8, va="top", family="monospace")
    for place, name in enumerate(order):
        colour = HUES[place % len(HUES)]
        _band(axes, rates[name], colour, floor)
        rate = rates[name][at]
        cut = name if len(name) <= 22 else f"{name[:21]}…"
        shown = f"{_percent(rate.rate):>8} {_percent(rate.high):>7} {_percent(slashed[name].slash.low):>10}"
        axes.text(
            1.03, 1 - (place + 2.4) * step, f"{shown}  {cut}", transform=axes.transAxes, color=colour,
            fontsize=8, va="center", family="monospace",
        )  # fmt: skip


def _band(
    axes: Any, rates: Mapping[int, Rate], colour: str, floor: float, *, label: str = "", filled: bool = False
) -> None:
    """A line where something was seen, and the interval around it; a thin line is its upper end."""
    places = list(rates)
    low, high = ([max(floor, getattr(rate, end)) for rate in rates.values()] for end in ("low", "high"))
    drawn = [filled or rate.rate > 0 for rate in rates.values()]
    axes.fill_between(places, low, high, where=drawn, color=colour, alpha=0.13, linewidth=0)
    axes.plot(places, high, color=colour, linewidth=0.7, alpha=0.8)
    seen = [rate.rate if rate.rate > 0 else math.nan for rate in rates.values()]
    axes.plot(places, seen, color=colour, linewidth=1.8, label=label)


def _log_axis(axes: Any, rates: Sequence[Rate], least: float) -> float:
    """Give an axis powers of ten, from below what was seen or is asked for; returns its end."""
    smallest = min([least, *(rate.high for rate in rates), *(rate.rate for rate in rates if rate.rate > 0)])
    floor = 10.0 ** math.floor(math.log10(max(_LEAST, smallest)))
    axes.set_yscale("log")
    axes.set_ylim(floor, 1.3)
    powers = [10.0**power for power in range(round(math.log10(floor)), 1)]
    axes.set_yticks(powers, [_percent(power) for power in powers])
    axes.minorticks_off()
    return floor


def _percent(share: float) -> str:
    """A share in percent, so that nearly all does not look like all."""
    percent = 100 * share
    return f"{percent:.2f}%" if 99.9 <= percent < 100 else f"{percent:.3g}%"
