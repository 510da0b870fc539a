"""Sweeps: which octaves come next, from made-up records; and one that runs."""

import dataclasses
import itertools
import json
import math

import pytest
from commands import algoperf, states
from test_planning import plan, request

from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.plugins import find_submission
from algoperf_lightning.result import Evaluation, Status, TrialResult
from algoperf_lightning.tuning.plan import PlanMismatchError, Study
from algoperf_lightning.tuning.planning import plan_studies
from algoperf_lightning.tuning.studies import find_studies
from algoperf_lightning.tuning.sweep import FARTHEST, Sweep, describe_sweep, next_octaves

inf = math.inf


def finish(trial, seconds, best=0.99):
    """Write the record that a trial would leave which takes so long to its target; the best value if it misses."""
    reached = math.isfinite(seconds)
    study = trial.study
    end = seconds if reached else study.budget
    values = ((1, 0.1, 0.1), (100, end, 0.99 if reached else best))
    rows = [Evaluation(step, at, at, 0.1, {"validation/accuracy": value}) for step, at, value in values]
    result = TrialResult(
        workload=study.workload,
        version=study.version,
        ruleset=study.ruleset,
        submission=study.submission,
        hyperparameters={**study.defaults, **trial.point},
        seed=trial.seed,
        batch_size=32,
        budget=study.budget,
        eval_period=1.0,
        metric="accuracy",
        direction="max",
        validation_target=0.97,
        test_target=None,
        stop_at="validation",
        status=Status.REACHED if reached else Status.BUDGET_SPENT,
        evaluations=rows,
    )
    result.write_trial(trial.folder)
    result.write_evaluations(trial.folder)


def swept(studies):
    """The values of the first study, in the order they were planned."""
    return [point["learning_rate"] for point in studies[0].points]


def run_all(asked, seconds_at, best_at=lambda rate: 0.5):
    """Run plans as `algoperf tune` does, by a made-up function of the learning rate; return all of them."""
    plans = [plan_studies(asked)]
    while True:
        for study in plans[-1]:
            study.write()
            for trial in study.trials:
                rate = trial.point["learning_rate"]
                finish(trial, seconds_at(rate), best_at(rate))
        grown = plan_studies(asked)
        if grown == plans[-1]:
            return plans
        plans.append(grown)


def test_a_sweep_begins_with_octaves_around_the_default(tmp_path):
    (study,) = plan(tmp_path, sweep="learning_rate")
    default = find_submission("adamw")().learning_rate
    assert swept([study]) == [default * factor for factor in (1, 2, 1 / 2, 4, 1 / 4, 8, 1 / 8)]
    assert len(set(study.seeds)) == 1  # nothing else differs
    assert study.method == "sweep"
    assert study.search_space["learning_rate"]["scaling"] == "log"
    assert "learning_rate" not in study.defaults
    (centred,) = plan(tmp_path, sweep="learning_rate=0.01", trials=3)
    assert swept([centred]) == [0.01, 0.02, 0.005]


@pytest.mark.parametrize("studies", [1, 3])
@pytest.mark.parametrize(
    ("optimum", "octaves"),
    [
        pytest.param(0, range(-3, 4), id="in the middle"),
        pytest.param(3, range(-3, 6), id="at the upper end"),
        pytest.param(-6, range(-7, 4), id="far below"),
        pytest.param(20, range(-3, FARTHEST + 1), id="beyond what is allowed"),
    ],
)
def test_a_sweep_goes_on_while_the_best_is_at_an_end(tmp_path, optimum, octaves, studies):
    asked = request(tmp_path, sweep="learning_rate=0.01", studies=studies)
    plans = run_all(asked, lambda rate: 5 + abs(math.log2(rate / 0.01) - optimum))
    assert sorted(swept(plans[-1])) == [0.01 * 2.0**octave for octave in octaves]
    assert all(study.points == plans[-1][0].points for study in plans[-1])
    for before, now in itertools.pairwise(plans):
        for old, new in zip(before, now, strict=True):
            assert new.points[: len(old.points)] == old.points
    assert plan_studies(asked) == plans[-1] == find_studies([asked.output])
    text = describe_sweep(Sweep.of(find_submission("adamw"), "learning_rate=0.01"), plans[-1])
    assert f"{0.01 * 2.0 ** min(optimum, FARTHEST):.4g}, of {len(octaves)} octaves" in text
    assert ("is at the end" in text) == (optimum > FARTHEST)


def test_where_nobody_reaches_the_target_the_best_value_leads(tmp_path):
    asked = request(tmp_path, sweep="learning_rate=0.01")
    plans = run_all(asked, lambda rate: inf, lambda rate: 0.9 - 0.01 * abs(math.log2(rate / 0.01) - 4))
    assert max(swept(plans[-1])) == 0.01 * 2**5
    assert "no run reached the target" in describe_sweep(
        Sweep.of(find_submission("adamw"), "learning_rate=0.01"), plans[-1]
    )


def test_nothing_is_added_before_all_trials_of_all_studies_have_ended(tmp_path):
    asked = request(tmp_path, sweep="learning_rate=0.01", studies=2)
    planned = plan_studies(asked)
    for study in planned:
        study.write()
    trials = [trial for study in planned for trial in study.trials]
    for trial in trials[:-1]:
        finish(trial, 5 + abs(math.log2(trial.point["learning_rate"] / 0.01) - 5))
    assert plan_studies(asked) == planned
    finish(trials[-1], 10.0)
    assert plan_studies(asked) != planned


