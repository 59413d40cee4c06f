# ruff: noqa: ARG005 - what stands in for a function takes what the function takes
"""Ledgers that run one rule of the second version wrongly: draws, leaving, prices, what is bound, and what is written.

Most replace one function of the rules while they act. Like `broken.py`, this module runs where only the wheel is.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Final
from unittest.mock import patch

import crynux_validate as cv
from crynux_validate.encoding import canonical_json, digest, length_prefixed
from crynux_validate.errors import NodeStateError, SignatureError
from crynux_validate.frozen import FrozenMapping
from crynux_validate.judging import CentreRule
from crynux_validate.ledger import pools, settlement
from crynux_validate.ledger.actions import AttestCommit, DrawGroup, Leave
from crynux_validate.ledger.group import Group
from crynux_validate.ledger.policy import PPM
from crynux_validate.ledger.rules import Change, groups, nodes
from crynux_validate.ledger.rules.state import joined_node
from crynux_validate.machines import pairing, roster

try:
    from tests.elsewhere.broken import Broken, Spoiled, settled_in
except ModuleNotFoundError:  # where only the wheel is
    from broken import Broken, Spoiled, settled_in  # type: ignore[import-not-found,no-redef]


class Patched(Broken):
    """Acts with some names of the library replaced, and reads as it should."""

    patches: ClassVar[tuple[tuple[Any, str, Any], ...]] = ()

    @contextmanager
    def _writing(self) -> Iterator[cv.ledger.Store]:
        with ExitStack() as stack, super()._writing() as store:
            for owner, name, instead in self.patches:
                stack.enter_context(patch.object(owner, name, instead))
            pairing._last_supply = None  # it was made by the other rules
            try:
                yield store
            finally:
                pairing._last_supply = None


class Seen(Spoiled):
    """A store of which one answer is another."""

    def __init__(self, store: cv.ledger.Store, ledger: Broken, **answers: Any) -> None:
        super().__init__(store, ledger)
        self._answers = answers

    def __getattribute__(self, name: str) -> Any:
        answers = object.__getattribute__(self, "__dict__").get("_answers", {})
        return answers[name] if name in answers else super().__getattribute__(name)


class TakesWhoIsInAGroupNow(Broken):
    """Leaves out of a draw who is in a group now, in place of who was drawn since the opening."""

    @contextmanager
    def _writing(self) -> Iterator[cv.ledger.Store]:
        with super()._writing() as store:
            busy = {node.id: node.group for node in store.joined_nodes() if node.group}
            yield Seen(self._store, self, drawn_since=lambda number: busy)


class DrawsOutOfOrder(Broken):
    """Draws the group that it is asked for, and leaves those before it where they are."""

    def draw(self, group: str) -> cv.Group:
        number = int(group.removeprefix("group-"))
        with self._lock, self._store.transaction():
            found = self.group(group)
            value = self._beacon.value(found.beacon_round, self._clock())
            seen = Seen(self._store, self, handled_count=lambda: number - 1)
            self._record(seen, DrawGroup(group, value), self._now(self._store))
        return self.group(group)


class AsksTheShareAtTheOpeningOnly(Patched):
    """Draws from whatever is left of a pool."""

    patches = ((groups, "is_large_enough", lambda *_: True),)


class AsksForNoShare(Patched):
    """Opens groups from whatever part of the weight is free."""

    patches = ((pools, "is_large_enough", lambda *_: True),)


class CountsOnlyTheFreeInTheBase(Broken):
    """Records what is free as what could serve."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for name, group in list(change.groups.items()):
            if event.kind == "open_group":
                change.groups[name] = replace(group, base=group.pool.total_weight)
        return event


class LetsLeaversIntoNewPools(Patched):
    """Puts whoever is leaving into the pools of new groups."""

    patches = ((pairing, "can_serve", lambda node, least: node.joined and not node.suspended and node.stake >= least),)


class DrawsTheSuspended(Patched):
    """Puts suspended nodes into pools."""

    patches = (
        (pairing, "can_serve", lambda node, least: node.joined and node.leaving is None and node.stake >= least),
    )


class GivesStakesBackEarly(Broken):
    """Gives a stake back while a group waits that was opened before."""

    def leave(self, node: str) -> cv.machines.Node:
        with self._lock, self._store.transaction():
            seen = Seen(self._store, self, handled_count=self._store.group_count)
            self._record(seen, Leave(node), self._now(self._store))
        return self.node(node)


class LetsNobodyLeaveAGroup(Broken):
    """Refuses to leave to whoever is in a group, as version 1 did."""

    def leave(self, node: str) -> cv.machines.Node:
        if self.node(node).group is not None:
            raise NodeStateError(f"node {node} is in a group")
        return super().leave(node)


