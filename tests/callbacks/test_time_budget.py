"""When a run is evaluated, what is charged, and when its budget or its target ends it."""

import math

import lightning as L
import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit, same_parameters, seconds_of, steps_of
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.callbacks.timed_run import TimedRun
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import Status
from algoperf_lightning.spec import BENCHMARK_VERSIONS
from algoperf_lightning.workloads import Digits

# Cadence


def test_evaluates_after_step_1_and_then_at_the_first_step_at_which_the_period_has_passed(tmp_path):
    time_budget, _, _ = controlled_fit(tmp_path, step=0.3, budget={"budget": 4.0, "eval_period": 1.0})
    # 0.3, then the first multiples of 0.3 that lie at least 1 s after the last one: 1.5, 2.7, 3.9
    assert steps_of(time_budget) == [1, 5, 9, 13]
    assert seconds_of(time_budget) == pytest.approx([0.3, 1.5, 2.7, 3.9])


def test_selecting_data_is_charged(tmp_path):
    time_budget, _, _ = controlled_fit(tmp_path, step=0.25, select=0.25, budget={"budget": 2.0, "eval_period": 1.0})
    assert seconds_of(time_budget) == pytest.approx([0.5, 1.5])


def test_evaluation_is_not_charged_but_shows_in_the_wall_time(tmp_path):
    time_budget, _, _ = controlled_fit(tmp_path, evaluation_seconds=50.0, budget={"budget": 2.0})
    assert seconds_of(time_budget) == pytest.approx([0.25, 1.25])
    walls = [evaluation.wall_seconds for evaluation in time_budget.result.evaluations]
    assert walls == pytest.approx([50.25, 101.25])


def test_slow_first_step_counts_as_lazy_compilation_does(tmp_path):
    time_budget, _, _ = controlled_fit(
        tmp_path, step=lambda n: 30.0 if n == 1 else 0.25, budget={"budget": 31.0, "eval_period": 1.0}
    )
    assert seconds_of(time_budget) == pytest.approx([30.0])
    assert time_budget.result.status is Status.BUDGET_SPENT


def test_slow_steps_after_quick_ones_delay_no_evaluation(tmp_path):
    time_budget, _, _ = controlled_fit(
        tmp_path, step=lambda n: 0.002 if n <= 500 else 0.5, budget={"budget": 9.0, "eval_period": 5.0}
    )
    # 500 quick steps take 1 s; 5.002 s have passed after nine slow ones
    assert steps_of(time_budget) == [1, 509]


# The end of the budget


def test_budget_ends_the_run_without_an_evaluation_past_it(tmp_path):
    time_budget, _, _ = controlled_fit(tmp_path, step=0.375, budget={"budget": 1.5, "eval_period": 1.0})
    assert steps_of(time_budget) == [1]  # step 4 ends at 1.5 s: due, but the budget is spent
    result = time_budget.result
    assert result.status is Status.BUDGET_SPENT
    assert result.steps == 4
    assert result.submission_seconds == pytest.approx(1.5)
    assert math.isinf(result.time_to_target)


def test_before_evaluation_is_charged_and_may_spend_the_budget(tmp_path):
    time_budget, workload, _ = controlled_fit(
        tmp_path, step=0.25, before=0.5, budget={"budget": 2.0, "eval_period": 1.0}
    )
    # 0.25 + 0.5 = 0.75 at the first evaluation; four steps later 1.75 + 0.5 = 2.25 > 2: no evaluation
    assert seconds_of(time_budget) == pytest.approx([0.75])
    assert time_budget.result.status is Status.BUDGET_SPENT
    assert time_budget.result.submission_seconds == pytest.approx(2.25)
    assert workload.submission.calls == ["before", "after", "before", "after"]


