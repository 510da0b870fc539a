"""States of a submission cost it time; writing them does not."""

import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit

from algoperf_lightning.callbacks import TrialRecorder
from algoperf_lightning.result import TrialResult


class WorksInState(TimedSubmission):
    """Works for two seconds whenever a state is asked for: its own, its optimizer's, or its schedule's."""

    def __init__(self, clock=None, where=""):
        super().__init__(clock)
        self.where = where

    def configure_optimizers(self, model, workload):
        submission = self

        class Optimizer(torch.optim.SGD):
            def state_dict(self):
                submission.work("optimizer")
                return super().state_dict()

        class Schedule(torch.optim.lr_scheduler.ConstantLR):
            def state_dict(self):
                submission.work("schedule")
                return super().state_dict()

        optimizer = Optimizer(model.parameters(), lr=0.1)
        return {"optimizer": optimizer, "lr_scheduler": Schedule(optimizer)}

    def state_dict(self):
        self.work("submission")
        return {}

    def work(self, where):
        if where == self.where:
            self.clock.advance(2.0)


class SlowRecorder(TrialRecorder):
    """Takes a minute to write a checkpoint."""

    def _save(self, trainer):
        self._clock()._clock.source.advance(60.0)
        super()._save(trainer)


@pytest.mark.parametrize(("where", "seconds"), [("", 0.0), ("submission", 2.0), ("optimizer", 2.0), ("schedule", 2.0)])
def test_states_are_asked_for_on_the_clock_and_written_off_it(tmp_path, where, seconds):
    clock = FakeClock()
    budget, _, trainer = controlled_fit(
        tmp_path,
        workload=TimedDigits(WorksInState(clock, where)),
        clock=clock,
        callbacks=[SlowRecorder(tmp_path / "trial")],
        trainer={"max_steps": 5},
    )
    first, second = (each.submission_seconds for each in budget.result.evaluations[:2])
    # An evaluation is due each second: after four steps of 0.25 s, or at the next step after two seconds of work.
    assert second - first == pytest.approx(seconds + 0.25 if seconds else 1.0)
    assert "state_dict" not in vars(trainer.lr_scheduler_configs[0].scheduler)
    assert "optimizer_state" not in vars(trainer.strategy)
    assert "dump_checkpoint" not in vars(trainer._checkpoint_connector)
    saved = torch.load(tmp_path / "trial" / "last.ckpt", weights_only=True)
    assert saved["lr_schedulers"][0]["last_epoch"] == trainer.global_step


def test_work_in_a_state_counts_towards_the_budget(tmp_path):
    clock = FakeClock()
    controlled_fit(
        tmp_path,
        workload=TimedDigits(WorksInState(clock, "submission")),
        clock=clock,
        callbacks=[TrialRecorder(tmp_path / "trial")],
    )
    read = TrialResult.read(tmp_path / "trial")
    assert read.submission_seconds >= 10.0
    assert read.steps <= 6  # 0.25 s of training, and two seconds of work after each evaluation
