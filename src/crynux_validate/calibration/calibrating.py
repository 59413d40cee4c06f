"""From samples to a calibration."""

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Final

import numpy as np

from crynux_validate.calibration.counting import Counts, count_cheat, count_honest
from crynux_validate.calibration.fields import CHEAT, HONEST, UNRELATED
from crynux_validate.calibration.groups import Drawn, cheat_groups, honest_groups, judged, unrelated_groups
from crynux_validate.calibration.intervals import (
    Bounds,
    Clustering,
    Floats,
    Integers,
    bounds,
    check_confidence,
)
from crynux_validate.calibration.rates import BY, Curve, Curves, Rate, reps_of
from crynux_validate.calibration.recommendation import recommended
from crynux_validate.calibration.result import Calibration, Excluded
from crynux_validate.calibration.samples import Samples
from crynux_validate.calibration.table import PLAIN, Table, classes_of, margin_cuts, pictures_of
from crynux_validate.calibration.unrelated import OnProgress, count_unrelated
from crynux_validate.encoding import check_flag, check_function, check_integer, check_type, shorten
from crynux_validate.errors import InvalidInputError, needed_for
from crynux_validate.judging import GROUP_SIZES

PLAIN_SHARE: Final = 0.05
"""From this share of degenerate hashes on a warning is given."""

DIGITS: Final = 6
"""Significant digits of rates; bounds are rounded outwards."""

_TARGETS: Final = "expected a number above 0 and below 1, like"


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
    _check(samples, group_size, false_reject_rate, false_slash_rate, confidence, safety_checker, groups, seed)
    check_function(on_progress, "on_progress")
    if state is not None:
        check_type(state, (str, PathLike), "state", "the name of a file")
    with needed_for("calibrate", "calibration"):
        import scipy  # noqa: F401 - before the work, not after it
    honest, unrelated = samples.having(HONEST), _in_order(samples.having(UNRELATED))
    cuts = margin_cuts(honest) or margin_cuts(unrelated)
    table = Table.of(honest, classes_of(honest, cuts))
    made = _Made(table, reps_of(_even(samples)), group_size, confidence, safety_checker, groups, seed)
    made.warnings += [
        *_of_models(honest),
        *_of_kinds(table, group_size),
        *_of_plain(samples),
        *_of_margins(samples, cuts),
    ]
    made.add_honest(cuts)
    made.add_unrelated(unrelated, cuts, state, on_progress)
    for name in samples.cheats:
        made.add_cheat(name, samples.having(CHEAT + name))
    return Calibration(
        algorithm=samples.algorithm,
        images=samples.images,
        group_size=group_size,
        safety_checker=safety_checker,
        confidence=confidence,
        false_reject_rate=float(false_reject_rate),
        false_slash_rate=float(false_slash_rate),
        models=honest.models.names,
        kinds=table.kinds,
        merged=table.merged,
        pictures=made.pictures,
        thresholds=made.thresholds,
        groups=made.groups,
        pairs=made.pairs,
        left_out=tuple(made.left_out),
        recommendation=recommended(
            made.groups[HONEST], made.thresholds, float(false_reject_rate), float(false_slash_rate), confidence
        ),
        warnings=tuple(made.warnings),
        versions=_versions(),
        seed=seed,
    )


