import inspect
import io
import math
from types import SimpleNamespace

import pytest
import timm.optim
import torch
from torch import nn

from algoperf_lightning.baselines import NadamW
from algoperf_lightning.baselines.nadamw import NadamWOptimizer

SHAPES = {"scalar": (), "vector": (5,), "matrix": (6, 5), "convolution": (4, 3, 2, 2)}
OPTIONS = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.3}
STEPS = 40

# Columns and rows as in the benchmark's list of points for external tuning.
COLUMNS = [
    "dropout_rate",
    "label_smoothing",
    "learning_rate",
    "one_minus_beta1",
    "beta2",
    "weight_decay",
    "warmup_factor",
]
POINTS = [
    (0.0, 0.1, 0.001308209823469072, 0.02686663061, 0.9981232922116359, 0.16375311233774334, 0.1),
    (0.0, 0.2, 0.0008445074561975979, 0.11042418465, 0.9978504782314613, 0.08135402759553023, 0.05),
    (0.0, 0.0, 0.001308209823469072, 0.02686663061, 0.9981232922116359, 0.16375311233774334, 0.1),
    (0.0, 0.0, 0.004958460849689891, 0.13625575743, 0.6291854735396584, 0.1147386261512052, 0.02),
    (0.1, 0.0, 0.0017486387539278373, 0.06733926164, 0.9955159689799007, 0.08121616522670176, 0.02),
]


def random_tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES.values()]


def fresh_parameters():
    return [nn.Parameter(tensor) for tensor in random_tensors(seed=0)]


def gradients(step):
    return random_tensors(seed=1 + step)


def run(optimizer, parameters, first=0, last=STEPS):
    for step in range(first, last):
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = gradient
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


def largest_difference(ones, others):
    return max((one - other).abs().max().item() for one, other in zip(ones, others, strict=True))


def slow_nadamw(p, g, m, v, t, lr, betas, eps, weight_decay):
    """One step on plain numbers; returns what p, m and v are after it."""
    b1, b2 = betas
    p = p * (1 - lr * weight_decay)
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g**2
    ahead = (b1 * m + (1 - b1) * g) / (1 - b1**t)
    return p - lr * ahead / (math.sqrt(v / (1 - b2**t)) + eps), m, v


def run_slowly(options, learning_rates=None, steps=STEPS):
    """Element by element, in Python floats; ``learning_rates`` are those of the steps, if they change."""
    ends = []
    for index, start in enumerate(random_tensors(seed=0)):
        series = [gradients(step)[index].flatten().tolist() for step in range(steps)]
        end = []
        for element, p in enumerate(start.flatten().tolist()):
            m = v = 0.0
            for step in range(steps):
                now = options if learning_rates is None else {**options, "lr": learning_rates[step]}
                p, m, v = slow_nadamw(p, series[step][element], m, v, step + 1, **now)
            end.append(p)
        ends.append(torch.tensor(end, dtype=torch.float64).view(start.shape))
    return ends


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="usual"),
        pytest.param({"weight_decay": 0.0}, id="no-decay"),
        pytest.param({"betas": (0.0, 0.98)}, id="no-first-moment"),
        pytest.param({"betas": (0.9, 0.0)}, id="no-second-moment"),
        pytest.param({"betas": (0.3, 0.63)}, id="short-memory"),
        pytest.param({"eps": 0.1}, id="large-eps"),
    ],
)
def test_equals_timm_and_the_formula(change):
    options = OPTIONS | change
    parameters = fresh_parameters()
    ours = run(NadamWOptimizer(parameters, **options), parameters)
    parameters = fresh_parameters()
    timms = run(timm.optim.NAdamW(parameters, **options), parameters)
    assert largest_difference(ours, timms) < 1e-12
    assert largest_difference(ours, run_slowly(options)) < 1e-12


