"""Groups on Ray Data, judged batch by batch on all cores: needs the extra ``ray``.

`judge_table` is a function of one table of Arrow, so Ray Data calls it for each batch, on all machines that it has.
"""

import os
import sys
import time
from collections import Counter

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers

import numpy as np
import pyarrow as pa
import ray

from crynux_validate.tables import judge_table

GROUPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
BATCH = 65_536


def answers(count: int, seed: int) -> pa.Table:
    """Three hashes for each task. One answer in a hundred is another picture; `others` says how many are."""
    random = np.random.default_rng(seed)
    hashes = np.repeat(random.integers(0, 2**64, (count, 1), np.uint64), 3, axis=1)
    other = random.random(hashes.shape) < 0.01
    hashes[other] = random.integers(0, 2**64, int(other.sum()), np.uint64)
    scores = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(8), hashes.size, [None, pa.py_buffer(hashes.byteswap().tobytes())]
    )
    offsets = pa.array(np.arange(0, hashes.size + 1, 3, dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, scores.cast(pa.binary()))
    return pa.table({"others": pa.array(other.sum(axis=1)), "scores": lists})


ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
context = ray.data.DataContext.get_current()
context.enable_progress_bars = False

made = ray.data.from_arrow([answers(min(BATCH, GROUPS - first), first) for first in range(0, GROUPS, BATCH)])
started = time.perf_counter()
judged = made.map_batches(judge_table, batch_size=BATCH, batch_format="pyarrow").select_columns(["others", "outcome"])
counts: Counter[tuple[int, str]] = Counter()
for batch in judged.iter_batches(batch_size=BATCH, batch_format="pyarrow"):
    counts.update(zip(batch.column("others").to_pylist(), batch.column("outcome").to_pylist(), strict=True))
seconds = time.perf_counter() - started
cores = int(ray.cluster_resources()["CPU"])
ray.shutdown()

assert sum(counts.values()) == GROUPS
assert {outcome for others, outcome in counts if others < 2} == {"VALIDATED"}
assert {outcome for others, outcome in counts if others > 1} <= {"NO_QUORUM"}
print(f"{GROUPS:,} groups in {seconds:.1f} s on {cores} cores: {dict(counts)}")
