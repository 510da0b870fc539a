"""The log of a submission in a timed run: every hook may log, nothing is lost or doubled, loggers get it too."""

import csv
import math

import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from test_trial_recorder import interrupted_run

from algoperf_lightning.callbacks import TrialRecorder
from algoperf_lightning.records.checks import RecordError
from algoperf_lightning.result import TrialResult


class Talkative(TimedSubmission):
    """Logs in every hook; keeps the same in a list."""

    def configure_optimizers(self, model, workload):
        self.workload = workload
        optimizer = super().configure_optimizers(model, workload)
        optimizer.register_step_pre_hook(lambda *_: self.log("pre", self.steps + 1, 1))
        optimizer.register_step_post_hook(lambda *_: self.log("post", self.steps, torch.tensor(self.steps)))
        return {
            "optimizer": optimizer,
            "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
        }

    def log(self, name, step, value):
        self.workload.log({name: value})
        self.logged = [*getattr(self, "logged", []), (step, name, float(value))]

    def select_batch(self, batches):
        self.log("select", self.steps + 1, math.inf)
        return super().select_batch(batches)

    def training_step(self, workload, batch):
        loss = super().training_step(workload, batch)
        self.log("own_loss", self.steps, loss.detach())
        return loss

    def before_evaluation(self, model):
        super().before_evaluation(model)
        self.log("before", self.steps, sum(p.detach().norm() for p in model.parameters()))

    def after_evaluation(self, model):
        super().after_evaluation(model)
        self.log("after", self.steps, True)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


Talkative.__qualname__ = "TimedSubmission"


def run(folder, clock=None, **options):
    recorder = TrialRecorder(folder)
    clock = clock or FakeClock()
    workload = TimedDigits(Talkative(clock))
    callbacks = [*options.pop("callbacks", []), recorder]
    budget, _, _ = controlled_fit(folder.parent, workload=workload, clock=clock, callbacks=callbacks, **options)
    return budget.result, workload


def by_step(logged):
    rows = {}
    for step, name, value in logged:
        rows.setdefault(step, {})[name] = value
    return rows


def test_every_hook_may_log_and_each_step_is_one_row(tmp_path):
    result, workload = run(tmp_path / "t", budget={"budget": 3.0})
    rows = result.submission_log()
    assert {row.step: row.values for row in rows} == by_step(workload.submission.logged)
    assert [row.step for row in rows] == list(range(1, 13))
    assert result.log_columns()["submission/own_loss"] == [row.values["own_loss"] for row in rows]
    assert set(rows[4].values) == {"select", "pre", "own_loss", "post", "before", "after"}
    assert not [warning for warning in result.warnings if "changed" in warning]
    assert TrialResult.read(tmp_path / "t").submission_log() == rows


def test_seconds_are_those_of_the_next_reading(tmp_path):
    result, _ = run(tmp_path / "t", budget={"budget": 3.0})  # steps of 0.25 s, evaluated after 1, 5, 9
    seconds = [row.submission_seconds for row in result.submission_log()]
    assert seconds == [0.25, *[1.25] * 4, *[2.25] * 4, *[3.0] * 3]


def test_losses_and_rates_are_those_of_the_step(tmp_path):
    result, workload = run(tmp_path / "t", budget={"budget": 3.0})
    every = math.ceil(workload.spec.step_hint / 1000)
    assert every > 1
    rows = [row for row in result.submission_log() if row.loss is not None]
    assert [row.step for row in rows] == [1, *range(every, 13, every)]
    for row in rows:
        assert row.loss == row.values["own_loss"]
        assert row.learning_rates == [pytest.approx(workload.submission.lr / row.step)]


@pytest.mark.parametrize("at_step", [3, 8])
def test_a_killed_run_that_is_resumed_has_the_log_of_an_unbroken_one(at_step, tmp_path, monkeypatch):
    unbroken, _ = run(tmp_path / "unbroken", trainer={"max_steps": 14}, budget={"budget": 99.0})
    monkeypatch.setattr("test_trial_recorder.TimedSubmission", Talkative)
    clock = interrupted_run(tmp_path, at_step=at_step)
    killed = [row.step for row in TrialResult.read(tmp_path / "t").submission_log()]
    assert killed == {3: [1], 8: [1, 2, 3, 4, 5]}[at_step]
    resumed, _ = run(
        tmp_path / "t",
        clock,
        ckpt_path=str(tmp_path / "t" / "last.ckpt"),
        trainer={"max_steps": 14},
    )
    assert without_evaluations(resumed) == without_evaluations(unbroken)