def test_first_step_by_hand():
    # m = 0.5, v = 1; numerator (0.75 * 0.5 + 0.25 * 2) / 0.25 = 3.5, denominator sqrt(1 / 0.25) + 1 = 3.
    parameter = nn.Parameter(torch.tensor([10.0], dtype=torch.float64))
    parameter.grad = torch.tensor([2.0], dtype=torch.float64)
    NadamWOptimizer([parameter], lr=0.6, betas=(0.75, 0.75), eps=1.0, weight_decay=0.5).step()
    assert parameter.item() == pytest.approx(10 * (1 - 0.3) - 0.6 * 3.5 / 3, abs=1e-14)


def test_is_not_torchs_nadam():
    parameters = fresh_parameters()
    ours = run(NadamWOptimizer(parameters, **OPTIONS), parameters)
    parameters = fresh_parameters()
    torchs = run(torch.optim.NAdam(parameters, decoupled_weight_decay=True, **OPTIONS), parameters)
    # Forty steps of 0.01 move a parameter by up to 0.4; the two algorithms end this far apart.
    assert largest_difference(ours, torchs) > 0.01


def test_is_not_adamw():
    parameters = fresh_parameters()
    ours = run(NadamWOptimizer(parameters, **OPTIONS), parameters)
    parameters = fresh_parameters()
    adamws = run(torch.optim.AdamW(parameters, **OPTIONS), parameters)
    assert largest_difference(ours, adamws) > 0.001


def test_groups_have_their_own_options():
    parameters = fresh_parameters()
    other = {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.0}
    optimizer = NadamWOptimizer([{"params": parameters[:2]}, {"params": parameters[2:], **other}], **OPTIONS)
    ours = run(optimizer, parameters)
    assert largest_difference(ours[:2], run_slowly(OPTIONS)[:2]) < 1e-12
    assert largest_difference(ours[2:], run_slowly(other)[2:]) < 1e-12


def test_a_parameter_without_gradient_keeps_value_and_state():
    parameters = fresh_parameters()
    late, often = parameters[1], parameters[2]
    optimizer = NadamWOptimizer([late, often], **OPTIONS)
    value = late.detach().clone()
    for step in range(3):
        often.grad = gradients(step)[2]
        optimizer.step()
    assert torch.equal(late, value)
    assert late not in optimizer.state

    late.grad = gradients(0)[1]
    optimizer.step()
    value, state = late.detach().clone(), {k: torch.as_tensor(v).clone() for k, v in optimizer.state[late].items()}
    late.grad = None
    optimizer.step()
    assert torch.equal(late, value)
    assert all(torch.equal(torch.as_tensor(optimizer.state[late][key]), state[key]) for key in state)

    # Its bias correction counts its own steps: the second one is step 2, though the optimizer has made more.
    for parameter, step in ((late, 1), (often, 5)):
        parameter.grad = gradients(step)[1 if parameter is late else 2]
    optimizer.step()
    assert largest_difference([late.detach()], [run_slowly(OPTIONS, steps=2)[1]]) < 1e-12


def test_a_step_without_any_gradient_does_nothing():
    parameters = fresh_parameters()
    NadamWOptimizer(parameters, **OPTIONS).step()
    assert largest_difference([p.detach() for p in parameters], random_tensors(seed=0)) == 0


@pytest.mark.parametrize("stop", [1, 20])
def test_goes_on_from_a_checkpoint_bit_for_bit(stop):
    parameters = fresh_parameters()
    through = run(NadamWOptimizer(parameters, **OPTIONS), parameters)

    parameters = fresh_parameters()
    optimizer = NadamWOptimizer(parameters, **OPTIONS)
    run(optimizer, parameters, last=stop)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "parameters": [p.detach() for p in parameters]}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    parameters = [nn.Parameter(tensor) for tensor in saved["parameters"]]
    optimizer = NadamWOptimizer(parameters)  # its options come from the checkpoint
    optimizer.load_state_dict(saved["optimizer"])
    resumed = run(optimizer, parameters, first=stop)
    assert largest_difference(through, resumed) == 0


def test_state_is_that_of_adam():
    # Tools that shard or offload optimizer states know these names.
    parameters = fresh_parameters()
    optimizer = NadamWOptimizer(parameters, **OPTIONS)
    run(optimizer, parameters, last=3)
    for parameter in parameters:
        state = optimizer.state[parameter]
        assert set(state) == {"step", "exp_avg", "exp_avg_sq"}
        assert int(state["step"]) == 3
        assert state["exp_avg"].shape == state["exp_avg_sq"].shape == parameter.shape


