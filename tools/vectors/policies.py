"""Vectors of policies."""

from dataclasses import replace
from typing import Final

from tools.vectors.common import ODD, Vector, vector

import crynux_validate as cv
from crynux_validate.tasks import ImageSetting

PLAIN: Final = cv.Policy(
    group_size=3, threshold=16, slash_threshold=24, min_stake=400, min_fee=9, stake_per_fee=10, slash_per_fee=10,
    weight_unit=1, min_pool_ppm=500_000, slash_ppm=10**6, withheld_ppm=10**6, no_quorum_ppm=400_000, fault_fee_ppm=0,
    slash_account=None, suspend_after=3, beacon_delay_seconds=0, draw_seconds=600, commit_seconds=3_600,
    reveal_seconds=600, epoch_seconds=86_400, attest_commit_seconds=3_600, attest_reveal_seconds=3_600,
    admitted_declarations=(), min_class_owners=3, min_class_stake=None, second_algorithm=None,
)  # fmt: skip
"""All fields are named, so that no vector depends on a default."""

EVERY_FIELD: Final = cv.Policy(
    group_size=5, threshold=20, slash_threshold=30, min_stake=10**24 + 7, min_fee=10**21 + 1, stake_per_fee=11,
    slash_per_fee=12, weight_unit=10**18, min_pool_ppm=300_001, slash_ppm=900_001, withheld_ppm=800_001,
    no_quorum_ppm=100_003, fault_fee_ppm=50_021, slash_account=ODD, suspend_after=4, beacon_delay_seconds=30,
    draw_seconds=601, commit_seconds=3_601, reveal_seconds=602, epoch_seconds=86_401, attest_commit_seconds=3_602,
    attest_reveal_seconds=3_603, admitted_declarations=("cd" * 32, "ab" * 32), min_class_owners=7,
    min_class_stake=10**25 + 3, second_algorithm="digest/1",
)  # fmt: skip


def policy_vectors() -> list[Vector]:
    """Policies and their digests."""
    asked = cv.ImageTask(model=cv.ModelRef("owner/name", "0" * 40), prompt="", dtype="bfloat16")
    cases = [
        ("plain", "amounts of money are text, everything else that counts is a number", PLAIN),
        ("every-field", "another value in every field", EVERY_FIELD),
        ("no-bound", "null is no bound of a slash", replace(PLAIN, slash_per_fee=None)),
        ("nothing-at-stake", "0 is a bound", replace(PLAIN, stake_per_fee=0, slash_per_fee=0)),
        ("largest", "money up to 2^256-1, in groups of nine", replace(
            PLAIN, group_size=9, min_stake=2**256 - 1, min_fee=2**256 - 1, weight_unit=2**256 - 1, min_class_stake=0)),
        ("second-round", "the second algorithm stands there only where there is one",
         replace(PLAIN, second_algorithm="digest/1")),
        ("keyed", "the tolerances of keyed values stand there only where there are some", replace(
            PLAIN, second_algorithm="keyed/1", keyed_tolerances=(
                cv.keyed.KeyedTolerance(ImageSetting.of(asked, asked.replace(steps=50)), (7, 6, 5, 4, 3, 2, 1, 0)),
                cv.keyed.KeyedTolerance(ImageSetting.of(asked.replace(dtype="float32", guidance_scale=1.5)), (28_830,)),
            ))),
    ]  # fmt: skip
    return [vector(f"policy/{name}", why, policy=policy.to_dict(), digest=policy.digest) for name, why, policy in cases]
