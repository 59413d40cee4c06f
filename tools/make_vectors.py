"""Make the test vectors that the wheel carries: ``python -m tools.make_vectors``.

Each vector has an id, a reason and flags, so that a failure explains itself. What is written is what this library
computes; `tests/vectors` recomputes the same from the protocol's text alone. Values that were published do not
change: other bits are a new id. The perceptual hashes in ``vectors/phash`` are of other programs, and made elsewhere.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.vectors.answers import answer_vectors, keyed_vectors, task_vectors, text_score_vectors
from tools.vectors.audits import audit_step_vectors, top_vectors, trace_vectors
from tools.vectors.common import Vector
from tools.vectors.draws import draw_vectors, drawn_vectors, pool_vectors
from tools.vectors.logs import event_vectors
from tools.vectors.machines import attestation_vectors, class_vectors
from tools.vectors.pictures import keyed_value_vectors, picture_vectors
from tools.vectors.policies import policy_vectors
from tools.vectors.settlements import settlement_vectors
from tools.vectors.signatures import attestation_signature_vectors, key_vectors, signature_vectors
from tools.vectors.small_weights import small_weight_vectors
from tools.vectors.stakes import audited_stake_vectors, stake_vectors
from tools.vectors.tensor_cores import tensor_core_vectors
from tools.vectors.verdicts import verdict_vectors

FOLDER: Final = Path(__file__).parent.parent / "src" / "crynux_validate" / "vectors"

MAKERS: Final[Mapping[str, Callable[[], list[Vector]]]] = {
    "tasks": task_vectors,
    "answers": answer_vectors,
    "text-scores": text_score_vectors,
    "pools": pool_vectors,
    "draws": draw_vectors,
    "policies": policy_vectors,
    "drawn": drawn_vectors,
    "verdicts": verdict_vectors,
    "settlements": settlement_vectors,
    "stakes": stake_vectors,
    "audited-stakes": audited_stake_vectors,
    "classes": class_vectors,
    "attestations": attestation_vectors,
    "keyed": keyed_vectors,
    "keyed-values": keyed_value_vectors,
    "signatures": signature_vectors,
    "attestation-signatures": attestation_signature_vectors,
    "keys": key_vectors,
    "events": event_vectors,
    "pictures": picture_vectors,
    "tensor-cores": tensor_core_vectors,
    "small-weights": small_weight_vectors,
    "traces": trace_vectors,
    "audit-steps": audit_step_vectors,
    "tops": top_vectors,
}
"""For each file, without its suffix, what makes its vectors."""


def written(vectors: list[Vector]) -> str:
    """The text of a file."""
    text = json.dumps({"schema": "crynux-validate/vectors/2", "vectors": vectors}, indent=1, ensure_ascii=True)
    return text + "\n"


def main() -> None:
    """Write one file for each kind."""
    for name, make in MAKERS.items():
        (FOLDER / f"{name}.json").write_text(written(make()), encoding="utf-8")


if __name__ == "__main__":
    main()
