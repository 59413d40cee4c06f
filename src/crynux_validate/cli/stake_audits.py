"""``crynux-validate stake --audits``: the same for one node that is audited, beside groups."""

import argparse
import math
from collections.abc import Callable
from typing import Any, Final

from crynux_validate.cli.common import note, number_of, say, say_json
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.stakes import AFTER_AUDIT, AuditedStake, AuditTerms, RequiredStake, required_stake

_NUMBERS: Final = {
    "--detection": ("D", "detection", "the chance that an audit accuses the cheat; or give --steps and --cheated"),
    "--cheated": ("Q", "cheated", "share of the steps that the cheat spares itself: found with 1 - (1-Q)^K"),
    "--false-alarms": ("A", "false_alarms", "the chance that an audit accuses an honest node: its upper bound"),
    "--audit-cost": ("C", "cost", "of an audit, as a share of the price; default: 1, the whole work again"),
    "--saves": ("M", "saves", "share of the price that the cheat saves; default: 1"),
    "--confirms": ("G", "confirms", "with a group: the chance that it accuses the cheat as well; default: D"),
    "--confirms-falsely": ("H", "confirms_falsely", "the same of an honest node that is accused; default: 1"),
}
"""For each option what its value is called, the parameter of `AuditTerms`, and the help."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `AuditTerms`."""
    group = parser.add_argument_group("audits", "one node works, and the sampling rate is the share that is audited")
    group.add_argument(
        "--audits",
        dest="then",
        choices=AFTER_AUDIT,
        help="what follows when an audit accuses a node: it is slashed at once, or a group decides",
    )
    group.add_argument("--steps", type=int, metavar="K", help="steps that an audit draws")
    for option, (metavar, name, words) in _NUMBERS.items():
        group.add_argument(option, dest=name, metavar=metavar, help=words)


def terms_of(arguments: argparse.Namespace) -> AuditTerms | None:
    """Return the terms that were given; None without ``--audits``."""
    given: dict[str, Any] = {
        name: number_of(text, option)
        for option, (_, name, _) in _NUMBERS.items()
        if (text := getattr(arguments, name)) is not None
    }
    if arguments.steps is not None:
        given["steps"] = arguments.steps
    if arguments.then is None:
        for name in given:
            raise InvalidInputError(f"{name} is {shorten(given[name])}, but nothing is audited; give --audits as well")
        return None
    if "detection" not in given and not {"steps", "cheated"} <= given.keys():
        raise InvalidInputError("--audits needs --detection, or both --steps and --cheated: how often it finds a cheat")
    if "false_alarms" not in given:
        raise InvalidInputError("--audits needs --false-alarms: the upper bound, since no rate is known to be 0")
    return AuditTerms(**given, then=arguments.then)


def show(
    arguments: argparse.Namespace,
    terms: AuditTerms,
    rules: dict[str, Any],
    groups: Callable[[float], RequiredStake],
) -> int:
    """Print the stake of audits, and that of groups for the same share of tasks; with ``--plot`` also draw them.

    Parameters
    ----------
    arguments
        Of the command.
    terms
        How answers are audited.
    rules
        Of `required_stake`, without what compares pictures.
    groups
        The stake where a group validates this share of tasks.
    """

    def audited(rate: float) -> AuditedStake:
        found = required_stake(**rules | {"sampling_rate": rate}, audits=terms)
        assert isinstance(found, AuditedStake)  # noqa: S101 - it has terms
        return found

    rate = rules["sampling_rate"]
    found, beside = audited(rate), groups(rate)
    if arguments.plot:
        from crynux_validate.cli.audit_plot import draw_costs  # matplotlib: only here

        note(f"wrote {draw_costs(arguments.plot, found, audited, groups)}")
    if arguments.json:
        say_json(found.to_dict() | {"groups": beside.to_dict()})
    else:
        say(f"{found}\n{_beside(beside)}")
    return 0


def _beside(groups: RequiredStake) -> str:
    amount = "infinite" if math.isinf(groups.s) else f"{groups.s:.6g}"
    sort = "texts that differ" if groups.threshold is None else "blind counterfeits, which no audit is needed for"
    sort = groups.cheat or sort
    return (
        f"beside it, groups of {groups.group_size} for the same share of tasks, against {sort}:"
        f" stake {amount}, a task costs {groups.cost:.6g}"
    )
