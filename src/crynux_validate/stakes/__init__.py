"""From a threshold to the odds of a counterfeit to the stake that makes it a loss (docs/stakes.md).

A group of n members is drawn by weight from a pool of honest and dishonest nodes, who collude. A task is validated by a
group at the sampling rate r; otherwise its one node is believed. Somebody who hands in a counterfeit saves the price k
of the task, and loses l where it is slashed::

    E = (1 - r) k + r (e k - x l)          what a counterfeit is expected to gain
    e = p + b f                            it escapes: colluders are a quorum, or it agrees by chance
    x = c (1 - f at the slash threshold)   it is slashed: the honest members who are there are a quorum
    l = k (1 - r + r e) / (r x)            the slash at which E is zero

A slash takes a share of the stake, and at most a bound that follows from the fee (protocol L4). All arithmetic is
exact; floats are made at the end. A blank picture in a task with a safety checker is another counterfeit than these: it
is never slashed (protocol J2, docs/stakes.md). `audits` has the same for one node that is audited.
"""

from crynux_validate.stakes.agreement import SOURCES, Source, false_accept_rate
from crynux_validate.stakes.audited import AUDITS_PRESUPPOSE, AuditedGain, AuditedStake
from crynux_validate.stakes.audits import AFTER_AUDIT, AuditTerms, Fates, Then
from crynux_validate.stakes.counterfeits import DEFAULT_SOURCE, Threshold
from crynux_validate.stakes.formula import PPM, expected_gain, required_stake
from crynux_validate.stakes.groups import VIEWS, View, colluder_chances, collusion_probability
from crynux_validate.stakes.numbers import Number
from crynux_validate.stakes.odds import MOST_PER_FEE, SEALED_JOBS, ExpectedGain, Odds, RequiredStake

__all__ = [
    "AFTER_AUDIT",
    "AUDITS_PRESUPPOSE",
    "DEFAULT_SOURCE",
    "MOST_PER_FEE",
    "PPM",
    "SEALED_JOBS",
    "SOURCES",
    "VIEWS",
    "AuditTerms",
    "AuditedGain",
    "AuditedStake",
    "ExpectedGain",
    "Fates",
    "Number",
    "Odds",
    "RequiredStake",
    "Source",
    "Then",
    "Threshold",
    "View",
    "colluder_chances",
    "collusion_probability",
    "expected_gain",
    "false_accept_rate",
    "required_stake",
]
