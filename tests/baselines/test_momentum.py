import inspect
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from algoperf_lightning.baselines import Momentum, Nesterov

STEP_HINT, STEPS = 30, 40
HYPERPARAMETERS = {
    "learning_rate": 0.02,
    "one_minus_beta1": 0.2,
    "warmup_factor": 0.2,
    "weight_decay": 0.5,
    "decay_steps_factor": 0.9,
    "end_factor": 0.01,
}

# Keys in the order of the benchmark's file: a key's place decides which quasi-random sequence it is drawn from.
SPACE = [
    ("learning_rate", {"min": 0.02, "max": 5.0, "scaling": "log"}),
    ("one_minus_beta1", {"min": 0.005, "max": 0.3, "scaling": "log"}),
    ("warmup_factor", {"feasible_points": [0.05]}),
    ("weight_decay", {"min": 1e-7, "max": 5e-5, "scaling": "log"}),
    ("label_smoothing", {"feasible_points": [0.1, 0.2]}),
    ("dropout_rate", {"feasible_points": [0.0, 0.1]}),
    ("decay_steps_factor", {"feasible_points": [0.9]}),
    ("end_factor", {"feasible_points": [0.001, 0.01]}),
]

both = pytest.mark.parametrize("submission_class", [Momentum, Nesterov], ids=["heavy-ball", "nesterov"])


def build_net():
    torch.manual_seed(0)
    net = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "norm": nn.LayerNorm(2), "linear": nn.Linear(2, 2)})
    net.register_parameter("scale", nn.Parameter(torch.tensor(0.7)))
    return net.double()


def gradients(net, step):
    generator = torch.Generator().manual_seed(1 + step)
    return [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in net.parameters()]


def train(submission, net, steps=STEPS, step_hint=STEP_HINT):
    configured = submission.configure_optimizers(net, SimpleNamespace(step_hint=step_hint))
    for step in range(steps):
        for parameter, gradient in zip(net.parameters(), gradients(net, step), strict=True):
            parameter.grad = gradient
        configured["optimizer"].step()
        configured["lr_scheduler"].step()
    return [p.detach() for p in net.parameters()]


def train_slowly(net, nesterov):
    lr, mu, decay, warmup, decay_steps, end = 0.02, 1 - 0.2, 0.5, 6, 21, 0.01  # 21 = int(0.9 * (30 - 6))
    values = [p.detach().clone() for p in net.parameters()]
    buffers = [torch.zeros_like(p) for p in values]  # so the first buffer is the first d
    for step in range(STEPS):
        share = min(1, (step - warmup) / decay_steps)
        eta = lr * step / warmup if step < warmup else lr * (1 - (1 - end) * share)
        for i, g in enumerate(gradients(net, step)):
            d = g + decay * values[i]
            buffers[i] = mu * buffers[i] + d
            values[i] = values[i] - eta * (d + mu * buffers[i] if nesterov else buffers[i])
    return values


@both
def test_trains_by_the_formula_with_warmup_and_linear_decay(submission_class):
    ours = train(submission_class(**HYPERPARAMETERS), build_net())
    expected = train_slowly(build_net(), nesterov=submission_class is Nesterov)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("submission_class", "expected"),
    [
        # d = 2 + 0.5 * 1 = 2.5 = b; p = 1 - 0.1 * 2.5 = 0.75.
        # d = -1 + 0.5 * 0.75 = -0.625, b = 0.8 * 2.5 - 0.625 = 1.375; p = 0.75 - 0.1 * 1.375 = 0.6125.
        pytest.param(Momentum, [0.75, 0.6125], id="heavy-ball"),
        # d = b = 2.5; p = 1 - 0.1 * (2.5 + 0.8 * 2.5) = 0.55.
        # d = -1 + 0.5 * 0.55 = -0.725, b = 0.8 * 2.5 - 0.725 = 1.275; p = 0.55 - 0.1 * (-0.725 + 0.8 * 1.275) = 0.5205.
        pytest.param(Nesterov, [0.55, 0.5205], id="nesterov"),
    ],
)
def test_two_steps_by_hand(submission_class, expected):
    net = nn.ParameterList([nn.Parameter(torch.tensor([1.0], dtype=torch.float64))])
    submission = submission_class(learning_rate=0.1, one_minus_beta1=0.2, weight_decay=0.5)
    optimizer = submission.configure_optimizers(net, SimpleNamespace(step_hint=10_000))["optimizer"]
    optimizer.param_groups[0]["lr"] = 0.1  # as if warm-up were over
    values = []
    for gradient in (2.0, -1.0):
        net[0].grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        values.append(net[0].item())
    assert values == pytest.approx(expected, abs=1e-12)


@both
def test_the_first_step_moves_nothing_but_fills_the_momentum(submission_class):
    net = build_net()
    before = [p.detach().clone() for p in net.parameters()]
    configured = submission_class(weight_decay=0.0).configure_optimizers(net, SimpleNamespace(step_hint=STEP_HINT))
    for parameter, gradient in zip(net.parameters(), gradients(net, 0), strict=True):
        parameter.grad = gradient
    configured["optimizer"].step()
    for parameter, start, gradient in zip(net.parameters(), before, gradients(net, 0), strict=True):
        assert torch.equal(parameter, start)
        assert torch.equal(configured["optimizer"].state[parameter]["momentum_buffer"], gradient)


@both
def test_decays_every_parameter_in_one_group(submission_class):
    net = build_net()
    configured = submission_class(weight_decay=0.5).configure_optimizers(net, SimpleNamespace(step_hint=STEP_HINT))
    (group,) = configured["optimizer"].param_groups
    assert list(map(id, group["params"])) == list(map(id, net.parameters()))
    assert group["weight_decay"] == 0.5


@both
def test_search_space_is_the_papers_with_tuned_beta1(submission_class):
    assert list(submission_class.search_space.items()) == SPACE


@both
def test_each_key_of_the_search_space_is_an_argument(submission_class):
    assert set(submission_class.search_space) <= set(inspect.signature(submission_class).parameters)


@both
def test_regularisers_are_the_hyperparameters(submission_class):
    submission = submission_class(label_smoothing=0.2, dropout_rate=0.25)
    assert (submission.label_smoothing, submission.dropout, submission.gradient_clip) == (0.2, 0.25, None)


@both
def test_builds_without_arguments(submission_class):
    submission = submission_class()
    assert submission.dropout is None  # the workload's own
    assert set(submission.hyperparameters) == {name for name, _ in SPACE} | {"warmup_steps", "horizon_steps"}
    train(submission, build_net())


@both
def test_a_parameter_may_have_its_first_gradient_late(submission_class):
    """torch's fused SGD fails there, unless every parameter has a momentum from the start."""
    net = build_net()
    (optimizer, late) = (
        submission_class(warmup_factor=0.0).configure_optimizers(net, SimpleNamespace(step_hint=STEP_HINT))[
            "optimizer"
        ],
        net["embedding"].weight,
    )
    for step in range(3):
        for parameter, gradient in zip(net.parameters(), gradients(net, step), strict=True):
            parameter.grad = None if parameter is late and step == 0 else gradient
        before = late.detach().clone()
        optimizer.step()
        assert torch.equal(late, before) == (step == 0)


@both
@pytest.mark.parametrize("end", ["min", "max"])
def test_both_ends_of_the_search_space_train(submission_class, end):
    point = {name: values.get(end, values.get("feasible_points", [None])[0]) for name, values in SPACE}
    assert all(value.isfinite().all() for value in train(submission_class(**point), build_net()))
