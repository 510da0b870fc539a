"""Optimizers go where their authors' own code went, in float64."""

import golden_algorithms as golden
import pytest
from torch import nn

from algoperf_lightning.optim import NorMuon, Scion


def scion(**options):
    return lambda parameters: Scion(parameters, lr=0.05, beta=0.9, scale=3.0, **options)


CASES = {
    "NorMuon": lambda parameters: NorMuon(parameters, lr=0.05, weight_decay=0.1, flatten_kernels=False),
    "Scion Spectral constrained": scion(norm="spectral"),
    "Scion Spectral unconstrained": scion(norm="spectral", constrained=False),
    "Scion Auto (conv, vec)": scion(norm="auto"),
    "Scion Sign normalized": scion(norm="sign"),
    "Scion ColNorm transpose": scion(norm="token"),
    "Scion RowNorm": scion(norm="row"),
}


@pytest.mark.parametrize("case", CASES)
def test_goes_where_the_authors_code_went(case):
    names = golden.tensors_of(case)
    parameters = [nn.Parameter(golden.start(name)) for name in names]
    optimizer = CASES[case](parameters)
    for step in range(1, 6):
        for name, p in zip(names, parameters, strict=True):
            p.grad = golden.gradient(name, step, p.detach())
        optimizer.step()
        if step in golden.STEPS:
            for name, p in zip(names, parameters, strict=True):
                assert (p.detach() - golden.expected(case, step, name)).abs().max() < 1e-9, (name, step)
