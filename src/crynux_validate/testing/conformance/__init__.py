"""Tests for whoever writes a ledger: `LedgerConformance`. Needs pytest and hypothesis (the extra ``test``)."""

import pkgutil

import pytest

# Before they are imported: their asserts then say what was compared.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from crynux_validate.testing.conformance.capabilities import CAPABILITIES  # noqa: E402
from crynux_validate.testing.conformance.suite import LedgerConformance  # noqa: E402

__all__ = ["CAPABILITIES", "LedgerConformance"]
