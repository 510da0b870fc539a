"""Every optimizer of ours against its slow twin, on tensors of all kinds."""

import io
import math
from functools import partial

import odd_digits
import optimizer_cases
import pytest
import torch
from odd_digits import NAMES, OddDigits
from optimizer_cases import CASES, RATES, STEPS, gradient_of, largest_difference, random_tensor, run, starts
from torch import nn

from algoperf_lightning import optim
from algoperf_lightning.baselines.adafactor import AdafactorOptimizer
from algoperf_lightning.baselines.ademamix import AdEMAMixOptimizer
from algoperf_lightning.baselines.generalized_adam import DecoupledNesterov
from algoperf_lightning.baselines.lamb import LambOptimizer
from algoperf_lightning.baselines.lion import LionOptimizer
from algoperf_lightning.baselines.muon import MuonOptimizer
from algoperf_lightning.baselines.prodigy import ProdigyOptimizer
from algoperf_lightning.baselines.sam import SamOptimizer
from algoperf_lightning.baselines.schedule_free import ScheduleFreeOptimizer
from algoperf_lightning.baselines.schedule_free_adamw import ScheduleFreeAdamWOptimizer
from algoperf_lightning.baselines.schedule_free_sgd import ScheduleFreeSGDOptimizer
from algoperf_lightning.baselines.shampoo import ShampooOptimizer
from algoperf_lightning.baselines.soap import SoapOptimizer
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim import AdaBound, HeavyBall, Lookahead, NorMuon, RAdam, Scion, TFRMSprop
from algoperf_lightning.optim.blocks import blocks_of

cases = pytest.mark.parametrize(("make", "twin", "options", "shapes", "twin_options"), CASES)


@cases
def test_equals_its_slow_twin(make, twin, options, shapes, twin_options):
    ours, _, optimizer = run(lambda p: make(p, lr=RATES[3], **options), shapes)
    free = isinstance(optimizer, ScheduleFreeOptimizer)
    rates = [RATES[3]] * STEPS if free else RATES
    theirs = twin(starts(shapes), gradient_of(shapes), rates, **twin_options)
    assert largest_difference(starts(shapes), theirs) > 0.01  # it moves
    assert largest_difference(ours, theirs) < 1e-9


@cases
def test_in_single_precision_too(make, twin, options, shapes, twin_options):
    """With parameters and states of float32, through two computations of whatever is computed every few steps."""
    steps = 11
    parameters = [nn.Parameter(p.float()) for p in starts(shapes)]
    optimizer = make(parameters, lr=1e-3, **options)
    gradient = gradient_of(shapes)

    def float_gradient(step, index, value):
        found = gradient(step, index, value.double())
        return None if found is None else found.float().to(value.dtype)

    def closure():
        for index, p in enumerate(parameters):
            p.grad = float_gradient(step, index, p.detach())

    for step in range(steps):  # noqa: B007, the closure reads it
        if isinstance(optimizer, ScheduleFreeOptimizer):
            optimizer.go_to_y()
        optimizer.step(closure)
    theirs = twin(starts(shapes), float_gradient, [1e-3] * steps, **twin_options)
    assert all(p.dtype is torch.float32 for p in parameters)
    assert largest_difference([p.detach().double() for p in parameters], theirs) < 2e-6


@cases
def test_goes_on_from_a_checkpoint_of_every_step_bit_for_bit(make, twin, options, shapes, twin_options):
    """Through three periods of whatever is done every few steps."""

    def begin(parameters):
        return make(parameters, lr=RATES[3], **options)

    (_, *unbroken), (_, parameters, optimizer) = (run(begin, shapes, steps=0) for _ in range(2))
    for step in range(12):
        through, *unbroken = run(begin, shapes, step + 1, step, *unbroken)
        ended, parameters, optimizer = run(begin, shapes, step + 1, step, parameters, optimizer)
        assert largest_difference(through, ended) == 0, step
        file = io.BytesIO()
        torch.save({"optimizer": optimizer.state_dict(), "parameters": [p.detach() for p in parameters]}, file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)
        parameters = [nn.Parameter(tensor) for tensor in saved["parameters"]]
        optimizer = begin(parameters)
        optimizer.load_state_dict(saved["optimizer"])


def set_gradients(parameters, gradients):
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g.clone()


