import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from probes import SelfTuned

from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.plugins import find_submission
from algoperf_lightning.registry import find_workload
from algoperf_lightning.tuning.plan import PlanMismatchError, Study
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies
from algoperf_lightning.tuning.state import State, look
from algoperf_lightning.tuning.studies import find_studies, in_order

# The archived AdamW space of AlgoPerf, five trials of its own sequence: learning rate and weight decay.
PUBLISHED_POINTS = {
    (0.0019814680146414726, 0.010340635370188849),
    (0.0002366315233112939, 0.358796133013872),
    (0.0009554263254837416, 0.01950318659958426),
    (0.00010054778177688589, 0.012638327613865154),
    (0.00019766560226064676, 0.012300240728935494),
}


def request(tmp_path, workloads=("digits",), submissions=("adamw",), **options):
    return TuningRequest(list(workloads), list(submissions), tmp_path / "runs", data_dir=tmp_path / "data", **options)


def plan(tmp_path, *args, **options):
    return plan_studies(request(tmp_path, *args, **options))


def test_external_tuning_is_three_studies_of_five_different_points(tmp_path):
    studies = plan(tmp_path)
    assert [study.number for study in studies] == [1, 2, 3]
    points = [json.dumps(point) for study in studies for point in study.points]
    assert len(points) == len(set(points)) == 15
    seeds = [trial.seed for study in studies for trial in study.trials]
    assert len(set(seeds)) == 15


@pytest.mark.parametrize(
    ("version", "ruleset", "studies", "trials", "budget"),
    [
        ("0.5", "external", 5, 5, 60),
        ("0.6", "external", 3, 5, 60),
        ("1.0", "external", 3, 5, 60),
        ("0.5", "self-tuning", 5, 1, 180),
        ("0.6", "self-tuning", 3, 1, 90),
        ("1.0", "self-tuning", 3, 1, 90),
    ],
)
def test_studies_trials_and_budgets_are_those_of_the_rules(tmp_path, version, ruleset, studies, trials, budget):
    submission = "adamw" if ruleset == "external" else "probes.SelfTuned"
    planned = plan(tmp_path, submissions=[submission], version=version, ruleset=ruleset)
    assert [len(study.trials) for study in planned] == [trials] * studies
    assert {study.budget for study in planned} == {budget}


def test_the_benchmarks_own_sequence_gives_the_published_points(tmp_path):
    (study,) = plan(tmp_path, studies=1, trials=5, method="algoperf")
    drawn = sorted((point["learning_rate"], point["weight_decay"]) for point in study.points)
    assert np.allclose(drawn, sorted(PUBLISHED_POINTS), rtol=1e-12)


def test_submissions_with_one_space_try_the_same_points_and_seeds_on_all_workloads(tmp_path):
    main(["data", "tiny", "mnist", "--data-dir", str(tmp_path / "data")])
    space = tmp_path / "space.json"
    space.write_text('{"learning_rate": {"min": 1e-4, "max": 1e-2, "scaling": "log"}}')
    studies = plan(
        tmp_path, ["digits", "mnist"], ["adamw", "momentum"], search_spaces={"adamw": space, "momentum": space}
    )
    assert len(studies) == 2 * 3 * 2
    assert len({json.dumps(study.points) for study in studies if study.number == 2}) == 1
    assert len({study.seeds for study in studies if study.workload == "mnist" and study.number == 2}) == 1
    assert studies[0].seeds != next(study.seeds for study in studies if study.workload == "mnist")


def test_the_plan_is_the_same_every_time_and_another_seed_gives_another(tmp_path):
    assert plan(tmp_path) == plan(tmp_path)
    other = plan(tmp_path, seed=1)
    assert [s.points for s in plan(tmp_path)] != [s.points for s in other]
    assert [s.seeds for s in plan(tmp_path)] != [s.seeds for s in other]


def test_a_list_of_as_many_points_as_trials_is_used_whole_by_each_study(tmp_path):
    studies = plan(tmp_path, submissions=["nadamw"])
    declared = [dict(point) for point in find_submission("nadamw").search_space]
    assert all(list(study.points) == declared for study in studies)


