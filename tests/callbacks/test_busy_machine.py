"""Seconds of a run that did not get a processor all the time are reported."""

import dataclasses
import json
import time

import lightning as L
import pytest
import torch
from rich.console import Console

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.cli import main
from algoperf_lightning.records.busy_machine import busy_machine
from algoperf_lightning.records.summary import result_table
from algoperf_lightning.result import TrialResult
from algoperf_lightning.submission import Submission
from algoperf_lightning.workloads import Digits


class Waiting(Submission):
    """Sleeps or computes for a moment in each step, as a process does that has to wait, or does not."""

    def __init__(self, sleeps: bool):
        self.sleeps = sleeps

    def configure_optimizers(self, model, workload):
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def training_step(self, workload, batch):
        if self.sleeps:
            time.sleep(0.1)
        else:
            end = time.process_time() + 0.1
            while time.process_time() < end:
                pass
        return super().training_step(workload, batch)


def measured(folder, sleeps, max_steps=-1, checkpoint=None, **options):
    budget = TimeBudget(**{"budget": 2.0, "eval_period": 1.0, **options})
    trainer = L.Trainer(
        callbacks=[budget, TrialRecorder(folder)],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_steps=max_steps,
    )
    trainer.fit(Digits(Waiting(sleeps)), ckpt_path=checkpoint)
    return budget.result


def printed(result):
    console = Console(width=400)
    with console.capture() as capture:
        console.print(result_table(result))
    return capture.get()


def test_a_run_that_waited_says_so_in_table_record_and_score(tmp_path, capsys):
    result = measured(tmp_path / "waits" / "digits" / "trial_1", sleeps=True)
    assert 0 < result.processor_seconds < 0.6 * result.submission_seconds
    assert "busy machine" in printed(result)
    record = json.loads((result.folder / "trial.json").read_text())
    assert record["processor_seconds"] == result.processor_seconds
    assert record["load"] == result.load > 0
    assert busy_machine(TrialResult.read(result.folder)) == busy_machine(result) != ""
    main(["score", str(tmp_path)])
    assert "busy machine:" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["score", str(tmp_path), "--strict"])


def test_a_run_that_computes_all_the_time_has_used_at_least_what_it_computed(tmp_path):
    result = measured(tmp_path / "trial_1", sleeps=False)
    assert result.processor_seconds >= 0.1 * result.steps


def test_steps_are_not_lengthened_so_only_the_table_with_its_seconds_says_something(tmp_path, capsys):
    steps = {"unit": "steps", "budget": 15, "eval_period": 15}
    result = measured(tmp_path / "waits" / "digits" / "trial_1", sleeps=True, **steps)
    assert "It counts steps, so its result is not affected." in printed(result)
    assert "or count steps" not in printed(result)
    capsys.readouterr()
    main(["score", str(tmp_path)])
    assert "busy machine" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({}, True),
        ({"processor_seconds": 8.1}, False),
        ({"processor_seconds": None}, False),
        ({"submission_seconds": 0.5, "processor_seconds": 0.1}, False),
        ({"environment": {"accelerator": "cuda", "cpu_count": 4}}, False),
    ],
)
def test_what_is_reported(tmp_path, change, reported):
    made = measured(tmp_path / "trial_1", sleeps=False, budget=0.2, eval_period=0.2)
    waited = dataclasses.replace(
        made,
        submission_seconds=10.0,
        processor_seconds=4.0,
        load=5.1,
        environment={"accelerator": "cpu", "cpu_count": 2},
    )
    said = busy_machine(dataclasses.replace(waited, **change))
    assert bool(said) is reported
    if reported:
        assert "40% of its submission seconds (4.0 of 10.0 s, load average up to 5.1 on 2 cores)" in said


def test_another_clock_than_real_time_has_no_processor_seconds(tmp_path):
    ticks = iter(range(100_000))
    result = measured(tmp_path / "trial_1", sleeps=False, clock=lambda: 0.1 * next(ticks))
    assert result.processor_seconds is None
    assert busy_machine(result) == ""


def test_a_resumed_run_keeps_what_it_had_used(tmp_path):
    steps = {"unit": "steps", "budget": 10, "eval_period": 10}
    first = measured(tmp_path / "trial_1", sleeps=False, max_steps=5, **steps)
    used = first.processor_seconds
    assert used >= 0.5
    checkpoint = tmp_path / "trial_1" / "last.ckpt"
    resumed = measured(tmp_path / "trial_1", sleeps=False, checkpoint=checkpoint, **steps)
    assert (resumed.preemptions, resumed.steps) == (1, 10)
    assert resumed.processor_seconds >= used + 0.5
    assert resumed.load >= first.load
