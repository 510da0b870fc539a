"""The verdict on a run that repeats a recorded one, and how such a run is made."""

import dataclasses
import re

import pytest
import yaml
from result_cases import evaluation, trial

from algoperf_lightning.bundles.reproduction import Verdict, compare
from algoperf_lightning.bundles.rerun import config_of
from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.submission_log import LOG_FILE, LoggedStep
from algoperf_lightning.result import Status, TrialResult

ENVIRONMENT = {"accelerator": "cpu", "packages": {"torch": "2.11", "numpy": "2"}, "cpu": "one", "source": {"a.py": "1"}}


@pytest.fixture
def make(tmp_path):
    """Make a trial that was evaluated every 100 steps, with losses in a folder."""
    made = []

    def run(reached_at=500, loss=0.5, unit="steps", seed=0, until=500, value=0.5, **changes):
        rows = [evaluation(step, 0.95 if step >= reached_at else value) for step in range(100, until + 1, 100)]
        status = Status.REACHED if reached_at <= until else Status.BUDGET_SPENT
        folder = tmp_path / f"trial_{len(made)}"
        folder.mkdir()
        losses = [LoggedStep(step, step / 10, loss=loss / step) for step in (1, 50, 100)]
        (folder / LOG_FILE).write_text("".join(f"{row.to_line()}\n" for row in losses))
        environment = {**ENVIRONMENT, **changes.pop("environment", {})}
        options = {
            "unit": unit,
            "seed": seed,
            "status": status,
            "environment": environment,
            "folder": folder,
            **changes,
        }
        made.append(trial(*rows, **options))
        return made[-1]

    return run


def test_an_equal_run_is_identical(make):
    found = compare(make(), make())
    assert found.verdict is Verdict.IDENTICAL
    assert (found.evaluations, found.losses) == (5, 3)
    assert (found.recorded, found.repeated) == (500.0, 500.0)
    assert (found.first_difference, found.differences) == ("", [])
    assert found.reason == "5 evaluations and 3 training losses are bit-equal, the last at step 500"


@pytest.mark.parametrize(
    ("recorded", "repeated", "verdict", "reason"),
    [
        ({}, {"loss": 0.51, "reached_at": 500}, Verdict.REPRODUCED, "within 10%"),
        ({"until": 2000, "reached_at": 2000}, {"until": 1900, "reached_at": 1900}, Verdict.REPRODUCED, "within 10%"),
        ({}, {"reached_at": 400, "until": 400}, Verdict.REPRODUCED, "one evaluation period"),
        ({}, {"reached_at": 300, "until": 300}, Verdict.NOT_REPRODUCED, "more than 10% apart"),
        ({}, {"reached_at": 900}, Verdict.NOT_REPRODUCED, "the record reached the target, the run missed the target"),
        ({"reached_at": 900}, {}, Verdict.NOT_REPRODUCED, "the record missed the target, the run reached the target"),
        ({"reached_at": 900}, {"reached_at": 900, "value": 0.52}, Verdict.REPRODUCED, "best validation/accuracy"),
        ({"reached_at": 900}, {"reached_at": 900, "value": 0.3}, Verdict.NOT_REPRODUCED, "more than 10% apart"),
        ({}, {"until": 0, "message": "no luck"}, Verdict.NOT_REPRODUCED, "never evaluated"),
        # By the clock, evaluations fall at other steps; steps that both have are compared.
        (
            {"unit": "seconds"},
            {"unit": "seconds", "until": 400, "reached_at": 300},
            Verdict.NOT_REPRODUCED,
            "more than 10% apart",
        ),
    ],
)
def test_verdicts(recorded, repeated, verdict, reason, make):
    found = compare(make(**recorded), make(**repeated))
    assert found.verdict is verdict
    assert reason in found.reason


def test_the_first_difference_is_the_earliest(make):
    assert compare(make(), make(loss=0.6)).first_difference == "training/loss at step 1: recorded 0.5, now 0.6"
    later = compare(make(), make(value=0.6)).first_difference
    assert later == "validation/accuracy at the evaluation after step 100: recorded 0.5, now 0.6"


def test_other_seeds_widen_what_counts_as_reproduced(make):
    recorded, repeated = make(reached_at=1000, until=1000), make(reached_at=1300, until=1300)
    others = [make(reached_at=1400, until=1400, seed=1), make(reached_at=1300, until=1300, seed=2, batch_size=1)]
    assert compare(recorded, repeated).verdict is Verdict.NOT_REPRODUCED
    found = compare(recorded, repeated, [recorded, *others])
    assert found.verdict is Verdict.REPRODUCED
    assert found.seeds == (1400.0,)
    assert found.reason.startswith("within the spread of 2 seeds in steps to the target")


@pytest.mark.parametrize(("last", "verdict"), [(250, Verdict.REPRODUCED), (100, Verdict.IDENTICAL)])
def test_few_equal_numbers_are_not_enough_for_identical(last, verdict, make):
    """By the clock, with evaluations at other steps: the last equal number is at step 100."""
    recorded, repeated = (make(reached_at=400, until=400, unit="seconds", steps=last) for _ in range(2))
    recorded.evaluations[1:-1], repeated.evaluations[1:-1] = [], []
    repeated.evaluations[-1] = dataclasses.replace(repeated.evaluations[-1], step=401)
    assert compare(recorded, repeated).verdict is verdict


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"environment": {"packages": {"torch": "2.12", "numpy": "2"}}}, "torch: recorded 2.11, now 2.12"),
        ({"environment": {"cpu": "two"}}, "cpu: recorded one, now two"),
        ({"environment": {"source": {"a.py": "2"}}}, "a.py has changed"),
        ({"hyperparameters": {"lr": 1.0}}, "hyperparameters: recorded .*, now {'lr': 1.0}"),
        ({"batch_size": 32}, "batch_size: recorded 64, now 32"),
    ],
)
def test_differences_are_named(changes, said, make):
    found = compare(make(), make(loss=0.7, **changes))
    assert len(found.differences) == 1
    assert re.search(said, found.differences[0])
    assert "deterministic" not in found.reason


