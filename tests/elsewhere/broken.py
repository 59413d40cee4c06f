"""Ledgers that are wrong in one way each, and the standard test that says so by its name.

They are what `LedgerConformance` is tested with: a kit that lets one of them pass is broken itself. This module needs
nothing of the other tests, and runs where only the wheel is.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import crynux_validate as cv
from crynux_validate.errors import (
    AlreadyDoneError,
    CommitmentMismatchError,
    NotAMemberError,
    TooEarlyError,
    TooLateError,
)
from crynux_validate.frozen import FrozenMapping
from crynux_validate.ledger.actions import Action, AttestCommit, Commit, Reveal, Settle, action_to_dict
from crynux_validate.ledger.rules import Change
from crynux_validate.ledger.store import Head


class Spoiled:
    """A store that lets its ledger change what is written, and what is found."""

    def __init__(self, store: cv.ledger.Store, ledger: "Broken") -> None:
        self._store, self._ledger = store, ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, change: Change, event: cv.ledger.Event) -> None:
        self._store.write(change, self._ledger.spoil(change, event))

    def group_count(self) -> int:
        return self._ledger.count_groups(self._store.group_count())


class Broken(cv.MemoryLedger):
    """A ledger in memory that a subclass breaks."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        """Change what an action writes."""
        return event

    def count_groups(self, count: int) -> int:
        """Say how many groups there have been."""
        return count

    @contextmanager
    def _writing(self) -> Iterator[cv.ledger.Store]:
        with super()._writing() as store:
            yield cast("cv.ledger.Store", Spoiled(store, self))

    def force(self, action: Action, **records: Any) -> None:
        """Write records that the rules refuse."""
        head = self._store.head
        payload = {"action": action_to_dict(action), "result": {}}
        now = max(self._clock(), head.time)
        self._store.write(Change(**records), cv.ledger.Event(head.seq + 1, now, action.kind, payload, head.digest))

    def force_commitment(self, group: str, node: str, commitment: bytes) -> cv.Group:
        found = self.group(group)
        bound = found.with_round(1, commitments=FrozenMapping({**found.commitments, node: commitment}))
        self.force(Commit(group, node, 1, commitment), groups={group: bound})
        return self.group(group)

    def force_opening(self, group: str, node: str, opening: cv.Opening) -> cv.Group:
        found = self.group(group)
        opened = found.with_round(1, openings=FrozenMapping({**found.openings, node: opening}))
        self.force(Reveal(group, node, 1, opening.to_bytes()), groups={group: opened})
        return self.group(group)


def settled_in(change: Change) -> cv.Group | None:
    """The group that a change settles."""
    return next((group for group in change.groups.values() if group.status is cv.ledger.Status.SETTLED), None)


def findings_in(change: Change, finding: cv.Finding) -> list[str]:
    """Who has a finding in the group that a change settles."""
    group = settled_in(change)
    if group is None or group.verdict is None:
        return []
    return [node for node, found in group.verdict.findings.items() if found is finding]


class CreatesMoney(Broken):
    """Pays one unit too much back to the creator of every group that is settled."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        group = settled_in(change)
        if group is not None:
            change.accounts[group.creator] = change.accounts.get(group.creator, self.account(group.creator)) + 1
        return event


class PaysTheInvalid(Broken):
    """Pays the invalid like the valid."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for node in findings_in(change, cv.Finding.INVALID):
            group, owner = settled_in(change), change.nodes[node].owner
            assert group is not None
            share = group.fee // len(group.members)
            change.accounts[owner] = change.accounts.get(owner, self.account(owner)) + share
            change.accounts[group.creator] -= share
        return event


class GivesTheRestToTheValid(Broken):
    """Pays what others are not paid to a valid member, not to the creator."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        valid, group = findings_in(change, cv.Finding.VALID), settled_in(change)
        if valid and group is not None:
            rest = sum(transfer.amount for transfer in group.transfers if transfer.why == "refund")
            change.accounts[change.nodes[valid[0]].owner] += rest
            change.accounts[group.creator] = change.accounts.get(group.creator, self.account(group.creator)) - rest
        return event


class SparesTheWithheld(Broken):
    """Slashes the invalid, but not who committed and kept silent."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for node in findings_in(change, cv.Finding.WITHHELD):
            change.burnt -= self.node(node).stake - change.nodes[node].stake
            change.nodes[node] = replace(change.nodes[node], stake=self.node(node).stake)
        return event


class SlashesTheAbsent(Broken):
    """Slashes who never committed."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for node in findings_in(change, cv.Finding.ABSENT):
            change.burnt += change.nodes[node].stake
            change.nodes[node] = replace(change.nodes[node], stake=0)
        return event


