"""Ways to cheat at an image task, one short program each: from a task to the answer that a cheat hands in.

``python -m attacks`` runs them all and prints how often each passes. ``docs/threats.md`` holds that table, with what
stands against each. An attack is called with a task and a `Machine`::

    from attacks import ATTACKS, Machine

    with Machine() as machine:
        answer = ATTACKS["half-the-steps"](task, machine)
        print(answer.cost, answer.score, machine.honest(task).score)
"""

from collections.abc import Mapping
from typing import Final

from attacks import bad_faith, fitted, less_work, no_work, other_work
from attacks.answer import Answer, Attack, DoesNotFit
from attacks.machine import Machine

__all__ = ["ATTACKS", "BAD_FAITH", "Answer", "Attack", "DoesNotFit", "Machine"]


def _named(*attacks: Attack) -> Mapping[str, Attack]:
    return {attack.name: attack for attack in attacks}


ATTACKS: Final = _named(*no_work.ATTACKS, *less_work.ATTACKS, *other_work.ATTACKS, *fitted.ATTACKS)
"""What a node can hand in that did not do the task, by name."""

BAD_FAITH: Final = _named(*bad_faith.ATTACKS)
"""What somebody can do who asks; the answers are honest, and to another task than the one that is given."""
