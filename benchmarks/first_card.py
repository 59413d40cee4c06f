"""Does a real card add as its arithmetic says? ``python -m benchmarks.first_card --architecture hopper``, on that card.

For products of 64 rows and 64 columns with k of 16, 32, 64, 512 and 4,096 in each dtype, it prints the share of outputs
that have the bits of the emulated arithmetic: of the float32 accumulator, which torch gives with ``out_dtype``, or,
where it cannot, of outputs rounded to the dtype. k of 16 tests the rule; larger k tests the order as well, which the
card's libraries choose. Nobody has run this yet.
"""

import argparse
import sys
from typing import Any, Final

import torch

from benchmarks.divergence.tables import table
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.noise import normal
from crynux_validate.testing.gpu.arithmetic import ARCHITECTURES, SPLITS, multiply

DEPTHS: Final = (16, 32, 64, 512, 4096)
SIDE: Final = 64

CAPABILITIES: Final = {(7, 0): "volta", (7, 5): "turing", (8, 0): "ampere", (8, 6): "ampere", (8, 9): "ada",
                       (9, 0): "hopper", (10, 0): "blackwell", (12, 0): "blackwell"}  # fmt: skip


def main() -> int:
    """Compare, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_card", description=__doc__)
    parser.add_argument("--architecture", choices=ARCHITECTURES, help="of this card; default: what CUDA says of it")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1; on ROCm too (default: %(default)s)")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch finds no CUDA or ROCm device here; run this on the card that is to be compared")
    name = arguments.architecture or _architecture(arguments.device)
    if name is None:
        parser.error(f"{torch.cuda.get_device_name(arguments.device)} is not known; name its --architecture")
    print(
        f"{torch.cuda.get_device_name(arguments.device)}, torch {torch.__version__}, beside the arithmetic of {name}, "
        "in our order\n"
    )
    rows = [
        (dtype, str(k), *_compared(arguments.device, name, dtype, k))
        for dtype in ("float16", "bfloat16")
        if dtype in ARCHITECTURES[name].at_once
        for k in DEPTHS
    ]
    print(table(("dtype", "k", "what is compared", *(f"equal, k in {splits} blocks" for splits in SPLITS)), rows))
    return 0


def _architecture(device: str) -> str | None:
    if torch.version.hip is not None:
        return "cdna3" if "MI3" in torch.cuda.get_device_name(device) else None
    return CAPABILITIES.get(torch.cuda.get_device_capability(device))


def _compared(device: str, name: str, dtype: str, k: int) -> tuple[str, ...]:
    """What was compared, and the share of equal outputs for each number of blocks."""
    kind = getattr(torch, dtype)
    left, right = (torch.from_numpy(normal(seed, shape=(SIDE, k))).to(kind) for seed in (1, 2))
    with deterministic():
        found, what = _on_card(left.to(device), right.T.contiguous().to(device))
    shares = []
    for splits in SPLITS:
        numbers = left.float().numpy(), right.T.contiguous().float().numpy()
        here = torch.from_numpy(multiply(*numbers, architecture=name, dtype=dtype, splits=splits))
        shares.append(f"{float((here.to(found.dtype) == found).double().mean()):.2%}")
    return (what, *shares)


def _on_card(left: Any, right: Any) -> tuple[Any, str]:
    try:
        return torch.mm(left, right, out_dtype=torch.float32).cpu(), "float32"
    except (RuntimeError, TypeError):
        return torch.mm(left, right).cpu(), f"rounded to {str(left.dtype).removeprefix('torch.')}"


if __name__ == "__main__":
    sys.exit(main())
