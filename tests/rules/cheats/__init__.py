"""Submissions that break a rule each, by the row of ``docs/rules.md`` that they belong to.

Those with a text in ``seen`` are noticed in the run, by a warning that begins so. The others are not: what they do is
in the row's last column.
"""

from . import model, process, run
from .registered import CHEATS

__all__ = ["CHEATS", "model", "process", "run"]
