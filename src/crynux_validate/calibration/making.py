"""Rates of each role with their bounds: what a calibration is made of."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Final

import numpy as np

from crynux_validate.calibration.counting import count_cheat, count_honest
from crynux_validate.calibration.fields import HONEST, UNRELATED
from crynux_validate.calibration.groups import Drawn, cheat_groups, honest_groups, judged, unrelated_groups
from crynux_validate.calibration.intervals import Bounds, Clustering, Floats, Integers, bounds
from crynux_validate.calibration.rates import BY, Curve, Curves, Rate
from crynux_validate.calibration.result import Excluded
from crynux_validate.calibration.samples import Samples
from crynux_validate.calibration.table import PLAIN, Table, classes_of, pictures_of
from crynux_validate.calibration.unrelated import OnProgress, count_unrelated

DIGITS: Final = 6
"""Significant digits of rates; bounds are rounded outwards."""


@dataclass
class Making:
    """A calibration in the making: rates of each role, each with its bounds."""

    table: Table
    thresholds: tuple[int, ...]
    size: int
    confidence: float
    safety_checker: bool
    drawn: int
    seed: int
    pictures: dict[str, int] = field(default_factory=dict)
    groups: dict[str, Curves] = field(default_factory=dict)
    pairs: dict[str, Curves] = field(default_factory=dict)
    left_out: list[Excluded] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add_honest(self, cuts: tuple[float, ...]) -> None:
        """Measure honest kinds of machines among themselves; `cuts` are the margins that rules are tried with."""
        found = count_honest(self.table, safety_checker=self.safety_checker, seed=self.seed)
        by_pair = found.by_pair.sum(axis=1)
        there = by_pair > 0  # not every two kinds have a task in common
        self.pictures[HONEST] = found.pictures
        passing, slash = (
            {
                "picture": Clustering(self._beyond(of_picture), found.weights),
                "pair of kinds": Clustering(self._beyond(of_pair)[there], by_pair[there]),
            }
            for of_picture, of_pair in ((found.distances, found.by_pair), (found.telling, found.telling_by_pair))
        )
        self.pairs[HONEST] = self._curves(found.pictures, passing, slash)
        self.left_out += self._excluded(HONEST, found.classes, cuts, agree=False)
        drawn = honest_groups(self.table, self.size, self.drawn, self._rng(HONEST, 0))
        self.groups[HONEST] = self._judged(drawn, honest=True)

    def add_cheat(self, name: str, cheat: Samples) -> None:
        """Measure a cheat beside honest answers to the same tasks."""
        task = self.table.rows_of(cheat)
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
        passing, slash = (
            {"picture": Clustering(events, found.weights)}
            for events in (self._below(found.distances), self._beyond(found.telling))
        )
        self.pairs[name] = self._curves(found.pictures, passing, slash)
        self.groups[name] = self._worst(
            cheat_groups(self.table, hashes, task, some, self.size, self.drawn, self._rng(name, some))
            for some in self._accomplices
        )

    def add_unrelated(
        self,
        unrelated: Samples,
        cuts: tuple[float, ...],
        state: str | PathLike[str] | None,
        on_progress: OnProgress | None,
    ) -> None:
        """Measure unrelated pictures among themselves, and beside honest answers."""
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
            unrelated_groups(
                self.table, unrelated.hashes, shown, some, self.size, self.drawn, self._rng(UNRELATED, some)
            )
            for some in self._accomplices
        )

    @property
    def _accomplices(self) -> range:
        """How many members hand in a cheat's answer: fewer than a quorum."""
        return range(1, self.size // 2 + 1)

    def _below(self, distances: Floats | Integers) -> Floats:
        """For each threshold what is below it: of shape (clusters, thresholds)."""
        below: Floats = distances.cumsum(axis=1)[:, np.array(self.thresholds) - 1]
        return below

    def _beyond(self, distances: Floats | Integers) -> Floats:
        """For each threshold what is not below it, exactly 0 where nothing is."""
        beyond: Floats = distances[:, ::-1].cumsum(axis=1)[:, ::-1][:, np.array(self.thresholds)]
        return beyond

    def _curves(self, n: int, passing: Mapping[str, Clustering], slash: Mapping[str, Clustering]) -> Curves:
        return Curves(self._curve(n, passing), self._curve(n, slash))

    def _curve(
        self,
        n: int,
        clusterings: Mapping[str, Clustering],
        touched: Sequence[Integers] = (),
        pictures: Sequence[int] = (),
    ) -> Curve:
        found = bounds(n, clusterings, confidence=self.confidence, seed=self.seed, touched=touched, pictures=pictures)
        return _rounded(n, found)

    def _judged(self, drawn: Drawn, *, honest: bool) -> Curves:
        rates = judged(drawn, self.thresholds, honest=honest, safety_checker=self.safety_checker, seed=self.seed)
        return self._curves(drawn.pictures, *rates)

    def _worst(self, several: Iterable[Drawn]) -> Curves:
        """Over several numbers of accomplices: what is accepted most, and slashed least."""
        found = [self._judged(drawn, honest=False) for drawn in several]
        return Curves(
            _chosen([one.passing for one in found], lambda rate: rate.high),
            _chosen([one.slash for one in found], lambda rate: -rate.low),
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


def _rounded(n: int, found: Bounds) -> Curve:
    """Round rates and bounds for the result, the bounds outwards."""
    rates = [_round(rate, 0) for rate in found.rate]
    low = (min(_round(value, -1), rate) for value, rate in zip(found.low, rates, strict=True))
    high = (max(min(1.0, _round(value, 1)), rate) for value, rate in zip(found.high, rates, strict=True))
    return Curve(n, tuple(rates), tuple(low), tuple(high), tuple(BY.index(name) for name in found.by))


def _chosen(curves: list[Curve], score: Callable[[Rate], float]) -> Curve:
    """Return at every place the rate with the highest score."""
    found = [max((one.at(place) for one in curves), key=score) for place in range(len(curves[0].rate))]
    return Curve(
        min(one.n for one in curves),
        tuple(rate.rate for rate in found),
        tuple(rate.low for rate in found),
        tuple(rate.high for rate in found),
        tuple(BY.index(rate.by) for rate in found),
    )


def _round(value: float, direction: int) -> float:
    """Round to `DIGITS` digits: down (-1), to the nearest (0), up (1)."""
    if value == 0:
        return 0.0
    unit = DIGITS - 1 - math.floor(math.log10(value))
    near = round(float(value), unit)
    step = direction * 10.0**-unit
    return near if direction == 0 or (near - value) * direction >= 0 else round(near + step, unit)
