"""Is this machine fit to be a node? What is tried on the machine itself, and what to do where something is wrong.

`examine` takes about a minute on a CPU. It needs the extras ``image`` and ``text``, and downloads nothing.
"""

from crynux_validate.doctor.checks import Check, Report, Status
from crynux_validate.doctor.examining import examine

__all__ = ["Check", "Report", "Status", "examine"]
