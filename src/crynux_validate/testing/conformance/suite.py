"""`LedgerConformance`: every standard test in one class, and what keeps any of them from being lost in silence."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

import pytest

from crynux_validate.errors import InvalidInputError
from crynux_validate.testing.conformance.attestations import AttestationRules
from crynux_validate.testing.conformance.batches import BatchRules
from crynux_validate.testing.conformance.capabilities import check_lacks, check_reasons
from crynux_validate.testing.conformance.classes import ClassRules
from crynux_validate.testing.conformance.commitments import CommitmentRules
from crynux_validate.testing.conformance.concurrency import ConcurrencyRules
from crynux_validate.testing.conformance.draws import DrawRules
from crynux_validate.testing.conformance.full_disk import FullDiskRules
from crynux_validate.testing.conformance.groups import GroupRules
from crynux_validate.testing.conformance.keyed_round import KeyedRoundRules
from crynux_validate.testing.conformance.leaving import LeavingRules
from crynux_validate.testing.conformance.log import LogRules
from crynux_validate.testing.conformance.model import ModelRules
from crynux_validate.testing.conformance.money import MoneyRules
from crynux_validate.testing.conformance.nodes import NodeRules
from crynux_validate.testing.conformance.odd import OddRules
from crynux_validate.testing.conformance.prices import PriceRules
from crynux_validate.testing.conformance.restart import RestartRules
from crynux_validate.testing.conformance.second_round import SecondRoundRules
from crynux_validate.testing.conformance.settlement import SettlementRules
from crynux_validate.testing.conformance.signed import SignedRules

Test = Callable[..., None]


class LedgerConformance(
    MoneyRules,
    NodeRules,
    LeavingRules,
    GroupRules,
    DrawRules,
    CommitmentRules,
    SettlementRules,
    PriceRules,
    OddRules,
    AttestationRules,
    ClassRules,
    LogRules,
    ConcurrencyRules,
    RestartRules,
    SignedRules,
    SecondRoundRules,
    KeyedRoundRules,
    BatchRules,
    FullDiskRules,
    ModelRules,
):
    """Tests a `crynux_validate.Ledger` against every rule of the protocol that a ledger shows.

    Subclass it in a test module, at module level, with a name that begins with ``Test``, and define `make_ledger`
    (`docs/tutorials/write-a-ledger.md`)::

        class TestMyLedger(LedgerConformance):
            lacks = {"replay": "a chain begins with its own genesis"}

            def make_ledger(self, policy, ledger_id, clock, beacon, folder):
                return MyLedger(folder / "ledger", policy, ledger_id=ledger_id, clock=clock, beacon=beacon)

    The names of the tests begin with the rule of `docs/protocol.md` that they check.

    Raises
    ------
    InvalidInputError
        Where a subclass is defined whose `lacks` has a name that is no capability, whose `overridden` or `xfails` has
        one that is no standard test, or says so of a test that is not overridden.
    """

    conformance_checked: ClassVar[Mapping[str, object]] = MappingProxyType({})
    """What each standard test of this class was when the class was defined."""

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        check_lacks(cls, cls.lacks)
        for attribute in ("overridden", "xfails"):
            check_reasons(cls, attribute, getattr(cls, attribute))
            for name in getattr(cls, attribute):
                if name not in STANDARD:
                    raise InvalidInputError(f"{cls.__name__}.{attribute} has {name!r}, which is no standard test")
        for name, standard in STANDARD.items():
            found = getattr(cls, name, None)
            if found is standard and name in cls.overridden:
                raise InvalidInputError(
                    f"{cls.__name__}.overridden has {name!r}, which {cls.__name__} does not override"
                )
            if found is not standard and name not in cls.overridden:
                setattr(cls, name, _failing(cls, name))
            elif not callable(found):
                setattr(cls, name, _skipped(cls, name))
        cls.conformance_checked = MappingProxyType({name: getattr(cls, name) for name in STANDARD})

    @pytest.fixture(autouse=True)
    def conformance_is_complete(self) -> None:
        """Fail where a standard test was taken away after its class was defined."""
        cls = type(self)
        for name, checked in cls.conformance_checked.items():
            if getattr(cls, name, None) is not checked:
                pytest.fail(f"{cls.__name__}.{name} is a standard test, and was changed or deleted behind its back")


def _failing(cls: type, name: str) -> Test:
    return _standing_in(
        name,
        pytest.fail,
        f"{cls.__name__} overrides or deletes the standard test {name} in silence; "
        f"give the reason: overridden = {{{name!r}: 'why'}}",
    )


def _skipped(cls: type[LedgerConformance], name: str) -> Test:
    return _standing_in(name, pytest.skip, f"{cls.__name__} has no {name}: {cls.overridden[name]}")


def _standing_in(name: str, end: Callable[[str], object], reason: str) -> Test:
    """Return a test of this name that does nothing but end."""

    def test(_self: object) -> None:
        end(reason)

    test.__name__ = test.__qualname__ = name
    return test


STANDARD: Final[Mapping[str, Test]] = MappingProxyType(
    {name: getattr(LedgerConformance, name) for name in dir(LedgerConformance) if name.startswith("test_")}
)
"""Every standard test by its name."""