def test_closure_is_called_once_with_gradients_on():
    parameter = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = NadamWOptimizer([parameter], lr=0.1)
    calls = []

    def closure():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert calls == [True]
    assert loss.item() == 9.0
    assert parameter.item() < 3.0  # it stepped, with the closure's gradient
    assert optimizer.step() is None


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        pytest.param({"lr": -0.1}, "lr", id="negative-lr"),
        pytest.param({"lr": math.nan}, "lr", id="lr-is-nan"),
        pytest.param({"eps": -1e-8}, "eps", id="negative-eps"),
        pytest.param({"weight_decay": -0.1}, "weight_decay", id="negative-decay"),
        pytest.param({"weight_decay": math.nan}, "weight_decay", id="decay-is-nan"),
        pytest.param({"betas": (1.0, 0.9)}, "betas", id="beta1-is-1"),
        pytest.param({"betas": (-0.1, 0.9)}, "betas", id="negative-beta1"),
        pytest.param({"betas": (0.9, 1.0)}, "betas", id="beta2-is-1"),
        pytest.param({"betas": (0.9, -0.1)}, "betas", id="negative-beta2"),
        pytest.param({"betas": (0.9, math.nan)}, "betas", id="beta2-is-nan"),
    ],
)
def test_numbers_out_of_range_are_refused(bad, name):
    with pytest.raises(ValueError, match=name) as error:
        NadamWOptimizer(fresh_parameters(), **bad)
    value = bad[name] if isinstance(bad[name], tuple) else [bad[name]]
    assert all(str(number) in str(error.value) for number in value)


def test_search_space_is_the_benchmarks_list():
    assert [tuple(point[column] for column in COLUMNS) for point in NadamW.search_space] == POINTS
    assert all(set(point) == set(COLUMNS) for point in NadamW.search_space)


def test_every_point_makes_a_submission():
    known = set(inspect.signature(NadamW).parameters)
    for point in NadamW.search_space:
        assert set(point) <= known
        submission = NadamW(**point)
        assert submission.label_smoothing == point["label_smoothing"]
        assert submission.dropout == point["dropout_rate"]
        assert submission.gradient_clip is None


def test_default_is_the_first_point():
    submission = NadamW()
    assert {name: submission.hyperparameters[name] for name in COLUMNS} == dict(zip(COLUMNS, POINTS[0], strict=True))
    assert submission.hyperparameters["epsilon"] == 1e-8


def test_submission_decays_every_parameter_in_one_group():
    net = nn.ModuleDict({"embedding": nn.Embedding(3, 2), "norm": nn.LayerNorm(2), "linear": nn.Linear(2, 2)})
    configured = NadamW(weight_decay=0.5).configure_optimizers(net, SimpleNamespace(step_hint=30))
    (group,) = configured["optimizer"].param_groups
    assert list(map(id, group["params"])) == list(map(id, net.parameters()))
    assert group["weight_decay"] == 0.5


def test_submission_trains_with_warmup_and_cosine():
    # 6 steps of warm-up, 24 of decay, then 10 past the horizon.
    submission = NadamW(
        learning_rate=0.05, one_minus_beta1=0.13625575743, beta2=0.63, weight_decay=0.5, warmup_factor=0.2, epsilon=1e-6
    )
    net = nn.ParameterList(fresh_parameters())
    configured = submission.configure_optimizers(net, SimpleNamespace(step_hint=30))
    for step in range(STEPS):
        run(configured["optimizer"], list(net), first=step, last=step + 1)
        configured["lr_scheduler"].step()

    rates = [0.05 * step / 6 for step in range(6)]
    rates += [0.05 * 0.5 * (1 + math.cos(math.pi * step / 24)) for step in range(25)]
    rates += [0.0] * (STEPS - len(rates))
    options = {"betas": (1 - 0.13625575743, 0.63), "eps": 1e-6, "weight_decay": 0.5}
    assert largest_difference([p.detach() for p in net], run_slowly(options, rates)) < 1e-12
