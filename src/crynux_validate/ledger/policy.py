"""The ledger's parameters, and the outside things that it asks: a clock and a beacon (protocol P4, P6)."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Final, Protocol

from crynux_validate.algorithms import KEYED_ALGORITHMS, KeyedAlgorithm
from crynux_validate.calibration.result import Calibration
from crynux_validate.encoding import (
    DIGEST_BYTES,
    canonical_json,
    check_id,
    check_integer,
    check_type,
    digest,
    length_prefixed,
    parse_decimal,
    parse_hex,
    shorten,
    summary,
)
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import CentreRule
from crynux_validate.judging.verdict import check_group_size
from crynux_validate.keyed import KeyedTolerance
from crynux_validate.stakes.counterfeits import recommended
from crynux_validate.tasks import ImageTask, Task, TextTask

PPM: Final = 1_000_000
MAX_MONEY: Final = 2**256 - 1
"""The most that an amount, a stake or a fee can be: what a chain's word holds."""

_POLICY_MONEY: Final = ("min_stake", "min_fee", "weight_unit", "min_class_stake")

_OPTIONAL: Final = frozenset({"second_algorithm", "keyed_tolerances"})
"""Fields that a policy's JSON has only where they say something."""

_LEAST: Final = {"min_fee": ", which is group_size,", "slash_per_fee": ", which is stake_per_fee,"}
_MAY_BE_NONE: Final = ("min_fee", "slash_per_fee", "min_class_stake")

Clock = Callable[[], int]
"""Returns the time: integer seconds since the epoch."""


class Beacon(Protocol):
    """Public randomness: a value for every round, that nobody knows before the round is public (P4a).

    A value, once public, is given for ever, and is never another: a draw may come late, and is repeated by others.
    """

    @property
    def name(self) -> str:
        """What tells this beacon from any other: 1 to 128 printable ASCII characters, no spaces.

        It stands in the log; a ledger is opened with the beacon that it began with, and no other.
        """

    @property
    def on_ledger_clock(self) -> bool:
        """Whether the ledger's own clock says when a round is public.

        Where it does not, the clocks can differ, and somebody could know a round that the ledger takes for one to come:
        `Policy.beacon_delay_seconds` keeps a distance.
        """

    def next_round(self, now: int) -> int:
        """Return the number of the first round that is not public yet."""

    def value(self, round: int, now: int) -> bytes | None:  # noqa: A002
        """Return the value of a round, or None while it is not public."""


