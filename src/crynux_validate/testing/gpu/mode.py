"""The context in which torch computes as the tensor cores of a card do.

torch calls a *mode* for every operation of the thread that entered it. Under ``inference_mode`` operations arrive whole
(``linear``, ``einsum``, ``conv2d``); elsewhere torch has taken them apart before. So whatever torch composes of other
operations is taken apart first, then there are three kinds: products, which are computed here; operations without
products, which torch computes; and all others, which are refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

from crynux_validate.errors import FakeHardwareError
from crynux_validate.pipelines.guard.foreign import allow_mode
from crynux_validate.testing.gpu.arithmetic import check_splits, find_architecture
from crynux_validate.testing.gpu.elsewhere import refused_elsewhere
from crynux_validate.testing.gpu.plain import has_no_product
from crynux_validate.testing.gpu.products import Products

_HALVES: Final = frozenset({torch.float16, torch.bfloat16, torch.complex32})
_EIGHTHS: Final = frozenset(found for found in vars(torch).values() if str(found).startswith("torch.float8"))
_KNOWN: Final = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)


class TensorCores:
    """What a context of `tensor_cores` says of itself.

    Attributes
    ----------
    architecture
        The name of the architecture.
    splits
        How many blocks k is split over.
    tf32
        Whether products of float32 are computed in TF32.
    """

    def __init__(self, architecture: str, splits: int, *, tf32: bool) -> None:
        self.architecture = architecture
        self.splits = splits
        self.tf32 = tf32
        self._products = Products(find_architecture(architecture), splits)

    @property
    def multiply_adds(self) -> int:
        """How many multiply-adds were computed in this arithmetic so far."""
        return self._products.multiply_adds

    def to_dict(self) -> dict[str, Any]:
        """Return what decides the bits, as JSON values; it stands in the numerics record."""
        return {"architecture": self.architecture, "splits": self.splits, "tf32": self.tf32}

    def __repr__(self) -> str:
        options = f", splits={self.splits}" * (self.splits > 1) + ", tf32=True" * self.tf32
        return f"<tensor_cores({self.architecture!r}{options}): {self.multiply_adds} multiply-adds>"


@contextmanager
def tensor_cores(architecture: str, *, splits: int = 1, tf32: bool = False) -> Iterator[TensorCores]:
    """Compute products of float16 and bfloat16 as the tensor cores of an architecture do, in this thread.

    Inside, matrix products (also batched, with a bias, or by einsum), attention and convolutions (also transposed) have
    the bits of that architecture, in the order of k that `splits` names. Everything else is computed by this processor:
    sums, norms, softmax, and float32. So it is the arithmetic of a card in our order, not the card: which products its
    libraries put together, and in which order they add, differs by shape and version and is not known here.

    Turing, Ampere and Ada are one arithmetic, Hopper and Blackwell another; Volta and CDNA3 are alone.

    Parameters
    ----------
    architecture
        ``volta``, ``turing``, ``ampere``, ``ada``, ``hopper``, ``blackwell`` or ``cdna3``.
    splits
        k in one block, or split over 2 or 4; see `arithmetic.multiply`.
    tf32
        Also compute products of float32, in TF32. Without it they are left alone, as the guard has it on cards too.

    Yields
    ------
    TensorCores
        Says how many multiply-adds were computed.

    Raises
    ------
    InvalidInputError
        For an unknown architecture or number of blocks, and inside for a dtype that the architecture's tensor cores do
        not have: bfloat16 on Volta and Turing, float8.
    FakeHardwareError
        Where another such context is entered in this thread. Inside for any operation with float16 or bfloat16 that is
        neither computed here nor known to have no products (`plain`), for tensors that are not on the CPU, for
        tensors of a class of their own, and for code that a compiler made (`compiled`). In other threads for products
        of float16 and bfloat16, as long as the context lasts.

    Examples
    --------
    >>> with tensor_cores("hopper") as cores:
    ...     product = torch.ones(2, 64, dtype=torch.bfloat16) @ torch.ones(64, 2, dtype=torch.bfloat16)
    >>> cores.multiply_adds
    256
    """
    cores = TensorCores(find_architecture(architecture).name, check_splits(splits), tf32=tf32)
    for mode in _get_current_dispatch_mode_stack():
        if type(mode) is _Operations:
            raise FakeHardwareError(
                f"tensor_cores({architecture!r}) is entered inside {mode.cores!r}; a computation has one arithmetic: "
                "leave the other context first"
            )
    with refused_elsewhere(cores), _Operations(cores), _Attention():
        yield cores


@allow_mode
class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation."""

    def __init__(self, cores: TensorCores) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cores = cores
        self._emulated: Mapping[Any, Callable[..., Any]] = cores._products.table()
        self._watched = _HALVES | _EIGHTHS | ({torch.float32} if cores.tf32 else set())
        self._whole: dict[Any, bool] = {}

    @property
    def record(self) -> dict[str, Any]:
        """What stands in the numerics record."""
        return self.cores.to_dict()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [*_tensors(args), *_tensors(kwargs.values())]
        if not any(tensor.dtype in self._watched for tensor in tensors):
            return func(*args, **kwargs)
        emulate = self._emulated.get(func)
        if emulate is None and self._is_composed(func):
            with self:
                return func.decompose(*args, **kwargs)
        _check(func, tensors)
        if emulate is not None and not all(tensor.is_meta for tensor in tensors):
            return emulate(*args, **kwargs)
        if emulate is None and not has_no_product(func):
            raise FakeHardwareError(
                f"{func} of {_dtypes(tensors)} may have products, and tensor cores are not imitated for it. Compute "
                "this part of the model in float32, or outside of tensor_cores"
            )
        return func(*args, **kwargs)

    def _is_composed(self, func: Any) -> bool:
        """Whether torch itself makes the operation of others, on every device."""
        if func not in self._whole:
            core: Any = torch._C
            self._whole[func] = func.has_kernel_for_dispatch_key(core.DispatchKey.CompositeImplicitAutograd)
        return self._whole[func]


@allow_mode
class _Attention(TorchFunctionMode):
    """Sees attention before torch takes it apart, which it does in another way for each of its kernels."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Let every kernel of attention be one operation; float32 without TF32 goes torch's own way."""
    modes = [mode for mode in _get_current_dispatch_mode_stack() if type(mode) is _Operations]
    if not modes or query.dtype not in modes[-1]._watched:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if enable_gqa:
        key, value = (part.repeat_interleave(query.shape[-3] // part.shape[-3], -3) for part in (key, value))
    flash: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    found: torch.Tensor = flash(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
    return found


def _tensors(values: "Sequence[Any] | Any") -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _check(func: Any, tensors: Sequence[torch.Tensor]) -> None:
    """Refuse tensors that this process's memory does not hold as they are."""
    for tensor in tensors:
        if tensor.device.type not in {"cpu", "meta"}:
            raise FakeHardwareError(
                f"{func} has a tensor on {tensor.device}; tensor_cores computes on the CPU: move the model there, or "
                "leave the context to compute on the card itself"
            )
        if type(tensor) not in _KNOWN and type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
            kind = f"{type(tensor).__module__}.{type(tensor).__qualname__}"
            raise FakeHardwareError(f"{func} has a {kind}, which computes in its own way; use plain tensors")
        if tensor.layout is not torch.strided:
            raise FakeHardwareError(f"{func} has a tensor of the layout {tensor.layout}; use dense tensors")


def _dtypes(tensors: Sequence[torch.Tensor]) -> str:
    return ", ".join(dict.fromkeys(str(tensor.dtype).removeprefix("torch.") for tensor in tensors))
