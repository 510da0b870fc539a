import dataclasses
import math
import subprocess
import sys

import pytest

from algoperf_lightning.spec import (
    BENCHMARK_VERSIONS,
    LATEST_VERSION,
    LossType,
    Variant,
    WorkloadSpec,
    is_better,
    meets_target,
)
from algoperf_lightning.utilities.inputs import check_positive, nearest_or_raise

NUMBERS = ["budget", "eval_period", "step_hint", "batch_size", "eval_batch_size", "validation_target", "test_target"]
BAD = [
    pytest.param(0, id="zero"),
    pytest.param(0.0, id="zero-float"),
    pytest.param(-1, id="negative"),
    pytest.param(math.nan, id="nan"),
    pytest.param(math.inf, id="inf"),
    pytest.param(-math.inf, id="minus-inf"),
    pytest.param("12", id="text"),
    pytest.param(True, id="true"),
    pytest.param(None, id="none"),
]


def make(**changes):
    values = {
        "name": "shapes",
        "task": "tell circles from squares",
        "loss_type": LossType.SOFTMAX_CROSS_ENTROPY,
        "metric": "accuracy",
        "direction": "max",
        "validation_target": 0.9,
        "test_target": 0.8,
        "budget": 100.0,
        "eval_period": 5.0,
        "step_hint": 1_000,
        "splits": {"train": 64, "validation": 16},
        "batch_size": 8,
        "eval_batch_size": 16,
        "dropout": 0.1,
        "model": {"width": 4, "norm": "batch"},
        "variants": {
            "layernorm": Variant(0.85, None, model={"norm": "layer"}),
            "large": Variant(0.95, 0.93, model={"width": 64}, changes={"eval_batch_size": 4, "dropout": 0.0}),
        },
        "versions": {"0.5": {"budget": 70.0, "step_hint": 1_400}},
    }
    return WorkloadSpec(**{**values, **changes})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", BAD)
def test_a_number_that_is_not_positive_is_refused(name, value):
    if value is None and name in ("validation_target", "test_target"):
        assert getattr(make(**{name: None}), name) is None  # a workload may have no target
        return
    with pytest.raises(ValueError, match=f"shapes: {name} must be a positive number, but got") as error:
        make(**{name: value})
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("value", BAD)
def test_check_positive_refuses(value):
    with pytest.raises(ValueError, match="budget must be a positive number") as error:
        check_positive("budget", value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("value", [1, 0.5, 1e-300, 1e300])
def test_check_positive_takes(value):
    check_positive("budget", value)


@pytest.mark.parametrize("direction", ["maximum", "MAX", "", None])
def test_an_unknown_direction_is_refused(direction):
    with pytest.raises(ValueError, match=f"shapes: direction must be 'min' or 'max', but got {direction!r}"):
        make(direction=direction)


def test_a_spec_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().budget = 1.0


@pytest.mark.parametrize(
    ("version", "external", "self_tuning"),
    [("0.5", 1.0, 3.0), ("0.6", 1.0, 1.5), ("1.0", 1.0, 1.5)],
)
def test_budget_factors_of_the_benchmark(version, external, self_tuning):
    rules = BENCHMARK_VERSIONS[version]
    assert (rules.budget_factor("external"), rules.budget_factor("self-tuning")) == (external, self_tuning)


def test_there_are_three_versions_and_the_newest_is_the_default():
    assert set(BENCHMARK_VERSIONS) == {"0.5", "0.6", "1.0"}
    assert LATEST_VERSION == make().version == make().of().version == "1.0"


def test_an_unknown_ruleset_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown ruleset 'self_tuning'\. Did you mean 'self-tuning'"):
        BENCHMARK_VERSIONS["1.0"].budget_factor("self_tuning")


@pytest.mark.parametrize(
    ("version", "budget", "step_hint"),
    [
        pytest.param("0.5", 70.0, 1_400, id="version-with-other-numbers"),
        pytest.param("0.6", 100.0, 1_000, id="version-with-the-same-numbers"),
        pytest.param("1.0", 100.0, 1_000, id="newest"),
    ],
)
def test_versions_change_their_numbers_and_nothing_else(version, budget, step_hint):
    spec = make()
    changed = spec.of(version=version)
    assert changed == dataclasses.replace(spec, version=version, budget=budget, step_hint=step_hint)
    assert spec == make()


def test_a_variant_merges_its_model_options_and_has_its_own_targets():
    spec = make().of(variant="layernorm")
    assert spec.model == {"width": 4, "norm": "layer"}
    assert (spec.validation_target, spec.test_target) == (0.85, None)
    assert (spec.full_name, spec.name, spec.variant) == ("shapes_layernorm", "shapes", "layernorm")
    assert spec.eval_batch_size == 16


def test_a_variant_may_change_other_fields():
    spec = make().of(variant="large")
    assert (spec.eval_batch_size, spec.dropout, spec.model) == (4, 0.0, {"width": 64, "norm": "batch"})


def test_a_variant_of_an_older_version_has_that_versions_numbers():
    spec = make().of(version="0.5", variant="large")
    assert (spec.version, spec.budget, spec.step_hint) == ("0.5", 70.0, 1_400)
    assert (spec.variant, spec.validation_target, spec.eval_batch_size) == ("large", 0.95, 4)


def test_without_a_variant_the_full_name_is_the_name():
    assert make().of().full_name == "shapes"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"variant": "layer_norm"},
            "Unknown variant of shapes 'layer_norm'. Did you mean 'layernorm'? Choose from: large, layernorm.",
            id="variant",
        ),
        pytest.param(
            {"version": "0.66"},
            "Unknown benchmark version '0.66'. Did you mean '0.6'? Choose from: 0.5, 0.6, 1.0.",
            id="version",
        ),
        pytest.param(
            {"version": "newest"}, "Unknown benchmark version 'newest'. Choose from: 0.5, 0.6, 1.0.", id="nothing-near"
        ),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(arguments, message):
    with pytest.raises(ValueError, match="Unknown") as error:
        make().of(**arguments)
    assert str(error.value) == message


