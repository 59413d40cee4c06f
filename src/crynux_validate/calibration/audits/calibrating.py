"""Bands for one's own machines, from honest audits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from crynux_validate.audits.bands import PACKAGES, AuditBands
from crynux_validate.audits.image import ImageAudit
from crynux_validate.audits.image_bands import LEAST_PICTURES, PREDICTION, ImageBands
from crynux_validate.audits.text_bands import TextBands
from crynux_validate.audits.text_result import TextAudit
from crynux_validate.calibration.audits.fitting import fit_images, fit_texts, pictures_of
from crynux_validate.calibration.audits.rates import held_out, image_rates, text_rates
from crynux_validate.calibration.audits.records import ImageRecord, Origin, TextRecord, records_of
from crynux_validate.encoding import check_type, shorten
from crynux_validate.errors import InvalidInputError

LEAST_TEXTS: Final = 20
"""A dtype needs so many texts for a band."""

_ODD_ONE: Final = 14.0
"""So many robust standard deviations from the median no honest picture was seen (at most 9.4), and each cheat but
weights of 8 bits was (18 and more)."""

_NOISE: Final = {"float32": 1e-3, "float16": 1.5, "bfloat16": 1.5}
"""Half of the pictures cannot be further off, and honest: in 16 bits the unit is the auditor's own rounding."""


def calibrate_audits(
    audits: Iterable[ImageAudit | TextAudit | Mapping[str, Any]],
    *,
    cheats: Iterable[ImageAudit | Mapping[str, Any]] = (),
    made_from: str = "",
) -> AuditBands:
    """Make the bands of audits from audits of honest nodes.

    Parameters
    ----------
    audits
        What `crynux_validate.audit` returned with the kinds of both machines (``kinds=``), or what `read_audits` read.
        Of each dtype at least ten pictures with steps that have other bits than the auditor's, or 20 texts that bind
        ``top``, audited with ``whole=True``. Whether a node was honest is for you to know: what differs from all others
        is refused, and a small cheat, like weights of 8 bits, is not seen.
    cheats
        Audits of pictures with a false prediction in every step, if there are any: the limits of a dtype widen half the
        way to the nearest of them, so that they hold for other models.
    made_from
        Words for people who read the file, up to 10,000 characters.

    Returns
    -------
    AuditBands
        With error rates and their bounds, of these audits and of held-out ones.

    Raises
    ------
    InvalidInputError
        For too few pictures or texts, audits without kinds, of several versions, given twice, or with numbers that are
        none; for an audit that is far from all others; and where all audits have equal bits.
    MissingExtraError
        Without numpy and scipy.
    """
    check_type(made_from, str, "made_from", "text")
    images, texts = records_of(audits, "audits")
    false, false_texts = records_of(cheats, "cheats")
    if false_texts:
        raise InvalidInputError(f"{false_texts[0].origin.name} is of a text; cheats are pictures alone")
    return bands_of(images, texts, cheats=false, made_from=made_from)


def bands_of(
    images: Sequence[ImageRecord], texts: Sequence[TextRecord], *, cheats: Sequence[ImageRecord] = (), made_from: str
) -> AuditBands:
    """Make the bands from the numbers of honest audits; for parameters and errors see `calibrate_audits`."""
    if not images and not texts:
        raise InvalidInputError("there are no audits; give those of honest nodes")
    origins = [*(record.origin for record in images), *(record.origin for record in texts)]
    versions = _one_version(origins)
    _each_once(origins)
    found_images, found_texts = {}, {}
    for dtype in sorted({record.origin.dtype for record in images}):
        own = [record for record in images if record.origin.dtype == dtype and _differ(record)]
        found_images[dtype] = _images(own, [cheat for cheat in cheats if cheat.origin.dtype == dtype], dtype)
    for dtype in sorted({record.origin.dtype for record in texts}):
        found_texts[dtype] = _texts([record for record in texts if record.origin.dtype == dtype], dtype)
    return AuditBands(found_images, found_texts, versions, made_from)