def test_after_evaluation_is_charged(tmp_path):
    time_budget, _, _ = controlled_fit(tmp_path, step=0.25, after=0.5, budget={"budget": 2.0, "eval_period": 1.0})
    # 0.25; then 0.5 for after_evaluation and steps until 1 s has passed since: 0.25 + 0.5 + 2 x 0.25
    assert seconds_of(time_budget) == pytest.approx([0.25, 1.25])
    assert steps_of(time_budget) == [1, 3]


def test_parameters_swapped_around_an_evaluation_can_be_trained_on(tmp_path):
    class Swapping(TimedSubmission):
        def before_evaluation(self, model):
            self.kept = [p.detach().clone() for p in model.parameters()]
            with torch.no_grad():
                for p in model.parameters():
                    p.zero_()

        def after_evaluation(self, model):
            assert not torch.is_inference_mode_enabled()  # new tensors are to be trained on
            assert torch.is_grad_enabled()
            for p, kept in zip(model.parameters(), self.kept, strict=True):
                p.data = kept * 1.0

    clock = FakeClock()
    swapped = Digits(Swapping(clock))
    plain = Digits(TimedSubmission(clock))
    time_budget, *_ = controlled_fit(tmp_path, workload=swapped, clock=clock, budget={"budget": 3.0})
    controlled_fit(tmp_path, workload=plain, clock=clock, budget={"budget": 3.0})
    assert len(time_budget.result.evaluations) >= 2
    # all weights 0 give equal logits: the first class is predicted, the loss is ln 10
    assert time_budget.result.evaluations[-1].metrics["validation/loss"] == pytest.approx(math.log(10), rel=1e-6)
    assert same_parameters(swapped, plain)


# The target


@pytest.mark.parametrize(
    ("scores", "evaluations", "status"),
    [
        pytest.param([0.5, 0.9, 0.95], 2, Status.REACHED, id="inclusive"),
        pytest.param([0.95], 1, Status.REACHED, id="at-step-1"),
        pytest.param([math.nan, 0.89, math.nan, 0.91], 4, Status.REACHED, id="nan-does-not-count"),
        pytest.param([math.nan] * 50, 10, Status.BUDGET_SPENT, id="always-nan"),
    ],
)
def test_target_ends_the_run(tmp_path, scores, evaluations, status):
    time_budget, _, _ = controlled_fit(tmp_path, scores=scores, budget={"target": 0.9})
    result = time_budget.result
    assert result.status is status
    assert len(result.evaluations) == evaluations
    if status is Status.REACHED:
        assert result.time_to_target == result.evaluations[-1].submission_seconds
        assert result.step_to_target == result.evaluations[-1].step


def test_stop_at_both_goes_on_to_the_test_target_and_changes_no_time(tmp_path):
    scores, test_scores = [0.1, 0.97, 0.1, 0.1], [0.1, 0.1, 0.1, 0.99]
    time_budget, _, _ = controlled_fit(
        tmp_path, scores=scores, test_scores=test_scores, budget={"target": 0.97, "stop_at": "both"}
    )
    result = time_budget.result
    assert result.status is Status.REACHED
    assert len(result.evaluations) == 4
    assert result.time_to_target == pytest.approx(1.25)
    assert result.evaluation_at_target("test").submission_seconds == pytest.approx(3.25)


# What is not charged


def test_checkpoints_and_loggers_are_not_charged(tmp_path, monkeypatch):
    clock = FakeClock()

    class SlowLogger(CSVLogger):
        def log_metrics(self, metrics, step=None):
            clock.advance(100.0)
            super().log_metrics(metrics, step)

        def save(self):
            clock.advance(100.0)
            super().save()

    saves = []
    save = L.Trainer.save_checkpoint

    def slow_save(self, *args, **kwargs):
        clock.advance(100.0)
        saves.append(args)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(L.Trainer, "save_checkpoint", slow_save)

    class Logging(TimedDigits):
        def training_step(self, batch):
            loss = super().training_step(batch)
            self.log("loss", loss.detach())
            return loss

    workload = Logging(TimedSubmission(clock))
    often = ModelCheckpoint(tmp_path / "a", every_n_train_steps=3, save_top_k=-1)
    time_budget, _, trainer = controlled_fit(
        tmp_path,
        workload=workload,
        clock=clock,
        callbacks=[often, TrialRecorder(tmp_path / "t")],
        trainer={"logger": SlowLogger(tmp_path), "log_every_n_steps": 1},
        budget={"budget": 3.0},
    )
    assert seconds_of(time_budget) == pytest.approx([0.25, 1.25, 2.25])
    assert len(saves) >= 6
    assert time_budget.result.wall_seconds > 1000
    assert trainer.save_checkpoint.__func__ is slow_save  # the Trainer is left as it was


