"""Files of every format that was released: they stay readable."""

from pathlib import Path

import pytest

from algoperf_lightning import result
from algoperf_lightning.scoring import read_runs
from algoperf_lightning.tuning import plan

FORMATS = Path(__file__).parent / "formats"


def test_one_of_each_format_is_kept():
    newest = max(result.FORMAT, plan.FORMAT)
    assert {int(path.name) for path in FORMATS.iterdir()} == set(range(1, newest + 1)), "see CONTRIBUTING.md, Versions"


# Study, then of each trial: status, steps, submission seconds, hyperparameter, evaluations, last accuracy.
KEPT = {
    1: (
        "adamw/study_1/digits",
        [
            ("budget_spent", 60, 3.410391437995713, 0.0002596866783593734, 4, 0.09166666666666666),
            ("budget_spent", 60, 3.418834421999236, None, 4, 0.09666666666666666),
        ],
    )
}


@pytest.mark.parametrize("number", KEPT)
def test_a_run_of_each_format_is_read(number):
    folder, trials = KEPT[number]
    study = plan.Study.read(FORMATS / str(number) / folder)
    assert (study.submission, study.workload, study.budget, study.unit) == ("adamw", "digits", 60.0, "steps")
    assert [trial.number for trial in study.trials] == list(range(1, len(trials) + 1))
    for trial, (status, steps, seconds, learning_rate, evaluations, accuracy) in zip(study.trials, trials, strict=True):
        read = result.TrialResult.read(trial.folder)
        assert (read.status.value, read.steps, read.submission_seconds) == (status, steps, seconds)
        assert len(read.evaluations) == evaluations
        assert read.evaluations[-1].metrics["validation/accuracy"] == accuracy
        assert read.submission_log()[0].step == 1
        point = study.points[trial.number - 1]
        assert read.hyperparameters["learning_rate"] == point["learning_rate"]
        assert learning_rate in (None, point["learning_rate"])
    runs = read_runs([FORMATS / str(number)])
    assert len(runs.trials) == len(trials)
    assert not runs.findings
