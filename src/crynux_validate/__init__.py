"""Decide who computed honestly when strangers' machines run the same AI task.

This package has the names that most programs need. Its modules have the rest: `answers`, `audits`, `calibration`,
`errors`, `hashing`, `judging`, `keyed`, `ledger`, `machines`, `pipelines`, `stakes`, `tables`, `tasks` and `testing`.
The ``__all__`` of each module lists its public names. Each public name is in one module only.

A name is imported when it is first used (PEP 562), so a program that only judges loads neither numpy nor torch. A name
that needs a package that is not installed is left out of `dir`; using it raises an error that says what to install.
"""

import crynux_validate.lazy as _lazy

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crynux_validate import (
        answers as answers,
    )
    from crynux_validate import (
        audits as audits,
    )
    from crynux_validate import (
        calibration as calibration,
    )
    from crynux_validate import (
        errors as errors,
    )
    from crynux_validate import (
        hashing as hashing,
    )
    from crynux_validate import (
        judging as judging,
    )
    from crynux_validate import (
        keyed as keyed,
    )
    from crynux_validate import (
        ledger as ledger,
    )
    from crynux_validate import (
        machines as machines,
    )
    from crynux_validate import (
        pipelines as pipelines,
    )
    from crynux_validate import (
        stakes as stakes,
    )
    from crynux_validate import (
        tables as tables,
    )
    from crynux_validate import (
        tasks as tasks,
    )
    from crynux_validate import (
        testing as testing,
    )
    from crynux_validate.answers import ErrorReport, ImageScore, TextScore
    from crynux_validate.calibration.calibrating import calibrate
    from crynux_validate.calibration.result import Calibration
    from crynux_validate.commitment import Opening
    from crynux_validate.errors import CrynuxValidateError
    from crynux_validate.hashing.hamming import hamming
    from crynux_validate.hashing.registry import image_hash
    from crynux_validate.judging.centre import CentreRule
    from crynux_validate.judging.group import judge
    from crynux_validate.judging.verdict import Finding, Outcome, Verdict
    from crynux_validate.ledger.evidence import verify_evidence
    from crynux_validate.ledger.group import Group
    from crynux_validate.ledger.interface import Ledger
    from crynux_validate.ledger.memory import MemoryLedger
    from crynux_validate.ledger.policy import Policy
    from crynux_validate.ledger.sql import SqlLedger
    from crynux_validate.machines.gpu import GpuModel
    from crynux_validate.machines.pairing import verify_draw
    from crynux_validate.pipelines.auditing import audit
    from crynux_validate.pipelines.canary import canary
    from crynux_validate.pipelines.guard.determinism import deterministic
    from crynux_validate.pipelines.guard.probe import local_environment, local_gpu
    from crynux_validate.pipelines.images.drawing import ImageResult
    from crynux_validate.pipelines.runner import Runner, run
    from crynux_validate.pipelines.text.generating import TextResult
    from crynux_validate.signatures import SigningKey
    from crynux_validate.stakes.formula import expected_gain, required_stake
    from crynux_validate.tasks import ImageTask, Lora, ModelRef, TextTask, task_from_json

_HOME = {
    "answers": (
        "ErrorReport",
        "ImageScore",
        "TextScore",
    ),
    "calibration.calibrating": ("calibrate",),
    "calibration.result": ("Calibration",),
    "commitment": ("Opening",),
    "errors": ("CrynuxValidateError",),
    "hashing.hamming": ("hamming",),
    "hashing.registry": ("image_hash",),
    "judging.centre": ("CentreRule",),
    "judging.group": ("judge",),
    "judging.verdict": (
        "Finding",
        "Outcome",
        "Verdict",
    ),
    "ledger.evidence": ("verify_evidence",),
    "ledger.group": ("Group",),
    "ledger.interface": ("Ledger",),
    "ledger.memory": ("MemoryLedger",),
    "ledger.policy": ("Policy",),
    "ledger.sql": ("SqlLedger",),
    "machines.gpu": ("GpuModel",),
    "machines.pairing": ("verify_draw",),
    "pipelines.auditing": ("audit",),
    "pipelines.canary": ("canary",),
    "pipelines.guard.determinism": ("deterministic",),
    "pipelines.guard.probe": (
        "local_environment",
        "local_gpu",
    ),
    "pipelines.images.drawing": ("ImageResult",),
    "pipelines.runner": (
        "Runner",
        "run",
    ),
    "pipelines.text.generating": ("TextResult",),
    "signatures": ("SigningKey",),
    "stakes.formula": (
        "expected_gain",
        "required_stake",
    ),
    "tasks": (
        "ImageTask",
        "Lora",
        "ModelRef",
        "TextTask",
        "task_from_json",
    ),
}
"""The public names of each module."""

_MODULES = (
    "answers",
    "audits",
    "calibration",
    "errors",
    "hashing",
    "judging",
    "keyed",
    "ledger",
    "machines",
    "pipelines",
    "stakes",
    "tables",
    "tasks",
    "testing",
)
"""The public modules. Each is also an attribute of this package."""

_MODULE_OF = {name: module for module, names in _HOME.items() for name in names} | {name: name for name in _MODULES}

_PIPELINES = {
    "audit": ("all", ("torch", "transformers", "numpy")),
    "canary": ("all", ("torch", "numpy")),
    "ImageResult": ("image", ("torch", "diffusers", "transformers", "numpy", "PIL")),
    "TextResult": ("text", ("torch", "transformers", "numpy")),
}
"""For names of pipelines that need more than torch: the extra, and its packages."""

_NEEDS = {
    name: _PIPELINES.get(name, ("all", ("torch",)))
    for name, module in _MODULE_OF.items()
    if module.startswith("pipelines.")
} | {
    "SqlLedger": ("sql", ("sqlalchemy", "numpy")),
    "calibrate": ("calibration", ("numpy", "scipy")),
    "tables": ("parquet", ("pyarrow", "numpy")),
}
"""For names that need an extra: the extra, and the packages that must be installed."""

__all__ = [
    "Calibration",
    "CentreRule",
    "CrynuxValidateError",
    "ErrorReport",
    "Finding",
    "GpuModel",
    "Group",
    "ImageResult",
    "ImageScore",
    "ImageTask",
    "Ledger",
    "Lora",
    "MemoryLedger",
    "ModelRef",
    "Opening",
    "Outcome",
    "Policy",
    "Runner",
    "SigningKey",
    "SqlLedger",
    "TextResult",
    "TextScore",
    "TextTask",
    "Verdict",
    "__version__",
    "audit",
    "calibrate",
    "canary",
    "deterministic",
    "expected_gain",
    "hamming",
    "image_hash",
    "judge",
    "local_environment",
    "local_gpu",
    "required_stake",
    "run",
    "task_from_json",
    "verify_draw",
    "verify_evidence",
]

_THERE = _lazy.public(_MODULES, _NEEDS)
__all__ = _lazy.public(__all__, _NEEDS)
if not TYPE_CHECKING:  # a type checker reads the imports above, and reports unknown names
    __getattr__ = _lazy.importer(__name__, _MODULE_OF, _NEEDS)


def __dir__() -> "list[str]":
    return [*__all__, *_THERE]
