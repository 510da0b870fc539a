"""The recurrent network against numbers of TensorFlow and a slow one."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from golden import u
from torch import nn

from algoperf_lightning import get_workload
from algoperf_lightning.submission import Submission
from algoperf_lightning.workloads.tolstoi.model import CharRnn, SingleBiasLSTM


def filled_rnn():
    model, k = CharRnn().double().eval(), 0

    def values(shape):
        nonlocal k
        hashes = torch.from_numpy(u(k, math.prod(shape))).view(shape)
        k += hashes.numel()
        return hashes * (math.sqrt(3 / shape[0]) if len(shape) > 1 else 0.1)

    with torch.no_grad():
        model.embedding.weight.copy_(values((83, 128)))
        for layer in (model.lstm1, model.lstm2):
            layer.kernel.copy_(values((256, 512)))
            layer.bias.copy_(values((512,)))
        model.dense.weight.copy_(values((128, 83)).T)
        model.dense.bias.copy_(values((83,)))
    return model


def test_losses_of_the_recurrent_network_are_those_of_the_reference():
    workload = get_workload("tolstoi_char_rnn")(Submission()).double()
    workload.model = filled_rnn()
    assert sum(p.numel() for p in workload.model.parameters()) == 284_499
    i = torch.arange(100).view(2, 50)
    losses = []
    for block in range(3):
        batch = {"inputs": 7 * i % 83, "targets": (7 * i + 3) % 83, "rows": torch.tensor([4, 1])}
        batch["blocks"] = torch.tensor([block, block])
        logits = workload.outputs(batch)
        losses.append(workload.loss_of(logits, batch).per_example.tolist())
        if not block:
            assert (logits.argmax(-1) == batch["targets"]).double().mean() == 0.02
    expected = [[4.419693, 4.426971], [4.418759, 4.425098], [4.418756, 4.425085]]
    assert np.array(losses) == pytest.approx(np.array(expected), rel=1e-6)


def slow_lstm(layer, inputs, cell, hidden):
    outputs = []
    for x in inputs.unbind(1):
        i, j, f, o = (torch.cat([x, hidden], 1) @ layer.kernel + layer.bias).chunk(4, 1)
        cell = (f + 1).sigmoid() * cell + i.sigmoid() * j.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs, 1), cell, hidden


def test_the_fast_layer_computes_the_formula_and_its_gradient():
    torch.manual_seed(0)
    layer = SingleBiasLSTM(3, 5).double()
    nn.init.normal_(layer.bias)
    given = SimpleNamespace(x=torch.randn(2, 7, 3), cell=torch.randn(2, 5), hidden=torch.randn(2, 5))
    arguments = [each.double().requires_grad_() for each in vars(given).values()]
    results = []
    for run in (layer, lambda *args: slow_lstm(layer, *args)):
        made = run(*arguments)
        gradients = torch.autograd.grad(sum(each.sin().sum() for each in made), [*arguments, *layer.parameters()])
        results.append([*made, *gradients])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow)


def test_the_recurrent_network_begins_as_in_the_reference():
    torch.manual_seed(0)
    model = CharRnn()
    bounds = {"embedding.weight": 6 / 211, "lstm1.kernel": 6 / 768, "lstm2.kernel": 6 / 768, "dense.weight": 6 / 211}
    for name, bound in {**bounds, "dense.bias": 6 / 166}.items():
        values = model.get_parameter(name)
        assert 0.9 * math.sqrt(bound) < values.abs().max().item() <= math.sqrt(bound) * (1 + 1e-6)
    assert all((layer.bias == 0).all() for layer in (model.lstm1, model.lstm2))


def test_each_layer_drops_its_input_and_its_output_at_each_character():
    torch.manual_seed(0)
    model, seen = CharRnn(width=6), []
    model.dropout.register_forward_hook(lambda module, given, made: seen.append((made != 0).float().mean((0, 2))))
    model(torch.randint(0, 83, (40, 9)), torch.zeros(40, 4, 6))
    assert len(seen) == 4
    assert all(len(set(kept.tolist())) > 3 for kept in seen)  # other values at each character
    assert [round(kept.mean().item(), 1) for kept in seen] == [0.8, 0.8, 0.6, 0.8]  # two masks between the layers
