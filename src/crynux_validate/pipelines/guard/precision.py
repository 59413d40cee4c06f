"""The precision of float32 in torch: two generations of switches that contradict each other, as one value."""

from collections.abc import Callable
from typing import Any, Final

Precision = dict[str, Any]
"""What each switch was set to itself: "none" (inherit), "ieee", "tf32" or "bf16"; and the two old switches."""

_PLACES: Final = (
    ("generic", "all"),
    *((backend, op) for backend in ("cuda", "mkldnn") for op in ("all", "conv", "rnn", "matmul")),
)

FULL_PRECISION: Final[Precision] = {
    **{f"{backend}.{op}": "ieee" for backend, op in _PLACES},
    "cudnn_allow_tf32": False,
    "matmul_precision": "highest",
}


def float32_precision(core: Any) -> tuple[Callable[[], Precision], Callable[[Precision], None]]:
    """Return a getter and a setter of the whole state; ``torch._C`` is passed in.

    The new switches inherit: an operation that has none takes its backend's, a backend the generic one, and the getter
    returns what is in effect. The old ones raise when the new ones say otherwise. To be able to restore everything,
    what each was set to is found by changing what it would inherit; the old ones are read while the new ones fit.
    (The public ``torch.backends`` properties are no way in: that of mkldnn sets the generic switch.)
    """
    read, write = core._get_fp32_precision_getter, core._set_fp32_precision_setter

    def own(place: tuple[str, str], parent: tuple[str, str]) -> str:
        """What a place was set to itself, ``none`` where it inherits."""
        kept = read(*parent) if parent == ("generic", "all") else own(parent, ("generic", "all"))
        seen = []
        try:
            for precision in ("ieee", "tf32"):
                write(*parent, precision)
                seen.append(str(read(*place)))
        finally:
            write(*parent, kept)
        return seen[0] if seen[0] == seen[1] else "none"

    def old(restore: Precision) -> Precision:
        """The switches of the first generation."""
        try:
            for op, precision in (("conv", "tf32"), ("rnn", "tf32"), ("matmul", "ieee")):
                write("cuda", op, precision)
            write("mkldnn", "matmul", "ieee")
            try:
                tf32 = bool(core._get_cudnn_allow_tf32())
            except RuntimeError:
                # It disagrees with the new switches, which allow TF32 at this moment.
                tf32 = False
            return {"cudnn_allow_tf32": tf32, "matmul_precision": str(core._get_float32_matmul_precision())}
        finally:
            for backend, op in _PLACES:
                write(backend, op, restore[f"{backend}.{op}"])

    def get() -> Precision:
        effect = {place: str(read(*place)) for place in _PLACES}
        state = {"generic.all": effect["generic", "all"]}
        for backend, op in _PLACES[1:]:
            parent = ("generic", "all") if op == "all" else (backend, "all")
            found = own((backend, op), parent)
            # A process begins with "tf32" for what it was never set for, and loses that when a parent is set.
            lost = found == "none" and effect[backend, op] != effect[parent]
            state[f"{backend}.{op}"] = effect[backend, op] if lost else found
        return state | old(state)

    def set_(state: Precision) -> None:
        # The old ones first: they overwrite some of the new ones.
        core._set_cudnn_allow_tf32(state["cudnn_allow_tf32"])
        core._set_float32_matmul_precision(state["matmul_precision"])
        for backend, op in _PLACES:
            write(backend, op, state[f"{backend}.{op}"])

    return get, set_
