"""A group whose second round is of keyed values, from the draw to the money and the evidence (protocol C5, J7)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crynux_validate import Finding, Group, ImageScore, Lora, Opening, Policy, verify_evidence
from crynux_validate.errors import BrokenEvidenceError, CommitmentMismatchError, InvalidInputError
from crynux_validate.judging import Malformed
from crynux_validate.keyed import KeyedScore, keyed_seed
from crynux_validate.ledger import Evidence
from crynux_validate.ledger.settlement import members_of
from crynux_validate.tasks import ImageSetting
from tests.ledger.helpers import HONEST, TASK, TEXT, Network
from tests.ledger.keyed_pictures import ASKED, KEYED, PICTURE, TOLERANCE, Picture, enlarged, honest_picture, noisy


class KeyedRounds(Network):
    """Three nodes, and groups whose second round is of keyed values."""

    def __init__(self, policy: Policy = KEYED) -> None:
        super().__init__(nodes=3, policy=policy)

    def first(self, *pictures: Picture) -> Group:
        """A group that revealed the scores of these pictures."""
        group = self.committed(*(ImageScore.from_images([Image.fromarray(one)]) for one in pictures), task=ASKED)
        for node in group.members:
            self.reveal(group.id, node)
        return self.ledger.group(group.id)

    def seed(self, group: Group) -> bytes:
        seed = self.ledger.group(group.id).second_seed(self.clock.now)
        assert seed is not None
        return seed

    def second(self, group: Group, answers: Sequence[bytes | None]) -> Group:
        """The settled group, whose members gave these second answers; None stays away."""
        seed, given = self.seed(group), {}
        for node, answer in zip(group.members, answers, strict=True):
            if answer is not None:
                given[node] = Opening(answer)
                self.ledger.commit(group.id, node, given[node].commitment(seed.hex(), node=node, round=2), round=2)
        self.until(group.rounds[1].commit_deadline)
        for node, opening in given.items():
            self.ledger.reveal(group.id, node, opening, round=2)
        self.until(group.rounds[1].reveal_deadline)
        settled = self.ledger.settle(group.id)
        self.check_money()
        return settled

    def through(self, *pictures: Picture) -> Group:
        """The settled group, whose members answered with these pictures in both rounds."""
        group = self.first(*pictures)
        seed = self.seed(group)
        return self.second(group, [KeyedScore.from_images(seed, [one]).to_bytes() for one in pictures])


def found(group: Group) -> list[Finding]:
    assert group.verdict is not None
    return [group.verdict.findings[node] for node in group.members]


def test_honest_machines_are_paid_and_an_enlargement_is_slashed() -> None:
    """The plain hash sees no difference."""
    cheat = enlarged(PICTURE, 16)
    assert (ImageScore.from_images([Image.fromarray(cheat)]).blocks[0] ^ _blocks(PICTURE)[0]).bit_count() < 16
    network = KeyedRounds()
    settled = network.through(PICTURE, noisy(PICTURE, 1), cheat)
    assert found(settled) == [Finding.VALID, Finding.VALID, Finding.INVALID]
    assert network.ledger.node(settled.members[2]).stake == 0
    assert found(KeyedRounds().through(PICTURE, noisy(PICTURE, 1), noisy(PICTURE, 2))) == [Finding.VALID] * 3


def _blocks(picture: Picture) -> tuple[int, ...]:
    return ImageScore.from_images([Image.fromarray(picture)]).blocks


@pytest.mark.parametrize(
    "cheat",
    [
        enlarged(PICTURE, 8),
        enlarged(PICTURE, 32),
        np.asarray(Image.fromarray(PICTURE).convert("L").convert("RGB")),
        np.roll(PICTURE, 1, axis=2),
        honest_picture(7),
        np.clip(PICTURE + np.array([12, 0, 0]), 0, 255).astype(np.uint8),
    ],
    ids=["enlarged from 8", "enlarged from 32", "grey", "hues", "another picture", "tint"],
)
def test_cheats_are_not_paid(cheat: Picture) -> None:
    assert found(KeyedRounds().through(PICTURE, noisy(PICTURE, 1), cheat))[2] is Finding.INVALID


# Attackers.


def test_the_last_nonce_chooses_nothing_but_to_withhold() -> None:
    network = KeyedRounds()
    scores = [ImageScore.from_images([Image.fromarray(PICTURE)])] * 3
    group = network.committed(*scores, task=ASKED)
    first, second, last = group.members
    for node in (first, second):
        network.reveal(group.id, node)
    assert network.ledger.group(group.id).second_seed(network.clock.now) is None
    known = {node: opening.nonce for node, opening in network.ledger.group(group.id).openings.items()}
    for number in range(20):
        other = Opening(scores[2].to_bytes(), bytes([number]) * 32)
        with pytest.raises(CommitmentMismatchError):
            network.ledger.reveal(group.id, last, other)
    network.until(group.reveal_deadline)
    seed = network.seed(group)
    assert seed == keyed_seed(group.draw_digest, known), "without the last one's nonce: one other seed, and no more"
    answers = [KeyedScore.from_images(seed, [PICTURE]).to_bytes()] * 2
    settled = network.second(network.ledger.group(group.id), [*answers, None]) if last not in group.asked(2) else group
    assert found(settled) == [Finding.VALID, Finding.VALID, Finding.WITHHELD]
    assert network.ledger.node(last).stake == 0


# Bad input.


def test_a_second_answer_that_does_not_fit_is_malformed() -> None:
    network = KeyedRounds()
    group = network.first(PICTURE, PICTURE, PICTURE)
    seed = network.seed(group)
    good = KeyedScore.from_images(seed, [PICTURE])
    wrong = {
        "the keyed score has 155 bytes; the task's 1 images of 64x64 have 186": KeyedScore(good.score[:155], "keyed/1"),
        "the keyed score has 372 bytes": KeyedScore(2 * good.score, "keyed/1"),
        "the keyed score is a digest/1; expected keyed/1": KeyedScore(bytes(32)),
    }
    for text, score in wrong.items():
        opened = {node: Opening(score.to_bytes()) for node in group.members}
        answer = group.with_round(2, openings=opened).second_answer(group.members[0])
        assert isinstance(answer, Malformed)
        assert text in answer.reason
    settled = network.second(group, [good.to_bytes(), good.to_bytes(), KeyedScore(bytes(32)).to_bytes()])
    assert found(settled) == [Finding.VALID, Finding.VALID, Finding.INVALID]


def test_values_under_another_seed_do_not_agree() -> None:
    network = KeyedRounds()
    group = network.first(PICTURE, PICTURE, PICTURE)
    seeds = [network.seed(group), network.seed(group), bytes(32)]
    answers = [KeyedScore.from_images(seed, [PICTURE]).to_bytes() for seed in seeds]
    assert found(network.second(group, answers)) == [Finding.VALID, Finding.VALID, Finding.INVALID]


@pytest.mark.parametrize(
    ("task", "match"),
    [
        (TEXT, r"keyed/1\) are of pictures: give the ledger image tasks"),
        (
            ASKED.replace(dtype="bfloat16"),
            "no keyed tolerance for tasks like this one; the nearest is for dtype 'float32'",
        ),
        (
            ASKED.replace(model=replace(ASKED.model, variant="fp16")),
            "the nearest is for model owner/name@0+:",
        ),
        (ASKED.replace(loras=[Lora(ASKED.model)]), r"the nearest is for loras \[\]"),
        (ASKED.replace(vae=ASKED.model), "the nearest is for vae None"),
        (ASKED.replace(scheduler="EulerDiscreteScheduler"), "for scheduler 'DDIMScheduler'"),
        (ASKED.replace(steps=ASKED.steps + 1), f"the nearest is for steps {ASKED.steps}: calibrate"),
        (TASK, "the nearest is for width 64, height 64"),
    ],
)
def test_a_task_that_the_policy_has_no_tolerance_for_is_refused(task: Any, match: str) -> None:
    network = KeyedRounds()
    network.refused(InvalidInputError, lambda: network.opened(task=task), match)


def test_a_group_without_a_second_round() -> None:
    network = Network(nodes=3)
    group = network.committed(HONEST, HONEST, HONEST)
    with pytest.raises(InvalidInputError, match="the round is 2"):
        group.second_answer(group.members[0])
    assert group.second_seed(network.clock.now) is None


def test_evidence_is_checked_with_the_tolerances_of_its_policy() -> None:
    network = KeyedRounds()
    settled = network.through(PICTURE, noisy(PICTURE, 1), enlarged(PICTURE, 16))
    cheat = settled.members[2]
    evidence = Evidence.from_json(network.ledger.evidence(settled.id, cheat).to_json())
    assert verify_evidence(evidence).finding is Finding.INVALID
    assert members_of(evidence.group) == members_of(settled)
    wide = replace(KEYED, keyed_tolerances=(replace(TOLERANCE, limits=(7_000,) * 6),))
    with pytest.raises(BrokenEvidenceError):
        verify_evidence(replace(evidence, group=replace(evidence.group, policy=wide)))
    other = replace(
        KEYED, keyed_tolerances=(replace(TOLERANCE, setting=ImageSetting.of(ASKED.replace(dtype="bfloat16"))),)
    )
    with pytest.raises(BrokenEvidenceError, match="the policy of group-1 refuses its task"):
        verify_evidence(replace(evidence, group=replace(evidence.group, policy=other)))
