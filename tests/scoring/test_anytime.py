"""Times to shares of the way, ranks over time: against loops that take every step by itself, and by hand."""

import csv
import dataclasses
import itertools
import math
import statistics

import numpy as np
import pytest
from scoring_cases import REAL, suite

from algoperf_lightning.scoring import ScoredWorkload, Trial, choose_benchmark, get_benchmark, read_runs, score_runs
from algoperf_lightning.scoring.anytime import LEVELS, anytime, without_way
from algoperf_lightning.scoring.anytime_outputs import anytime_files, tied_with
from algoperf_lightning.scoring.runs import Runs
from algoperf_lightning.scoring.way import first_successes, flips, mid_ranks, share_of_way

inf, nan = math.inf, math.nan


def made(submission, workload, values, *, study="0", number="1", every=10.0, metric="accuracy"):
    """A trial with these values, evaluated every so many seconds."""
    seconds = np.arange(1.0, len(values) + 1) * every
    return Trial(
        submission=submission,
        study=study,
        workload=workload,
        number=number,
        framework="pytorch",
        steps=seconds,
        seconds=seconds,
        metrics={f"validation/{metric}": np.array(values, dtype=float)},
        source=f"{submission}/{study}/{workload}/{number}",
    )


def random_runs(seed, submissions=4, workloads=("a", "b", "c"), studies=3, trials=2):
    """Noisy curves from about 0.1 up to between 0.6 and 1; some values are NaN, some trials are missing."""
    draw = np.random.default_rng(seed)
    runs = Runs()
    for row, workload, study, number in itertools.product(range(submissions), workloads, range(studies), range(trials)):
        if draw.random() < 0.1:
            continue
        length = int(draw.integers(3, 25))
        values = 0.1 + np.linspace(0, draw.uniform(0.5, 0.9), length) + draw.normal(0, 0.03, length)
        values[draw.random(length) < 0.05] = nan
        every = float(draw.uniform(5, 40))
        runs.trials.append(made(f"s{row}", workload, values, study=str(study), number=str(number), every=every))
    return runs


def median(values):
    """The median with ``inf`` as a number; the mean of the middle two of an even number."""
    ordered = sorted(values)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low if low == high else (low + high) / 2


def grouped(runs, submission, workload):
    studies = {}
    for trial in runs.trials:
        if (trial.submission, trial.workload) == (submission, workload):
            studies.setdefault(trial.study, []).append(trial)
    return list(studies.values())


def brute_first(runs, submissions, workload):
    per_submission = []
    for submission in submissions:
        per_study = []
        for trials in grouped(runs, submission, workload):
            values = [float(trial.metrics["validation/accuracy"][0]) for trial in trials]
            values = [value for value in values if not math.isnan(value)]
            if values:
                per_study.append(statistics.median(values))
        if per_study:
            per_submission.append(statistics.median(per_study))
    return statistics.median(per_submission)


def brute_time(runs, submission, workload, target):
    times = []
    for trials in grouped(runs, submission, workload):
        best = inf
        for trial in trials:
            for value, second in zip(trial.metrics["validation/accuracy"], trial.seconds, strict=True):
                if value >= target:
                    best = min(best, float(second))
                    break
        times.append(best)
    return median(times) if times else nan


def brute_progress(runs, submission, workload, first, target, now):
    studies = []
    for trials in grouped(runs, submission, workload):
        best = 0.0
        for trial in trials:
            for value, second in zip(trial.metrics["validation/accuracy"], trial.seconds, strict=True):
                if second <= now and not math.isnan(value):
                    best = max(best, min(1.0, (value - first) / (target - first)))
        studies.append(best)
    return median(studies) if studies else nan


@pytest.mark.parametrize("seed", range(4))
def test_times_and_progress_agree_with_brute_force(seed):
    runs, benchmark = random_runs(seed), suite(base=("a", "b", "c"), studies=3, trials=2)
    board = score_runs(runs, benchmark, "rules")
    found = anytime(board)
    for column, workload in enumerate(("a", "b", "c")):
        first = brute_first(runs, board.submissions, workload)
        assert found.first[column] == pytest.approx(first)
        for level, share in enumerate(LEVELS):
            target = 0.9 if share == 1 else first + share * (0.9 - first)
            expected = [brute_time(runs, name, workload, target) for name in board.submissions]
            assert found.times[level, :, column] == pytest.approx(expected, nan_ok=True)
        for place in range(0, len(found.grid), 7):
            now = found.grid[place] * 1000
            expected = [brute_progress(runs, name, workload, first, 0.9, now) for name in board.submissions]
            assert found.progress[:, column, place] == pytest.approx(expected, nan_ok=True, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["published", "rules"])
