"""The plot: how far honest machines and each cheat are from the honest picture, a row each."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.distances.plan import MAIN
from benchmarks.distances.record import Cheated, Honest, Record
from benchmarks.distances.tables import below, distances, main_pairs
from crynux_validate.errors import InvalidInputError, MissingExtraError
from crynux_validate.judging.centre import DEFAULT_SLASH_THRESHOLD, DEFAULT_THRESHOLD

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise MissingExtraError("--plot", "plot", error.name or "matplotlib") from error

FORMATS: Final = (".png", ".svg", ".pdf")

INK, PALE, RULE = "#1c2430", "#5b6675", "#d5dae1"
GOOD, UNSURE, BAD = "#1a7f4b", "#9a6700", "#c0262d"
_GROUNDS: Final = {GOOD: "#eaf5ee", UNSURE: "#faf3e3", BAD: "#fbeaea"}

_LAST: Final = 48
"""The highest distance drawn; what lies beyond is drawn here."""

_HIGHEST: Final = 0.82
"""The height of a row's tallest bar; rows are 1 apart."""


def draw_plot(path: Path, record: Record) -> Path:
    """Draw the distances of the main setting; returns the path.

    Parameters
    ----------
    path
        Its suffix chooses the format: ``.png``, ``.svg`` or ``.pdf``.
    record
        What was measured.

    Raises
    ------
    InvalidInputError
        For another suffix, and where the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidInputError(f"--plot is {str(path)!r}; expected a file name that ends in {', '.join(FORMATS)}")
    try:
        _figure(record).savefig(path, dpi=150)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def rows(record: Record) -> list[tuple[str, list[tuple[str, list[int]]]]]:
    """Return headings, each with its rows: a name and distances."""
    honest = []
    for dtype in (setting.dtype for setting in MAIN):
        chosen = [pairs for pairs in main_pairs(record) if pairs.dtype == pairs.beside_dtype == dtype]
        if chosen:
            honest.append((f"another machine, {dtype}", _all(chosen)))
    groups = dict.fromkeys(pairs.group for pairs in record.cheats)
    cheats = [
        (group, [(pairs.name, distances(pairs)) for pairs in record.cheats if pairs.group == group]) for group in groups
    ]
    return [("honest", honest), *cheats]


def _all(chosen: list[Honest] | list[Cheated]) -> list[int]:
    return [distance for pairs in chosen for distance in distances(pairs)]


def _figure(record: Record) -> Figure:
    blocks = rows(record)
    count = sum(len(inside) + 1 for _, inside in blocks)
    figure = Figure(figsize=(10, 2.2 + 0.42 * count), facecolor="white")
    high = figure.get_figheight()
    axes = figure.add_axes((0.31, 0.75 / high, 0.57, 1 - 2.3 / high))
    axes.set_xlim(-1, _LAST + 1)
    axes.set_ylim(count, 0)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=PALE)
    axes.set_xticks(range(0, _LAST + 1, 8), [*map(str, range(0, _LAST, 8)), f"{_LAST} or more"])
    axes.set_xlabel("distance: how many of the 64 bits of the hash differ from the honest picture's", color=INK)
    _zones(axes, count)
    left = axes.get_yaxis_transform()
    at = 0
    for heading, inside in blocks:
        at += 1
        axes.text(-0.52, at - 0.15, heading, transform=left, color=INK, fontsize=11, fontweight="bold")
        axes.plot([-0.52, 1.19], [at, at], color=RULE, linewidth=0.8, transform=left, clip_on=False)
        for name, apart in inside:
            at += 1
            _row(axes, at, name, apart, honest=heading == "honest")
    tasks = len(record.cheats[0].hashes)
    title = "What the plain hash finds, and what it lets through"
    figure.text(0.014, 1 - 0.34 / high, title, fontsize=14, color=INK, fontweight="bold")
    about = (
        f"Each row: {tasks} prompts, drawn by a small Stable Diffusion at 128x128 in 25 steps (DDIM). A bar is as high "
        "as the distance is frequent.\nGreen is as it should be; red is a cheat that passes, or an honest machine that "
        "loses its stake; brown lies between."
    )
    figure.text(0.014, 1 - 0.54 / high, about, fontsize=10, color=PALE, va="top", linespacing=1.4)
    return figure


def _zones(axes: Any, count: int) -> None:
    """Colour what a distance leads to, and draw thresholds."""
    zones = [
        (-1, DEFAULT_THRESHOLD, GOOD, "counts as the same:\npaid"),
        (DEFAULT_THRESHOLD, DEFAULT_SLASH_THRESHOLD, UNSURE, "another:\nnot paid"),
        (DEFAULT_SLASH_THRESHOLD, _LAST + 1, BAD, "another: loses the stake"),
    ]
    for start, end, colour, words in zones:
        # Distances are whole and agree below a threshold, so the border lies just before it.
        first, last = max(start - 0.5, -1), end - 0.5 if end <= _LAST else end
        axes.axvspan(first, last, color=_GROUNDS[colour], linewidth=0, zorder=0)
        axes.text(
            (first + last) / 2, -0.25, words, color=colour, ha="center", va="bottom", fontsize=10, fontweight="bold",
            linespacing=1.1,
        )  # fmt: skip
    for threshold in (8, DEFAULT_THRESHOLD, DEFAULT_SLASH_THRESHOLD):
        axes.plot([threshold - 0.5] * 2, [0, count], color=PALE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.text(threshold - 0.2, 0.35, f"threshold {threshold}", color=PALE, fontsize=8)
    axes.text(
        1.115, -0.25, f"passes\nat {DEFAULT_THRESHOLD}", transform=axes.get_yaxis_transform(), color=INK, ha="center",
        va="bottom", fontsize=10, fontweight="bold", linespacing=1.1,
    )  # fmt: skip


def _row(axes: Any, at: int, name: str, apart: list[int], *, honest: bool) -> None:
    """Draw the bars of a row, whose base is at `at`, its name and the share that passes."""
    left = axes.get_yaxis_transform()
    counts = Counter(min(distance, _LAST) for distance in apart)
    most = max(counts.values())
    for distance, number in counts.items():
        agrees = distance < DEFAULT_THRESHOLD
        # An honest machine should pass and a cheat should not: green is as it should be.
        colour = GOOD if agrees == honest else BAD
        if not agrees and distance < DEFAULT_SLASH_THRESHOLD:
            colour = UNSURE
        height = max(0.05, _HIGHEST * number / most)
        axes.bar(distance, -height, width=1.5, bottom=at, color=colour, linewidth=0, zorder=3)
    axes.plot([-1, _LAST + 1], [at, at], color=RULE, linewidth=0.8, zorder=2)
    axes.text(-0.5, at - 0.18, name, transform=left, color=INK, fontsize=10)
    passes = below(apart, DEFAULT_THRESHOLD)
    as_wished = passes == 1 if honest else passes == 0
    colour = GOOD if as_wished else BAD
    axes.text(1.115, at - 0.18, _percent(passes), transform=left, color=colour, ha="center", fontsize=11)


def _percent(share: float) -> str:
    """Show a share so that nearly none and nearly all do not look like none and all."""
    rounded = f"{share:.0%}"
    if rounded in {"0%", "100%"} and share not in {0, 1}:
        return f"{share:.1%}"
    return rounded
