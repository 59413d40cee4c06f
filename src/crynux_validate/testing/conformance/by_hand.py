"""The protocol's bytes and sums, worked out from its text and not by the code under test: two bugs cannot cancel.

Nothing here calls what a ledger calls for the same purpose: digests are hashlib's, canonical JSON is the json module's,
the draw is a loop over integers, money is added up from the log.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from crynux_validate.frozen import thaw
from crynux_validate.ledger.interface import Event, Group, Policy
from crynux_validate.machines.roster import Draw

PPM: Final = 1_000_000
_INVALID_TASK: Final = ("schema", "limits", "unsupported")


def _part(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(4, "big") + data


def _canonical(value: object) -> bytes:
    """Canonical JSON of what has ASCII keys, and no fractions."""
    return json.dumps(shortest(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def draw_digest(group: Group) -> bytes:
    """Return what all commitments in a drawn group are bound to: task, policy, fee, beacon value and members (C1)."""
    assert group.draw is not None
    task = hashlib.sha256(_part("crynux-validate/task/1") + _part(_canonical(group.task.to_dict()))).digest()
    policy = hashlib.sha256(_part("crynux-validate/policy/1") + _part(_canonical(group.policy.to_dict()))).digest()
    parts = _part(group.draw.ledger) + _part(group.id) + task + policy + _part(str(group.fee))
    parts += group.beacon_round.to_bytes(8, "big") + _part(group.draw.beacon) + bytes([len(group.draw.members)])
    parts += b"".join(map(_part, group.draw.members))
    return hashlib.sha256(_part("crynux-validate/drawn/1") + parts).digest()


def commitment(drawn: bytes, node: str, answer: bytes, nonce: bytes, number: int = 1) -> bytes:
    """Return the commitment to an answer in round `number` of what was drawn: `draw_digest` (C1)."""
    parts = drawn + bytes([number]) + _part(node) + _part(answer) + nonce
    return hashlib.sha256(_part("crynux-validate/commitment/2") + parts).digest()


def attestation_commitment(ledger: str, epoch: int, node: str, digests: Iterable[bytes], nonce: bytes) -> bytes:
    """Return the commitment to an attestation: kernel, numerics and canary are 32 bytes each (P6)."""
    parts = _part(ledger) + epoch.to_bytes(8, "big") + _part(node) + b"".join(digests) + nonce
    return hashlib.sha256(_part("crynux-validate/attestation/1") + parts).digest()


def event_digest(event: Event) -> str:
    """Return what the next event has as `previous` (L5): canonical JSON of what the log holds, all of whose keys are
    ASCII."""
    fields = {"seq": event.seq, "time": event.time, "kind": event.kind, "previous": event.previous}
    value = shortest({**fields, "payload": thaw(event.payload)})
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(_part("crynux-validate/event/1") + _part(text)).hexdigest()


def shortest(value: Any) -> Any:
    """Write a float without a fraction as an integer, as RFC 8785 does."""
    if isinstance(value, dict):
        return {name: shortest(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shortest(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def members_drawn(claim: Draw) -> tuple[tuple[str, ...], set[str]]:
    """Repeat a draw as the protocol's "Bytes" say: the members, and who was hit and is unavailable (P4c, P5)."""
    seed = _part("crynux-validate/draw/2") + _part(claim.ledger) + _part(claim.group) + _part(claim.beacon)
    seed = hashlib.sha256(seed).digest()
    candidates = sorted((c.id, c.owner, int(c.weight)) for c in claim.pool)
    total = sum(weight for _, _, weight in candidates)
    members: dict[str, str] = {}
    hit = set()
    for number in range(1_024):
        word = hashlib.sha256(seed + number.to_bytes(4, "big")).digest()
        left = int.from_bytes(word, "big") % total
        at = 0
        while left >= candidates[at][2]:
            left -= candidates[at][2]
            at += 1
        node, owner, _ = candidates[at]
        if node in claim.unavailable:
            hit.add(node)
        elif owner not in members:
            members[owner] = node
        if len(members) == len(claim.members):
            break
    return tuple(members.values()), hit


def unavailable(events: Iterable[Event], group: Group) -> dict[str, str]:
    """Return the candidates that groups drawn after a group's opening and before its draw have taken (P4c)."""
    taken: dict[str, str] = {}
    opened = False
    for event in events:
        action, result = event.payload["action"], event.payload["result"]
        if event.kind == "open_group" and result["group"] == group.id:
            opened = True
        elif event.kind == "draw" and action["group"] == group.id:
            break
        elif event.kind == "draw" and opened:
            taken |= dict.fromkeys(result.get("members", ()), action["group"])
    candidates = {candidate.id for candidate in group.pool}
    return {node: by for node, by in taken.items() if node in candidates}


