import configparser
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, Literal, Optional

import numpy as np
import pytest

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.plugins import get_submission
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.submission import Submission
from algoperf_lightning.tuning import Choices, Range, SearchSpace, draw_points

ROOT = Path(__file__).parents[2]
FILES = ROOT / "configs" / "search_spaces"
FILE_OF = {"adamw": "adamw", "momentum": "momentum", "nesterov": "nesterov", "nadamw": "nadamw_full_budget"}
LR = {"min": 1e-4, "max": 1e-2, "scaling": "log"}


class Algorithm(Submission):
    def __init__(
        self,
        learning_rate: float,
        layers: int = 2,
        nesterov: bool = False,
        kind: Literal["a", "b"] = "a",
        clip: float | None = None,
        betas: tuple[float, float] = (0.9, 0.99),
        name: Optional[str] = None,  # noqa: UP045 (the old form must work too)
        unannotated=0,
    ):
        self.learning_rate = learning_rate


def problems_of(error):
    return str(error.value).splitlines()[1:]


def write(tmp_path, content):
    path = tmp_path / "space.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


# What the files hold, and their order.


@pytest.mark.parametrize(("name", "file"), FILE_OF.items())
def test_the_file_of_a_baseline_is_what_its_class_declares(name, file):
    declared = SearchSpace.of(get_submission(name))
    loaded = SearchSpace.load(FILES / f"{file}.json", get_submission(name))
    assert loaded == declared
    assert list(loaded.dimensions) == list(declared.dimensions)  # the order is the dimension of the sequence
    assert json.loads((FILES / f"{file}.json").read_text()) == declared.to_json()


@pytest.mark.parametrize("name", plugins(SUBMISSIONS))
def test_every_declared_search_space_fits_its_submission(name):
    space = SearchSpace.of(get_submission(name))
    if space is not None:
        for point in draw_points(space, len(space.points) or 20, seed=0):
            assert get_submission(name)(**point).hyperparameters.items() >= point.items()


@pytest.mark.parametrize("path", sorted(FILES.rglob("*.json")), ids=lambda path: str(path.relative_to(FILES)))
@pytest.mark.parametrize("method", ["halton", "algoperf"])
def test_every_point_of_every_file_builds_the_submission(path, method):
    names = [name for name in plugins(SUBMISSIONS) if path.stem == name or path.stem.startswith(f"{name}_")]
    submission = get_submission(max(names, key=len))
    space = SearchSpace.load(path, submission)
    for point in draw_points(space, len(space.points) or 5, 1, method):
        assert submission(**point).hyperparameters.items() >= point.items()


def test_the_archived_nadamw_space_is_that_of_the_paper():
    adamw, nadamw = (SearchSpace.load(FILES / f"{name}.json") for name in ("adamw", "nadamw"))
    assert nadamw.dimensions["one_minus_beta1"] == Range(0.004, 0.1, "log")
    assert {name for name in adamw.dimensions if adamw.dimensions[name] != nadamw.dimensions[name]} == {
        "one_minus_beta1"
    }
    assert list(adamw.dimensions) == list(nadamw.dimensions)


def test_the_files_are_packaged():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]["algoperf_lightning.configs"].split(", ")
    packaged = {path for pattern in patterns for path in (ROOT / "configs").glob(pattern)}
    assert packaged >= {path for kind in ("*.json", "*.yaml") for path in (ROOT / "configs").rglob(kind)}
    assert "algoperf_lightning.tuning" in config["options"]["packages"].split()


# Reading.


def test_feasible_points_win_over_a_range():
    space = SearchSpace.parse({"learning_rate": {**LR, "feasible_points": [0.1, 0.2]}}, "here")
    assert space.dimensions == {"learning_rate": Choices((0.1, 0.2))}


def test_a_submission_that_tunes_itself_has_none():
    assert SearchSpace.of(Algorithm) is None


@pytest.mark.parametrize(
    "declared",
    [
        {"learning_rate": LR, "layers": {"feasible_points": [1, 2]}, "clip": {"min": 0, "max": 1, "scaling": "linear"}},
        [{"learning_rate": 1, "clip": None}, {"learning_rate": 0.1, "clip": 1.0}],
        [{"learning_rate": 1.0, "nesterov": True, "kind": "b", "betas": [0.9, 0.9], "name": "x", "unannotated": []}],
    ],
    ids=["ranges", "points", "types"],
)
def test_declared_and_loaded_are_the_same(declared, tmp_path):
    loaded = SearchSpace.load(write(tmp_path, declared), Algorithm)
    declaring = type("Declaring", (Algorithm,), {"search_space": declared})
    assert loaded == SearchSpace.of(declaring) == SearchSpace.parse(loaded.to_json(), "here", Algorithm)
    json.dumps(loaded.to_json())


def test_scalars_of_numpy_become_plain():
    declared = {"learning_rate": LR, "layers": {"feasible_points": (np.int64(3), 4)}}
    values = SearchSpace.parse(declared, "here", Algorithm).dimensions["layers"].values
    assert [type(value) for value in values] == [int, int]


