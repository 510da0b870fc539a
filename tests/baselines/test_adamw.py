import inspect
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from algoperf_lightning.baselines import AdamW

STEP_HINT, WARMUP, STEPS = 30, 6, 40
HYPERPARAMETERS = {
    "learning_rate": 0.02,
    "one_minus_beta1": 0.2,
    "beta2": 0.97,
    "warmup_factor": 0.2,
    "weight_decay": 0.5,
    "epsilon": 1e-6,
}

# Keys in the order of the benchmark's file: a key's place decides which quasi-random sequence it is drawn from.
SPACE = [
    ("learning_rate", {"min": 1e-4, "max": 1e-2, "scaling": "log"}),
    ("one_minus_beta1", {"min": 0.02, "max": 0.5, "scaling": "log"}),
    ("beta2", {"feasible_points": [0.999]}),
    ("warmup_factor", {"feasible_points": [0.05]}),
    ("weight_decay", {"min": 0.005, "max": 1.0, "scaling": "log"}),
    ("label_smoothing", {"feasible_points": [0.1, 0.2]}),
    ("dropout_rate", {"feasible_points": [0.0, 0.1]}),
]


def build_net():
    torch.manual_seed(0)
    net = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "norm": nn.LayerNorm(2), "linear": nn.Linear(2, 2)})
    net.register_parameter("scale", nn.Parameter(torch.tensor(0.7)))
    return net.double()


def gradients(net, step):
    generator = torch.Generator().manual_seed(1 + step)
    return [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in net.parameters()]


def train(submission, net):
    configured = submission.configure_optimizers(net, SimpleNamespace(step_hint=STEP_HINT))
    for step in range(STEPS):
        for parameter, gradient in zip(net.parameters(), gradients(net, step), strict=True):
            parameter.grad = gradient
        configured["optimizer"].step()
        configured["lr_scheduler"].step()
    return [p.detach() for p in net.parameters()]


def train_slowly(net):
    lr, b1, b2, decay = 0.02, 1 - 0.2, 0.97, 0.5
    values = [p.detach().clone() for p in net.parameters()]
    firsts, seconds = [torch.zeros_like(p) for p in values], [torch.zeros_like(p) for p in values]
    for step in range(STEPS):
        t = step + 1
        if step < WARMUP:
            eta = lr * step / WARMUP
        else:
            eta = lr * 0.5 * (1 + math.cos(math.pi * min(1, (step - WARMUP) / (STEP_HINT - WARMUP))))
        for i, g in enumerate(gradients(net, step)):
            values[i] = values[i] - eta * decay * values[i]
            firsts[i] = b1 * firsts[i] + (1 - b1) * g
            seconds[i] = b2 * seconds[i] + (1 - b2) * g * g
            values[i] = values[i] - eta * (firsts[i] / (1 - b1**t)) / ((seconds[i] / (1 - b2**t)).sqrt() + 1e-6)
    return values


def test_trains_by_the_formula_with_warmup_and_cosine():
    ours = train(AdamW(**HYPERPARAMETERS), build_net())
    expected = train_slowly(build_net())
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_decays_every_parameter_in_one_group():
    net = build_net()
    configured = AdamW(weight_decay=0.5).configure_optimizers(net, SimpleNamespace(step_hint=STEP_HINT))
    (group,) = configured["optimizer"].param_groups
    assert list(map(id, group["params"])) == list(map(id, net.parameters()))
    assert group["weight_decay"] == 0.5


def test_decay_alone_shrinks_norms_biases_and_embeddings_too():
    net = build_net()
    before = [p.detach().clone() for p in net.parameters()]
    submission = AdamW(learning_rate=0.1, weight_decay=0.5, warmup_factor=0.0)
    optimizer = submission.configure_optimizers(net, SimpleNamespace(step_hint=STEP_HINT))["optimizer"]
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter, start in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), start * 0.95, rtol=0, atol=1e-15)


def test_search_space_is_the_papers_with_tuned_beta1():
    assert list(AdamW.search_space.items()) == SPACE


def test_each_key_of_the_search_space_is_an_argument():
    assert set(AdamW.search_space) <= set(inspect.signature(AdamW).parameters)


def test_regularisers_are_the_hyperparameters():
    submission = AdamW(label_smoothing=0.2, dropout_rate=0.25)
    assert (submission.label_smoothing, submission.dropout, submission.gradient_clip) == (0.2, 0.25, None)


def test_builds_without_arguments():
    submission = AdamW()
    assert submission.dropout is None  # the workload's own
    assert list(submission.hyperparameters)[: len(SPACE)] == [name for name, _ in SPACE]
    train(submission, build_net())


@pytest.mark.parametrize("end", ["min", "max"])
def test_both_ends_of_the_search_space_train(end):
    point = {name: values.get(end, values.get("feasible_points", [None])[0]) for name, values in SPACE}
    assert all(value.isfinite().all() for value in train(AdamW(**point), build_net()))
