"""The block for second derivatives: attention, compiled models, CTC, recurrent layers; gradients of single examples."""

from typing import ClassVar

import pytest
import torch
from products import SEED, joined, loss_at, point, started
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from algoperf_lightning import Submission
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.second_order import average_over_ranks, plain_operations
from algoperf_lightning.testing import train
from algoperf_lightning.workloads import Digits
from algoperf_lightning.workloads.librispeech.ctc import ctc_loss, smooth_ctc_loss


def rows_of(workload, batch):
    """The gradient of each example, by one pass of the whole batch."""
    torch.manual_seed(SEED)
    losses = workload.view.loss(batch, update_batch_norm=False).per_example
    parameters = list(workload.network.parameters())
    return torch.stack([joined(torch.autograd.grad(loss, parameters, retain_graph=True)) for loss in losses])


def mapped_rows(workload, batch):
    """The same by ``vmap``."""

    def loss(parameters, example):
        alone = {name: value[None] for name, value in example.items()}
        return workload.view.loss(alone, parameters=parameters).per_example.squeeze(0)

    with workload.view.second_order():
        rows = torch.func.vmap(torch.func.grad(loss), (None, 0), randomness="different")(point(workload), batch)
    return torch.cat([part.reshape(len(part), -1) for part in rows.values()], 1).double()


@pytest.mark.parametrize("name", ["digits", "librispeech_deepspeech"])
def test_a_block_leaves_a_workload_as_it_was(name, tmp_path):
    workload, _ = started(name, tmp_path)
    before = vars(workload).copy()
    with workload.view.second_order(), workload.view.second_order():
        pass
    assert vars(workload) == before