def test_of_a_longer_list_each_study_draws_without_replacement(tmp_path):
    studies = plan(tmp_path, submissions=["nadamw"], trials=2)
    drawn = [[json.dumps(point) for point in study.points] for study in studies]
    assert all(len(set(points)) == 2 for points in drawn)
    assert len({tuple(sorted(points)) for points in drawn}) > 1


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    space = tmp_path / "space.json"
    space.write_text('{"learning_rat": {"min": 1, "max": 2, "scaling": "log"}, "beta2": {"feasible_points": ["x"]}}')
    with pytest.raises(BadInputError) as told:
        plan(
            tmp_path,
            ["digitz", "mnist"],
            ["adamw", "nadam", "probes.SelfTuned"],
            search_spaces={"adamw": space, "momentum": space},
        )
    message = str(told.value)
    for part in (
        "'digitz'. Did you mean 'digits'",
        "mnist: ",
        "algoperf data prepare mnist",
        "'nadam'. Did you mean 'nadamw'",
        "did you mean 'learning_rate'",
        "beta2: expected float",
        "SelfTuned declares none. Give one with --search-space probes.SelfTuned=FILE.json",
        "'momentum', which is not among the submissions",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("submissions", "options", "message"),
    [
        (["adamw"], {}, "The self-tuning ruleset allows no search space, but there is AdamW.search_space"),
        (["probes.SelfTuned"], {"trials": 5}, "The self-tuning ruleset has one trial per study, but trials is 5"),
        (["probes.Missing"], {}, "Unknown class of probes .* 'Missing'"),
        (["pathlib.Path"], {}, "'pathlib.Path' must be a subclass of Submission"),
        (["probes.SelfTuned"], {"studies": 0}, "studies must be a positive integer, but got 0"),
        (["probes.SelfTuned"], {"seed": -1}, r"seed must be an integer in \[0, 2\*\*32\), but got -1"),
        (["probes.SelfTuned"], {"version": "0.7"}, "Unknown benchmark version '0.7'"),
        (["probes.SelfTuned"], {"fit_arguments": ["--time_budget.budget", "none"]}, "must be a positive number"),
    ],
)
def test_what_the_self_tuning_ruleset_does_not_allow_is_refused(tmp_path, submissions, options, message):
    with pytest.raises(BadInputError, match=message):
        plan(tmp_path, submissions=submissions, ruleset="self-tuning", **options)


def test_a_budget_given_by_hand_is_in_the_plan(tmp_path):
    for arguments in (["--time_budget.budget", "7.5"], ["--time_budget.budget=7.5"]):
        assert plan(tmp_path, fit_arguments=arguments)[0].budget == 7.5
    config = tmp_path / "mine.yaml"
    config.write_text("time_budget: {budget: 8.5}\n")
    assert plan(tmp_path, fit_arguments=["--config", str(config)])[0].budget == 8.5
    with pytest.raises(BadInputError, match=r"--time_budget\.budget must be a positive number, but got '-1'"):
        plan(tmp_path, fit_arguments=["--time_budget.budget", "-1"])


