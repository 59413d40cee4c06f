"""Decide who computed honestly when strangers' machines run the same AI task.

Every public name is here, and is imported when it is first used (PEP 562): a ledger that only judges loads neither
numpy nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"

if TYPE_CHECKING:
    from crynux_validate.answers import (
        Answer,
        ErrorReport,
        ImageScore,
        Score,
        TextScore,
        agree,
        answer_from_bytes,
        check_answer,
        similarity_score,
    )
    from crynux_validate.commitment import Opening
    from crynux_validate.errors import (
        CrynuxValidateError,
        DeterminismError,
        InvalidAnswerError,
        InvalidImageError,
        InvalidInputError,
        InvalidTaskError,
        LedgerError,
        MissingExtraError,
        ModelError,
        NotEnoughNodes,
        PipelineError,
        PromptTooLongError,
    )
    from crynux_validate.hashing import PerceptualHash, block_distances, hamming, image_hash
    from crynux_validate.judging import (
        Absent,
        CentreRule,
        Finding,
        Malformed,
        Member,
        Outcome,
        Rule,
        Verdict,
        Withheld,
        judge,
    )
    from crynux_validate.ledger.beacon import LocalBeacon
    from crynux_validate.ledger.interface import (
        Beacon,
        Clock,
        Event,
        Group,
        Ledger,
        Policy,
        Status,
        Totals,
        Transfer,
        verify_chain,
    )
    from crynux_validate.ledger.memory import MemoryLedger
    from crynux_validate.machines.environment import Environment
    from crynux_validate.machines.gpu import GpuModel
    from crynux_validate.machines.pairing import draw, verify_draw
    from crynux_validate.machines.roster import Candidate, Draw, Node
    from crynux_validate.pipelines.determinism import deterministic
    from crynux_validate.pipelines.images import ImageResult
    from crynux_validate.pipelines.probe import local_environment
    from crynux_validate.pipelines.runner import Progress, Runner, run
    from crynux_validate.tasks import ImageTask, ModelRef, Task, task_from_json

_HOME: Final = {
    "answers": (
        "Answer", "ErrorReport", "ImageScore", "Score", "TextScore", "agree", "answer_from_bytes", "check_answer",
        "similarity_score",
    ),
    "commitment": ("Opening",),
    "errors": (
        "CrynuxValidateError", "DeterminismError", "InvalidAnswerError", "InvalidImageError", "InvalidInputError",
        "InvalidTaskError", "LedgerError", "MissingExtraError", "ModelError", "NotEnoughNodes", "PipelineError",
        "PromptTooLongError",
    ),
    "hashing": ("PerceptualHash", "block_distances", "hamming", "image_hash"),
    "judging": (
        "Absent", "CentreRule", "Finding", "Malformed", "Member", "Outcome", "Rule", "Verdict", "Withheld", "judge",
    ),
    "ledger.beacon": ("LocalBeacon",),
    "ledger.interface": (
        "Beacon", "Clock", "Event", "Group", "Ledger", "Policy", "Status", "Totals", "Transfer", "verify_chain",
    ),
    "ledger.memory": ("MemoryLedger",),
    "machines.environment": ("Environment",),
    "machines.gpu": ("GpuModel",),
    "machines.pairing": ("draw", "verify_draw"),
    "machines.roster": ("Candidate", "Draw", "Node"),
    "pipelines.determinism": ("deterministic",),
    "pipelines.images": ("ImageResult",),
    "pipelines.probe": ("local_environment",),
    "pipelines.runner": ("Progress", "Runner", "run"),
    "tasks": ("ImageTask", "ModelRef", "Task", "task_from_json"),
}  # fmt: skip
"""For each module the public names that it holds."""

_MODULE_OF: Final = {name: module for module, names in _HOME.items() for name in names}

_EXTRA_PACKAGES: Final = ("torch", "diffusers", "transformers", "accelerate")

__all__ = [
    "Absent",
    "Answer",
    "Beacon",
    "Candidate",
    "CentreRule",
    "Clock",
    "CrynuxValidateError",
    "DeterminismError",
    "Draw",
    "Environment",
    "ErrorReport",
    "Event",
    "Finding",
    "GpuModel",
    "Group",
    "ImageResult",
    "ImageScore",
    "ImageTask",
    "InvalidAnswerError",
    "InvalidImageError",
    "InvalidInputError",
    "InvalidTaskError",
    "Ledger",
    "LedgerError",
    "LocalBeacon",
    "Malformed",
    "Member",
    "MemoryLedger",
    "MissingExtraError",
    "ModelError",
    "ModelRef",
    "Node",
    "NotEnoughNodes",
    "Opening",
    "Outcome",
    "PerceptualHash",
    "PipelineError",
    "Policy",
    "Progress",
    "PromptTooLongError",
    "Rule",
    "Runner",
    "Score",
    "Status",
    "Task",
    "TextScore",
    "Totals",
    "Transfer",
    "Verdict",
    "Withheld",
    "__version__",
    "agree",
    "answer_from_bytes",
    "block_distances",
    "check_answer",
    "deterministic",
    "draw",
    "hamming",
    "image_hash",
    "judge",
    "local_environment",
    "run",
    "similarity_score",
    "task_from_json",
    "verify_chain",
    "verify_draw",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA_PACKAGES:
            raise
        from crynux_validate.errors import MissingExtraError

        raise MissingExtraError(f"crynux_validate.{name}", "image", missing) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
