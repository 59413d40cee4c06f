"""``crynux-validate stake``: the stake that makes a counterfeit a loss, and what a threshold costs."""

import argparse
import math
from pathlib import Path
from typing import Any

from crynux_validate.calibration.result import Calibration
from crynux_validate.cli import stake_audits
from crynux_validate.cli.common import Commands, add_json_flag, note, number_of, say, say_json
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import DEFAULT_THRESHOLD
from crynux_validate.stakes import DEFAULT_SOURCE, PPM, SOURCES, RequiredStake, Threshold, required_stake


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "stake",
        help="the stake that makes a counterfeit a loss",
        description="Print the stake at which a counterfeit is expected to gain nothing, with every part of the "
        "formula, and what a policy needs. Groups are drawn by stake from a pool of honest and dishonest nodes. The "
        "counterfeit is blind: a picture that has nothing to do with the task. Cheats that use the task agree far "
        "more often: --calibration takes their measured chances. A sampling rate below 1 needs sealed jobs: a node "
        "must not know which tasks are checked.",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--threshold", type=int, help=f"1 to 64, default: {DEFAULT_THRESHOLD}, or what the calibration recommends"
    )
    kind.add_argument("--text", action="store_true", help="text tasks: nothing agrees by chance")
    parser.add_argument(
        "--slash-threshold",
        type=int,
        metavar="N",
        help="default: the larger of 24 and the threshold, or what the calibration recommends with its threshold",
    )
    parser.add_argument("--images", type=int, help="pictures of a task, default: 1, or those of the calibration")
    parser.add_argument(
        "--sampling-rate", default="1", metavar="R", help="share of tasks that a group validates, default: 1"
    )
    parser.add_argument("--price", default="1", help="price of a task, default: 1 (the stake is then a factor)")
    parser.add_argument("--honest", type=int, required=True, help="nodes of the pool that can be drawn together")
    parser.add_argument("--dishonest", type=int, required=True, help="nodes of the pool that collude")
    parser.add_argument("--group-size", type=int, help="members of a group, default: 3, or those of the calibration")
    parser.add_argument(
        "--dishonest-weight",
        default="1",
        metavar="W",
        help="weight of a dishonest node in the draw; an honest one has 1; default: 1",
    )
    parser.add_argument(
        "--absent", default="0", metavar="A", help="the chance that an honest member submits nothing; default: 0"
    )
    parser.add_argument(
        "--slash-ppm", type=int, default=PPM, help="part of a stake that a slash takes, in millionths, default: all"
    )
    parser.add_argument(
        "--slash-per-fee", type=int, metavar="N", help="a slash takes at most N times the price; default: no bound"
    )
    parser.add_argument(
        "--source",
        choices=SOURCES,
        help=f"where the chance that unrelated pictures agree comes from; default: {DEFAULT_SOURCE}, an upper bound",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="take the chances of cheats from what crynux-validate calibrate --out wrote",
    )
    parser.add_argument(
        "--cheat",
        dest="cheats",
        action="append",
        metavar="NAME",
        help="count only this cheat of the calibration; can be given several times",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw stake over threshold: .png, .svg or .pdf")
    add_json_flag(parser)
    stake_audits.add_options(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Print the stake and its parts; with ``--plot`` also draw it."""
    pool: dict[str, Any] = {
        "honest": arguments.honest,
        "dishonest": arguments.dishonest,
        "sampling_rate": number_of(arguments.sampling_rate, "--sampling-rate"),
        "price": number_of(arguments.price, "--price"),
    }
    rules: dict[str, Any] = {
        "group_size": arguments.group_size,
        "dishonest_weight": number_of(arguments.dishonest_weight, "--dishonest-weight"),
        "absent": number_of(arguments.absent, "--absent"),
        "slash_ppm": arguments.slash_ppm,
        "slash_per_fee": arguments.slash_per_fee,
        "slash_threshold": arguments.slash_threshold,
        "images": arguments.images,
    }
    if arguments.dishonest == 0:
        raise InvalidInputError("--dishonest is 0; the node that would cheat is one of them: give at least 1")
    if arguments.cheats and arguments.calibration is None:
        raise InvalidInputError(
            f"--cheat {shorten(arguments.cheats[0])} needs --calibration FILE, where it was measured"
        )
    if arguments.text and arguments.calibration is not None:
        raise InvalidInputError("--calibration is of images, and --text of text tasks; leave one of them out")
    calibration = None if arguments.calibration is None else Calibration.load(arguments.calibration)
    for warning in () if calibration is None else calibration.warnings:
        note(f"the calibration notes: {warning}")
    threshold: Threshold = None if arguments.text else "default" if arguments.threshold is None else arguments.threshold

    def groups(rate: float) -> RequiredStake:
        return required_stake(
            **pool | {"sampling_rate": rate},
            **rules,
            threshold=threshold,
            source=arguments.source,
            calibration=calibration,
            cheats=arguments.cheats,
        )

    terms = stake_audits.terms_of(arguments)
    if terms is not None:
        own = ("group_size", "dishonest_weight", "absent", "slash_ppm", "slash_per_fee")
        if calibration is not None and rules["group_size"] is None:
            rules["group_size"] = calibration.group_size
        return stake_audits.show(arguments, terms, pool | {name: rules[name] for name in own}, groups)
    required = groups(pool["sampling_rate"])
    live = required_stake(**pool, threshold=None, view="network")
    if arguments.plot:
        if threshold is None:
            raise InvalidInputError("--plot draws the stake over the threshold, which --text does not have")
        if calibration is not None:
            raise InvalidInputError("--plot draws blind counterfeits; crynux-validate calibrate --plot draws cheats")
        from crynux_validate.cli.stake_plot import draw_plot  # matplotlib: only here

        note(f"wrote {draw_plot(arguments.plot, required, **pool, **rules)}")
    if arguments.json:
        say_json(required.to_dict() | {"live_network": live.to_dict()})
    else:
        amount = "infinite" if math.isinf(live.s) else f"{live.s:.6g}"
        say(f"{required}\nthe live network's formula, by the share of all groups that collude, without f: {amount}")
    return 0
