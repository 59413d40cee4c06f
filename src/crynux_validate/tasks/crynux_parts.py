"""What the live network's image tasks load beside the model, which it names without a commit (protocol T4)."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError, InvalidTaskError
from crynux_validate.tasks.control import Canny, ControlNet, check_method
from crynux_validate.tasks.crynux import object_of, text_of, typed
from crynux_validate.tasks.model import ModelRef
from crynux_validate.tasks.parts import Lora, Part, TextualInversion
from crynux_validate.tasks.pictures import PictureRef
from crynux_validate.tasks.records import read_part
from crynux_validate.tasks.refiner import Refiner

Named = ModelRef | Part
"""What a caller names for a part: where it lies, or also which file of it."""

FIELDS: Final = ("unet", "vae", "lora", "textual_inversion", "controlnet", "refiner")
"""The live network's fields that have a counterpart here."""


def read_parts(arguments: Mapping[str, Any], parts: Mapping[str, Named] | None) -> dict[str, Any]:
    """Return the fields of a task for what the arguments load beside the model.

    Parameters
    ----------
    arguments
        The live network's.
    parts
        What pins each of them, by the live network's field.
    """
    pinned = _checked(parts)
    found: dict[str, Any] = {}
    for name in ("unet", "vae"):
        repository = arguments.get(name)
        if repository in (None, ""):
            continue
        found[name] = _pinned(name, typed(repository, name, str), pinned)
        if not isinstance(found[name], ModelRef):
            raise InvalidInputError(f"parts[{name!r}] is {shorten(found[name])}; expected a ModelRef")
    lora = arguments.get("lora")
    if lora is not None:
        found["loras"] = (read_part("lora", lora, lambda value: _lora(value, pinned)),)
    inversion = arguments.get("textual_inversion")
    if inversion not in (None, ""):
        found["textual_inversions"] = (_inversion(typed(inversion, "textual_inversion", str), pinned),)
    control = arguments.get("controlnet")
    if control is not None:
        found["controlnet"] = read_part("controlnet", control, lambda value: _control(value, pinned))
    refiner = arguments.get("refiner")
    if refiner is not None:
        found["refiner"] = read_part("refiner", refiner, lambda value: _refiner(value, pinned))
        if control is not None:
            raise InvalidTaskError(
                "refiner",
                "comes after a controlnet, and the live network then redraws the finished picture in place of the last"
                " steps; leave one of the two out",
                "unsupported",
            )
    unused = sorted(name for name in pinned if name not in found and f"{name}s" not in found)
    if unused:
        raise InvalidInputError(f"parts has {unused[0]!r}, but the arguments do not; leave it out")
    return found


def _checked(parts: Mapping[str, Named] | None) -> Mapping[str, Named]:
    if parts is None:
        return {}
    if not isinstance(parts, Mapping) or not all(isinstance(each, ModelRef | Part) for each in parts.values()):
        raise InvalidInputError(f"parts is {shorten(parts)}; expected ModelRefs by the live network's fields")
    for name in parts:
        if name not in FIELDS:
            raise InvalidInputError(f"parts has {shorten(name)}; expected some of {', '.join(FIELDS)}")
    return parts


def _lora(value: Any, pinned: Mapping[str, Named]) -> Lora:
    object_of(value, "", ("model", "weight_file_name", "weight"))
    source = _pinned("lora", text_of(value, "model"), pinned, "model")
    if isinstance(source, ModelRef):
        source = Lora(source)
    if not isinstance(source, Lora):
        raise InvalidInputError(f"parts['lora'] is {shorten(source)}; expected a ModelRef or a Lora")
    lora = source
    file = value.get("weight_file_name")
    if file not in (None, ""):
        typed(file, "weight_file_name", str)
        try:
            lora = replace(lora, file=file)
        except InvalidTaskError as error:
            raise InvalidTaskError("weight_file_name", error.problem, error.code) from error
    weight = value.get("weight")
    return replace(lora, weight=1.0 if weight is None else _fraction("weight", weight))


def _inversion(there: str, pinned: Mapping[str, Named]) -> TextualInversion:
    found = _pinned("textual_inversion", there, pinned)
    if not isinstance(found, TextualInversion):
        raise InvalidInputError(
            f"parts['textual_inversion'] is {shorten(found)}; expected a TextualInversion, with the file and the token"
        )
    return found


