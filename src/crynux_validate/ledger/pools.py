"""Who can be drawn for a task: the class of a text task, the pool, and what to say where there are too few (P2-P7).

Everything here is a pure function of the roster, the policy and the clock.
"""

from collections.abc import Callable, Collection, Iterable

from crynux_validate.errors import NotEnoughNodes
from crynux_validate.ledger.actions import OpenGroup
from crynux_validate.ledger.interface import PPM, Policy
from crynux_validate.machines.admission import ClassFacts, admitted_classes, classes_of
from crynux_validate.machines.classes import NodeClass
from crynux_validate.machines.pairing import Supply, is_large_enough, supply_of
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import TextTask


def slashable_stake_needed(policy: Policy, fee: int) -> int:
    """Return the least stake of a member of a group with this fee (P7, L4)."""
    slashable = policy.stake_per_fee * (fee // policy.group_size)
    if not slashable:
        return policy.min_stake
    return max(policy.min_stake, -(-slashable * PPM // policy.least_slash_ppm))


def choose_supply(
    nodes: Iterable[Node], action: OpenGroup, policy: Policy, now: int
) -> tuple[NodeClass | None, Supply]:
    """Return the candidates of a group, for a text task from the nodes of one class (protocol P2, P3, P4d).

    Parameters
    ----------
    nodes
        All that have joined.
    action
        What is asked; its fields are checked before.
    policy, now
        The ledger's parameters and its time.

    Returns
    -------
    tuple of NodeClass or None, Supply
        The class, None for an image task, and a pool of at least `policy.group_size` owners that is large enough a part
        of its base.

    Raises
    ------
    NotEnoughNodes
        Says for which class, how many there are, how many are needed, and why the others were left out.
    """
    nodes = tuple(nodes)

    def supply_from(some: Iterable[Node]) -> Supply:
        return supply_of(
            some,
            creator=action.creator,
            min_stake=slashable_stake_needed(policy, action.fee),
            min_memory_gib=action.min_memory_gib,
            weight_unit=policy.weight_unit,
        )

    if not isinstance(action.task, TextTask):
        supply = supply_from(nodes)
        _check_enough(supply, nodes, action, policy)
        return None, supply
    choice = _choice(nodes, action, policy, policy.epoch_at(now).in_force)
    # By all that could serve, busy or not: nobody sends a task to a lighter class by keeping a heavier one busy.
    supplies = [(facts, supply_from(facts.nodes)) for facts in choice]
    able = [found for found in supplies if found[1].base_owners >= policy.group_size]
    facts, supply = max(able or supplies[:1], key=lambda found: found[1].base)  # of equals the first: smaller digest
    node_class = facts.node_class
    where = f" in class {node_class.digest} ({node_class.gpu})"
    others = f", nor has any of {len(choice) - 1} lighter classes that are admitted" if not able and choice[1:] else ""
    _check_enough(supply, facts.nodes, action, policy, where, others)
    return node_class, supply


def _choice(nodes: Collection[Node], action: OpenGroup, policy: Policy, in_force: int) -> tuple[ClassFacts, ...]:
    """The classes that a text task could go to, best first: the one that it names, or those that are admitted."""
    classes = classes_of(nodes, epoch=in_force, min_stake=policy.min_stake, weight_unit=policy.weight_unit)
    if action.gpu_class is not None:
        wanted = f"no node is in class {action.gpu_class}"
        choice = tuple(facts for facts in classes.values() if facts.node_class.digest == action.gpu_class.lower())
    else:
        wanted = (
            "no class is admitted: a class needs a declaration that the policy lists, or at least "
            f"{policy.min_class_owners} owners with a stake of {policy.least_class_stake} together (P3)"
        )
        choice = admitted_classes(
            classes,
            declarations=policy.admitted_declarations,
            min_owners=policy.min_class_owners,
            min_stake=policy.least_class_stake,
        )
    if choice:
        return choice
    shown = "; ".join(str(facts) for facts in list(classes.values())[:5]) + ("; ..." if len(classes) > 5 else "")
    count = "there is 1 class" if len(classes) == 1 else f"there are {len(classes)} classes"
    there_are = f"{count}: {shown}" if classes else "no node has attested in it (P6)"
    raise NotEnoughNodes(
        f"{wanted}; the attestations of epoch {in_force} are in force: {there_are}",
        available=0,
        needed=policy.group_size,
    )


def _check_enough(
    supply: Supply, nodes: Collection[Node], action: OpenGroup, policy: Policy, where: str = "", others: str = ""
) -> None:
    """Refuse a pool of too few owners, or too small a part of its base; say why the others were left out (P4d)."""
    owners, needed, weight = supply.pool.owner_count, policy.group_size, supply.pool.total_weight
    if owners >= needed and is_large_enough(weight, supply.base, policy.min_pool_ppm):
        return
    stake = slashable_stake_needed(policy, action.fee)
    by_fee = f", the least for a fee of {action.fee} (P7)" if stake > policy.min_stake else ""
    left_out: dict[str, Callable[[Node], bool]] = {
        "of the creator": lambda node: node.owner == action.creator,
        "suspended": lambda node: node.suspended,
        "leaving": lambda node: node.leaving is not None,
        "in a group": lambda node: node.group is not None,
        f"with a stake below {stake}{by_fee}": lambda node: node.stake < stake,
        f"with less than {action.min_memory_gib} GiB": lambda node: node.gpu.memory_gib < action.min_memory_gib,
    }
    counts = {reason: sum(map(is_so, nodes)) for reason, is_so in left_out.items()}
    why = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    joined = f"{len(nodes)} nodes have joined{where and ' it'}{f'; left out: {why}' if why else ''}"
    if owners < needed:
        message = f"{owners} owners have a node{where} that could be drawn, a group needs {needed} ({joined}){others}"
        raise NotEnoughNodes(message, available=owners, needed=needed)
    least = -(-policy.min_pool_ppm * supply.base // PPM)
    raise NotEnoughNodes(
        f"the free nodes{where} have the weight {weight} of {supply.base}, and a group needs {least} (min_pool_ppm is "
        f"{policy.min_pool_ppm}; {joined}). Open it when other groups are settled",
        available=weight,
        needed=least,
    )
