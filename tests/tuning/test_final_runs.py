"""Studies in stages, read for a comparison of final performance, and ``algoperf final``."""

import json
import math
import shutil
from dataclasses import replace

import pytest
from test_planning import request
from test_staged import CROWDED_VALLEY, SMALL, accuracy, asked, run_all
from test_sweeps import finish

from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import TrialResult
from algoperf_lightning.scoring.final_performance import DEFAULT
from algoperf_lightning.scoring.final_runs import read_final_runs
from algoperf_lightning.tuning.planning import plan_studies


def read(tmp_path):
    return read_final_runs([tmp_path / "runs"], SMALL)


def test_every_run_has_the_number_of_its_point_and_its_seed(tmp_path):
    for budget in ("small", "large"):
        studies = run_all(asked(tmp_path, budget))
    runs, notes = read(tmp_path)
    numbers = {(run.point, run.seed) for run in runs.runs}
    assert {seed for point, seed in numbers if point == DEFAULT} == {42, 43, 44}
    assert {point for point, seed in numbers if seed == 42} == {DEFAULT, *range(8)}  # six points, two refined ones
    assert (runs.problems, runs.optimizers, runs.schedules) == (["digits"], ["valley_sgd"], ["constant"])
    assert notes == [f"{len(runs.runs)} runs ended."]
    for budget, last in (("small", 4), ("large", 8)):
        tried = [*studies["tuning"].trials, *studies["refined"].trials][:last]
        best = max(range(last), key=lambda place: accuracy(tried[place]))
        assert runs.chosen("digits", "valley_sgd", "constant", budget) == best
        values = runs.performance("digits", "valley_sgd", budget, "constant")
        assert values.tolist() == pytest.approx([accuracy(tried[best])] * 3)


def test_runs_that_have_not_ended_are_counted_and_left_out(tmp_path):
    run_all(asked(tmp_path, "one-shot"))
    for study in plan_studies(asked(tmp_path, "small")):
        study.write()
    runs, notes = read(tmp_path)
    assert len(runs.runs) == 3
    assert notes[1] == "4 runs did not end yet; results that need more runs are left out."
    assert runs.performance("digits", "valley_sgd", "small", "constant").size == 0


def test_a_failed_run_counts_as_the_untrained_model_and_is_never_chosen(tmp_path):
    studies = run_all(asked(tmp_path, "small"))
    best = max(studies["tuning"].trials, key=accuracy)
    record = json.loads((best.folder / "trial.json").read_text(encoding="utf-8"))
    record |= {"status": "failed", "message": "no memory", "file_checksum": ""}
    (best.folder / "trial.json").write_text(json.dumps(record), encoding="utf-8")
    runs, notes = read(tmp_path)
    assert any(note.startswith("1 run that failed counts as an untrained model") for note in notes), notes
    first = TrialResult.read(best.folder).evaluations[0].metrics
    (failed,) = [run for run in runs.runs if run.point == best.number - 1 and run.seed == 42]
    assert failed.test == first.get("test/accuracy", first["validation/accuracy"])
    assert failed.validation == -math.inf


def test_a_loss_above_the_untrained_models_counts_as_the_untrained_model(tmp_path):
    run_all(asked(tmp_path, "small"), value=lambda trial: 0.05 if trial.number == 2 else 0.5)
    for file in tmp_path.rglob("trial.json"):
        result = TrialResult.read(file.parent)
        replace(result, direction="min", validation_target=0.01, checksum="").write_trial(file.parent)
    runs, notes = read(tmp_path)
    assert sorted({run.test for run in runs.runs}) == [0.05, 0.1]
    exploded = sum(run.test == 0.1 for run in runs.runs)
    assert f"{exploded} runs that ended with a loss above the untrained model's count as an untrained model." in notes


def test_the_best_of_equal_points_has_all_its_seeds(tmp_path):
    file = tmp_path / "space.json"
    file.write_text('{"learning_rate": {"feasible_points": [0.1, 0.01]}}')
    studies = run_all(asked(tmp_path, "small", search_spaces={"valley_sgd": file}))
    points = [trial.point["learning_rate"] for trial in studies["tuning"].trials]
    assert points.count(0.1) > 1
    runs, _ = read(tmp_path)
    assert runs.chosen("digits", "valley_sgd", "constant", "small") == points.index(0.1)
    assert runs.performance("digits", "valley_sgd", "small", "constant").size == 3


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="There is no study in"):
        read(tmp_path)
    run_all(asked(tmp_path, "one-shot"))
    (study,) = plan_studies(asked(tmp_path, "one-shot"))
    plan = json.loads((study.folder / "plan.json").read_text(encoding="utf-8"))
    other = study.folder.parents[3] / "valley_adam" / "constant" / "one_shot" / "digits"
    other.mkdir(parents=True)
    (other / "plan.json").write_text(json.dumps({**plan, "submission": "valley_adam", "budget": 7.0}), encoding="utf-8")
    with pytest.raises(BadInputError, match="Runs of digits have different lengths: 7 steps in"):
        read(tmp_path)


def test_a_study_that_is_there_twice_or_in_part_is_refused(tmp_path):
    studies = run_all(asked(tmp_path, "small"))
    folder = studies["best"].folder
    with pytest.raises(BadInputError, match=r"runs \{'learning_rate': .*\} again, but no study here tried it first"):
        read_final_runs([folder], SMALL)
    with pytest.raises(BadInputError, match=f"There is no study in {tmp_path}/nowhere"):
        read_final_runs([tmp_path / "runs", tmp_path / "nowhere"], SMALL)
    shutil.copytree(folder, tmp_path / "copy" / folder.name)
    with pytest.raises(BadInputError, match=r"constant/best on digits is in .*copy.* and in .*runs.*one of them only"):
        read_final_runs([tmp_path / "runs", tmp_path / "copy"], SMALL)
    assert len(read_final_runs([tmp_path / "runs", folder], SMALL)[0].runs) == 9


def test_studies_whose_trials_end_at_a_target_are_left_to_score(tmp_path):
    for study in plan_studies(request(tmp_path)):
        study.write()
        for trial in study.trials:
            finish(trial, 10.0)
    with pytest.raises(BadInputError, match=r"No study in stages was found in .*crowded-valley.*with `algoperf score`"):
        read(tmp_path)


def test_runs_without_a_target_are_left_to_final(tmp_path, capsys):
    studies = run_all(asked(tmp_path, "one-shot"))
    assert main(["score", str(tmp_path / "runs")]) is None  # there is one
    capsys.readouterr()
    for trial in studies["one_shot"].trials:
        result = TrialResult.read(trial.folder)
        result.validation_target = None
        result.write_trial(trial.folder)
    with pytest.raises(SystemExit, match="2"):
        main(["score", str(tmp_path / "runs")])
    printed = capsys.readouterr().err
    assert "The runs on digits have no validation target" in printed
    assert "`algoperf final RUNS`" in printed


def test_the_command_prints_tables_and_json(tmp_path, capsys):
    for name in ("valley_sgd", "valley_adagrad"):
        run_all(asked(tmp_path, "one-shot", CROWDED_VALLEY, [name]))
    main(["final", str(tmp_path / "runs")])
    text = capsys.readouterr().out
    assert "one-shot constant" in text
    assert "20 runs ended." in text
    main(["final", str(tmp_path / "runs"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {row["optimizer"] for row in found["performance"]} == {"valley_sgd", "valley_adagrad"}
    assert all(len(row["test"]) == 10 and math.isfinite(row["test"][0]) for row in found["performance"])
    assert sum(found["ranks"]["one-shot constant"].values()) == pytest.approx(3)
