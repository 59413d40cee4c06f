"""The classes that there are, and which of them text tasks may go to (protocol P2, P3).

Everything here is a pure function of the roster.
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
    """What is known of a class: who is in it, and how much stands behind it.

    A node *serves* when it is neither suspended nor leaving and has the least stake; one that is in a group serves as
    well, so that a class does not shrink by working.

    Parameters
    ----------
    node_class
        The class.
    nodes
        All that have joined and are in it.
    owners
        Distinct owners of those that serve.
    available
        Distinct owners of those that serve and are in no group.
    weight
        Sum of the weights in a draw of those that serve.
    stake
        Sum of the stakes of those that serve.
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
    """Return a node's class by what it attested in an epoch, or None where it attested nothing (P2, P6).

    Parameters
    ----------
    node
        Any node; the GPU model is the one that it declared when it joined.
    epoch
        The epoch whose attestations are in force: `Epoch.in_force`.
    """
    check_type(node, Node, "the node", "a Node, as of Ledger.node")
    check_integer(epoch, "epoch", -1)
    for attested in node.attestations:
        if attested.epoch == epoch:
            return NodeClass(node.gpu, attested.kernel, attested.numerics, attested.canary)
    return None


def classes_of(
    nodes: Iterable[Node], *, epoch: int, min_stake: int, weight_unit: int
) -> Mapping[NodeClass, ClassFacts]:
    """Return the classes that there are, the heaviest first; where two weigh alike, the smaller digest first (P3).

    Parameters
    ----------
    nodes
        Everybody; who has left, or attested nothing, is in no class.
    epoch
        The epoch whose attestations are in force: `Epoch.in_force`.
    min_stake
        What a node must have at stake to serve.
    weight_unit
        How much stake counts as one in the draw.
    """
    for what, number, least in (("epoch", epoch, -1), ("min_stake", min_stake, 0), ("weight_unit", weight_unit, 1)):
        check_integer(number, what, least, None)
    # Grouped by the parts themselves: a class object for each node, and its digest, would cost more than all the rest.
    # A GPU model is told by its object at first, since many nodes share one, and its value takes long to look up.
    alike: dict[tuple[object, ...], list[Node]] = {}
    check_type(nodes, Iterable, "nodes", "nodes, as of Ledger.nodes")
    for node in nodes:
        if type(node) is not Node:  # asked here: there may be a million
            check_type(node, Node, "one of the nodes", "a Node, as of Ledger.node")
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
    """Return the classes that text tasks may go to without being named, the heaviest first (P3).

    A class is admitted by its size, or because its declaration is listed. Of several classes with one listed
    declaration only the heaviest is: who declares what is listed but computes otherwise is not.

    Parameters
    ----------
    classes
        Of `classes_of`.
    declarations
        Each a `NodeClass.declaration`.
    min_owners, min_stake
        The size that admits any class: distinct owners that serve, and their stake together.
    """
    check_type(classes, Mapping, "classes", "what classes_of returns")
    for facts in classes.values():
        check_type(facts, ClassFacts, "one of the classes", "a ClassFacts, as of classes_of")
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
