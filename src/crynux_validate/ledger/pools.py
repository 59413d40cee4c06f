"""Who can be drawn for a task: the class of a text task, the pool, and what to say where there are too few (P2-P7).

Everything here is a pure function of the roster, the policy and the clock.
"""

from collections.abc import Callable, Collection, Iterable

from crynux_validate.errors import NotEnoughNodes
from crynux_validate.ledger.actions import OpenGroup
from crynux_validate.ledger.interface import PPM, Policy
from crynux_validate.machines.admission import ClassFacts, admitted_classes, classes_of
from crynux_validate.machines.classes import NodeClass
from crynux_validate.machines.pairing import pool_of
from crynux_validate.machines.pool import Pool
from crynux_validate.machines.roster import Node
from crynux_validate.tasks import TextTask


def slashable_stake_needed(policy: Policy, fee: int) -> int:
    """Return the least stake of a member of a group with this fee (P7, L4)."""
    slashable = policy.stake_per_fee * (fee // policy.group_size)
    if not slashable:
        return policy.min_stake
    return max(policy.min_stake, -(-slashable * PPM // policy.slash_ppm))


def choose_pool(nodes: Iterable[Node], action: OpenGroup, policy: Policy, now: int) -> tuple[NodeClass | None, Pool]:
    """Fix who could be drawn, for a text task among the nodes of one class (P2, P3).

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
    tuple of NodeClass or None, Pool
        The class, None for an image task, and a pool of at least `policy.group_size` owners.

    Raises
    ------
    NotEnoughNodes
        Says for which class, how many there are, how many are needed, and why the others were left out.
    """
    nodes = tuple(nodes)
    needed = policy.group_size

    def pool_from(some: Iterable[Node]) -> Pool:
        return pool_of(
            some,
            creator=action.creator,
            min_stake=slashable_stake_needed(policy, action.fee),
            min_memory_gib=action.min_memory_gib,
            weight_unit=policy.weight_unit,
        )

    if not isinstance(action.task, TextTask):
        pool = pool_from(nodes)
        if pool.owner_count < needed:
            raise _not_enough(nodes, action, policy, pool.owner_count)
        return None, pool
    choice = _choice(nodes, action, policy, policy.epoch_at(now).in_force)
    for facts in choice:
        pool = pool_from(facts.nodes)
        if pool.owner_count >= needed:
            return facts.node_class, pool
    heaviest = choice[0]
    where = f" in class {heaviest.node_class.digest} ({heaviest.node_class.gpu})"
    others = f", nor has any of {len(choice) - 1} lighter classes that are admitted" if len(choice) > 1 else ""
    owners = pool_from(heaviest.nodes).owner_count
    raise _not_enough(heaviest.nodes, action, policy, owners, where, others)


def _choice(nodes: Collection[Node], action: OpenGroup, policy: Policy, in_force: int) -> tuple[ClassFacts, ...]:
    """The classes that a text task could go to, best first: the one that it names, or those that are admitted."""
    classes = classes_of(nodes, epoch=in_force, min_stake=policy.min_stake, weight_unit=policy.weight_unit)
    if action.gpu_class is not None:
        wanted = f"no node is in class {action.gpu_class}"
        choice = tuple(facts for facts in classes.values() if facts.node_class.digest == action.gpu_class.lower())
    else:
        wanted = (
            "no class is admitted: a text task that names none goes to one whose declaration is listed, or of at least "
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
    there_are = f"there are {len(classes)} classes: {shown}" if classes else "no node has attested in it (P6)"
    raise NotEnoughNodes(
        f"{wanted}; the attestations of epoch {in_force} are in force: {there_are}",
        available=0,
        needed=policy.group_size,
    )


def _not_enough(
    nodes: Collection[Node], action: OpenGroup, policy: Policy, owners: int, where: str = "", others: str = ""
) -> NotEnoughNodes:
    """Say how many of these nodes could be drawn, and why the others could not."""
    stake = slashable_stake_needed(policy, action.fee)
    left_out: dict[str, Callable[[Node], bool]] = {
        "of the creator": lambda node: node.owner == action.creator,
        "suspended": lambda node: node.suspended,
        "in a group": lambda node: node.group is not None,
        f"with a stake below {stake}": lambda node: node.stake < stake,
        f"with less than {action.min_memory_gib} GiB": lambda node: node.gpu.memory_gib < action.min_memory_gib,
    }
    counts = {reason: sum(map(is_so, nodes)) for reason, is_so in left_out.items()}
    why = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    return NotEnoughNodes(
        f"{owners} owners have a node{where} that could be drawn, a group needs {policy.group_size} "
        f"({len(nodes)} nodes have joined{where and ' it'}{f'; left out: {why}' if why else ''}){others}",
        available=owners,
        needed=policy.group_size,
    )
