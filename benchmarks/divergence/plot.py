"""The picture: how many texts have parted after so many tokens, and how narrow the choices were at which they did."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from benchmarks.divergence.records import Beside, Measurements
from benchmarks.divergence.tables import parting_kinds, places, share_parted
from crynux_validate.cli.stake_plot import LINE
from crynux_validate.plots import BAD as LOUD
from crynux_validate.plots import FORMATS, INK, PALE

__all__ = ["FORMATS", "draw"]

KINDS: Final = (LINE, "#4f8fc0", "#2a7f6f", "#7a9a01", "#6b4c9a", "#8a8f98", "#14a3b8")
COPIES: Final = (LOUD, "#d98200")

WRITTEN: Final = {"greedy": "the most likely token is taken", "sampled": "tokens are drawn by chance"}
"""What the second word of a way means."""

FLOOR: Final = 1e-6
"""The left end of the axis of margins; what is less is drawn there, ties too."""


def draw(path: Path, seen: Measurements) -> None:
    """Draw a row of three pictures for each dtype: texts that parted, greedy and sampled, and margins."""
    dtypes = list(dict.fromkeys(way.split(", ")[0] for way in seen.native))
    count = len(next(iter(seen.native.values())))
    figure = Figure(figsize=(13, 4 * len(dtypes) + 1), layout="constrained", facecolor="white")
    figure.suptitle(
        f"When do two machines stop writing the same text? {count} openings, continued by {seen.tokens} tokens (words "
        "or parts of words), beside the texts of this machine.\n"
        "Left and middle: how many texts have parted. Right: solid for greedy, dotted for sampled; the margin is how "
        "far the best token is ahead of the second best.",
        fontsize=11, color=INK, x=0.01, ha="left",
    )  # fmt: skip
    grid: Any = figure.subplots(len(dtypes), 3, squeeze=False, gridspec_kw={"width_ratios": (1, 1, 1.15)})
    lines: dict[str, Any] = {}
    for dtype, (greedy, sampled, margins) in zip(dtypes, grid, strict=True):
        for written, axes in (("greedy", greedy), ("sampled", sampled)):
            lines |= _parted(axes, seen, f"{dtype}, {written}")
            axes.set_title(f"{dtype}, {written}: {WRITTEN[written]}", fontsize=10, color=INK, loc="left")
        greedy.set_ylabel("texts that have parted", color=INK)
        _margins(margins, seen, dtype)
    figure.legend(
        list(lines.values()), list(lines), loc="outside lower left", ncols=4, frameon=False, labelcolor=INK, fontsize=9
    )
    figure.savefig(path, dpi=150)


def _parted(axes: Any, seen: Measurements, way: str) -> dict[str, Any]:
    """Draw a line for each kind that parts, and for each copy; returns them by their label."""
    lines: dict[str, Any] = {}
    for label, color, ways in _honest(seen):
        lines[label] = _steps(axes, ways[way], seen.tokens, color=color)
    for (name, ways), color in zip(seen.copies.items(), COPIES, strict=False):
        label = f"copy of the model with weights rounded to {name}"
        lines[label] = _steps(axes, ways[way], seen.tokens, color=color, linestyle="--")
    axes.set_xlim(0, seen.tokens)
    axes.set_ylim(-0.01, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("tokens written", color=INK)
    _plain(axes)
    return lines


def _honest(seen: Measurements) -> list[tuple[str, str, Mapping[str, list[Beside]]]]:
    """The kinds that part, with a label and a colour; kinds that part alike everywhere share a line."""
    alike: dict[str, tuple[list[str], Mapping[str, list[Beside]]]] = {}
    for kind, ways in parting_kinds(seen).items():
        firsts = repr([[text.first for text in found] for found in ways.values()])
        alike.setdefault(firsts, ([], ways))[0].append(kind)
    return [
        (f"honest machine: {', '.join(names)}", KINDS[at % len(KINDS)], ways)
        for at, (names, ways) in enumerate(alike.values())
    ]


def _steps(axes: Any, found: Sequence[Beside], tokens: int, **style: Any) -> Any:
    return axes.step(range(tokens + 1), share_parted(found, tokens), where="post", linewidth=1.8, **style)[0]


def _margins(axes: Any, seen: Measurements, dtype: str) -> None:
    """Draw, for each margin, the share of tokens whose margin is at most that."""
    most = 1.0
    counts: dict[str, list[str]] = {}
    for written, line in (("greedy", "-"), ("sampled", ":")):
        for (where, margins, _), color in zip(places(seen, f"{dtype}, {written}"), (LOUD, PALE), strict=True):
            counts.setdefault(where, []).append(f"{len(margins):,} {written}")
            if margins:
                values = np.sort(np.maximum(margins, FLOOR))
                most = max(most, float(values[-1]))
                share = np.arange(len(values) + 1) / len(values)
                axes.step([FLOOR, *values], share, where="post", color=color, linewidth=1.8, linestyle=line)
    parting, elsewhere = (", ".join(found) for found in counts.values())
    # Above the curves, which may be anywhere.
    text = {"fontsize": 9, "transform": axes.transAxes, "va": "top"}
    axes.text(0.02, 1.0, f"tokens at which machines part: {parting}", color=LOUD, **text)
    axes.text(0.02, 0.93, f"all other tokens: {elsewhere}", color=PALE, **text)
    axes.set_xscale("log")
    axes.set_xlim(FLOOR / 1.5, most * 2)
    axes.set_ylim(-0.01, 1.22)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.spines["left"].set_bounds(0, 1)
    axes.set_xticks([FLOOR, 1e-4, 1e-2, 1], ["0", "0.0001", "0.01", "1"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title(f"{dtype}: how near was the second best token?", fontsize=10, color=INK, loc="left")
    axes.set_xlabel("margin of the best token (0: a tie)", color=INK)
    axes.set_ylabel("tokens with at most that margin", color=INK)
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=PALE)
    axes.grid(axis="y", color="#d5dae1", linewidth=0.8)
