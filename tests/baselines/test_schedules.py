import io
import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from algoperf_lightning.baselines.schedules import (
    cycles,
    cycles_schedule,
    restarts,
    warmup_cosine,
    warmup_cosine_schedule,
    warmup_linear,
    warmup_linear_schedule,
)

FROM_ZERO = 1e-10  # torch refuses to warm up from 0; the benchmark's torch code starts here instead

SHAPES = [
    pytest.param(40, 1, id="one-warmup-step"),
    pytest.param(40, 10, id="quarter"),
    pytest.param(533, 26, id="sizes-that-do-not-divide"),
    pytest.param(10_666, 533, id="benchmark-size"),
    pytest.param(12, 10, id="almost-no-decay"),
]


def sgd(lr=1.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def learning_rates(optimizer, schedule, steps):
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def torch_schedule(optimizer, warmup, decay):
    rise = LinearLR(optimizer, start_factor=FROM_ZERO, end_factor=1.0, total_iters=warmup)
    return SequentialLR(optimizer, [rise, decay], milestones=[warmup])


@pytest.mark.parametrize(("horizon", "warmup"), SHAPES)
def test_warmup_cosine_is_torchs_up_to_the_horizon(horizon, warmup):
    optimizer = sgd()
    theirs = torch_schedule(optimizer, warmup, CosineAnnealingLR(optimizer, T_max=max(horizon - warmup, 1)))
    expected = learning_rates(optimizer, theirs, horizon + 1)
    ours = [warmup_cosine(step, horizon=horizon, warmup=warmup) for step in range(horizon + 1)]
    assert ours == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize(("horizon", "warmup"), SHAPES)
@pytest.mark.parametrize(("decay_steps_factor", "end_factor"), [(0.9, 0.001), (0.984398, 0.01), (1.0, 0.5)])
def test_warmup_linear_is_torchs_also_past_the_horizon(horizon, warmup, decay_steps_factor, end_factor):
    decay_steps = int((horizon - warmup) * decay_steps_factor)
    optimizer = sgd()
    fall = LinearLR(optimizer, start_factor=1.0, end_factor=end_factor, total_iters=decay_steps)
    expected = learning_rates(optimizer, torch_schedule(optimizer, warmup, fall), horizon + 20)
    options = {"decay_steps_factor": decay_steps_factor, "end_factor": end_factor}
    ours = [warmup_linear(step, horizon=horizon, warmup=warmup, **options) for step in range(horizon + 20)]
    assert ours == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        pytest.param(0, 0.0, id="first-step-has-no-learning-rate"),
        pytest.param(5, 0.25, id="quarter-of-warmup"),
        pytest.param(19, 0.95, id="last-warmup-step"),
        pytest.param(20, 1.0, id="peak"),
        pytest.param(40, (1 + math.sqrt(0.5)) / 2, id="an-eighth-of-the-circle"),
        pytest.param(60, 0.5, id="half-way-down"),
        pytest.param(80, (1 - math.sqrt(0.5)) / 2, id="three-eighths-of-the-circle"),
        pytest.param(100, 0.0, id="horizon"),
        pytest.param(101, 0.0, id="one-past-the-horizon"),
        pytest.param(140, 0.0, id="where-torch-is-back-at-half-the-peak"),
        pytest.param(180, 0.0, id="where-torch-is-back-at-the-peak"),
        pytest.param(10**9, 0.0, id="far-past-the-horizon"),
    ],
)
def test_warmup_cosine_by_hand(step, factor):
    assert warmup_cosine(step, horizon=100, warmup=20) == pytest.approx(factor, abs=1e-15)


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        pytest.param(0, 0.0, id="first-step-has-no-learning-rate"),
        pytest.param(15, 0.75, id="three-quarters-of-warmup"),
        pytest.param(20, 1.0, id="peak"),
        pytest.param(30, 0.865, id="ten-of-sixty-decay-steps"),
        pytest.param(50, 0.595, id="half-way-down"),
        pytest.param(79, 1 - 0.81 * 59 / 60, id="last-decay-step"),
        pytest.param(80, 0.19, id="end-factor"),
        pytest.param(100, 0.19, id="horizon"),
        pytest.param(10**9, 0.19, id="far-past-the-horizon"),
    ],
)
def test_warmup_linear_by_hand(step, factor):
    ours = warmup_linear(step, horizon=100, warmup=20, decay_steps_factor=0.75, end_factor=0.19)
    assert ours == pytest.approx(factor, abs=1e-15)


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (5, 0.5), (10, 0.0), (11, 0.0)])
def test_cosine_without_warmup_starts_at_the_peak(step, factor):
    # torch's SequentialLR with 0 warm-up steps stays at 1e-10 of the peak for ever.
    assert warmup_cosine(step, horizon=10, warmup=0) == pytest.approx(factor, abs=1e-15)


