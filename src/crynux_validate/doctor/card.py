"""What only a card can show: how its sums lie beside the emulated arithmetic, and what the guard costs on it.

Nobody has run this on a card yet (docs/emulated-cards.md).
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from crynux_validate.doctor.checks import Check, Status

if TYPE_CHECKING:
    import torch

DEPTHS: Final = (16, 32, 64, 512, 4096)
"""How many products a sum has: 16 shows a card's rule, more shows the order as well, which its libraries choose."""

SIDE: Final = 64
ROUNDS: Final = 20

CAPABILITIES: Final = {(7, 0): "volta", (7, 5): "turing", (8, 0): "ampere", (8, 6): "ampere", (8, 9): "ada",
                       (9, 0): "hopper", (10, 0): "blackwell", (12, 0): "blackwell"}  # fmt: skip


def checks(device: str) -> Iterator[Check]:
    """Measure a CUDA or ROCm device."""
    yield _arithmetic(device)
    yield _guard_costs(device)


def architecture_of(device: str) -> str | None:
    """Return the name of the device's emulated arithmetic; None where none is known."""
    import torch

    if torch.version.hip is not None:
        return "cdna3" if "MI3" in torch.cuda.get_device_name(device) else None
    return CAPABILITIES.get(torch.cuda.get_device_capability(device))


def _arithmetic(device: str) -> Check:
    from crynux_validate.testing.gpu.arithmetic import ARCHITECTURES

    name = architecture_of(device)
    if name is None:
        return Check("sums", Status.SKIPPED, "no arithmetic is known for this card")
    rows = [
        shares(device, name, dtype, k)
        for dtype in ("float16", "bfloat16")
        if dtype in ARCHITECTURES[name].at_once
        for k in DEPTHS
    ]
    told = (f"{row['dtype']} k={row['k']} {max(row['equal'].values()):.2%}" for row in rows)
    found = f"equal to the arithmetic of {name} in the best order: {', '.join(told)}"
    seen = {"architecture": name, "products": rows}
    if any(max(row["equal"].values()) < 1 for row in rows if row["k"] == min(DEPTHS)):
        todo = "please send us the file that --out writes: the rule of this card may not be what we took it for"
        return Check("sums", Status.ADVICE, found, todo, seen)
    return Check("sums", Status.OK, found, seen=seen)


def shares(device: str, name: str, dtype: str, k: int) -> dict[str, Any]:
    """Compare a product of 64x64 sums of k products with the emulated one.

    Returns
    -------
    dict
        ``compared``: the float32 accumulators, or rounded outputs where torch does not give these. ``equal``: the share
        of outputs with equal bits, for k in 1, 2 and 4 blocks.
    """
    import torch

    from crynux_validate.pipelines.guard.determinism import deterministic
    from crynux_validate.pipelines.noise import normal
    from crynux_validate.testing.gpu.arithmetic import SPLITS, multiply

    kind = getattr(torch, dtype)
    left, right = (torch.from_numpy(normal(seed, shape=(SIDE, k))).to(kind) for seed in (1, 2))
    right = right.T.contiguous()
    with deterministic():
        found, compared = _on_card(left.to(device), right.to(device))
    equal = {}
    for splits in SPLITS:
        numbers = left.float().numpy(), right.float().numpy()
        here = torch.from_numpy(multiply(*numbers, architecture=name, dtype=dtype, splits=splits))
        equal[str(splits)] = float((here.to(found.dtype) == found).double().mean())
    return {"dtype": dtype, "k": k, "compared": compared, "equal": equal}


def _on_card(left: "torch.Tensor", right: "torch.Tensor") -> tuple["torch.Tensor", str]:
    import torch

    try:
        return torch.mm(left, right, out_dtype=torch.float32).cpu(), "float32"
    except (RuntimeError, TypeError):
        return torch.mm(left, right).cpu(), f"rounded to {str(left.dtype).removeprefix('torch.')}"


def _guard_costs(device: str) -> Check:
    """The time of convolution, attention and product in float16, with the guard and without."""
    import torch

    from crynux_validate.pipelines.guard.determinism import deterministic

    picture = torch.randn(2, 64, 64, 64, device=device, dtype=torch.float16)
    kernel = torch.randn(64, 64, 3, 3, device=device, dtype=torch.float16)
    heads = torch.randn(2, 8, 1024, 64, device=device, dtype=torch.float16)

    def once() -> float:
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        for _ in range(ROUNDS):
            torch.nn.functional.conv2d(picture, kernel, padding=1)
            torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
            torch.matmul(heads, heads.transpose(-1, -2))
        torch.cuda.synchronize(device)
        return time.perf_counter() - started

    seconds: dict[str, float] = {}
    with torch.inference_mode():
        for name, guard in (("without", nullcontext()), ("with", deterministic())):
            with guard:
                once()
                seconds[name] = statistics.median(once() for _ in range(5)) / ROUNDS
    ratio = seconds["with"] / seconds["without"]
    found = f"a convolution, an attention and a product take {ratio:.2f} times as long with the guard"
    return Check("guard time", Status.OK, found, seen={"seconds": seconds, "ratio": ratio})
