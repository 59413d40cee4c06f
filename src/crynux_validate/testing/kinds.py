"""The settings that make a process on this processor compute like another machine, or in the arithmetic of a card."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crynux_validate.errors import FakeHardwareError, needed_for

NUMERIC_VARIABLES: Final = frozenset({
    "ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE",
    "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
    "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "GLIBC_TUNABLES",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
})  # fmt: skip
"""Variables that change bits; a worker gets those of its kind, never the parent's."""


@dataclass(frozen=True)
class NumericKind:
    """Settings that make a process compute like another machine.

    Parameters
    ----------
    name
        A short name, unique among `kinds`.
    variables
        Environment variables of the process. One thread is the default; a kind may say otherwise.
    about
        What changes, in words.
    architecture, splits
        Whose tensor cores the process emulates, and in which order of k (`crynux_validate.testing.tensor_cores`); None
        where it emulates none.
    """

    name: str
    variables: Mapping[str, str]
    about: str
    architecture: str | None = None
    splits: int = 1


def kinds() -> list[NumericKind]:
    """List the kinds that this processor can imitate, its own (``native``) first.

    A setting that asks for more than the processor has can kill the process, so the list is decided by the processor's
    flags. A kind differs from ``native`` in some operations only; which ones depends on the processor.

    Raises
    ------
    FakeHardwareError
        On anything but Linux on x86-64: nobody has measured which settings work elsewhere.
    """
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in {"x86_64", "AMD64"}:
        raise FakeHardwareError(f"fake hardware needs Linux on x86-64; this is {system} on {machine}")
    vendor, flags = _processor(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    return _kinds(vendor, flags)


def gpu_kinds(splits: int = 1) -> list[NumericKind]:
    """List the kinds whose products have the arithmetic of a card's tensor cores, in our order: one an architecture.

    Everything that is no product of float16 or bfloat16 is this processor's own, as in `tensor_cores`. Turing, Ampere
    and Ada give equal bits, and so do Hopper and Blackwell. They need the package torch, and a POSIX system.

    Parameters
    ----------
    splits
        How many blocks k is split over: 1, 2 or 4. The names of the latter kinds say so: ``hopper-split-2``.

    Raises
    ------
    InvalidInputError
        For another number of blocks.
    MissingExtraError
        Without numpy.
    """
    with needed_for("gpu_kinds", "text"):
        from crynux_validate.testing.gpu.arithmetic import ARCHITECTURES, check_splits

    order = f", k in {check_splits(splits)} blocks" if splits != 1 else ""
    return [
        NumericKind(
            f"{found.name}-split-{splits}" if order else found.name,
            {},
            f"the arithmetic of {found.name.capitalize().replace('Cdna', 'CDNA')} ({found.cards}), in our order{order}",
            found.name,
            splits,
        )
        for found in ARCHITECTURES.values()
    ]


def _processor(cpuinfo: str) -> tuple[str, frozenset[str]]:
    """Return vendor and flags of the first processor in the text of ``/proc/cpuinfo``."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), value.strip())
    return fields.get("vendor_id", ""), frozenset(fields.get("flags", "").split())


def _kinds(vendor: str, flags: frozenset[str]) -> list[NumericKind]:
    aten = {"ATEN_CPU_CAPABILITY": "default"}
    mkl = {"MKL_CBWR": "COMPATIBLE"}
    onednn = {"ONEDNN_MAX_CPU_ISA": "SSE41"}
    # Neither library knows the other one's names of features; both skip the names that they do not know.
    libraries = {
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 X86_V3",
        "OPENBLAS_CORETYPE": "Prescott",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX2_Usable,-FMA_Usable",
    }
    found = [
        NumericKind("native", {}, "this processor as it is"),
        NumericKind("aten-default", aten, "torch's own loops without AVX: reductions, softmax, norms, random normals"),
        NumericKind("mkl-compatible", mkl, "matrix products and the convolutions built on them, for any processor"),
    ]
    if {"avx2", "avx512f"} <= flags:
        found.append(NumericKind("aten-avx2", {"ATEN_CPU_CAPABILITY": "avx2"}, "torch's own loops without AVX-512"))
    if "avx2" in flags and vendor == "GenuineIntel":
        # On other vendors' processors MKL honours COMPATIBLE only, and this kind would be another name for native.
        found.append(NumericKind("mkl-avx2", {"MKL_CBWR": "AVX2"}, "matrix products with AVX2 in a fixed order"))
    if "sse4_1" in flags:
        found.append(NumericKind("onednn-sse41", onednn, "oneDNN's convolutions and activations with SSE4.1 only"))
    found.append(NumericKind("libraries-plain", libraries, "numpy, OpenBLAS and the C library without AVX2 and FMA"))
    oldest = {**aten, **mkl, **libraries, **(onednn if "sse4_1" in flags else {})}
    found.append(NumericKind("oldest", oldest, "all of these at once: a processor without AVX"))
    return found
