"""Tuning by the protocol of the Crowded Valley study: what is planned after which results on disk, and a real run."""

import math

import pytest
import yaml
from test_planning import request
from test_sweeps import finish

from algoperf_lightning.cli import main
from algoperf_lightning.commands import tune_options
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.tuning.plan import PlanMismatchError, Study
from algoperf_lightning.tuning.planning import plan_studies
from algoperf_lightning.tuning.protocol import Protocol, TuningBudget
from algoperf_lightning.tuning.request import Staged
from algoperf_lightning.tuning.staged import score
from algoperf_lightning.tuning.state import State, TrialState, look
from algoperf_lightning.tuning.studies import find_studies
from algoperf_lightning.tuning.suites import CROWDED_VALLEY, Suite

SMALL = Protocol(
    {"one-shot": TuningBudget(), "small": TuningBudget(4), "large": TuningBudget(6, refined=2)},
    seed=42,
    repeats=3,
    spanning=2,
    settings={"schedule": "constant", "faithful": False},
)


def asked(tmp_path, budget, protocol=SMALL, submissions=("valley_sgd",), fixed=None, **options):
    staged = Staged(protocol, budget, fixed or {})
    return request(tmp_path, submissions=submissions, unit="steps", staged=staged, **options)


def accuracy(trial):
    """Best at a learning rate of 0.1."""
    return 0.9 - 0.1 * abs(math.log10(trial.point.get("learning_rate", 0.01)) + 1)


def run_all(wanted, value=accuracy):
    """Run plans as `algoperf tune` does, by a made-up function of the trial; return the last of them."""
    studies = plan_studies(wanted)
    while True:
        for study in studies:
            study.write()
            for trial in study.trials:
                if look(trial).state is State.WAITING:
                    finish(trial, math.inf, value(trial))
        grown = plan_studies(wanted)
        if grown == studies:
            return {study.stage: study for study in studies}
        studies = grown


def test_the_default_point_is_run_with_ten_seeds(tmp_path):
    (study,) = plan_studies(asked(tmp_path, "one-shot", CROWDED_VALLEY, ["valley_adam"]))
    assert study.seeds == tuple(range(42, 52))
    assert study.folder == tmp_path / "runs" / "valley_adam" / "constant" / "one_shot" / "digits"
    config = yaml.safe_load(study.trials[3].config())
    assert config["submission"]["init_args"]["learning_rate"] == 1e-3
    assert config["submission"]["init_args"]["beta2"] == 0.999
    assert config["workload"]["init_args"]["seed"] == 45
    clock = config["time_budget"]
    assert (clock["unit"], clock["stop_at"], clock["stop_diverged"]) == ("steps", "budget", True)


def test_the_best_point_of_a_budget_is_run_again_with_other_seeds(tmp_path):
    studies = run_all(asked(tmp_path, "small"))
    assert list(studies) == ["one_shot", "tuning", "best"]
    best = max(studies["tuning"].trials, key=accuracy)
    assert [(trial.point, trial.seed) for trial in studies["best"].trials] == [(best.point, 43), (best.point, 44)]
    config = yaml.safe_load(studies["best"].trials[0].config())["submission"]["init_args"]
    assert config == {"learning_rate": best.point["learning_rate"], "schedule": "constant", "faithful": False}
    assert find_studies([tmp_path / "runs"]) == sorted(studies.values(), key=lambda study: study.folder)


def test_budgets_grow_and_do_not_shrink(tmp_path):
    for budget in ("one-shot", "small", "large"):
        studies = run_all(asked(tmp_path, budget))
    assert [len(study.points) for study in studies.values()] == [3, 6, 2, len(studies["best"].points)]
    assert list(studies) == ["one_shot", "tuning", "refined", "best"]
    records = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")}
    assert run_all(asked(tmp_path, "large")) == studies
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")} == records
    for budget in ("small", "one-shot"):
        with pytest.raises(PlanMismatchError, match=f"larger budget than '{budget}'.*--budget large, or"):
            plan_studies(asked(tmp_path, budget))


def test_a_budget_is_named_that_what_is_on_disk_fits(tmp_path):
    run_all(asked(tmp_path, "small"))
    with pytest.raises(PlanMismatchError, match="--budget small or large, or"):
        plan_studies(asked(tmp_path, "one-shot"))


def test_every_setting_is_tuned_by_itself(tmp_path):
    run_all(asked(tmp_path, "small"))
    studies = run_all(asked(tmp_path, "one-shot", fixed={"schedule": "cosine", "faithful": True}))
    (study,) = studies.values()
    assert study.folder.parts[-3:] == ("cosine_faithful", "one_shot", "digits")
    assert study.defaults == {"learning_rate": 0.01, "schedule": "cosine", "faithful": True}
    assert len(find_studies([tmp_path / "runs"])) == 4


def test_a_submission_without_a_schedule_is_among_those_of_the_constant_one(tmp_path):
    for fixed in ({}, {"schedule": "constant", "faithful": False}):
        own, other = plan_studies(asked(tmp_path, "one-shot", submissions=["momentum", "valley_sgd"], fixed=fixed))
        assert own.setting == other.setting == "constant"
        assert "schedule" not in own.defaults
        assert other.defaults["schedule"] == "constant"


def test_all_submissions_and_workloads_have_the_same_seeds(tmp_path):
    studies = plan_studies(asked(tmp_path, "small", submissions=["valley_sgd", "valley_adagrad"]))
    tuning = [study for study in studies if study.stage == "tuning"]
    assert tuning[0].points == tuning[1].points
    assert {study.seeds for study in tuning} == {(42,) * 4}