class NeverSuspends(Broken):
    """Counts absences, and does nothing about them."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for node, record in change.nodes.items():
            change.nodes[node] = replace(record, suspended=False)
        return event


class ReplacesCommitments(Broken):
    """Takes another commitment of a member that has committed."""

    def commit(self, group: str, node: str, commitment: bytes, **named: Any) -> cv.Group:
        try:
            return super().commit(group, node, commitment, **named)
        except AlreadyDoneError:
            return self.force_commitment(group, node, commitment)


class CommitsLate(Broken):
    """Takes commitments after the deadline."""

    def commit(self, group: str, node: str, commitment: bytes, **named: Any) -> cv.Group:
        try:
            return super().commit(group, node, commitment, **named)
        except TooLateError:
            return self.force_commitment(group, node, commitment)


class LetsStrangersCommit(Broken):
    """Takes commitments of nodes that were not drawn."""

    def commit(self, group: str, node: str, commitment: bytes, **named: Any) -> cv.Group:
        try:
            return super().commit(group, node, commitment, **named)
        except NotAMemberError:
            return self.force_commitment(group, node, commitment)


class TakesAnyOpening(Broken):
    """Does not ask whether an opening opens the commitment."""

    def reveal(self, group: str, node: str, opening: cv.Opening | bytes, **named: Any) -> cv.Group:
        try:
            return super().reveal(group, node, opening, **named)
        except CommitmentMismatchError:
            if node not in self.group(group).commitments:
                raise
            found = opening if isinstance(opening, cv.Opening) else cv.Opening.from_bytes(opening)
            return self.force_opening(group, node, found)


class RevealsEarly(Broken):
    """Takes openings while others can still commit."""

    def reveal(self, group: str, node: str, opening: cv.Opening | bytes, **named: Any) -> cv.Group:
        try:
            return super().reveal(group, node, opening, **named)
        except TooEarlyError:
            found = opening if isinstance(opening, cv.Opening) else cv.Opening.from_bytes(opening)
            return self.force_opening(group, node, found)


class DrawsTwoOfOneOwner(Broken):
    """Draws a second node of the first member's owner where there is one."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for group in list(change.groups.values()):
            if event.kind == "draw" and group.draw is not None:
                owner = {candidate.id: candidate.owner for candidate in group.pool}
                first, second, third = group.members
                twins = [node for node in owner if owner[node] == owner[first] and node != first]
                if twins:
                    members = (first, twins[0], third)
                    change.groups[group.id] = replace(group, draw=replace(group.draw, members=members))
                    change.nodes[second] = self.node(second)
                    change.nodes[twins[0]] = replace(self.node(twins[0]), group=group.id)
        return event


def with_all_nodes(change: Change, nodes: list[cv.machines.Node], leave_out: str | None) -> None:
    """Put all free nodes into the pool of a group that opens."""
    for group in list(change.groups.values()):
        free = [node for node in nodes if node.group is None and node.owner != leave_out]
        pool = cv.machines.Pool(cv.machines.Candidate(node.id, node.owner, node.stake) for node in free)
        change.groups[group.id] = replace(group, pool=pool)


class DrawsTheCreatorsNodes(Broken):
    """Puts the creator's own nodes into the pool."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        if event.kind == "open_group":
            with_all_nodes(change, list(self.nodes()), leave_out=None)
        return event


class PairsUnequalMachines(Broken):
    """Asks whether there is a class for a text task, and then takes any node."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        if event.kind == "open_group":
            with_all_nodes(change, list(self.nodes()), leave_out=event.payload["action"]["creator"])
        return event


class DrawsByItsOwnChoice(Broken):
    """Exchanges the member that was drawn last for one that it likes better."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for group in list(change.groups.values()):
            if event.kind == "draw" and group.draw is not None:
                liked = next(node for node in group.pool.ids if node not in group.members)
                members = (*group.members[:-1], liked)
                change.nodes[group.members[-1]] = self.node(group.members[-1])
                change.nodes[liked] = replace(self.node(liked), group=group.id)
                change.groups[group.id] = replace(group, draw=replace(group.draw, members=members))
        return event


class UsesGroupIdsAgain(Broken):
    """Numbers groups by how many are not settled."""

    def count_groups(self, count: int) -> int:
        return sum(group.status is not cv.ledger.Status.SETTLED for group in self._store._groups.values())


class KeepsTheFeeOfClosedGroups(Broken):
    """Burns the fee of a group that could not be drawn."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for group in change.groups.values():
            if group.status is cv.ledger.Status.CLOSED:
                change.accounts[group.creator] -= group.fee
                change.burnt += group.fee
        return event


