"""GPU models in one normal form (protocol P1)."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any, Final

from crynux_validate.encoding import check_flag, check_integer, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.machines.gpu_names import check_name
from crynux_validate.machines.gpu_outputs import card_lines, tidy

PLATFORMS: Final = ("docker", "Linux", "Windows", "Darwin")
"""The platforms of nodes of the live network: the suffix after a ``+`` in its names."""

MAX_MEMORY_GIB: Final = 65_536
"""The most memory of one card, in GiB."""

_TENSOR_PARALLEL: Final = " TP"
_MAC_TAIL: Final = " Type"
"""What the live network's node takes into a name on macOS: the beginning of the next line."""

_COUNT: Final = re.compile(r"([0-9]{1,5})x (.+)")
_UNITS: Final = {"MiB": 1024, "": 1024, "GiB": 1}
"""How many of a unit make a GiB; nvidia-smi leaves the unit out under ``nounits``, and means MiB."""

_MEMORY: Final = re.compile(r"(.*), ?([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)(?: ?\( ?([A-Za-z]+) ?\))?")
_NO_MEMORY: Final = re.compile(r"(.*), ?\[[A-Za-z/ ]*\]")
"""What nvidia-smi writes where a card shares the machine's memory: ``[N/A]``."""


@dataclass(frozen=True, order=True)
class GpuModel:
    """A GPU model. It must be equal on two machines that are to give equal bits.

    The constructor brings every field into normal form: it removes superfluous white space, and splits names of the
    live network (``2x NVIDIA GeForce RTX 4090 TP+docker``) into fields. Comparison is exact and case-sensitive:
    ``RTX 4090`` and ``RTX 4090 D`` are different, and so are 40 and 80 GiB.

    Parameters
    ----------
    name
        The vendor's name, 1 to 128 printable ASCII characters. Other output of programs (an identifier, a version, a
        number, a placeholder, an error) is refused.
    memory_gib
        Memory of one card in GiB, rounded up; 1 to 65,536.
    platform
        ``docker``, ``Linux``, ``Windows``, ``Darwin``, or empty if it is unknown.
    count
        The number of cards that work as one machine, 1 to 1,024.
    tensor_parallel
        Whether several cards share the work on each layer, which changes the order of sums; False for one card.

    Raises
    ------
    InvalidInputError
        For an invalid field, which the message names.
    """

    name: str
    memory_gib: int
    platform: str = ""
    count: int = 1
    tensor_parallel: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.platform, str):
            raise InvalidInputError(
                f"the GPU's name and platform are {shorten(self.name)} and {shorten(self.platform)}; expected text"
            )
        for what, value, most in (("memory_gib", self.memory_gib, MAX_MEMORY_GIB), ("count", self.count, 1_024)):
            check_integer(value, f"a GPU model's {what}", 1, most)
        check_flag(self.tensor_parallel, "tensor_parallel")
        name, platform, count, tensor_parallel = self._normal_form()
        check_name(name, self.name)
        if platform and platform not in PLATFORMS:
            known = ", ".join(PLATFORMS)
            raise InvalidInputError(
                f"a GPU model's platform is {shorten(platform)}; expected one of {known}, or nothing"
            )
        check_integer(count, "a GPU model's count", 1, 1_024)
        if tensor_parallel and count == 1:
            raise InvalidInputError("tensor_parallel is True with a count of 1; it needs several cards")
        for field, found in (
            ("name", name),
            ("platform", platform),
            ("count", count),
            ("tensor_parallel", tensor_parallel),
        ):
            object.__setattr__(self, field, found)

    def _normal_form(self) -> tuple[str, str, int, bool]:
        """Take what the live network writes around a name out of it: name, platform, count, tensor_parallel."""
        name, platform, count = tidy(self.name), tidy(self.platform), self.count
        tensor_parallel = self.tensor_parallel
        stem, suffix = _platform_suffix(name)
        if suffix:
            if platform and platform != suffix:
                raise InvalidInputError(
                    f"the GPU name {shorten(name)} has another platform than {shorten(platform)}; give one of them"
                )
            name, platform = stem, suffix
        if platform == "Darwin":
            name = name.removesuffix(_MAC_TAIL)
        if prefixed := _COUNT.fullmatch(name):
            if count not in {1, int(prefixed[1])}:
                raise InvalidInputError(
                    f"the GPU name {shorten(name)} has another count than {count}; give one of them"
                )
            count, name = int(prefixed[1]), prefixed[2]
        if count > 1 and name.endswith(_TENSOR_PARALLEL):
            name, tensor_parallel = name.removesuffix(_TENSOR_PARALLEL), True
        left = _platform_suffix(name)[1] or _COUNT.fullmatch(name) or (count > 1 and name.endswith(_TENSOR_PARALLEL))
        if left:
            raise InvalidInputError(
                f"the GPU name {shorten(self.name)} has a part twice, or in another order than "
                "'2x NVIDIA GeForce RTX 4090 TP+docker'"
            )
        return name, platform, count, tensor_parallel

    @classmethod
    def parse(cls, text: str, memory_gib: int | None = None) -> "GpuModel":
        """Read a GPU model in the form of the live network, of vendors' programs, of torch, or of its own `str`.

        ==================================================  ======================================================
        the live network                                    ``2x NVIDIA GeForce RTX 4090 TP+docker``, memory apart
        ``nvidia-smi --query-gpu=name,memory.total          ``NVIDIA GeForce RTX 4090, 24564 MiB``; one line for
        --format=csv,noheader``, with or without            each card, which must all be equal
        ``nounits``
        the same with a header                              other columns do not matter
        ``nvidia-smi -q``, and with ``-x``                  name and memory are read, all cards must be equal
        ``nvidia-smi -L``                                   ``GPU 0: NVIDIA L4 (UUID: GPU-...)``, memory apart
        ``rocm-smi --showproductname``                      the card series, memory apart
        ``system_profiler SPDisplaysDataType``,             ``Chipset Model: Apple M2 Max``, memory apart
        ``sysctl machdep.cpu.brand_string``
        ``torch.cuda.get_device_name()``                    ``NVIDIA GeForce RTX 4090``, memory apart
        `str` of a GPU model                                ``2x NVIDIA GeForce RTX 4090 TP, 24 GiB (docker)``
        ==================================================  ======================================================

        Parameters
        ----------
        text
            Text in one of these forms; white space does not matter.
        memory_gib
            Memory of one card in GiB if the text does not have it. The live network reports the sum over all cards:
            divide it by their number.

        Raises
        ------
        InvalidInputError
            If the memory is missing, has another unit than MiB or GiB, or differs from `memory_gib`; if the cards are
            not equal, or are partitioned; and as for the constructor.

        Examples
        --------
        >>> GpuModel.parse("NVIDIA GeForce RTX 4090, 24564 MiB") == GpuModel.parse("NVIDIA GeForce RTX 4090", 24)
        True
        """
        if not isinstance(text, str):
            raise InvalidInputError(f"a GPU model is {shorten(text)}; expected text")
        if memory_gib is not None:
            check_integer(memory_gib, "a GPU model's memory_gib", 1, MAX_MEMORY_GIB)
        cards = [cls._parse_line(line, memory_gib) for line in card_lines(text) or [""]]
        first = cards[0]
        for card in cards[1:]:
            if card != first:
                raise InvalidInputError(f"the cards differ: {first} and {card}; expected equal cards: name only those")
        if len(cards) > 1 and first.count > 1:
            raise InvalidInputError(
                f"{len(cards)} lines name {first.count} cards each; expected one line, or one line for each card"
            )
        return replace(first, count=len(cards)) if len(cards) > 1 else first

    @classmethod
    def _parse_line(cls, line: str, given: int | None) -> "GpuModel":
        """Read one line, in which white space is collapsed."""
        name, memory, platform = line, given, ""
        if found := _MEMORY.fullmatch(line):
            name, size, unit, platform = found[1], found[2], found[3], found[4] or ""
            if unit not in _UNITS:
                raise InvalidInputError(
                    f"the memory of {shorten(name)} is {size} {unit}; expected MiB or GiB (1 GiB is 1024 MiB)"
                )
            if not unit and Fraction(size) < 1024:
                raise InvalidInputError(
                    f"the memory of {shorten(name)} is {size} without a unit, which is read as MiB; write {size} GiB"
                )
            memory = ceil(Fraction(size) / _UNITS[unit])
            if given not in {None, memory}:
                raise InvalidInputError(f"{shorten(line)} has {memory} GiB, but memory_gib is {shorten(given)}")
        elif without := _NO_MEMORY.fullmatch(line):
            name = without[1]
        if memory is None:
            check_name(name, line)
            raise InvalidInputError(
                f"{shorten(line)} has no memory; write it after a comma ('{name[:40] or 'NVIDIA L4'}, 24 GiB'), or "
                "give memory_gib"
            )
        return cls(name, memory, platform)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; ``tensor_parallel`` only where it is true."""
        fields = {"name": self.name, "memory_gib": self.memory_gib, "platform": self.platform, "count": self.count}
        return fields | ({"tensor_parallel": True} if self.tensor_parallel else {})

    @classmethod
    def from_dict(cls, value: object) -> "GpuModel":
        """Read what `to_dict` writes."""
        if not isinstance(value, dict) or not {"name", "memory_gib"} <= set(value) <= set(cls.__dataclass_fields__):
            raise InvalidInputError(
                f"a GPU model is {shorten(value)}; expected an object with name, memory_gib, platform, count, "
                "tensor_parallel"
            )
        return cls(**value)

    def __str__(self) -> str:
        times = f"{self.count}x " if self.count > 1 else ""
        together = _TENSOR_PARALLEL if self.tensor_parallel else ""
        platform = f" ({self.platform})" if self.platform else ""
        return f"{times}{self.name}{together}, {self.memory_gib} GiB{platform}"


def _platform_suffix(name: str) -> tuple[str, str]:
    """The name without its platform suffix, and the platform; the name and nothing where it has none."""
    stem, plus, suffix = name.rpartition("+")
    return (stem.strip(), suffix.strip()) if plus and suffix.strip() in PLATFORMS else (name, "")
