"""A plan that grows by studies or trials keeps what was planned, and what ran."""

import json

import pytest
from commands import algoperf
from test_planning import plan

from algoperf_lightning.commands import fit
from algoperf_lightning.tuning import trial_process
from algoperf_lightning.tuning.plan import CONFIG_FILE, PLAN_FILE, PlanMismatchError, Study


def points(studies):
    return {study.number: list(study.points) for study in studies}


def write(studies):
    for study in studies:
        study.write()


@pytest.mark.parametrize(
    ("method", "submission"),
    [("halton", "adamw"), ("algoperf", "adamw"), ("halton", "nadamw"), ("halton", "probes.Few")],
)
@pytest.mark.parametrize(("before", "after"), [((1, 2), (3, 2)), ((2, 1), (2, 3)), ((1, 2), (3, 4)), ((1, 1), (2, 1))])
def test_studies_keep_their_points_and_get_others_beside_them(tmp_path, method, submission, before, after):
    first = plan(tmp_path, submissions=[submission], method=method, studies=before[0], trials=before[1])
    write(first)
    grown = plan(tmp_path, submissions=[submission], method=method, studies=after[0], trials=after[1])
    for study in first:
        assert points(grown)[study.number][: len(study.points)] == list(study.points)
        (same,) = [each for each in grown if each.number == study.number]
        assert same.seeds[: len(study.seeds)] == study.seeds
    for own in points(grown).values():
        assert len({json.dumps(point) for point in own}) == after[1]  # within a study no point occurs twice
    if submission == "adamw":  # ranges: neither does one occur in two studies
        assert len({json.dumps(point) for own in points(grown).values() for point in own}) == after[0] * after[1]
    configs = {trial.folder: (trial.folder / CONFIG_FILE).read_text() for study in first for trial in study.trials}
    write(grown)
    assert {folder: (folder / CONFIG_FILE).read_text() for folder in configs} == configs
    assert [Study.read(study.folder) for study in grown] == grown
    assert plan(tmp_path, submissions=[submission], method=method, studies=after[0], trials=after[1]) == grown


def test_a_grown_plan_tries_the_points_of_a_fresh_one_in_another_split(tmp_path):
    write(plan(tmp_path, ["digits"], studies=1, trials=2))
    fresh = plan(tmp_path / "other", ["digits"], studies=2, trials=2)
    grown = plan(tmp_path, ["digits"], studies=2, trials=2)
    assert points(grown) != points(fresh)  # study 1 was drawn before study 2 was thought of
    assert {json.dumps(p) for own in points(grown).values() for p in own} == {
        json.dumps(p) for own in points(fresh).values() for p in own
    }


def test_a_plan_does_not_shrink(tmp_path):
    write(plan(tmp_path, studies=2, trials=2))
    (smaller,) = plan(tmp_path, studies=1, trials=2)
    with pytest.raises(PlanMismatchError, match="studies was 2 and is now 1"):
        smaller.write()
    fewer = plan(tmp_path, studies=2, trials=1)[0]
    with pytest.raises(PlanMismatchError, match="trials was"):
        fewer.write()


def test_another_seed_does_not_grow_a_plan(tmp_path):
    write(plan(tmp_path, studies=1, trials=2))
    with pytest.raises(PlanMismatchError, match="seed was 0 and is now 1"):
        plan(tmp_path, studies=2, trials=2, seed=1)[0].write()


def test_a_plan_of_a_version_without_the_newest_fields_is_read(tmp_path):
    (study,) = plan(tmp_path, studies=1, trials=1)
    study.write()
    record = json.loads((study.folder / PLAN_FILE).read_text())
    del record["free"]
    (study.folder / PLAN_FILE).write_text(json.dumps(record))
    assert Study.read(study.folder) == study


@pytest.mark.slow
def test_the_trials_that_ran_stay_as_they_are(tmp_path):
    tune = ("tune", "digits", "--submission", "adamw", "--unit", "steps", "--output", tmp_path, "--trials", 1)
    short = ("--", "--time_budget.budget", 40, "--time_budget.eval_period", 20)
    code, printed = algoperf(*tune, "--studies", 1, *short)
    assert code == 0, printed
    record = tmp_path / "adamw/study_1/digits/trial_1/trial.json"
    before = record.read_bytes()
    code, printed = algoperf(*tune, "--studies", 2, *short)
    assert code == 0, printed
    assert record.read_bytes() == before
    assert (tmp_path / "adamw/study_2/digits/trial_1/trial.json").exists()


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"", b"# only a comment\n", None])
def test_a_damaged_config_is_restored_from_the_plan_before_its_trial_runs(tmp_path, monkeypatch, damage):
    """An empty one would run other settings than those that were planned."""
    (study,) = plan(tmp_path, submissions=["adamw"], studies=1, trials=2)
    study.write()
    trial = study.trials[1]
    path = trial.folder / CONFIG_FILE
    path.unlink()
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage)
    read = []
    monkeypatch.setattr(fit, "parse", lambda arguments: read.append(path.read_text(encoding="utf-8")))
    monkeypatch.setattr(fit, "fit", lambda cli, arguments: None)
    assert trial_process._run(trial.folder) == 0
    assert read == [trial.config()]