class IgnoresTheFee(Broken):
    """Does not ask whether a member's stake covers its share of the fee."""

    def open_group(self, task: cv.tasks.Task, *, creator: str, fee: int, **named: Any) -> cv.Group:
        try:
            return super().open_group(task, creator=creator, fee=fee, **named)
        except cv.errors.NotEnoughNodes:
            least = self.policy.least_fee
            group = super().open_group(task, creator=creator, fee=least, **named)
            self._store._accounts[creator] -= fee - least
            self._store._groups[group.id] = replace(group, fee=fee)
            return self.group(group.id)


class HalfAppliesWhatItRefuses(Broken):
    """Charges the fee of a group before it finds that there are too few nodes."""

    def open_group(self, task: cv.tasks.Task, *, creator: str, fee: int, **named: Any) -> cv.Group:
        try:
            return super().open_group(task, creator=creator, fee=fee, **named)
        except cv.errors.NotEnoughNodes:
            self._store._accounts[creator] -= fee
            raise


class PaysAgainWhenSettledAgain(Broken):
    """Does every transfer once more when a group is settled once more."""

    def settle(self, group: str) -> cv.Group:
        before = self.group(group)
        settled = super().settle(group)
        if before.status is cv.ledger.Status.SETTLED:
            paid = [transfer for transfer in settled.transfers if transfer.why == "fee"]
            accounts = {str(transfer.target): self.account(str(transfer.target)) + transfer.amount for transfer in paid}
            self.force(Settle(group), accounts=accounts)
        return settled


class RunsBackwards(Broken):
    """Believes its clock, whatever it said before."""

    def _now(self, store: cv.ledger.Store) -> int:
        return self._clock()


class DoesNotChainItsLog(Broken):
    """Writes the first event's predecessor into every event."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        return replace(event, previous="0" * 64)


class LogsOnlyMoney(Broken):
    """Leaves out of its log what moves no money."""

    @contextmanager
    def _writing(self) -> Iterator[cv.ledger.Store]:
        with super()._writing() as store:
            yield store
        if self._store._events[-1].kind in ("commit", "reveal", "attest_commit", "attest_reveal"):
            self._store._events.pop()
            self._store.head = Head.of(self._store._events[-1])


class TakesLateAttestations(Broken):
    """Takes a commitment to an attestation when others already reveal."""

    def attest_commit(
        self, node: str, commitment: bytes, *, epoch: int, signature: bytes | None = None
    ) -> cv.machines.Node:
        try:
            return super().attest_commit(node, commitment, epoch=epoch, signature=signature)
        except TooLateError:
            present = self.epoch()
            if epoch != present.number:
                raise
            bound = replace(self.node(node), attest_commitment=(epoch, commitment))
            self.force(AttestCommit(node, epoch, present.challenge, commitment), nodes={node: bound})
            return self.node(node)


class TakesUnsignedCommitments(Broken):
    """Takes a commitment that is not signed by the node's key."""

    def commit(self, group: str, node: str, commitment: bytes, **named: Any) -> cv.Group:
        try:
            return super().commit(group, node, commitment, **named)
        except cv.errors.SignatureError:
            return self.force_commitment(group, node, commitment)


class BeginsTheSecondRoundEarly(Broken):
    """Takes commitments of the second round while the first goes on."""

    def commit(self, group: str, node: str, commitment: bytes, **named: Any) -> cv.Group:
        try:
            return super().commit(group, node, commitment, **named)
        except TooEarlyError:
            bound = self.group(group).with_round(2, commitments=FrozenMapping({node: commitment}))
            self.force(Commit(group, node, 2, commitment), groups={group: bound})
            return bound


class EvidenceWithoutAnOpening(Broken):
    """Leaves an opening out of its evidence."""

    def evidence(self, group: str, node: str) -> cv.ledger.Evidence:
        found = super().evidence(group, node)
        some = dict(list(found.group.openings.items())[1:])
        return replace(found, group=found.group.with_round(1, openings=FrozenMapping(some)))


class KeepsHalfABatch(Broken):
    """Does the actions of a batch one by one."""

    @contextmanager
    def batch(self) -> Iterator[None]:
        yield


class IsNotThreadSafe(Broken):
    """Has no lock."""

    @contextmanager
    def _reading(self) -> Iterator[cv.ledger.Store]:
        yield self._store

    @contextmanager
    def _writing(self) -> Iterator[cv.ledger.Store]:
        yield self._store


class ForgetsTheLastAction(Broken):
    """Writes an event to its file when the next one comes."""

    file: Path | None = None

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        if self.file is not None:
            DISK[self.file] = list(self._store._events)
        return event


class AppendsAfterHalfALine(Broken):
    """Writes the next event after what a full disk left of the one before."""

    file: Path | None = None

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        if self.file is not None:
            try:
                with self.file.open("ab") as file:
                    file.write(event.canonical_bytes + b"\n")
            except OSError as error:
                raise cv.errors.StorageError(str(error)) from error
        return event


