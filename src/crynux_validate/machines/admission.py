"""The existing classes, and those that may get text tasks (protocol P2, P3).

All functions depend on their arguments only.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from crynux_validate.encoding import DIGEST_BYTES, check_integer, check_type, parse_hex, shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.machines.classes import NodeClass
from crynux_validate.machines.pairing import can_serve, weight_of
from crynux_validate.machines.roster import Node


@dataclass(frozen=True)
class ClassFacts:
    """A class with its numbers of nodes and owners, and their stakes.

    A node *serves* if it is neither suspended nor leaving and has the least stake, whether or not it is in a group.

    Parameters
    ----------
    node_class
        The class.
    nodes
        All nodes of the class that have joined.
    owners
        The number of distinct owners of the nodes that serve.
    available
        The number of distinct owners of the nodes that serve and are in no group.
    weight
        The sum of the weights of the nodes that serve.
    stake
        The sum of the stakes of the nodes that serve.
    """

    node_class: NodeClass
    nodes: tuple[Node, ...] = field(repr=False)
    owners: int
    available: int
    weight: int
    stake: int

    def __repr__(self) -> str:
        return summary(self, self)

    def __str__(self) -> str:
        return f"{self.node_class}: {self.owners} owners, {self.available} available, stake {self.stake}"


def class_of(node: Node, epoch: int) -> NodeClass | None:
    """Return a node's class from its attestation in an epoch, or None if it has none (protocol P2, P6).

    Parameters
    ----------
    node
        The node. Its GPU model is the one with which it joined.
    epoch
        The epoch whose attestations are in force: `Epoch.in_force`.
    """
    check_type(node, Node, "the node", "a Node (Ledger.node)")
    check_integer(epoch, "epoch", -1)
    for attested in node.attestations:
        if attested.epoch == epoch:
            return NodeClass(node.gpu, attested.kernel, attested.numerics, attested.canary)
    return None


def classes_of(
    nodes: Iterable[Node], *, epoch: int, min_stake: int, weight_unit: int
) -> Mapping[NodeClass, ClassFacts]:
    """Return all classes, the heaviest first, of equal weight that with the smaller digest first (protocol P3).

    Parameters
    ----------
    nodes
        All nodes. Nodes that have left or attested nothing are in no class.
    epoch
        The epoch whose attestations are in force: `Epoch.in_force`.
    min_stake
        The least stake of a node that serves.
    weight_unit
        The stake that gives a weight of 1 in the draw.
    """
    for what, number, least in (("epoch", epoch, -1), ("min_stake", min_stake, 0), ("weight_unit", weight_unit, 1)):
        check_integer(number, what, least, None)
    # Grouped by the parts themselves: a class object for each node, and its digest, would cost more than all the rest.
    # A GPU model is told by its object at first, since many nodes share one, and its value takes long to look up.
    alike: dict[tuple[object, ...], list[Node]] = {}
    check_type(nodes, Iterable, "nodes", "the nodes of Ledger.nodes")
    for node in nodes:
        if type(node) is not Node:  # asked here: there may be a million
            check_type(node, Node, "one of the nodes", "a Node (Ledger.node)")
        if node.joined:
            for attested in node.attestations:
                if attested.epoch == epoch:
                    parts = (id(node.gpu), attested.kernel, attested.numerics, attested.canary)
                    if parts in alike:
                        alike[parts].append(node)
                    else:
                        alike[parts] = [node]
    groups: dict[NodeClass, list[Node]] = {}
    for members in alike.values():
        node_class = class_of(members[0], epoch)
        if node_class is not None:
            groups.setdefault(node_class, []).extend(members)
    found = [_facts(node_class, members, min_stake, weight_unit) for node_class, members in groups.items()]
    return {facts.node_class: facts for facts in sorted(found, key=_rank)}


def admitted_classes(
    classes: Mapping[NodeClass, ClassFacts], *, declarations: Collection[str], min_owners: int, min_stake: int
) -> tuple[ClassFacts, ...]:
    """Return the classes that get text tasks which name no class, the heaviest first (protocol P3).

    A class is admitted by its size, or because its declaration is listed. Of several classes with the same listed
    declaration only the heaviest is admitted, so machines that compute otherwise than the majority are not.

    Parameters
    ----------
    classes
        The result of `classes_of`.
    declarations
        The listed declarations (`NodeClass.declaration`).
    min_owners, min_stake
        The size with which any class is admitted: the number of distinct owners that serve, and their total stake.
    """
    check_type(classes, Mapping, "classes", "what classes_of returns")
    for facts in classes.values():
        check_type(facts, ClassFacts, "one of the classes", "a ClassFacts (classes_of)")
    if isinstance(declarations, str):
        raise InvalidInputError(f"declarations is {shorten(declarations)}; expected a list of digests")
    check_type(declarations, Collection, "declarations", "a list of digests")
    wanted = [parse_hex(name, "one of the declarations", DIGEST_BYTES).hex() for name in declarations]
    for what, least in (("min_owners", min_owners), ("min_stake", min_stake)):
        check_integer(least, what, 0, None)
    ranked = sorted(classes.values(), key=_rank)
    heaviest = {facts.node_class.declaration: facts for facts in reversed(ranked)}
    listed = {heaviest[name].node_class for name in wanted if name in heaviest}
    return tuple(
        facts
        for facts in ranked
        if facts.node_class in listed or (facts.owners >= min_owners and facts.stake >= min_stake)
    )


def _facts(node_class: NodeClass, nodes: list[Node], min_stake: int, weight_unit: int) -> ClassFacts:
    serving = [node for node in nodes if can_serve(node, min_stake)]
    stakes = Counter([node.stake for node in serving])
    return ClassFacts(
        node_class,
        tuple(nodes),
        owners=len({node.owner for node in serving}),
        available=len({node.owner for node in serving if node.group is None}),
        weight=sum(weight_of(stake, weight_unit) * count for stake, count in stakes.items()),
        stake=sum(stake * count for stake, count in stakes.items()),
    )


def _rank(facts: ClassFacts) -> tuple[int, str]:
    return -facts.weight, facts.node_class.digest
