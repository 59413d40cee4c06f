"""The canary: a small numeric computation on a challenge, whose bits tell kernels apart (protocol P6).

The canary shows how a machine computes. Its probes call torch as text and image models do, with their shapes and
dtypes, on numbers that are derived from the challenge and have the same bits everywhere. Machines with other kernels
get slightly other bits, and so another digest. The canary cannot be computed before the challenge is known. Because
nodes commit before they reveal, they cannot copy it from others; but colluders can tell each other.

The bytes are specified as follows. ``lp`` is a length prefix, ``digest`` the one of the protocol ("Bytes") for the
thing ``canary``; names and words are UTF-8::

    seed      the first 8 bytes of digest(lp("seed"), lp(challenge)) as u64 big-endian, shifted right by 11 bits
    values    131,071 normal numbers of that seed, image 0, draw 0, purpose CANARY (crynux_validate.pipelines.noise),
              read in a circle
    operand   the next values of the circle in the order of C, times a power of two, rounded to the probe's dtype;
              each probe begins at value 0
    probe     digest(lp("probe"), lp(name), the result's values in the order of C, little-endian)
    canary    digest(lp("canary"), lp(challenge), lp(name) and the 32 bytes of each probe, in the order of their names)

A probe's name is the name of its function below and a dtype (``linear_decode.bfloat16``); the function is its
specification. Which probes there are depends on the kind of the device, and on nothing else. The tag has a version: a
change of a probe is a change of the version.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import torch
from torch.nn import functional

from crynux_validate.encoding import check_type, digest, length_prefixed, shorten
from crynux_validate.errors import InvalidInputError, PipelineError
from crynux_validate.machines.classes import check_digest
from crynux_validate.pipelines.guard.determinism import deterministic
from crynux_validate.pipelines.guard.probe import find_device
from crynux_validate.pipelines.noise import Purpose, normal

MAX_CHALLENGE: Final = 256
"""The most bytes of a challenge; a beacon's value has 32."""

_VALUES: Final = 2**17 - 1
"""A prime, so that the rows of a large operand differ. A value costs 50 ns, reading it again almost nothing."""

_PROMPT: Final = 40
"""Tokens of a prompt: many rows, and no multiple of what kernels work on at once."""