@pytest.mark.parametrize("arguments", [["--time_budget.unit", "steps"], ["--time_budget.scale=2"], ["-c", "mine.yaml"]])
def test_what_the_plan_decides_is_not_for_single_trials(tmp_path, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("time_budget: {ruleset: self-tuning}\n")
    with pytest.raises(BadInputError, match=r"--time_budget\.(unit|scale|ruleset) applies to the plan"):
        plan(tmp_path, fit_arguments=arguments)


@pytest.mark.parametrize("text", ["- time_budget\n", "time_budget: [3]\n"])
def test_a_config_that_is_no_mapping_is_named(tmp_path, text):
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    with pytest.raises(
        BadInputError, match=r"mine\.yaml is not a config: expected a mapping of options to values, but got \["
    ):
        plan(tmp_path, fit_arguments=["--config", str(config)])


def test_packaged_search_spaces_are_called_by_their_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["tune", "digits", "--submission", "adamw", "--studies", "1", "--trials", "2", "--dry-run"]
    main([*arguments, "--search-space", "adamw=tiny/adamw", "--output", str(tmp_path / "runs")])
    points = json.loads((Path(__file__).parents[2] / "configs/search_spaces/tiny/adamw.json").read_text())
    assert f"learning_rate {points[1]['learning_rate']}, " in capsys.readouterr().out


def test_a_folder_has_the_search_space_of_each_submission(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    main(
        [
            *("tune", "digits", "--submission", "adamw", "nesterov", "--studies", "1", "--trials", "1", "--dry-run"),
            *("--search-space", "tiny", "nesterov=tiny/momentum", "--output", str(tmp_path / "runs")),
        ]
    )
    shown = capsys.readouterr().out
    for name in ("adamw", "momentum"):
        points = json.loads((Path(__file__).parents[2] / f"configs/search_spaces/tiny/{name}.json").read_text())
        assert any(f"learning_rate {point['learning_rate']}, " in shown for point in points)
    with pytest.raises(SystemExit):
        main(["tune", "digits", "--submission", "adamw", "--search-space", str(tmp_path), "--output", str(tmp_path)])
    assert f"--search-space {tmp_path}: expected a folder with files NAME.json" in capsys.readouterr().err


def test_budgets_in_steps_are_in_plan_and_configs(tmp_path):
    (study,) = plan(tmp_path, studies=1, trials=1, unit="steps")
    assert (study.unit, study.budget) == ("steps", find_workload("digits").step_hint)
    assert yaml.safe_load(study.trials[0].config())["time_budget"] == {"ruleset": "external", "unit": "steps"}


def test_a_plan_is_written_whole_before_anything_runs_and_read_back(tmp_path):
    studies = plan(tmp_path)
    for study in studies:
        study.write()
    assert find_studies([tmp_path / "runs"]) == studies
    for trial in in_order(studies):
        config = yaml.safe_load((trial.folder / "config.yaml").read_text())
        given = config["submission"]["init_args"]
        assert {name: given[name] for name in trial.point} == trial.point
        assert "epsilon" in given, "what is not tuned must be there too: a base config could set it otherwise"
        assert config["workload"]["init_args"]["seed"] == trial.seed
        assert look(trial).state is State.WAITING


def test_first_trials_of_first_studies_come_first(tmp_path):
    order = [
        (t.study.number, t.number, t.study.submission)
        for t in in_order(plan(tmp_path, submissions=["adamw", "nadamw"]))
    ]
    assert order[:3] == [(1, 1, "adamw"), (1, 1, "nadamw"), (1, 2, "adamw")]
    assert order == sorted(order, key=lambda row: row[:2])


def test_another_plan_in_the_same_folder_is_refused_and_nothing_is_changed(tmp_path):
    for study in plan(tmp_path):
        study.write()
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    with pytest.raises(PlanMismatchError, match=r"seed was 0 and is now 1.*choose another --output"):
        main_plan(tmp_path, seed=1)
    assert before == {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()}


def main_plan(tmp_path, **options):
    for study in plan(tmp_path, **options):
        study.write()


def test_more_workloads_and_submissions_join_a_plan(tmp_path):
    main_plan(tmp_path)
    main_plan(tmp_path, submissions=["adamw", "nadamw"])
    assert {study.submission for study in find_studies([tmp_path / "runs"])} == {"adamw", "nadamw"}


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"trials": [{}]}'])
def test_a_damaged_plan_is_named(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(BadInputError, match=r"plan.json is not the plan of a study"):
        Study.read(tmp_path)


def test_a_plan_of_another_format_is_refused(tmp_path):
    (study, *_) = plan(tmp_path)
    study.write()
    path = study.folder / "plan.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(BadInputError, match="has format 9, but this library reads 1"):
        Study.read(study.folder)


def test_a_folder_without_studies_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["status", str(tmp_path)])
    assert "There is no study in" in capsys.readouterr().err


def test_a_dry_run_shows_points_and_worst_time_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["tune", "digits", "--submission", "adamw", "--output", str(tmp_path / "runs"), "--dry-run"]
    main([*arguments, "--option", "jobs=2"])
    shown = capsys.readouterr().out
    assert "15 trials, at most 15 min of submission time (8 min on 2 slots)" in shown
    (study, *_) = plan(tmp_path)
    assert f"trial 1, seed {study.seeds[0]}: learning_rate {study.points[0]['learning_rate']:.6g}" in shown
    assert not (tmp_path / "runs").exists()


def test_names_of_variants_and_tiny_forms(monkeypatch):
    assert find_workload("digits", "0.5").version == "0.5"
    with pytest.raises(BadInputError, match="Unknown variant of cifar10 'wide'"):
        find_workload("cifar10_wide")
    with pytest.raises(BadInputError, match="digits has no tiny form"):
        find_workload("digits_tiny")
    for name in ("fastmri", "fastmri_tanh", "fastmri_tiny", "fastmri_model_size", "imagenet_vit_glu_tiny"):
        assert find_workload(name).full_name == name
    assert find_submission("probes.SelfTuned") is SelfTuned