class _Made:
    """A calibration in the making."""

    def __init__(
        self,
        table: Table,
        thresholds: tuple[int, ...],
        size: int,
        confidence: float,
        safety_checker: bool,
        groups: int,
        seed: int,
    ) -> None:
        self.table = table
        self.thresholds = thresholds
        self.size = size
        self.confidence = confidence
        self.safety_checker = safety_checker
        self.drawn = groups
        self.seed = seed
        self.pictures: dict[str, int] = {}
        self.groups: dict[str, Curves] = {}
        self.pairs: dict[str, Curves] = {}
        self.left_out: list[Excluded] = []
        self.warnings: list[str] = list(table.warnings)

    def add_honest(self, cuts: tuple[float, ...]) -> None:
        found = count_honest(self.table, safety_checker=self.safety_checker, seed=self.seed)
        by_pair = found.by_pair.sum(axis=1)
        there = by_pair > 0  # not every two kinds have a task in common
        self.pictures[HONEST] = found.pictures
        self.pairs[HONEST] = Curves(
            *(
                self._curve(
                    found.pictures,
                    {
                        "picture": Clustering(self._beyond(of_picture), found.weights),
                        "pair of kinds": Clustering(self._beyond(of_pair)[there], by_pair[there]),
                    },
                )
                for of_picture, of_pair in (
                    (found.distances, found.by_pair),
                    (found.telling, found.telling_by_pair),
                )
            )
        )
        self.left_out += self._excluded(HONEST, found.classes, cuts, agree=False)
        drawn = honest_groups(self.table, self.size, self.drawn, self._rng(HONEST, 0))
        self.groups[HONEST] = self._judged(drawn, honest=True)

    def add_cheat(self, name: str, cheat: Samples) -> None:
        keys = ((cheat.models.names[a], cheat.tasks.names[b]) for a, b in _codes(cheat))
        task = np.array([self.table.places.get(key, -1) for key in keys], np.int64)
        known = task >= 0
        if not known.all():
            self.warnings.append(
                f"{int((~known).sum())} of {len(task)} answers of the cheat {name} are to tasks that no honest machine"
                " answered; they are left out"
            )
        if not known.any():
            self.warnings.append(f"the cheat {name} has no rates: no honest machine answered its tasks")
            return
        if (kinds := len(cheat.kinds.names)) > 1:
            self.warnings.append(
                f"the cheat {name} has answers of {kinds} kinds of machines, and its rates are averages over them: give"
                " it a name for each"
            )
        hashes, task = cheat.hashes[known], task[known]
        found = count_cheat(self.table, hashes, task, safety_checker=self.safety_checker, seed=self.seed)
        self.pictures[name] = found.pictures
        self.pairs[name] = self._of_counts(found)
        self.groups[name] = self._worst(
            [
                cheat_groups(self.table, hashes, task, some, self.size, self.drawn, self._rng(name, some))
                for some in self._accomplices
            ]
        )

    def add_unrelated(
        self,
        unrelated: Samples,
        cuts: tuple[float, ...],
        state: str | PathLike[str] | None,
        on_progress: OnProgress | None,
    ) -> None:
        if not len(unrelated):
            self.warnings.append("there are no unrelated pictures: how often they agree by chance was not measured")
            return
        picture, shown = pictures_of(unrelated), pictures_of(unrelated, by_hash=True)
        pictures = int(picture.max()) + 1
        if twice := pictures - int(shown.max()) - 1:
            self.warnings.append(
                f"{twice} of {pictures} unrelated pictures have no result digest, and the hash of another one: in"
                " groups each hash counts once"
            )
        if pictures < 2:
            self.warnings.append("all unrelated samples are of one picture: they have no rates")
            return
        classes = classes_of(unrelated, cuts)
        found = count_unrelated(
            unrelated.hashes,
            picture,
            classes,
            safety_checker=self.safety_checker,
            seed=self.seed,
            state=state,
            on_progress=on_progress,
        )
        self.pictures[UNRELATED] = int(shown.max()) + 1
        weights = found.distances.sum(axis=1).astype(np.float64)
        below, beyond = (
            {"picture": Clustering(events.astype(np.float64), weights, order=2)}
            for events in (self._below(found.distances), self._beyond(found.telling))
        )
        touched = found.nearest.cumsum()[np.array(self.thresholds) - 1]
        self.pairs[UNRELATED] = Curves(
            self._curve(found.pairs_of_pictures, below, [touched, touched], [pictures, pictures]),
            self._curve(pictures, beyond),  # one plain picture is far from none
        )
        self.left_out += self._excluded(UNRELATED, found.classes, cuts, agree=True)
        self.groups[UNRELATED] = self._worst(
            [
                unrelated_groups(
                    self.table, unrelated.hashes, shown, some, self.size, self.drawn, self._rng(UNRELATED, some)
                )
                for some in self._accomplices
            ]
        )

    @property
    def _accomplices(self) -> range:
        """How many members hand in a cheat's answer: fewer than a quorum."""
        return range(1, self.size // 2 + 1)

    def _of_counts(self, found: Counts) -> Curves:
        return Curves(
            *(
                self._curve(found.pictures, {"picture": Clustering(events, found.weights)})
                for events in (self._below(found.distances), self._beyond(found.telling))
            )
        )

    def _below(self, distances: Floats | Integers) -> Floats:
        """For each threshold what is below it: of shape (clusters, thresholds)."""
        below: Floats = distances.cumsum(axis=1)[:, np.array(self.thresholds) - 1]
        return below

    def _beyond(self, distances: Floats | Integers) -> Floats:
        """For each threshold what is not below it, exactly 0 where nothing is."""
        beyond: Floats = distances[:, ::-1].cumsum(axis=1)[:, ::-1][:, np.array(self.thresholds)]
        return beyond

    def _curve(
        self,
        n: int,
        clusterings: Mapping[str, Clustering],
        touched: Sequence[Integers] = (),
        pictures: Sequence[int] = (),
    ) -> Curve:
        found = bounds(n, clusterings, confidence=self.confidence, seed=self.seed, touched=touched, pictures=pictures)
        return curve(n, found)

    def _judged(self, drawn: Drawn, *, honest: bool) -> Curves:
        found = judged(drawn, self.thresholds, honest=honest, safety_checker=self.safety_checker, seed=self.seed)
        return Curves(self._curve(drawn.pictures, found.passing), self._curve(drawn.pictures, found.slash))

    def _worst(self, several: Iterable[Drawn]) -> Curves:
        """Over several numbers of accomplices: what is accepted most, and slashed least."""
        found = [self._judged(drawn, honest=False) for drawn in several]
        return Curves(
            _choose([one.passing for one in found], lambda rate: rate.high),
            _choose([one.slash for one in found], lambda rate: -rate.low),
        )

    def _excluded(self, role: str, classes: Integers, cuts: tuple[float, ...], *, agree: bool) -> Iterable[Excluded]:
        events = self._below(classes) if agree else self._beyond(classes)
        for least, cut in [(PLAIN, None), *((len(cuts) - at, cut) for at, cut in enumerate(cuts))]:
            rule = "degenerate" if cut is None else f"degenerate, or a margin below {cut:.3g}"
            yield Excluded(
                role,
                rule,
                cut,
                int(classes.sum()),
                int(classes[least:].sum()),
                tuple(int(count) for count in events.sum(axis=0)),
                tuple(int(count) for count in events[least:].sum(axis=0)),
            )

    def _rng(self, role: str, accomplices: int) -> np.random.Generator:
        """A role's own random numbers: what one draws does not depend on which others there are."""
        return np.random.default_rng([self.seed, accomplices, *role.encode()])


def curve(n: int, found: Bounds) -> Curve:
    """Round rates and bounds for the result, the bounds outwards."""
    return Curve(
        n,
        tuple(_rounded(rate, 0) for rate in found.rate),
        tuple(min(_rounded(low, -1), _rounded(rate, 0)) for low, rate in zip(found.low, found.rate, strict=True)),
        tuple(
            max(min(1.0, _rounded(high, 1)), _rounded(rate, 0))
            for high, rate in zip(found.high, found.rate, strict=True)
        ),
        tuple(BY.index(name) for name in found.by),
    )


def _rounded(value: float, direction: int) -> float:
    """Round to `DIGITS` digits: down (-1), to the nearest (0), up (1)."""
    if value == 0:
        return 0.0
    unit = DIGITS - 1 - math.floor(math.log10(value))
    near = round(float(value), unit)
    step = direction * 10.0**-unit
    return near if direction == 0 or (near - value) * direction >= 0 else round(near + step, unit)


def _choose(curves: list[Curve], score: Callable[[Rate], float]) -> Curve:
    """At every place the rate with the highest score."""
    chosen = [max((one.at(place) for one in curves), key=score) for place in range(len(curves[0].rate))]
    return Curve(
        min(one.n for one in curves),
        tuple(rate.rate for rate in chosen),
        tuple(rate.low for rate in chosen),
        tuple(rate.high for rate in chosen),
        tuple(BY.index(rate.by) for rate in chosen),
    )


def _in_order(samples: Samples) -> Samples:
    """Rows in an order of their own: that in which they were given decides nothing."""
    return samples.at(np.lexsort([samples.margins, *samples.hashes.T, samples.tasks.codes]))


def _codes(samples: Samples) -> Iterator[tuple[int, int]]:
    return zip(samples.models.codes.tolist(), samples.tasks.codes.tolist(), strict=True)


def _even(samples: Samples) -> bool:
    """Whether all distances are even: all hashes have an even number of set bits, or all an odd one."""
    odd = np.bitwise_count(samples.hashes) % 2
    return bool((odd == odd[:1]).all())


def _of_models(honest: Samples) -> Iterator[str]:
    models = honest.models.names
    if len(models) > 1:
        yield f"{len(models)} models are taken together; a threshold belongs to one model: calibrate each by itself"


def _of_kinds(table: Table, size: int) -> Iterator[str]:
    kinds = len(table.kinds)
    if kinds == 2:
        yield "there are two kinds of machines, so that nothing is known of how pairs of kinds differ"
    answers = table.present.sum(axis=1)
    few = int((answers < size).sum())
    if few:
        yield (
            f"{few} of {len(answers)} tasks were answered by fewer than {size} kinds of machines: in their groups some"
            " members are of one kind and always agree, which makes rates per group look better than they are"
        )


def _of_plain(samples: Samples) -> Iterator[str]:
    for role in (HONEST, UNRELATED):
        rows = samples.having(role)
        if len(rows) and (share := float(rows.degenerate.mean())) >= PLAIN_SHARE:
            yield (
                f"{share:.0%} of the {role} hashes are degenerate: pictures too plain to tell apart, on which nobody is"
                " slashed"
            )


def _of_margins(samples: Samples, cuts: tuple[float, ...]) -> Iterator[str]:
    unknown = int(np.isnan(samples.margins).sum())
    if cuts and unknown:
        yield f"{unknown} of {len(samples)} samples have no margin: rules on margins leave none of them out"


def _versions() -> dict[str, str]:
    import scipy

    from crynux_validate import __version__

    return {
        "crynux-validate": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "scipy": scipy.__version__,
    }


def _check(
    samples: object,
    group_size: object,
    false_reject_rate: object,
    false_slash_rate: object,
    confidence: object,
    safety_checker: object,
    groups: object,
    seed: object,
) -> None:
    check_type(samples, Samples, "samples", "Samples: make them with Samples.of or read_samples")
    if type(group_size) is not int or group_size not in GROUP_SIZES:
        raise InvalidInputError(f"group_size is {shorten(group_size)}; expected one of {GROUP_SIZES}")
    for what, value, example in (
        ("false_reject_rate", false_reject_rate, 0.01),
        ("false_slash_rate", false_slash_rate, 0.001),
    ):
        if not isinstance(value, float) or not 0 < value < 1:
            raise InvalidInputError(f"{what} is {shorten(value)}; {_TARGETS} {example}")
    check_confidence(confidence)
    check_flag(safety_checker, "safety_checker")
    check_integer(groups, "groups", 1, 10**7)
    check_integer(seed, "seed")
