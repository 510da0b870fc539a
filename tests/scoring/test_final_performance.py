"""What tuning and defaults are worth: against enumeration of all sets, and by hand on small studies."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.final_performance import (
    DEFAULT,
    FinalRun,
    FinalRuns,
    gains,
    improvement,
    mean_and_spread,
    switch_matrix,
)
from algoperf_lightning.scoring.final_ranks import (
    expected_best_default,
    expected_best_point,
    mean_ranks,
    trying_against_tuning,
)

BUDGETS = {"one-shot": 0, "small": 4, "medium": 6}
SEEDS = (42, 43, 44)


def run(problem="loss", optimizer="a", point=DEFAULT, seed=42, validation=1.0, test=1.0, schedule="constant"):
    return FinalRun(problem, optimizer, schedule, point, seed, validation, test)


def study(generator, optimizers=5, problems=("loss", "accuracy"), missing=()):
    runs = []
    for problem, number in itertools.product(problems, range(optimizers)):
        center = 1 + number * generator.uniform(0, 0.2)
        for point in (DEFAULT, *range(6)):
            for seed in SEEDS if point in (DEFAULT, 2, 5) else SEEDS[:1]:
                value = center + generator.normal(0, 0.3)
                if (problem, number, point) not in missing:
                    runs.append(run(problem, f"opt{number}", point, seed, value + generator.normal(0, 0.1), value))
    return FinalRuns(runs, {"loss": "min", "accuracy": "max"}, BUDGETS, tuning_seed=42)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([346.8637, 346.8595, 346.8616], "346.8616 ± 0.0021"),
        ([110.0, 90.0], "100 ± 14"),
        ([0.1, 0.1], "0.1 ± 0"),
        ([0.9955], "0.9955"),
        ([1.0, 0.98], "0.990 ± 0.014"),
    ],
)
def test_means_have_the_decimals_of_their_deviation(values, text):
    assert mean_and_spread(np.array(values)) == text


@pytest.mark.parametrize("direction", ["min", "max"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_best_of_some_points_is_the_mean_over_all_sets_of_them(size, direction):
    generator = np.random.default_rng(size)
    tried = [run(point=point, validation=generator.normal(), test=generator.normal()) for point in range(5)]
    best = min if direction == "min" else max
    found = [best(points, key=lambda each: each.validation).test for points in itertools.combinations(tried, size)]
    assert expected_best_point(tried, size, direction) == pytest.approx(np.mean(found), abs=1e-12)


@pytest.mark.parametrize("direction", ["min", "max"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_best_of_some_defaults_is_the_mean_over_all_sets_of_optimizers_and_seeds(size, direction):
    generator = np.random.default_rng(size)
    defaults = [
        [run(seed=seed, validation=generator.normal(), test=generator.normal()) for seed in range(seeds)]
        for seeds in (1, 3, 2, 2)
    ]
    best = min if direction == "min" else max
    sets = []
    for chosen in itertools.combinations(defaults, size):
        picks = [best(runs, key=lambda each: each.validation).test for runs in itertools.product(*chosen)]
        sets.append(np.mean(picks))  # every set of optimizers counts alike, whatever the number of its seeds
    assert expected_best_default(defaults, size, direction) == pytest.approx(np.mean(sets), abs=1e-12)


def test_a_point_is_chosen_by_its_single_run_and_reported_over_all_its_seeds():
    runs = FinalRuns(
        [
            run(point=0, validation=2.0, test=5.0),
            run(point=1, validation=1.0, test=7.0),
            run(point=1, seed=43, validation=9.0, test=9.0),
            run(point=2, validation=1.0, test=0.0),
            run(point=3, validation=3.0, test=0.0),
        ],
        {"loss": "min"},
        BUDGETS,
        tuning_seed=42,
    )
    assert runs.chosen("loss", "a", "constant", "small") == 1
    assert runs.performance("loss", "a", "small", "constant").tolist() == [7.0, 9.0]
    assert runs.chosen("loss", "a", "constant", "medium") is None  # two of its points are missing
    assert runs.performance("loss", "a", "medium", "constant").size == 0
    assert math.isnan(runs.mean("loss", "a", "one-shot", "constant"))


def test_improvements_are_positive_where_a_value_is_better():
    assert improvement(90.0, 100.0, "min") == pytest.approx(0.1)
    assert improvement(90.0, 100.0, "max") == pytest.approx(-0.1)
    assert improvement(-90.0, -100.0, "max") == pytest.approx(0.1)  # by the size of the old value
    assert improvement(0.9, 0.8, "max", relative=False) == pytest.approx(0.1)


def test_the_switch_matrix_has_untuned_rows_tuned_columns_and_the_gain_of_tuning_on_its_diagonal():
    rows = []
    for name, default, tuned in (("a", 100.0, 80.0), ("b", 50.0, 40.0)):
        rows.append(run(optimizer=name, test=default))
        rows += [run(optimizer=name, point=point, validation=point, test=tuned) for point in range(4)]
    runs = FinalRuns(rows, {"loss": "min"}, BUDGETS, tuning_seed=42)
    matrix = switch_matrix(runs, "loss", "small", "one-shot", "constant")
    np.testing.assert_allclose(matrix, [[20.0, 60.0], [-60.0, 20.0]])
    accuracies = FinalRuns(
        [FinalRun("accuracy", *list(vars(each).values())[1:-2], -each.validation, each.test / 100) for each in rows],
        {"accuracy": "max"},
        BUDGETS,
        tuning_seed=42,
    )
    np.testing.assert_allclose(
        switch_matrix(accuracies, "accuracy", "small", "one-shot", "constant"), [[-20.0, -60.0], [30.0, -10.0]]
    )
    np.testing.assert_allclose(gains(runs, [("small", "constant")], ("one-shot", "constant")), [[[0.2, 0.2]]])


def test_ranks_are_means_over_problems_and_their_intervals_hold_them():
    runs = study(np.random.default_rng(0))
    ranks = mean_ranks(runs, "small", "constant", draws=200)
    means = runs.means("small", "constant")
    expected = []
    for column in range(len(runs.optimizers)):
        places = [
            1 + sum((row > row[column]) if sign == "max" else (row < row[column]))
            for row, sign in zip(means, ("min", "max"), strict=True)
        ]
        expected.append(np.mean(places))
    np.testing.assert_allclose(ranks.value, expected)
    assert (ranks.low <= ranks.high).all()
    assert ranks.value.sum() == pytest.approx(sum(range(1, 6)))


def test_equal_values_share_their_ranks():
    values = [3.0, 1.0, 3.0, 2.0, 3.0, 1.0]
    runs = FinalRuns(
        [run(optimizer=f"opt{n}", test=value) for n, value in enumerate(values)], {"loss": "min"}, BUDGETS, 42
    )
    np.testing.assert_array_equal(mean_ranks(runs, "one-shot", "constant", draws=1).value, scipy.stats.rankdata(values))


def test_intervals_of_ranks_have_the_chances_of_the_bootstrap():
    """The mean of four draws from 0, 0, 0, 3 is above 1 if two or more of them are 3: with a chance of 0.2617."""
    rows = [run(optimizer="a", seed=seed, test=value) for seed, value in enumerate([0.0, 0.0, 0.0, 3.0])]
    runs = FinalRuns([*rows, run(optimizer="b", test=1.0)], {"loss": "min"}, BUDGETS, tuning_seed=42)
    for level, high in ((0.5, 2.0), (0.45, 1.0)):
        ranks = mean_ranks(runs, "one-shot", "constant", draws=20_000, level=level)
        assert (ranks.value[0], ranks.low[0], ranks.high[0]) == (1.0, 1.0, high)


def test_an_optimizer_without_runs_on_a_problem_has_no_rank_there():
    runs = study(np.random.default_rng(0), missing={("loss", 0, DEFAULT)})
    ranks = mean_ranks(runs, "one-shot", "constant", draws=20)
    loss, only = runs.means("one-shot", "constant")
    assert math.isnan(loss[0])
    assert ranks.value[0] == 1 + (only > only[0]).sum()


def test_trying_and_tuning_are_equal_for_one_run_each_if_defaults_are_points_like_any_other():
    """Where all optimizers and points are draws of one distribution, neither way gains anything."""
    inside = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        rows = [
            run(optimizer=f"opt{number}", point=point, validation=(value := generator.normal(10, 1)), test=value)
            for number in range(8)
            for point in (DEFAULT, *range(4))
        ]
        trying = trying_against_tuning(FinalRuns(rows, {"loss": "min"}, BUDGETS, 42), "small", "constant")
        assert trying.sizes == [1, 2, 3, 4]
        inside.append((trying.gain.low <= 0) & (trying.gain.high >= 0))
    assert np.mean(inside) > 0.85


def test_the_gain_and_its_interval_agree_with_enumeration_and_pseudo_values():
    runs = study(np.random.default_rng(4), optimizers=4)
    names, better = runs.optimizers, {"loss": min, "accuracy": max}

    def test_of_best(problem, some):
        return better[problem](some, key=lambda each: each.validation).test

    def gain(kept, size):
        of_problems = []
        for problem in runs.problems:
            defaults = [runs.of_point(problem, each, "constant", DEFAULT) for each in kept]
            points = [runs.tried(problem, each, "constant", "small") for each in kept]
            picks = [itertools.product(*some) for some in itertools.combinations(defaults, size)]
            trying = np.mean([[test_of_best(problem, pick) for pick in some] for some in picks])
            tuning = np.mean([test_of_best(problem, some) for p in points for some in itertools.combinations(p, size)])
            one = np.mean([each.test for some in defaults for each in some])
            of_problems.append((trying - tuning if problem == "accuracy" else tuning - trying) / one)
        return np.mean(of_problems)

    found = trying_against_tuning(runs, "small", "constant").gain
    for place, size in enumerate((1, 2, 3)):
        whole = gain(names, size)
        pseudo = [4 * whole - 3 * gain([each for each in names if each != left], size) for left in names]
        half = scipy.stats.t(3).ppf(0.975) * scipy.stats.sem(pseudo)
        shown = (found.value[place], found.low[place], found.high[place])
        assert shown == pytest.approx((whole, whole - half, whole + half), rel=1e-9)


def test_trying_is_better_where_optimizers_differ_more_than_their_points():
    rows = [
        run(optimizer=f"opt{number}", point=point, validation=10.0 + number, test=10.0 + number)
        for number in range(6)
        for point in (DEFAULT, *range(4))
    ]
    trying = trying_against_tuning(FinalRuns(rows, {"loss": "min"}, BUDGETS, 42), "small", "constant")
    assert trying.gain.value[0] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(trying.gain.value) > 0).all()
    assert trying.gain.low[-1] > 0
    np.testing.assert_allclose(trying.tuned, 12.5)


def test_problems_without_all_runs_are_left_out_and_sizes_that_cannot_be_are_refused():
    whole, partial = study(np.random.default_rng(1)), study(np.random.default_rng(1), missing={("loss", 3, 1)})
    assert trying_against_tuning(whole, "small", "constant").problems == ["loss", "accuracy"]
    assert trying_against_tuning(partial, "small", "constant").problems == ["accuracy"]
    with pytest.raises(BadInputError, match="5 runs cannot be compared: expected 1 to 4"):
        trying_against_tuning(whole, "small", "constant", sizes=[2, 5])
