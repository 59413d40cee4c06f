"""For the tests of those who build on this library; what it offers is imported when it is first used.

- `LedgerConformance`: every rule of the protocol as a test, for whoever writes a ledger (`docs/write-a-ledger.md`)
- `ManualClock`: time for a ledger under test
- `LatencyLedger`, `FaultyLedger` (with `Faults`), `ReadOnlyLedger`, `LoggingLedger`: around any ledger, and each a
  ledger itself; `LedgerWrapper` is the base for more
- `fake_hardware`: processes that compute like other machines, without a GPU
- `tiny_image_model`, `tiny_sdxl_model`, `tiny_text_model`: small, real models that are built in a second, without a
  download
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crynux_validate.testing import fake_hardware
    from crynux_validate.testing.clock import ManualClock
    from crynux_validate.testing.conformance import LedgerConformance
    from crynux_validate.testing.ledger_faults import Faults, FaultyLedger, LatencyLedger
    from crynux_validate.testing.ledger_watching import LoggingLedger, ReadOnlyLedger
    from crynux_validate.testing.ledger_wrapper import LedgerWrapper
    from crynux_validate.testing.tiny_models import tiny_image_model, tiny_sdxl_model, tiny_text_model

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
    "tiny_image_model",
    "tiny_sdxl_model",
    "tiny_text_model",
]

_HOMES = {
    "Faults": "ledger_faults",
    "FaultyLedger": "ledger_faults",
    "LatencyLedger": "ledger_faults",
    "LedgerWrapper": "ledger_wrapper",
    "LoggingLedger": "ledger_watching",
    "LedgerConformance": "conformance",
    "ManualClock": "clock",
    "ReadOnlyLedger": "ledger_watching",
    "tiny_image_model": "tiny_models",
    "tiny_sdxl_model": "tiny_models",
    "tiny_text_model": "tiny_models",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("pytest", "hypothesis"):
            raise
        from crynux_validate.errors import MissingExtraError

        raise MissingExtraError(f"crynux_validate.testing.{name}", "test", missing) from error
    value = getattr(module, name) if name in _HOMES else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
