"""The picture of ``crynux-validate stake --plot``: what a threshold costs in stake."""

import math
from pathlib import Path
from typing import Any, Final

from crynux_validate.errors import InvalidInputError, needed_for
from crynux_validate.plots import BAD, INK, PALE, RULE, UNSURE, plot_path, save_figure
from crynux_validate.stakes import PPM, SOURCES, RequiredStake, Source, required_stake

with needed_for("--plot", "plot"):
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

LAST: Final = 48
"""The highest threshold drawn; beyond it nearly every pair of pictures agrees, and the curve leaves any paper."""

_TITLE_COLUMNS: Final = 72
"""How many characters of the title fit into a line."""

LINE: Final = "#2f4d7a"

_WORDS: Final = {"photographs": "unrelated photographs, upper end at 95%", "binomial": "64 tosses of a coin"}
_LOOKS: Final[dict[Source, dict[str, Any]]] = {
    "photographs": {"color": LINE, "drawstyle": "steps-mid"},
    "binomial": {"color": UNSURE, "linestyle": ":"},
}


def draw_plot(path: Path, chosen: RequiredStake, **arguments: Any) -> Path:
    """Draw the required stake over the threshold; returns the path.

    Parameters
    ----------
    path
        Its suffix chooses the format: ``.png``, ``.svg`` or ``.pdf``.
    chosen
        The stake that is pointed out.
    arguments
        Of `required_stake`, without threshold and source.

    Raises
    ------
    InvalidInputError
        For another suffix, and where the file cannot be written.
    """
    return save_figure(_figure(chosen, arguments), plot_path(path))


def _figure(chosen: RequiredStake, arguments: dict[str, Any]) -> Figure:
    if not chosen.price:
        raise InvalidInputError("--plot has a logarithmic axis, and a price of 0 needs no stake: give another --price")
    arguments |= {"slash_per_fee": None}  # what a stake would be without the bound, which is a line of its own
    fixed = arguments["slash_threshold"]
    last = fixed or LAST  # a threshold is at most the slash threshold
    curves = {source: _stakes(last, source, arguments) for source in SOURCES}
    figure = Figure(figsize=(8, 5), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(f"What a threshold costs in stake\n{_conditions(chosen)}", fontsize=11, color=INK, loc="left")
    axes.set_xlabel("threshold: two pictures agree where their hashes differ in fewer bits", color=INK)
    axes.set_ylabel("required stake of a member, in the unit of the price", color=INK)
    axes.set_xlim(0, last + 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=PALE)
    stake = chosen.slash * PPM / chosen.slash_ppm if chosen.slash_ppm else math.inf
    drawn = [found for curve in curves.values() for found in curve.values()]
    if not drawn:
        axes.axhline(1, color=BAD, linewidth=2)
        axes.set_ylim(0, 1.1)
        axes.set_yticks([1], ["∞" if chosen.slash else "0"], fontsize=16)
        axes.text(
            last / 2, 0.5,
            "infinite at every threshold: no stake\nmakes a counterfeit a loss in this pool" if chosen.slash
            else "0 at every threshold: nothing is gained",
            ha="center", va="center", fontsize=13, color=BAD,
        )  # fmt: skip
        return figure
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", which="major", color=RULE, linewidth=0.8)
    for source, curve in curves.items():
        axes.plot(list(curve), list(curve.values()), label=f"chance of agreement: {_WORDS[source]}", **_LOOKS[source])
    if chosen.bound:
        most = chosen.bound * PPM / chosen.slash_ppm
        axes.axhline(most, color=BAD, linewidth=1, linestyle="--", label="of a larger stake a slash takes no more")
    if math.isinf(stake) and chosen.threshold is not None:
        words = f"threshold {chosen.threshold}: no stake makes a counterfeit a loss"
        axes.axvline(chosen.threshold, color=BAD, linewidth=1, label=words)
    elif stake and chosen.threshold is not None and chosen.threshold <= last:
        axes.plot([chosen.threshold], [stake], "o", color=BAD, markersize=10, fillstyle="none", markeredgewidth=2)
        axes.annotate(
            f"threshold {chosen.threshold}: stake {stake:,.4g}", (chosen.threshold, stake), color=BAD,
            xytext=(0, 16), textcoords="offset points", ha="right" if chosen.threshold > last / 2 else "center",
        )  # fmt: skip
    axes.set_ylim(min(drawn) / math.sqrt(10), max(drawn) * 10)  # room for the legend, and for one power of ten at least
    axes.legend(frameon=False, loc="upper left", labelcolor=INK)
    return figure


def _stakes(last: int, source: Source, arguments: dict[str, Any]) -> dict[int, float]:
    """The stake at each threshold up to the last, as far as there is one that helps and is above 0."""
    found = {at: required_stake(**arguments, threshold=at, source=source).s for at in range(1, last + 1)}
    return {at: stake for at, stake in found.items() if 0 < stake < math.inf}


def _conditions(chosen: RequiredStake) -> str:
    images = "one picture" if chosen.images == 1 else f"{chosen.images} independent pictures"
    rate = (
        "every task validated"
        if chosen.sampling_rate == 1
        else f"{chosen.sampling_rate:.2%} of tasks validated, jobs sealed"
    )
    lines = (chosen.group, f"{rate}, price {chosen.price:g}; blind counterfeits of {images}")
    return "\n".join(line if len(line) <= _TITLE_COLUMNS else ",\n".join(line.rsplit(", ", 1)) for line in lines)
