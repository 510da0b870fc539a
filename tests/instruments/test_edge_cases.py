"""Batches of one example, of equal examples, without gradient; steps of no length; NaN."""

import math

import pytest
import torch

from algoperf_lightning.instruments import curvature, histograms, matrices, noise, steps
from algoperf_lightning.instruments.groups import groups_at_once
from algoperf_lightning.viewed import Loss

TESTS = (noise.norm_test, noise.inner_product_test, noise.orthogonality_test)


def nan_or(value):
    return pytest.approx(value, nan_ok=True)


def test_a_single_row_has_no_noise_that_could_be_known():
    moments = noise.Moments.of(torch.ones(1, 5, dtype=torch.float64))
    measures = [*TESTS, noise.mean_gsnr, noise.early_stopping, lambda m: noise.cabs(m, 0.1, 1.0)]
    assert [measure(moments) for measure in measures] == nan_or([math.nan] * 6)
    assert noise.noise_scale(moments) == nan_or((math.nan, math.nan))


@pytest.mark.parametrize("rows", [3, 7, 8])
def test_equal_rows_have_exactly_no_noise(rows):
    moments = noise.Moments.of(torch.linspace(0.1, 0.7, 11, dtype=torch.float64).expand(rows, 11))
    assert [test(moments) for test in TESTS] == [0.0, 0.0, 0.0]
    assert noise.cabs(moments, 0.1, 1.0) == 0.0


def test_a_gradient_of_zero_in_noise_passes_no_test():
    row = torch.tensor([[1.0, -2.0, 3.0]])
    moments = noise.Moments.of(torch.cat([row, -row]))
    assert [test(moments) for test in TESTS] == [math.inf] * 3
    assert (noise.early_stopping(moments), noise.mean_gsnr(moments)) == (1.0, 0.0)


def test_gradients_of_zero_say_nothing():
    moments = noise.Moments.of(torch.zeros(4, 3))
    assert [test(moments) for test in TESTS] == nan_or([math.nan] * 3)
    assert math.isnan(noise.cabs(moments, 0.1, 0.0))
    assert noise.tic_trace(moments, 0.0) == 0.0
    value, _, _ = curvature.power_iteration(torch.zeros_like, torch.ones(3))
    assert value == 0.0
    assert curvature.lanczos(torch.zeros_like, torch.ones(3), 5).largest == 0.0


def test_a_step_of_no_length_ended_nowhere():
    slope = steps.Slope(1.0, 0.1, -1.0, 0.1)
    assert math.isnan(steps.step_length(slope, slope, 0.0))
    zero = torch.zeros(3)
    assert math.isnan(steps.same_batch_step_length(torch.ones(3), torch.ones(3), zero))
    assert math.isnan(steps.directional_sharpness(zero, zero))
    assert math.isnan(steps.cosine(zero, torch.ones(3)))
    assert math.isnan(steps.update_ratio(zero, torch.ones(3)))


def test_a_step_length_needs_two_examples():
    one = steps.Slope.of(torch.tensor([1.0]), torch.tensor([-1.0]))
    assert math.isnan(steps.step_length(one, one, 0.1))


def test_a_variance_of_zero_is_a_sure_observation():
    exact = steps.step_length(steps.Slope(1.0, 0.0, -1.0, 0.0), steps.Slope(0.5, 0.0, 0.0, 0.0), 1.0)
    assert exact == pytest.approx(0.0, abs=1e-9)


def test_losses_that_are_not_finite_end_nowhere_and_are_counted_apart():
    bad = steps.Slope(math.nan, 0.1, -1.0, 0.1)
    assert math.isnan(steps.step_length(bad, bad, 0.1))
    values = torch.tensor([0.5, math.nan, math.inf, -math.inf])
    assert int(histograms.counts(values).sum()) == 3
    assert histograms.nonfinite(values) == 3
    assert int(histograms.joint_counts(values[None], torch.ones(4)).sum()) == 3
    assert histograms.symmetric_range(values) == (-2.0, 2.0)
    assert histograms.symmetric_range(torch.zeros(3)) == (-1.0, 1.0)


