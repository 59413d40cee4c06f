"""Price every attack, and print the tables in Markdown; a run that was stopped goes on where its notes end."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.prices import alone, tables, together
from benchmarks.prices.pools import orders
from crynux_validate import Policy

Records = list[dict[str, Any]]

Part = tuple[str, Callable[[np.random.Generator], Records]]

OTHERS: Final[Mapping[str, Any]] = {"slash_per_fee": 20, "min_pool_ppm": 250_000, "no_quorum_ppm": 200_000}
"""A policy that is measured beside the default one: a larger slash, and less that must be free."""


def parts(share: float) -> Iterator[Part]:
    """Yield the name of each part, and what measures it."""
    for pool in alone.POOLS:
        yield f"alone, {pool}", partial(_alone, pool, round(100_000 * share))
    for pool in together.POOLS:
        yield f"one round, {pool}", partial(_one_round, pool, round(20_000 * share))
    changes: tuple[Mapping[str, Any], ...] = ({}, OTHERS)
    for (pool, nodes), size, change in product(together.POOLS.items(), alone.SIZES, changes):
        policy = Policy(group_size=size, **change)
        rounds = round(share * 10**7) // len(nodes.weights)
        yield f"chosen moment, {pool}, {size}, {policy.slash_per_fee}", partial(_chosen, pool, policy, rounds)


def _alone(pool: str, groups: int, rng: np.random.Generator) -> Records:
    nodes, found = alone.POOLS[pool], []
    order = orders(nodes, groups, max(alone.SIZES), rng)
    for size, times in product(alone.SIZES, alone.FEES):
        policy = Policy(group_size=size)
        for way, price in alone.prices(nodes, size, times * policy.least_fee, policy, order):
            found.append({"pool": pool, "size": size, "fee": times, "way": str(way), **vars(price)})
    return found


def _one_round(pool: str, rounds: int, rng: np.random.Generator) -> Records:
    return [{"pool": pool, **together.in_one_round(together.POOLS[pool], 3, 20, rounds, rng)}]


def _chosen(pool: str, policy: Policy, rounds: int, rng: np.random.Generator) -> Records:
    return [{"pool": pool, **one} for one in together.at_a_chosen_moment(together.POOLS[pool], policy, rounds, rng)]


def main() -> int:
    """Measure what the notes do not hold yet, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prices", description=__doc__)
    parser.add_argument("--notes", type=Path, metavar="FILE", help="where it is noted what was measured, as JSON")
    parser.add_argument("--share", type=float, default=1, help="which part of all groups is drawn; 1 by default")
    parser.add_argument("--seed", type=int, default=1, help="of all draws")
    arguments = parser.parse_args()
    if not 0.001 <= arguments.share <= 100:
        parser.error(f"--share is {arguments.share}; expected 0.001 to 100")
    settings = {"share": arguments.share, "seed": arguments.seed}
    notes = _read(arguments.notes, settings, parser)
    for number, (name, measure) in enumerate(parts(arguments.share)):
        if name in notes:
            continue
        print(name, file=sys.stderr, flush=True)
        notes[name] = measure(np.random.default_rng([arguments.seed, number]))
        if arguments.notes is not None:
            whole = arguments.notes.with_suffix(".new")
            whole.write_text(json.dumps({"settings": settings, "parts": notes}), encoding="utf-8")
            whole.replace(arguments.notes)
    print(tables.of(_found(notes, "alone"), _found(notes, "one round"), _found(notes, "chosen moment")))
    return 0


def _read(file: Path | None, settings: Mapping[str, Any], parser: argparse.ArgumentParser) -> dict[str, Records]:
    if file is None or not file.exists():
        return {}
    noted = json.loads(file.read_text(encoding="utf-8"))
    if noted["settings"] != settings:
        parser.error(f"{file} notes a run with {noted['settings']}; this one has {settings}: name another file")
    found: dict[str, Records] = noted["parts"]
    return found


def _found(notes: Mapping[str, Records], kind: str) -> Records:
    return [record for name, records in notes.items() if name.startswith(kind) for record in records]


if __name__ == "__main__":
    sys.exit(main())
