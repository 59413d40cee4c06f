"""Every error that this library raises on purpose.

One ``except CrynuxValidateError`` catches them all; each also is the built-in error that a caller would expect::

    CrynuxValidateError
    ├── InvalidInputError (ValueError)      what the caller passed is wrong; retrying does not help
    │   ├── InvalidTaskError                a task: names the field, and the code of the report that it deserves
    │   ├── InvalidAnswerError              an answer, opening or commitment that is not well-formed
    │   └── InvalidImageError               not a picture, a broken one, one with alpha, or one that is too large
    ├── MissingExtraError (ImportError)     says what to install
    ├── StorageError (RuntimeError)         a ledger's database could not be opened, read or written
    │   └── StorageBusyError                others held it for too long; nothing has changed, try again
    ├── PipelineError (RuntimeError)        this machine could not run the task
    │   ├── DeterminismError                a switch that could not be set, or one that did not hold
    │   ├── PromptTooLongError              a prompt that the model's tokenizer cannot hold
    │   ├── ModelError                      the model could not be loaded, or is not the one that was asked for
    │   └── FakeHardwareError               a worker process died, or this platform cannot imitate other hardware
    └── LedgerError (RuntimeError)          the ledger refused an action; its state is unchanged
        ├── UnknownIdError                  no such account, node or group
        ├── InsufficientFundsError          an account does not cover the amount
        ├── StakeTooLowError                a stake is below what the policy asks for
        ├── NotEnoughNodes                  too few nodes for a group, with numbers
        ├── NodeStateError                  the node is not in a state that allows this (busy, suspended, left)
        ├── NotAMemberError                 the node is not in that group
        ├── TooEarlyError                   the moment for this has not come
        ├── TooLateError                    the deadline has passed
        ├── AlreadyDoneError                it was done before and cannot be replaced
        ├── CommitmentMismatchError         the opening does not open the member's commitment
        ├── SignatureError                  a commitment without the signature of its node
        ├── ClockError                      the ledger's clock says what cannot be, or is behind its log
        ├── BrokenEvidenceError             evidence that does not show what it says
        ├── ReadOnlyLedgerError             this ledger can only be asked
        └── BrokenLogError                  an event log that does not fit together
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

__all__ = [
    "AlreadyDoneError",
    "BrokenEvidenceError",
    "BrokenLogError",
    "ClockError",
    "CommitmentMismatchError",
    "DeterminismError",
    "FakeHardwareError",
    "InsufficientFundsError",
    "InvalidAnswerError",
    "InvalidImageError",
    "InvalidInputError",
    "InvalidTaskError",
    "LedgerError",
    "MissingExtraError",
    "ModelError",
    "NodeStateError",
    "NotAMemberError",
    "NotEnoughNodes",
    "PipelineError",
    "PromptTooLongError",
    "ReadOnlyLedgerError",
    "ReportCode",
    "SignatureError",
    "StakeTooLowError",
    "StorageBusyError",
    "StorageError",
    "TooEarlyError",
    "TooLateError",
    "UnknownIdError",
]

ReportCode = Literal["schema", "limits", "unsupported"]
"""Why a task is invalid, decided from its bytes alone (protocol A1)."""


class CrynuxValidateError(Exception):
    """The root of every error that this library raises on purpose."""


class InvalidInputError(CrynuxValidateError, ValueError):
    """What the caller passed is wrong; the message names the value, what was expected and the fix."""


class InvalidTaskError(InvalidInputError):
    """A task that does not validate.

    Parameters
    ----------
    field
        The field at fault, dotted for nested ones (``model.revision``); empty where the whole text is at fault.
    problem
        What was found and what was expected.
    code
        The code of the ``INVALID_TASK`` report that such a task deserves (protocol A1).
    """

    def __init__(self, field: str, problem: str, code: ReportCode = "schema") -> None:
        self.field = field
        self.problem = problem
        self.code: ReportCode = code
        super().__init__(f"{field}: {problem}" if field else problem)

    def __reduce__(self) -> tuple[type["InvalidTaskError"], tuple[str, str, str]]:
        """Pickle with every argument: the error crosses process borders."""
        return type(self), (self.field, self.problem, self.code)


class InvalidAnswerError(InvalidInputError):
    """An answer, opening or commitment that is not well-formed (protocol A2)."""


class InvalidImageError(InvalidInputError):
    """Not a picture, a broken one, one with alpha, or one that is too large."""


class MissingExtraError(CrynuxValidateError, ImportError):
    """A name whose optional dependencies are not installed."""

    def __init__(self, wanted: str, extra: str, missing: str) -> None:
        self.wanted = wanted
        self.extra = extra
        self.missing = missing
        super().__init__(
            f"{wanted} needs the package {missing!r}, which is not installed: pip install 'crynux-validate[{extra}]'",
            name=missing,
        )

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str, str]]:
        """Pickle with every argument: the error crosses process borders."""
        return type(self), (self.wanted, self.extra, self.missing)


@contextmanager
def needed_for(wanted: str, extra: str) -> Iterator[None]:
    """Import packages of an extra in the block; where one is not installed, the error says what wants it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(wanted, extra, error.name or extra) from error