def test_an_unexplained_difference_is_said(make):
    assert "is the submission deterministic?" in compare(make(), make(loss=0.7)).reason
    on_gpu = {"environment": {"accelerator": "cuda"}}
    assert "deterministic" not in compare(make(**on_gpu), make(loss=0.7, **on_gpu)).reason


# Configs


def recorded(**changes):
    values = {"workload": "digits", "unit": "steps", "budget": 60.0, "eval_period": 10.0, "status": Status.REACHED}
    return trial(**{**values, **changes})


def test_a_config_repeats_the_rules_of_the_record():
    config = config_of(recorded(environment={"accelerator": "cpu", "ranks": 8, "nodes": 2, "compile": "default"}))
    assert config["workload"] == {
        "class_path": "algoperf_lightning.workloads.digits.workload.Digits",
        "init_args": {"version": "1.0", "seed": 2**62, "compile": "default"},
    }
    assert config["submission"] == "algoperf_lightning.baselines.adamw.AdamW"
    assert config["time_budget"] == {
        "ruleset": "external",
        "unit": "steps",
        "stop_at": "validation",
        "budget": 60,
        "eval_period": 10,
        "target": 0.9,
    }
    assert {name: config["trainer"][name] for name in ("accelerator", "devices", "num_nodes")} == {
        "accelerator": "cpu",
        "devices": 4,
        "num_nodes": 2,
    }
    assert "max_steps" not in config["trainer"]


def test_a_config_has_variants_and_scales_and_the_end_of_a_run_that_was_stopped():
    config = config_of(
        recorded(workload="fastmri_tanh_tiny", unit="seconds", scale=2.0, status=Status.STOPPED, steps=7)
    )
    assert config["workload"]["init_args"] == {"version": "1.0", "seed": 2**62, "variant": "tanh", "tiny": True}
    assert config["time_budget"]["scale"] == 2.0
    assert "budget" not in config["time_budget"]
    assert config["trainer"]["max_steps"] == 7


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "the record does not name its class"),
        ({"submission_class": "__main__.Own"}, "defined in a script, a notebook"),
        ({"submission_class": "own.test.<locals>.Own"}, "Move the class into a module"),
    ],
)
def test_classes_that_cannot_be_imported_are_refused(environment, message):
    with pytest.raises(BadInputError, match=message):
        config_of(recorded(submission="Own", environment=environment))


# All of it, in processes of their own

OWN = """
import torch
from algoperf_lightning import Submission
from reproduced_helper import rate

class Own(Submission):
    def __init__(self, lr: float = 1e-2, betas: tuple[float, float] = (0.9, 0.99)):
        self.lr, self.betas = lr, betas

    def configure_optimizers(self, model, workload):
        return torch.optim.Adam(model.parameters(), lr=rate(self.lr), betas=self.betas)
"""


@pytest.mark.slow
def test_a_bundle_is_run_again_on_another_machine(tmp_path, monkeypatch, capfd):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "reproduced_own.py").write_text(OWN)
    (here / "reproduced_helper.py").write_text("def rate(lr):\n    return 2 * lr\n")
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(here)
    rules = "--time_budget.unit steps --time_budget.budget 40 --time_budget.eval_period 10 --trainer.logger false"
    submission = "--submission reproduced_own.Own --submission.lr 0.004"
    main(f"fit --config digits {submission} {rules} --recorder.folder runs/own".split())
    main(["pack", "runs", "--output", str(there / "own.tar.xz")])
    for path in here.glob("*.py"):
        path.unlink()
    monkeypatch.chdir(there)
    (there / "reproduced_helper.py").write_text("raise RuntimeError('not the one that was packed')\n")
    capfd.readouterr()
    main(["reproduce", "own.tar.xz"])
    said = capfd.readouterr().out
    assert "identical: 5 evaluations and" in said
    assert "different" not in said
    again = TrialResult.read(there / "reproduced" / "own" / "runs" / "own")
    assert again.hyperparameters == {"lr": 0.004, "betas": [0.9, 0.99]}
    assert again.steps == 40
    with pytest.raises(SystemExit) as end:
        main(["reproduce", "own.tar.xz", "--output", "other", "--json", "--", "--submission.lr", "1.0"])
    assert end.value.code == 1
    with pytest.raises(SystemExit) as end:  # the run of before is no answer to other options
        main(["reproduce", "own.tar.xz", "--output", "other", "--", "--submission.lr", "2.0"])
    assert end.value.code == 2
    found = yaml.safe_load(capfd.readouterr().out)["runs/own"]
    assert found["verdict"] == "not reproduced"
    assert found["first_difference"].startswith("train/accuracy at the evaluation after step 1:")
    assert "hyperparameters: recorded {'lr': 0.004" in found["differences"][0]
    assert dataclasses.asdict(compare(again, again))["differences"] == []
