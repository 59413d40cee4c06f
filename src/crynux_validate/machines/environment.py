"""The environment of a machine, which must be equal on two machines that are to give equal bits."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from crynux_validate.encoding import canonical_json, check_type, digest, length_prefixed, shorten, summary
from crynux_validate.errors import InvalidInputError

_ADVICE: Final = {
    "kernel.accelerator.driver": "install the same driver",
    "kernel.accelerator.driver_cuda": "install the same driver",
    "kernel.accelerator.macos": "install the same macOS",
    "kernel.accelerator": "another accelerator: nothing aligns these",
    "kernel.processor.capability": "set ATEN_CPU_CAPABILITY alike, where the processors are",
    "kernel.processor": "another processor: nothing aligns these",
    "kernel.device": "run on the same kind of device",
    "kernel.system": "run under the same operating system",
    "kernel.machine": "another architecture: nothing aligns these",
    "kernel.torch": "install the same build of torch",
    "kernel.packages": "install the same versions, or none on both",
    "kernel.variables": "set the same variables",
    "numerics.tensor_cores": "one of them emulates the arithmetic of a card, or another card; leave tensor_cores",
    "numerics.variables": "use the same version of crynux_validate",
    "numerics": "use the same version of crynux_validate and torch",
    "recipe.model": "load the same model",
    "recipe.versions": "install the same versions",
    "recipe": "run the same task on the same model",
}
"""What an operator does about a difference, by the beginning of its name; the first that fits."""

_NOTHING: Final = object()
"""Stands for a value that a record does not have."""


@dataclass(frozen=True)
class Environment:
    """The three parts of an environment, each a record of JSON values with a digest.

    Text answers can be compared if all three digests are equal, image answers if those of the recipes are equal.

    Parameters
    ----------
    kernel
        Everything that decides which kernels run: accelerator, driver, library versions, instruction sets, threads.
    numerics
        Every switch of the guard, read back.
    recipe
        The loaded model: its files, scheduler, dtypes, attention. None before a model is loaded.

    Raises
    ------
    InvalidInputError
        If a record is not a mapping.
    """

    kernel: Mapping[str, Any]
    numerics: Mapping[str, Any]
    recipe: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("kernel", "numerics", "recipe"):
            if name != "recipe" or self.recipe is not None:
                check_type(getattr(self, name), Mapping, f"the environment's {name}", "a record: names and JSON values")

    @cached_property
    def kernel_digest(self) -> bytes:
        """32 bytes over the kernel record."""
        return _digest("kernel", self.kernel)

    @cached_property
    def numerics_digest(self) -> bytes:
        """32 bytes over the numerics record."""
        return _digest("numerics", self.numerics)

    @cached_property
    def recipe_digest(self) -> bytes | None:
        """32 bytes over the recipe record, or None before a model is loaded."""
        return None if self.recipe is None else _digest("recipe", self.recipe)

    def compare(self, other: "Environment") -> tuple[str, ...]:
        """Return sentences on the differences from another environment, and what to do about them.

        Returns
        -------
        tuple of str
            One sentence for each value that differs, like ``kernel.torch.version: '2.13.0' here, '2.14.0' there;
            install the same build of torch``; empty if all three records are equal.
        """
        check_type(other, Environment, "the other environment", "an Environment")
        found: list[str] = []
        for part in ("kernel", "numerics", "recipe"):
            before = len(found)
            here, there = _flat(part, getattr(self, part)), _flat(part, getattr(other, part))
            for name in sorted(_leaves(here.keys() | there.keys())):
                if name not in here or name not in there or not _same(here[name], there[name]):
                    values = "{} here, {} there".format(*_shown(here, there, name))
                    advice = next((text for start, text in _ADVICE.items() if f"{name}.".startswith(f"{start}.")), "")
                    # Another machine chose its names: none of them may write to a terminal as it likes.
                    shown = name if name.isprintable() else ascii(name)
                    found.append(f"{shown}: {values}" + (f"; {advice}" if advice else ""))
            digests = (getattr(self, f"{part}_digest"), getattr(other, f"{part}_digest"))
            if len(found) == before and digests[0] != digests[1]:
                found.append(f"{part}: the names and values are the same, but not the structure; compare the records")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return the records and their digests for JSON."""
        recipe = None if self.recipe is None else dict(self.recipe)
        return {
            "kernel": dict(self.kernel),
            "kernel_digest": self.kernel_digest.hex(),
            "numerics": dict(self.numerics),
            "numerics_digest": self.numerics_digest.hex(),
            "recipe": recipe,
            "recipe_digest": None if self.recipe_digest is None else self.recipe_digest.hex(),
        }

    def __repr__(self) -> str:
        digests = {name: getattr(self, f"{name}_digest") for name in ("kernel", "numerics", "recipe")}
        return summary(self, *(f"{name} {found.hex()[:12]}" for name, found in digests.items() if found is not None))

    def to_json(self) -> str:
        """Return `to_dict` as canonical JSON."""
        return canonical_json(self.to_dict()).decode("utf-8")

    @classmethod
    def from_dict(cls, value: object) -> "Environment":
        """Read what `to_dict` writes, and check that the digests fit the records; other fields are ignored."""
        if not isinstance(value, dict) or not {"kernel", "numerics"} <= set(value):
            raise InvalidInputError("an environment is an object with kernel, numerics and recipe")
        for part in ("kernel", "numerics", "recipe"):
            if not isinstance(value.get(part), dict) and (part != "recipe" or value.get(part) is not None):
                raise InvalidInputError(f"the environment's {part} is {shorten(value[part])}; expected an object")
        found = cls(value["kernel"], value["numerics"], value.get("recipe"))
        for key, computed in found.to_dict().items():
            if key.endswith("_digest") and value.get(key, computed) != computed:
                raise InvalidInputError(
                    f"the environment's {key} is {shorten(value[key])}, but its record has {computed!r}"
                )
        return found


def _flat(name: str, value: Any) -> dict[str, Any]:
    """The values of a record by their dotted names."""
    if isinstance(value, Mapping) and value:
        return {key: item for inner in value for key, item in _flat(f"{name}.{inner}", value[inner]).items()}
    return {name: value}


def _same(here: Any, there: Any) -> bool:
    """Whether two values have the same canonical JSON: True is not 1, but 1 is 1.0."""
    return canonical_json(here) == canonical_json(there)


def _leaves(names: Collection[str]) -> set[str]:
    """The names without those of records that are empty on one side only: what the other holds is named."""
    parents = {name.rpartition(".")[0] for name in names}
    return {name for name in names if name not in parents}


def _shown(here: Mapping[str, Any], there: Mapping[str, Any], name: str) -> list[str]:
    """Both values of a name, each in one short line; of long texts the part where they begin to differ."""
    ours, theirs = here.get(name, _NOTHING), there.get(name, _NOTHING)
    start = 0
    if isinstance(ours, str) and isinstance(theirs, str) and max(len(ours), len(theirs)) > 60:
        differ = (at for at, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other)
        start = max(0, next(differ, min(len(ours), len(theirs))) - 10)
    found = []
    for value in (ours, theirs):
        text = repr(f"...{value[start:]}" if start else value)
        found.append("nothing" if value is _NOTHING else text if len(text) <= 60 else f"{text[:57]}...")
    return found


def _digest(part: str, record: Mapping[str, Any]) -> bytes:
    return digest("environment", length_prefixed(canonical_json({"part": part, "record": dict(record)})))