def test_other_callbacks_may_take_their_time_after_an_evaluation(tmp_path):
    clock = FakeClock()

    class Slow(L.Callback):
        def on_validation_end(self, trainer, pl_module):
            clock.advance(60.0)

    first, last = Slow(), Slow()
    time_budget = TimeBudget(clock=clock, budget=3.0, eval_period=1.0)
    trainer = L.Trainer(
        callbacks=[first, time_budget, last],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(TimedDigits(TimedSubmission(clock)))
    assert seconds_of(time_budget) == pytest.approx([0.25, 1.25, 2.25])


def test_the_clock_is_seldom_read(tmp_path, monkeypatch):
    readings = []
    read = TimedRun.read
    monkeypatch.setattr(TimedRun, "read", lambda self: (readings.append(1), read(self)))
    time_budget, _, _ = controlled_fit(tmp_path, step=0.004, budget={"budget": 4.0, "eval_period": 2.0})
    assert time_budget.result.steps == pytest.approx(1000, abs=1)
    assert len(readings) <= 25


# Rules


@pytest.mark.parametrize("version", BENCHMARK_VERSIONS)
@pytest.mark.parametrize(("ruleset", "factors"), [("external", (1, 1, 1)), ("self-tuning", (3, 1.5, 1.5))])
def test_budget_of_a_ruleset(tmp_path, version, ruleset, factors):
    clock = FakeClock()
    workload = TimedDigits(TimedSubmission(clock), version=version, scores=[1.0])
    time_budget = TimeBudget(ruleset, clock=clock)
    L.Trainer(
        callbacks=[time_budget], accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    ).fit(workload)
    factor = dict(zip(("0.5", "0.6", "1.0"), factors, strict=True))[version]
    assert time_budget.result.budget == 60.0 * factor
    assert time_budget.result.ruleset == ruleset


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "60", True], ids=str)
@pytest.mark.parametrize("name", ["budget", "target", "eval_period"])
def test_numbers_must_be_positive(name, value):
    with pytest.raises(BadInputError, match=f"{name} must be a positive number"):
        TimeBudget(**{name: value})


def test_unknown_words_are_refused_with_the_nearest():
    with pytest.raises(BadInputError, match="Did you mean 'self-tuning'"):
        TimeBudget("self_tuning")
    with pytest.raises(BadInputError, match="Choose from: both, budget, validation"):
        TimeBudget(stop_at="test")


def test_only_workloads_are_timed(tmp_path):
    from lightning.pytorch.demos.boring_classes import BoringModel

    trainer = L.Trainer(callbacks=[TimeBudget()], accelerator="cpu", logger=False, default_root_dir=tmp_path)
    with pytest.raises(TypeError, match="BoringModel"):
        trainer.fit(BoringModel())


def test_result_before_a_run_says_what_to_do():
    with pytest.raises(RuntimeError, match="TrialRecorder"):
        _ = TimeBudget().result


def test_passing_the_data_module_too_is_the_same(tmp_path):
    runs = []
    for data in (False, True):
        clock = FakeClock()
        workload = TimedDigits(TimedSubmission(clock))
        trainer = L.Trainer(
            callbacks=[TimeBudget(clock=clock, budget=2.0)],
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(workload, **({"datamodule": workload.data} if data else {}))
        runs.append(workload)
    assert same_parameters(*runs)
