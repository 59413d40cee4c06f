"""What it takes to make a picture fit a hash that somebody knows: ``python -m benchmarks.fitted``.

Pairs of drawn scenes of 128x128 (`tools.training.pictures`): one is in store, the hash of the other is known. Prints,
for each goal, how little the picture in store has to be changed by gradient steps, and how many hashes hill climbing
asks for. Takes some minutes.
"""

import argparse
import sys

import numpy as np
from attacks import fitted
from attacks.answer import Picture
from tools.training import pictures

from crynux_validate import hamming, image_hash

GOALS = (24, 16, 8)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fitted", description=__doc__)
    parser.add_argument("--pairs", type=int, default=100, help="default: %(default)s")
    pairs = [pair(number) for number in range(parser.parse_args().pairs)]
    exact = [hamming(image_hash(fitted.made_from(bits, pictures.SIDE, pictures.SIDE)).bits, bits) for _, bits in pairs]
    print(f"from the hash alone: at most {max(exact)} bits away; {exact.count(0)} of {len(pairs)} exactly")
    print("| distance below | by gradient | PSNR: median | least | by hill climbing | queries: median | 95% |")
    print("|---|---|---|---|---|---|---|")
    for goal in GOALS:
        reached, noise, climbed, queries = 0, [], 0, []
        for picture, bits in pairs:
            moved = fitted.moved(picture, bits, "phash/1", goal)
            reached += hamming(image_hash(moved).bits, bits) < goal
            noise.append(psnr(moved, picture))
            found, asked = fitted.climbed(picture, bits, "phash/1", goal)
            climbed += hamming(image_hash(found).bits, bits) < goal
            queries.append(asked)
        high = np.quantile(queries, 0.95, method="inverted_cdf")
        cells = [f"{reached} of {len(pairs)}", f"{np.median(noise):.0f} dB", f"{min(noise):.0f} dB"]
        cells += [f"{climbed} of {len(pairs)}", f"{np.median(queries):.0f}", f"{high:.0f}"]
        print(f"| {goal} | {' | '.join(cells)} |", flush=True)
    return 0


def pair(number: int) -> tuple[Picture, bytes]:
    """Return a picture in store, and the hash of another one that is at least 24 bits away."""
    generator = np.random.default_rng([number, 4])
    stored = pictures.draw(pictures.draw_scene(generator), generator)
    while True:
        wanted = image_hash(pictures.draw(pictures.draw_scene(generator), generator)).bits
        if hamming(image_hash(stored).bits, wanted) >= max(GOALS):
            return stored, wanted


def psnr(a: Picture, b: Picture) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    error = float(((a.astype(float) - b) ** 2).mean())
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


if __name__ == "__main__":
    sys.exit(main())