def half_lines(
    policy: cv.Policy, ledger_id: str, clock: cv.ledger.Clock, beacon: cv.ledger.Beacon, folder: Path
) -> cv.Ledger:
    """Make or open an `AppendsAfterHalfALine`, which leaves out what it cannot read."""
    file, events = folder / "log", []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        with suppress(ValueError):
            events.append(cv.ledger.Event(**json.loads(line)))
    if events:
        ledger = AppendsAfterHalfALine.replay(events, clock=clock, beacon=beacon)
    else:
        ledger = AppendsAfterHalfALine(policy, ledger_id=ledger_id, clock=clock, beacon=beacon)
        file.write_bytes(ledger.events()[0].canonical_bytes + b"\n")
    ledger.file = file
    return ledger


DISK: Final[dict[Path, list[cv.ledger.Event]]] = {}
"""What `ForgetsTheLastAction` has in its files."""


def forgetful(
    policy: cv.Policy, ledger_id: str, clock: cv.ledger.Clock, beacon: cv.ledger.Beacon, folder: Path
) -> cv.Ledger:
    """Make or open a `ForgetsTheLastAction`."""
    written = DISK.get(folder)
    if written:
        ledger = ForgetsTheLastAction.replay(written, clock=clock, beacon=beacon)
    else:
        ledger = ForgetsTheLastAction(policy, ledger_id=ledger_id, clock=clock, beacon=beacon)
    ledger.file = folder
    return ledger


CAUGHT_BY: Final[Mapping[type[Broken], str]] = {
    CreatesMoney: "test_l2_settling_creates_no_money",
    PaysTheInvalid: "test_l3_the_invalid_are_not_paid",
    GivesTheRestToTheValid: "test_l3_each_valid_member_is_paid_its_share_and_the_rest_goes_back",
    SparesTheWithheld: "test_c3_withholding_costs_stake",
    SlashesTheAbsent: "test_c3_absence_earns_and_costs_nothing",
    NeverSuspends: "test_c3_absence_costs_nothing_but_the_third_in_a_row_suspends",
    ReplacesCommitments: "test_c2_a_commitment_is_never_replaced",
    CommitsLate: "test_c2_no_commitment_at_or_after_the_deadline",
    LetsStrangersCommit: "test_c2_only_members_commit",
    TakesAnyOpening: "test_c2_a_reveal_opens_the_members_own_commitment",
    RevealsEarly: "test_c2_no_reveal_before_all_have_committed_or_the_deadline",
    DrawsTwoOfOneOwner: "test_p5_never_two_nodes_of_one_owner",
    DrawsTheCreatorsNodes: "test_p5_never_a_node_of_the_creator",
    PairsUnequalMachines: "test_p2_honest_drift_and_false_declarers_are_never_paired[driver]",
    DrawsByItsOwnChoice: "test_p4_the_draw_is_the_one_that_anyone_can_repeat",
    UsesGroupIdsAgain: "test_p4_a_group_id_is_never_used_again",
    KeepsTheFeeOfClosedGroups: "test_p4b_a_group_without_a_value_is_refunded_at_its_draw_deadline",
    IgnoresTheFee: "test_p7_a_members_stake_covers_its_share_of_the_fee",
    HalfAppliesWhatItRefuses: "test_l1_a_refused_action_changes_nothing",
    PaysAgainWhenSettledAgain: "test_l6_settling_again_changes_nothing",
    RunsBackwards: "test_l6_time_never_runs_backwards",
    DoesNotChainItsLog: "test_l5_each_event_carries_the_digest_of_the_one_before_it",
    LogsOnlyMoney: "test_l5_every_action_is_an_event",
    TakesLateAttestations: "test_p6_commitments_are_taken_in_the_first_window_only",
    TakesUnsignedCommitments: "test_l8_nobody_else_commits_for_a_node_with_a_key",
    BeginsTheSecondRoundEarly: "test_c5_the_second_round_follows_the_first",
    EvidenceWithoutAnOpening: "test_l8_evidence_of_every_finding_can_be_checked",
    KeepsHalfABatch: "test_l1_an_exception_that_leaves_a_batch_undoes_all_of_it",
    IsNotThreadSafe: "test_l1_threads_act_one_after_the_other",
    ForgetsTheLastAction: "test_l7_a_restart_after_any_action_forgets_nothing",
    AppendsAfterHalfALine: "test_l7_a_full_disk_takes_back_nothing_that_was_acknowledged",
}
"""Each broken ledger, and the standard test whose name says what is wrong with it."""

MAKERS: Final[Mapping[type[Broken], Callable[..., cv.Ledger]]] = {
    ForgetsTheLastAction: forgetful,
    AppendsAfterHalfALine: half_lines,
}
"""How to make those that cannot be made like any other ledger in memory."""
