"""Search spaces as people have them: single points, numbers written as texts, submissions with ``**kwargs``."""

import json

import pytest
import yaml
from commands import algoperf, states
from probes import Free, Probe, SeveralOptimizers, Untyped
from test_planning import plan

from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import Status
from algoperf_lightning.submission import Submission
from algoperf_lightning.tuning.search_space import SearchSpace


@pytest.mark.parametrize("method", ["halton", "algoperf"])
def test_a_single_point_is_the_trial_of_every_study(tmp_path, method):
    studies = plan(tmp_path, submissions=["probes.Single"], method=method)
    assert [study.points for study in studies] == [({"lr": 0.1, "pause": 0.0},)] * 3
    assert len({study.seeds for study in studies}) == 3


@pytest.mark.parametrize("method", ["halton", "algoperf"])
def test_of_a_few_points_each_study_has_different_ones(tmp_path, method):
    whole = plan(tmp_path, submissions=["probes.Few"], method=method)
    assert [len(study.points) for study in whole] == [4, 4, 4]
    drawn = plan(tmp_path, submissions=["probes.Few"], method=method, trials=2)
    for study in [*whole, *drawn]:
        assert len({json.dumps(point) for point in study.points}) == len(study.points)


def test_more_trials_than_points_are_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"at least 5 points, but there are 1\. Use fewer trials \(--trials\)"):
        plan(tmp_path, submissions=["probes.Single"], trials=5)


def test_a_shorter_list_than_the_ruleset_has_trials_is_used_whole(tmp_path):
    assert [len(study.points) for study in plan(tmp_path, submissions=["probes.Slow"])] == [2, 2, 2]


class Typed(Submission):
    def __init__(self, lr: float, steps: int | None = None, schedule: str = "cosine", free=None):
        pass


def test_a_text_that_is_a_number_is_read_as_one_where_no_text_is_expected():
    declared = {
        "lr": {"min": "1e-4", "max": "1e-2", "scaling": "log"},
        "steps": {"feasible_points": ["100", 200]},
        "schedule": {"feasible_points": ["1e-3"]},
        "free": {"feasible_points": ["1e-3", "linear"]},
    }
    space = SearchSpace.parse(declared, "file", Typed)
    assert (space.dimensions["lr"].minimum, space.dimensions["lr"].maximum) == (1e-4, 1e-2)
    assert space.dimensions["steps"].values == (100, 200)
    assert space.dimensions["schedule"].values == ("1e-3",)
    assert space.dimensions["free"].values == (1e-3, "linear")
    points = SearchSpace.parse([{"lr": "1e-3"}, {"lr": "3"}], "file", Typed).points
    assert points == ({"lr": 1e-3}, {"lr": 3})


@pytest.mark.parametrize("text", ["fast", "nan", "1e400", ""])
def test_other_texts_are_no_numbers(text):
    with pytest.raises(BadInputError, match="lr: expected"):
        SearchSpace.parse([{"lr": text}], "file", Typed)


def test_hyperparameters_without_a_name_in_the_signature_are_planned_apart(tmp_path):
    (study, *_) = plan(tmp_path, submissions=["probes.Free"], studies=1)
    submission = yaml.safe_load(study.trials[0].config())["submission"]
    assert submission == {"class_path": "probes.Free", "init_args": {}, "dict_kwargs": {"lr": 0.1, "decay": 0.0}}


@pytest.mark.slow
@pytest.mark.parametrize("submission", [Free, Untyped, Probe, SeveralOptimizers])
def test_the_planned_trials_run_with_the_planned_values(tmp_path, submission):
    space = tmp_path / "space.json"
    space.write_text('{"lr": {"feasible_points": ["1e-1"]}}')
    code, printed = algoperf(
        *("tune", "digits", "--submission", f"probes.{submission.__name__}", "--search-space", space, "--studies", 1),
        *("--unit", "steps", "--output", tmp_path / "runs", "--", "--time_budget.budget", 20),
    )
    assert code == 0, printed
    (state,) = states(tmp_path / "runs")
    assert state.state.over
    assert state.result.status == Status.BUDGET_SPENT
    assert state.result.hyperparameters["lr"] == 0.1


def test_a_folder_of_search_spaces_may_lack_a_submission_which_keeps_its_own(tmp_path, capsys):
    tune = ["tune", "digits", "--output", str(tmp_path / "runs"), "--search-space", "tiny", "--dry-run"]
    main([*tune, "--submission", "probes.Slow", "adamw"])
    printed = capsys.readouterr().out
    assert "probes.Slow: the search space Slow.json is not in" in printed
    assert "trial 2, seed" in printed
    assert "adamw:" not in printed
    with pytest.raises(SystemExit):
        main([*tune, "--submission", "probes.Slow", "--search-space", str(tmp_path)])
    assert "expected a folder with files NAME.json" in capsys.readouterr().err