def test_a_workload_without_variants_says_so():
    with pytest.raises(ValueError, match=r"Unknown variant of shapes 'large'\. There are none\."):
        make(variants={}).of(variant="large")


def test_a_known_name_is_returned():
    assert nearest_or_raise("workload", "mnist", {"mnist": 1, "mnist2": 2}) == "mnist"


@pytest.mark.parametrize(
    ("value", "target", "direction", "met"),
    [
        pytest.param(0.98, 0.97, "max", True, id="above-when-higher-is-better"),
        pytest.param(0.97, 0.97, "max", True, id="equal-when-higher-is-better"),
        pytest.param(0.96, 0.97, "max", False, id="below-when-higher-is-better"),
        pytest.param(0.96, 0.97, "min", True, id="below-when-lower-is-better"),
        pytest.param(0.97, 0.97, "min", True, id="equal-when-lower-is-better"),
        pytest.param(0.98, 0.97, "min", False, id="above-when-lower-is-better"),
        pytest.param(math.nan, 0.97, "max", False, id="nan-is-never-high-enough"),
        pytest.param(math.nan, 0.97, "min", False, id="nan-is-never-low-enough"),
        pytest.param(math.inf, 0.97, "min", False, id="infinite-loss"),
        pytest.param(math.inf, 0.97, "max", False, id="infinite"),
        pytest.param(-math.inf, 0.97, "min", False, id="minus-infinite"),
    ],
)
def test_meets_target(value, target, direction, met):
    assert meets_target(value, target, direction) is met


@pytest.mark.parametrize(
    ("value", "than", "direction", "better"),
    [
        pytest.param(2.0, 1.0, "max", True, id="higher-max"),
        pytest.param(1.0, 2.0, "max", False, id="lower-max"),
        pytest.param(1.0, 2.0, "min", True, id="lower-min"),
        pytest.param(2.0, 1.0, "min", False, id="higher-min"),
        pytest.param(1.0, 1.0, "max", False, id="equal-max"),
        pytest.param(1.0, 1.0, "min", False, id="equal-min"),
        pytest.param(1.0, math.nan, "max", True, id="number-beats-nan-max"),
        pytest.param(1.0, math.nan, "min", True, id="number-beats-nan-min"),
        pytest.param(-math.inf, math.nan, "max", True, id="even-the-worst-number-beats-nan"),
        pytest.param(math.nan, 1.0, "max", False, id="nan-beats-no-number-max"),
        pytest.param(math.nan, 1.0, "min", False, id="nan-beats-no-number-min"),
        pytest.param(math.nan, math.nan, "max", False, id="nan-does-not-beat-nan"),
    ],
)
def test_is_better(value, than, direction, better):
    assert is_better(value, than, direction) is better


def test_specs_import_without_torch():
    code = "import sys, algoperf_lightning.spec; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