@pytest.mark.parametrize("interpolate", [False, True])
def test_the_whole_way_is_the_board(seed, mode, interpolate):
    runs, benchmark = random_runs(seed), suite(base=("a", "b"), held_out=(("c", "a"),), studies=3, trials=2)
    board = score_runs(runs, benchmark, mode, interpolate=interpolate)
    found = anytime(board)
    assert np.array_equal(found.times[-1], board.times, equal_nan=True)
    assert np.array_equal(found.ratios[-1], board.ratios, equal_nan=True)
    assert np.array_equal(found.scores[-1], board.scores)
    cells = [
        [board.cells[name, workload.name].resolution for workload in benchmark.workloads] for name in board.submissions
    ]
    assert found.resolutions[-1] == pytest.approx(np.array(cells), nan_ok=True)
    hurdles = found.times if mode == "rules" else np.zeros((2, 1))  # an evaluation number is no time
    assert (np.diff(np.nan_to_num(hurdles, nan=inf, posinf=1e99), axis=0) >= 0).all()


def test_beside_a_board_its_own_way_and_scores_stay_as_they_are():
    theirs, benchmark = random_runs(5), suite(base=("a", "b", "c"), studies=3, trials=2)
    theirs.trials = [dataclasses.replace(trial, board="theirs") for trial in theirs.trials]
    mine = [dataclasses.replace(trial, submission=f"my_{trial.submission}") for trial in random_runs(6).trials]
    for trial in mine:
        trial.metrics["validation/accuracy"][0] = 0.5
    alone = anytime(score_runs(theirs, benchmark))
    board = score_runs(Runs([*theirs.trials, *mine]), benchmark)
    beside = anytime(board)
    rows = [board.submissions.index(name) for name in alone.submissions]
    assert np.array_equal(beside.first, alone.first)
    assert np.array_equal(beside.times[:, rows], alone.times, equal_nan=True)
    assert np.array_equal(beside.scores[:, rows], alone.scores)
    assert np.array_equal(beside.scores[-1], board.scores)


def test_a_way_downwards_and_one_of_perplexities():
    base = (
        ScoredWorkload("down", "loss", "min", 1.0, None, 100.0),
        ScoredWorkload("words", "ppl", "min", 10.0, None, 100.0),
    )
    benchmark = dataclasses.replace(suite(), base=base)
    runs = Runs(
        [
            made("s", "down", [9.0, 7.0, 5.0, 3.0, 1.75, 1.0], metric="loss"),
            made("s", "words", [100_000.0, 10_000.0, 1_000.0, 100.0, 10.0], metric="ppl"),
        ]
    )
    found = anytime(score_runs(runs, benchmark))
    assert found.values[:, 0] == pytest.approx([7.0, 5.0, 3.0, 1.8, 1.0])
    assert found.times[:, 0, 0].tolist() == [20.0, 30.0, 40.0, 50.0, 60.0]
    assert found.values[:, 1] == pytest.approx([10_000.0, 1_000.0, 100.0, 10**1.4, 10.0])
    assert found.times[1:, 0, 1].tolist() == [30.0, 40.0, 50.0, 50.0]
    assert found.progress[0, 1, [10, 20, 50]] == pytest.approx([0.0, 0.25, 1.0])


def test_ranks_flip_and_ties_are_named():
    """x is early and never arrives, y is late; z is an evaluation behind y, which evaluates as seldom."""
    runs = Runs(
        [
            made("x", "a", [0.1, 0.8, 0.85, 0.86, 0.86]),
            made("y", "a", [0.1, 0.2, 0.3, 0.91]),
            made("z", "a", [0.1, 0.2, 0.3, 0.91], every=12.0),
        ]
    )
    found = anytime(score_runs(runs, suite(base=("a",))))
    assert found.times[:, 0, 0].tolist() == [20.0, 20.0, 20.0, 30.0, inf]
    assert found.workload_ranks(0)[[0, -1]].tolist() == [[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]]
    changed, ordered = found.flips(0)
    assert changed.tolist() == [2, 2, 2, 2, 0]  # x is before both on the way, and behind both at the target
    assert ordered.tolist() == [2, 2, 2, 2, 2]  # y and z are 8 s apart, less than either's 10 s and 12 s
    assert tied_with(found, 4, 0) == [[], ["z"], ["y"]]
    assert found.time_ranks[:, 0, 1].tolist() == [2.0, 2.0, 2.0]  # at 10 s all are at the start
    assert found.time_ranks[:, 0, 3].tolist() == [1.0, 2.0, 3.0]  # at 30 s y has seen 0.3, z only 0.2
    assert found.time_ranks[:, 0, -1].tolist() == [3.0, 1.0, 2.0]
    assert found.mean_ranks[:, -1].tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("seed", range(3))