class WritesAnEventForEachLeave(Broken):
    """Writes an event for a call of leave that changes nothing."""

    def leave(self, node: str) -> cv.machines.Node:
        before = len(self._store._events)
        left = super().leave(node)
        if len(self._store._events) == before:
            self.force(Leave(node))
        return left


class LetsLeaversTopUp(Patched):
    """Takes a top-up of whoever is leaving."""

    patches = ((nodes, "_staying_node", lambda state, name, what: joined_node(state, name)),)


class ChangesOpenPools(Broken):
    """Lets a top-up change the weight in pools that are open."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        if event.kind == "top_up":
            for node in change.nodes.values():
                for group in list(self._store._groups.values()):
                    if group.status is cv.ledger.Status.OPEN:
                        weight = pairing.weight_of(node.stake, self.policy.weight_unit)
                        pool = cv.machines.Pool(replace(c, weight=weight) if c.id == node.id else c for c in group.pool)
                        change.groups[group.id] = replace(group, pool=pool)
        return event


class LetsAnyNumberOfGroupsWait(Patched):
    """Opens groups however many wait."""

    patches = ((groups, "_check_queue", lambda *_: None),)


class DrawsByWhatIsKnown(Broken):
    """Takes a beacon round that is public when the group opens."""

    def open_group(self, task: cv.tasks.Task, *, creator: str, fee: int, **named: Any) -> cv.Group:
        later, self._beacon = self._beacon, _Earlier(self._beacon)
        try:
            return super().open_group(task, creator=creator, fee=fee, **named)
        finally:
            self._beacon = later


class _Earlier:
    """A beacon whose next round is the last that is public."""

    def __init__(self, beacon: cv.ledger.Beacon) -> None:
        self.name, self.on_ledger_clock, self.value = beacon.name, beacon.on_ledger_clock, beacon.value
        self._beacon = beacon

    def next_round(self, now: int) -> int:
        return self._beacon.next_round(now) - 1


class ClosesLateGroups(Broken):
    """Closes a group whose value is public, but that nobody drew in time."""

    def draw(self, group: str) -> cv.Group:
        kept = self._beacon
        if self._clock() >= self.group(group).draw_deadline:
            self._beacon = _Silent(kept)
        try:
            return super().draw(group)
        finally:
            self._beacon = kept


class _Silent(_Earlier):
    """A beacon that gives no value any more."""

    def __init__(self, beacon: cv.ledger.Beacon) -> None:
        super().__init__(beacon)
        self.value = lambda round, now: None  # noqa: A006


class SendsTextToALighterClass(Patched):
    """Takes the heaviest class that has enough free owners."""

    patches = (
        (
            pools,
            "supply_of",
            lambda nodes, **named: _only_free(pairing.supply_of(nodes, **named)),
        ),
    )


def _only_free(supply: pairing.Supply) -> pairing.Supply:
    return replace(supply, base_owners=supply.pool.owner_count)


class CapsWeights(Patched):
    """Counts no stake as more than a thousand units."""

    patches = ((pairing, "weight_of", lambda stake, unit: min(1_000, max(1, stake // unit))),)


class IgnoresTheUnitOfWeights(Patched):
    """Counts each unit of a stake."""

    patches = ((pairing, "weight_of", lambda stake, unit: min(2**32 - 1, max(1, stake))),)


class SlashesWithoutBound(Patched):
    """Takes a part of the stake, however small the fee."""

    patches = ((settlement, "slash_of", lambda stake, ppm, policy, fee: stake * ppm // PPM),)


class BoundsByTheWholeFee(Patched):
    """Bounds a slash by the fee, not by a member's share of it."""

    patches = (
        (
            settlement,
            "slash_of",
            lambda stake, ppm, policy, fee: min(
                stake * ppm // PPM, stake if policy.slash_per_fee is None else policy.slash_per_fee * fee
            ),
        ),
    )


_payments = settlement._payments


def _all_back(*given: Any) -> list[cv.ledger.Transfer]:
    return [transfer for transfer in _payments(*given) if transfer.why != "no_quorum"]


class RefundsAllWithoutAQuorum(Patched):
    """Burns nothing where no answer is delivered."""

    patches = ((settlement, "_payments", _all_back),)


def _rounded_down(group: Group, *given: Any) -> list[cv.ledger.Transfer]:
    lost = group.fee * group.policy.no_quorum_ppm // PPM
    return [
        replace(transfer, amount=lost) if transfer.why == "no_quorum" else transfer
        for transfer in _payments(group, *given)
    ]


class BurnsRoundedDown(Patched):
    """Rounds what is burnt down, so that the least fee burns nothing."""

    patches = ((settlement, "_payments", _rounded_down),)


