"""GPU models, environments, classes of machines, pools and draws.

`GpuModel` and `verify_draw` are in `crynux_validate`, and so are the functions that describe this machine: `local_gpu`,
`local_environment`, `canary`.
"""

import crynux_validate.lazy as _lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crynux_validate.machines.admission import ClassFacts, admitted_classes, class_of, classes_of
    from crynux_validate.machines.classes import Attestation, NodeClass
    from crynux_validate.machines.environment import Environment
    from crynux_validate.machines.pool import Candidate, Pool
    from crynux_validate.machines.roster import Draw, Node

_MODULE_OF = {
    "Attestation": "classes",
    "Candidate": "pool",
    "ClassFacts": "admission",
    "Draw": "roster",
    "Environment": "environment",
    "Node": "roster",
    "NodeClass": "classes",
    "Pool": "pool",
    "admitted_classes": "admission",
    "class_of": "admission",
    "classes_of": "admission",
}

__all__ = [
    "Attestation",
    "Candidate",
    "ClassFacts",
    "Draw",
    "Environment",
    "Node",
    "NodeClass",
    "Pool",
    "admitted_classes",
    "class_of",
    "classes_of",
]

if not TYPE_CHECKING:
    __getattr__ = _lazy.importer(__name__, _MODULE_OF, {})


def __dir__() -> "list[str]":
    return __all__
