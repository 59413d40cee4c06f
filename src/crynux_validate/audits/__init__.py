"""Checking one answer by doing a small part of its work again; nothing here imports torch.

What `crynux_validate.audit` takes and returns: proofs, drawn steps and positions, findings, bands.
"""

import crynux_validate.lazy as _lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crynux_validate.audits.bands import AuditBands
    from crynux_validate.audits.findings import AuditFinding
    from crynux_validate.audits.image import ImageAudit
    from crynux_validate.audits.proof import TraceProof
    from crynux_validate.audits.steps import audit_steps, steps_needed
    from crynux_validate.audits.text_proof import TextProof
    from crynux_validate.audits.text_result import TextAudit
    from crynux_validate.audits.top import TopLogits, audit_positions

_MODULE_OF = {
    "AuditBands": "bands",
    "AuditFinding": "findings",
    "ImageAudit": "image",
    "TextAudit": "text_result",
    "TextProof": "text_proof",
    "TopLogits": "top",
    "TraceProof": "proof",
    "audit_positions": "top",
    "audit_steps": "steps",
    "steps_needed": "steps",
}

__all__ = [
    "AuditBands",
    "AuditFinding",
    "ImageAudit",
    "TextAudit",
    "TextProof",
    "TopLogits",
    "TraceProof",
    "audit_positions",
    "audit_steps",
    "steps_needed",
]

if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, _MODULE_OF, {})


def __dir__() -> "list[str]":
    return __all__
