"""Samples of small worlds whose truth is known."""

import numpy as np
import numpy.typing as npt

from crynux_validate.calibration import Samples

Hashes = npt.NDArray[np.uint64]


def balanced(rng: np.random.Generator, *shape: int) -> Hashes:
    """Hashes with 32 set bits: independent pictures."""
    bits = np.argsort(rng.random((*shape, 64)), axis=-1) < 32
    return np.packbits(bits, axis=-1).view(">u8")[..., 0].astype(np.uint64)


def flipped(rng: np.random.Generator, hashes: Hashes, most: int) -> Hashes:
    """The same with up to `most` bits that are set exchanged for as many that are not."""
    found = hashes.copy()
    for at in np.ndindex(found.shape):
        bits = np.unpackbits(np.array([found[at]], ">u8").view(np.uint8)).astype(bool)
        for _ in range(int(rng.integers(0, most + 1))):
            bits[rng.choice(np.flatnonzero(bits))] = False
            bits[rng.choice(np.flatnonzero(~bits))] = True
        found[at] = np.packbits(bits).view(">u8")[0]
    return found


def honest(
    rng: np.random.Generator, base: Hashes, kinds: int = 4, *, most: int = 2, fragile: float = 0.2, missing: float = 0.0
) -> Samples:
    """Answers of some kinds to a task for each of the hashes, of shape (tasks, images); a few pictures are fragile."""
    noisy = rng.random(len(base)) < fragile
    parts = []
    for kind in range(kinds):
        answers = np.where(noisy[:, None], flipped(rng, base, 9), flipped(rng, base, most))
        there = rng.random(len(base)) >= missing
        parts.append(
            Samples.from_columns(
                algorithm="phash/1",
                hashes=answers[there],
                kind=f"kind-{kind}",
                task=[f"task-{at}" for at in np.flatnonzero(there)],
                model="m",
                role="honest",
                margin=rng.random(int(there.sum())),
            )
        )
    return sum(parts[1:], parts[0])


def cheat(rng: np.random.Generator, base: Hashes, name: str, *, most: int = 10, kind: str = "kind-0") -> Samples:
    """A cheat's answers to the same tasks."""
    return Samples.from_columns(
        algorithm="phash/1",
        hashes=flipped(rng, base, most),
        kind=kind,
        task=[f"task-{at}" for at in range(len(base))],
        model="m",
        role=f"cheat:{name}",
    )


def unrelated(
    rng: np.random.Generator, pictures: int, parts: int = 1, *, images: int = 1, alike: float = 0.0
) -> Samples:
    """Parts of pictures; a share of the parts is of smooth pictures, which are hardly told apart."""
    rows = pictures * parts
    smooth = flipped(rng, np.full((rows, images), 0xFFFFFFFF, np.uint64), 4)
    chosen = rng.random((rows, 1)) < alike
    return Samples.from_columns(
        algorithm="phash/1",
        hashes=np.where(chosen, smooth, balanced(rng, rows, images)),
        task=[f"photo-{at // parts}" for at in range(rows)],
        role="unrelated",
        margin=rng.random(rows),
    )


def world(seed: int, tasks: int = 12, *, images: int = 1, kinds: int = 4, missing: float = 0.0) -> Samples:
    """Some of everything, degenerate pictures among it."""
    rng = np.random.default_rng(seed)
    base = balanced(rng, tasks, images)
    base[0] = 0xFF  # 8 set bits: degenerate
    return (
        honest(rng, base, kinds, missing=missing)
        + cheat(rng, base, "half-steps")
        + cheat(rng, base, "grey", most=3, kind="kind-1")
        + unrelated(rng, 8, 3, images=images, alike=0.3)
    )