class PaysWhatIsBurnt(Broken):
    """Gives the slash account what no answer costs."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        group, account = settled_in(change), self.policy.slash_account
        if group is not None and account is not None:
            lost = sum(transfer.amount for transfer in group.transfers if transfer.why == "no_quorum")
            change.burnt -= lost
            change.accounts[account] = change.accounts.get(account, self.account(account)) + lost
        return event


class TakesSmallFees(Patched):
    """Takes one unit for each member, whatever the policy says."""

    patches = ((cv.Policy, "least_fee", property(lambda policy: policy.group_size)),)


class CoversFeesByOnePart(Patched):
    """Asks whether a stake covers the fee by what an invalid answer costs, and not by what silence costs."""

    patches = ((cv.Policy, "least_slash_ppm", property(lambda policy: policy.slash_ppm)),)


class BurnsWhatHasAnAccount(Broken):
    """Burns slashes although the policy names an account."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        group, account = settled_in(change), self.policy.slash_account
        if group is not None and account is not None:
            slashed = sum(transfer.amount for transfer in group.transfers if transfer.why == "slash")
            change.burnt += slashed
            change.accounts[account] = change.accounts.get(account, self.account(account)) - slashed
        return event


class CountsEveryAbsence(Broken):
    """Counts an absence also where nobody answered."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        group = settled_in(change)
        if group is not None and group.verdict is not None and group.verdict.outcome is not cv.Outcome.VALIDATED:
            for node, finding in group.verdict.findings.items():
                if finding is cv.Finding.ABSENT:
                    change.nodes[node] = replace(change.nodes[node], absences=self.node(node).absences + 1)
        return event


class JudgesByItsOwnThreshold(Patched):
    """Judges by the default thresholds, whatever the policy says."""

    patches = ((cv.Policy, "rule_for", lambda policy, task: CentreRule()),)


class GivesTasksTwice(Broken):
    """Opens a second group for a task that has one."""

    @contextmanager
    def _writing(self) -> Iterator[cv.ledger.Store]:
        with super()._writing():
            yield Seen(self._store, self, group_with=lambda task: None)


class KeepsTasksForEver(Patched):
    """Does not open a group for a task that nobody has answered."""

    patches = ((Group, "keeps_task", property(lambda group: True)),)


def _digest_without_members(draw: cv.machines.Draw) -> str:
    parts = length_prefixed(draw.ledger) + length_prefixed(draw.group) + bytes.fromhex(draw.task)
    return digest("drawn", parts).hex()


class BindsNoMembers(Patched):
    """Binds commitments to ledger, group and task, and to nothing else of the draw."""

    patches = ((roster.Draw, "digest", property(_digest_without_members)),)


class TakesUnsignedAttestations(Broken):
    """Takes a commitment to an attestation that is not signed by the node's key."""

    def attest_commit(
        self, node: str, commitment: bytes, *, epoch: int, signature: bytes | None = None
    ) -> cv.machines.Node:
        try:
            return super().attest_commit(node, commitment, epoch=epoch, signature=signature)
        except SignatureError:
            bound = replace(self.node(node), attest_commitment=(epoch, commitment))
            action = AttestCommit(node, epoch, self.epoch().challenge, commitment)
            self.force(action, nodes={node: bound})
            return self.node(node)


class LosesSignaturesOfTheSecondRound(Broken):
    """Keeps the signatures of the first round only."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for name, group in list(change.groups.items()):
            if len(group.rounds) == 2:
                change.groups[name] = group.with_round(2, signatures=FrozenMapping())
        return event


class CutsAnswers(Broken):
    """Keeps 255 bytes of an answer."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for name, group in list(change.groups.items()):
            if event.kind == "reveal":
                short = {n: replace(o, answer_bytes=o.answer_bytes[:255]) for n, o in group.openings.items()}
                change.groups[name] = group.with_round(1, openings=FrozenMapping(short))
        return event


class CountsMoneyInFloats(Broken):
    """Keeps balances as numbers of 53 bits."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        change.accounts = {name: int(float(balance)) for name, balance in change.accounts.items()}
        return event


class WrapsMoney(Broken):
    """Keeps what a settlement pays in 63 bits."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        if event.kind == "settle":
            change.accounts = {name: balance % 2**63 for name, balance in change.accounts.items()}
        return event


