import math

import numpy as np
import pytest
import torch

from algoperf_lightning.metrics import WeightedMean


def mean_of(*batches):
    metric = WeightedMean()
    for values, weights in batches:
        metric.update(torch.as_tensor(values), torch.as_tensor(weights))
    return metric.compute().item()


@pytest.mark.parametrize(
    ("values", "weights", "mean"),
    [
        pytest.param([1.0, 2.0, 6.0], [1.0, 1.0, 1.0], 3.0, id="plain"),
        pytest.param([1.0, 2.0, 6.0], [1.0, 1.0, 0.0], 1.5, id="padding"),
        pytest.param([1.0, 2.0, 6.0], [3.0, 1.0, 4.0], 29 / 8, id="weights-other-than-1"),
        pytest.param([-5.0], [0.5], -5.0, id="one-value"),
    ],
)
def test_mean_by_hand(values, weights, mean):
    assert mean_of((values, weights)) == pytest.approx(mean, rel=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_equals_numpys_average_over_uneven_batches(dtype):
    generator = torch.Generator().manual_seed(0)
    batches = []
    for size in (7, 1, 64, 13):
        values = torch.randn(size, generator=generator).to(dtype)
        weights = torch.randint(0, 4, (size,), generator=generator).float()
        batches.append((values, weights))
    values, weights = (torch.cat(column).double().numpy() for column in zip(*batches, strict=True))
    assert mean_of(*batches) == pytest.approx(np.average(values, weights=weights), rel=1e-14)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_padding_counts_nothing_whatever_it_holds(value):
    assert mean_of(([2.0, value, 4.0], [1.0, 0.0, 1.0]), ([value, value], [0.0, 0.0])) == 3.0


def test_a_counted_nan_makes_the_mean_nan():
    assert math.isnan(mean_of(([1.0, math.nan], [1.0, 1.0]), ([1.0, 1.0], [1.0, 1.0])))


def test_a_counted_infinity_makes_the_mean_infinite():
    assert mean_of(([1.0, math.inf], [1.0, 1.0]), ([1.0], [1.0])) == math.inf


def test_nothing_counted_has_no_mean():
    assert math.isnan(mean_of(([1.0, 2.0], [0.0, 0.0])))


def test_many_small_values_are_added_in_float64():
    # In float32 the sum would stop growing near 2**24 times a value, and be off by about 1e-4 long before.
    values = torch.rand(100_000, generator=torch.Generator().manual_seed(0)) * 1e-3
    batches = [(batch, torch.ones(len(batch))) for batch in values.split(100)]
    assert mean_of(*batches) == pytest.approx(math.fsum(values.tolist()) / 100_000, rel=1e-13)


def test_a_reset_metric_starts_anew_and_stays_exact():
    metric = WeightedMean()
    metric.update(torch.tensor([100.0]), torch.tensor([1.0]))
    metric.reset()
    metric.update(torch.tensor([0.1, 0.2], dtype=torch.float64), torch.tensor([1.0, 1.0]))
    assert metric.compute().dtype == torch.float64
    assert metric.compute().item() == pytest.approx(0.15, rel=1e-15)


def test_update_leaves_its_arguments_alone():
    values, weights = torch.tensor([1.0, math.nan]), torch.tensor([1.0, 0.0])
    WeightedMean().update(values, weights)
    assert values.isnan().tolist() == [False, True]
    assert weights.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("shares", [1, 2, 3])
def test_ranks_are_merged_by_their_weights(shares):
    # Lightning adds the ranks' states; here by hand, which is what the sums must allow.
    values, weights = torch.arange(10.0) ** 2, torch.tensor([1.0] * 7 + [0.0] * 3)
    metrics = [WeightedMean() for _ in range(shares)]
    for rank, metric in enumerate(metrics):
        metric.update(values[rank::shares], weights[rank::shares])
    merged = metrics[0]
    for metric in metrics[1:]:
        merged.merge_state(metric)
    assert merged.compute().item() == pytest.approx(91 / 7, rel=1e-15)
