import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.tuning import Choices, Range, SearchSpace, draw_points, split_into_studies
from algoperf_lightning.tuning.points import benchmark_sequence, digit_permutation

FILES = Path(__file__).parents[2] / "configs" / "search_spaces"
ADAMW = SearchSpace.load(FILES / "adamw.json")
FIVE = SearchSpace.load(FILES / "nadamw_full_budget.json")
MIXED = SearchSpace.parse(
    {
        "lr": {"min": 1e-4, "max": 1e-2, "scaling": "log"},
        "fixed": {"feasible_points": [7]},
        "share": {"min": -1, "max": 3, "scaling": "linear"},
        "kind": {"feasible_points": ["a", None, True]},
    },
    "mixed",
)
TEN = [{"lr": 0.1 * number} for number in range(10)]
METHODS = ["halton", "algoperf"]


def space_of(*values):
    return SearchSpace.parse({f"x{i}": {"feasible_points": list(v)} for i, v in enumerate(values)}, "discrete")


def in_space(point, space):
    def inside(dimension, value):
        if isinstance(dimension, Range):
            return type(value) is float and dimension.minimum <= value <= dimension.maximum
        return value in dimension.values

    return list(point) == list(space.dimensions) and all(inside(d, point[n]) for n, d in space.dimensions.items())


# The benchmark's own sequence: golden numbers, to all digits.


def test_golden_sequence():
    assert benchmark_sequence(1, 3) == [[0.28612427728381884], [0.8300193327833143], [0.36079632571974196]]
    assert benchmark_sequence(2, 3) == [
        [0.2739744372653363, 0.28612427728381884],
        [0.9911667058309517, 0.8300193327833143],
        [0.23023079535282354, 0.36079632571974196],
    ]
    assert benchmark_sequence(7, 1) == [
        [
            0.648493533117636,
            0.7565722923221863,
            0.3641415259118679,
            0.6914475933545885,
            0.13714606964468423,
            0.2739744372653363,
            0.28612427728381884,
        ]
    ]


@pytest.mark.parametrize(
    ("base", "first", "shift"),
    [
        (991, [0, 219, 782, 672, 547, 29], 0.6867297263251911),
        (983, [0, 487, 96, 821, 711, 86], 0.490658058831969),
    ],
)
def test_golden_permutations(base, first, shift):
    permutation, drawn = digit_permutation(base)
    assert permutation[:6] == first
    assert drawn == shift
    assert sorted(permutation) == list(range(base))


GOLDEN = [
    (0.0019814680146414726, 0.22838767981804783, 0.010340635370188849, 0.1, 0.0),
    (0.0002366315233112939, 0.03838470136970223, 0.358796133013872, 0.2, 0.1),
    (0.0009554263254837416, 0.26408799816091044, 0.01950318659958426, 0.1, 0.0),
    (0.00010054778177688589, 0.02851493691506827, 0.012638327613865154, 0.1, 0.0),
    (0.00019766560226064676, 0.20223897956866743, 0.012300240728935494, 0.1, 0.1),
]


@pytest.mark.parametrize(("seed", "order"), [(None, [1, 2, 3, 4, 5]), (0, [3, 1, 2, 4, 5])])
def test_golden_points_of_the_archived_adamw(seed, order):
    keys = ("learning_rate", "one_minus_beta1", "weight_decay", "label_smoothing", "dropout_rate")
    points = draw_points(ADAMW, 5, seed, "algoperf")
    # One unit in the last place: exp and log are the C library's.
    for point, row in zip(points, order, strict=True):
        assert [point[key] for key in keys] == pytest.approx(GOLDEN[row - 1], rel=4e-16, abs=0)
        assert (point["beta2"], point["warmup_factor"]) == (0.999, 0.05)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_the_shuffle_is_that_of_numpys_legacy_generator(seed):
    expected = list(range(15))
    np.random.RandomState(seed).shuffle(expected)
    plain = draw_points(ADAMW, 15, None, "algoperf")
    assert [plain.index(point) for point in draw_points(ADAMW, 15, seed, "algoperf")] == expected


def test_drawing_leaves_the_global_generator_alone():
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    for method in METHODS:
        split_into_studies(ADAMW, 3, 5, 0, method)
    assert np.random.random() == expected


@pytest.mark.parametrize("dimensions", [166, 167, 200])
def test_many_hyperparameters_take_larger_primes(dimensions):
    (row,) = benchmark_sequence(dimensions, 1)
    assert len(row) == dimensions
    assert all(0 <= u < 1 for u in row)


