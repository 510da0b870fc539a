"""Tuning in stages: which trials follow from which results, by made-up results and the published ones of a study."""

import math

import pytest

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.plugins import get_submission
from algoperf_lightning.tuning.points import draw_points
from algoperf_lightning.tuning.protocol import Known, Protocol, TuningBudget, plan_stages, refine
from algoperf_lightning.tuning.search_space import SearchSpace
from algoperf_lightning.tuning.suites import CROWDED_VALLEY

SGD = SearchSpace.of(get_submission("valley_sgd"))
RATES = [point["learning_rate"] for point in draw_points(SGD, 50, 42, "random")]


def test_a_refined_space_gives_the_best_points_that_were_published_for_it():
    """Of the large budget; the ends are those of the points 19 and 24 or 45, as found in the published folders."""
    assert (RATES[19], RATES[24]) == pytest.approx((0.00146190, 0.00667237), rel=1e-5)
    for other, best in ((24, 0.004283449845894927), (45, 0.0052622717783)):
        space = refine(SGD, [{"learning_rate": RATES[other]}, {"learning_rate": RATES[19]}])
        rates = [point["learning_rate"] for point in draw_points(space, 25, 42, "random")]
        assert any(rate == pytest.approx(best, rel=1e-10) for rate in [*RATES, *rates])


def test_published_ends_of_refined_spaces_are_values_of_the_shared_points():
    points = draw_points(SearchSpace.of(get_submission("valley_amsbound")), 50, 42, "random")
    ends = {
        "learning_rate": (0.000300869, 0.755681),
        "final_lr": (0.00237955, 0.26215),
        "beta1": (0.543285, 0.958043),
        "beta2": (0.819817, 0.975942),
        "gamma": (0.000186582, 0.0822898),
    }
    for name, both in ends.items():
        for end in both:
            assert any(point[name] == pytest.approx(end, rel=1e-5) for point in points), (name, end)
    assert any(rate == pytest.approx(0.0269265, rel=1e-5) for rate in RATES)
    assert any(rate == pytest.approx(0.0446775, rel=1e-5) for rate in RATES)


@pytest.mark.parametrize(("budget", "trials"), [("one-shot", 10), ("small", 44), ("medium", 78), ("large", 112)])
def test_the_study_has_so_many_runs(budget, trials):
    """53,760 in all: 15 optimizers, 8 problems and 4 schedules."""
    assert CROWDED_VALLEY.most_trials(budget) == trials
    assert 15 * 8 * 4 * CROWDED_VALLEY.most_trials("large") == 53_760


def run(budget, goodness, known=None):
    """Run stages by a function of the learning rate until none follows; return the stages, and what is on disk."""
    known = dict(known or {})
    while True:
        stages = plan_stages(CROWDED_VALLEY, budget, SGD, known)
        after = {
            stage.name: Known(
                stage.points,
                [goodness(point.get("learning_rate", 0.01)) for point in stage.points],
                None if stage.space is None else stage.space.to_json(),
            )
            for stage in stages
        }
        if after == known:
            return {stage.name: stage for stage in stages}, known
        known = after


def near(optimum):
    return lambda rate: -abs(math.log(rate / optimum))


@pytest.mark.parametrize("optimum", [0.0021, 0.3])
def test_stages_of_all_budgets_follow_from_results(optimum):
    stages, _ = run("large", near(optimum))
    assert [len(stages[name].points) for name in ("one_shot", "tuning", "refined")] == [10, 50, 25]
    assert stages["one_shot"].seeds == tuple(range(42, 52))
    assert set(stages["tuning"].seeds) == set(stages["refined"].seeds) == {42}
    # By hand: the ten best of fifty span the refined space; the best of 25, of 50 and of all 75 are run again.
    ranked = sorted(RATES, key=near(optimum), reverse=True)
    space = stages["refined"].space.dimensions["learning_rate"]
    assert (space.minimum, space.maximum) == (min(ranked[:10]), max(ranked[:10]))
    everything = RATES + [point["learning_rate"] for point in stages["refined"].points]
    winners = [max(RATES[:25], key=near(optimum)), ranked[0], max(everything, key=near(optimum))]
    best = [
        (point["learning_rate"], seed) for point, seed in zip(stages["best"].points, stages["best"].seeds, strict=True)
    ]
    assert best == [(rate, seed) for rate in dict.fromkeys(winners) for seed in range(43, 52)]