@cases
def test_a_gradient_of_zeros_leaves_all_finite(make, twin, options, shapes, twin_options):
    """At first, and after others: a unit that is dead from the start, or dies."""
    for zeros in (range(3), range(3, 6)):
        parameters = [nn.Parameter(p.float()) for p in starts(shapes)]
        optimizer = make(parameters, lr=1e-3, **options)

        for step in range(6):
            getattr(optimizer, "go_to_y", lambda: None)()
            gradients = [random_tensor(p.shape, 100 * step + index).float() for index, p in enumerate(parameters)]
            optimizer.step(partial(set_gradients, parameters, [g * (step not in zeros) for g in gradients]))
        assert all(p.isfinite().all() for p in parameters), zeros


def test_every_optimizer_of_a_submission_is_in_a_case():
    """Those of the Crowded Valley study have tests of their own."""
    tested = set()
    for case in CASES:
        make, _, options, shapes, _ = case.values
        tested.add(type(make([nn.Parameter(p) for p in starts(shapes)], lr=0.1, **options)))
    used = {}
    for name in NAMES:
        if not name.startswith("valley_"):
            workload = OddDigits(odd_digits.make(name))
            workload.configure_model()
            workload.configure_optimizers()
            used |= {type(optimizer): name for optimizer in workload._optimization.optimizers}
    theirs = {kind for kind in used if kind.__module__.startswith("torch.")}
    assert used.keys() - theirs <= tested, used


@cases
def test_a_step_without_any_gradient_changes_nothing(make, twin, options, shapes, twin_options):
    parameters = [nn.Parameter(p) for p in starts(shapes)]
    optimizer = make(parameters, lr=0.1, **options)
    if isinstance(optimizer, ScheduleFreeOptimizer):
        optimizer.go_to_y()
    optimizer.step(lambda: None)
    assert largest_difference([p.detach() for p in parameters], starts(shapes)) == 0


BAD_OPTIONS = [
    (LambOptimizer, "lr", -0.1, "not be negative"),
    (LambOptimizer, "eps", math.nan, "not be negative"),
    (LionOptimizer, "betas", (0.9, 1.0), r"be in \[0, 1\)"),
    (MuonOptimizer, "lr", -1.0, "not be negative"),
    (MuonOptimizer, "newton_schulz_dtype", "float16", "be one of float32, bfloat16"),
    (MuonOptimizer, "newton_schulz", "quintic", "be one of classic, torch, convergent, polar_express, modula"),
    (NorMuon, "newton_schulz_dtype", "float16", "be one of float32, bfloat16"),
    (Scion, "beta", 1.0, r"be in \[0, 1\)"),
    (Scion, "scale", 0.0, "be positive"),
    (Scion, "norm", "nuclear", "be one of auto, spectral, spectral_max, convolution, sign, row, column, token, rms"),
    (Scion, "lr", 1.5, "be at most 1 if constrained"),
    (Scion, "newton_schulz_dtype", "float16", "be one of float32, bfloat16"),
    (AdEMAMixOptimizer, "ramp_steps", 0, "be 1 or more"),
    (ProdigyOptimizer, "d0", 0.0, "be positive"),
    (ShampooOptimizer, "grafting_type", "LARS", "be one of ADAM, SGD"),
    (ShampooOptimizer, "momentum", 1.0, r"be in \[0, 1\)"),
    (ShampooOptimizer, "inv_root_override", -2, "not be negative"),
    (ShampooOptimizer, "precondition_frequency", 0, "be 1 or more"),
    (ShampooOptimizer, "max_preconditioner_dim", 0, "be 1 or more"),
    (ScheduleFreeSGDOptimizer, "beta1", 0.0, r"be in \(0, 1\)"),
    (ScheduleFreeSGDOptimizer, "warmup_steps", -1, "not be negative"),
    (ScheduleFreeAdamWOptimizer, "version", "v3", "be 'v1' or 'v2'"),
    (SoapOptimizer, "precondition_frequency", 0, "be 1 or more"),
    *optimizer_cases.BAD_OPTIONS_OF_MATRIX_METHODS,
    (TFRMSprop, "decay", 1.0, r"be in \[0, 1\)"),
    (TFRMSprop, "initial_second_moment", -1.0, "not be negative"),
    (HeavyBall, "momentum", 1.0, r"be in \[0, 1\)"),
    (AdaBound, "final_lr", -0.1, "not be negative"),
    (AdaBound, "gamma", 0.0, "be positive"),
    (RAdam, "betas", (0.9, 1.0), r"be in \[0, 1\)"),
]


