"""Every error that this library raises on purpose.

``except CrynuxValidateError`` catches all of them. Each error is also the built-in error in brackets::

    CrynuxValidateError
    ├── InvalidInputError (ValueError)      what the caller passed is wrong; retrying does not help
    │   ├── InvalidTaskError                a task is invalid; has the field, and the code of the error report
    │   ├── InvalidAnswerError              an answer, opening or commitment is malformed
    │   └── InvalidImageError               a picture is broken, too large, has alpha, or is not a picture
    ├── MissingExtraError (ImportError)     a package is not installed; says what to install
    ├── StorageError (RuntimeError)         a ledger's database could not be opened, read or written
    │   └── StorageBusyError                others used the database for too long; nothing has changed, try again
    ├── PipelineError (RuntimeError)        this machine could not run the task
    │   ├── DeterminismError                a switch of the guard could not be set, or was changed
    │   ├── PromptTooLongError              the prompt is too long for the model's tokenizer
    │   ├── ModelError                      the model could not be loaded, or is not the one that was asked for
    │   └── FakeHardwareError               a worker process died, or this platform cannot imitate other hardware
    └── LedgerError (RuntimeError)          the ledger refused an action; its state is unchanged
        ├── UnknownIdError                  no such account, node or group
        ├── InsufficientFundsError          an account has less than the amount
        ├── StakeTooLowError                a stake is below the least that the policy accepts
        ├── NotEnoughNodes                  too few nodes for a group; has both numbers
        ├── NodeStateError                  the node's state does not allow the action (busy, suspended, left)
        ├── NotAMemberError                 the node is not in that group
        ├── TooEarlyError                   the action is not possible yet
        ├── TooLateError                    the deadline has passed
        ├── AlreadyDoneError                the action was done before and cannot be repeated
        ├── CommitmentMismatchError         the opening does not fit the member's commitment
        ├── SignatureError                  a signature is missing, not wanted, or wrong
        ├── ClockError                      the ledger's clock gives no valid time, or one before its log
        ├── BrokenEvidenceError             the evidence does not prove its finding
        ├── ReadOnlyLedgerError             the ledger can be read only
        └── BrokenLogError                  the events of a log do not fit together
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
"""Why a task is invalid, as its bytes alone show (protocol A1)."""


class CrynuxValidateError(Exception):
    """The root of every error that this library raises on purpose."""


class InvalidInputError(CrynuxValidateError, ValueError):
    """A value that the caller passed is wrong; the message names the value and what was expected."""


class InvalidTaskError(InvalidInputError):
    """A task is invalid.

    Parameters
    ----------
    field
        The wrong field, with dots for nested ones (``model.revision``); empty if the whole text is wrong.
    problem
        What was found and what was expected.
    code
        The code of the error report that a node gives for this task (protocol A1).
    """

    def __init__(self, field: str, problem: str, code: ReportCode = "schema") -> None:
        self.field = field
        self.problem = problem
        self.code: ReportCode = code
        super().__init__(f"{field}: {problem}" if field else problem)

    def __reduce__(self) -> tuple[type["InvalidTaskError"], tuple[str, str, str]]:
        """Pickle with every argument, so that the error can be sent to another process."""
        return type(self), (self.field, self.problem, self.code)


class InvalidAnswerError(InvalidInputError):
    """An answer, opening or commitment is malformed (protocol A2)."""


class InvalidImageError(InvalidInputError):
    """A picture is broken, too large, has alpha, or is not a picture."""


class MissingExtraError(CrynuxValidateError, ImportError):
    """A package that the name needs is not installed.

    Parameters
    ----------
    wanted
        The name that needs the package.
    extra
        The extra of this distribution that installs the package.
    missing
        The package.
    """

    def __init__(self, wanted: str, extra: str, missing: str) -> None:
        self.wanted = wanted
        self.extra = extra
        self.missing = missing
        super().__init__(
            f"{wanted} needs the package {missing!r}, which is not installed: pip install 'crynux-validate[{extra}]'",
            name=missing,
        )

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str, str]]:
        """Pickle with every argument, so that the error can be sent to another process."""
        return type(self), (self.wanted, self.extra, self.missing)


@contextmanager
def needed_for(wanted: str, extra: str) -> Iterator[None]:
    """Import packages of an extra in the block; raises `MissingExtraError` if one is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(wanted, extra, error.name or extra) from error


class StorageError(CrynuxValidateError, RuntimeError):
    """A ledger's database could not be opened, read or written.

    The action has not happened, unless the message says that this is not known.
    """


class StorageBusyError(StorageError):
    """Others used a ledger's database for longer than this one waits; nothing has changed, try again."""


class PipelineError(CrynuxValidateError, RuntimeError):
    """This machine could not run the task; a node answers with a ``failed`` report (`ErrorReport.of`)."""


class DeterminismError(PipelineError):
    """A switch of the guard could not be set in time, or was changed during the run."""


class PromptTooLongError(PipelineError):
    """The prompt is too long for the model's tokenizer.

    The task's bytes alone do not show this, so it is not an `InvalidTaskError`: a node reports ``failed`` (A1).
    """


class ModelError(PipelineError):
    """The model could not be loaded, or is not the one that the task asks for."""


class FakeHardwareError(PipelineError):
    """A worker process died, or this platform cannot imitate other hardware."""


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
    """An account has less than the amount.

    Parameters
    ----------
    balance
        What the account has, in the ledger's unit of money.
    amount
        What the action costs.
    """

    def __init__(self, message: str = "", *, balance: int | None = None, amount: int | None = None) -> None:
        self.balance = balance
        self.amount = amount
        super().__init__(message)


class StakeTooLowError(LedgerError):
    """A stake is below the least that the policy accepts (protocol P2, P7, L4).

    Parameters
    ----------
    stake
        The stake that was offered.
    least
        The least that the policy accepts.
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
    """The node's state does not allow the action: it is in a group, suspended, or has left."""


class NotAMemberError(LedgerError):
    """The node is not a member of that group."""


class TooEarlyError(LedgerError):
    """The action is not possible yet (protocol C2, P4).

    Parameters
    ----------
    moment
        The latest time from which it is possible, in seconds of the ledger's clock; None if not known yet.
    """

    def __init__(self, message: str = "", *, moment: int | None = None) -> None:
        self.moment = moment
        super().__init__(message)


class TooLateError(LedgerError):
    """The deadline for this action has passed (protocol C2, P4).

    Parameters
    ----------
    deadline
        The time until which it was possible, in seconds of the ledger's clock.
    """

    def __init__(self, message: str = "", *, deadline: int | None = None) -> None:
        self.deadline = deadline
        super().__init__(message)


class AlreadyDoneError(LedgerError):
    """The action was done before and cannot be repeated (protocol C2)."""


class CommitmentMismatchError(LedgerError):
    """The opening does not fit the member's own commitment (protocol C1, C2)."""


class SignatureError(LedgerError):
    """The signature of a commitment is missing, is not wanted, or is not by the node's key (protocol L8)."""


class ClockError(LedgerError):
    """The ledger's clock gives no valid time, or a time well before the last event (protocol L6)."""


class BrokenEvidenceError(LedgerError):
    """The evidence does not prove its finding (protocol L8)."""


class ReadOnlyLedgerError(LedgerError):
    """An action on a ledger that can be read only (`crynux_validate.testing.ReadOnlyLedger`)."""


class BrokenLogError(LedgerError):
    """The events of a log do not fit together (protocol L5)."""