class Operands:
    """The numbers that one probe computes with.

    Parameters
    ----------
    values
        The circle, in float32 on the CPU, at least as long as the largest operand and `_VALUES` together.
    dtype, device
        What the operands are made for.
    """

    def __init__(self, values: torch.Tensor, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device
        self._values = values
        self._at = 0

    def __call__(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Return the next operand; `scale` is a power of two, so that the product is exact."""
        size = torch.Size(shape).numel()
        part = self._values[self._at : self._at + size].reshape(shape)
        self._at = (self._at + size) % _VALUES
        # Rounded on the CPU, where it is rounding to nearest even, and in memory of its own: alignment can decide bits.
        return (part * scale).to(self.dtype).to(self.device)


Probe: TypeAlias = Callable[[Operands], torch.Tensor]


def linear_decode(take: Operands) -> torch.Tensor:
    """One token's row through a wide layer."""
    return functional.linear(take(1, 1, 2048), take(2048, 2048, scale=2**-6))


def linear_prefill(take: Operands) -> torch.Tensor:
    """A prompt's rows through a wide layer."""
    return functional.linear(take(1, _PROMPT, 2048), take(2048, 2048, scale=2**-6))


def linear_narrow(take: Operands) -> torch.Tensor:
    """One token's row and a prompt's through narrow layers, for which libraries have kernels of their own."""
    rows = []
    for width in (64, 192):
        weight = take(2 * width, width, scale=2**-3)
        rows += [functional.linear(take(1, tokens, width), weight).flatten() for tokens in (1, 7, _PROMPT, 256)]
    return torch.cat(rows)


def linear_vocabulary(take: Operands) -> torch.Tensor:
    """One token's row against every word of a vocabulary: the logits."""
    return functional.linear(take(1, 1, 64), take(32_000, 64, scale=2**-3))


def linear_bias(take: Operands) -> torch.Tensor:
    """The layers of text encoders and of attention in images, which have a bias."""
    return functional.linear(take(2, 77, 320), take(320, 320, scale=2**-4), take(320))


def attention_eager(take: Operands) -> torch.Tensor:
    """Attention by the formula, of a prompt with itself and of one token more: scores, float32 softmax, values."""
    rows = []
    for width in (64, 16):
        query, key, value = (take(1, 4, _PROMPT + 1, width) for _ in range(3))
        for first, last in ((0, _PROMPT), (_PROMPT, _PROMPT + 1)):
            scores = torch.matmul(query[:, :, first:last], key[:, :, :last].transpose(2, 3)) * width**-0.5
            future = torch.full(scores.shape[2:], torch.finfo(take.dtype).min, dtype=take.dtype, device=take.device)
            scores = scores + future.triu(1 + first)
            weights = functional.softmax(scores, dim=-1, dtype=torch.float32).to(take.dtype)
            rows.append(torch.matmul(weights, value[:, :, :last]).flatten())
    return torch.cat(rows)


def attention_fused(take: Operands) -> torch.Tensor:
    """Attention by torch's own function: of a picture with itself, and with a prompt."""
    query = take(1, 4, 256, 40)
    rows = []
    for tokens in (256, 77):
        key, value = take(1, 4, tokens, 40), take(1, 4, tokens, 40)
        rows.append(functional.scaled_dot_product_attention(query, key, value).flatten())
    return torch.cat(rows)


def rotary(take: Operands) -> torch.Tensor:
    """Positions turned into angles in float32, and a head turned by them."""
    head = take(1, 4, _PROMPT, 64)
    steps = torch.arange(0, 64, 2, dtype=torch.int64, device=take.device).float()
    positions = torch.arange(_PROMPT, dtype=torch.int64, device=take.device).float()
    angles = torch.outer(positions, 1.0 / (10000.0 ** (steps / 64)))
    angles = torch.cat((angles, angles), dim=-1)
    cosine, sine = angles.cos().to(take.dtype), angles.sin().to(take.dtype)
    turned = torch.cat((-head[..., 32:], head[..., :32]), dim=-1)
    return head * cosine + turned * sine


def rms_norm(take: Operands) -> torch.Tensor:
    """The norm of language models, in float32."""
    hidden = take(1, _PROMPT, 2048).to(torch.float32)
    hidden = hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + 1e-6)
    return take(2048) * hidden.to(take.dtype)


def layer_norm(take: Operands) -> torch.Tensor:
    """The norm of text encoders."""
    return functional.layer_norm(take(1, 77, 768), (768,), take(768), take(768))


def group_norm(take: Operands) -> torch.Tensor:
    """The norm of images."""
    return functional.group_norm(take(1, 64, 32, 32), 32, take(64), take(64))


def activations(take: Operands) -> torch.Tensor:
    """SiLU, GELU in both forms, and the quick GELU of text encoders."""
    x = take(4096)
    quick = x * torch.sigmoid(1.702 * x)
    return torch.cat([functional.silu(x), functional.gelu(x), functional.gelu(x, approximate="tanh"), quick])


def convolution(take: Operands) -> torch.Tensor:
    """3x3, also with a stride, and 1x1."""
    x, weight, bias = take(1, 16, 16, 16), take(16, 16, 3, 3, scale=2**-4), take(16)
    whole = functional.conv2d(x, weight, bias, padding=1)
    half = functional.conv2d(x, weight, bias, stride=2, padding=1)
    point = functional.conv2d(x, take(32, 16, 1, 1, scale=2**-2))
    return torch.cat([whole.flatten(), half.flatten(), point.flatten()])


def convolution_wide(take: Operands) -> torch.Tensor:
    """3x3 over as many channels as images have, and over the few of latents."""
    x = functional.conv2d(take(1, 4, 32, 32), take(128, 4, 3, 3, scale=2**-3), take(128), padding=1)
    return functional.conv2d(x, take(128, 128, 3, 3, scale=2**-5), take(128), padding=1)


def interpolation(take: Operands) -> torch.Tensor:
    """Pictures made larger and smaller, bilinear."""
    x = take(1, 4, 32, 32)
    sizes = [functional.interpolate(x, size=size, mode="bilinear", align_corners=False) for size in (64, 45, 20)]
    return torch.cat([size.flatten() for size in sizes])


def elementary(take: Operands) -> torch.Tensor:
    """Functions of one number each."""
    x = take(4096)
    positive = x.abs() + 2**-10
    found = [x.exp(), x.sin(), x.cos(), x.tanh(), x.erf(), x.sigmoid(), 1 / positive, 3 / positive]
    return torch.cat([*found, positive.log(), positive.sqrt(), positive.rsqrt(), positive.pow(0.3)])


def reductions(take: Operands) -> torch.Tensor:
    """Sums, means and deviations over long rows and columns, and over everything."""
    x = take(16, 8191)
    rows = [x.sum(-1), x.mean(-1), x.std(-1), x.norm(dim=-1), x.logsumexp(-1)]
    return torch.cat([*rows, x.sum(0), x.mean(0), x.sum()[None], x.mean()[None]])


def vocabulary(take: Operands) -> torch.Tensor:
    """A softmax over a vocabulary, as sampling uses it."""
    logits = take(1, 32_000, scale=4.0)
    return torch.cat([logits.softmax(-1), logits.log_softmax(-1)])


_EVERY_DTYPE: Final[tuple[Probe, ...]] = (
    linear_decode, linear_prefill, linear_narrow, linear_vocabulary, linear_bias, attention_eager, attention_fused,
    rotary, rms_norm, layer_norm, group_norm, activations, convolution,
)  # fmt: skip
_FLOAT32: Final[tuple[Probe, ...]] = (convolution_wide, interpolation, elementary, reductions, vocabulary)
"""What models compute in float32, whatever their own dtype, and what some processors are slow at in another."""

_CPU_DTYPES: Final = (torch.float32, torch.bfloat16)
_GPU_DTYPES: Final = (torch.float32, torch.bfloat16, torch.float16)


def canary(challenge: bytes, device: "str | torch.device | None" = None) -> bytes:
    """Return the canary: a digest that shows how this machine computes (protocol P6).

    Parameters
    ----------
    challenge
        1 to 256 bytes that nobody knew before, such as a beacon's value.
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; by default the first that is there of cuda, mps, cpu.

    Returns
    -------
    bytes
        32 bytes, equal on machines on which all probes give equal bits; see the module's docstring.

    Raises
    ------
    InvalidInputError
        For an invalid challenge or device.
    PipelineError
        If this machine does not have the device, or a result is not finite.
    DeterminismError
        If the guard cannot be entered.

    Examples
    --------
    >>> canary(b"an epoch's challenge") == canary(b"an epoch's challenge")
    True
    """
    return canary_of(challenge, probes(challenge, device))


def probes(challenge: bytes, device: "str | torch.device | None" = None) -> dict[str, bytes]:
    """Return the digest of each probe by its name, to see which differ; parameters and errors as in `canary`."""
    _check_challenge(challenge)
    found = find_device(device)
    word = digest("canary", length_prefixed("seed"), length_prefixed(challenge))[:8]
    values = normal(int.from_bytes(word, "big") >> 11, shape=(_VALUES,), purpose=Purpose.CANARY)
    # Long enough to take the largest operand from any place of the circle.
    circle = torch.from_numpy(values).repeat(2048 * 2048 // _VALUES + 2)
    digests = {}
    with deterministic(), torch.inference_mode():
        for dtype in _CPU_DTYPES if found.type == "cpu" else _GPU_DTYPES:
            for probe in _EVERY_DTYPE + (_FLOAT32 if dtype is torch.float32 else ()):
                name = f"{probe.__name__}.{str(dtype).removeprefix('torch.')}"
                digests[name] = _digest_of(name, probe(Operands(circle, dtype, found)))
    return dict(sorted(digests.items()))


def canary_of(challenge: bytes, digests: Mapping[str, bytes]) -> bytes:
    """Return the canary of a challenge and the digests of its probes: what `canary` makes of `probes`.

    Raises
    ------
    InvalidInputError
        For an invalid challenge, no probes, and a digest that is not 32 bytes.
    """
    _check_challenge(challenge)
    if not isinstance(digests, Mapping) or not digests:
        raise InvalidInputError(f"the digests are {shorten(digests)}; expected those of the probes by their names")
    for name, found in digests.items():
        check_type(name, str, "the name of a probe", "text")
        check_digest(found, f"the digest of the probe {shorten(name)}")
    parts = [length_prefixed(name) + digests[name] for name in sorted(digests)]
    return digest("canary", length_prefixed("canary"), length_prefixed(challenge), *parts)


def _check_challenge(challenge: object) -> None:
    if not isinstance(challenge, bytes) or not 1 <= len(challenge) <= MAX_CHALLENGE:
        size = f"{len(challenge)} bytes" if isinstance(challenge, bytes) else shorten(challenge)
        raise InvalidInputError(f"a challenge is {size}; expected 1 to {MAX_CHALLENGE} bytes")


def _digest_of(name: str, result: torch.Tensor) -> bytes:
    """Digest a probe's values; a number that is not finite has no single form, and says that the device is broken."""
    here = result.contiguous().cpu()
    if not bool(here.isfinite().all()):
        raise PipelineError(
            f"the probe {name} gives a number that is not finite on {result.device}. No sound kernel does that: the "
            "device, its driver or this build of torch is broken"
        )
    width = {4: torch.int32, 2: torch.int16}[here.element_size()]
    words = here.view(width).numpy()
    return digest(
        "canary", length_prefixed("probe"), length_prefixed(name), words.astype(words.dtype.newbyteorder("<")).tobytes()
    )
