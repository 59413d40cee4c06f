"""Evidence, with which anybody can check a finding (protocol L8).

The draw, the openings, the signatures and the verdict are computed again. What cannot be computed again, and rests on
the word of the ledger's operator, is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from crynux_validate.encoding import canonical_json, check_id, check_type, parse_json, printable, shorten, summary
from crynux_validate.errors import BrokenEvidenceError, InvalidInputError
from crynux_validate.judging import Finding, Verdict
from crynux_validate.ledger.group import Group, Status
from crynux_validate.ledger.group_json import group_from_dict, group_to_dict, reading
from crynux_validate.ledger.policy import MAX_MONEY
from crynux_validate.ledger.settlement import Settlement, settle_group
from crynux_validate.machines.pairing import is_large_enough, verify_draw
from crynux_validate.shown import Shown
from crynux_validate.signatures import KEY_BYTES, is_signed, signed_bytes
from crynux_validate.tasks import TextTask

SCHEMA: Final = "crynux-validate/evidence/2"
MAX_EVIDENCE_BYTES: Final = 64 * 2**20
"""The size of the largest file that is read, in bytes: a pool of some 500,000 nodes fits."""


@dataclass(frozen=True)
class Evidence:
    """The finding about one member of a settled group, with everything that is needed to check it.

    Parameters
    ----------
    ledger
        The ledger's id.
    node
        The id of the member.
    group
        The settled group: task, policy, pool, draw, commitments with signatures, openings, verdict.

    Raises
    ------
    InvalidInputError
        If the group is not settled, or the node is not a member.
    """

    ledger: str
    node: str
    group: Group = field(repr=False)

    def __post_init__(self) -> None:
        check_id(self.ledger, "the ledger id")
        check_type(self.group, Group, "the group", "a Group (Ledger.group)")
        if self.group.status is not Status.SETTLED or self.group.verdict is None:
            raise InvalidInputError(f"group {self.group.id} is {self.group.status}; expected a settled group")
        if self.node not in self.group.members:
            members = ", ".join(self.group.members)
            raise InvalidInputError(f"node {shorten(self.node)} is not a member of {self.group.id} ({members})")

    def __repr__(self) -> str:
        return summary(self, f"of {self.node} in {self.group.id} of {self.ledger}", self.finding)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the group."""
        return self.group.verdict  # type: ignore[return-value]  # the constructor has checked it

    @property
    def finding(self) -> Finding:
        """The finding about the node."""
        return self.verdict.findings[self.node]

    def to_json(self) -> str:
        """Return the evidence as canonical JSON (RFC 8785)."""
        value = {"schema": SCHEMA, "ledger": self.ledger, "node": self.node, "group": group_to_dict(self.group)}
        return canonical_json(value).decode("utf-8")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read exactly what `to_json` writes. This does not check the finding: see `verify_evidence`.

        Raises
        ------
        InvalidInputError
            For any other text; the message names the wrong part.
        """
        value = parse_json(text, "the evidence", MAX_EVIDENCE_BYTES)
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            found = value.get("schema") if isinstance(value, dict) else value
            raise InvalidInputError(f"the evidence has the schema {shorten(found)}; expected {SCHEMA!r}")
        if set(value) != {"schema", "ledger", "node", "group"}:
            raise InvalidInputError(
                f"the evidence has the fields {shorten(sorted(value))}; expected schema, ledger, node, group"
            )
        with reading("the evidence"):
            found = cls(value["ledger"], value["node"], group_from_dict(value["ledger"], value["group"]))
            written = found.to_json().encode()
        if written != (text if isinstance(text, bytes) else text.encode()):
            raise InvalidInputError(
                "the evidence is not exactly what `Evidence.to_json` writes (another order, space or field): "
                "take the original file"
            )
        return found


@dataclass(frozen=True)
class CheckedEvidence(Shown):
    """The result of `verify_evidence`.

    Parameters
    ----------
    evidence
        The evidence that was checked.
    shown
        Sentences on what the evidence itself proves.
    rests_on
        Sentences on what the evidence does not prove, so that somebody must be believed.
    """

    evidence: Evidence
    shown: tuple[str, ...]
    rests_on: tuple[str, ...]

    @property
    def finding(self) -> Finding:
        """The finding about the node."""
        return self.evidence.finding

    def __repr__(self) -> str:
        return summary(
            self, f"{self.evidence.node} is {self.finding} in {self.evidence.group.id} of {self.evidence.ledger}"
        )

    def __str__(self) -> str:
        said = (
            f"node {self.evidence.node} is {self.finding} in {self.evidence.group.id} of ledger {self.evidence.ledger}"
        )
        lines = [said, "shown by the evidence itself:"]
        lines += [*(f"  - {line}" for line in self.shown)]
        return "\n".join([*lines, "not shown by the evidence:", *(f"  - {line}" for line in self.rests_on)])


def verify_evidence(evidence: Evidence, keys: Mapping[str, bytes] | None = None) -> CheckedEvidence:
    """Check a finding, and say how far that depends on the word of the ledger's operator (protocol L8).

    Parameters
    ----------
    evidence
        From `Ledger.evidence` or `Evidence.from_json`.
    keys
        Public keys of nodes, by node id, from a source that you trust. A signature with another key is refused. A
        commitment that is signed with such a key does not depend on the operator's word.

    Returns
    -------
    CheckedEvidence
        What the evidence proves, and what it does not.

    Raises
    ------
    InvalidInputError
        For another type, and keys that are not a mapping of node ids to 32 bytes each.
    BrokenEvidenceError
        If the draw, an opening, a signature or the verdict is wrong; the message names it.
    MissingExtraError
        If there are signatures and the `cryptography` library is not installed.
    """
    check_type(evidence, Evidence, "the evidence", "an Evidence, as Evidence.from_json reads it")
    keys = {} if keys is None else keys
    check_type(keys, Mapping, "keys", "a mapping of node ids to public keys")
    for node, key in keys.items():
        check_id(node, "a node id in keys")
        if not isinstance(key, bytes) or len(key) != KEY_BYTES:
            raise InvalidInputError(f"the key of {node} is {shorten(key)}; expected {KEY_BYTES} bytes")
    return _Check(evidence, keys).result()


@dataclass(frozen=True)
class _Member:
    """A member's stake as far as the evidence shows it: at most this."""

    owner: str
    stake: int = MAX_MONEY