@dataclass(frozen=True)
class Epoch:
    """The period for which one canary answer is asked (P6). Its numbers follow from the clock and the policy alone.

    Parameters
    ----------
    number
        floor(now / `epoch_seconds`).
    starts, commit_deadline, reveal_deadline
        Attestations are committed to from `starts` on and before `commit_deadline`, and revealed from then on and
        before `reveal_deadline`.
    in_force
        The epoch whose attestations say what class a node has now: the one before until the reveal deadline, then this
        one. All nodes change over at once, so that equal machines never stand in two classes, and none without.
    challenge
        What this epoch's canary answers; None while it is not public.
    """

    number: int
    starts: int
    commit_deadline: int
    reveal_deadline: int
    in_force: int
    challenge: bytes | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON; the challenge as hexadecimal digits."""
        return {**asdict(self), "challenge": None if self.challenge is None else self.challenge.hex()}

    def __repr__(self) -> str:
        challenge = "no challenge yet" if self.challenge is None else f"challenge {self.challenge.hex()}"
        times = (
            f"from {self.starts}",
            f"commitments until {self.commit_deadline}",
            f"openings until {self.reveal_deadline}",
        )
        return summary(self, self.number, *times, f"in force {self.in_force}", challenge)


@dataclass(frozen=True)
class Policy:
    """The ledger's parameters; the ones that hold for a group are fixed when it opens (P4).

    Parameters
    ----------
    group_size
        Members of a group: 3, 5, 7 or 9.
    threshold
        Two pictures agree where fewer bits of their hashes differ, 1 to 64.
    slash_threshold
        An answer is slashed only where at least so many bits differ (J2); None is the larger of 24 and `threshold`.
    min_stake
        The least stake of a node, in the smallest unit (L4).
    min_fee
        The least fee of a group, in the smallest unit, at least one for each member (L3). None is
        `group_size` * max(1, floor(`min_stake` / 400)); the constructor replaces it by that number.
    stake_per_fee
        A member's slashable stake is at least this many times its share of the fee (P7).
    slash_per_fee
        A slash takes at most this many times the member's share of the fee, floor(fee / n) (L4); None for no bound.
        Without a bound a coalition that outvotes a group for a small fee destroys a large stake (`docs/stakes.md`).
    weight_unit
        How much stake counts as one in the draw.
    min_pool_ppm
        Which part of all the weight that could serve must be free, in millionths, at the opening and at the draw
        (P4d). A coalition whose nodes are free while all others are busy has at most its share divided by this.
    slash_ppm
        Which part of the stake an ``INVALID`` finding costs, in millionths (L4).
    withheld_ppm
        Which part of the stake a ``WITHHELD`` finding costs, in millionths (C3).
    no_quorum_ppm
        Which part of the fee is burnt where no answer is delivered, in millionths, rounded up (J4, J5). Without it
        somebody could ask for tasks on which honest nodes cannot agree, and draw again and again for nothing.
    fault_fee_ppm
        Which part of its share of the fee a truthful report of an invalid task earns, in millionths (J4). It pays
        reporters where the ledger itself cannot tell whether a task is valid.
    slash_account
        Who gets what is slashed; None burns it.
    suspend_after
        After how many absences in a row a node is suspended (C3).
    beacon_delay_seconds
        How far ahead of the opening a group's beacon round lies (P4a); 0 only with a beacon on the ledger's own clock,
        30 for others.
    draw_seconds
        How long after the opening a group without a beacon value is closed (P4b).
    commit_seconds
        How long members have to commit, from the draw on (C2).
    reveal_seconds
        How long members have to reveal, once commitments are over (C2).
    epoch_seconds
        How long an epoch lasts (P6). A node that joins when its commitments are over gets no text task until the
        attestations of the next epoch are in force.
    attest_commit_seconds
        How long from an epoch's start nodes can commit to an attestation.
    attest_reveal_seconds
        How long they can reveal it afterwards; both together at most `epoch_seconds`.
    admitted_declarations
        `NodeClass.declaration` of the machines that text tasks go to whatever their number (P3). A list keeps invented
        classes out for good, where `min_class_owners` is so large that size admits none. Of the classes that declare
        the same, only the heaviest is admitted: a false declarer must outweigh the honest.
    min_class_owners
        How many distinct owners make a class large enough for text tasks that name none (P3). It keeps out an owner
        with many nodes under one name. Names cost nothing, so it does not keep out one person with many names.
    min_class_stake
        What the nodes of such a class must have at stake together, in the smallest unit; None is twice what a group of
        nodes with the least stake has. It is the price of an invented class. Somebody who pays it gets tasks if the
        class outweighs all others, or if no heavier class can serve: because it is busy (a few small fees can bring
        this about), has too little memory for the task, or too little stake for its fee. Somebody who fills a group
        with own nodes is never slashed. If fees are worth that, keep a list, and let size admit none.
    second_algorithm
        Of the answers in a second round, which are made with a seed that nobody knew before (C5); None for one round.
        ``digest/1`` is for text tasks, ``keyed/1`` for image tasks.
    keyed_tolerances
        With ``keyed/1``: how far honest machines may be apart (J7), for each setting that tasks may have; other tasks
        are refused. `calibrate_keyed` finds them.
    """

    group_size: int = 3
    threshold: int = 16
    slash_threshold: int | None = None
    min_stake: int = 400
    min_fee: int | None = None
    stake_per_fee: int = 10
    slash_per_fee: int | None = 10
    weight_unit: int = 1
    min_pool_ppm: int = PPM // 2
    slash_ppm: int = PPM
    withheld_ppm: int = PPM
    no_quorum_ppm: int = 400_000
    fault_fee_ppm: int = 0
    slash_account: str | None = None
    suspend_after: int = 3
    beacon_delay_seconds: int = 0
    draw_seconds: int = 600
    commit_seconds: int = 3_600
    reveal_seconds: int = 600
    epoch_seconds: int = 86_400
    attest_commit_seconds: int = 3_600
    attest_reveal_seconds: int = 3_600
    admitted_declarations: tuple[str, ...] = ()
    min_class_owners: int = 3
    min_class_stake: int | None = None
    second_algorithm: KeyedAlgorithm | None = None
    keyed_tolerances: tuple[KeyedTolerance, ...] = ()

    def __post_init__(self) -> None:
        check_group_size(self.group_size)
        for name, low, high in (
            ("min_stake", 1, MAX_MONEY),
            ("min_fee", self.group_size, MAX_MONEY),
            ("stake_per_fee", 0, 2**31),
            ("slash_per_fee", self.stake_per_fee, 2**31),
            ("weight_unit", 1, MAX_MONEY),
            ("min_pool_ppm", 0, PPM),
            ("slash_ppm", 0, PPM),
            ("withheld_ppm", 0, PPM),
            ("no_quorum_ppm", 0, PPM),
            ("fault_fee_ppm", 0, PPM),
            ("suspend_after", 1, 2**31),
            ("beacon_delay_seconds", 0, 2**31),
            ("draw_seconds", 1, 2**31),
            ("commit_seconds", 1, 2**31),
            ("reveal_seconds", 1, 2**31),
            ("epoch_seconds", 2, 2**31),
            ("attest_commit_seconds", 1, 2**31),
            ("attest_reveal_seconds", 1, 2**31),
            ("min_class_owners", 1, 2**31),
            ("min_class_stake", 0, MAX_MONEY),
        ):
            value = getattr(self, name)
            if name in _MAY_BE_NONE and value is None:
                continue
            if type(value) is not int or not low <= value <= high:
                least = f"{low}{_LEAST.get(name, '')}"
                most = "2^256-1" if high == MAX_MONEY else high
                raise InvalidInputError(f"{name} is {shorten(value)}; expected an integer from {least} to {most}")
        if self.min_fee is None:
            object.__setattr__(self, "min_fee", self.group_size * max(1, self.min_stake // 400))
        if self.stake_per_fee and not self.least_slash_ppm:
            name = "slash_ppm" if not self.slash_ppm else "withheld_ppm"
            raise InvalidInputError(f"{name} is 0, so no stake can cover a fee (P7); set stake_per_fee=0 as well")
        if self.no_quorum_ppm + self.fault_fee_ppm > PPM:
            raise InvalidInputError(
                f"no_quorum_ppm and fault_fee_ppm are {self.no_quorum_ppm} and {self.fault_fee_ppm}, together more "
                f"than the whole fee, which is {PPM} (J4)"
            )
        if self.draw_seconds <= self.beacon_delay_seconds:
            raise InvalidInputError(
                f"draw_seconds is {self.draw_seconds}, not more than beacon_delay_seconds, which is "
                f"{self.beacon_delay_seconds}: every group would be closed before its beacon round is public (P4a)"
            )
        if self.slash_account is not None:
            check_id(self.slash_account, "slash_account")
        if self.attest_commit_seconds + self.attest_reveal_seconds > self.epoch_seconds:
            raise InvalidInputError(
                f"attest_commit_seconds and attest_reveal_seconds are {self.attest_commit_seconds} and "
                f"{self.attest_reveal_seconds}, together more than epoch_seconds, which is {self.epoch_seconds} (P6)"
            )
        if self.second_algorithm not in (None, *KEYED_ALGORITHMS):
            known = ", ".join(KEYED_ALGORITHMS)
            raise InvalidInputError(f"second_algorithm is {shorten(self.second_algorithm)}; expected {known} or None")
        self._check_tolerances()
        if type(self.admitted_declarations) not in (tuple, list):
            found = shorten(self.admitted_declarations)
            raise InvalidInputError(f"admitted_declarations is {found}; expected a tuple of hexadecimal digests")
        listed = [
            parse_hex(text, "a digest in admitted_declarations", DIGEST_BYTES) for text in self.admitted_declarations
        ]
        object.__setattr__(self, "admitted_declarations", tuple(found.hex() for found in listed))
        object.__setattr__(self, "slash_threshold", CentreRule(self.threshold, self.slash_threshold).slash_threshold)

    @classmethod
    def crynux(cls) -> "Policy":
        """Return the live network's threshold, 24 for both, and its least stake, 400 tokens of 18 decimals.

        A slash takes the whole stake there, and a group without a quorum costs nothing: `docs/stakes.md` says what
        that gives up.
        """
        return cls(
            threshold=24,
            slash_threshold=24,
            min_stake=400 * 10**18,
            weight_unit=10**18,
            slash_per_fee=None,
            no_quorum_ppm=0,
        )

    @classmethod
    def calibrated(cls, calibration: Calibration, **fields: Any) -> "Policy":
        """Return a policy with the group size and the two thresholds of a calibration.

        It holds for tasks like those that were measured: of that hash, those models and so many images. What the cheats
        that pass cost in stake is for `required_stake` to say.

        Parameters
        ----------
        calibration
            Of `calibrate`, or ``Calibration.load(file)``.
        fields
            All other fields of a policy.

        Raises
        ------
        InvalidInputError
            If the calibration recommends no thresholds, for a field that it decides, and as for `Policy`.
        """
        check_type(calibration, Calibration, "calibration", "a Calibration: of calibrate, or Calibration.load(file)")
        found = recommended(calibration)
        decided: dict[str, Any] = {
            "group_size": calibration.group_size,
            "threshold": found.threshold,
            "slash_threshold": found.slash_threshold,
        }
        given = next((name for name in decided if name in fields), None)
        if given is not None:
            raise InvalidInputError(f"{given} is given, but the calibration decides it; leave it out, or use Policy()")
        unknown = next((name for name in fields if name not in cls.__dataclass_fields__), None)
        if unknown is not None:
            raise InvalidInputError(f"a policy has no field {shorten(unknown)}; see Policy for those that it has")
        return cls(**decided, **fields)

    def rule_for(self, task: Task) -> CentreRule:
        """Return how a group with this task is judged (J2)."""
        check_type(task, (ImageTask, TextTask), "the task", "an ImageTask or a TextTask")
        checked = isinstance(task, ImageTask) and task.safety_checker
        limits = self.keyed_limits(task)
        return CentreRule(self.threshold, self.slash_threshold, safety_checker=checked, keyed_limits=limits)

    def keyed_limits(self, task: Task) -> tuple[int, ...] | None:
        """Return how far apart second answers to a task may be, band by band; None where they must be equal (J7).

        Raises
        ------
        InvalidInputError
            For a task that the second round of this policy is not for, and one of a setting without a tolerance.
        """
        if self.second_algorithm is None:
            return None
        if self.second_algorithm == "digest/1":
            if not isinstance(task, TextTask):
                raise InvalidInputError(
                    "the policy's second answers (digest/1) compare results bit for bit, and the images of honest "
                    "nodes differ: give the ledger text tasks, or a policy with second_algorithm='keyed/1'"
                )
            return None
        if not isinstance(task, ImageTask):
            raise InvalidInputError(
                "the policy's second answers (keyed/1) are of pictures: give the ledger image tasks, or a policy with "
                "second_algorithm='digest/1'"
            )
        found = next((one for one in self.keyed_tolerances if one.setting.covers(task)), None)
        if found is None:
            nearest = min((one.setting.lacks(task) for one in self.keyed_tolerances), key=len)
            raise InvalidInputError(
                f"the policy has no keyed tolerance for tasks like this one; the nearest is for {nearest}: calibrate "
                "with such tasks (calibrate_keyed)"
            )
        return found.for_task(task)

    def _check_tolerances(self) -> None:
        given = self.keyed_tolerances
        if type(given) not in (tuple, list) or not all(isinstance(one, KeyedTolerance) for one in given):
            raise InvalidInputError(f"keyed_tolerances is {shorten(given)}; expected a tuple of KeyedTolerance")
        if (self.second_algorithm == "keyed/1") != bool(given):
            raise InvalidInputError(
                f"second_algorithm is {self.second_algorithm} and there are {len(given)} keyed_tolerances; keyed/1 "
                "needs at least one, and nothing else has any"
            )
        for at, one in enumerate(given):
            if any(one.setting.overlaps(other.setting) for other in given[:at]):
                raise InvalidInputError(f"keyed_tolerances has two for tasks of {one.setting}; give one")
        object.__setattr__(self, "keyed_tolerances", tuple(given))

    def __repr__(self) -> str:
        """What is always asked for, and what is not the default."""
        default, shown = Policy(), ("group_size", "threshold", "slash_threshold", "min_stake")
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        told = (name for name, value in values.items() if name in shown or value != getattr(default, name))
        return summary(self, *(f"{name} {values[name]}" for name in told))

    @property
    def least_slash_ppm(self) -> int:
        """What a finding costs at least, in millionths of the stake: the lesser of both parts (P7)."""
        return min(self.slash_ppm, self.withheld_ppm)

    @property
    def least_fee(self) -> int:
        """The least fee of a group: `min_fee`, which the constructor has made a number."""
        return self.group_size if self.min_fee is None else self.min_fee

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits over the canonical JSON of `to_dict` (protocol, "Bytes"): what draws are bound to."""
        return digest("policy", length_prefixed(canonical_json(self.to_dict()))).hex()

    @property
    def rounds(self) -> int:
        """How many answering rounds a group has: 1, or 2 where there are second answers."""
        return 1 if self.second_algorithm is None else 2

    @property
    def least_class_stake(self) -> int:
        """What the nodes of a class that its size admits have at stake together (P3)."""
        return 2 * self.group_size * self.min_stake if self.min_class_stake is None else self.min_class_stake

    def epoch_at(self, now: int, challenge: bytes | None = None) -> Epoch:
        """Return the epoch of a time, with the challenge that a beacon has for it."""
        if challenge is not None:
            check_type(challenge, bytes, "the challenge", "bytes, or None while it is not public")
        number = check_integer(now, "now") // self.epoch_seconds
        starts = number * self.epoch_seconds
        commit_deadline = starts + self.attest_commit_seconds
        reveal_deadline = commit_deadline + self.attest_reveal_seconds
        in_force = number if now >= reveal_deadline else number - 1
        return Epoch(number, starts, commit_deadline, reveal_deadline, in_force, challenge)

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters for JSON; money as decimal strings, and no second algorithm where there is none."""
        fields = {**asdict(self), "admitted_declarations": list(self.admitted_declarations)}
        if self.second_algorithm is None:
            del fields["second_algorithm"]
        fields["keyed_tolerances"] = [one.to_dict() for one in self.keyed_tolerances]
        if not self.keyed_tolerances:
            del fields["keyed_tolerances"]
        money = {name: str(fields[name]) for name in _POLICY_MONEY if fields[name] is not None}
        return {**fields, **money}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Policy":
        """Read what `to_dict` writes; a field that is missing or unknown is refused."""
        names = {field.name for field in fields(cls)}
        check_type(value, Mapping, "the policy", "the fields of Policy.to_dict")
        for name in sorted(names - _OPTIONAL):
            if name not in value:
                raise InvalidInputError(f"the policy has no {name}; expected every field of Policy.to_dict")
        for name in value:
            if name not in names:
                raise InvalidInputError(f"the policy has {shorten(name)}, which no policy has")
        given = [name for name in _POLICY_MONEY if name != "min_class_stake" or value[name] is not None]
        money = {name: parse_decimal(value[name], name) for name in given}
        listed = value.get("keyed_tolerances", [])
        check_type(listed, (list, tuple), "keyed_tolerances", "a list of them")
        tolerances = tuple(map(KeyedTolerance.from_dict, listed))
        return cls(**{**value, **money, "keyed_tolerances": tolerances})
