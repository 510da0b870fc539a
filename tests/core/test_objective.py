"""Outputs, the loss of outputs, and a workload's own term of the parameters."""

import pytest
import torch
from torch.nn import functional as F

from algoperf_lightning import Loss, Submission, Workload, get_workload
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.testing import PlainSGD, check_gradients, check_outputs, train
from algoperf_lightning.workloads import Digits


def built(kind=Digits, **options):
    workload = kind(PlainSGD(), **options)
    workload.configure_model()
    return workload


def batch_of(workload, rows=8):
    columns = workload.data.open("train").columns
    return {name: column[:rows] for name, column in columns.items()}


class WithL2(Digits):
    factor = 0.01

    def regularization(self):
        return self.factor / 2 * sum(p.square().sum() for p in self.network.parameters() if p.ndim > 1)


class LossOnly(Digits):
    """A workload as they were written before there were outputs."""

    outputs, loss_of = Workload.outputs, Workload.loss_of

    def loss(self, batch, *, label_smoothing=0.0):
        losses = F.cross_entropy(self.network(batch["inputs"]), batch["targets"], reduction="none")
        return Loss(losses)

    def evaluate(self, batch, metrics):
        for metric in metrics.values():
            metric.update(self.loss(batch).per_example, batch["weights"])


def test_the_view_has_outputs_and_their_loss():
    workload = built()
    batch = batch_of(workload)
    logits = workload.view.outputs(batch)
    assert logits.shape == (8, 10)
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(logits, batch["targets"], reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(
            workload.view.loss_of(logits, batch, label_smoothing=smoothing).per_example, expected
        )
        torch.testing.assert_close(workload.view.loss(batch, label_smoothing=smoothing).per_example, expected)
    assert workload.view.regularization() is None


def test_outputs_leave_running_statistics_alone_and_take_a_rate_of_dropout():
    resnet = built(get_workload("imagenet_resnet"), tiny=True).train()
    statistics = resnet.network.bn1.running_mean
    before = statistics.clone()
    images = {"inputs": torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)}
    resnet.view.outputs(images, update_batch_norm=False)
    assert torch.equal(statistics, before)
    resnet.view.outputs(images)
    assert not torch.equal(statistics, before)
    with pytest.raises(BadInputError, match="from 0 to 1, but got 2"):
        resnet.view.outputs(images, dropout=2)


def test_the_own_term_is_in_every_loss_but_in_no_loss_of_outputs(tmp_path):
    workload = built(WithL2)
    batch = batch_of(workload) | {"weights": torch.tensor([1.0] * 5 + [0.0] * 3)}
    matrices = [p for p in workload.network.parameters() if p.ndim > 1]
    term = 0.01 / 2 * torch.cat([p.detach().flatten() for p in matrices]).double().square().sum().item()
    data = workload.loss_of(workload.outputs(batch), batch).per_example
    loss = workload.view.loss(batch).per_example
    assert (loss - data).tolist() == pytest.approx([term] * 5 + [0] * 3, rel=1e-4)
    assert workload.view.regularization().item() == pytest.approx(term, rel=1e-5)
    mean = workload.regularized(workload.loss_of(workload.outputs(batch).detach(), batch)).per_example.sum() / 5
    mean.backward()  # the data term is a constant here
    for parameter in matrices:
        torch.testing.assert_close(parameter.grad, 0.01 * parameter.detach())
    check_gradients(WithL2, tmp_path)
    check_outputs(WithL2, tmp_path)


def test_evaluations_report_the_own_term_and_training_minimises_it(tmp_path):
    workload, plain = WithL2(PlainSGD()), Digits(PlainSGD())
    workload.factor = 10.0  # large enough to see
    for each in (workload, plain):
        train(each, 20, tmp_path, val_check_interval=20, check_val_every_n_epoch=None)
    term = float(workload.regularization().detach())
    with torch.no_grad():
        columns = workload.data.open("validation").columns
        data = float(F.cross_entropy(workload.network(columns["inputs"]), columns["targets"]))
    assert workload.evaluation["validation/loss"] == pytest.approx(data + term, rel=1e-5)
    norms = [sum(float(p.detach().square().sum()) for p in each.network.parameters()) for each in (workload, plain)]
    assert norms[0] < 0.5 * norms[1]


def test_the_mean_loss_has_the_own_term_once_whatever_units_count():
    loss = Loss(torch.tensor([6.0, 0.0, 2.0]), torch.tensor([3.0, 0.0, 1.0])).plus(torch.tensor(5.0))
    assert loss.per_example.tolist() == [21.0, 0.0, 7.0]
    assert loss.per_example.sum() / loss.weight.sum() == 8 / 4 + 5
    assert Loss(torch.tensor([1.0, 3.0])).plus(torch.tensor(2.0)).per_example.tolist() == [3.0, 5.0]


def test_a_workload_that_defines_only_its_loss_trains_and_says_that_it_has_no_outputs(tmp_path):
    workload = LossOnly(PlainSGD())
    train(workload, 2, tmp_path, val_check_interval=2, check_val_every_n_epoch=None)
    assert workload.evaluation["validation/loss"] > 0
    check_outputs(LossOnly, tmp_path)
    for call in (lambda: workload.view.outputs({}), lambda: workload.view.loss_of(None, {})):
        with pytest.raises(BadInputError, match=r"LossOnly defines only loss\(batch\).*Define outputs\(batch\)"):
            call()


def test_a_workload_without_any_loss_says_what_to_define():
    class Nothing(Digits):
        outputs, loss_of = Workload.outputs, Workload.loss_of

    with pytest.raises(TypeError, match=r"Nothing must define outputs\(self, batch\), and loss_of"):
        Nothing(Submission())
