"""A run that is resumed from its checkpoint, and checkpoints of other runs."""

import pytest
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit, seconds_of, steps_of

from algoperf_lightning.callbacks import TrialRecorder
from algoperf_lightning.result import Status
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workload import CheckpointMismatchError
from algoperf_lightning.workloads import Digits


def saved_run(tmp_path, clock, steps=6, **timed):
    workload = TimedDigits(TimedSubmission(clock, **timed))
    controlled_fit(
        tmp_path,
        workload=workload,
        clock=clock,
        callbacks=[TrialRecorder(tmp_path / "trial")],
        trainer={"max_steps": steps},
        budget={"budget": 100.0},
    )
    return str(tmp_path / "trial" / "last.ckpt")


def test_a_resumed_run_goes_on_with_clock_cadence_and_evaluations(tmp_path):
    clock = FakeClock()
    checkpoint = saved_run(tmp_path, clock, steps=6)  # evaluated at steps 1, 5 and (last) 6: 0.25, 1.25, 1.5 s
    clock.advance(5000.0)  # downtime is nobody's
    time_budget, _, _ = controlled_fit(
        tmp_path,
        workload=TimedDigits(TimedSubmission(clock)),
        clock=clock,
        ckpt_path=checkpoint,
        budget={"budget": 100.0},
        trainer={"max_steps": 12},
    )
    assert steps_of(time_budget) == [1, 5, 6, 10, 12]
    assert seconds_of(time_budget) == pytest.approx([0.25, 1.25, 1.5, 2.5, 3.0])
    assert time_budget.result.preemptions == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"budget": {"budget": 99.0}}, "budget was 100.0 and is now 99.0", id="budget"),
        pytest.param({"budget": {"budget": 100.0, "target": 0.5}}, "validation_target", id="target"),
        pytest.param({"seed": 1}, "seed is 0 there and 1 here", id="seed"),
        pytest.param({"submission": PlainSGD(lr=0.5)}, "submission is 'TimedSubmission' there", id="submission"),
        pytest.param({"timed": {"step": 0.5}}, "hyperparameters", id="hyperparameters"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, named):
    clock = FakeClock()
    checkpoint = saved_run(tmp_path, clock)
    submission = change.get("submission") or TimedSubmission(clock, **change.get("timed", {}))
    submission.clock = clock
    with pytest.raises(CheckpointMismatchError, match=named):
        controlled_fit(
            tmp_path,
            workload=TimedDigits(submission, seed=change.get("seed", 0)),
            clock=clock,
            ckpt_path=checkpoint,
            budget=change.get("budget", {"budget": 100.0}),
        )


def test_a_checkpoint_of_another_workload_is_refused(tmp_path):
    clock = FakeClock()
    checkpoint = saved_run(tmp_path, clock)

    class Other(TimedDigits):
        spec = Digits.spec.__class__(**{**vars(Digits.spec), "name": "other"})

    with pytest.raises(CheckpointMismatchError, match="workload is 'digits' there and 'other' here"):
        controlled_fit(tmp_path, workload=Other(TimedSubmission(clock)), clock=clock, ckpt_path=checkpoint)


def test_a_finished_trial_that_is_resumed_trains_no_further(tmp_path):
    clock = FakeClock()
    controlled_fit(
        tmp_path, clock=clock, scores=[0.1, 0.99], budget={"target": 0.9}, callbacks=[TrialRecorder(tmp_path / "trial")]
    )
    time_budget, workload, _ = controlled_fit(
        tmp_path,
        clock=clock,
        budget={"target": 0.9},
        ckpt_path=str(tmp_path / "trial" / "last.ckpt"),
        callbacks=[TrialRecorder(tmp_path / "trial")],
    )
    assert time_budget.result.status is Status.REACHED
    assert workload.submission.steps == 0
    assert time_budget.result.time_to_target == pytest.approx(1.25)
    assert time_budget.result.submission_seconds == pytest.approx(1.25)