class StorageError(CrynuxValidateError, RuntimeError):
    """A ledger's database could not be opened, read or written.

    The action that it ended has not happened, unless the message says that this is not known.
    """


class StorageBusyError(StorageError):
    """Others held a ledger's database for longer than this one waits; nothing has changed, try again."""


class PipelineError(CrynuxValidateError, RuntimeError):
    """This machine could not run the task; the answer to give is a ``FAILED`` report."""


class DeterminismError(PipelineError):
    """A switch that could not be set in time, or one that did not hold."""


class PromptTooLongError(PipelineError):
    """A prompt that the model's tokenizer cannot hold.

    It cannot be decided from the task's bytes alone, so it is no `InvalidTaskError`: a node reports ``failed`` (A1).
    """


class ModelError(PipelineError):
    """The model could not be loaded, or is not the one that the task asks for."""


class FakeHardwareError(PipelineError):
    """A fake-hardware worker died, or this platform cannot imitate other hardware."""


class LedgerError(CrynuxValidateError, RuntimeError):
    """The ledger refused an action; its state is unchanged (protocol L1)."""


class UnknownIdError(LedgerError):
    """No such account, node or group.

    Parameters
    ----------
    id
        The id that the ledger does not know.
    """

    def __init__(self, message: str = "", *, id: str | None = None) -> None:  # noqa: A002 - the ledger calls it so
        self.id = id
        super().__init__(message)


class InsufficientFundsError(LedgerError):
    """An account does not cover the amount.

    Parameters
    ----------
    balance
        What the account has.
    amount
        What the action takes.
    """

    def __init__(self, message: str = "", *, balance: int | None = None, amount: int | None = None) -> None:
        self.balance = balance
        self.amount = amount
        super().__init__(message)


class StakeTooLowError(LedgerError):
    """A stake is below what the policy asks for (protocol P2, P7, L4).

    Parameters
    ----------
    stake
        The stake that was offered.
    least
        What the policy asks for.
    """

    def __init__(self, message: str = "", *, stake: int | None = None, least: int | None = None) -> None:
        self.stake = stake
        self.least = least
        super().__init__(message)


class NotEnoughNodes(LedgerError):  # noqa: N818 - the protocol's own word
    """Too few nodes for a group (protocol P3).

    Parameters
    ----------
    available
        How many nodes of different owners could be drawn.
    needed
        How many the group needs.
    """

    def __init__(self, message: str = "", *, available: int = 0, needed: int = 0) -> None:
        self.available = available
        self.needed = needed
        super().__init__(message)


class NodeStateError(LedgerError):
    """The node is not in a state that allows this: in a group, suspended, or gone."""


class NotAMemberError(LedgerError):
    """The node is not a member of that group."""


class TooEarlyError(LedgerError):
    """The moment for this action has not come (protocol C2, P4).

    Parameters
    ----------
    moment
        When it can be done at the latest, in seconds of the ledger's clock; None where that is not known yet.
    """

    def __init__(self, message: str = "", *, moment: int | None = None) -> None:
        self.moment = moment
        super().__init__(message)


class TooLateError(LedgerError):
    """The deadline for this action has passed (protocol C2, P4).

    Parameters
    ----------
    deadline
        Until when it could be done, in seconds of the ledger's clock.
    """

    def __init__(self, message: str = "", *, deadline: int | None = None) -> None:
        self.deadline = deadline
        super().__init__(message)


class AlreadyDoneError(LedgerError):
    """It was done before and cannot be replaced (protocol C2)."""


class CommitmentMismatchError(LedgerError):
    """The opening does not open the member's own commitment (protocol C1, C2)."""


class SignatureError(LedgerError):
    """A commitment whose signature is missing, is not wanted, or is not its node's (protocol L8)."""


class ClockError(LedgerError):
    """The ledger's clock says what no clock says, or what lies well before the last event (protocol L6)."""


class BrokenEvidenceError(LedgerError):
    """Evidence of a finding that does not show what it says (protocol L8)."""


class ReadOnlyLedgerError(LedgerError):
    """An action on a ledger that can only be asked (`crynux_validate.testing.ReadOnlyLedger`)."""


class BrokenLogError(LedgerError):
    """An event log that does not fit together (protocol L5)."""
