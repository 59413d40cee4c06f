"""For the tests of those who build on this library; what it offers is imported when it is first used.

- `LedgerConformance`: every rule as a test, for those who write a ledger (docs/tutorials/write-a-ledger.md)
- `ManualClock`: time for a ledger under test
- `LatencyLedger`, `FaultyLedger` (with `Faults`), `ReadOnlyLedger`, `LoggingLedger`: around any ledger, and each a
  ledger itself; `LedgerWrapper` is the base for more
- `fake_hardware`: processes that compute like other machines, without a GPU
- `tensor_cores`: products in the arithmetic of a card's tensor cores, on any processor
- `tiny_image_model`, `tiny_sdxl_model`, `tiny_refiner_model`, `tiny_flow_model`, `tiny_text_model`,
  `tiny_vision_model`: small, real models that are built in a second, without a download; `tiny_lora`,
  `tiny_textual_inversion` and `tiny_controlnet`: parts for one of them
"""

from typing import TYPE_CHECKING

from crynux_validate import lazy

if TYPE_CHECKING:
    from crynux_validate.testing import fake_hardware
    from crynux_validate.testing.clock import ManualClock
    from crynux_validate.testing.conformance import LedgerConformance
    from crynux_validate.testing.gpu.mode import tensor_cores
    from crynux_validate.testing.ledger_faults import Faults, FaultyLedger, LatencyLedger
    from crynux_validate.testing.ledger_watching import LoggingLedger, ReadOnlyLedger
    from crynux_validate.testing.ledger_wrapper import LedgerWrapper
    from crynux_validate.testing.tiny_models import (
        tiny_flow_model,
        tiny_image_model,
        tiny_refiner_model,
        tiny_sdxl_model,
        tiny_text_model,
        tiny_vision_model,
    )
    from crynux_validate.testing.tiny_parts import tiny_controlnet, tiny_lora, tiny_textual_inversion

__all__ = [
    "Faults",
    "FaultyLedger",
    "LatencyLedger",
    "LedgerConformance",
    "LedgerWrapper",
    "LoggingLedger",
    "ManualClock",
    "ReadOnlyLedger",
    "fake_hardware",
    "tensor_cores",
    "tiny_controlnet",
    "tiny_flow_model",
    "tiny_image_model",
    "tiny_lora",
    "tiny_refiner_model",
    "tiny_sdxl_model",
    "tiny_text_model",
    "tiny_textual_inversion",
    "tiny_vision_model",
]

_HOMES = {
    "fake_hardware": "fake_hardware",
    "Faults": "ledger_faults",
    "FaultyLedger": "ledger_faults",
    "LatencyLedger": "ledger_faults",
    "LedgerWrapper": "ledger_wrapper",
    "LoggingLedger": "ledger_watching",
    "LedgerConformance": "conformance",
    "ManualClock": "clock",
    "ReadOnlyLedger": "ledger_watching",
    "tensor_cores": "gpu.mode",
    "tiny_controlnet": "tiny_parts",
    "tiny_image_model": "tiny_models",
    "tiny_lora": "tiny_parts",
    "tiny_flow_model": "tiny_models",
    "tiny_refiner_model": "tiny_models",
    "tiny_sdxl_model": "tiny_models",
    "tiny_text_model": "tiny_models",
    "tiny_textual_inversion": "tiny_parts",
    "tiny_vision_model": "tiny_models",
}

_NEEDS = {"LedgerConformance": ("test", ("pytest", "hypothesis")), "tensor_cores": ("text", ("torch", "numpy"))}

__all__ = lazy.public(__all__, _NEEDS)
__getattr__ = lazy.importer(__name__, _HOMES, _NEEDS)


def __dir__() -> list[str]:
    return __all__
