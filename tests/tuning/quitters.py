"""Submissions that leave the process, for the tests of tuning."""

import os
from typing import ClassVar

from probes import Probe


class Quitting(Probe):
    """Trials that end their process from within a step."""

    search_space: ClassVar = [{"trouble": "SystemExit"}, {"trouble": "os._exit"}]

    def training_step(self, workload, batch):
        if self.trouble == "SystemExit":
            raise SystemExit(0)
        if self.trouble == "os._exit":
            os._exit(0)
        return super().training_step(workload, batch)


class QuittingAtOnce(Probe):
    """Cannot be made."""

    search_space: ClassVar = [{"lr": 0.1}]

    def __init__(self, lr: float = 0.1):
        raise SystemExit(0)