def test_a_budget_that_grows_keeps_its_trials():
    known = {}
    for budget in ("one-shot", "small", "medium", "large"):
        before = known
        _, known = run(budget, near(0.3), before)
        for name, earlier in before.items():
            assert list(known[name].points[: len(earlier.points)]) == list(earlier.points)
    at_once, _ = run("large", near(0.3))
    assert {name: list(stage.points) for name, stage in at_once.items()} == {
        name: list(each.points) for name, each in known.items()
    }


def test_nothing_follows_before_all_trials_have_ended():
    _, known = run("small", near(0.3))
    scores = list(known["tuning"].scores)
    running = {"tuning": Known(known["tuning"].points, [*scores[:-1], None])}
    assert [stage.name for stage in plan_stages(CROWDED_VALLEY, "small", SGD, running)] == ["one_shot", "tuning"]
    medium = plan_stages(CROWDED_VALLEY, "medium", SGD, {"tuning": known["tuning"]})
    assert [stage.name for stage in medium] == ["one_shot", "tuning", "best"]  # of the small budget already


def test_failed_trials_are_no_best_ones():
    stages, _ = run("small", lambda rate: -math.inf if rate > 0.01 else near(0.3)(rate))
    assert stages["best"].points[0]["learning_rate"] == max(rate for rate in RATES[:25] if rate <= 0.01)
    stages, _ = run("large", lambda rate: -math.inf)
    assert list(stages) == ["one_shot", "tuning"]


def test_what_was_planned_stays_if_a_failed_trial_is_run_again():
    stages, known = run("large", lambda rate: -math.inf if rate > 0.1 else near(0.3)(rate))
    again, _ = run("large", near(0.3), known)
    assert again["refined"] == stages["refined"]
    assert again["best"].points[: len(stages["best"].points)] == stages["best"].points
    assert len(again["best"].points) > len(stages["best"].points)


def test_choices_are_refined_to_those_between():
    space = SearchSpace.parse(
        {
            "k": {"feasible_points": list(range(1, 20))},
            "kind": {"feasible_points": ["a", "b", "c"]},
            "rate": {"min": 0.1, "max": 0.9, "scaling": "linear"},
        },
        "here",
    )
    found = refine(space, [{"k": 7, "kind": "c", "rate": 0.5}, {"k": 4, "kind": "a", "rate": 0.5}])
    assert found.to_json() == {
        "k": {"feasible_points": [4, 5, 6, 7]},
        "kind": {"feasible_points": ["a", "c"]},
        "rate": {"feasible_points": [0.5]},
    }


def test_budgets_that_are_none_are_refused():
    with pytest.raises(BadInputError, match=r"Unknown budget 'smal'\. Did you mean 'small'"):
        plan_stages(CROWDED_VALLEY, "smal", SGD, {})
    listed = SearchSpace.parse([{"learning_rate": 0.1}, {"learning_rate": 0.2}], "here")
    with pytest.raises(BadInputError, match="expected at least 25 points, but there are 2"):
        plan_stages(CROWDED_VALLEY, "small", listed, {})
    assert len(plan_stages(CROWDED_VALLEY, "one-shot", None, {})) == 1
    tiny = Protocol({"defaults": TuningBudget(), "two": TuningBudget(2)}, seed=1, repeats=3, spanning=2)
    assert tiny.most_trials("two") == 3 + 2 + 2