def _control(value: Any, pinned: Mapping[str, Named]) -> ControlNet:
    object_of(value, "", ("model", "image_dataurl", "weight", "preprocess"))
    weight, preprocess = value.get("weight"), value.get("preprocess")
    canny = None if preprocess is None else read_part("preprocess", preprocess, _canny)
    scale = 0.7 if weight is None else _fraction("weight", weight)
    picture = read_part("image_dataurl", text_of(value, "image_dataurl"), _picture)
    model = _pinned("controlnet", text_of(value, "model"), pinned, "model")
    if not isinstance(model, ModelRef):
        raise InvalidInputError(f"parts['controlnet'] is {shorten(model)}; expected a ModelRef")
    return ControlNet(model, picture, scale, canny)


def _refiner(value: Any, pinned: Mapping[str, Named]) -> Refiner:
    object_of(value, "", ("model", "variant", "denoising_cutoff", "steps"))
    model = _pinned("refiner", text_of(value, "model"), pinned, "model")
    if not isinstance(model, ModelRef):
        raise InvalidInputError(f"parts['refiner'] is {shorten(model)}; expected a ModelRef")
    variant, cutoff, steps = (value.get(name) for name in ("variant", "denoising_cutoff", "steps"))
    if variant is not None:
        typed(variant, "variant", str)
    if steps is not None and not 0 < typed(steps, "steps", int) <= _MOST_STEPS:
        raise InvalidTaskError("steps", f"is {steps}; expected 1 to {_MOST_STEPS}", "limits")
    part = 0.8 if cutoff is None else _fraction("denoising_cutoff", cutoff)
    names = {"cutoff": "denoising_cutoff", "model.variant": "variant"}
    try:
        named = model if variant is None else replace(model, variant=variant)
        return Refiner(named, part, 20 if steps is None else steps)
    except InvalidTaskError as error:
        raise InvalidTaskError(names.get(error.field, error.field), error.problem, error.code) from error


def _canny(value: Any) -> Canny:
    if isinstance(value, dict) and "method" in value:
        check_method("method", value["method"], "canny")
    object_of(value, "", ("method", "args"))
    found = value.get("args")
    given = {} if found is None else object_of(found, "args", ("low_threshold", "high_threshold"))
    names = {"low": "low_threshold", "high": "high_threshold"}
    try:
        return Canny(**{name: given[there] for name, there in names.items() if given.get(there) is not None})
    except InvalidTaskError as error:
        raise InvalidTaskError(f"args.{names[error.field]}", error.problem, error.code) from error


_MOST_STEPS: Final = 100
"""Of the live network's refiners."""

_DATA_URL: Final = "data:image/png;base64,"


def _picture(url: str) -> PictureRef:
    """The picture in the arguments themselves; machines decode other formats than PNG to other pixels."""
    if not url.startswith(_DATA_URL):
        raise InvalidTaskError(
            "", f"is {shorten(url)}; expected {_DATA_URL}...: save the picture as PNG", "unsupported"
        )
    try:
        return PictureRef.of(base64.b64decode(url.removeprefix(_DATA_URL), validate=True))
    except ValueError as error:
        raise InvalidTaskError("", f"holds no base64 after {_DATA_URL}: {error}") from error


def _fraction(name: str, value: Any) -> float:
    """There 80 stands for 0.8, and so does 0.8; fractions of 1 and below are taken as they are."""
    typed(value, name, float)
    if not 0 < value <= 100:
        raise InvalidTaskError(name, f"is {shorten(value)}; expected more than 0, and at most 100", "limits")
    return float(value) / 100 if isinstance(value, int) or value > 1 else float(value)


def _pinned(name: str, there: str, pinned: Mapping[str, Named], field: str = "") -> Named:
    """Return what the caller named for a part, where it is what the arguments ask for."""
    field = field or name
    if name not in pinned:
        raise InvalidTaskError(
            field,
            f"is {shorten(there)} without a commit; pass parts={{{name!r}: ModelRef(...)}} with the commit or the "
            "digest of a folder",
            "unsupported",
        )
    found = pinned[name]
    model = found.model if isinstance(found, Part) else found
    if model.repository is not None and model.repository != there.lower():
        raise InvalidTaskError(
            field,
            f"is {shorten(there)}, but parts has {shorten(model.repository)}; name the same, or the digest of a "
            "folder (ModelRef.local)",
            "unsupported",
        )
    return found
