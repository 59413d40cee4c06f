"""Answers whose noise is known."""

import numpy as np

from crynux_validate.calibration import Sample

KINDS = ("card-a", "card-b", "card-c")
MEAN_FLIPS = {"honest": 0.2, "cheat:half-steps": 0.5, "cheat:other-seed": 8.0}
"""How often a bit that is set and one that is not change places, on average, in an answer of each role."""


def answers(pictures: int, *, seed: int = 0, unrelated: int = 0, kinds: tuple[str, ...] = KINDS) -> list[Sample]:
    """Answers of several kinds of machines and two cheats to so many tasks, and unrelated pictures."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(pictures):
        right = hash_of(generator)
        for role, mean in MEAN_FLIPS.items():
            for kind in kinds if role == "honest" else kinds[:1]:
                bits = flipped(right, int(generator.poisson(mean)), generator)
                margin = round(float(generator.gamma(2.0)), 3)
                rows.append(Sample(kind, f"task-{number}", role, "phash/1", bits, "model", margin))
    rows += [Sample("", f"photo-{number}", "unrelated", "phash/1", hash_of(generator)) for number in range(unrelated)]
    return rows


def hash_of(generator: np.random.Generator) -> bytes:
    """A hash with 32 bits set, as most pictures have."""
    return np.packbits(generator.permutation(64) < 32).tobytes()


def flipped(bits: bytes, times: int, generator: np.random.Generator) -> bytes:
    """A hash in which a bit that is set and one that is not have changed places, so many times."""
    found = np.unpackbits(np.frombuffer(bits, np.uint8))
    for value in (0, 1) * times:
        found[generator.choice(np.flatnonzero(found == value))] ^= 1
    return np.packbits(found).tobytes()
