"""Decide who computed honestly when strangers' machines run the same AI task.

Every public name is here, and is imported when it is first used (PEP 562): a ledger that only judges loads neither
numpy nor torch. A name whose packages are not installed is not there; using it says what to install.
"""

import crynux_validate.lazy as _lazy

__version__ = "0.1.0"

TYPE_CHECKING = False
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
    from crynux_validate.audits.image import ImageAudit
    from crynux_validate.audits.text_result import TextAudit
    from crynux_validate.calibration import Calibration, calibrate
    from crynux_validate.commitment import Opening
    from crynux_validate.errors import (
        BrokenEvidenceError,
        BrokenLogError,
        ClockError,
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
        SignatureError,
        StorageBusyError,
        StorageError,
    )
    from crynux_validate.hashing import (
        Matches,
        PerceptualHash,
        block_distances,
        hamming,
        hamming_distances,
        hamming_matrix,
        hash_array,
        hashes_within,
        image_hash,
        image_hashes,
        nearest_hashes,
    )
    from crynux_validate.judging import (
        Absent,
        CentreRule,
        CrynuxRelayRule,
        Finding,
        Malformed,
        Member,
        Outcome,
        Rule,
        TwoAnswers,
        Verdict,
        Withheld,
        judge,
    )
    from crynux_validate.judging.bulk import MemberKind, Verdicts, judge_many
    from crynux_validate.keyed import KeyedScore, KeyedTolerance
    from crynux_validate.ledger.base import StoringLedger
    from crynux_validate.ledger.beacon import LocalBeacon
    from crynux_validate.ledger.evidence import CheckedEvidence, Evidence, verify_evidence
    from crynux_validate.ledger.interface import (
        LEDGER_VERSION,
        Beacon,
        Clock,
        Epoch,
        Event,
        Group,
        Ledger,
        Policy,
        Round,
        Signature,
        Status,
        Totals,
        Transfer,
        verify_chain,
    )
    from crynux_validate.ledger.memory import MemoryLedger
    from crynux_validate.ledger.sql import SqlLedger
    from crynux_validate.ledger.store import Store
    from crynux_validate.machines.admission import ClassFacts, admitted_classes, class_of, classes_of
    from crynux_validate.machines.classes import Attestation, NodeClass
    from crynux_validate.machines.environment import Environment
    from crynux_validate.machines.gpu import GpuModel
    from crynux_validate.machines.pairing import verify_draw
    from crynux_validate.machines.pool import Candidate, Pool
    from crynux_validate.machines.roster import Draw, Node
    from crynux_validate.pipelines.auditing import audit
    from crynux_validate.pipelines.canary import canary
    from crynux_validate.pipelines.guard.determinism import deterministic
    from crynux_validate.pipelines.guard.probe import local_environment, local_gpu
    from crynux_validate.pipelines.images.drawing import ImageResult
    from crynux_validate.pipelines.runner import Progress, Runner, run
    from crynux_validate.pipelines.text.audit import TextAuditor
    from crynux_validate.pipelines.text.generating import TextResult, Token
    from crynux_validate.signatures import SigningKey
    from crynux_validate.stakes import (
        AuditedGain,
        AuditedStake,
        AuditTerms,
        ExpectedGain,
        RequiredStake,
        collusion_probability,
        expected_gain,
        false_accept_rate,
        required_stake,
    )
    from crynux_validate.tasks import ImageTask, Lora, ModelRef, Task, TextTask, TextualInversion, task_from_json

_HOME = {
    "answers": (
        "Answer", "ErrorReport", "ImageScore", "Score", "TextScore", "agree", "answer_from_bytes", "check_answer",
        "similarity_score",
    ),
    "audits.image": ("ImageAudit",),
    "audits.text_result": ("TextAudit",),
    "calibration": ("Calibration", "calibrate"),
    "commitment": ("Opening",),
    "errors": (
        "BrokenEvidenceError", "BrokenLogError", "ClockError", "CrynuxValidateError", "DeterminismError",
        "InvalidAnswerError", "InvalidImageError", "InvalidInputError", "InvalidTaskError", "LedgerError",
        "MissingExtraError", "ModelError", "NotEnoughNodes", "PipelineError", "PromptTooLongError", "SignatureError",
        "StorageBusyError", "StorageError",
    ),
    "hashing": (
        "Matches", "PerceptualHash", "block_distances", "hamming", "hamming_distances", "hamming_matrix", "hash_array",
        "hashes_within", "image_hash", "image_hashes", "nearest_hashes",
    ),
    "judging": (
        "Absent", "CentreRule", "CrynuxRelayRule", "Finding", "Malformed", "Member", "Outcome", "Rule", "TwoAnswers",
        "Verdict", "Withheld", "judge",
    ),
    "judging.bulk": ("MemberKind", "Verdicts", "judge_many"),
    "ledger.base": ("StoringLedger",),
    "ledger.beacon": ("LocalBeacon",),
    "keyed": ("KeyedScore", "KeyedTolerance"),
    "ledger.evidence": ("CheckedEvidence", "Evidence", "verify_evidence"),
    "ledger.interface": (
        "LEDGER_VERSION", "Beacon", "Clock", "Epoch", "Event", "Group", "Ledger", "Policy", "Round", "Signature",
        "Status", "Totals", "Transfer", "verify_chain",
    ),
    "ledger.memory": ("MemoryLedger",),
    "ledger.sql": ("SqlLedger",),
    "ledger.store": ("Store",),
    "machines.admission": ("ClassFacts", "admitted_classes", "class_of", "classes_of"),
    "machines.classes": ("Attestation", "NodeClass"),
    "machines.environment": ("Environment",),
    "machines.gpu": ("GpuModel",),
    "machines.pairing": ("verify_draw",),
    "machines.pool": ("Candidate", "Pool"),
    "machines.roster": ("Draw", "Node"),
    "pipelines.auditing": ("audit",),
    "pipelines.canary": ("canary",),
    "pipelines.guard.determinism": ("deterministic",),
    "pipelines.images.drawing": ("ImageResult",),
    "pipelines.guard.probe": ("local_environment", "local_gpu"),
    "pipelines.runner": ("Progress", "Runner", "run"),
    "pipelines.text.generating": ("TextResult", "Token"),
    "pipelines.text.audit": ("TextAuditor",),
    "signatures": ("SigningKey",),
    "stakes": (
        "AuditTerms", "AuditedGain", "AuditedStake", "ExpectedGain", "RequiredStake", "collusion_probability",
        "expected_gain", "false_accept_rate", "required_stake",
    ),
    "tasks": ("ImageTask", "Lora", "ModelRef", "Task", "TextTask", "TextualInversion", "task_from_json"),
}  # fmt: skip
"""For each module the public names that it holds."""

