"""The blockchain's part: membership and stakes, groups, commitments, verdicts, money.

The ledgers themselves, `Policy` and `Group` are in `crynux_validate`. Here is what they speak of, and what whoever
writes a ledger needs.
"""

import crynux_validate.lazy as _lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crynux_validate.ledger.actions import action_from_dict
    from crynux_validate.ledger.base import StoringLedger
    from crynux_validate.ledger.beacon import LocalBeacon
    from crynux_validate.ledger.evidence import CheckedEvidence, Evidence
    from crynux_validate.ledger.group import Round, Signature, Status, Transfer
    from crynux_validate.ledger.interface import LEDGER_VERSION, Totals
    from crynux_validate.ledger.log import Event, verify_chain
    from crynux_validate.ledger.memory import MemoryStore
    from crynux_validate.ledger.policy import Beacon, Clock, Epoch
    from crynux_validate.ledger.replay import Genesis, beacon_of, genesis_of
    from crynux_validate.ledger.store import Head, Store

_MODULE_OF = {
    "LEDGER_VERSION": "interface",
    "Beacon": "policy",
    "CheckedEvidence": "evidence",
    "Clock": "policy",
    "Epoch": "policy",
    "Event": "log",
    "Evidence": "evidence",
    "Genesis": "replay",
    "Head": "store",
    "LocalBeacon": "beacon",
    "MemoryStore": "memory",
    "Round": "group",
    "Signature": "group",
    "Status": "group",
    "Store": "store",
    "StoringLedger": "base",
    "Totals": "interface",
    "Transfer": "group",
    "action_from_dict": "actions",
    "beacon_of": "replay",
    "genesis_of": "replay",
    "verify_chain": "log",
}

__all__ = [
    "LEDGER_VERSION",
    "Beacon",
    "CheckedEvidence",
    "Clock",
    "Epoch",
    "Event",
    "Evidence",
    "Genesis",
    "Head",
    "LocalBeacon",
    "MemoryStore",
    "Round",
    "Signature",
    "Status",
    "Store",
    "StoringLedger",
    "Totals",
    "Transfer",
    "action_from_dict",
    "beacon_of",
    "genesis_of",
    "verify_chain",
]

if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, _MODULE_OF, {})


def __dir__() -> "list[str]":
    return __all__
