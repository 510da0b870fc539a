"""Every registered submission refuses bad values of its numbers, and takes every packaged point and search space."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.hyperparameters import numeric_hyperparameters
from algoperf_lightning.plugins import find_submission, get_submission
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.tuning.points import split_into_studies
from algoperf_lightning.tuning.search_space import SearchSpace
from algoperf_lightning.workloads import Digits

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = list(plugins(SUBMISSIONS))
NUMBERS = [(name, number) for name in NAMES for number in numeric_hyperparameters(get_submission(name)).values()]
each_number = pytest.mark.parametrize(("name", "number"), NUMBERS, ids=[f"{n}-{number.name}" for n, number in NUMBERS])


def ends(interval):
    """Return (end, whether it lies in the interval) of both ends."""
    low, high = str(interval)[1:-1].split(",")
    return [(float(low), str(interval)[0] == "["), (float(high), str(interval)[-1] == "]")]


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_range(name):
    submission = get_submission(name)
    numbers = numeric_hyperparameters(submission)
    assert [number.name for number in numbers.values() if number.interval is None] == []
    made = submission().hyperparameters
    assert {key for key, value in made.items() if isinstance(value, float)} <= numbers.keys()


@each_number
def test_bad_values_are_refused_in_one_line(name, number):
    submission = get_submission(name)
    (low, _), (high, _) = ends(number.interval)
    bad = [math.nan, math.inf, -math.inf, low - 1, -1e-3, "0.1", True, [0.1]]
    bad += [high + 1] if math.isfinite(high) else []
    bad += [end for end, within in ends(number.interval) if not within and math.isfinite(end)]
    bad += [] if number.optional else [None]
    bad += [1.5] if number.whole else []
    for value in bad:
        with pytest.raises(BadInputError) as error:
            submission(**{number.name: value})
        text = str(error.value)
        assert text.startswith(f"{submission.__name__}: {number.name} must be ")
        assert f"in {number.interval}" in text
        assert text.endswith(f"but got {value!r}.")
        assert "\n" not in text


@each_number
def test_the_ends_of_a_range_can_be_trained_with(name, number):
    kind = int if number.whole else float
    for end, within in ends(number.interval):
        if not within:
            continue
        submission = get_submission(name)(**{number.name: kind(end)})
        workload = Digits(submission)
        workload.configure_model()
        workload.configure_optimizers()
        optimizer, schedules = workload._optimization.optimizer, workload._optimization.schedules

        def closure(workload=workload, optimizer=optimizer):
            getattr(optimizer, "go_to_y", lambda: None)()  # schedule-free optimizers want their gradient there
            for parameter in workload.network.parameters():
                parameter.grad = torch.ones_like(parameter)

        optimizer.step(closure=closure)
        for schedule in schedules:
            schedule.scheduler.step()


@pytest.mark.parametrize("path", sorted((CONFIGS / "submissions").glob("*.yaml")), ids=lambda path: path.stem)
def test_packaged_points_are_in_range(path):
    config = yaml.safe_load(path.read_text())["submission"]
    find_submission(config["class_path"])(**config.get("init_args", {}))


def points_of(space):
    """Return two points of a search space, as a study draws them."""
    return [point for study in split_into_studies(space, 1, 2, seed=1, method="halton") for point in study]


@pytest.mark.parametrize("name", NAMES)
def test_search_spaces_of_classes_are_in_range(name):
    submission = get_submission(name)
    if (space := SearchSpace.of(submission)) is not None:
        for point in [*points_of(space), *corners(submission.search_space)]:
            submission(**point)


@pytest.mark.parametrize("path", sorted((CONFIGS / "search_spaces").rglob("*.json")), ids=str)
def test_packaged_search_spaces_are_in_range(path):
    owner = max((name for name in NAMES if path.stem == name or path.stem.startswith(f"{name}_")), key=len)
    submission = get_submission(owner)
    space = SearchSpace.load(path, submission)
    for point in [*points_of(space), *corners(json.loads(path.read_text()))]:
        submission(**point)


def corners(space):
    """Return the points of a list, or two points of ranges: every low end, every high end."""
    if isinstance(space, list):
        return space
    both = []
    for low in (True, False):
        point = {}
        for name, values in space.items():
            if "feasible_points" in values:
                point[name] = values["feasible_points"][0 if low else -1]
            else:
                point[name] = values["min" if low else "max"]
        both.append(point)
    return both
