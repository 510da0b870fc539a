"""Optimizers go where their authors' own code went, in float64, and have the symmetries of their definitions."""

from itertools import count

import golden_algorithms as golden
import pytest
import torch
from torch import nn

from algoperf_lightning.optim import (
    Amuse,
    EMANesterov,
    KLShampoo,
    KLSoap,
    LionMuon,
    Muon,
    NorMuon,
    PolarGrad,
    PSGDKron,
    ScheduleFreeAdamW,
    Scion,
    Shampoo,
)


def scion(**options):
    return lambda parameters: Scion(parameters, lr=0.05, beta=0.9, scale=3.0, **options)


def kl(make):
    return lambda parameters: make(
        parameters, lr=0.05, betas=(0.9, 0.95), factor_beta=0.9, weight_decay=0.1, precondition_frequency=2
    )


def lion_muon(**options):
    def make(parameters):
        flat = {"lr": 0.02, "betas": (0.9, 0.95), "matrices": False}
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim < 2], **flat},
        ]
        optimizer = LionMuon(groups, lr=0.05, weight_decay=0.1, lion_ratio=0.2, **options)
        steps = count(1)

        def before_step(*_):
            """The authors' AdamW adds eps before it corrects the second moment's bias, torch's afterwards."""
            optimizer.param_groups[-1]["eps"] = 1e-8 / (1 - 0.95 ** next(steps)) ** 0.5

        optimizer.register_step_pre_hook(before_step)
        return optimizer

    return make


def shampoo(**options):
    return lambda parameters: Shampoo(
        parameters,
        lr=0.05,
        betas=(0.9, 0.95),
        weight_decay=0.1,
        nadam=False,
        inv_root_override=2,
        precondition_frequency=1,
        max_preconditioner_dim=4,
        damping=1e-3,
        **options,
    )


def polar_grad(rule):
    return lambda parameters: PolarGrad(parameters, lr=0.05, weight_decay=0.1, rule=rule)


