"""From a threshold to the odds of a counterfeit to the stake that makes it a loss (docs/stakes.md).

A group of n members is drawn by weight from a pool of honest nodes and of dishonest nodes, which collude. A group
validates a task at the sampling rate r; otherwise one node works and is believed. A node that submits a counterfeit
saves the price k of the task, and loses l if it is slashed::

    E = (1 - r) k + r (e k - x l)          the expected gain of a counterfeit
    e = p + b f                            it escapes: colluders are a quorum, or it agrees by chance
    x = c (1 - f at the slash threshold)   it is slashed: the honest members that are present are a quorum
    l = k (1 - r + r e) / (r x)            the slash at which E is zero

A slash takes a share of the stake, up to a bound that depends on the fee (protocol L4). All arithmetic is exact; only
the results are floats. The formulas are not for a blank picture in a task with a safety checker, which is never slashed
(protocol J2, docs/stakes.md). `audits` has the formulas for one node that is audited.

`required_stake` and `expected_gain` are in `crynux_validate`. This module has their arguments and results.
"""

from crynux_validate.stakes.agreement import SOURCES as SOURCES
from crynux_validate.stakes.agreement import Source as Source
from crynux_validate.stakes.agreement import false_accept_rate
from crynux_validate.stakes.audited import AUDITS_PRESUPPOSE as AUDITS_PRESUPPOSE
from crynux_validate.stakes.audited import AuditedGain, AuditedStake
from crynux_validate.stakes.audits import AFTER_AUDIT as AFTER_AUDIT
from crynux_validate.stakes.audits import AuditTerms
from crynux_validate.stakes.audits import Fates as Fates
from crynux_validate.stakes.audits import Then as Then
from crynux_validate.stakes.counterfeits import DEFAULT_SOURCE as DEFAULT_SOURCE
from crynux_validate.stakes.counterfeits import Threshold as Threshold
from crynux_validate.stakes.formula import PPM as PPM
from crynux_validate.stakes.formula import expected_gain as expected_gain
from crynux_validate.stakes.formula import required_stake as required_stake
from crynux_validate.stakes.groups import VIEWS as VIEWS
from crynux_validate.stakes.groups import View as View
from crynux_validate.stakes.groups import colluder_chances, collusion_probability
from crynux_validate.stakes.numbers import Number as Number
from crynux_validate.stakes.odds import MOST_PER_FEE as MOST_PER_FEE
from crynux_validate.stakes.odds import SEALED_JOBS as SEALED_JOBS
from crynux_validate.stakes.odds import ExpectedGain, RequiredStake
from crynux_validate.stakes.odds import Odds as Odds

__all__ = [
    "AuditTerms",
    "AuditedGain",
    "AuditedStake",
    "ExpectedGain",
    "RequiredStake",
    "colluder_chances",
    "collusion_probability",
    "false_accept_rate",
]