def test_another_search_space_in_the_same_folder_is_refused(tmp_path):
    run_all(asked(tmp_path, "small"))
    file = tmp_path / "space.json"
    file.write_text('{"learning_rate": {"min": 0.1, "max": 1.0, "scaling": "log"}}')
    other = asked(tmp_path, "small", search_spaces={"valley_sgd": file})
    with pytest.raises(PlanMismatchError, match="search_space was"):
        plan_studies(other)[1].write()


def test_trials_are_compared_by_their_last_value(tmp_path):
    (study,) = plan_studies(asked(tmp_path, "one-shot"))
    study.write()
    trial = study.trials[0]

    def found(value, state=State.BUDGET_SPENT, **changes):
        finish(trial, math.inf, value)
        result = TrialResult.read(trial.folder)
        for name, each in changes.items():
            setattr(result, name, each)
        return score(TrialState(trial, state, result))

    assert found(0.4) == 0.4
    assert found(0.4, direction="min") == -0.4
    assert found(math.nan) == -math.inf
    diverged = {"status": Status.STOPPED, "stop_diverged": True, "nonfinite_loss_step": 3}
    assert found(0.8, State.STOPPED, **diverged) == 0.1  # the first evaluation: as good as untrained
    assert found(0.4, State.RUNNING) is None
    assert found(0.4, State.FAILED) == -math.inf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "smal"}, r"Unknown budget 'smal'\. Did you mean 'small'"),
        ({"fixed": {"schedule": "cosin"}}, r"valley_sgd: Unknown schedule 'cosin'\. Did you mean 'cosine'"),
        ({"fixed": {"schedul": "cosine"}}, r"Unknown setting 'schedul'\. Did you mean 'schedule'"),
        (
            {"fixed": {"schedule": "cosine"}, "submissions": ["adamw"]},
            r"AdamW has no hyperparameter 'schedule'.*schedule = constant, but got cosine\. .*leave out --schedule\.",
        ),
        ({"fixed": {"faithful": True}, "submissions": ["adamw"]}, "AdamW has no hyperparameter 'faithful'"),
        ({"budget": "small", "submissions": ["lion"]}, "needs a search space, but Lion declares none"),
        ({"budget": "large", "submissions": ["nadamw"]}, "expected at least 6 points, but there are 5"),
        ({"trials": 3, "seed": 1}, "--trials, --seed cannot be combined with this suite"),
        ({"stop_hopeless": True}, "--stop-hopeless cannot be combined"),
        ({"sweep": "learning_rate"}, "--sweep cannot be combined"),
    ],
)
def test_what_cannot_be_planned_is_said(tmp_path, options, message):
    with pytest.raises(BadInputError, match=message):
        plan_studies(asked(tmp_path, **{"budget": "one-shot", **options}))


@pytest.mark.parametrize("option", [["--budget", "small"], ["--schedule", "cosine"], ["--faithful"]])
def test_options_of_the_protocol_need_its_suite(tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        main(["tune", "digits", "--submission", "valley_sgd", "--output", str(tmp_path), *option])
    assert (
        f"{option[0]} can only be used with a suite that has a protocol: add --suite crowded-valley"
        in capsys.readouterr().err
    )


@pytest.fixture
def small_suite(monkeypatch):
    suite = Suite("small", {"digits": "digits"}, "epochs", protocol=SMALL)
    monkeypatch.setattr(tune_options, "get_suite", lambda name, version: suite)


def tune(tmp_path, *arguments, budget="small"):
    main(["tune", "--suite", "crowded-valley", "--submission", "valley_sgd", "--budget", budget, "--plain",
          "--output", str(tmp_path / "runs"), *arguments, "--", "--time_budget.budget", "1"])  # fmt: skip


def test_a_dry_run_says_what_it_costs(tmp_path, small_suite, capsys):
    tune(tmp_path, "--schedule", "cosine", "--dry-run", budget="large")
    shown = capsys.readouterr().out
    assert "9 trials, at most 9 epochs" in shown  # 3 at the default point, 6 of the space
    assert "At most 6 more trials depend on the results" in shown  # 2 refined ones, 2 seeds of 2 best points
    assert "each of at most 1 epochs" in shown
    assert "cosine/tuning" in shown
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_protocol_runs_grows_and_is_resumed(tmp_path, small_suite, capsys):
    tune(tmp_path, "--schedule", "trapezoid")
    studies = {study.stage: study for study in find_studies([tmp_path / "runs"])}
    states = {stage: [look(trial) for trial in study.trials] for stage, study in studies.items()}
    assert {stage: len(each) for stage, each in states.items()} == {"best": 2, "one_shot": 3, "tuning": 4}
    assert all(state.state is State.BUDGET_SPENT for each in states.values() for state in each)
    scores = [score(state) for state in states["tuning"]]
    assert studies["best"].points[0] == studies["tuning"].points[scores.index(max(scores))]
    assert [state.result.evaluations[0].step for state in states["tuning"]] == [0] * 4
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")}
    tune(tmp_path, "--schedule", "trapezoid")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")} == before
    tune(tmp_path, "--schedule", "trapezoid", budget="large")
    folder = tmp_path / "runs" / "valley_sgd" / "trapezoid"
    assert len(Study.read(folder / "refined" / "digits").trials) == 2
    assert before.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("trial.json")}.items()