@pytest.mark.parametrize("in_a_group", [False, True], ids=["of-all", "in-a-group"])
@pytest.mark.parametrize(("make", "name", "value", "expected"), BAD_OPTIONS, ids=lambda value: str(value)[:20])
def test_options_that_cannot_be_used_are_refused(make, name, value, expected, in_a_group):
    params, more = [nn.Parameter(torch.zeros(2, 2))], {name: value}
    groups = [{"params": [nn.Parameter(torch.zeros(2, 2))]}, {"params": params, **more}]
    with pytest.raises(BadInputError, match=f"{make.__name__}: {name} must {expected}, but got") as error:
        make(groups) if in_a_group else make(params, **more)
    assert repr(value) in str(error.value)


def test_options_that_a_checkpoint_does_not_know_have_their_defaults():
    optimizer = LambOptimizer([nn.Parameter(torch.zeros(2))], eps=0.5)
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["eps"]
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["eps"] == 0.5


def test_a_group_that_is_added_later_is_checked_too():
    optimizer = LambOptimizer([nn.Parameter(torch.zeros(2))])
    with pytest.raises(BadInputError, match="weight_decay"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))], "weight_decay": -1.0})
    assert len(optimizer.param_groups) == 1


ABSTRACT_OR_AROUND = {"AdamLike", "CautiousDecay", "EMANesterov", "ForeachOptimizer", "Lookahead"} | {
    "ScheduleFreeOptimizer",
    "TailAverage",
}


@pytest.mark.parametrize("name", sorted({*optim.__all__} - ABSTRACT_OR_AROUND))
def test_every_optimizer_is_found_by_its_name_and_used_alone(name):
    model = nn.Linear(3, 2, bias=False)
    more = {"ScheduleFreeSGD": {"lr": 0.1}, "DecoupledNesterov": {"lr": 0.1, "momentum": 0.5, "decoupled_decay": 0.1}}
    optimizer = getattr(optim, name)(model.parameters(), **more.get(name, {}))
    assert type(optimizer).__name__ == name

    def closure():
        optimizer.zero_grad()
        getattr(optimizer, "go_to_y", lambda: None)()
        loss = model(torch.ones(1, 3)).square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[0] > losses[2]


@pytest.mark.parametrize(("name", "value", "expected"), [("k", 0, "be 1 or more"), ("alpha", 1.5, r"be in \[0, 1\]")])
def test_lookahead_refuses_what_it_cannot_use(name, value, expected):
    with pytest.raises(BadInputError, match=f"Lookahead: {name} must {expected}, but got {value}"):
        Lookahead(HeavyBall([nn.Parameter(torch.zeros(2))]), **{name: value})


def test_an_unknown_optimizer_is_no_attribute():
    with pytest.raises(AttributeError, match=r"algoperf_lightning\.optim.* 'Adamax'"):
        _ = optim.Adamax


def test_sam_and_momentum_refuse_negative_numbers():
    parameters = [nn.Parameter(torch.zeros(2))]
    with pytest.raises(BadInputError, match=r"rho .* -0.1"):
        SamOptimizer(parameters, rho=-0.1)
    with pytest.raises(BadInputError, match=r"decoupled_decay .* -0.1"):
        DecoupledNesterov(parameters, lr=0.1, momentum=0.9, decoupled_decay=-0.1)


def test_muon_refuses_vectors_in_an_orthogonal_group():
    with pytest.raises(ValueError, match=r"two axes or more.*\(3,\)"):
        MuonOptimizer([nn.Parameter(torch.zeros(3))])


@pytest.mark.parametrize(("norm", "axes"), [("spectral", 2), ("row", 2), ("convolution", 3)])
def test_scion_refuses_a_norm_that_does_not_fit(norm, axes):
    with pytest.raises(BadInputError, match=rf"'{norm}' needs tensors of {axes} axes or more, but got \[\(3,\)\]"):
        Scion([nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3, 2, 2))], norm=norm)


def test_constrained_scion_stays_in_its_ball():
    """The root mean square of an embedding's rows reaches the radius and no more; without the constraint it grows."""
    radii = {}
    for constrained in (True, False):
        table = nn.Parameter(torch.zeros(4, 3))
        optimizer = Scion([table], lr=0.1, scale=2.0, norm="token", constrained=constrained)
        for _ in range(200):
            table.grad = torch.arange(-5.5, 6.0).view(4, 3)
            optimizer.step()
        radii[constrained] = table.detach().square().mean(1).sqrt()
    torch.testing.assert_close(radii[True], torch.full((4,), 2.0))
    torch.testing.assert_close(radii[False], torch.full((4,), 40.0))