def test_parts_around_the_mean_of_all_add_up_to_the_moments_of_all():
    rows = torch.randn(12, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = noise.Moments.of(rows)
    parts = [noise.Moments.around(part, rows.mean(dim=0)) for part in rows.split([5, 4, 3])]
    added = parts[0] + parts[1] + parts[2]
    torch.testing.assert_close(added.spread, whole.spread)
    assert (added.rows, added.along) == (12, pytest.approx(whole.along))
    assert [test(added) for test in TESTS] == pytest.approx([test(whole) for test in TESTS])


def test_groups_estimate_the_noise_of_single_examples():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(64, 20, dtype=torch.float64, generator=generator) + 0.3
    single = noise.Moments.of(rows)
    found = []
    for _ in range(300):
        order = torch.randperm(64, generator=generator)
        groups = noise.Moments.of(rows[order].view(8, 8, -1).mean(dim=1), group_size=8)
        found.append((noise.norm_test(groups) ** 2, noise.noise_scale(groups)[0], noise.cabs(groups, 0.1, 1.0)))
    norm, variance, size = torch.tensor(found).mean(dim=0).tolist()
    assert norm == pytest.approx(noise.norm_test(single) ** 2, rel=0.05)
    assert variance == pytest.approx(noise.noise_scale(single)[0], rel=0.05)
    assert size == pytest.approx(noise.cabs(single, 0.1, 1.0), rel=0.2)


def test_second_moments_are_of_single_examples_only():
    moments = noise.Moments.of(torch.ones(4, 3), group_size=2)
    with pytest.raises(ValueError, match="means of 2 examples"):
        noise.tic_trace(moments, 1.0)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.5, False), (0.9, False), (0.5, True), (0.9, True)])
def test_a_quadratic_is_stable_below_the_limit_only(momentum, nesterov):
    limit = curvature.stability_limit(0.1, momentum, nesterov=nesterov)

    def end(eigenvalue):
        point = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([point], lr=0.1, momentum=momentum, nesterov=nesterov)
        for _ in range(3000):
            point.grad = eigenvalue * point.detach()
            optimizer.step()
        return float(point.detach().abs())

    assert end(0.98 * limit) < 1e-3
    assert not end(1.02 * limit) < 1e3


def test_adams_limit_and_preconditioned_products():
    assert curvature.adam_stability_limit(0.001, 0.9) == pytest.approx(38 / 0.001)
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    matrix, diagonal = matrix + matrix.T, torch.rand(6, dtype=torch.float64, generator=generator) + 0.5
    product = curvature.preconditioned(lambda v: matrix @ v, diagonal)
    found = curvature.lanczos(product, torch.ones(6, dtype=torch.float64), 6)
    exact = torch.linalg.eigvals(matrix / diagonal[:, None]).real
    assert found.largest == pytest.approx(float(exact.max()))
    assert found.smallest == pytest.approx(float(exact.min()))


def test_rows_of_parameters_without_axes_are_numbers():
    parameters = {"scale": torch.tensor(2.0), "weight": torch.tensor([1.0, -1.0])}
    batch = {"inputs": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])}
    found = groups_at_once(lambda part, p: Loss(part["inputs"] @ p["weight"] * p["scale"]), parameters, batch, 2)
    # By the scale: the mean of x1 - x2, always -1. By the weights: twice the mean input of each group.
    torch.testing.assert_close(found.gradients, torch.tensor([[-1.0, 4.0, 6.0], [-1.0, 12.0, 14.0]]))
    torch.testing.assert_close(found.losses, torch.tensor([-2.0, -2.0]))
    assert (found.size, found.examples, float(found.units)) == (2, 4, 4.0)


def test_the_largest_eigenvalue_is_found_beside_a_large_negative_one_and_many_zeros():
    values = torch.cat([torch.tensor([0.5, 0.2, -40.0], dtype=torch.float64), torch.zeros(300, dtype=torch.float64)])
    found = curvature.lanczos(lambda v: values * v, torch.ones(303, dtype=torch.float64), 12, tolerance=1e-3)
    assert (found.largest, found.smallest) == pytest.approx((0.5, -40.0))
    assert (
        curvature.lanczos(lambda v: -values * v, torch.ones(303, dtype=torch.float64), 12, tolerance=1e-3).products < 12
    )


def test_a_matrix_without_full_rank_has_no_condition_and_one_of_zeros_nothing():
    row = torch.tensor([[1.0, 2.0, 3.0]])
    assert matrices.of_matrix(torch.cat([row, 2 * row])) == (pytest.approx(1.0), pytest.approx(1.0), math.inf)
    assert matrices.of_matrix(torch.zeros(2, 3)) == nan_or((math.nan,) * 3)
    assert matrices.of_matrix(torch.diag(torch.tensor([3.0, 3.0, 3.0]))) == pytest.approx((3.0, 3.0, 1.0))
    orthogonal = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)))[0]
    steep = orthogonal @ torch.diag(torch.logspace(0, -6, 20)) @ orthogonal.T
    assert matrices.of_matrix(steep)[2] == pytest.approx(float(torch.linalg.cond(steep.double())), rel=1e-6)
