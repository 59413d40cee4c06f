"""The picture of ``crynux-validate stake --audits --plot``: what a task costs against the stake, groups and audits."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from crynux_validate.cli.stake_plot import LINE
from crynux_validate.errors import InvalidInputError
from crynux_validate.plots import BAD, INK, PALE, RULE, UNSURE, plot_path, save_figure
from crynux_validate.stakes import AuditedStake, RequiredStake

from matplotlib.figure import Figure  # isort: skip - stake_plot says what to install
from matplotlib.ticker import FuncFormatter, NullFormatter  # isort: skip

RATES: Final = tuple(sorted({*(10 ** (-at / 20) for at in range(61)), *(1 - at / 50 for at in range(25))}))
"""The shares of tasks that are drawn, from one in a thousand to all."""

MARKED: Final = {1: "all tasks", 0.1: "a tenth", 0.01: "a hundredth", 0.001: "a thousandth"}
"""The shares that are pointed out."""


def draw_costs(
    path: Path,
    chosen: AuditedStake,
    audits: Callable[[float], RequiredStake],
    groups: Callable[[float], RequiredStake],
) -> Path:
    """Draw what a task costs against the required stake, each point for one share of tasks; returns the path.

    Parameters
    ----------
    path
        Its suffix chooses the format: ``.png``, ``.svg`` or ``.pdf``.
    chosen
        The stake that is pointed out.
    audits, groups
        The stake where this share of tasks is audited, or validated by a group.

    Raises
    ------
    InvalidInputError
        For another suffix, and where the file cannot be written.
    """
    target = plot_path(path)
    if not chosen.price:
        raise InvalidInputError("--plot has a logarithmic axis, and a price of 0 needs no stake: give another --price")
    figure = Figure(figsize=(8, 5), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(f"What a task costs, and what a node must have at stake\n{_conditions(chosen)}", fontsize=11,
                   color=INK, loc="left")  # fmt: skip
    axes.set_xlabel("required stake of a node, in the unit of the price", color=INK)
    axes.set_ylabel("cost of a task, in the unit of the price", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=PALE)
    axes.grid(color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    group = groups(1)
    sort = "text" if group.threshold is None else f"threshold {group.threshold}, {group.cheat or 'blind counterfeits'}"
    _curve(figure, groups, f"groups of {group.group_size}, sealed jobs: {sort}", LINE, above=True)
    _curve(figure, audits, f"one node, and audits that find {100 * chosen.d:.5g}% of cheats", UNSURE, above=False)
    if 0 < chosen.s < math.inf:
        axes.plot([chosen.s], [chosen.cost], "o", color=BAD, markersize=10, fillstyle="none", markeredgewidth=2)
        axes.annotate(
            f"{100 * chosen.sampling_rate:.4g}% audited: stake {chosen.s:,.4g}, cost {chosen.cost:,.4g}",
            (chosen.s, chosen.cost), color=BAD, xytext=(0, -34), textcoords="offset points", ha="center",
        )  # fmt: skip
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # room for the legend
    axes.set_xmargin(0.08)
    axes.legend(frameon=False, loc="upper right", labelcolor=INK)
    return save_figure(figure, target)


def _curve(figure: Figure, stake_at: Callable[[float], RequiredStake], label: str, color: str, *, above: bool) -> None:
    axes = figure.axes[0]
    found = {rate: one for rate in (*RATES, *MARKED) if 0 < (one := stake_at(rate)).s < math.inf}
    if not found:
        label += ": infinite stake" if stake_at(1).s else ": no stake needed"
    line = [found[rate] for rate in sorted(found)]
    axes.plot([one.s for one in line], [one.cost for one in line], color=color, label=label)
    for rate, words in MARKED.items():
        if rate in found:
            at = (found[rate].s, found[rate].cost)
            axes.plot(*([value] for value in at), "o", color=color, markersize=5)
            axes.annotate(
                words, at, color=color, xytext=(0, 7 if above else -15), textcoords="offset points", fontsize=8,
                ha="center",
            )  # fmt: skip


def _conditions(chosen: AuditedStake) -> str:
    then = "slashed at once" if chosen.audits.then == "slash" else "a group decides"
    return (
        f"{chosen.honest} honest and {chosen.dishonest} dishonest nodes; who is accused: {then};"
        f"\nan audit costs {float(chosen.audits.cost):g} of the price, false alarms {100 * chosen.a:.4g}%"
    )