def test_describe():
    space = SearchSpace.parse({"learning_rate": LR, "layers": {"feasible_points": [1, 2]}}, "here")
    assert space.describe() == {"learning_rate": "0.0001 to 0.01 (log)", "layers": "1 or 2"}
    points = SearchSpace.parse([{"a": 1, "b": 2}, {"a": 1, "b": 3}], "here")
    assert points.describe() == {"a": "1", "b": "2 or 3"}


# Files that are no search space.


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON, or is truncated"),
        (json.dumps({"learning_rate": LR})[:-7], "is not JSON, or is truncated"),
        ("learning_rate: 1", "is not JSON, or is truncated"),
        ("[" * 100_000, "is not JSON, or is truncated"),
        ("null", "expected an object of ranges and feasible points, or a list of points, but got None"),
        ("3", "but got 3"),
        ('"adamw"', "but got 'adamw'"),
        ("{}", "expected at least one range or point, but got {}"),
        ("[]", r"expected at least one range or point, but got \[\]"),
    ],
    ids=["empty", "truncated", "yaml", "deep", "null", "number", "string", "no-ranges", "no-points"],
)
def test_a_file_that_is_no_search_space_gives_one_error_that_names_it(content, said, tmp_path):
    path = write(tmp_path, content)
    with pytest.raises(BadInputError, match=said) as error:
        SearchSpace.load(path, Algorithm)
    assert str(path) in str(error.value)
    assert len(problems_of(error)) <= 1


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_named(kind, tmp_path):
    path = tmp_path / "space.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match=r"space\.json"):
        SearchSpace.load(path)


# What is wrong with a range, a choice, a point.


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (LR | {"min": 0.01}, "min below max"),
        (LR | {"min": 0.02}, "min below max"),
        (LR | {"min": 0}, "min above 0, as the scaling is log"),
        (LR | {"min": -1.0}, "min above 0, as the scaling is log"),
        (LR | {"max": float("inf")}, "finite numbers"),
        (LR | {"min": float("nan")}, "finite numbers"),
        (LR | {"max": 10**400}, "finite numbers"),
        (LR | {"max": "high"}, "finite numbers"),
        (LR | {"max": True}, "finite numbers"),
        (LR | {"max": None}, "finite numbers"),
        (LR | {"min": 1e-300, "max": 1e300}, "less far apart"),
        ({"min": -1.7e308, "max": 1.7e308, "scaling": "linear"}, "less far apart"),
        (LR | {"scaling": "Log"}, "'log' or 'linear'"),
        (LR | {"scaling": ["log"]}, "'log' or 'linear'"),
        ({"min": 0.1, "max": 1.0}, "scaling not given"),
        ({"max": 1.0}, "min, scaling not given"),
        ({}, "min, max, scaling not given"),
        (LR | {"step": 0.1}, "an object with min, max, scaling, or with feasible_points"),
        ({"feasible_points": [0.1], "values": 3}, "an object with min, max, scaling, or with feasible_points"),
        (0.1, "an object with min, max, scaling, or with feasible_points"),
        ([0.1, 0.2], "an object with min, max, scaling, or with feasible_points"),
        ({"feasible_points": []}, "a list of one or more values"),
        ({"feasible_points": 0.1}, "a list of one or more values"),
        ({"feasible_points": "abc"}, "a list of one or more values"),
        ({"feasible_points": [0.1, float("inf")]}, "a finite number"),
        ({"feasible_points": [0.1, "fast"]}, "expected float, but got 'fast'"),
        ({"feasible_points": [True]}, "expected float, but got True"),
        ({"feasible_points": [None]}, "expected float, but got None"),
    ],
)
def test_a_bad_range_is_one_problem(entry, expected, tmp_path):
    with pytest.raises(BadInputError, match="has a problem:") as error:
        SearchSpace.parse({"learning_rate": entry, "layers": {"feasible_points": [1]}}, "here", Algorithm)
    (line,) = problems_of(error)
    assert line.startswith("- learning_rate: expected ")
    assert ", but got " in line
    assert expected in line


@pytest.mark.parametrize(
    ("name", "value", "well"),
    [
        ("learning_rate", 1, True),
        ("layers", 1.0, False),
        ("layers", True, False),
        ("nesterov", 1, False),
        ("nesterov", True, True),
        ("kind", "b", True),
        ("kind", "c", False),
        ("clip", None, True),
        ("clip", 1, True),
        ("clip", "1", True),
        ("clip", "one", False),
        ("betas", [0.9, 0.99], True),
        ("name", "x", True),
        ("name", 1, False),
        ("name", None, True),
        ("unannotated", "anything", True),
    ],
)
def test_types_are_those_of_the_constructor(name, value, well):
    points = [{"learning_rate": 0.1, name: value}]
    choices = {"learning_rate": {"feasible_points": [0.1]}} | {name: {"feasible_points": [value]}}
    for declared, label in ((points, f"point 1, {name}"), (choices, name)):
        if well:
            SearchSpace.parse(declared, "here", Algorithm)
            continue
        with pytest.raises(BadInputError, match="has a problem:") as error:
            SearchSpace.parse(declared, "here", Algorithm)
        assert problems_of(error)[0].startswith(f"- {label}: expected ")
        assert f"but got {value!r}" in problems_of(error)[0]


