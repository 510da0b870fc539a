"""Padding, LSTM, compilation and second passes of both speech models."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from librispeech_golden import small
from torch import nn
from torch._dynamo.testing import CompileCounter

from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import LibriSpeechConformer, LibriSpeechDeepSpeech
from algoperf_lightning.workloads.librispeech import lstm
from algoperf_lightning.workloads.librispeech.ctc import ctc_loss
from algoperf_lightning.workloads.librispeech.layers import valid_frames
from algoperf_lightning.workloads.librispeech.lstm import BidirectionalLSTM

WORKLOADS = (LibriSpeechConformer, LibriSpeechDeepSpeech)
VARIANTS = [
    pytest.param(workload, variant, id=workload.spec.of(variant=variant).full_name)
    for workload in WORKLOADS
    for variant in (None, *workload.spec.variants)
]


# Padding


def utterances(samples=9_041):
    """Three recordings padded with noise, with three targets."""
    torch.manual_seed(0)
    return {
        "inputs": torch.randint(-9_000, 9_000, (3, samples), dtype=torch.int16),
        "input_lengths": torch.tensor([9_000, 4_321, 6_789]),
        "targets": torch.tensor([[3, 4, 3, 2], [5, 2, 0, 0], [6, 7, 2, 0]]),
        "target_lengths": torch.tensor([4, 2, 3]),
    }


def loud(model):
    """Parameters large enough for a leak to be seen, norms and biases included."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize(("workload", "variant"), VARIANTS)
def test_an_utterance_is_the_same_alone_and_in_a_padded_batch(workload, variant):
    model = loud(small(workload, variant)).eval()
    batch = utterances()
    logits, lengths = model(batch["inputs"], batch["input_lengths"])
    losses = ctc_loss(logits, lengths, batch).per_example
    for row, length in enumerate(batch["input_lengths"].tolist()):
        # The convolutions in front are padded differently for other numbers of frames modulo 4; take the same.
        samples = 9_041 - (9_041 - length - 400) // 640 * 640
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        own, own_lengths = model(alone["inputs"][:, :samples], alone["input_lengths"])
        assert own_lengths[0] == lengths[row]
        assert own.shape[1] < logits.shape[1] or row == 0
        assert torch.allclose(own[0, : own_lengths[0]], logits[row, : lengths[row]], atol=1e-4, rtol=1e-4)
        assert torch.allclose(ctc_loss(own, own_lengths, alone).per_example, losses[row], rtol=1e-4)


@pytest.mark.parametrize(("workload", "variant"), VARIANTS)
def test_padding_changes_nothing_in_training(workload, variant):
    batch = utterances()
    silent = batch["inputs"] * (torch.arange(9_041) < batch["input_lengths"][:, None])
    results = []
    for inputs in (batch["inputs"], silent):
        model = loud(small(workload, variant)).train()
        loss = ctc_loss(*model(inputs, batch["input_lengths"]), batch).per_example
        loss.sum().backward()
        results.append([loss, *(p.grad for p in model.parameters()), *model.buffers()])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


# LSTM


def test_lstm_is_the_packed_one_of_torch():
    torch.manual_seed(0)
    ours, theirs = BidirectionalLSTM(8), nn.LSTM(8, 4, batch_first=True, bidirectional=True)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.shape == other.shape
        mine.data.copy_(other.data)
    x, lengths = torch.randn(4, 11, 8), torch.tensor([5, 11, 1, 8])
    valid = valid_frames(lengths, 11)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    assert torch.allclose(ours(x, valid), expected, atol=1e-6)
    weight = torch.randn(4, 11, 8)
    ((ours(x, valid) * weight).sum() + (expected * weight).sum()).backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-5)


class InOneBuffer(torch.autograd.Function):
    """Copies of tensors, whose gradients lie in one buffer, as those of cuDNN's LSTM do."""

    @staticmethod
    def forward(ctx, *tensors):
        return tuple(tensor.clone() for tensor in tensors)

    @staticmethod
    def backward(ctx, *gradients):
        buffer = torch.cat([gradient.reshape(-1) for gradient in gradients])
        parts = buffer.split([gradient.numel() for gradient in gradients])
        return tuple(part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True))


def test_compiled_lstm_takes_gradients_that_lie_in_one_buffer(monkeypatch):
    """As on a GPU, where what the operation returns must not share memory either."""
    plain = torch.lstm
    monkeypatch.setattr(
        torch, "lstm", lambda x, state, weights, *rest: plain(x, state, list(InOneBuffer.apply(*weights)), *rest)
    )
    torch.manual_seed(0)
    layer, x = BidirectionalLSTM(8), torch.randn(2, 5, 8, requires_grad=True)
    marked = torch.cat([x, torch.zeros(2, 5, lstm._MARKS)], -1)
    weights = list(layer.parameters())
    for position in (0, 4):
        weights[position] = torch.cat([weights[position], layer.closed], 1)
    tensors = [x, *layer.parameters()]
    expected = torch.autograd.grad(lstm._lstm(marked, weights).square().sum(), tensors, retain_graph=True)
    found = torch.autograd.grad(lstm._lstm_op(marked, weights).square().sum(), tensors)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_lstm_is_initialised_as_that_of_torch():
    torch.manual_seed(0)
    ours = BidirectionalLSTM(8)
    torch.manual_seed(0)
    theirs = nn.LSTM(8, 4, batch_first=True, bidirectional=True)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


# Compilation


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_compiled_model_sees_one_shape_and_trains_alike(workload):
    torch._dynamo.reset()
    counter = CompileCounter()
    gradients = []
    fewer = {"blocks": 1} if workload is LibriSpeechConformer else {"lstm_layers": 1, "feed_forward_layers": 1}
    for compiled in (False, True):
        model = loud(small(workload, **fewer)).train()
        if compiled:
            model.compile(backend=counter, fullgraph=True)
        for number in range(3):
            batch = utterances()
            batch["inputs"] += number
            batch["input_lengths"] -= 100 * number
            ctc_loss(*model(batch["inputs"], batch["input_lengths"]), batch).per_example.sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert counter.frame_count == 1
    for plain, other in zip(*gradients, strict=True):
        assert torch.allclose(plain, other, rtol=1e-3, atol=1e-3 * plain.abs().max().item() + 1e-6)
    torch._dynamo.reset()


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_second_pass_leaves_the_running_statistics_alone(workload):
    instance = workload(PlainSGD(), tiny=True)
    model = {**instance.spec.model, "frequency_masks": 0, "time_masks": 0}
    instance.spec = dataclasses.replace(instance.spec, dropout=0.0, model=model)
    instance.configure_model()
    batch = utterances()
    first = instance.view.loss(batch).per_example
    before = {name: buffer.clone() for name, buffer in instance.network.named_buffers()}
    second = instance.view.loss(batch, update_batch_norm=False).per_example
    assert torch.equal(first, second)
    assert all(torch.equal(buffer, before[name]) for name, buffer in instance.network.named_buffers())
    instance.view.loss(batch)
    assert any(not torch.equal(buffer, before[name]) for name, buffer in instance.network.named_buffers())


@pytest.mark.parametrize("workload", WORKLOADS)
def test_bfloat16_training_is_close(workload):
    batch, losses = utterances(), []
    for enabled in (False, True):
        torch.manual_seed(0)
        model = small(workload).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = ctc_loss(*model(batch["inputs"], batch["input_lengths"]), batch).per_example
        loss.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        losses.append(loss)
    assert torch.allclose(*losses, rtol=0.05)
