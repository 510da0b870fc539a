"""Models that compute with a multiple of their parameters."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.multiplied import multiply_parameters
from algoperf_lightning.parameters import parameter_kinds
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import get_spec
from algoperf_lightning.testing import PlainSGD


class Tied(nn.Module):
    """An embedding that is also the output layer, a norm, attention, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.start = nn.Parameter(torch.randn(8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.output = nn.Linear(8, 11, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens) + self.start
        return self.output(self.norm(x + self.attention(x, x, x)[0]))


def models(factor):
    torch.manual_seed(3)
    plain = Tied()
    multiplied = copy.deepcopy(plain)
    multiply_parameters(multiplied, factor)
    return plain, multiplied


TOKENS = torch.arange(22).view(2, 11) % 11


@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_names_stay_the_same(training):
    plain, multiplied = (model.train(training) for model in models(8.0))
    assert torch.equal(plain(TOKENS), multiplied(TOKENS))
    shapes = [{name: p.shape for name, p in model.named_parameters()} for model in (plain, multiplied)]
    assert shapes[0] == shapes[1]
    assert parameter_kinds(plain) == parameter_kinds(multiplied)
    for (name, before), after in zip(plain.named_parameters(), multiplied.parameters(), strict=True):
        assert torch.equal(before, 8 * after), name
    copied = copy.deepcopy(multiplied)
    copied.load_state_dict(multiplied.state_dict())
    assert torch.equal(copied(TOKENS), plain(TOKENS))
    by_call = torch.func.functional_call(multiplied, {"start": torch.zeros(8)}, (TOKENS,))
    expected = torch.func.functional_call(plain, {"start": torch.zeros(8)}, (TOKENS,))
    assert torch.equal(by_call, expected)


def test_compiled():
    plain, multiplied = models(4.0)
    torch._dynamo.reset()
    multiplied.compile(backend="aot_eager", fullgraph=True)
    for _ in range(2):
        torch.testing.assert_close(multiplied(TOKENS), plain(TOKENS))
        with torch.no_grad():
            for parameter, quarter in zip(plain.parameters(), multiplied.parameters(), strict=True):
                parameter.add_(1.0)
                quarter.add_(0.25)
    torch._dynamo.reset()


def test_a_learning_rate_of_adam_is_worth_as_many_times_more():
    plain, multiplied = models(16.0)
    losses = []
    for model, rate in ((plain, 16e-3), (multiplied, 1e-3)):
        optimizer = torch.optim.AdamW(model.parameters(), rate, eps=1e-12, weight_decay=0.0)
        for _ in range(10):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.flatten())
            loss.backward()
            optimizer.step()
        losses.append(loss)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-4)


def test_a_workload_with_a_multiplier(monkeypatch):
    digits = get_workload("digits")
    initial = {}
    for factor in (1.0, 2.0):
        spec = get_spec("digits")
        monkeypatch.setattr(digits, "spec", dataclasses.replace(spec, parameter_multiplier=factor))
        workload = digits(PlainSGD(), seed=5)
        workload.configure_model()
        initial[factor] = dict(workload.network.named_parameters())
    assert all(torch.equal(initial[1.0][name], 2 * p) for name, p in initial[2.0].items())
    with pytest.raises(BadInputError, match="parameter_multiplier"):
        dataclasses.replace(get_spec("digits"), parameter_multiplier=0.0)
