"""GPU models in normal form (protocol P1)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import GpuModel
from crynux_validate.errors import InvalidInputError
from crynux_validate.machines.gpu import PLATFORMS

RTX_4090 = GpuModel("NVIDIA GeForce RTX 4090", 24)


def test_normal_form() -> None:
    plain = GpuModel("NVIDIA GeForce RTX 4090", 24, "docker")
    assert GpuModel("  NVIDIA  GeForce RTX\t4090+docker ", 24) == plain
    assert GpuModel(plain.name, plain.memory_gib, plain.platform) == plain
    assert GpuModel.from_dict(plain.to_dict()) == plain
    assert str(GpuModel("A100", 80, count=2)) == "2x A100, 80 GiB"


def test_what_differs_is_another_model() -> None:
    card = GpuModel("NVIDIA GeForce RTX 4090", 24)
    others = [
        GpuModel("NVIDIA GeForce RTX 4090 D", 24),
        GpuModel("NVIDIA GeForce RTX 4090", 48),
        GpuModel("nvidia geforce rtx 4090", 24),
        GpuModel("NVIDIA GeForce RTX 4090", 24, "Linux"),
        GpuModel("NVIDIA GeForce RTX 4090", 24, count=2),
    ]
    assert len({card, *others}) == 6


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"name": "RTX\u00a04090\u00e9"}, "name"),
        ({"name": 4090}, "text"),
        ({"name": "+docker"}, "name"),
        ({"name": "x+docker", "platform": "Linux"}, "another platform"),
        ({"platform": "BeOS"}, "platform"),
        ({"memory_gib": 0}, "memory_gib"),
        ({"memory_gib": 23.5}, "memory_gib"),
        ({"memory_gib": True}, "memory_gib"),
        ({"count": 0}, "count"),
        ({"count": 1025}, "count"),
        ({"name": "0x RTX"}, "count"),
        ({"name": "1025x RTX"}, "count"),
        ({"name": "2x RTX", "count": 3}, "another count"),
        ({"name": "2x 2x RTX"}, "twice"),
        ({"name": "RTX+docker+docker"}, "twice"),
        ({"name": "2x RTX TP TP"}, "twice"),
        ({"name": "2x RTX+docker TP"}, "another order"),
        ({"tensor_parallel": True}, "several cards"),
        ({"tensor_parallel": 1, "count": 2}, "True or False"),
        ({"name": ["RTX"] * 1000}, "text"),
    ],
)
def test_bad_fields(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        GpuModel(**{"name": "x", "memory_gib": 8, **fields})


def test_bad_dict() -> None:
    for value in (None, {}, {"name": "x"}, {"name": "x", "memory_gib": 8, "cores": 3}):
        with pytest.raises(InvalidInputError):
            GpuModel.from_dict(value)


@pytest.mark.parametrize(
    ("text", "memory_gib", "expected"),
    [
        # The live network: memory is told apart from the name.
        ("NVIDIA GeForce RTX 4090", 24, RTX_4090),
        ("NVIDIA GeForce RTX 4090+docker", 24, replace(RTX_4090, platform="docker")),
        ("NVIDIA GeForce RTX 4090+Linux", 24, replace(RTX_4090, platform="Linux")),
        ("NVIDIA GeForce RTX 4090+Windows", 24, replace(RTX_4090, platform="Windows")),
        ("Apple M2 Max+Darwin", 64, GpuModel("Apple M2 Max", 64, "Darwin")),
        ("2x NVIDIA GeForce RTX 4090", 24, replace(RTX_4090, count=2)),
        ("8x NVIDIA GeForce RTX 4090+docker", 24, replace(RTX_4090, count=8, platform="docker")),
        (
            "2x NVIDIA GeForce RTX 4090 TP+docker",
            24,
            GpuModel("NVIDIA GeForce RTX 4090", 24, "docker", 2, tensor_parallel=True),
        ),
        # nvidia-smi: cards report what the driver leaves of their nominal memory.
        ("NVIDIA GeForce RTX 4090, 24564 MiB", None, RTX_4090),
        ("NVIDIA GeForce RTX 4090, 24564", None, RTX_4090),
        ("NVIDIA GeForce RTX 4090, 24564 MiB\n", 24, RTX_4090),
        ("NVIDIA GeForce RTX 4090, 24564 MiB\r\n" * 4, None, replace(RTX_4090, count=4)),
        ("NVIDIA GeForce RTX 4090, 24564\n\nNVIDIA GeForce RTX 4090, 24564", None, replace(RTX_4090, count=2)),
        ("NVIDIA H100 80GB HBM3, 81559 MiB", None, GpuModel("NVIDIA H100 80GB HBM3", 80)),
        ("NVIDIA A100-SXM4-40GB, 40960 MiB", None, GpuModel("NVIDIA A100-SXM4-40GB", 40)),
        ("Tesla T4, 15360 MiB", None, GpuModel("Tesla T4", 15)),
        ("NVIDIA GB10, [N/A]", 120, GpuModel("NVIDIA GB10", 120)),
        # torch: memory is a number of bytes, and may be written as what it is.
        ("NVIDIA GeForce RTX 4090, 23.52 GiB", None, RTX_4090),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz, 13 GiB", None, GpuModel("Intel(R) Xeon(R) CPU @ 2.20GHz", 13)),
        # Nothing but a comma is special about a comma.
        ("Card, with a comma, 8 GiB", None, GpuModel("Card, with a comma", 8)),
        (" 2x  Card ,8GiB( docker )", None, GpuModel("Card", 8, "docker", 2)),
    ],
)
def test_parse(text: str, memory_gib: int | None, expected: GpuModel) -> None:
    assert GpuModel.parse(text, memory_gib) == expected
    assert GpuModel.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "memory_gib", "word"),
    [
        ("", None, "name"),
        ("", 24, "name"),
        (" \n ", 24, "name"),
        (", 24564 MiB", None, "name"),
        ("+docker", 24, "name"),
        ("NVIDIA GeForce RTX 4090", None, "has no memory; .*NVIDIA GeForce RTX 4090, 24 GiB"),
        ("NVIDIA GB10, [N/A]", None, "has no memory"),
        ("NVIDIA GeForce RTX 4090, 24 GB", None, "24 GB; expected MiB or GiB"),
        ("NVIDIA GeForce RTX 4090, 24564 mib", None, "expected MiB or GiB"),
        ("NVIDIA GeForce RTX 4090, 24", None, "read as MiB; write 24 GiB"),
        ("NVIDIA GeForce RTX 4090, 0 MiB", None, "memory_gib"),
        ("NVIDIA GeForce RTX 4090, 24564 MiB", 23, "24 GiB, but memory_gib is 23"),
        ("NVIDIA GeForce RTX 4090, 24 GiB (BeOS)", None, "BeOS"),
        ("NVIDIA GeForce RTX 4090+docker, 24 GiB (Linux)", None, "another platform"),
        ("NVIDIA GeForce RTX 4090, 24564 MiB\nNVIDIA GeForce RTX 4090 D, 24564 MiB", None, "differ"),
        ("NVIDIA A100, 40960 MiB\nNVIDIA A100, 81920 MiB", None, "differ"),
        ("2x NVIDIA A100, 40 GiB\n2x NVIDIA A100, 40 GiB", None, "one line for each card"),
        ("x" * 10_000, 24, "name"),
        (24, 24, "text"),
        ("card", "24", "memory_gib"),
        ("card", 0, "memory_gib"),
    ],
)
def test_parse_refuses(text: Any, memory_gib: Any, word: str) -> None:
    with pytest.raises(InvalidInputError, match=word) as caught:
        GpuModel.parse(text, memory_gib)
    assert len(str(caught.value)) < 400


# Names made of all that the parser gives a meaning to, so that the parts meet in every order.
_PARTS = ["NVIDIA", "RTX 4090", " TP", "2x ", "1x ", ", ", "24 GiB", "24564 MiB", "+docker", "(docker)", "[N/A]", " "]
_names = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20),
    st.lists(st.sampled_from(_PARTS), min_size=1, max_size=6).map("".join),
)


@st.composite
def gpu_models(draw: st.DrawFn) -> GpuModel:
    try:
        return GpuModel(
            draw(_names),
            draw(st.integers(1, 65_536)),
            draw(st.sampled_from(["", *PLATFORMS])),
            count := draw(st.sampled_from([1, 1, 2, 8, 1024])),
            tensor_parallel=count > 1 and draw(st.booleans()),
        )
    except InvalidInputError:
        return RTX_4090


@given(gpu_models())
def test_text_and_dictionary_come_back(gpu: GpuModel) -> None:
    assert GpuModel.parse(str(gpu)) == gpu
    assert str(GpuModel.parse(str(gpu))) == str(gpu)
    assert GpuModel.from_dict(gpu.to_dict()) == gpu
    assert ("tensor_parallel" in gpu.to_dict()) == gpu.tensor_parallel


@given(st.text(max_size=60), st.integers(1, 100))
def test_any_text_is_read_or_refused(text: str, memory_gib: int) -> None:
    try:
        found = GpuModel.parse(text, memory_gib)
    except InvalidInputError:
        return
    assert GpuModel.parse(str(found)) == found


@given(st.integers(1024, 65_536 * 1024))
def test_memory_is_rounded_up(mib: int) -> None:
    gib = GpuModel.parse(f"card, {mib} MiB").memory_gib
    assert gib == GpuModel.parse(f"card, {mib}").memory_gib
    assert 0 <= gib * 1024 - mib < 1024


def test_what_only_looks_like_a_prefix_or_suffix_stays() -> None:
    assert GpuModel("docker", 8).name == "docker"
    assert GpuModel("Card TP", 8) == GpuModel("Card TP", 8, count=1)
    assert GpuModel("2xCard", 8).count == 1
    assert GpuModel("Card+Docker", 8).name == "Card+Docker"
    assert replace(RTX_4090, count=2, tensor_parallel=True) != replace(RTX_4090, count=2)


NAMES = [
    "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4060 Ti", "NVIDIA GeForce RTX 4070 Laptop GPU", "NVIDIA TITAN V",
    "NVIDIA GeForce GTX 1080 with Max-Q Design", "NVIDIA A100-SXM4-40GB", "NVIDIA A100 80GB PCIe MIG 1g.10gb",
    "NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", "NVIDIA H100 MIG 1g.10gb+me", "NVIDIA RTX 6000 Ada Generation",
    "NVIDIA Graphics Device", "NVIDIA GB10", "NVIDIA L4", "Tesla T4", "GRID T4-16Q", "Quadro RTX 6000/8000", "Orin",
    "AMD Radeon RX 7900 XTX", "AMD Radeon(TM) Graphics", "AMD Instinct MI300X", "Instinct MI210", "gfx1100",
    "Navi 31 [Radeon RX 7900 XT/7900 XTX]", "Intel(R) Arc(TM) A770 Graphics", "Intel(R) Data Center GPU Max 1550",
    "Apple M2 Max", "Apple M1 (Virtual)", "AMD Radeon Pro 5500M", "Apple Paravirtual device", "Orin (nvgpu)",
    # Processors: a machine without a card has one of these.
    "Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", "12th Gen Intel(R) Core(TM) i9-12900K", "V100", "P40",
    "AMD EPYC 7543 32-Core Processor", "AMD Ryzen 5 3400G with Radeon Vega Graphics", "QEMU Virtual CPU version 2.5+",
    "Common KVM processor", "L4", "M2 Max", "H200", "3090 Ti",
    "Intel Core Processor (Haswell, no TSX, IBRS)", "Intel64 Family 6 Model 158 Stepping 10, GenuineIntel",
    "ARMv8 Processor rev 1 (v8l)", "Neoverse-N1", "POWER9, altivec supported", "DO-Premium-AMD", "x86_64", "aarch64",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_vendors_write(name: str) -> None:
    plain = GpuModel(name, 24)
    assert plain.name == name
    assert GpuModel.parse(f"{name}, 24564 MiB") == plain
    assert GpuModel.parse(f"2x {name} TP+docker", 24) == GpuModel(name, 24, "docker", 2, tensor_parallel=True)


NO_NAMES = [
    # Placeholders, and other columns of the same table.
    "", " ", "N/A", "n/a", "[N/A]", "[Not Supported]", "[Unknown Error]", "[GPU is lost]", "[Insufficient Permissions]",
    "None", "null", "nan", "unknown", "Not Specified", "Not available", "-", "_", "name", "GPU", "GPU 0", "GPU[0]",
    "2x", "Default", "NVIDIA", "NVIDIA Corporation", "Advanced Micro Devices, Inc. [AMD/ATI]", "NVIDIA L4, P8",
    "24564 MiB", "AMD", "Apple",
    "NVIDIA L4, On", "24564", "0 %", "12.5 W", "8.9", "580.65.06", "535.183.01", "v12.4", "R580.65",
    "00000000:01:00.0", "0000:01:00.0", "0x2684", "Metal 3", "Metal Support: Metal 3",
    "GPU-5d8b3c1a-1f2e-4a5b-9c6d-7e8f9a0b1c2d", "MIG-dc34c2fd-4bd7-52ad-a6d0-645dcd1794e4", "GPU-5d8b3c1a",
    "MIG-GPU-9de3d0e8-33f5-10dc-0c79-2c88a7ab0a23/2/0", "5d8b3c1a-1f2e-4a5b-9c6d-7e8f9a0b1c2d", "UUID",
    "NVIDIA GeForce RTX 4090 GPU-5d8b3c1a-1f2e-4a5b-9c6d-7e8f9a0b1c2d",
    "NVIDIA GeForce RTX 4090 (UUID: GPU-5d8b3c1a-1f2e-4a5b-9c6d-7e8f9a0b1c2d)",
    # Rows with columns that nobody named.
    "0, NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090, 580.65.06", "NVIDIA GeForce RTX 4090, Enabled",
    "NVIDIA GeForce RTX 4090, 24564 MiB, 512 MiB", "24564 MiB, NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090,",
    "NVIDIA GeForce RTX 4090, 0 %, 512 MiB", "GPU-5d8b3c1a-1f2e, NVIDIA GeForce RTX 4090", "NVIDIA L4, N/A, x",
    "|   0  NVIDIA GeForce RTX 4090        Off |", "NVIDIA GeForce RTX 409...", "+-----------------------------------+",
    # Errors, in the words of the programs that print them.
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.",
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
    "No devices were found", "No NVIDIA GPU found", "Failed to initialize NVML: Driver/library version mismatch",
    "Failed to initialize NVML", "NVML library version 535.183", "Unknown Error", "Insufficient Permissions",
    "Unable to determine the device handle for GPU 0000:01:00.0: Unknown Error", "GPU is lost.",
    'Field "nam" is not a valid field to query.', "nvidia-smi: command not found",
    "bash: nvidia-smi: command not found", "'nvidia-smi' is not recognized as an internal or external command,",
    "ERROR:root:Driver not initialized",
    "WARNING: No AMD GPUs specified", "Torch not compiled with CUDA enabled", "No CUDA GPUs are available",
    "Traceback (most recent call last)", "Permission denied", "NVIDIA-SMI 535.129.03", "Driver Version 580.65.06",
    "CUDA 12.4", "CUDA Version: 12.4", "cuda:0",
    # Characters that look like others, or like nothing.
    "NVIDIA\x00GeForce", "NVIDIA\x1fGeForce", "NVIDIA\x1b[31m GeForce", "NVIDIA\x7fGeForce", "NVIDIA\x85GeForce",
    "NVIDIA\nGeForce", "NVIDIA\rGeForce", "NVIDIA\x0bGeForce", "NVIDIA\u2028GeForce", "NVIDIA\u00a0GeForce RTX 4090",
    "NVIDIA\u3000GeForce RTX 4090", "NVIDIA\u202eGeForce", "NVIDIA\u2066GeForce\u2069", "NVIDIA GeForce RTX\u200b4090",
    "NVIDIA GeForce RTX 4090\ufeff", "\ufeffNVIDIA GeForce RTX 4090", "NVIDIA G\u0435Force RTX 4090",
    "\uff2e\uff36\uff29\uff24\uff29\uff21 RTX 4090", "NVIDIA GeForce RTX \uff14090", "NVIDIA GeForce RTX \u0664090",
    "NVIDIA GeForce\u2122 RTX 4090", "\ud800NVIDIA", "<b>NVIDIA</b>", '{"name": "NVIDIA L4"}', "NVIDIA; DROP TABLE",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name_never_becomes_one(text: str) -> None:
    reads: tuple[Callable[[], GpuModel], ...] = (
        lambda: GpuModel(text, 24),
        lambda: GpuModel(f"2x {text}+docker", 24),
        lambda: GpuModel.from_dict({"name": text, "memory_gib": 24}),
        lambda: GpuModel.parse(text, 24),
        lambda: GpuModel.parse(text),
    )
    for read in reads:
        with pytest.raises(InvalidInputError) as caught:
            read()
        assert str(caught.value).isprintable(), "an error that writes to a terminal as a stranger likes"
        assert len(str(caught.value)) < 400


UUID = "GPU-5d8b3c1a-1f2e-4a5b-9c6d-7e8f9a0b1c2d"
SMI_XML = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
    <driver_version>580.65.06</driver_version>
    <gpu id="00000000:01:00.0">
        <product_name>NVIDIA GeForce RTX 4090</product_name>
        <mig_devices>
            None
        </mig_devices>
        <uuid>GPU-5d8b3c1a-1f2e-4a5b-9c6d-7e8f9a0b1c2d</uuid>
        <fb_memory_usage>
            <total>24564 MiB</total>
            <reserved>364 MiB</reserved>
        </fb_memory_usage>
        <bar1_memory_usage>
            <total>32768 MiB</total>
        </bar1_memory_usage>
    </gpu>
</nvidia_smi_log>
"""
SMI_Q = """
==============NVSMI LOG==============

Timestamp                                 : Thu Jan 30 16:14:43 2025
Driver Version                            : 566.36
Attached GPUs                             : 1
GPU 00000000:01:00.0
    Product Name                          : NVIDIA GeForce RTX 4090
    Product Brand                         : GeForce
    GPU UUID                              : GPU-5d8b3c1a-1f2e-4a5b-9c6d-7e8f9a0b1c2d
    FB Memory Usage
        Total                             : 24564 MiB
        Reserved                          : 364 MiB
    BAR1 Memory Usage
        Total                             : 32768 MiB
"""
PROFILER = """Graphics/Displays:

    Apple M2 Max:

      Chipset Model: Apple M2 Max
      Type: GPU
      Bus: Built-In
      Total Number of Cores: 38
      Vendor: Apple (0x106b)
      Metal Support: Metal 3
"""
ROCM = """
============================ ROCm System Management Interface ============================
GPU[0]\t\t: Card Series: \t\tAMD Radeon RX 7900 XTX
GPU[0]\t\t: Card Model: \t\t0x744c
GPU[0]\t\t: Card Vendor: \t\tAdvanced Micro Devices, Inc. [AMD/ATI]
GPU[0]\t\t: Card SKU: \t\tEXT94393
==========================================================================================
"""