class ForgetsWhatACardIs(Broken):
    """Keeps a card's name and memory, and neither its number nor its platform."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        for name, node in list(change.nodes.items()):
            change.nodes[name] = replace(node, gpu=cv.GpuModel(node.gpu.name, node.gpu.memory_gib))
        return event


class Escaped(cv.ledger.Event):
    """An event whose text has escapes that canonical JSON has not."""

    @property
    def canonical_bytes(self) -> bytes:
        value = json.loads(canonical_json(self.to_dict()))
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


class EscapesItsLog(Broken):
    """Writes what is not ASCII as escapes."""

    def spoil(self, change: Change, event: cv.ledger.Event) -> cv.ledger.Event:
        return Escaped(event.seq, event.time, event.kind, event.payload, event.previous)


class SettlesAfterTheFirstRound(Patched):
    """Settles a group whose second round goes on."""

    patches = ((groups, "check_act", lambda group, act, now: None),)


CAUGHT_BY: Final[Mapping[type[Broken], str]] = {
    TakesWhoIsInAGroupNow: "test_p4c_who_was_drawn_since_the_opening_is_unavailable_alone",
    DrawsOutOfOrder: "test_p4b_groups_are_drawn_in_the_order_of_their_openings",
    AsksTheShareAtTheOpeningOnly: "test_p4d_the_share_is_asked_again_at_the_draw",
    AsksForNoShare: "test_p4d_enough_of_all_that_could_serve_must_be_free_at_the_opening",
    CountsOnlyTheFreeInTheBase: "test_p4d_the_base_is_recorded_and_counts_who_is_busy",
    LetsLeaversIntoNewPools: "test_p4e_a_later_group_does_not_keep_a_node",
    DrawsTheSuspended: "test_c3_absence_costs_nothing_but_the_third_in_a_row_suspends",
    GivesStakesBackEarly: "test_p4e_a_node_stays_while_a_group_waits_that_was_opened_before",
    LetsNobodyLeaveAGroup: "test_p4e_a_member_leaves_when_its_group_is_settled",
    WritesAnEventForEachLeave: "test_p4e_a_member_leaves_when_its_group_is_settled",
    LetsLeaversTopUp: "test_p4e_whoever_is_leaving_takes_part_in_nothing_new",
    ChangesOpenPools: "test_p4e_a_top_up_counts_in_pools_that_open_later",
    LetsAnyNumberOfGroupsWait: "test_p4a_as_many_groups_wait_as_the_nodes_could_serve",
    DrawsByWhatIsKnown: "test_p4_the_draw_is_the_one_that_anyone_can_repeat",
    ClosesLateGroups: "test_p4b_a_public_value_is_drawn_by_however_late",
    SendsTextToALighterClass: "test_p3_the_heaviest_class_that_could_serve_is_taken_busy_or_not",
    CapsWeights: "test_p4_weights_count_in_the_policys_unit_and_have_a_largest",
    IgnoresTheUnitOfWeights: "test_p4_weights_count_in_the_policys_unit_and_have_a_largest",
    SlashesWithoutBound: "test_l4_a_slash_is_bounded_by_the_fee",
    BoundsByTheWholeFee: "test_l4_a_slash_is_bounded_by_the_fee",
    RefundsAllWithoutAQuorum: "test_j5_without_a_quorum_a_part_of_the_fee_is_burnt",
    BurnsRoundedDown: "test_j5_without_a_quorum_a_part_of_the_fee_is_burnt",
    PaysWhatIsBurnt: "test_j5_without_a_quorum_a_part_of_the_fee_is_burnt",
    TakesSmallFees: "test_l3_a_fee_is_at_least_the_policys",
    CoversFeesByOnePart: "test_p7_the_lesser_of_both_parts_covers_the_fee",
    BurnsWhatHasAnAccount: "test_l4_a_slash_goes_to_the_account_that_the_policy_names",
    CountsEveryAbsence: "test_c3_absence_counts_only_where_others_answered",
    JudgesByItsOwnThreshold: "test_j2_the_policys_own_thresholds_hold",
    GivesTasksTwice: "test_l9_a_task_is_not_given_twice",
    KeepsTasksForEver: "test_l9_a_task_that_nobody_answered_can_be_given_again",
    BindsNoMembers: "test_c1_what_is_bound_to_the_draw_can_be_opened",
    TakesUnsignedAttestations: "test_l8_keys_and_two_rounds_go_together",
    LosesSignaturesOfTheSecondRound: "test_l8_keys_and_two_rounds_go_together",
    CutsAnswers: "test_c4_an_answer_is_kept_to_its_last_byte",
    CountsMoneyInFloats: "test_l2_money_of_any_size_is_counted_to_the_unit",
    WrapsMoney: "test_l2_money_of_any_size_is_counted_to_the_unit",
    ForgetsWhatACardIs: "test_p1_cards_are_kept_with_all_that_names_them",
    EscapesItsLog: "test_l5_every_event_is_canonical_json",
    SettlesAfterTheFirstRound: "test_c5_the_second_round_follows_the_first",
}
"""Each broken ledger, and the standard test whose name says what is wrong with it."""
