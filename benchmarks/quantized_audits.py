"""Audits of texts that were written with weights of 4 and 8 bits: ``python -m benchmarks.quantized_audits``.

The shipped small Llama writes texts in bfloat16 on two kinds of machines, as it is and in 4 and 8 bits; then texts are
taken for those of a task with other weights. Each is audited with the shipped bands, made from whole weights.
Prints a line for each: how many texts are cheats to the audit, the largest sum of margins as a part of the limit, and
how far bound rows are off. Takes a few minutes.
"""

import math
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.divergence.openings import openings
from crynux_validate.answers import TextScore
from crynux_validate.audits.bands import shipped_bands
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.text_proof import TextProof
from crynux_validate.audits.top import TopLogits, audit_positions
from crynux_validate.pipelines.runner import Runner
from crynux_validate.pipelines.text.audit import TextAuditor
from crynux_validate.tasks import ModelRef, QuantizeBits, TextTask
from crynux_validate.testing import fake_hardware, tiny_text_model

TEXTS: Final = 20
TOKENS: Final = 60
BITS: Final[tuple[QuantizeBits, ...]] = (None, 8, 4)
SEED: Final = b"a beacon's value"

_RUNNERS: dict[QuantizeBits, Runner] = {}


def tasks(model: ModelRef, bits: QuantizeBits) -> list[TextTask]:
    """Texts of distinct prompts and seeds."""
    return [
        TextTask(
            model=model, messages=[{"role": "user", "content": opening}], seed=number, max_new_tokens=TOKENS,
            do_sample=True, temperature=0.8, top_k=40, eos_token_ids=[], binding="top", quantize_bits=bits,
        )
        for number, opening in enumerate(openings(TEXTS))
    ]  # fmt: skip


def write(folder: Path, bits: QuantizeBits) -> list[tuple[Any, Any]]:
    """Write the texts of one number of bits. Runs in a worker."""
    model = ModelRef.local(folder)
    with Runner(model, "text", "bfloat16", "cpu", quantize_bits=bits) as runner:
        results = [runner.run(task) for task in tasks(model, bits)]
    return [(result.token_ids, result.top.rows) for result in results if result.top is not None]


def main() -> int:
    """Write, audit, print."""
    from benchmarks.quantized_audits import write as written  # workers import it

    with tempfile.TemporaryDirectory() as scratch, fake_hardware.Workers() as workers:
        folder = Path(scratch) / "model"
        model = tiny_text_model(folder)
        names = [name for name in ("native", "oldest") if name in workers]
        texts = {(name, bits): workers[name].run(written, folder, bits) for name in names for bits in BITS}
        for asked in BITS:
            with TextAuditor(model, "bfloat16", "cpu", quantize_bits=asked) as auditor:
                for (name, bits), found in texts.items():
                    if bits == asked or name == "native":
                        _report(auditor, tasks(model, asked), found, f"asked {asked}, written {bits}, {name}")
    return 0


def _report(auditor: TextAuditor, asked: list[TextTask], texts: list[tuple[Any, Any]], what: str) -> None:
    cheats, sums, rows = 0, [0.0], []
    for task, (ids, shown) in zip(asked, texts, strict=True):
        top = TopLogits(task, shown)
        score = TextScore.from_tokens(ids, None, top.root)
        places = audit_positions(SEED, task, score, ids)
        audit = auditor.audit(task, score, TextProof(task.digest, ids, top.open(places)), seed=SEED)
        cheats += audit.finding is AuditFinding.CHEAT
        if audit.top is not None:
            sums.append(audit.margins / audit.limit)
            rows.append(audit.top)
    band = shipped_bands().texts["bfloat16"].band
    low, high = (math.exp(value) for value in band.top_limits(20))
    told = f"rows {math.exp(min(rows)):.4f} to {math.exp(max(rows)):.4f} off" if rows else "stopped before the end"
    print(f"{what}: {cheats} of {len(asked)} CHEAT; margins at most {max(sums):.2f} of the limit; {told}"
          f" (whole weights: {low:.4f} to {high:.4f})", flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
