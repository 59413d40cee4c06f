"""What must be equal for two machines to give equal bits: readable values, and digests over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crynux_validate.encoding import canonical_json, digest, length_prefixed
from crynux_validate.errors import InvalidInputError


@dataclass(frozen=True)
class Environment:
    """The three parts of an environment, each a record of JSON values with a digest.

    Text answers can be compared where all three digests are equal, image answers where the recipe's is.

    Parameters
    ----------
    kernel
        What decides which kernels run: accelerator, driver, library versions, instruction sets, threads.
    numerics
        Every switch of the guard, read back; known before a model is loaded.
    recipe
        What a loaded model adds: its files, scheduler, dtypes, attention; None before a model is loaded.
    """

    kernel: Mapping[str, Any]
    numerics: Mapping[str, Any]
    recipe: Mapping[str, Any] | None = None

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

    def to_json(self) -> str:
        """Return `to_dict` as canonical JSON."""
        return canonical_json(self.to_dict()).decode("utf-8")

    @classmethod
    def from_dict(cls, value: object) -> "Environment":
        """Read what `to_dict` writes, and check that the digests fit the records."""
        if not isinstance(value, dict) or not {"kernel", "numerics"} <= set(value):
            raise InvalidInputError("an environment is an object with kernel, numerics and recipe")
        found = cls(value["kernel"], value["numerics"], value.get("recipe"))
        for key, computed in found.to_dict().items():
            if key.endswith("_digest") and value.get(key, computed) != computed:
                raise InvalidInputError(f"the environment's {key} is {value[key]!r}, but its record has {computed!r}")
        return found


def _digest(part: str, record: Mapping[str, Any]) -> bytes:
    return digest("environment", length_prefixed(canonical_json({"part": part, "record": dict(record)})))
