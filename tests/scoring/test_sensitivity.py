"""Basins and shares: by hand and against brute force; and the command on folders, logs and tables."""

import csv
import itertools
import json
import math

import numpy as np
import pytest
from scipy.stats import binom
from scoring_cases import own_run

from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.report.sensitivity import sensitivity
from algoperf_lightning.scoring import Runs, bootstrap, choose_benchmark, read_runs, score_runs
from algoperf_lightning.scoring.basins import basin, by_value, edge_of, guess_scale, share_with_interval, span, varying
from algoperf_lightning.scoring.sensitivity import sensitivities
from algoperf_lightning.scoring.sensitivity_outputs import caption, width_in_words
from algoperf_lightning.scoring.table import tabulate
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies

inf, nan = math.inf, math.nan
RATES = [0.001 * 2.0**k for k in range(7)]


def run(folder, seconds, **hyperparameters):
    """A trial that is evaluated each second, and reaches its target after so many; ``inf`` never."""
    number = 20 if math.isinf(seconds) else int(seconds)
    values = [0.5] * (number - 1) + [0.6 if math.isinf(seconds) else 0.95]
    times = [*range(1, number), number if math.isinf(seconds) else seconds]
    return own_run(folder, values=values, seconds=times, steps=range(1, number + 1), hyperparameters=hyperparameters)


def tuned(folder, seconds, studies=1, **fixed):
    """A tuning without a plan: learning rates in octaves, and what each needed."""
    for study, (number, (rate, used)) in itertools.product(
        range(studies), enumerate(zip(RATES, seconds, strict=False))
    ):
        run(folder / f"adamw/study_{study}/shapes/trial_{number}", used, learning_rate=rate, **fixed)
    return folder


def found_in(folder, within=1.25):
    runs = read_runs([folder])
    return sensitivities(tabulate(runs, choose_benchmark(runs)), within)


def test_a_basin_by_hand(tmp_path):
    folder = tuned(tmp_path, [inf, 19.0, 12.0, 10.0, 11.0, 15.0, inf], beta=0.9)
    ((found,), unsaid) = found_in(folder)
    assert unsaid == []
    (axis,) = found.dimensions
    assert (axis.name, axis.scale, axis.alone, axis.edge) == ("learning_rate", "log", True, "")
    assert (axis.basin.best, axis.basin.result) == (RATES[3], 10.0)
    assert (axis.basin.low, axis.basin.high) == (RATES[2], RATES[4])
    assert axis.width == (2.0, 4.0)
    assert width_in_words(axis) == "2 to 4 octaves"
    assert (found.reached, found.points, found.trials) == (5, 7, 7)
    assert caption(found).startswith("5 of 7 points reached the target: 71% of the points tried")
    assert found_in(folder, within=1.0)[0][0].dimensions[0].width == (0.0, 2.0)
    assert found_in(folder, within=2.0)[0][0].dimensions[0].width == (4.0, 6.0)


def test_repeats_count_by_their_median(tmp_path):
    for study, seconds in enumerate(([14.0, 10.0, 12.0], [18.0, inf, 12.0], [inf, inf, 12.0])):
        tuned(tmp_path / str(study), seconds)  # each is a folder of its own
        (tmp_path / str(study) / "adamw" / "study_0").rename(tmp_path / str(study) / "adamw" / f"study_{study}")
    ((found,), _) = found_in(tmp_path)
    (axis,) = found.dimensions
    assert axis.results.tolist() == [18.0, inf, 12.0]
    assert axis.trials.tolist() == [3, 3, 3]
    assert (found.reached, found.points, found.trials) == (2, 3, 9)
    assert axis.basin.best == RATES[2]
    assert axis.edge == "upper"


def test_the_best_at_the_end_of_what_was_tried_is_warned_of(tmp_path):
    ((found,), _) = found_in(tuned(tmp_path, [19.0, 12.0, 10.0]))
    (axis,) = found.dimensions
    assert axis.edge == "upper"
    assert any("the best of 3 points, 0.004, is at the upper edge of the values tried" in note for note in found.notes)
    assert axis.width == (1.0, inf)
    assert width_in_words(axis) == "at least 1 octave"


@pytest.mark.parametrize("seed", range(5))
def test_basins_agree_with_brute_force(seed):
    draw = np.random.default_rng(seed)
    values = np.sort(draw.uniform(0, 1, 12))
    results = np.where(draw.random(12) < 0.3, inf, draw.uniform(10, 16, 12))
    best = min(range(12), key=lambda k: results[k])
    reachable = [
        k for k in range(12) if all(results[i] <= 1.25 * results[best] for i in range(min(k, best), max(k, best) + 1))
    ]
    found = basin(values, results)
    assert (found.low, found.high) == (values[min(reachable)], values[max(reachable)])
    assert np.isnan(found.below) == (min(reachable) == 0)
    good = [values[k] for k in range(12) if results[k] <= 1.25 * results[best]]
    shuffled = draw.permutation(12)
    wide = span(values[shuffled], results[shuffled])
    assert (wide.low, wide.high) == (min(good), max(good))
    assert [value for value in values if wide.below < value < wide.low] == []


