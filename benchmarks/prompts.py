"""What long prompts cost beside transformers' default `generate()`: ``python -m benchmarks.prompts MODEL_FOLDER``.

For each length of prompt both ways run in processes of their own, in turn, on one thread, with 16 new tokens: processor
time (the least of three) and the most memory above what the process held once the model was loaded. The model is any
causal language model of transformers with a context that is long enough.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

LENGTHS: Final = (50, 500, 1500, 4000)
NEW_TOKENS: Final = 16
ROUNDS: Final = 3


def ours(folder: str, ids: list[int], dtype: Any) -> Callable[[], object]:
    """Load the model with a `Runner`."""
    import crynux_validate as cv

    task = cv.TextTask(
        model=cv.ModelRef.local(folder), token_ids=ids, max_new_tokens=NEW_TOKENS, eos_token_ids=[], dtype=dtype
    )
    runner = cv.Runner.for_task(task, "cpu")
    return lambda: runner.run(task)


def default(folder: str, ids: list[int], dtype: str) -> Callable[[], object]:
    """Load the model as the documentation of transformers does it, on one thread."""
    import torch
    import transformers

    torch.set_num_threads(1)
    causal: Any = transformers.AutoModelForCausalLM
    model: Any = causal.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    tokens = torch.tensor([ids])
    return lambda: model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )


def measured(way: str, folder: str, length: int, dtype: str) -> None:
    """Print seconds of the processor and MiB: what a process of its own does."""
    ids = [100 + (37 * number) % 800 for number in range(length)]
    run = (ours if way == "ours" else default)(folder, ids, dtype)
    before = _held("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    print(min(seconds), max(0.0, _held("VmHWM") - before))


def _held(name: str) -> float:
    """Memory of this process in MiB, as Linux tells it."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="of the model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way is not None:
        measured(given.way, given.folder, given.length, given.dtype)
        return 0
    print("| prompt | ours | generate() | ratio | memory, ours | generate() |\n|---|---|---|---|---|---|")
    for length in LENGTHS:
        found = []
        for way in ("ours", "default"):
            command = [sys.executable, "-m", "benchmarks.prompts", given.folder, "--dtype", given.dtype]
            done = subprocess.run(
                [*command, "--way", way, "--length", str(length)], check=True, capture_output=True, text=True
            )
            found.append([float(number) for number in done.stdout.splitlines()[-1].split()])
        (mine, room), (theirs, beside) = found
        print(f"| {length} | {mine:.2f} s | {theirs:.2f} s | {mine / theirs:.2f} | {room:.0f} | {beside:.0f} MiB |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