# Both sequences.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [0, 1, 12345])
@pytest.mark.parametrize("space", [ADAMW, MIXED], ids=["adamw", "mixed"])
def test_points_are_in_the_space_different_and_plain(space, seed, method):
    points = draw_points(space, 40, seed, method)
    assert len({json.dumps(point) for point in points}) == 40
    assert all(in_space(point, space) for point in points)
    assert points == draw_points(space, 40, seed, method)


@pytest.mark.parametrize("method", METHODS)
def test_points_are_the_same_in_another_process(method):
    code = f"""
import json
from algoperf_lightning.tuning import SearchSpace, split_into_studies
print(json.dumps(split_into_studies(SearchSpace.load({str(FILES / "adamw.json")!r}), 3, 5, 8, {method!r})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == split_into_studies(ADAMW, 3, 5, 8, method)


def test_halton_is_scipys_mapped_by_hand():
    rows = qmc.Halton(3, scramble=True, seed=np.random.default_rng(5)).random(300)
    expected = [
        {
            "lr": pytest.approx(10 ** (-4 + 2 * u), rel=1e-12),
            "fixed": 7,
            "share": pytest.approx(-1 + 4 * v),
            "kind": ["a", None, True][math.floor(w * 3)],
        }
        for u, v, w in rows
    ]
    assert draw_points(MIXED, 300, 5) == expected


def test_another_seed_gives_other_points():
    first, second = ({json.dumps(p) for p in draw_points(ADAMW, 15, seed)} for seed in (0, 1))
    assert not first & second


def test_the_first_points_stay_when_more_are_drawn():
    assert draw_points(MIXED, 30, 2)[:5] == draw_points(MIXED, 5, 2)
    assert draw_points(MIXED, 30, None, "algoperf")[:5] == draw_points(MIXED, 5, None, "algoperf")


def test_the_order_of_the_keys_fixes_the_dimension():
    ranges = {name: {"min": 0, "max": 1, "scaling": "linear"} for name in "ab"}
    there = SearchSpace.parse(ranges, "ab")
    back = SearchSpace.parse(dict(reversed(ranges.items())), "ba")
    for method in METHODS:
        for one, other in zip(draw_points(there, 9, 0, method), draw_points(back, 9, 0, method), strict=True):
            assert (one["a"], one["b"]) == (other["b"], other["a"])
            assert one["a"] != other["a"]


def test_a_constant_takes_a_dimension_of_the_benchmarks_sequence_only():
    one = {"lr": {"min": 0, "max": 1, "scaling": "linear"}}
    with_constant = SearchSpace.parse(one | {"fixed": {"feasible_points": [1]}}, "two")
    alone = SearchSpace.parse(one, "one")
    values = {m: [[p["lr"] for p in draw_points(s, 5, 0, m)] for s in (alone, with_constant)] for m in METHODS}
    assert values["halton"][0] == values["halton"][1]
    assert not set(values["algoperf"][0]) & set(values["algoperf"][1])


def test_halton_covers_the_range():
    values = sorted(point["share"] for point in draw_points(MIXED, 16, 0))
    assert max(b - a for a, b in zip([-1.0, *values], [*values, 3.0], strict=True)) < 4 / 16 * 2.01


@given(
    st.floats(1e-150, 1e150),
    st.floats(1 + 1e-9, 1e150),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["log", "linear"]),
)
def test_values_stay_within_their_range(minimum, factor, u, scaling):
    maximum = minimum * factor
    assert minimum <= Range(minimum, maximum, scaling).at(u) <= maximum


def test_rounding_does_not_step_over_an_end():
    # Here the formula alone gives more than the maximum, with glibc's exp and log.
    assert Range(5.52596, 7.988397, "log").at(math.nextafter(1, 0)) <= 7.988397


@pytest.mark.parametrize("length", [1, 2, 3, 7, 10])
def test_choices_are_all_reached_and_no_more(length):
    choices = Choices(tuple(range(length)))
    assert [choices.at((i + 0.5) / length) for i in range(length)] == list(range(length))
    assert choices.at(0.0) == 0
    assert choices.at(math.nextafter(1, 0)) == choices.at(1.0) == length - 1  # a sum of digits may round to 1


# Few points.


def test_a_discrete_space_is_drawn_to_its_last_point():
    space = space_of([1, 2, 3], "abcd", [True])
    points = draw_points(space, 12, 0)
    assert len({json.dumps(point) for point in points}) == 12
    with pytest.raises(BadInputError, match="at least 13 points, but there are 12 different points"):
        draw_points(space, 13, 0)
    assert draw_points(space_of([1]), 1, 0) == [{"x0": 1}]
    with pytest.raises(BadInputError, match="there are 1 different"):
        draw_points(space_of([1, 1]), 2, 0)


def test_the_benchmarks_sequence_may_repeat_points_but_studies_may_not():
    space = space_of([1, 2, 3], "abcd")
    assert len(draw_points(space, 12, 0, "algoperf")) == 12
    with pytest.raises(BadInputError, match=r"repeats some\. Draw with the method 'halton'"):
        split_into_studies(space, 3, 4, 0, "algoperf")


# Lists.


def test_a_list_is_taken_in_full_and_in_order_or_drawn_from():
    assert draw_points(FIVE, 5, 3) == list(FIVE.points)
    drawn = draw_points(FIVE, 3, 3)
    assert all(point in FIVE.points for point in drawn)
    assert len({json.dumps(point) for point in drawn}) == 3
    assert draw_points(FIVE, 3, None) == list(FIVE.points[:3])
    with pytest.raises(BadInputError, match="at least 6 points, but there are 5"):
        draw_points(FIVE, 6, 0)


def test_points_are_copies():
    draw_points(FIVE, 5, 0)[0]["learning_rate"] = "changed"
    assert FIVE.points[0]["learning_rate"] != "changed"


# Studies.


@pytest.mark.parametrize("method", METHODS)
def test_studies_share_out_different_points(method):
    studies = split_into_studies(ADAMW, 3, 5, 11, method)
    assert [len(study) for study in studies] == [5, 5, 5]
    every = [json.dumps(point) for study in studies for point in study]
    assert len(set(every)) == 15
    assert set(every) == {json.dumps(point) for point in draw_points(ADAMW, 15, 11, method)}
    assert studies == split_into_studies(ADAMW, 3, 5, 11, method)
    assert studies != split_into_studies(ADAMW, 3, 5, 12, method)


def test_the_split_is_at_random():
    studies = split_into_studies(ADAMW, 3, 5, 11)
    order = [draw_points(ADAMW, 15, 11).index(point) for study in studies for point in study]
    assert order == np.random.RandomState(11).permutation(15).tolist()


def test_the_unshuffled_split_is_the_sequence_cut_up():
    plain = draw_points(ADAMW, 15, None, "algoperf")
    assert split_into_studies(ADAMW, 3, 5, None, "algoperf") == [plain[:5], plain[5:10], plain[10:]]


def test_a_list_as_long_as_a_study_is_used_in_full_by_each():
    assert split_into_studies(FIVE, 3, 5, 4) == [list(FIVE.points)] * 3
    assert split_into_studies(list(FIVE.points), 3, 5, 4) == [list(FIVE.points)] * 3


def test_a_longer_list_is_drawn_without_replacement_per_study():
    studies = split_into_studies(TEN, 30, 5, 4)
    assert all(len({point["lr"] for point in study}) == 5 for study in studies)
    assert len({json.dumps(study) for study in studies}) > 20
    counts = [sum(point in study for study in studies) for point in TEN]
    assert all(6 <= count <= 24 for count in counts)  # 15 expected, standard deviation 2.7
    assert split_into_studies(TEN, 3, 5, 4) == studies[:3]
    assert split_into_studies(TEN, 2, 5, None) == [TEN[:5], TEN[:5]]


@pytest.mark.parametrize("points", [TEN[:4], [], FIVE], ids=["four", "none", "five"])
def test_too_few_points_in_a_list(points):
    there_are = len(points.points if isinstance(points, SearchSpace) else points)
    with pytest.raises(BadInputError, match=f"at least 6 points, but there are {there_are}. Use fewer trials"):
        split_into_studies(points, 3, 6, 0)


@pytest.mark.parametrize("method", ["halton", "algoperf"])
def test_of_too_few_points_for_all_studies_each_draws_its_own(method):
    studies = split_into_studies(space_of([1, 2, 3], "abcd"), 3, 5, 0, method)
    assert [len({repr(point) for point in study}) for study in studies] == [5, 5, 5]
    assert studies[0] != studies[1]
    with pytest.raises(BadInputError, match="discrete: expected at least 13 points, but there are 12"):
        split_into_studies(space_of([1, 2, 3], "abcd"), 3, 13, 0, method)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"studies": 0}, "studies must be a positive integer, but got 0"),
        ({"trials": -1}, "trials must be a positive integer, but got -1"),
        ({"trials": 2.0}, "trials must be a positive integer, but got 2.0"),
        ({"studies": True}, "studies must be"),
        ({"seed": -1}, "seed must be an integer from 0 to 4294967295, but got -1"),
        ({"seed": 2**32}, "seed must be"),
        ({"seed": 1.5}, "seed must be"),
        ({"seed": None}, "The method 'halton' needs a seed"),
        ({"method": "holton"}, "Unknown method 'holton'. Did you mean 'halton'"),
    ],
)
def test_bad_arguments(arguments, said):
    with pytest.raises(BadInputError, match=said):
        split_into_studies(ADAMW, **{"studies": 3, "trials": 5, "seed": 0, **arguments})
