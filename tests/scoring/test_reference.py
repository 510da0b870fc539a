"""Scores of random runs against a slow, plain implementation of the rules, written for this test."""

import itertools
import math
import random
import statistics

import pytest
from scoring_cases import suite, trial

from algoperf_lightning.scoring import Runs, score_runs
from algoperf_lightning.scoring.cells import REASONS

BASE, HELD_OUT = ("a", "b", "c"), {"a2": "a", "c2": "c"}
SUITE = suite(base=BASE, held_out=tuple(HELD_OUT.items()), studies=3, trials=2)

# Of 10 seconds. Ties, ratios of exactly 4 and just above it, and ratios on the grid occur.
FACTORS = (0.5, 1.0, 1.0, 1.0, 1.2, 1.5, 2.0, 2.7, 3.3, 4.0, 4.0, 4.1, 6.0)


def draw_runs(rng):
    """Studies by submission and workload; a study is a list of trials, each its evaluation index and its time."""
    few, missing, missed = rng.choice([0.0, 0.1]), rng.choice([0.0, 0.05, 0.2]), rng.choice([0.0, 0.15, 0.4])
    return [
        {
            workload: []
            if rng.random() < few
            else [
                [
                    (0, math.inf) if rng.random() < missed else (rng.randrange(4), 10 * rng.choice(FACTORS))
                    for _ in range(2)
                    if rng.random() >= missing
                ]
                for _ in range(rng.choice([1, 2, 3, 3, 4]))
            ]
            for workload in (*BASE, *HELD_OUT)
        }
        for _ in range(rng.randint(2, 5))
    ]


def runs_from(submissions):
    """The same as runs, submission ``s0`` first."""
    return Runs(
        [
            trial(f"s{s}", workload, seconds, study=str(k), number=str(t), index=index)
            for s, cells in enumerate(submissions)
            for workload, studies in cells.items()
            for k, study in enumerate(studies)
            for t, (index, seconds) in enumerate(study)
        ]
    )


def slow_time(studies, mode):
    """Median over studies of the best trial; None without a log."""
    best = []
    for study in studies:
        hits = [each for each in study if each[1] < math.inf]
        if hits:
            best.append(min(hits)[1] if mode == "published" else min(each[1] for each in hits))
        elif study:
            best.append(math.inf)
    return statistics.median(best) if best else None


def slow_scores(times):
    """Scores from ``{submission: {workload: seconds, None without a log}}``, step by step as the rules are told."""
    times = {name: dict(row) for name, row in times.items()}
    for row in times.values():
        for held_out, base in HELD_OUT.items():
            if row[base] in (None, math.inf):
                row[held_out] = math.inf
    for workload in (*BASE, *HELD_OUT):
        fastest = min((row[workload] for row in times.values() if row[workload] is not None), default=math.inf)
        for row in times.values():
            if row[workload] is not None and row[workload] > 4 * fastest:
                row[workload] = math.inf
    for row in times.values():
        for held_out, base in HELD_OUT.items():
            if row[held_out] in (None, math.inf):
                row[base] = math.inf
    scores = {}
    for name, row in times.items():
        points = []
        for k in range(100):
            tau = 1 + 3 * k / 99
            solved = 0
            for workload in BASE:
                there = [other[workload] for other in times.values() if other[workload] is not None]
                if row[workload] not in (None, math.inf):
                    solved += row[workload] / min(there) <= tau
            points.append(solved / len(BASE))
        scores[name] = sum((a + b) / 2 for a, b in itertools.pairwise(points)) / 99
    return scores


def on_the_grid(ratios):
    """How many ratios are grid points but for rounding, which puts them on either side of one."""
    return sum(math.isfinite(r) and abs(33 * (r - 1) - round(33 * (r - 1))) < 1e-9 for r in ratios if r > 1)


@pytest.mark.parametrize("mode", ["published", "rules"])
@pytest.mark.parametrize("seed", range(150))
def test_against_the_slow_implementation(seed, mode):
    submissions = draw_runs(random.Random(seed))
    board = score_runs(runs_from(submissions), SUITE, mode)
    times = {name: {w: slow_time(c, mode) for w, c in submissions[int(name[1:])].items()} for name in board.submissions}
    for row, name in enumerate(board.submissions):
        for column, workload in enumerate((*BASE, *HELD_OUT)):
            expected = times[name][workload]
            found = board.times[row, column]
            assert math.isnan(found) if expected is None else found == expected
    expected = slow_scores(times)
    for row, name in enumerate(board.submissions):
        slack = on_the_grid(board.ratios[row]) / 99 / len(BASE)
        assert math.isclose(board.scores[row], expected[name], abs_tol=1e-9 + slack)


@pytest.mark.slow
def test_the_random_runs_are_of_every_kind():
    """Were they all alike, the test above would test little."""
    scores, reasons, differing = [], set(), 0
    for seed in range(150):
        runs = runs_from(draw_runs(random.Random(seed)))
        board = score_runs(runs, SUITE)
        scores += board.scores.tolist()
        reasons |= {cell.reason for cell in board.cells.values()}
        differing += (board.scores != score_runs(runs, SUITE, "rules").scores).any()
    between = [score for score in scores if 0 < score < 1]
    assert len(between) > 0.6 * len(scores)
    assert len(set(between)) > 150
    assert reasons == set(REASONS)
    assert differing > 50