def test_the_share_of_the_space_has_an_exact_interval():
    """The ends are those shares that would give so few, or so many, hits with 2.5 %."""
    for hits, number in ((0, 5), (3, 10), (5, 5), (7, 25)):
        share, low, high = share_with_interval(hits, number)
        assert share == hits / number
        assert hits == 0 or binom.sf(hits - 1, number, low) == pytest.approx(0.025)
        assert hits == number or binom.cdf(hits, number, high) == pytest.approx(0.025)
        assert (low == 0.0) == (hits == 0)
        assert (high == 1.0) == (hits == number)


def test_pure_functions_on_odd_input():
    assert basin(np.array([1.0, 2.0]), np.array([inf, inf])) is None
    assert span(np.array([1.0]), np.array([inf])) is None
    assert guess_scale(np.array([1e-4, 9e-4])) == "linear"  # two values say nothing
    assert guess_scale(np.array([4.0, 1.0, 2.0])) == "log"
    assert guess_scale(np.array([3.0, 1.0, 2.0])) == "linear"
    assert [edge_of(value, 0.0, 1.0, "linear", 0.0) for value in (0.0, 0.5, 1.0)] == ["lower", "", "upper"]
    assert varying([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1}]) == ["b"]
    values, results = by_value(np.array([1.0, 1.0]), np.array([inf, 4.0]))
    assert (values.tolist(), results.tolist()) == ([1.0], [inf])


def planned(tmp_path, **options):
    """The studies of adamw on digits, planned and written."""
    asked = TuningRequest(["digits"], ["adamw"], tmp_path / "runs", data_dir=tmp_path, **options)
    studies = plan_studies(asked)
    for study in studies:
        study.write()
    return studies


def record(study, trial, seconds):
    run(trial.folder.parent / "made", seconds, **study.defaults, **trial.point)
    for path in (trial.folder.parent / "made").iterdir():
        path.rename(trial.folder / path.name)
    (trial.folder.parent / "made").rmdir()


def test_ranges_and_scales_are_those_of_the_plan(tmp_path):
    (study,) = planned(tmp_path, studies=1, trials=8)
    for k, trial in enumerate(study.trials):
        record(study, trial, 10.0 + k if k < 6 else inf)
    ((found,), _) = found_in(tmp_path / "runs")
    axes = {axis.name: axis for axis in found.dimensions if axis.planned}
    assert set(axes) == {name for name, entry in study.search_space.items() if "scaling" in entry}
    for name, axis in axes.items():
        entry = study.search_space[name]
        assert not axis.alone
        assert (axis.scale, axis.low, axis.high) == (entry["scaling"], entry["min"], entry["max"])
        assert axis.basin.best == study.points[0][name]
        good = [study.points[k][name] for k in range(3)]  # 10, 11 and 12 are within 1.25 times 10
        assert (axis.basin.low, axis.basin.high) == (min(good), max(good))
    assert found.share == share_with_interval(6, 8)
    assert caption(found) == "6 of 8 points reached the target: 75% (35% to 97%) of the search space."


def test_a_flat_direction_is_not_an_edge(tmp_path):
    """The best point lies at the upper end of both, and good ones everywhere along b."""
    for k, (a, b) in enumerate([(8.0, 8.0), (7.9, 1.0), (6.0, 5.0), (1.0, 3.0), (2.0, 7.0)]):
        run(tmp_path / f"trial_{k}", [10.0, 11.0, 19.0, 19.0, 19.0][k], a=a, b=b)
    ((found,), _) = found_in(tmp_path)
    assert {axis.name: axis.edge for axis in found.dimensions} == {"a": "upper", "b": ""}


