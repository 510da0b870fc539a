"""Optimizers that do something every few steps go on from a checkpoint of any step in between, bit for bit."""

import copy

import pytest
import torch
from torch import nn

from algoperf_lightning.optim import KLShampoo, KLSoap, LionMuon, Shampoo

PERIOD = 3
CASES = {
    "kl-shampoo": lambda p: KLShampoo(p, precondition_frequency=PERIOD),
    "kl-soap": lambda p: KLSoap(p, precondition_frequency=PERIOD),
    "foam": lambda p: Shampoo(p, precondition_frequency=PERIOD, refresh="foam", eps=1e-3, max_damping=0.05),
    "lion-muon": lambda p: LionMuon(p, period=PERIOD),
}


def step_until(parameters, optimizer, first, end):
    for step in range(first, end):
        generator = torch.Generator().manual_seed(step)
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator) + 0.3 * p.detach()
        optimizer.step()
    return [p.detach().clone() for p in parameters]


@pytest.mark.parametrize("name", CASES)
def test_goes_on_from_every_step_of_two_periods(name):
    end = 3 * PERIOD + 1
    start = [torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in ((3, 5), (4, 2), (3,), ())]
    made = [nn.Parameter(p.clone()) for p in start]
    whole = step_until(made, CASES[name](made), 0, end)
    made = [nn.Parameter(p.clone()) for p in start]
    optimizer = CASES[name](made)
    for stop in range(1, 2 * PERIOD + 2):
        step_until(made, optimizer, stop - 1, stop)
        copies = [nn.Parameter(p.detach().clone()) for p in made]
        resumed = CASES[name](copies)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        for one, other in zip(whole, step_until(copies, resumed, stop, end), strict=True):
            assert torch.equal(one, other), stop