@pytest.mark.parametrize(("step", "factor"), [(0, 1.0), (4, 0.6), (8, 0.2), (11, 0.2)])
def test_linear_without_warmup_starts_at_the_peak(step, factor):
    ours = warmup_linear(step, horizon=10, warmup=0, decay_steps_factor=0.8, end_factor=0.2)
    assert ours == pytest.approx(factor, abs=1e-15)


def test_warmup_over_the_whole_horizon():
    assert [warmup_cosine(step, horizon=4, warmup=4) for step in range(7)] == [0, 0.25, 0.5, 0.75, 1, 0, 0]
    linear = [warmup_linear(s, horizon=4, warmup=4, decay_steps_factor=0.9, end_factor=0.1) for s in range(7)]
    assert linear == pytest.approx([0, 0.25, 0.5, 0.75, 1, 0.1, 0.1], abs=1e-15)


@pytest.mark.parametrize(
    ("warmup_factor", "horizon", "warmup"),
    [
        pytest.param(0.05, 10_666, 533, id="533.3-down"),
        pytest.param(0.05, 7_813, 390, id="390.65-down-not-nearest"),
        pytest.param(0.29, 100, 28, id="28.999999999999996-down"),
        pytest.param(0.02, 49, 0, id="0.98-is-no-warmup"),
    ],
)
def test_warmup_steps_are_cut_to_an_integer(warmup_factor, horizon, warmup):
    optimizer = sgd()
    linear = {"decay_steps_factor": 0.9, "end_factor": 0.1}
    for schedule in (
        warmup_cosine_schedule(optimizer, horizon=horizon, warmup_factor=warmup_factor),
        warmup_linear_schedule(optimizer, horizon=horizon, warmup_factor=warmup_factor, **linear),
    ):
        factor = schedule.lr_lambdas[0]
        assert factor(warmup) == 1.0
        assert factor(warmup + 1) < 1.0
        assert warmup == 0 or factor(warmup - 1) == pytest.approx((warmup - 1) / warmup, abs=1e-15)


def test_linear_decay_steps_are_cut_to_an_integer():
    # (23 - 4) * 0.9 = 17.1 steps of decay: the end is reached at step 4 + 17, not one later.
    options = {"horizon": 23, "warmup": 4, "decay_steps_factor": 0.9, "end_factor": 0.2}
    assert warmup_linear(20, **options) == pytest.approx(1 - 0.8 * 16 / 17, abs=1e-15)
    assert warmup_linear(21, **options) == pytest.approx(0.2, abs=1e-15)


def cosine_by_hand(step, lr):
    warmup, horizon = 6, 30
    if step < warmup:
        return lr * step / warmup
    return lr * 0.5 * (1 + math.cos(math.pi * min(step - warmup, horizon - warmup) / (horizon - warmup)))


def linear_by_hand(step, lr):
    warmup, decay = 6, 12
    return lr * step / warmup if step < warmup else lr * (1 - 0.9 * min(step - warmup, decay) / decay)


def test_schedules_set_the_optimizers_learning_rate():
    optimizer = sgd(lr=0.3)
    rates = learning_rates(optimizer, warmup_cosine_schedule(optimizer, horizon=30, warmup_factor=0.2), 45)
    assert rates == pytest.approx([cosine_by_hand(step, 0.3) for step in range(45)], abs=1e-15)

    optimizer = sgd(lr=0.3)
    options = {"horizon": 30, "warmup_factor": 0.2, "decay_steps_factor": 0.5, "end_factor": 0.1}
    rates = learning_rates(optimizer, warmup_linear_schedule(optimizer, **options), 45)
    assert rates == pytest.approx([linear_by_hand(step, 0.3) for step in range(45)], abs=1e-15)