class KronFromGlobalGenerator(PSGDKron):
    """The published run drew from torch's own generator, seeded before the first step."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.05, weight_decay=0.1, update_probability=1.0)
        self.generator = torch.Generator().manual_seed(0)

    def probe(self, like):
        return torch.randn(like.shape, dtype=like.dtype, generator=self.generator)


def ema_nesterov(parameters):
    optimizer = Muon(parameters, lr=0.05, weight_decay=0.1)
    ahead = EMANesterov(optimizer, beta=0.6, gamma=0.9, start=1, end=10)
    optimizer.go_to_y = ahead.go_ahead
    return optimizer


# The published code of these two casts epsilon to float32.
TOLERANCES = {"FOAM tau=.5 eps_max=.1": 1e-8, "Shampoo stale f=1 (same settings)": 1e-8}
CASES = {
    "FOAM tau=.5 eps_max=.1": shampoo(refresh="foam", max_damping=0.1, foam_tolerance=0.5),
    "Shampoo stale f=1 (same settings)": shampoo(),
    "KL-Shampoo f=2": kl(KLShampoo),
    "KL-SOAP f=2": kl(KLSoap),
    "AMUSE exact averaging (x)": lambda parameters: Amuse(
        parameters, lr=0.05, beta1=0.6, rho=0.8, weight_decay=0.1, warmup_steps=2
    ),
    "LionMuon P=2": lion_muon(betas=(0.9, 0.99)),
    "SignMuon (b1=b2) P=2": lion_muon(betas=(0.9, 0.9)),
    "torch.optim.Muon match_rms_adamw": lambda parameters: Muon(
        parameters, lr=0.05, weight_decay=0.1, newton_schulz="torch", scale="match_rms_adamw"
    ),
    "MuonH": lambda parameters: Muon(parameters, lr=0.05, newton_schulz="convergent", keep_norm=True),
    "NorMuon": lambda parameters: NorMuon(parameters, lr=0.05, weight_decay=0.1, flatten_kernels=False),
    "Scion Spectral constrained": scion(norm="spectral"),
    "Scion Spectral unconstrained": scion(norm="spectral", constrained=False),
    "Scion Auto (conv, vec)": scion(norm="auto"),
    "Scion Sign normalized": scion(norm="sign"),
    "Scion ColNorm transpose": scion(norm="token"),
    "Scion RowNorm": scion(norm="row"),
    "KJ SingleDeviceMuon": lambda parameters: Muon(parameters, lr=0.05, weight_decay=0.1),
    "torch.optim.Muon original": lambda parameters: Muon(parameters, lr=0.05, weight_decay=0.1, newton_schulz="torch"),
    "AdamW equal betas 0.95": lambda parameters: torch.optim.AdamW(
        parameters, lr=0.05, betas=(0.95, 0.95), weight_decay=0.1, fused=True
    ),
    "SF-AdamW v2 (x)": lambda parameters: ScheduleFreeAdamW(
        parameters, lr=0.05, beta1=0.9, beta2=0.95, weight_decay=0.1, warmup_steps=2
    ),
    "EMA-Nesterov(Muon)": ema_nesterov,
    "PSGD Kron p=1 (torch seed 0)": KronFromGlobalGenerator,
    "RowNormM (embedding)": polar_grad("row"),
    "RowNormM center_rows (LM head)": polar_grad("row_centered"),
    "RowNormM col (down_proj)": polar_grad("column"),
    "RightPolarGradM": polar_grad("polar"),
    "HybridPolarGradM row": polar_grad("polar_row"),
}
NOT_OFFERED = {
    "AMUSE aux=adamw (x, averaged)": "the authors' inexact average; ours is 'AMUSE exact averaging (x)'",
    "AMUSE aux=adamw (y, gradient point)": "the authors' inexact average",
    "AMUSE aux=sgd (x, averaged)": "SGD for the rest, and the authors' inexact average",
    "Aurora": "not a submission; its orthogonalisation is tested in test_orthogonal.py",
    "AdaMuon": "not a submission",
    "Conda gap=2 scale=0.25": "not a submission",
    "Dion rank 2 (Q0 by formula)": "not a submission",
    "MARS-AdamW approx": "not a submission",
    "SPlus eval (EMA)": "not a submission",
    "SPlus raw iterate": "not a submission",
    "SophiaG bs=32, hessian at odd steps": "not a submission",
}
"""Published trajectories of methods that the library does not have, or has in another form, and why."""


def test_every_published_trajectory_is_tested_or_has_a_reason():
    assert CASES.keys() | NOT_OFFERED.keys() == golden.CASES.keys()
    assert not CASES.keys() & NOT_OFFERED.keys()


# The authors' code finds the average from the gradient's point by the wrong one of two factors.
@pytest.mark.parametrize(("step", "apart"), [(1, (0, 1e-9)), (5, (1e-3, 3e-3))])
def test_the_exact_average_of_amuse_is_that_far_from_its_authors(step, apart):
    case, authors = "AMUSE exact averaging (x)", "AMUSE aux=adamw (x, averaged)"
    differences = [
        (golden.expected(case, step, name) - golden.expected(authors, step, name)).abs().max().item()
        for name in golden.tensors_of(case)
    ]
    assert apart[0] <= max(differences) < apart[1]


@pytest.mark.parametrize("case", CASES)
def test_goes_where_the_authors_code_went(case):
    names, tolerance = golden.tensors_of(case), TOLERANCES.get(case, 1e-9)
    parameters = [nn.Parameter(golden.start(name)) for name in names]
    optimizer = CASES[case](parameters)
    for step in range(1, 6):
        getattr(optimizer, "go_to_y", lambda: None)()
        for name, p in zip(names, parameters, strict=True):
            p.grad = golden.gradient(name, step, p.detach())
        optimizer.step()
        if step in golden.STEPS:
            for name, p in zip(names, parameters, strict=True):
                assert (p.detach() - golden.expected(case, step, name)).abs().max() < tolerance, (name, step)


# What a change of the coordinates of outputs (left) and inputs (right) must not change, by the method's definition.


def rotation(size, seed):
    square = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(square)[0]


def signed_permutation(size, seed):
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (size,), generator=generator).double() * 2 - 1
    return torch.eye(size, dtype=torch.float64)[torch.randperm(size, generator=generator)] * signs


SYMMETRIES = {
    "polar-grad-polar": (PolarGrad, {"rule": "polar"}, rotation, rotation),
    "polar-grad-row": (PolarGrad, {"rule": "row"}, signed_permutation, rotation),
    "polar-grad-column": (PolarGrad, {"rule": "column"}, rotation, signed_permutation),
    "lion-muon": (LionMuon, {"lion_ratio": 1.0}, signed_permutation, signed_permutation),
    "muon": (Muon, {}, rotation, rotation),
    "muon-polar-express": (Muon, {"newton_schulz": "polar_express"}, rotation, rotation),
    "normuon": (NorMuon, {}, signed_permutation, rotation),
    "scion-spectral": (Scion, {"norm": "spectral"}, rotation, rotation),
    "scion-row": (Scion, {"norm": "row"}, signed_permutation, rotation),
    "scion-token": (Scion, {"norm": "token"}, signed_permutation, rotation),
    "scion-column": (Scion, {"norm": "column"}, rotation, signed_permutation),
    "scion-sign": (Scion, {"norm": "sign"}, signed_permutation, signed_permutation),
}


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)], ids=str)
@pytest.mark.parametrize("name", SYMMETRIES)
def test_other_coordinates_give_the_same_steps(name, shape):
    make, options, of_rows, of_columns = SYMMETRIES[name]
    left, right = of_rows(shape[0], 1), of_columns(shape[1], 2)
    generator = torch.Generator().manual_seed(0)
    start, *gradients = torch.randn(4, *shape, generator=generator, dtype=torch.float64)
    plain, turned = nn.Parameter(start.clone()), nn.Parameter(left @ start @ right)
    for p, turn in ((plain, lambda g: g), (turned, lambda g: left @ g @ right)):
        optimizer = make([p], lr=0.1, **options)
        for g in gradients:
            p.grad = turn(g)
            optimizer.step()
    assert (plain - start).abs().max() > 0.01
    torch.testing.assert_close(turned.detach(), left @ plain.detach() @ right, rtol=0, atol=1e-7)
