"""From samples to a calibration."""

import platform
from collections.abc import Iterator
from os import PathLike
from typing import Final

import numpy as np

from crynux_validate.calibration.fields import CHEAT, HONEST, UNRELATED
from crynux_validate.calibration.intervals import check_confidence
from crynux_validate.calibration.making import Making
from crynux_validate.calibration.rates import reps_of
from crynux_validate.calibration.recommendation import recommended
from crynux_validate.calibration.result import Calibration
from crynux_validate.calibration.samples import Samples
from crynux_validate.calibration.table import Table, classes_of, margin_cuts
from crynux_validate.calibration.unrelated import OnProgress
from crynux_validate.encoding import check_flag, check_function, check_integer, check_type, shorten
from crynux_validate.errors import InvalidInputError, needed_for
from crynux_validate.judging.verdict import check_group_size

PLAIN_SHARE: Final = 0.05
"""From this share of degenerate hashes on a warning is given."""


def calibrate(
    samples: Samples,
    *,
    group_size: int = 3,
    false_reject_rate: float = 0.01,
    false_slash_rate: float = 0.001,
    confidence: float = 0.95,
    safety_checker: bool = True,
    groups: int = 20_000,
    seed: int = 0,
    state: str | PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Calibration:
    """Measure what every threshold lets through, and which of honest machines it rejects and slashes.

    Rates are per pair of answers, and per group: groups are drawn from the data and judged by `judge_many`'s code, so
    that they hold for the rule that a ledger applies. What counts for the bounds is how many pictures there are, never
    how many pairs or groups (`crynux_validate.calibration.intervals`). They hold for pictures like those measured, and
    for kinds of machines like those measured.

    Parameters
    ----------
    samples
        Answers under one hash. Honest answers of at least two kinds of machines; unrelated pictures and cheats as far
        as there are any. A cheat is measured beside honest answers to the same task and model.
    group_size
        3, 5, 7 or 9.
    false_reject_rate, false_slash_rate
        At most which share of honest groups may have a member that is not paid, or one that is slashed; above 0 and
        below 1. The recommendation keeps them with the confidence given.
    confidence
        Of each interval, and of the recommendation; 0.5 to 0.9999.
    safety_checker
        Whether tasks have a safety checker (`CentreRule`).
    groups
        About so many groups are drawn for each cheat and number of accomplices, at least one of each picture and at
        most 64.
    seed
        Of all that is drawn; equal samples and seeds give equal calibrations.
    state
        A file for the progress of comparing unrelated pictures. Where it is there, the work goes on from it.
    on_progress
        Called every few seconds with how many of how many pairs of unrelated pictures were compared.

    Returns
    -------
    Calibration
        Its `warnings` say what limits it. Too few data are no error: the bounds are wide then, and the recommendation
        says how many more pictures it takes.

    Raises
    ------
    InvalidInputError
        For arguments out of range, answers of fewer than two kinds of machines, and a state of other samples.
    MissingExtraError
        Without scipy.
    OSError
        Where the state cannot be written.
    """
    check_type(samples, Samples, "samples", "Samples: make them with Samples.of or read_samples")
    check_group_size(group_size)
    _check_rate(false_reject_rate, "false_reject_rate", 0.01)
    _check_rate(false_slash_rate, "false_slash_rate", 0.001)
    check_confidence(confidence)
    check_flag(safety_checker, "safety_checker")
    check_integer(groups, "groups", 1, 10**7)
    check_integer(seed, "seed")
    check_function(on_progress, "on_progress")
    if state is not None:
        check_type(state, (str, PathLike), "state", "the name of a file")
    with needed_for("calibrate", "calibration"):
        import scipy  # noqa: F401 - before the work, not after it
    honest, unrelated = samples.having(HONEST), _in_order(samples.having(UNRELATED))
    cuts = margin_cuts(honest) or margin_cuts(unrelated)
    table = Table.of(honest, classes_of(honest, cuts))
    made = Making(table, reps_of(_even(samples)), group_size, confidence, safety_checker, groups, seed)
    made.warnings += [*table.warnings, *_warnings(samples, table, group_size, margins=bool(cuts))]
    made.add_honest(cuts)
    made.add_unrelated(unrelated, cuts, state, on_progress)
    for name in samples.cheats:
        made.add_cheat(name, samples.having(CHEAT + name))
    return Calibration(
        algorithm=samples.algorithm,  # type: ignore[arg-type]  # checked
        images=samples.images,
        group_size=group_size,
        safety_checker=safety_checker,
        confidence=confidence,
        false_reject_rate=false_reject_rate,
        false_slash_rate=false_slash_rate,
        models=honest.models.names,
        kinds=table.kinds,
        merged=table.merged,
        pictures=made.pictures,
        thresholds=made.thresholds,
        groups=made.groups,
        pairs=made.pairs,
        left_out=tuple(made.left_out),
        recommendation=recommended(
            made.groups[HONEST], made.thresholds, false_reject_rate, false_slash_rate, confidence
        ),
        warnings=tuple(made.warnings),
        versions=_versions(),
        seed=seed,
    )


def _warnings(samples: Samples, table: Table, size: int, *, margins: bool) -> Iterator[str]:
    """Say what limits rates of groups of a size; `margins` says whether rules on margins are looked at."""
    models = samples.having(HONEST).models.names
    if len(models) > 1:
        yield f"{len(models)} models are taken together; a threshold belongs to one model: calibrate each by itself"
    if len(table.kinds) == 2:
        yield "there are two kinds of machines, so that nothing is known of how pairs of kinds differ"
    answers = table.present.sum(axis=1)
    if few := int((answers < size).sum()):
        yield (
            f"{few} of {len(answers)} tasks were answered by fewer than {size} kinds of machines: in their groups some"
            " members are of one kind and always agree, which makes rates per group look better than they are"
        )
    for role in (HONEST, UNRELATED):
        rows = samples.having(role)
        if len(rows) and (share := float(rows.degenerate.mean())) >= PLAIN_SHARE:
            yield (
                f"{share:.0%} of the {role} hashes are degenerate: pictures too plain to tell apart, on which nobody is"
                " slashed"
            )
    unknown = int(np.isnan(samples.margins).sum())
    if margins and unknown:
        yield f"{unknown} of {len(samples)} samples have no margin: rules on margins leave none of them out"


def _in_order(samples: Samples) -> Samples:
    """Rows in an order of their own: that in which they were given decides nothing."""
    return samples.at(np.lexsort([samples.margins, *samples.hashes.T, samples.tasks.codes]))


def _even(samples: Samples) -> bool:
    """Whether all distances are even: all hashes have an even number of set bits, or all an odd one."""
    odd = np.bitwise_count(samples.hashes) % 2
    return bool((odd == odd[:1]).all())


def _versions() -> dict[str, str]:
    import scipy

    from crynux_validate import __version__

    return {
        "crynux-validate": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "scipy": scipy.__version__,
    }


def _check_rate(value: object, what: str, like: float) -> None:
    if not isinstance(value, float) or not 0 < value < 1:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected a number above 0 and below 1, like {like}")