@dataclass
class Books:
    """Where all money has to be, added up from a log (L2-L4).

    What a settlement moves is worked out again from its findings; what the log says of it is not believed.
    """

    policy: Policy
    accounts: Counter[str] = field(default_factory=Counter)
    stakes: Counter[str] = field(default_factory=Counter)
    escrows: Counter[str] = field(default_factory=Counter)
    burnt: int = 0
    deposited: int = 0
    withdrawn: int = 0
    _owners: dict[str, str] = field(default_factory=dict)
    _creators: dict[str, str] = field(default_factory=dict)
    _members: dict[str, list[str]] = field(default_factory=dict)
    _codes: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event], policy: Policy) -> "Books":
        """Add up a whole log."""
        books = cls(policy)
        for event in events:
            books.enter(event)
        return books

    def enter(self, event: Event) -> None:
        """Add one event."""
        action, result = event.payload["action"], event.payload["result"]
        match event.kind:
            case "deposit":
                self.accounts[action["account"]] += int(action["amount"])
                self.deposited += int(action["amount"])
            case "withdraw":
                self.accounts[action["account"]] -= int(action["amount"])
                self.withdrawn += int(action["amount"])
            case "join":
                self._owners[action["node"]] = action["owner"]
                self._stake(action["node"], int(action["stake"]))
            case "top_up":
                self._stake(action["node"], int(action["amount"]))
            case "leave" if "returned" in result:
                self._stake(action["node"], -self.stakes[action["node"]])
            case "open_group":
                self._creators[result["group"]] = action["creator"]
                self.accounts[action["creator"]] -= int(action["fee"])
                self.escrows[result["group"]] += int(action["fee"])
            case "draw" if "members" in result:
                self._members[action["group"]] = list(result["members"])
            case "draw":
                self._refund(action["group"])
            case "reveal":
                self._codes[action["group"], action["node"]] = _report_code(bytes.fromhex(action["opening"]))
            case "settle":
                self._settle(action["group"], result["outcome"], result["findings"])

    def _stake(self, node: str, amount: int) -> None:
        self.accounts[self._owners[node]] -= amount
        self.stakes[node] += amount

    def _refund(self, group: str) -> None:
        self.accounts[self._creators[group]] += self.escrows[group]
        self.escrows[group] = 0

    def _settle(self, group: str, outcome: str, findings: dict[str, str]) -> None:
        members, fee = self._members[group], self.escrows[group]
        if outcome in ("NO_QUORUM", "TASK_FAULT"):
            lost = -(-fee * self.policy.no_quorum_ppm // PPM)
            self.escrows[group] -= lost
            self.burnt += lost
        bound = self.policy.slash_per_fee
        codes = Counter(self._codes.get((group, node), "") for node in members)
        for node in members:
            finding, code = findings[node], self._codes.get((group, node), "")
            share = 0
            if finding == "VALID":
                share = fee // len(members)
            elif outcome == "TASK_FAULT" and code in _INVALID_TASK and 2 * codes[code] > len(members):
                share = fee * self.policy.fault_fee_ppm // (PPM * len(members))
            self.accounts[self._owners[node]] += share
            self.escrows[group] -= share
            part = {"INVALID": self.policy.slash_ppm, "WITHHELD": self.policy.withheld_ppm}.get(finding, 0)
            slash = self.stakes[node] * part // PPM
            if bound is not None:
                slash = min(slash, bound * (fee // len(members)))
            self.stakes[node] -= slash
            if self.policy.slash_account is None:
                self.burnt += slash
            else:
                self.accounts[self.policy.slash_account] += slash
        self._refund(group)


def _report_code(opening: bytes) -> str:
    """The id of an error report in an opening; empty for anything else."""
    answer = opening[4 : 4 + int.from_bytes(opening[:4], "big")]
    if answer[:1] != b"\x03":
        return ""
    return answer[5 : 5 + int.from_bytes(answer[1:5], "big")].decode("utf-8", "replace")


def check_signature(signature: bytes, key: bytes, drawn: bytes, node: str, commitment: bytes, number: int = 1) -> None:
    """Raise where a signature is not Ed25519 of the digest that the protocol names (L8)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    parts = drawn + bytes([number]) + _part(node) + commitment
    digest = hashlib.sha256(_part("crynux-validate/signature/2") + parts).digest()
    Ed25519PublicKey.from_public_bytes(key).verify(signature, digest)


def second_seed(drawn: bytes, nonces: Mapping[str, bytes]) -> bytes:
    """Return the seed of the second round, from the nonces that were revealed in the first (C5)."""
    parts = drawn + b"".join(nonces[node] for node in sorted(nonces))
    return hashlib.sha256(_part("crynux-validate/keyed-seed/2") + parts).digest()


def second_answer(seed: bytes, tokens: Sequence[Sequence[int]]) -> bytes:
    """Return the bytes of a second answer, ``digest/1`` of new token ids (C5)."""
    body = len(tokens).to_bytes(4, "big")
    for ids in tokens:
        body += len(ids).to_bytes(4, "big") + b"".join(token.to_bytes(4, "little") for token in ids)
    score = hashlib.sha256(_part("crynux-validate/keyed-score/1") + seed + _part(body)).digest()
    return b"\x04" + _part("digest/1") + _part(score)


def keyed_answer(values: bytes) -> bytes:
    """Return the bytes of a second answer, ``keyed/1`` with these values (C5)."""
    return b"\x04" + _part("keyed/1") + _part(values)