def test_flips_are_counted_over_pairs(seed):
    draw = np.random.default_rng(seed)
    times = np.where(draw.random((3, 6)) < 0.2, inf, draw.uniform(0, 100, (3, 6)))
    times[:, 0] = nan
    resolutions = np.where(np.isfinite(times), draw.uniform(0, 20, times.shape), nan)

    def order(level, i, j):
        a, b = times[level, i], times[level, j]
        if math.isnan(a) or math.isnan(b) or a == b:
            return 0
        if math.isinf(a) or math.isinf(b):
            return 1 if math.isinf(a) else -1
        if abs(a - b) < max(resolutions[level, i], resolutions[level, j]):
            return 0
        return 1 if a > b else -1

    for level, (changed, ordered) in enumerate(zip(*flips(times, resolutions), strict=True)):
        products = [order(level, i, j) * order(2, i, j) for i, j in itertools.combinations(range(6), 2)]
        assert changed == products.count(-1)
        assert ordered == products.count(-1) + products.count(1)


def test_pure_functions_on_odd_input():
    assert first_successes(np.array([]), np.array([0.5]), "max").tolist() == [inf]
    assert first_successes(np.array([nan, nan]), np.array([0.5]), "min").tolist() == [inf]
    assert share_of_way(np.array([inf, -inf, nan]), 0.0, 1.0).tolist() == [1.0, 0.0, 0.0]
    assert share_of_way(np.array([0.9 - 1e-17]), 0.1, 0.9).tolist() == [1.0]
    assert mid_ranks(np.array([[nan], [1.0]])).tolist()[1] == [1.0]


def test_workloads_without_a_way_are_named():
    base = ("a", "b", "c")
    runs = Runs([made("s", "a", [0.1, 0.95]), made("s", "b", [0.92, 0.93]), made("s", "c", [nan, 0.95])])
    board = score_runs(runs, suite(base=base))
    found = anytime(board)
    assert [workload.name for workload in found.benchmark.base] == ["a"]
    messages = [finding.message for finding in without_way(board)]
    assert len(messages) == 2
    assert "b: the first value, 0.92 in the median, meets the target, 0.9" in messages[0]
    assert "c: no trial has a number at its first evaluation" in messages[1]
    assert anytime(score_runs(Runs([made("s", "b", [0.92, 0.93])]), suite(base=("b",)))) is None


def test_files(tmp_path):
    board = score_runs(random_runs(1), suite(base=("a", "b", "c"), studies=3, trials=2))
    found = anytime(board)
    for name, lines in anytime_files(found, board.measure).items():
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    names = ("anytime", "anytime_scores", "anytime_ranks")
    rows = {name: list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in names}
    assert len(rows["anytime"]) == 3 * len(LEVELS) * 4
    last = {(row["workload"], row["submission"]): row for row in rows["anytime"] if row["share_of_way"] == "1.0"}
    for (workload, submission), row in last.items():
        assert float(row["seconds"]) == pytest.approx(board.cells[submission, workload].used, nan_ok=True)
    scores = {row["submission"]: float(row["score"]) for row in rows["anytime_scores"] if row["share_of_way"] == "1.0"}
    assert scores == pytest.approx(dict(zip(board.submissions, board.scores.tolist(), strict=True)))
    assert len(rows["anytime_ranks"]) == (3 + 1) * 21 * 4
    assert all(1 <= float(row["rank"]) <= 4 for row in rows["anytime_ranks"] if row["rank"] != "NaN")


def test_on_the_official_logs_the_whole_way_is_the_published_score():
    runs = read_runs([REAL])
    board = score_runs(runs, choose_benchmark(runs))
    found = anytime(board)
    assert found.benchmark == get_benchmark("0.5", "external")
    assert np.array_equal(found.scores[-1], board.scores)
    assert without_way(board) == []
