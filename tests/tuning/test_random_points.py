"""Independent points: those of the Crowded Valley study, known from its published results to ten digits or more."""

import numpy as np
import pytest

from algoperf_lightning.plugins import get_submission
from algoperf_lightning.tuning.points import draw_points, split_into_studies
from algoperf_lightning.tuning.search_space import SearchSpace

MOMENTUM = {
    0: "0.003148911648; 0.3648778989",
    1: "0.08471801419; 0.9751895903",
    24: "0.01537592024; 0.9994511953",
    49: "0.0001263794634; 0.9997298744",
}
ADAM = {
    0: "0.003148911648; 0.9655087169; 0.9412726841",
    1: "0.02481040975; 0.5570504415; 0.8282258693",
    24: "0.0001052176187; 0.8792315051; 0.9360316375",
    49: "0.01024981656; 0.5181708386; 0.8511008503",
}
RATES = {0: "0.003148911648", 1: "0.6351221011", 24: "0.006672367170", 49: "0.0005488047001"}
BOUND = {
    0: "0.003148911648; 0.3681102521; 0.8298802309; 0.9138030094; 0.0002938027939",
    24: "0.1697307853; 0.2621503359; 0.6231352285; 0.8198166025; 0.0004828424975",
}
GOLDEN = {
    "valley_sgd": RATES,
    "valley_adagrad": RATES,
    **dict.fromkeys(("valley_momentum", "valley_nag", "valley_rmsprop", "valley_adadelta"), MOMENTUM),
    **dict.fromkeys(("valley_adam", "valley_amsgrad", "valley_nadam", "valley_radam", "valley_adabelief"), ADAM),
    "valley_adabound": BOUND,
    "valley_amsbound": BOUND,
    "valley_lookahead_momentum": {
        0: "0.003148911648; 0.3648778989; 11; 0.1314510323",
        1: "0.02440060709; 0.9939280105; 11; 0.006870614283",
    },
    "valley_lookahead_radam": {0: "0.003148911648; 0.9655087169; 0.9412726841; 7; 0.006071989493"},
}


def published(point):
    """Return a point as the study wrote it: a momentum where we have 1 minus it."""
    return [1 - value if name.startswith("one_minus_") else value for name, value in point.items()]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_points_of_the_study_to_ten_digits(name):
    points = draw_points(SearchSpace.of(get_submission(name)), 50, 42, "random")
    for index, text in GOLDEN[name].items():
        expected = [float(number) for number in text.split("; ")]
        assert published(points[index]) == pytest.approx(expected, rel=6e-10), index


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("valley_adabelief", (0.067965780908, 0.50720915219, 0.99235532264)),
        ("valley_adadelta", (0.21368329072, 0.9992931025)),
        ("valley_lookahead_momentum", (0.002023778954, 0.98086731605, 8, 0.23885558179)),
        ("valley_lookahead_radam", (0.026536271329, 0.94933229461, 0.92450529026, 7, 0.25127790999)),
        ("valley_rmsprop", (0.015375920235, 0.9994511953)),
    ],
)
def test_the_best_points_of_published_runs_are_among_them(name, found):
    """Of the budget with 25 points; these were not known when the space was worked out."""
    points = draw_points(SearchSpace.of(get_submission(name)), 25, 42, "random")
    assert any(published(point) == pytest.approx(found, rel=6e-10) for point in points)


def test_a_smaller_budget_has_the_first_points_of_a_larger_one():
    space = SearchSpace.of(get_submission("valley_lookahead_momentum"))
    small, large = (draw_points(space, count, 42, "random") for count in (25, 50))
    assert small == large[:25]
    (study,) = split_into_studies(space, 1, 50, 42, "random")
    assert study == large
    (grown,) = split_into_studies(space, 1, 50, 42, "random", existing={1: small})
    assert grown == large
    assert draw_points(space, 25, 43, "random") != small


def test_one_number_is_drawn_for_each_hyperparameter_in_order():
    space = SearchSpace.parse(
        {
            "rate": {"min": 1e-4, "max": 1.0, "scaling": "log"},
            "period": {"feasible_points": [2, 3, 5]},
            "dropout": {"min": 0.0, "max": 0.5, "scaling": "linear"},
        },
        "here",
    )
    generator = np.random.RandomState(3)
    for point in draw_points(space, 20, 3, "random"):
        assert point["rate"] == pytest.approx(10 ** (-4 + 4 * generator.random_sample()))
        assert point["period"] == (2, 3, 5)[generator.randint(0, 3)]
        assert point["dropout"] == pytest.approx(0.5 * generator.random_sample())