class _Check:
    """One check of one piece of evidence; the order is that of the protocol."""

    def __init__(self, evidence: Evidence, keys: Mapping[str, bytes]) -> None:
        self.evidence, self.keys = evidence, keys
        self.ledger, self.node, self.group = evidence.ledger, evidence.node, evidence.group
        self.shown: list[str] = []
        self.rests_on: list[str] = []

    def result(self) -> CheckedEvidence:
        self._opened()
        self._draw()
        self._openings()
        self._signatures()
        pool = self.group.pool
        members = {node: _Member(pool.owners[pool.places[node]]) for node in self.group.members}
        again = settle_group(self.group, members)
        self._verdict(again)
        self._money(again)
        self._beliefs()
        return CheckedEvidence(self.evidence, tuple(map(printable, self.shown)), tuple(map(printable, self.rests_on)))

    def _opened(self) -> None:
        group, least = self.group, self.group.policy.least_fee
        if group.fee < least:
            raise BrokenEvidenceError(f"the fee of {group.id} is {group.fee}; its policy needs at least {least} (L3)")
        if group.creator in group.pool.owners:
            raise BrokenEvidenceError(f"the pool of {group.id} has a node of its creator {group.creator} (P5)")
        try:
            group.policy.keyed_limits(group.task)
        except InvalidInputError as error:
            raise BrokenEvidenceError(f"the policy of {group.id} refuses its task (C5): {error}") from error
        if isinstance(group.task, TextTask) != (group.gpu_class is not None):
            raise BrokenEvidenceError(f"{group.id} must have a class if, and only if, its task is of text (P2)")

    def _draw(self) -> None:
        group, draw = self.group, self.group.draw
        if draw is None or draw.policy != group.policy.digest or not verify_draw(draw, task=group.task):
            raise BrokenEvidenceError(f"the beacon value of {group.id} draws other members than it has (P4)")
        drawn_for = draw.ledger, draw.group, draw.fee, draw.beacon_round
        same_pool = draw.pool is group.pool or tuple(draw.pool) == tuple(group.pool)
        if drawn_for != (self.ledger, group.id, group.fee, group.beacon_round) or not same_pool:
            raise BrokenEvidenceError(
                f"the draw is of {draw.group} of ledger {draw.ledger}, or for another fee, round "
                f"or pool than {group.id} of {self.ledger} has (P4)"
            )
        weight, policy = group.pool.total_weight, group.policy
        if group.base < weight or not is_large_enough(
            weight - draw.unavailable_weight, group.base, policy.min_pool_ppm
        ):
            raise BrokenEvidenceError(f"{group.id} was drawn from a part of its base that is too small (P4d)")
        if len(group.members) != group.policy.group_size or len(group.rounds) != group.policy.rounds:
            raise BrokenEvidenceError(f"{group.id} has other numbers of members or rounds than its policy")
        self.shown.append(f"the beacon value draws {', '.join(group.members)} from a pool of {len(group.pool)}")
        self.rests_on.append(
            "the ledger's word that these candidates were all that could be drawn, with "
            f"{weight / group.base:.1%} of the weight of all that could serve"
        )
        if draw.unavailable_weight:
            hit = "".join(f"; among them {node}, taken by {taken_by}" for node, taken_by in draw.unavailable.items())
            self.rests_on.append(
                f"the ledger's word that candidates with {draw.unavailable_weight / weight:.1%} of the pool's weight "
                f"had been taken by groups that were drawn before{hit}"
            )

    def _bound_to(self, number: int) -> str:
        return self.group.bound_to(number, self.group.rounds[-1].reveal_deadline)  # it is settled: any time will do

    def _openings(self) -> None:
        opened = 0
        for number, one in enumerate(self.group.rounds, 1):
            strangers = (set(one.commitments) | set(one.openings) | set(one.signatures)) - set(self.group.members)
            if strangers:
                raise BrokenEvidenceError(f"{sorted(strangers)[0]} answered in {self.group.id}, but is not a member")
            for node, opening in one.openings.items():
                bound = opening.commitment(self._bound_to(number), node=node, round=number)
                if one.commitments.get(node) != bound:
                    raise BrokenEvidenceError(
                        f"the opening of {node} in round {number} does not fit its commitment (C1)"
                    )
                opened += 1
        self.shown.append(f"{opened} openings fit the commitments of their members")

    def _signatures(self) -> None:
        unsigned, unknown = [], []
        for number, one in enumerate(self.group.rounds, 1):
            for node in filter(one.commitments.__contains__, self.group.members):
                commitment, signature = one.commitments[node], one.signatures.get(node)
                if signature is None:
                    if node in self.keys:
                        raise BrokenEvidenceError(
                            f"the commitment of {node} is not signed, although its key is known (L8)"
                        )
                    unsigned.append(node)
                    continue
                signed = signed_bytes(commitment, self._bound_to(number), node=node, round=number)
                if not is_signed(signature.value, signature.public_key, signed):
                    raise BrokenEvidenceError(
                        f"the signature of {node} in round {number} is not valid for its commitment (L8)"
                    )
                known = self.keys.get(node)
                if known is not None and known != signature.public_key:
                    raise BrokenEvidenceError(
                        f"{node} signed with the key {signature.public_key.hex()}; the known one is {known.hex()}"
                    )
                if known is None:
                    unknown.append(f"{node} ({signature.public_key.hex()})")
                else:
                    self.shown.append(f"{node} signed its commitments with the key that you know")
        if unsigned:
            self.rests_on.append(
                f"the ledger's word that {_listed(unsigned)} made these commitments, which are not signed"
            )
        if unknown:
            self.rests_on.append(
                f"that each of these keys, which signed the commitments, belongs to its node: {_listed(unknown)}"
            )

    def _verdict(self, settled: Settlement) -> None:
        group, said, again = self.group, self.evidence.verdict, settled.verdict
        rule = group.policy.rule_for(group.task)
        if again != said:
            found = again.findings[self.node]
            raise BrokenEvidenceError(
                f"judging the answers again gives {again.outcome} with {self.node} {found}, not {said.outcome} with "
                f"{said.findings.get(self.node)} as the ledger says"
            )
        deliverer = settled.delivered_by
        if deliverer != group.delivered_by:
            raise BrokenEvidenceError(
                f"{group.id} says that {group.delivered_by} delivers the result; by rule J6 it is {deliverer}"
            )
        named = f"threshold {rule.threshold}, slashed from {rule.slash_threshold}"
        if rule.safety_checker:
            named += ", the task has a safety checker: no slash for a blank picture"
        distance = again.distances.get(self.node)
        apart = "" if distance is None else f", at distance {distance} from the delivered score"
        self.shown.append(f"judging the answers again ({named}) finds {self.node} {self.evidence.finding}{apart}")

    def _money(self, settled: Settlement) -> None:
        """Check that all payments follow from the verdict, and that slashes are within their bound (L3, L4)."""
        most = {moved.source: moved for moved in settled.transfers if moved.why == "slash"}
        paid = [moved for moved in settled.transfers if moved.why != "slash"]
        if paid != [moved for moved in self.group.transfers if moved.why != "slash"]:
            raise BrokenEvidenceError(f"the payments of {self.group.id} do not follow from its verdict (L3)")
        for moved in self.group.transfers:
            if moved.why != "slash":
                continue
            bound = most.pop(moved.source, None)
            if bound is None or moved.target != bound.target or not 1 <= moved.amount <= bound.amount:
                found = settled.verdict.findings.get(moved.source, "no member")
                raise BrokenEvidenceError(
                    f"{moved.amount} was taken from the stake of {moved.source}, which is {found} in "
                    f"{self.group.id}: more than its policy allows, or for another account (L4)"
                )
            if moved.source == self.node:
                self.rests_on.append(f"the ledger's word that {moved.amount} was taken from the stake of {self.node}")

    def _beliefs(self) -> None:
        for number, one in enumerate(self.group.rounds, 1):
            for node in self.group.asked(number):
                if node not in one.openings:
                    what = "opening" if node in one.commitments else "commitment"
                    self.rests_on.append(f"the ledger's word that no {what} of {node} came in time in round {number}")
        self.rests_on.append(
            "the ledger's word that this group had this task, policy, pool and times, unless you hold its log; and for "
            "the beacon's value where you cannot look it up: "
            f"round {self.group.beacon_round}, {_hex(self.group)}"
        )


def _hex(group: Group) -> str:
    return "-" if group.draw is None else group.draw.beacon.hex()


def _listed(nodes: list[str]) -> str:
    return ", ".join(dict.fromkeys(nodes))