def test_a_sweep_has_octaves_and_no_interval(tmp_path):
    (study,) = planned(tmp_path, sweep="learning_rate=0.004", trials=7)
    for trial in study.trials:
        record(study, trial, 10.0 + 2 * abs(math.log2(trial.point["learning_rate"] / 0.004)))
    ((found,), _) = found_in(tmp_path / "runs")
    (axis,) = found.dimensions
    assert (axis.planned, axis.alone, axis.width, axis.edge) == (True, True, (2.0, 4.0), "")
    assert found.drawn_from == "octaves tried"
    assert found.share == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda folder: run(folder / "trial_1", 10.0, lr=0.1),
            "adamw on shapes: all of 1 trial are at one point",
            id="one trial",
        ),
        pytest.param(
            lambda folder: [run(folder / f"trial_{k}", 10.0 + k, lr=0.1) for k in range(3)],
            "adamw on shapes: all of 3 trials are at one point",
            id="one point",
        ),
        pytest.param(
            lambda folder: run(folder / "trial_1", 10.0),
            "1 trial without hyperparameters in the log: adamw on shapes",
            id="no hyperparameters",
        ),
    ],
)
def test_what_cannot_be_known_is_said_by_name(tmp_path, make, message, capsys):
    make(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["sensitivity", str(tmp_path)])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_table_of_evaluations_has_no_hyperparameters(tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_text(
        "version,ruleset,submission,study,workload,framework,trial,global_step,accumulated_submission_time,metric_name,"
        "validation_value,test_value\n1.0,external,x,0,ogbg,jax,1,10,100,mean_average_precision,0.3,0.3\n"
    )
    with pytest.raises(SystemExit):
        main(["sensitivity", str(path)])
    assert "A table of evaluations has no hyperparameters" in capsys.readouterr().err


def test_where_nobody_reached_the_target_there_is_no_basin_but_values(tmp_path, capsys):
    tuned(tmp_path, [inf] * 4)
    ((found,), _) = found_in(tmp_path)
    (axis,) = found.dimensions
    assert axis.basin is None
    assert np.isnan(axis.width).all()
    assert width_in_words(axis) == "unknown"
    assert axis.best_values.tolist() == [0.6] * 4
    assert any(note.startswith("No trial reached the target") for note in found.notes)
    main(["sensitivity", str(tmp_path), "--json"])
    (one,) = json.loads(capsys.readouterr().out)["sensitivities"]
    assert one["hyperparameters"][0]["basin"] is None
    assert one["share_reached"]["share"] == 0.0


def test_few_values_texts_and_coarse_evaluations_are_noted(tmp_path):
    for k, (rate, kind) in enumerate([(0.1, "cosine"), (0.2, "linear"), (0.2, "cosine")]):
        own_run(tmp_path / f"trial_{k}", values=[0.95], seconds=[10.0 + k], steps=[1],
                hyperparameters={"lr": rate, "schedule": kind})  # fmt: skip
    ((found,), _) = found_in(tmp_path)
    notes = " ".join(found.notes)
    assert "schedule is missing or no number in some trials, and is left out." in notes
    assert "lr: fewer than 3 different values, so no width is known." in notes
    assert "Evaluations are too far apart for a factor of 1.25" in notes


def test_trials_ended_early_are_noted(tmp_path):
    (study,) = planned(tmp_path, studies=1, trials=4, stop_hopeless=True)
    for k, trial in enumerate(study.trials):
        record(study, trial, 10.0 + k)
    ((found,), _) = found_in(tmp_path / "runs")
    assert any("--stop-hopeless" in note for note in found.notes)


def test_the_factor_must_make_sense(tmp_path):
    with pytest.raises(BadInputError, match=r"at least 1, but got 0\.5"):
        found_in(tuned(tmp_path, [10.0, 11.0, 12.0]), within=0.5)


def test_official_logs_say_hyperparameters_by_their_files(tmp_path, capsys):
    tuned(tmp_path / "runs", [12.0, 10.0, 11.0, 15.0])
    main(["score", str(tmp_path / "runs"), "--export", str(tmp_path / "logs"), "--draws", "2"])
    capsys.readouterr()
    printed = []
    for folder in ("runs", "logs"):
        main(["sensitivity", str(tmp_path / folder), "--json"])
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1]


def test_the_terminal_names_everything(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    tuned(tmp_path, [inf, 19.0, 12.0, 10.0, 11.0, 15.0, inf])
    main(["sensitivity", str(tmp_path)])
    printed = capsys.readouterr().out
    for part in ("adamw on shapes", "learning_rate", "7 of 0.001 to 0.064 (log)", "0.008", "10 s", "2 to 4 octaves"):
        assert part in printed


def test_files_and_page(tmp_path):
    tuned(tmp_path / "runs", [inf, 19.0, 12.0, 10.0, 11.0, 15.0, inf])
    out = tmp_path / "out"
    main(["sensitivity", str(tmp_path / "runs"), "--output", str(out)])
    with (out / "sensitivity.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    wanted = {"hyperparameter": "learning_rate", "scale": "log", "best": "0.008", "seconds": "10.0", "edge": ""}
    assert {name: row[name] for name in wanted} == wanted
    assert [float(row[name]) for name in ("basin_low", "basin_high", "width_at_least", "width_at_most")] == [
        *(0.004, 0.016, 2.0, 4.0)
    ]
    with (out / "sensitivity_points.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    assert [float(point["seconds"]) for point in points] == [inf, 19.0, 12.0, 10.0, 11.0, 15.0, inf]
    page = (out / "report.html").read_text()
    assert "5 of 7 points reached the target" in page
    assert (out / "sensitivity_adamw_shapes_learning_rate.svg").exists()


def test_the_report_of_scores_shows_what_was_tried_at_many_points(tmp_path):
    for k in range(9):
        run(tmp_path / f"trial_{k}", 19.0 - k, learning_rate=0.001 * 2**k)
    runs = read_runs([tmp_path])
    board = score_runs(runs, choose_benchmark(runs))
    section = sensitivity(board, bootstrap(board, 2))
    (table,) = section.tables
    (row,) = table.rows
    assert row[0] == "adamw on shapes"
    assert set(section.files) == {"sensitivity.csv", "sensitivity_points.csv"}
    fewer = Runs(runs.trials[:7])
    board = score_runs(fewer, choose_benchmark(fewer))
    assert sensitivity(board, bootstrap(board, 2)) is None