@pytest.mark.parametrize("name", ["criteo1tb", "digits", "fastmri", "finewebedu_lm", "imagenet_vit", "mnist", "wmt"])
def test_gradients_of_single_examples_are_those_of_the_batch(name, tmp_path):
    workload, batch = started(name, tmp_path, dropout=None if name in ("digits", "mnist", "finewebedu_lm") else 0.0)
    expected = rows_of(workload, batch)
    assert (mapped_rows(workload, batch) - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("name", ["cifar10", "imagenet_resnet", "librispeech_conformer", "librispeech_deepspeech"])
def test_single_examples_are_refused_where_batch_norm_would_make_them_other_ones(name, tmp_path):
    workload, batch = started(name, tmp_path)
    with pytest.raises(BadInputError, match=r"one by one, but batch norm \(\S*(bn|norm)\S*\) would"):
        mapped_rows(workload, batch)
    assert loss_at(workload.view, batch, point(workload)) > 0  # the same call without vmap


def test_a_parameter_that_the_model_lacks_is_named():
    workload = Digits(Submission())
    workload.configure_model()
    with pytest.raises(BadInputError, match=r"has 'head.wieght', but .* such as 'head.weight'"):
        workload.view.outputs({}, parameters={"head.wieght": torch.zeros(1)})


def test_parameters_without_names_are_refused():
    workload = Digits(Submission())
    workload.configure_model()
    with pytest.raises(BadInputError, match=r"must be a dict of tensors .* but got a list"):
        workload.view.loss({}, parameters=list(workload.network.parameters()))


@pytest.mark.parametrize("given", [torch.ones(2), {"weight": torch.ones(2)}], ids=["tensor", "dict"])
def test_means_over_ranks_are_of_a_list(given):
    with pytest.raises(BadInputError, match="takes a list of tensors, but got a"):
        average_over_ranks(given, ranks=1)


# Attention and compiled models


def test_in_the_block_attention_is_by_its_definition():
    queries = torch.randn(1, 2, 5, 4, requires_grad=True)
    with plain_operations():
        gradient = torch.autograd.grad(attended(queries), queries, create_graph=True)[0]
    torch.autograd.grad(gradient.sum(), queries)
    with sdpa_kernel(SDPBackend.MATH):
        expected = attended(queries)
    assert torch.equal(attended(queries.detach()), attended(queries.detach()))
    torch.testing.assert_close(attended(queries), expected)
    with pytest.raises(RuntimeError, match="not implemented"):  # outside, fused attention is used again
        torch.autograd.grad(torch.autograd.grad(attended(queries), queries, create_graph=True)[0].sum(), queries)


def attended(queries):
    return nn.functional.scaled_dot_product_attention(queries, queries, queries).square().sum()


def test_a_compiled_model_runs_uncompiled_in_the_block_and_is_not_compiled_again_after_it():
    workload = Digits(Submission())
    workload.configure_model()
    batch = {name: column[:8] for name, column in workload.data.open("train").columns.items()}
    compiled, ran = [], []

    def backend(graph, inputs):
        compiled.append(graph)

        def run(*arguments):
            ran.append(len(compiled))
            return graph(*arguments)

        return run

    torch._dynamo.reset()
    workload.network.compile(backend=backend)
    expected = workload.view.outputs(batch)
    assert (len(compiled), len(ran)) == (1, 1)
    with workload.view.second_order():
        torch.testing.assert_close(workload.view.outputs(batch), expected)
    assert (len(compiled), len(ran)) == (1, 1)
    workload.view.outputs(batch)
    assert (len(compiled), len(ran)) == (1, 2)
    torch._dynamo.reset()


class Twice(Submission):
    """Differentiates twice, within the block or not."""

    batch_sizes: ClassVar = {"digits": 16}

    def __init__(self, within: bool = True):
        self.within = within

    def configure_optimizers(self, model, workload):
        return torch.optim.SGD(model.parameters(), lr=0.01)

    def training_step(self, workload, batch):
        parameters = list(workload.model.parameters())
        with workload.second_order() if self.within else torch.enable_grad():
            loss = workload.mean(workload.loss(batch, update_batch_norm=False))
            gradients = torch.autograd.grad(loss, parameters, create_graph=True)
            self.product = torch.autograd.grad(sum(g.square().sum() for g in gradients), parameters)
        return workload.mean(workload.loss(batch))


class CompiledDigits(Digits):
    def configure_model(self):
        super().configure_model()
        self.network.compile(backend="aot_eager")


@pytest.mark.slow
def test_a_compiled_model_is_differentiated_twice_in_the_block_and_outside_the_error_says_so(tmp_path):
    torch._dynamo.reset()
    submissions = []
    for kind in (Digits, CompiledDigits):
        submissions.append(Twice())
        train(kind(submissions[-1]), 2, tmp_path)
    torch.testing.assert_close(joined(submissions[1].product), joined(submissions[0].product), rtol=1e-4, atol=1e-8)
    with pytest.raises(RuntimeError, match="create_graph") as raised:
        train(CompiledDigits(Twice(within=False)), 2, tmp_path)
    assert "Twice.training_step" in raised.value.__notes__[0]
    assert "within `with workload.second_order():`" in raised.value.__notes__[0]
    torch._dynamo.reset()


# CTC and recurrent layers


def test_the_smooth_ctc_loss_is_torchs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 12, 7, generator=generator, requires_grad=True)
    batch = {
        # Repeated labels, which need a blank between them; one label; none; as many frames as are needed.
        "targets": torch.tensor([[1, 1, 2, 0], [3, 0, 0, 0], [0, 0, 0, 0], [4, 5, 6, 6], [2, 2, 2, 2]]),
        "target_lengths": torch.tensor([3, 1, 0, 4, 4]),
        "weights": torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]),
    }
    lengths = torch.tensor([12, 7, 3, 5, 12])
    expected, found = (loss(logits, lengths, batch) for loss in (ctc_loss, smooth_ctc_loss))
    torch.testing.assert_close(found.per_example, expected.per_example, rtol=1e-5, atol=1e-5)
    assert torch.equal(found.weight, expected.weight)
    gradients = [torch.autograd.grad(loss.per_example.sum(), logits)[0] for loss in (expected, found)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


def test_the_block_of_a_speech_workload_sets_its_loss_back(tmp_path):
    workload, batch = started("librispeech_conformer", tmp_path)
    before = loss_at(workload.view, batch)
    with workload.view.second_order():
        assert workload.loss_function is smooth_ctc_loss
        torch.testing.assert_close(loss_at(workload.view, batch), before, rtol=1e-4, atol=0)
    assert workload.loss_function is ctc_loss


def test_models_with_torchs_recurrent_layers_have_forward_mode_and_the_libraries_are_set_back():
    class Recurrent(Digits):
        def build_model(self):
            return LastOfRows()

    workload = Recurrent(Submission())
    workload.configure_model()
    workload.double()
    batch = {"inputs": workload.data.open("train").columns["inputs"][:8].double()}
    start = point(workload)
    moved = {name: torch.ones_like(value) for name, value in start.items()}
    enabled = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
    with workload.view.second_order():
        assert not torch._C._get_mkldnn_enabled()
        outputs = lambda parameters: workload.view.outputs(batch, parameters=parameters)  # noqa: E731
        _, pushed = torch.func.jvp(outputs, (start,), (moved,))
    assert (torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()) == enabled
    ahead, behind = (outputs({name: start[name] + step * moved[name] for name in start}) for step in (1e-5, -1e-5))
    torch.testing.assert_close(pushed, (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-8)


class LastOfRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows = nn.LSTM(8, 6, batch_first=True)
        self.head = nn.Linear(6, 10)

    def forward(self, images):
        return self.head(self.rows(images.squeeze(1))[0][:, -1])
