"""Our optimizers against other people's, where these compute the same."""

import prodigyopt
import pytest
import pytorch_optimizer
import schedulefree
import timm.optim
import torch
from optimizer_cases import (
    ADAM,
    FREE,
    FREE_ADAM,
    RATES,
    SHAPES,
    STEPS,
    gradient_of,
    largest_difference,
    random_tensor,
    run,
    starts,
    without,
)
from torch import nn

from algoperf_lightning.baselines.ademamix import AdEMAMixOptimizer
from algoperf_lightning.baselines.cautious_nadamw import CautiousNadamWOptimizer
from algoperf_lightning.baselines.lamb import LambOptimizer
from algoperf_lightning.baselines.lion import LionOptimizer
from algoperf_lightning.baselines.muon import MuonOptimizer
from algoperf_lightning.baselines.prodigy import ProdigyOptimizer
from algoperf_lightning.baselines.sam import SamOptimizer
from algoperf_lightning.baselines.schedule_free_adamw import ScheduleFreeAdamWOptimizer
from algoperf_lightning.baselines.schedule_free_sgd import ScheduleFreeSGDOptimizer
from algoperf_lightning.baselines.soap import SoapOptimizer


def fixed_rate(make):
    """For optimizers of others, which read their learning rate as ours do."""
    return lambda parameters: make(parameters, lr=RATES[3])


class LibrarySam(pytorch_optimizer.SAM):
    """It wants the first gradient to be there when it is called."""

    def step(self, closure=None):
        closure()
        return super().step(closure)


LIBRARIES = [
    pytest.param(
        lambda p, lr: LambOptimizer(p, lr=lr, **ADAM),
        lambda p, lr: timm.optim.Lamb(p, lr=lr, max_grad_norm=None, **ADAM),
        SHAPES,
        1e-9,
        id="lamb-timm",
    ),
    pytest.param(
        lambda p, lr: LionOptimizer(p, lr=lr, **without(ADAM, "eps")),
        lambda p, lr: timm.optim.Lion(p, lr=lr, **without(ADAM, "eps")),
        SHAPES,
        1e-9,
        id="lion-timm",
    ),
    pytest.param(
        lambda p, lr: CautiousNadamWOptimizer(p, lr=lr, **ADAM),
        lambda p, lr: timm.optim.NAdamW(p, lr=lr, caution=True, **ADAM),
        SHAPES,
        1e-9,
        id="cautious-nadamw-timm",
    ),
    pytest.param(
        lambda p, lr: AdEMAMixOptimizer(p, lr=lr, **{**ADAM, "betas": (0.8, 0.98, 0.999)}, alpha=4.0, ramp_steps=13),
        lambda p, lr: pytorch_optimizer.AdEMAMix(
            p, lr=lr, **{**ADAM, "betas": (0.8, 0.98, 0.999)}, weight_decouple=True, alpha=4.0, t_alpha_beta3=13
        ),
        SHAPES,
        1e-6,  # the paper's code, which ours follows, adds 1e-8 to the decay rates it interpolates
        id="ademamix-pytorch-optimizer",
    ),
    pytest.param(
        lambda p, lr: SamOptimizer(p, lr=lr, rho=0.4, **ADAM),
        lambda p, lr: LibrarySam(p, torch.optim.AdamW, lr=lr, rho=0.4, **ADAM),
        SHAPES,
        1e-9,
        id="sam-pytorch-optimizer",
    ),
    pytest.param(
        lambda p, lr: SoapOptimizer(p, lr=lr, **ADAM, precondition_frequency=3),
        lambda p, lr: pytorch_optimizer.SOAP(p, lr=lr, **ADAM, precondition_frequency=3),
        SHAPES,
        2e-5,  # its QR is in float32
        id="soap-pytorch-optimizer",
    ),
    pytest.param(
        lambda p, lr: ProdigyOptimizer(p, lr=lr, **ADAM, d0=1e-2),
        lambda p, lr: prodigyopt.Prodigy(p, lr=lr, **ADAM, d0=1e-2),
        SHAPES,
        1e-9,
        id="prodigy-prodigyopt",
    ),
    pytest.param(
        lambda p, lr: MuonOptimizer(p, lr=lr, betas=(0.9, 0.0), weight_decay=0.3, nesterov=True),
        lambda p, lr: torch.optim.Muon(p, lr=lr, momentum=0.9, weight_decay=0.3, nesterov=True),
        {name: shape for name, shape in SHAPES.items() if len(shape) == 2},
        0.01,  # its matrices are made orthogonal in bfloat16
        id="muon-torch",
    ),
]


@pytest.mark.parametrize(("make", "library", "shapes", "tolerance"), LIBRARIES)
def test_equals_a_library(make, library, shapes, tolerance):
    ours, _, _ = run(fixed_rate(make), shapes, missing=False)
    theirs, _, _ = run(fixed_rate(library), shapes, missing=False)
    assert largest_difference(ours, starts(shapes)) > 50 * tolerance
    assert largest_difference(ours, theirs) < tolerance


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_schedule_free_sgd_equals_the_library(decay):
    ours, _, _ = run(
        lambda p: ScheduleFreeSGDOptimizer(p, lr=0.05, **FREE | {"weight_decay": decay}), SHAPES, missing=False
    )
    theirs = run_free(schedulefree.SGDScheduleFree, momentum=0.8, weight_decay=decay)
    assert largest_difference(ours, theirs) < 1e-9


def test_schedule_free_adamw_without_decay_equals_the_library():
    options = {**FREE_ADAM, "weight_decay": 0.0, "eps": 1e-12}
    ours, _, _ = run(lambda p: ScheduleFreeAdamWOptimizer(p, lr=0.05, **options), SHAPES, missing=False)
    theirs = run_free(schedulefree.AdamWScheduleFree, betas=(0.8, 0.97), eps=1e-12, weight_decay=0.0)
    assert largest_difference(ours, theirs) < 1e-9


def run_free(library, **options):
    parameters = [nn.Parameter(p) for p in starts(SHAPES)]
    optimizer = library(parameters, lr=0.05, warmup_steps=6, foreach=False, **options)
    optimizer.train()
    gradient = gradient_of(SHAPES)
    for step in range(STEPS):
        for index, p in enumerate(parameters):
            found = gradient(step, index, p.detach())
            p.grad = random_tensor(p.shape, seed=step) + 0.3 * p.detach() if found is None else found
        optimizer.step()
    optimizer.eval()
    return [p.detach() for p in parameters]
