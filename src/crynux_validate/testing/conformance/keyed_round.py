"""A second round of keyed values: agreement by a tolerance, band by band (protocol C5, J7)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import Finding
from crynux_validate.keyed import KeyedTolerance
from crynux_validate.ledger.interface import Group
from crynux_validate.tasks import ImageSetting
from crynux_validate.testing.conformance import by_hand
from crynux_validate.testing.conformance.capabilities import needs
from crynux_validate.testing.conformance.harness import Harness, RestartableNetwork
from crynux_validate.testing.conformance.network import (
    BLANK,
    CHEAT,
    CHECKED,
    HONEST,
    NEAR,
    POLICY,
    TASK,
    TEXT,
    Network,
)
from crynux_validate.testing.conformance.second_round import commit_second_bytes
from crynux_validate.testing.conformance.settlement import findings

SMALL: Final = TASK.replace(width=64, height=64)
BANDS: Final = 6
"""Bands of 64 x 64 pixels."""

LIMITS: Final = (100, 400, 900, 1_600, 2_500, 3_600)
KEYED: Final = replace(
    POLICY,
    second_algorithm="keyed/1",
    keyed_tolerances=tuple(KeyedTolerance(ImageSetting.of(task), LIMITS) for task in (SMALL, SMALL.replace(steps=30))),
)

Band = tuple[int, ...]

FLAT: Final[Band] = (10,)
"""A contrast of ten grey levels, and 30 values of 0."""

VALID, BORDERLINE, INVALID = Finding.VALID, Finding.BORDERLINE, Finding.INVALID


def answer(*bands: Band, images: int = 1) -> bytes:
    """Return the bytes of a second answer: for each band its contrast and the values that are not 0."""
    data = b"".join(bytes(number & 255 for number in band).ljust(31, b"\0") for band in bands)
    return by_hand.keyed_answer(data * images)


def beside(at: int, band: Band) -> bytes:
    """Return the answer of a flat picture, with another band in one place."""
    return answer(*(band if place == at else FLAT for place in range(BANDS)))


SAME: Final = answer(*[FLAT] * BANDS)


@needs("second_round", "manual_clock")
class KeyedRoundRules(Harness):
    """Standard tests of groups whose second answers are values of pictures."""

    def keyed_rounds(self) -> RestartableNetwork:
        """Return three nodes of one class, and a policy with tolerances."""
        network = self.network(nodes=3, policy=KEYED)
        network.attest()
        return network

    def third(self, second: bytes, first: object = HONEST, network: Network | None = None) -> Finding:
        """Return what becomes of the third member, beside two whose pictures are alike and who are paid."""
        network = network or self.keyed_rounds()
        found = findings(settled(network, [HONEST, HONEST, first], [SAME, SAME, second]))
        assert found[:2] == [VALID, VALID]
        return found[2]

    def test_j7_values_agree_up_to_the_limit_of_each_band(self) -> None:
        network = self.keyed_rounds()
        for at, limit in enumerate(LIMITS):
            value = round(limit**0.5)
            assert self.third(beside(at, (10, -value)), network=network) is VALID, at
            assert self.third(beside(at, (10, value, 1)), network=network) is BORDERLINE, at

    def test_j7_values_are_far_apart_beyond_four_times_the_limit(self) -> None:
        edge = (10, 30, 30, -30, 30)
        assert self.third(beside(2, edge)) is BORDERLINE
        assert self.third(beside(2, (*edge, 1))) is INVALID

    def test_j7_differences_are_in_units_of_the_lesser_contrast(self) -> None:
        network = self.keyed_rounds()
        assert self.third(beside(0, (20, 5)), network=network) is VALID, "5 x 20 over 10 is 10"
        assert self.third(beside(0, (20, 6)), network=network) is BORDERLINE
        assert self.third(beside(0, (5, 10)), network=network) is VALID
        assert self.third(beside(0, (5, 20, 1)), network=network) is INVALID

    def test_j7_both_rounds_decide_together(self) -> None:
        between, far = beside(1, (10, 21)), beside(1, (10, 41))
        network = self.keyed_rounds()
        for first, second in ((HONEST, between), (NEAR, SAME), (NEAR, between)):
            assert self.third(second, first, network) is BORDERLINE, (first, second)
        for first, second in ((HONEST, far), (NEAR, far), (CHEAT, SAME), (CHEAT, between), (CHEAT, far)):
            assert self.third(second, first) is INVALID, (first, second)

    def test_j7_without_two_that_agree_in_both_rounds_nobody_is_slashed(self) -> None:
        network = self.keyed_rounds()
        far = [beside(at, (10, 100)) for at in range(3)]
        group = settled(network, [HONEST] * 3, far)
        assert findings(group) == [Finding.UNDECIDED] * 3
        assert all(network.ledger.node(node).stake > 0 for node in group.members)

    def test_j7_a_plain_picture_is_told_from_others_by_its_values(self) -> None:
        network = self.keyed_rounds()
        group = settled(network, [BLANK, BLANK, HONEST], [SAME, SAME, beside(0, (10, 100))])
        assert findings(group) == [VALID, VALID, INVALID]

    def test_c5_values_that_no_picture_of_the_task_has_are_malformed(self) -> None:
        for second in (
            answer(*[FLAT] * (BANDS - 1)),
            answer(*[FLAT] * BANDS, images=2),
            beside(0, (3,)),
            beside(0, (10, -128)),
            by_hand.second_answer(bytes(32), [[1]]),
            SAME + b"\0",
        ):
            assert self.third(second) is INVALID

    def test_c5_a_task_without_a_tolerance_is_refused(self) -> None:
        network = self.keyed_rounds()
        for task in (
            TASK,
            SMALL.replace(dtype="bfloat16"),
            SMALL.replace(steps=26),
            SMALL.replace(vae=SMALL.model),
            CHECKED.replace(width=64, height=64),
        ):
            network.refused(InvalidInputError, lambda t=task: network.opened(task=t), "no keyed tolerance")  # type: ignore[misc]
        assert network.opened(task=SMALL.replace(prompt="another", seed=3, steps=30))

    @needs("text")
    def test_c5_texts_have_no_keyed_values(self) -> None:
        network = self.keyed_rounds()
        network.refused(InvalidInputError, lambda: network.opened(task=TEXT), "give the ledger image tasks")


def settled(network: Network, first: Sequence[object], second: Sequence[bytes]) -> Group:
    """Return a settled group whose members gave these answers."""
    group = network.committed(*first, task=SMALL)  # type: ignore[arg-type]
    for node in group.commitments:
        network.reveal(group.id, node)
    group = network.ledger.group(group.id)
    openings = [
        commit_second_bytes(network, group, node, given) for node, given in zip(group.members, second, strict=True)
    ]
    for node, opening in zip(group.members, openings, strict=True):
        network.ledger.reveal(group.id, node, opening, round=2)
    found = network.ledger.settle(group.id)
    network.check_money()
    return found
