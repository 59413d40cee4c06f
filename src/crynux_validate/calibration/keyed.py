"""How far apart the keyed values of honest machines are, for a setting of tasks (protocol J7).

The limits are the largest distance that was seen in a band, times a margin. How often an honest pair is beyond them is
counted on pictures that had no part in them: each half of the pictures is judged with the limits of the other half.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from crynux_validate.calibration.intervals import exact
from crynux_validate.encoding import check_integer, check_type, shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.hashing.bands import BANDS, SIZE, VALUES, bands_apart, bands_of
from crynux_validate.keyed import FAR, MAX_LIMIT, KeyedScore, KeyedTolerance
from crynux_validate.tasks import ImageSetting, ImageTask

MARGIN: Final = 2.0
"""How many times the largest honest difference agrees: `docs/measurements/keyed.md` says what more costs."""

LEAST_PICTURES: Final = 20


@dataclass(frozen=True)
class KeyedSample:
    """The keyed score of an honest machine.

    Parameters
    ----------
    kind
        The kind of machine, by any name: machines of equal bits have one name.
    picture
        The result, by any name: the task's digest for choice.
    key
        The seed, by any name. A picture counts once, under however many keys.
    score
        ``KeyedScore.from_images(seed, images)``.
    """

    kind: str
    picture: str
    key: str
    score: KeyedScore


@dataclass(frozen=True)
class BandRates:
    """What was measured in one band.

    Parameters
    ----------
    band
        Its name.
    limit
        The largest squared distance that agrees (`KeyedTolerance.limits`).
    largest
        The largest that was seen.
    rejected
        On how many pictures two kinds are further apart than the limit of the other half, under any key.
    """

    band: str
    limit: int
    largest: int
    rejected: int


@dataclass(frozen=True)
class KeyedCalibration:
    """Limits for a setting, and how often they reject honest pictures that had no part in them.

    Parameters
    ----------
    tolerance
        For `Policy.keyed_tolerances`, from all pictures.
    bands
        Band by band.
    kinds
        The kinds of machines that were compared.
    pictures
        How many there are. Those below are counted with the limits of the half that they are not in, which are never
        wider than those of all.
    rejected
        Pictures on which two kinds do not agree in some band under more than half of the keys: a node is not paid.
    rejected_once
        Those on which they do not under any key.
    far
        Those on which they are far apart under any key: a node is slashed.
    margin
        How many times the largest difference agrees.
    """

    tolerance: KeyedTolerance
    bands: tuple[BandRates, ...]
    kinds: tuple[str, ...]
    pictures: int
    rejected: int
    rejected_once: int
    far: int
    margin: float

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the exact interval of Clopper and Pearson for the share of pictures that are rejected."""
        low, high = exact(self.rejected / self.pictures, self.pictures, confidence)
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, with the interval."""
        return {
            **vars(self),
            "tolerance": self.tolerance.to_dict(),
            "bands": [vars(band) for band in self.bands],
            "kinds": list(self.kinds),
            "interval": list(self.interval()),
        }

    def __repr__(self) -> str:
        measured = f"{self.rejected} of {self.pictures} held-out pictures rejected"
        return summary(self, str(self.tolerance.setting), measured)


def calibrate_keyed(
    samples: Iterable[KeyedSample], *, tasks: Iterable[ImageTask], margin: float = MARGIN
) -> KeyedCalibration:
    """Return limits for the keyed values of honest machines, with their error rate.

    Parameters
    ----------
    samples
        Of at least two kinds that differ, on at least 20 pictures of one size.
    tasks
        What was drawn: all tasks, or as many as show the ranges of steps, sizes and guidance. The limits hold for
        tasks of their setting (`ImageSetting.of`) alone. All are of one model, parts, dtype and scheduler.
    margin
        From 1 to 10: how many times the largest honest difference agrees.

    Raises
    ------
    InvalidInputError
        For samples of another algorithm than ``keyed/1`` or of several sizes, fewer than 20 pictures that two kinds
        drew, kinds that are all equal to the bit, tasks of several settings or with pictures of other bands, a margin
        out of range, and machines so far apart that no limit holds.
    MissingExtraError
        Without numpy and scipy.
    """
    if type(margin) not in (int, float) or not 1 <= margin <= 10:
        raise InvalidInputError(f"margin is {shorten(margin)}; expected a number from 1 to 10")
    check_type(tasks, Iterable, "tasks", "the ImageTask objects that were drawn")
    setting = ImageSetting.of(*tasks)
    answers = _answers(samples)
    kinds = sorted({kind for scores in answers.values() for kind in scores})
    apart = _apart(answers)
    if len(apart) < LEAST_PICTURES:
        raise InvalidInputError(f"{len(apart)} pictures were drawn by two kinds; at least {LEAST_PICTURES} are needed")
    names = sorted(apart, key=lambda name: hashlib.sha256(name.encode()).digest())
    bands = BANDS[: len(apart[names[0]][0])]
    for task in (setting.least, setting.most):
        if bands_of(task.width, task.height) != bands:
            raise InvalidInputError(
                f"the samples have {len(bands)} bands, and pictures of {task.width}x{task.height} have "
                f"{len(bands_of(task.width, task.height))}: give the tasks whose pictures were scored"
            )
    halves = names[::2], names[1::2]
    largest = [[max(pair[at] for name in half for pair in apart[name]) for at in range(len(bands))] for half in halves]
    of_all = [max(pair) for pair in zip(*largest, strict=True)]
    if not any(of_all):
        raise InvalidInputError(f"the kinds {', '.join(kinds)} gave equal values; give machines that differ")
    limits = _limits(of_all, margin)
    for band, limit in zip(bands, limits, strict=True):
        if limit > MAX_LIMIT:
            raise InvalidInputError(
                f"in the band {band.name} honest machines are too far apart for a limit ({limit}, at most {MAX_LIMIT})"
            )
    times: dict[str, list[list[float]]] = {}
    for half, others in zip(halves, reversed(largest), strict=True):
        known = _limits(others, margin)
        times |= {name: [[d / at for d, at in zip(pair, known, strict=True)] for pair in apart[name]] for name in half}
    over = [sum(any(pair[at] > 1 for pair in pairs) for pairs in times.values()) for at in range(len(bands))]
    rates = tuple(BandRates(band.name, *numbers) for band, *numbers in zip(bands, limits, of_all, over, strict=True))
    failing = [[max(pair) > 1 for pair in pairs] for pairs in times.values()]
    return KeyedCalibration(
        KeyedTolerance(setting, limits),
        rates,
        tuple(kinds),
        len(names),
        rejected=sum(2 * sum(pairs) > len(pairs) for pairs in failing),
        rejected_once=sum(any(pairs) for pairs in failing),
        far=sum(any(max(pair) > FAR for pair in pairs) for pairs in times.values()),
        margin=margin,
    )


def _limits(largest: list[int], margin: float) -> tuple[int, ...]:
    """The margin, and a unit for each value: rounding alone can move it so far."""
    return tuple(int(one * margin * margin) + VALUES for one in largest)


def _answers(samples: Iterable[KeyedSample]) -> Mapping[tuple[str, str], dict[str, KeyedScore]]:
    """The scores by picture and key, then by kind."""
    check_type(samples, Iterable, "samples", "KeyedSample objects")
    found: dict[tuple[str, str], dict[str, KeyedScore]] = {}
    sizes: dict[int, str] = {}
    for at, sample in enumerate(samples):
        check_type(sample, KeyedSample, f"samples[{at}]", "a KeyedSample")
        check_type(sample.score, KeyedScore, f"the score of samples[{at}]", "a KeyedScore")
        if sample.score.algorithm != "keyed/1":
            raise InvalidInputError(f"samples[{at}] is a {sample.score.algorithm}; only keyed/1 has tolerances")
        sizes.setdefault(len(sample.score.score), sample.picture)
        scores = found.setdefault((sample.picture, sample.key), {})
        if sample.kind in scores:
            raise InvalidInputError(
                f"samples[{at}]: {sample.kind} has answered {shorten(sample.picture)} with this key"
            )
        scores[sample.kind] = sample.score
    if len(sizes) > 1:
        several = ", ".join(f"{size} bytes ({shorten(picture)})" for size, picture in sizes.items())
        raise InvalidInputError(f"the scores have several sizes: {several}; calibrate pictures of one size, one each")
    if sizes and next(iter(sizes)) > SIZE * len(BANDS):
        check_integer(next(iter(sizes)), "the bytes of a score", SIZE, SIZE * len(BANDS))
    return found


def _apart(answers: Mapping[tuple[str, str], Mapping[str, KeyedScore]]) -> dict[str, list[list[int]]]:
    """For each picture how far each two kinds are apart under each key, band by band."""
    found: dict[str, list[list[int]]] = {}
    for (picture, _), scores in answers.items():
        for a, b in combinations(sorted(scores), 2):
            found.setdefault(picture, []).append(bands_apart(scores[a].score, scores[b].score))
    return found