@pytest.mark.parametrize(
    ("text", "memory_gib", "expected"),
    [
        (f"GPU 0: NVIDIA GeForce RTX 4090 (UUID: {UUID})\n", 24, RTX_4090),
        (f"GPU 0: NVIDIA GeForce RTX 4090 (UUID: {UUID})\r\nGPU 1: NVIDIA GeForce RTX 4090 (UUID: N/A)", 24,
         replace(RTX_4090, count=2)),
        # What the live network's node asks nvidia-smi for.
        ("name, utilization.gpu [%], memory.used [MiB], memory.total [MiB]\n"
         "NVIDIA GeForce RTX 4090, 0 %, 512 MiB, 24564 MiB\n", None, RTX_4090),
        ("name, memory.total [MiB]\nNVIDIA GeForce RTX 4090, 24564 MiB\nNVIDIA GeForce RTX 4090, 24564 MiB", None,
         replace(RTX_4090, count=2)),
        ("name, memory.total [MiB]\nNVIDIA GeForce RTX 4090, 24564", None, RTX_4090),
        (f"index, uuid, gpu_name, driver_version\n0, {UUID}, NVIDIA GeForce RTX 4090, 580.65.06", 24, RTX_4090),
        ("name\nNVIDIA GeForce RTX 4090", 24, RTX_4090),
        ("name, memory.total [MiB]\nNVIDIA GB10, [N/A]", 120, GpuModel("NVIDIA GB10", 120)),
        (SMI_XML, None, RTX_4090),
        (SMI_XML.replace("</gpu>", "</gpu>\n" + SMI_XML[SMI_XML.index("    <gpu ") : SMI_XML.index("</nvidia")]), None,
         replace(RTX_4090, count=2)),
        (SMI_Q, None, RTX_4090),
        (SMI_Q.replace("\n", "\r\n"), 24, RTX_4090),
        (PROFILER, 64, GpuModel("Apple M2 Max", 64)),
        ("      Chipset Model: Apple M2 Max\n", 64, GpuModel("Apple M2 Max", 64)),
        ("machdep.cpu.brand_string: Apple M2 Max", 64, GpuModel("Apple M2 Max", 64)),
        # The live network's node takes the beginning of the next line into the name.
        (" Apple M2 Max\n      Type+Darwin", 64, GpuModel("Apple M2 Max", 64, "Darwin")),
        (" Apple M2 Max\n      Type", 64, GpuModel("Apple M2 Max", 64)),
        ("Apple M2 Max Type+Darwin", 64, GpuModel("Apple M2 Max", 64, "Darwin")),
        (ROCM, 24, GpuModel("AMD Radeon RX 7900 XTX", 24)),
        (ROCM.replace("Series", "series") + "GPU[1] : Card series: AMD Radeon RX 7900 XTX", 24,
         GpuModel("AMD Radeon RX 7900 XTX", 24, count=2)),
        ("device,Card Series,Card Model\ncard0,AMD Radeon RX 7900 XTX,0x744c", 24,
         GpuModel("AMD Radeon RX 7900 XTX", 24)),
    ],
)  # fmt: skip
def test_what_programs_print(text: str, memory_gib: int | None, expected: GpuModel) -> None:
    assert GpuModel.parse(text, memory_gib) == expected
    assert GpuModel.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (f"GPU 0: NVIDIA A100 (UUID: {UUID})\n  MIG 1g.5gb     Device  0: (UUID: MIG-dc34c2fd)", "partitioned"),
        (f"GPU 0: NVIDIA A100 (UUID: {UUID})\nsomething else", "not a line of nvidia-smi -L"),
        (f"GPU 0: NVIDIA A100 (UUID: {UUID})\nGPU 1: NVIDIA L4 (UUID: {UUID})", "differ"),
        (f"GPU 0: Unknown Error (UUID: {UUID})", "message"),
        ("name, memory.total [MiB]", "header without a line for a card"),
        ("name, memory.total [MiB]\nNVIDIA A100, x, 40960 MiB", "3 columns; its header has 2"),
        ("name, memory.total [MiB]\n[Not Supported], 40960 MiB", "means that there is no name"),
        ("name, memory.total [MiB]\nNVIDIA A100, 40960 MB", "expected MiB or GiB"),
        ("index, memory.total [MiB]\n0, 40960 MiB", "several|lines|differ|holds|number"),
        (SMI_XML.replace("NVIDIA GeForce RTX 4090", "N/A").replace("24564", "40960"), "means that there is no name"),
        (SMI_XML.replace("None", "<mig_device>0</mig_device>"), "partitioned"),
        (SMI_XML.replace("gpu", "cpu"), "no card"),
        ("      Chipset Model: \n      Type: GPU", "empty"),
        (PROFILER + PROFILER.replace("M2", "M3"), "differ"),
        (ROCM.replace("AMD Radeon RX 7900 XTX", "N/A"), "means that there is no name"),
    ],
)
def test_what_programs_print_without_a_name(text: str, word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        GpuModel.parse(text, 40)


def test_a_strange_character_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"U\+0435 \(CYRILLIC SMALL LETTER IE\)"):
        GpuModel("NVIDIA G\u0435Force RTX 4090", 24)


@given(st.text(min_size=1, max_size=30).filter(lambda text: not text.isascii()), st.sampled_from(["", " ", "NVIDIA "]))
def test_nothing_but_ascii_is_in_a_name(text: str, before: str) -> None:
    for read in (GpuModel, GpuModel.parse):
        with pytest.raises(InvalidInputError):
            read(before + text + " RTX 4090", 24)
