"""GPU models in normal form (protocol P1)."""

from typing import Any

import pytest

from crynux_validate import GpuModel, InvalidInputError


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
    ],
)
def test_bad_fields(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidInputError, match=word):
        GpuModel(**{"name": "x", "memory_gib": 8, **fields})


def test_bad_dict() -> None:
    for value in (None, {}, {"name": "x"}, {"name": "x", "memory_gib": 8, "cores": 3}):
        with pytest.raises(InvalidInputError):
            GpuModel.from_dict(value)