def test_an_extension_that_was_written_for_one_study_only_is_finished(tmp_path):
    """The process was killed between two plans."""
    asked = request(tmp_path, sweep="learning_rate=0.01", studies=2)
    plans = run_all(asked, lambda rate: 5 + abs(math.log2(rate / 0.01) - 4))
    whole = plans[-1]
    second = whole[1]
    shorter = dataclasses.replace(second, points=second.points[:7], seeds=second.seeds[:7])
    (second.folder / "plan.json").write_text(json.dumps(shorter.to_json()))
    assert [study.points for study in plan_studies(asked)] == [study.points for study in whole]


def test_failed_trials_are_no_best_ones(tmp_path):
    asked = request(tmp_path, sweep="learning_rate=0.01", trials=3)
    (study,) = plan_studies(asked)
    study.write()
    for trial in study.trials:
        (trial.folder / "failure_rank_0.txt").write_text("it failed")
    assert plan_studies(asked) == [study]
    assert "no trial gave a result" in describe_sweep(Sweep.of(find_submission("adamw"), "learning_rate=0.01"), [study])


def test_which_octaves_come_next():
    flat = dict.fromkeys(range(-1, 2), (7.0, 0.0))
    assert next_octaves(flat, range(-10, 11)) == [-2, -3, 2, 3]  # nothing is known yet
    assert next_octaves({-1: (inf, inf), 0: (inf, inf), 1: (inf, inf)}, range(-10, 11)) == []
    assert next_octaves({-1: (inf, 0.2), 0: (inf, 0.1), 1: (inf, inf)}, range(-10, 11)) == []
    assert next_octaves({-1: (8.0, 0.0), 0: (7.0, 0.0), 1: (inf, 0.0)}, range(-10, 11)) == []
    assert next_octaves({0: (8.0, 0.0), 1: (7.0, 0.0)}, range(2)) == []
    assert next_octaves({}, range(3)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sweep": "learning_rat"}, "Did you mean 'learning_rate'"),
        ({"sweep": "warmup_steps"}, "the default of AdamW is None. Give one: --sweep warmup_steps=VALUE"),
        ({"sweep": "learning_rate=fast"}, "expected a number, but got 'fast'"),
        ({"sweep": "learning_rate=-1"}, "-1.0 was given"),
        ({"sweep": "beta2=1.5"}, "beta2 must be a number in"),
        ({"sweep": "learning_rate", "stop_hopeless": True}, "--stop-hopeless"),
        ({"sweep": "learning_rate", "ruleset": "self-tuning"}, "self-tuning"),
        ({"sweep": "learning_rate", "search_spaces": {"adamw": "x.json"}}, "--search-space"),
    ],
)
def test_what_cannot_be_swept_is_said(tmp_path, options, message):
    with pytest.raises(BadInputError, match=message):
        plan(tmp_path, **options)


def test_two_sweeps_at_once_are_refused(tmp_path, capsys):
    sweeps = ["--sweep", "learning_rate", "--sweep", "weight_decay"]
    with pytest.raises(SystemExit):
        main(["tune", "digits", "--submission", "adamw", *sweeps, "--dry-run", "--output", str(tmp_path / "runs")])
    assert "--sweep was given twice, with learning_rate and weight_decay" in capsys.readouterr().err


def test_octaves_stay_in_the_declared_range_and_whole_numbers_whole():
    adamw = find_submission("adamw")
    assert max(Sweep.of(adamw, "beta2=0.5").values.values()) == 0.5
    values = Sweep.of(adamw, "warmup_steps=3").values
    assert list(values.values()) == [1, 2, 3, 6, 12, 24, 48, 96, 192, 384, 768, 1536, 3072]
    assert all(isinstance(value, int) for value in values.values())


def test_another_sweep_in_the_same_folder_is_refused(tmp_path):
    (study,) = plan(tmp_path, sweep="learning_rate")
    study.write()
    with pytest.raises(PlanMismatchError, match="search_space was"):
        plan(tmp_path, sweep="learning_rate=0.5")[0].write()
    with pytest.raises(PlanMismatchError):
        plan(tmp_path, studies=1)[0].write()


@pytest.mark.slow
def test_a_sweep_runs_extends_itself_and_is_shown(tmp_path):
    """So few steps do not reach the target, so the best validation value leads."""
    runs = tmp_path / "runs"
    command = ["tune", "digits", "--submission", "adamw", "--sweep", "learning_rate=0.001", "--trials", 3, "--unit",
               "steps", "--output", runs, "--plain", "--", "--time_budget.budget", 150]  # fmt: skip
    code, printed = algoperf(*command, timeout=600)
    assert code == 0, printed
    assert "the best value is at an end, so the sweep continues with " in printed
    count = len(states(runs))
    assert count >= 5
    assert f"of {count} octaves" in printed
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("trial.json")}
    code, again = algoperf(*command)
    assert code == 0, again
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("trial.json")} == before
    code, printed = algoperf("sensitivity", runs, "--json", "--output", tmp_path / "out")
    assert code == 0, printed
    (found,) = json.loads(printed)["sensitivities"]
    (axis,) = found["hyperparameters"]
    assert (axis["name"], axis["only_one_varied"], axis["scale"]) == ("learning_rate", True, "log")
    assert len(axis["points"]) == count
    best = max(axis["points"], key=lambda point: point["best_value"])
    assert best["value"] not in (axis["points"][0]["value"], axis["points"][-1]["value"])
    assert Study.read(runs / "adamw" / "study_1" / "digits").method == "sweep"