@pytest.mark.parametrize("name", ["layers", "nesterov", "kind", "name"])
def test_a_range_is_for_real_numbers(name):
    with pytest.raises(BadInputError, match=f"- {name}: expected .*, but got a range, 1 to 8"):
        SearchSpace.parse({"learning_rate": LR, name: {"min": 1, "max": 8, "scaling": "log"}}, "here", Algorithm)


def test_one_error_tells_all_problems(tmp_path):
    declared = {
        "learning_rte": LR,
        "layers": {"feasible_points": [1, 2.5, "three"]},
        "clip": {"min": 2.0, "max": 1.0, "scaling": "linear"},
        "kind": {"feasible_points": ["c"]},
        "betas": 3,
    }
    text = json.dumps(declared)[:-1] + ', "betas": 4}'
    with pytest.raises(BadInputError, match="has 8 problems:") as error:
        SearchSpace.load(write(tmp_path, text), Algorithm)
    labels = sorted(line.split(":")[0] for line in problems_of(error))
    assert labels == sorted(
        ["- betas", "- betas", "- clip", "- kind", "- layers", "- layers", "- learning_rate", "- learning_rte"]
    )
    assert "did you mean 'learning_rate'?" in str(error.value)
    assert "no default" in str(error.value)


def test_points_that_differ_in_their_keys():
    declared = [{"learning_rate": 0.1, "layers": 1}, {"layers": 1, "learning_rate": 0.1}, {"learning_rate": 0.1}]
    declared += [{"learning_rate": 0.1, "layers": 1, "clip": 1.0}, 7, {}, {"learning_rate": float("nan"), "layers": 1}]
    with pytest.raises(BadInputError, match="has 5 problems:") as error:
        SearchSpace.parse(declared, "here", Algorithm)
    labels = [line.split(":")[0] for line in problems_of(error)]
    assert labels == ["- point 3, layers", "- point 4, clip", "- point 5", "- point 6", "- point 7, learning_rate"]


def test_a_long_value_is_cut_short():
    with pytest.raises(BadInputError) as error:
        SearchSpace.parse({"learning_rate": list(range(10_000))}, "here")
    assert len(str(error.value)) < 400


# Constructors of all kinds.


def test_a_constructor_that_hands_its_arguments_on():
    class Handing(Algorithm):
        def __init__(self, extra: int = 0, **kwargs):
            super().__init__(**kwargs)

    SearchSpace.parse({"learning_rate": LR, "extra": {"feasible_points": [1]}}, "here", Handing)
    with pytest.raises(BadInputError, match="has 3 problems:") as error:
        SearchSpace.parse({"lerning_rate": LR, "layers": {"feasible_points": [0.5]}}, "here", Handing)
    assert [line.split(":")[0] for line in problems_of(error)] == ["- lerning_rate", "- learning_rate", "- layers"]


def test_a_constructor_that_takes_any_name():
    class Any(Submission):
        def __init__(self, **kwargs):
            self.__dict__.update(kwargs)

    SearchSpace.parse({"whatever": LR}, "here", Any)


def test_a_constructor_that_takes_nothing():
    class Nothing(Submission):
        search_space: ClassVar = {"learning_rate": LR}

    with pytest.raises(BadInputError, match=r"Nothing.search_space has a problem:\n.*of Nothing: none, but got"):
        SearchSpace.of(Nothing)


def test_dataclasses_and_annotations_for_the_type_checker_only():
    @dataclasses.dataclass
    class Fields(Submission):
        learning_rate: float
        betas: list = dataclasses.field(default_factory=list)

    with pytest.raises(BadInputError, match="expected float, but got 'x'"):
        SearchSpace.parse([{"learning_rate": "x"}], "here", Fields)

    class Unresolved(Submission):
        def __init__(self, learning_rate: "NotImported", clip: "float" = 1.0):  # noqa: F821
            pass

    SearchSpace.parse([{"learning_rate": "x", "clip": 1}], "here", Unresolved)
    with pytest.raises(BadInputError, match="no default"):
        SearchSpace.parse([{"clip": 1}], "here", Unresolved)


def test_none_fits_where_it_is_the_default():
    class Old(Submission):
        def __init__(self, clip: float = None):  # noqa: RUF013
            pass

    SearchSpace.parse([{"clip": None}], "here", Old)


def test_importing_it_loads_neither_torch_nor_scipy():
    code = "import sys, algoperf_lightning.tuning; print(sorted({'torch', 'scipy', 'lightning'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
