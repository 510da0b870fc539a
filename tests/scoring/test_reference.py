"""Scores of random runs against a slow, plain implementation of the rules, written for this test."""

import itertools
import math
import statistics

from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_cases import suite, trial

from algoperf_lightning.scoring import Runs, score_runs

BASE, HELD_OUT = ("a", "b", "c"), {"a2": "a", "c2": "c"}
SUITE = suite(base=BASE, held_out=tuple(HELD_OUT.items()), studies=3, trials=2)

reached = st.tuples(st.integers(0, 4), st.integers(1, 40).map(float))
missed = st.just((0, math.inf))
a_trial = st.one_of(reached, reached, reached, missed)
a_study = st.lists(a_trial, max_size=2)
a_cell = st.lists(a_study, min_size=0, max_size=4)
a_submission = st.fixed_dictionaries(dict.fromkeys((*BASE, *HELD_OUT), a_cell))


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
        there = [row[workload] for row in times.values() if row[workload] is not None]
        for row in times.values():
            if row[workload] is not None and row[workload] > 4 * min(there):
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
                    # Nudged: where a ratio is a grid point, rounding must not decide.
                    solved += row[workload] / min(there) <= tau + 1e-12
            points.append(solved / len(BASE))
        scores[name] = sum((a + b) / 2 for a, b in itertools.pairwise(points)) / 99
    return scores


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(a_submission, min_size=1, max_size=4), st.sampled_from(["published", "rules"]))
def test_against_the_slow_implementation(submissions, mode):
    runs = Runs()
    for s, cells in enumerate(submissions):
        for workload, studies in cells.items():
            for k, study in enumerate(studies):
                for t, (index, seconds) in enumerate(study):
                    runs.trials.append(trial(f"s{s}", workload, seconds, study=str(k), number=str(t), index=index))
    if not runs.trials:
        return
    board = score_runs(runs, SUITE, mode)
    times = {name: {w: slow_time(c, mode) for w, c in submissions[int(name[1:])].items()} for name in board.submissions}
    for row, name in enumerate(board.submissions):
        for column, workload in enumerate((*BASE, *HELD_OUT)):
            expected = times[name][workload]
            found = board.times[row, column]
            assert math.isnan(found) if expected is None else found == expected
    expected = slow_scores(times)
    for row, name in enumerate(board.submissions):
        # One grid cell of slack for a ratio that is a grid point but for rounding.
        assert math.isclose(board.scores[row], expected[name], abs_tol=1e-9) or near_grid(board.ratios[row])


def near_grid(ratios):
    """Whether a ratio is a grid point but for rounding."""
    return any(math.isfinite(r) and r > 1 and abs(33 * (r - 1) - round(33 * (r - 1))) < 1e-9 for r in ratios)
