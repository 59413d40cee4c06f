"""Hard use of stored ledgers: ``make soak``, or ``python -m benchmarks.soak --share 0.1`` for a part of it.

Processes act all at once and are killed while they write; a server is killed; disks are full, files damaged, logs
edited; random sequences of actions are compared with a model. What is checked in the end is what was said to be done:
every action that was acknowledged is in the log, the log is one chain, replaying it gives what is stored, all money is
accounted for, and no node was in two groups at once. The tests run the same with small numbers.
"""

from benchmarks.soak.checks import check
from benchmarks.soak.processes import act_together, kill_the_server, kill_while_writing
from benchmarks.soak.work import POLICY, line_of, milliseconds, set_up

__all__ = [
    "POLICY", "act_together", "check", "kill_the_server", "kill_while_writing", "line_of", "milliseconds", "set_up",
]  # fmt: skip
