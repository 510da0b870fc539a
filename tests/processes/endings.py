"""Plug-ins whose runs end in unusual ways, for the tests of processes; settings come from the environment."""

import os
import time
from pathlib import Path

from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits


class Paused(PlainSGD):
    """Steps of some length; one of them longer, or without an end, if ``$LONG_STEP`` says so."""

    def __init__(self, lr: float = 0.01, pause: float = 0.01):
        super().__init__(lr)
        self.pause, self.steps = pause, 0

    def training_step(self, workload, batch):
        self.steps += 1
        time.sleep(self.pause)
        if self.steps == 20 and "LONG_STEP" in os.environ:
            Path(os.environ["LONG_STEP"]).touch()
            while True:
                try:
                    time.sleep(600)
                except SystemExit:
                    if "STUBBORN" not in os.environ:
                        raise
        return super().training_step(workload, batch)


class LongEvaluation(Digits):
    """Digits whose third evaluation takes ten minutes, if ``$LONG_EVALUATION`` names a file to say so in."""

    def on_validation_start(self):
        super().on_validation_start()
        if len(self.view.evaluations) == 2 and "LONG_EVALUATION" in os.environ:
            Path(os.environ["LONG_EVALUATION"]).touch()
            time.sleep(600)