def without_evaluations(result):
    """All rows but what is logged around evaluations, which come earlier in a run that was charged for a kill."""
    return [
        (row.step, row.loss, row.learning_rates, {k: v for k, v in row.values.items() if k not in ("before", "after")})
        for row in result.submission_log()
    ]


def test_a_run_resumed_from_a_checkpoint_of_the_users_has_every_row_too(tmp_path):
    """The checkpoint lies between two evaluations, and in another folder than the record that goes on."""
    checkpoints = ModelCheckpoint(tmp_path / "t", filename="{step}", every_n_train_steps=3, save_top_k=-1)
    unbroken, _ = run(
        tmp_path / "t", callbacks=[checkpoints], trainer={"max_steps": 14}, budget={"budget": 99.0, "eval_period": 50.0}
    )
    resumed, _ = run(
        tmp_path / "other",
        ckpt_path=str(tmp_path / "t" / "step=6.ckpt"),
        trainer={"max_steps": 14},
        budget={"budget": 99.0, "eval_period": 50.0},
    )
    assert without_evaluations(resumed) == without_evaluations(unbroken)


def test_a_run_that_fails_has_its_last_step_in_the_log(tmp_path):
    class Fails(Talkative):
        def training_step(self, workload, batch):
            if self.steps == 6:
                workload.log({"last": 1})
                raise ArithmeticError
            return super().training_step(workload, batch)

    clock = FakeClock()
    with pytest.raises(ArithmeticError):
        controlled_fit(
            tmp_path, workload=TimedDigits(Fails(clock)), clock=clock, callbacks=[TrialRecorder(tmp_path / "t")]
        )
    rows = TrialResult.read(tmp_path / "t").submission_log()
    assert [row.step for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert rows[-1].values == {"select": math.inf, "pre": 1.0, "last": 1.0}


def test_the_users_loggers_get_every_row_at_its_step(tmp_path):
    logger = CSVLogger(tmp_path)
    result, _ = run(tmp_path / "t", budget={"budget": 3.0}, trainer={"logger": logger})
    with open(f"{logger.log_dir}/metrics.csv", newline="") as file:
        written = list(csv.DictReader(file))
    found = {int(row["step"]): float(row["submission/own_loss"]) for row in written if row["submission/own_loss"]}
    assert found == {row.step - 1: pytest.approx(row.values["own_loss"]) for row in result.submission_log()}
    evaluated = [int(row["step"]) for row in written if row["validation/accuracy"]]
    assert evaluated == [evaluation.step - 1 for evaluation in result.evaluations]
    rates = [float(row["training/learning_rate"]) for row in written if row["training/learning_rate"]]
    assert rates == [rate for row in result.submission_log() for rate in row.learning_rates]


def test_a_trial_without_a_folder_has_no_log(tmp_path):
    budget, _, _ = controlled_fit(tmp_path, budget={"budget": 1.0})
    with pytest.raises(RecordError, match=r"Add TrialRecorder\(\)"):
        budget.result.submission_log()


class Two(TimedSubmission):
    """Two optimizers, two micro-batches, and a log before each step, half of which are skipped."""

    micro_batches = 2

    def configure_optimizers(self, model, workload):
        weights = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim == 1]
        return [torch.optim.SGD(weights, lr=0.5), torch.optim.AdamW(others, lr=torch.tensor(0.25))]

    def training_step(self, workload, batch):
        loss = super().training_step(workload, batch)
        workload.log({"part": loss})
        self.parts = [*getattr(self, "parts", []), loss.item()]
        return loss

    def before_step(self, model, workload):
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
        workload.log({"grad_norm": norm})
        self.norms = [*getattr(self, "norms", []), norm.item()]
        return len(self.norms) % 2 == 0


def test_several_optimizers_micro_batches_and_skipped_steps_are_logged(tmp_path):
    clock = FakeClock()
    workload = TimedDigits(Two(clock))
    result = controlled_fit(
        tmp_path, workload=workload, clock=clock, callbacks=[TrialRecorder(tmp_path / "t")], budget={"budget": 3.0}
    )[0].result
    rows, submission = result.submission_log(), workload.submission
    assert [row.values["grad_norm"] for row in rows] == submission.norms
    assert [row.values["part"] for row in rows] == submission.parts[1::2]  # the later micro-batch of each step
    assert rows[0].learning_rates == [0.5, 0.25]
    assert rows[0].loss == pytest.approx(sum(submission.parts[:2]) / 2)


def test_an_untrained_model_is_evaluated_without_a_row(tmp_path):
    result, _ = run(tmp_path / "t", budget={"unit": "epochs", "budget": 1, "eval_period": 1}, trainer={"max_steps": 3})
    assert result.evaluations[0].step == 0
    assert [row.step for row in result.submission_log()] == [1, 2, 3]
