"""What holds for every set of times; and what one might think holds, but does not.

True: scores lie in [0, 1]; time units do not matter, workload by workload; the order of submissions and workloads does
not matter; a submission that gets faster never scores lower; a submission dominated by another changes nobody's score;
whoever is fastest everywhere has score 1.

Not true, each shown by a case below: that a new submission can only lower the others' scores; that it leaves their
order as it was; that a faster trial or study cannot hurt, or must help; that one more target costs nobody else.
"""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_cases import suite

from algoperf_lightning.scoring import mathematics as m
from algoperf_lightning.scoring.leaderboard import score_times

inf, nan = math.inf, math.nan
SUITE = suite(base=("a", "b", "c"), held_out=(("a2", "a"), ("c2", "c")))
PLAIN = suite(base=("a", "b", "c", "d", "e"))

steady = settings(deadline=None, derandomize=True)  # a slow machine, or a rare draw, fails nobody's build
seconds = st.one_of(st.integers(1, 64).map(float), st.floats(0.5, 100.0), st.sampled_from([inf, nan]))
finite = st.floats(0.5, 100.0)


@st.composite
def tables(draw, least=1, elements=seconds):
    rows = draw(st.integers(least, 5))
    return np.array(draw(st.lists(st.lists(elements, min_size=5, max_size=5), min_size=rows, max_size=rows)))


def scores(times, benchmark=SUITE):
    return score_times(np.asarray(times, dtype=float), benchmark)[2]


@steady
@given(tables())
def test_scores_are_shares(times):
    found = scores(times)
    assert ((found >= 0) & (found <= 1)).all()


@steady
@given(tables(), st.lists(st.integers(-8, 8), min_size=5, max_size=5))
def test_units_do_not_matter(times, exponents):
    # Powers of two: any other factor may move a ratio across a grid point by rounding.
    np.testing.assert_array_equal(scores(times * 2.0 ** np.array(exponents)), scores(times))


@steady
@given(tables(), st.randoms(use_true_random=False))
def test_order_of_submissions_does_not_matter(times, random):
    order = list(range(len(times)))
    random.shuffle(order)
    np.testing.assert_array_equal(scores(times[order]), scores(times)[order])


@steady
@given(tables(), st.permutations(range(5)))
def test_order_of_workloads_does_not_matter(times, order):
    np.testing.assert_allclose(scores(times[:, order], PLAIN), scores(times, PLAIN), atol=1e-12)


@steady
@given(tables(), st.data())
def test_a_faster_submission_never_scores_lower(times, data):
    row, column = data.draw(st.integers(0, len(times) - 1)), data.draw(st.integers(0, 4))
    faster = times.copy()
    old = times[row, column]
    faster[row, column] = data.draw(st.floats(0.25, old)) if math.isfinite(old) else data.draw(finite)
    assert scores(faster)[row] >= scores(times)[row] - 1e-12


@steady
@given(tables(), st.data())
def test_a_dominated_submission_changes_nobody(times, data):
    row = data.draw(st.integers(0, len(times) - 1))
    slower = [
        data.draw(st.sampled_from([each, 1.5 * each, inf])) if math.isfinite(each) else each for each in times[row]
    ]
    np.testing.assert_array_equal(scores([*times, slower])[:-1], scores(times))


@steady
@given(tables(elements=finite))
def test_the_fastest_everywhere_has_score_one(times):
    times[0] = times.min(axis=0)
    assert math.isclose(scores(times)[0], 1.0)


@steady
@given(tables(least=2))
def test_without_held_out_workloads_every_fastest_time_has_ratio_one(times):
    ratios = score_times(times, PLAIN)[1]
    best = np.where(np.isnan(ratios), inf, ratios).min(axis=0)
    assert ((best == 1) | np.isinf(best)).all()


@steady
@given(tables())
def test_the_score_is_near_the_exact_integral(times):
    ratios = score_times(times, PLAIN)[1]
    exact = np.where(ratios <= 4, (4 - ratios) / 3, 0.0).mean(axis=1)
    assert np.abs(scores(times, PLAIN) - exact).max() <= 1 / 198 + 1e-12


@steady
@given(st.lists(seconds, min_size=1, max_size=6))
def test_the_median_is_numpys_where_nothing_is_absent(times):
    there = np.array([each for each in times if not math.isnan(each)])
    with np.errstate(invalid="ignore"):
        expected = np.median(there) if there.size else nan
    found = m.median_over_studies(np.array(times))
    assert np.isclose(found, expected, equal_nan=True) or (np.isinf(found) and np.isinf(expected))


@steady
@given(st.lists(st.tuples(st.integers(0, 5), finite), min_size=1, max_size=5))
def test_the_rules_never_give_a_slower_study_than_the_published_code(trials):
    indices, times = np.array(trials, dtype=float).T
    assert m.best_of_study(indices, times, "rules") <= m.best_of_study(indices, times)


@steady
@given(tables(least=2), st.integers(1, 4))
def test_leading_axes_are_independent(times, copies):
    stacked = np.stack([times * k for k in range(1, copies + 1)])
    for k, block in enumerate(scores(stacked)):
        np.testing.assert_array_equal(block, scores(times * (k + 1)))


# Surprises


def test_a_new_submission_can_raise_the_score_of_another():
    """The newcomer is fast on the held-out workload only: it takes the base workload from the fastest there."""
    benchmark = suite(base=("a",), held_out=(("a2", "a"),))
    before = scores([[10, 80], [30, 20]], benchmark)
    after = scores([[10, 80], [30, 20], [39, 19]], benchmark)
    assert before[0] == 1
    assert before[1] < 0.4
    assert after[:2].tolist() == [0, 1]


def test_a_new_submission_can_turn_the_order_of_two_others():
    benchmark = suite(base=("a", "b", "c"))
    two = [[10, 30, 30], [24, 20, 20]]
    before, after = scores(two, benchmark), scores([*two, [1e9, 7, 7]], benchmark)
    assert before[0] > before[1]
    assert after[0] < after[1]


def test_a_faster_trial_can_make_a_study_slower_in_published_scores():
    """A trial that reaches the target at an earlier evaluation wins, though it took longer to get there."""
    alone = m.best_of_study(np.array([5.0, nan]), np.array([50.0, nan]))
    joined = m.best_of_study(np.array([5.0, 4.0]), np.array([50.0, 60.0]))
    assert joined > alone


def test_a_faster_study_need_not_move_the_median():
    assert m.median_over_studies(np.array([1.0, inf, inf])) == m.median_over_studies(np.array([9.0, inf, inf]))


def test_reaching_a_base_target_can_cost_others_theirs():
    """Its held-out time, not counted before, becomes the fastest there."""
    benchmark = suite(base=("a",), held_out=(("a2", "a"),))
    assert scores([[10, 100], [inf, 20]], benchmark).tolist() == [1, 0]
    assert scores([[10, 100], [30, 20]], benchmark).tolist() == [0, 1]
