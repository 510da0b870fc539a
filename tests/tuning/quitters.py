"""Submissions that leave the process, for the tests of tuning."""

import os
from typing import ClassVar

from probes import Probe


class Quitting(Probe):
    """Trials that end their process from within, in a step and before the run."""

    search_space: ClassVar = [{"trouble": "SystemExit"}, {"trouble": "os._exit"}, {"trouble": "at once"}]

    def __init__(self, lr: float = 0.1, trouble: str = "none", pause: float = 0.0):
        super().__init__(lr, trouble, pause)
        if trouble == "at once":
            raise SystemExit(0)

    def training_step(self, workload, batch):
        if self.trouble == "SystemExit":
            raise SystemExit(0)
        if self.trouble == "os._exit":
            os._exit(0)
        return super().training_step(workload, batch)