def test_muon_makes_matrices_nearly_orthogonal():
    (end,), _, _ = run(lambda p: MuonOptimizer(p, lr=1.0, betas=(0.0, 0.0)), {"matrix": (6, 40)}, steps=2)
    (before,), _, _ = run(lambda p: MuonOptimizer(p, lr=1.0, betas=(0.0, 0.0)), {"matrix": (6, 40)}, steps=1)
    # Only the second step has a gradient: the one parameter is the last.
    values = torch.linalg.svdvals((end - before) / RATES[1])
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_schedule_free_needs_the_gradient_at_y():
    optimizer = ScheduleFreeSGDOptimizer([nn.Parameter(torch.ones(2))])
    with pytest.raises(RuntimeError, match="go_to_y"):
        optimizer.step()


@pytest.mark.parametrize(("version", "mean"), [("v1", 0.676), ("v2", 0.894)], ids=["v1", "v2"])
def test_second_moments_of_the_first_schedule_free_adamw_are_too_small(version, mean):
    """Golden: what the v0.5 entry's own code had after 501 gradients from a normal distribution, beside exact ones."""
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.zeros(20_000))
    optimizer = ScheduleFreeAdamWOptimizer([parameter], lr=1e-6, beta2=0.9955159689799007, version=version)
    for _ in range(501):
        parameter.grad = torch.randn(20_000, generator=generator)
        optimizer.go_to_y()
        optimizer.step()
    assert optimizer.state[parameter]["exp_avg_sq"].float().mean().item() == pytest.approx(mean, abs=0.003)


def test_sam_needs_a_closure():
    with pytest.raises(RuntimeError, match="bf16-mixed"):
        SamOptimizer([nn.Parameter(torch.ones(2))]).step()


def test_sam_comes_back_if_the_second_pass_fails():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = SamOptimizer([parameter], rho=0.5)

    def closure():
        if optimizer.at_worst_point:
            raise FloatingPointError("the second pass fails")
        parameter.grad = torch.ones(2)

    with pytest.raises(FloatingPointError):
        optimizer.step(closure)
    assert parameter.tolist() == [1.0, 2.0]
    assert not optimizer.at_worst_point


def test_sam_stays_where_the_gradient_is_zero():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    seen = []

    def closure():
        seen.append(parameter.tolist())
        parameter.grad = torch.zeros(2)

    SamOptimizer([parameter], rho=0.5, weight_decay=0.0).step(closure)
    assert seen == [[1.0, 2.0], [1.0, 2.0]]
    assert parameter.tolist() == [1.0, 2.0]


def test_lamb_leaves_the_ratio_out_where_a_norm_is_zero():
    zero, still = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
    optimizer = LambOptimizer([zero, still], lr=0.1)
    zero.grad, still.grad = torch.ones(3), torch.zeros(3)
    optimizer.step()
    torch.testing.assert_close(zero.detach(), torch.full((3,), -0.1))  # Adam's first step
    assert torch.equal(still.detach(), torch.ones(3))


@pytest.mark.parametrize("shape", [(3,), (3, 2)], ids=["vector", "matrix"])
def test_adafactor_shows_that_it_diverged(shape):
    parameter = nn.Parameter(torch.ones(shape))
    optimizer = AdafactorOptimizer([parameter], lr=0.1)
    parameter.grad = torch.ones(shape)
    parameter.grad.view(-1)[0] = math.inf
    optimizer.step()
    assert parameter.isnan().any()
    assert not parameter.isinf().any()


def test_adafactor_bears_a_gradient_of_zero():
    parameter = nn.Parameter(torch.ones(3, 2))
    optimizer = AdafactorOptimizer([parameter], lr=0.1)
    parameter.grad = torch.zeros(3, 2)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.ones(3, 2))


def test_prodigy_grows_its_estimate_by_itself():
    parameter = nn.Parameter(torch.tensor([10.0], dtype=torch.float64))
    optimizer = ProdigyOptimizer([parameter], d0=1e-6)
    for _ in range(300):
        parameter.grad = torch.sign(parameter.detach())  # of |p|
        optimizer.step()
    d = optimizer.state["estimate"]["d"].item()
    assert 0.01 < d <= 10.0  # a lower bound of the distance, 10
    assert math.isfinite(parameter.item())


def test_shampoo_has_no_matrices_for_very_long_axes():
    optimizer = ShampooOptimizer([nn.Parameter(torch.zeros(2, 2))])
    assert optimizer.defaults["max_axis"] == 1_000_000
    sizes = [tuple(block.shape) for block in blocks_of(torch.zeros(1030, 1500), 1024)]
    assert sizes == [(1024, 1024), (1024, 476), (6, 1024), (6, 476)]