def test_a_schedule_scales_every_group_by_its_own_peak():
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": parameters[:1], "lr": 1.0}, {"params": parameters[1:], "lr": 0.1}])
    schedule = warmup_cosine_schedule(optimizer, horizon=30, warmup_factor=0.2)
    for _ in range(18):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05], abs=1e-15)


@pytest.mark.parametrize("stop", [3, 17, 33], ids=["in-warmup", "in-decay", "past-the-horizon"])
def test_a_schedule_goes_on_from_a_checkpoint(stop):
    optimizer = sgd(lr=0.3)
    schedule = warmup_cosine_schedule(optimizer, horizon=30, warmup_factor=0.2)
    learning_rates(optimizer, schedule, stop)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    resumed = sgd(lr=0.3)
    schedule = warmup_cosine_schedule(resumed, horizon=30, warmup_factor=0.2)
    resumed.load_state_dict(saved["optimizer"])
    schedule.load_state_dict(saved["schedule"])
    rates = learning_rates(resumed, schedule, 10)
    assert rates == pytest.approx([cosine_by_hand(step, 0.3) for step in range(stop, stop + 10)], abs=1e-15)


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        pytest.param(0, 1.0, id="the-very-first-step-is-at-the-peak"),
        pytest.param(1, 0.1, id="then-warmup-goes-on"),
        pytest.param(10, 1.0, id="first-peak"),
        pytest.param(30, 0.5, id="half-way-down"),
        pytest.param(50, 0.0, id="second-cycle-begins-at-0"),
        pytest.param(55, 0.5, id="warmup-of-the-second-cycle"),
        pytest.param(60, 1.0, id="second-peak"),
        pytest.param(80, 0.5, id="half-way-down-again"),
        pytest.param(100, 0.0, id="horizon"),
        pytest.param(150, 0.0, id="no-third-cycle"),
    ],
)
def test_cycles_by_hand(step, factor):
    assert cycles(step, horizon=100, warmup=10, count=2) == pytest.approx(factor, abs=1e-15)


def test_one_cycle_is_warmup_and_cosine_but_for_the_first_step():
    ours = [cycles(step, horizon=30, warmup=6, count=1) for step in range(1, 45)]
    assert ours == [warmup_cosine(step, horizon=30, warmup=6) for step in range(1, 45)]


def test_the_warmup_of_every_cycle_is_a_share_of_the_whole_horizon():
    factor = cycles_schedule(sgd(), horizon=200, warmup_factor=0.1, count=2).lr_lambdas[0]
    assert [factor(step) for step in (20, 120)] == [1.0, 1.0]
    assert factor(19) == pytest.approx(0.95)


def test_restarts_by_hand():
    options = {"horizons": (100, 50), "warmups": (10, 0), "peaks": (0.3, 2.0)}
    rates = [restarts(step, **options) for step in (0, 5, 10, 55, 99, 100, 125, 150, 10**6)]
    last = 0.3 * 0.5 * (1 + math.cos(math.pi * 89 / 90))
    assert rates == pytest.approx([0, 0.15, 0.3, 0.15, last, 2.0, 1.0, 0, 0], abs=1e-15)


def test_an_absolute_warmup_takes_the_place_of_the_share():
    optimizer = sgd()
    cosine = warmup_cosine_schedule(optimizer, horizon=100, warmup_factor=0.5, warmup_steps=20).lr_lambdas[0]
    linear = warmup_linear_schedule(
        optimizer, horizon=100, warmup_factor=0.5, decay_steps_factor=0.75, end_factor=0.19, warmup_steps=20
    ).lr_lambdas[0]
    assert [cosine(20), cosine(60)] == pytest.approx([1.0, 0.5])
    assert [linear(20), linear(50), linear(80)] == pytest.approx([1.0, 0.595, 0.19])
