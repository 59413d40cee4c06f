"""GPU models in normal form (protocol P1)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crynux_validate import GpuModel, InvalidInputError
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
        ("", None, "has no memory"),
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
        ("2x NVIDIA A100, 40 GiB\n2x NVIDIA A100, 40 GiB", None, "one a card"),
        ("name, memory.total [MiB]\nNVIDIA A100, 40960 MiB", None, "no memory"),
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
