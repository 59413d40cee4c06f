"""What a ledger under test can lack, and how a subclass says so."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from crynux_validate.errors import InvalidInputError

CAPABILITIES: Final[Mapping[str, str]] = {
    "batch": "`with ledger.batch():` does many actions as one transaction; it is no part of the Protocol",
    "beacon": "challenges and draws come from the beacon that make_ledger is given",
    "draw_ahead": "`draw` draws the groups that wait longer itself (P4b); without it that is the caller's part",
    "evidence": "evidence of a finding can be checked by whoever does not trust the ledger (L8)",
    "full_disk": "writes below its folder can be made to fail, as on a full disk: full_disk says how",
    "log": "`events` gives every action as an event of this library's form (L5)",
    "manual_clock": "its time is the clock that make_ledger is given",
    "messages": "its errors have the words and numbers of crynux_validate.ledger.rules, as those of StoringLedger have",
    "processes": "several processes can have the ledger of one folder open at once",
    "replay": "replay_ledger makes a ledger from a log",
    "restart": "make_ledger opens the ledger that a folder holds, also after the death of the process that made it",
    "second_round": "a policy can have a second_algorithm (C5)",
    "signatures": "nodes can join with a public key, and then sign (L8); the tests need the extra 'sign'",
    "text": "it takes text tasks, and attestations, which say what class a node is of (P2, P3, P6)",
    "threads": "several threads can use one ledger at once",
}
"""Every capability by its name. A subclass of `LedgerConformance` names what its ledger lacks, with the reason."""

F = TypeVar("F", bound=Callable[..., object])


def needs(*names: str) -> Callable[[F], F]:
    """Mark a standard test, or all of a class, that is skipped where the ledger lacks one of these capabilities."""
    for name in names:
        _check_name(name, "a standard test needs")

    def marked(marked: F) -> F:
        tests = [found for name, found in vars(marked).items() if name.startswith("test_")]
        for test in tests if isinstance(marked, type) else [marked]:
            test.__dict__["conformance_needs"] = (*names, *getattr(test, "conformance_needs", ()))
        return marked

    return marked


def check_lacks(cls: type, lacks: object) -> None:
    """Raise `InvalidInputError` where `lacks` of a subclass is no mapping from capabilities to reasons."""
    check_reasons(cls, "lacks", lacks)
    for name in lacks:  # type: ignore[attr-defined]
        _check_name(name, f"{cls.__name__}.lacks has")


def check_reasons(cls: type, attribute: str, value: object) -> None:
    """Raise `InvalidInputError` where an attribute of a subclass is no mapping from names to reasons."""
    if not isinstance(value, Mapping) or not all(isinstance(why, str) and why.strip() for why in value.values()):
        raise InvalidInputError(
            f"{cls.__name__}.{attribute} is {value!r}; expected a mapping from names to the reason, "
            f"such as {attribute} = {{'name': 'why'}}"
        )


def _check_name(name: object, who: str) -> None:
    if name not in CAPABILITIES:
        raise InvalidInputError(f"{who} {name!r}, which is no capability; there are {', '.join(CAPABILITIES)}")
