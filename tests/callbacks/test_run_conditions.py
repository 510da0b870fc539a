"""Conditions of a run that is resumed: the user's choices stay, the place may change and is recorded; and its clock."""

import json
import time

import lightning as L
import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder, rules
from algoperf_lightning.cli import main
from algoperf_lightning.records import environment
from algoperf_lightning.records.environment import FIXED
from algoperf_lightning.result import TrialResult
from algoperf_lightning.workload import CheckpointMismatchError

CLOCK = FakeClock()
RECORDED = [
    *("python", "packages", "os", "cpu", "cpu_count", "torch_threads", "gpus", "strategy", "nodes"),
    *("source", "submission_class", "workload_class"),
]


def run(tmp_path, max_steps, workload=None, budget=None, **trainer):
    recorder = TrialRecorder(tmp_path / "t")
    controlled_fit(
        tmp_path,
        workload=workload or TimedDigits(TimedSubmission(CLOCK)),
        budget=budget,
        clock=CLOCK,
        callbacks=[recorder],
        ckpt_path=recorder.checkpoint_path,
        trainer={"max_steps": max_steps, **trainer},
    )
    return TrialResult.read(tmp_path / "t")


def changed(monkeypatch, name, value):
    """Let the environment be another in one point."""
    monkeypatch.setattr(
        rules, "describe_environment", lambda *args: {**environment.describe_environment(*args), name: value}
    )


def test_a_run_that_goes_on_where_it_was_has_one_environment(tmp_path):
    run(tmp_path, 5)
    result = run(tmp_path, 9)
    assert result.preemptions == 1
    assert result.environments == [{"from_step": 0, **result.environment}]


def test_each_condition_is_decided(tmp_path):
    known = set(run(tmp_path, 1).environment)
    assert known == {*FIXED, *RECORDED, "ranks"}, "say of a new one whether a resume may change it"  # ranks: identity


@pytest.mark.parametrize("name", FIXED)
def test_what_the_user_chose_stays(tmp_path, monkeypatch, name):
    before = run(tmp_path, 5)
    changed(monkeypatch, name, "another")
    with pytest.raises(CheckpointMismatchError, match=f"{name} was .* and is now 'another'.*Resume it with the same"):
        run(tmp_path, 9)
    assert TrialResult.read(tmp_path / "t") == before


@pytest.mark.parametrize("name", RECORDED)
def test_where_it_runs_may_change_and_is_recorded(tmp_path, monkeypatch, name):
    first = run(tmp_path, 5).environment
    value = {"packages": {"torch": "3.0"}, "gpus": ["NVIDIA H100"], "nodes": 2, "cpu_count": 3, "torch_threads": 3}
    value["source"] = {"lab.py": "0f"}
    said = "the source of .*lab.py.* has changed" if name == "source" else f"{name} was"
    changed(monkeypatch, name, value.get(name, "another"))
    with pytest.warns(UserWarning, match=f"continues in another environment, .*{said}"):
        result = run(tmp_path, 9)
    assert [each["from_step"] for each in result.environments] == [0, 5]
    assert result.environments[0] == {"from_step": 0, **first}
    assert result.environments[1][name] == result.environment[name] != first[name]
    monkeypatch.undo()
    assert [each["from_step"] for each in run(tmp_path, 13).environments] == [0, 5, 9]


@pytest.mark.slow
def test_precision_and_threads_for_real(tmp_path):
    run(tmp_path, 5)
    with pytest.raises(CheckpointMismatchError, match="precision was '32-true' and is now 'bf16-mixed'"):
        run(tmp_path, 9, precision="bf16-mixed")
    try:
        torch.set_float32_matmul_precision("high")
        with pytest.raises(CheckpointMismatchError, match="float32_matmul_precision was 'highest' and is now 'high'"):
            run(tmp_path, 9)
    finally:
        torch.set_float32_matmul_precision("highest")
    with pytest.raises(CheckpointMismatchError, match="compile was False and is now True"):
        run(tmp_path, 9, TimedDigits(TimedSubmission(CLOCK), compile=True))
    try:
        torch.set_num_threads(2)
        assert [each["torch_threads"] for each in run(tmp_path, 9).environments] == [1, 2]
    finally:
        torch.set_num_threads(1)


def test_a_trial_that_is_over_stays_what_it_was_wherever_it_is_looked_at(tmp_path, monkeypatch):
    before = run(tmp_path, -1, budget={"budget": 2.0})
    changed(monkeypatch, "cpu", "another")
    after = run(tmp_path, -1, budget={"budget": 2.0})
    assert after.environment == before.environment
    assert after.environments == before.environments


def test_score_says_that_conditions_changed(tmp_path, monkeypatch, capsys):
    run(tmp_path, 5, budget={"unit": "steps", "budget": 20, "eval_period": 4})
    changed(monkeypatch, "cpu", "another")
    run(tmp_path, 9, budget={"unit": "steps", "budget": 20, "eval_period": 4})
    main(["score", str(tmp_path / "t")])
    printed = capsys.readouterr().out
    assert "changed conditions" in printed
    assert "from step 5 cpu was " in printed
    assert "and is now 'another'" in printed


# The clock


class Monotonic(FakeClock):
    """A clock that would be taken for the default."""


Monotonic.__module__, Monotonic.__qualname__ = "time", "monotonic"


@pytest.mark.parametrize(
    ("clock", "name"),
    [
        pytest.param(time.monotonic, "time.monotonic", id="default"),
        pytest.param(time.perf_counter, "time.perf_counter", id="function"),
        pytest.param(CLOCK, "controlled.FakeClock", id="object"),
        pytest.param(Monotonic(), "time.monotonic (another)", id="disguised"),
    ],
)
def test_the_record_names_the_clock(tmp_path, clock, name):
    recorder = TrialRecorder(tmp_path / "t")
    trainer = L.Trainer(
        callbacks=[TimeBudget(clock=clock), recorder],
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(TimedDigits(TimedSubmission(CLOCK)))
    assert TrialResult.read(tmp_path / "t").clock == name


def test_a_run_does_not_go_on_by_another_clock(tmp_path):
    run(tmp_path, 5)
    recorder = TrialRecorder(tmp_path / "t")
    trainer = L.Trainer(
        callbacks=[TimeBudget(budget=10.0, eval_period=1.0), recorder], accelerator="cpu", logger=False, max_steps=9
    )
    with pytest.raises(
        CheckpointMismatchError, match=r"clock was 'controlled\.FakeClock' and is now 'time\.monotonic'"
    ):
        trainer.fit(TimedDigits(TimedSubmission(CLOCK)), ckpt_path=recorder.checkpoint_path)


def test_seconds_of_another_clock_are_not_scored(tmp_path, capsys):
    run(tmp_path, 5)
    with pytest.raises(SystemExit):
        main(["score", str(tmp_path / "t")])
    assert "its seconds are those of controlled.FakeClock and not of time.monotonic" in capsys.readouterr().err
    record = json.loads((tmp_path / "t" / "trial.json").read_text())
    (tmp_path / "t" / "trial.json").write_text(json.dumps({**record, "clock": "time.monotonic"}))
    main(["score", str(tmp_path / "t")])