def _differ(record: ImageRecord) -> bool:
    """Machines of one kind have equal bits, and say nothing of others."""
    return record.origin.node != record.origin.auditor or any(not step.equal for step in record.steps)


def _images(records: Sequence[ImageRecord], cheats: Sequence[ImageRecord], dtype: str) -> ImageBands:
    pictures = pictures_of(records)
    if pictures < LEAST_PICTURES:
        raise InvalidInputError(
            f"{pictures} pictures in {dtype} have other bits than the auditor's; at least {LEAST_PICTURES} are needed"
        )
    for name in PREDICTION:
        _no_odd_one([(record.origin, record.values[name]) for record in records if len(record.values[name])], name)
    middle = float(np.median([record.values["prediction"].mean() for record in records if _has(record)]))
    if middle > _NOISE[dtype]:
        raise InvalidInputError(
            f"half of the audits in {dtype} are off by {middle:.2g} and more, honest ones by less than"
            f" {_NOISE[dtype]:g}; give audits of honest nodes"
        )
    fit = fit_images(records, cheats)

    def fit_others(others: Sequence[ImageRecord]) -> ImageBands | None:
        return fit_images(others, cheats) if pictures_of(others) >= LEAST_PICTURES else None

    rates = image_rates([(record, fit) for record in records])
    return replace(fit, rates=rates, held_out=image_rates(list(held_out(records, fit_others))))


def _has(record: ImageRecord) -> bool:
    return len(record.values["prediction"]) > 0


def _texts(records: Sequence[TextRecord], dtype: str) -> TextBands:
    texts = len({record.origin.thing for record in records})
    if texts < LEAST_TEXTS:
        raise InvalidInputError(f"there are {texts} texts in {dtype}; at least {LEAST_TEXTS} are needed")
    models = {record.origin.model for record in records}
    if len(models) > 1:
        raise InvalidInputError(f"the texts in {dtype} are of {len(models)} models; calibrate one model at a time")
    _no_odd_one([(record.origin, record.rows) for record in records], "bound rows")
    _no_odd_one([(record.origin, record.margins) for record in records], "margins")
    fit = fit_texts(records)

    def fit_others(others: Sequence[TextRecord]) -> TextBands | None:
        return fit_texts(others) if len(others) >= LEAST_PICTURES else None

    rates = text_rates([(record, fit) for record in records])
    return replace(fit, rates=rates, held_out=text_rates(list(held_out(records, fit_others))))


def _no_odd_one(groups: Sequence[tuple[Origin, Any]], name: str) -> None:
    """Refuse the audit that is far from all others: no honest one, or of something else."""
    means = np.array([group.mean() for _, group in groups])
    if len(means) < LEAST_PICTURES:
        return
    off = np.abs(means - np.median(means))
    middle = 1.4826 * float(np.median(off))
    worst = int(off.argmax())
    if middle > 0 and off[worst] > _ODD_ONE * middle:
        raise InvalidInputError(
            f"{groups[worst][0].name} is {off[worst] / middle:.0f} deviations from the others in its {name}; leave it"
            " out if the node was not honest, or calibrate its model alone"
        )


def _one_version(origins: Sequence[Origin]) -> dict[str, str]:
    found: dict[str, str] = {}
    for origin in origins:
        for name in PACKAGES:
            version = origin.versions.get(name)
            if version is not None and found.setdefault(name, version) != version:
                raise InvalidInputError(
                    f"{origin.name} was computed with {name} {shorten(version)}, others with {found[name]}; calibrate"
                    " each version by itself"
                )
    return found


def _each_once(origins: Sequence[Origin]) -> None:
    known: dict[Any, str] = {}
    for origin in origins:
        key = (origin.thing, origin.node, origin.auditor)
        if key in known:
            raise InvalidInputError(f"{origin.name} is of the same answer and machines as {known[key]}; give each once")
        known[key] = origin.name
