"""GPU models in one normal form (protocol P1)."""

from dataclasses import dataclass
from typing import Any, Final

from crynux_validate.errors import InvalidInputError

PLATFORMS: Final = ("docker", "Linux", "Windows", "Darwin")
"""How nodes of the live network run; the suffix behind a ``+`` in its names."""


@dataclass(frozen=True, order=True)
class GpuModel:
    """A GPU model: what must be equal before two machines can be expected to give equal bits.

    The constructor brings every field into normal form: white space is trimmed and collapsed, and a platform suffix of
    the name (``NVIDIA GeForce RTX 4090+docker``) goes into its own field. Comparison is exact and case-sensitive:
    ``RTX 4090`` and ``RTX 4090 D`` are different, and so are 40 and 80 GiB.

    Parameters
    ----------
    name
        The vendor's name, 1 to 128 printable ASCII characters.
    memory_gib
        Memory of one card in GiB, rounded up; 1 to 65,536.
    platform
        ``docker``, ``Linux``, ``Windows``, ``Darwin``, or empty where it is not known.
    count
        How many cards work as one machine, 1 to 1,024.

    Raises
    ------
    InvalidInputError
        Names the field, the value and what was expected.
    """

    name: str
    memory_gib: int
    platform: str = ""
    count: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.platform, str):
            raise InvalidInputError(
                f"a GPU model has a name and a platform as text, not {self.name!r}, {self.platform!r}"
            )
        name = " ".join(self.name.split())
        platform = self.platform.strip()
        stem, plus, suffix = name.rpartition("+")
        if plus and suffix.strip() in PLATFORMS:
            if platform and platform != suffix.strip():
                raise InvalidInputError(f"the GPU name {name!r} says another platform than {platform!r}")
            name, platform = stem.strip(), suffix.strip()
        if not 1 <= len(name) <= 128 or not (name.isascii() and name.isprintable()):
            raise InvalidInputError(
                f"a GPU model's name is {self.name!r}; expected 1 to 128 printable ASCII characters"
            )
        if platform and platform not in PLATFORMS:
            known = ", ".join(PLATFORMS)
            raise InvalidInputError(f"a GPU model's platform is {platform!r}; expected one of {known}, or nothing")
        for what, value, most in (("memory_gib", self.memory_gib, 65_536), ("count", self.count, 1_024)):
            if type(value) is not int or not 1 <= value <= most:
                raise InvalidInputError(f"a GPU model's {what} is {value!r}; expected an integer from 1 to {most}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "platform", platform)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"name": self.name, "memory_gib": self.memory_gib, "platform": self.platform, "count": self.count}

    @classmethod
    def from_dict(cls, value: object) -> "GpuModel":
        """Read what `to_dict` writes."""
        if not isinstance(value, dict) or not {"name", "memory_gib"} <= set(value) <= set(cls.__dataclass_fields__):
            raise InvalidInputError(
                f"a GPU model is {value!r}; expected an object with name, memory_gib, platform, count"
            )
        return cls(**value)

    def __str__(self) -> str:
        times = f"{self.count}x " if self.count > 1 else ""
        platform = f" ({self.platform})" if self.platform else ""
        return f"{times}{self.name}, {self.memory_gib} GiB{platform}"