_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

_PIPELINES = {
    "audit": ("all", ("torch", "transformers", "numpy")),
    "canary": ("all", ("torch", "numpy")),
    "ImageResult": ("image", ("torch", "diffusers", "transformers", "numpy", "PIL")),
    "TextAuditor": ("text", ("torch", "transformers", "numpy")),
    "TextResult": ("text", ("torch", "transformers", "numpy")),
    "Token": ("text", ("torch", "transformers", "numpy")),
}
"""What a name of a pipeline needs, where it is more than torch."""

_NEEDS = {
    name: _PIPELINES.get(name, ("all", ("torch",)))
    for name, module in _MODULE_OF.items()
    if module.startswith("pipelines.")
} | {
    "MemberKind": ("ledger", ("numpy",)),
    "calibrate": ("calibration", ("numpy", "scipy")),
    "SqlLedger": ("sql", ("sqlalchemy", "numpy")),
    "Verdicts": ("ledger", ("numpy",)),
    "judge_many": ("ledger", ("numpy",)),
}
"""For some names the extra, and the packages without which they are not there."""

__all__ = [
    "LEDGER_VERSION",
    "Absent",
    "Answer",
    "Attestation",
    "AuditTerms",
    "AuditedGain",
    "AuditedStake",
    "Beacon",
    "BrokenEvidenceError",
    "BrokenLogError",
    "Calibration",
    "Candidate",
    "CentreRule",
    "CheckedEvidence",
    "ClassFacts",
    "Clock",
    "ClockError",
    "CrynuxRelayRule",
    "CrynuxValidateError",
    "DeterminismError",
    "Draw",
    "Environment",
    "Epoch",
    "ErrorReport",
    "Event",
    "Evidence",
    "ExpectedGain",
    "Finding",
    "GpuModel",
    "Group",
    "ImageAudit",
    "ImageResult",
    "ImageScore",
    "ImageTask",
    "InvalidAnswerError",
    "InvalidImageError",
    "InvalidInputError",
    "InvalidTaskError",
    "KeyedScore",
    "KeyedTolerance",
    "Ledger",
    "LedgerError",
    "LocalBeacon",
    "Lora",
    "Malformed",
    "Matches",
    "Member",
    "MemberKind",
    "MemoryLedger",
    "MissingExtraError",
    "ModelError",
    "ModelRef",
    "Node",
    "NodeClass",
    "NotEnoughNodes",
    "Opening",
    "Outcome",
    "PerceptualHash",
    "PipelineError",
    "Policy",
    "Pool",
    "Progress",
    "PromptTooLongError",
    "RequiredStake",
    "Round",
    "Rule",
    "Runner",
    "Score",
    "Signature",
    "SignatureError",
    "SigningKey",
    "SqlLedger",
    "Status",
    "StorageBusyError",
    "StorageError",
    "Store",
    "StoringLedger",
    "Task",
    "TextAudit",
    "TextAuditor",
    "TextResult",
    "TextScore",
    "TextTask",
    "TextualInversion",
    "Token",
    "Totals",
    "Transfer",
    "TwoAnswers",
    "Verdict",
    "Verdicts",
    "Withheld",
    "__version__",
    "admitted_classes",
    "agree",
    "answer_from_bytes",
    "audit",
    "block_distances",
    "calibrate",
    "canary",
    "check_answer",
    "class_of",
    "classes_of",
    "collusion_probability",
    "deterministic",
    "expected_gain",
    "false_accept_rate",
    "hamming",
    "hamming_distances",
    "hamming_matrix",
    "hash_array",
    "hashes_within",
    "image_hash",
    "image_hashes",
    "judge",
    "judge_many",
    "local_environment",
    "local_gpu",
    "nearest_hashes",
    "required_stake",
    "run",
    "similarity_score",
    "task_from_json",
    "verify_chain",
    "verify_draw",
    "verify_evidence",
]


__all__ = _lazy.public(__all__, _NEEDS)
__getattr__ = _lazy.importer(__name__, _MODULE_OF, _NEEDS)


def __dir__() -> "list[str]":
    return __all__
