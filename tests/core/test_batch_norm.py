"""Running statistics recomputed for other weights: as torch does it, without a trace once they are set back."""

import itertools

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.optim.swa_utils import update_bn

from algoperf_lightning import testing
from algoperf_lightning.batch_norm import recompute, set_statistics, statistics_of
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads import Digits
from algoperf_lightning.workloads.librispeech.layers import MaskedBatchNorm


class Net(nn.Module):
    """8 x 8 images to 10 logits; batch norms of images and of vectors, one with a momentum of None, and dropout."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4, momentum=0.3)
        self.hidden = nn.Linear(4 * 36, 16)
        self.inner = nn.BatchNorm1d(16, momentum=None, affine=False)
        self.without = nn.BatchNorm1d(16, track_running_stats=False)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 10)

    def forward(self, images):
        hidden = self.inner(self.hidden(self.norm(self.conv(images)).relu().flatten(1)))
        return self.head(self.drop(self.without(hidden).relu()))


@pytest.fixture
def images():
    torch.manual_seed(3)
    return [torch.randn(size, 1, 8, 8) * scale for size, scale in ((7, 1.0), (9, 3.0), (2, 0.1), (30, 1.5))]


@pytest.fixture
def net(images):
    torch.manual_seed(4)
    net = Net()
    for batch in images[:2]:
        net(10 * batch)  # statistics that are far from those to come
    return net


def test_the_statistics_are_those_of_torch(net, images):
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    returned = recompute(net, images, net, ranks=1)
    found = {name: buffer.clone() for name, buffer in net.named_buffers()}
    assert returned.keys() == before.keys()
    assert all(torch.equal(returned[name], before[name]) for name in before)
    update_bn(images, net)
    for name, expected in net.named_buffers():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(found[name], expected)
            assert not torch.allclose(found[name], before[name], rtol=0.1)


def test_statistics_that_were_not_finite_leave_no_trace(net, images):
    recompute(net, images, net, ranks=1)
    expected = statistics_of(net)
    net.norm.running_mean.fill_(torch.inf)
    net.norm.running_var.fill_(torch.nan)
    recompute(net, images, net, ranks=1)
    assert torch.equal(net.norm.running_mean, expected["norm.running_mean"])
    assert torch.equal(net.norm.running_var, expected["norm.running_var"])


def test_frames_that_are_padding_do_not_count():
    torch.manual_seed(5)
    norm = MaskedBatchNorm(3, momentum=0.01, synchronised=False)
    batches = [(torch.randn(4, 6, 3) * scale, torch.rand(4, 6) > 0.4) for scale in (1.0, 2.0, 0.5)]
    recompute(norm, batches, lambda batch: norm(*batch), ranks=1)
    frames = [x[valid] for x, valid in batches]
    torch.testing.assert_close(norm.running_mean, torch.stack([each.mean(0) for each in frames]).mean(0))
    variances = [each.var(0, correction=0) for each in frames]
    torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0))
    assert norm.momentum == 0.01


def traces(net):
    """All that may not change but the statistics."""
    return (
        [(type(each), each.training, getattr(each, "momentum", None)) for each in net.modules()],
        [p.detach().clone().tolist() for p in net.parameters()],
        torch.get_rng_state().tolist(),
    )


def test_nothing_else_changes_and_the_statistics_come_back(net, images):
    net.eval()
    net.inner.train()
    kept, before = statistics_of(net), traces(net)
    set_statistics(net, recompute(net, iter(images), net, ranks=1))
    assert traces(net) == before
    assert all(torch.equal(buffer, kept[name]) for name, buffer in statistics_of(net).items())


def test_an_error_in_between_leaves_everything_as_it_was(net, images):
    kept, before = statistics_of(net), traces(net)
    with pytest.raises(RuntimeError, match=r"shape|size|channels"):
        recompute(net, [images[0], torch.zeros(3)], net, ranks=1)
    with pytest.raises(BadInputError, match="needs at least one batch, but got none"):
        recompute(net, iter(()), net, ranks=1)
    assert traces(net) == before
    assert all(torch.equal(buffer, kept[name]) for name, buffer in statistics_of(net).items())


def test_a_model_without_batch_norms_is_not_run():
    assert recompute(nn.Linear(2, 2), [torch.zeros(1)], pytest.fail, ranks=1) == {}


def test_statistics_of_another_model_are_refused(net):
    with pytest.raises(BadInputError, match=r"of another model: only one of the two has 0\.num_batches_tracked"):
        set_statistics(nn.Sequential(nn.BatchNorm1d(3)), statistics_of(net))


def test_a_compiled_model_is_compiled_once_more(net, images):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    net.compile(backend=counter, fullgraph=True)
    same = [torch.randn(6, 1, 8, 8) for _ in range(4)]
    net.norm.momentum = net.inner.momentum = 0.1  # torch compiles a momentum of None anew for each number of batches
    for _ in range(4):
        net(same[0])
        recompute(net, same, net, ranks=1)
    assert counter.frame_count <= 3  # torch tries a number that varies first
    torch._dynamo.reset()


class NormDigits(Digits):
    def build_model(self):
        return Net()


class Recomputing(PlainSGD):
    """Is evaluated with statistics of three new batches or of the last one."""

    def __init__(self, fresh: int = 0, keep: bool = False):
        super().__init__()
        self.fresh, self.keep, self.seen = fresh, keep, []

    def configure_optimizers(self, model, workload):
        self.workload = workload
        return super().configure_optimizers(model, workload)

    def select_batch(self, batches):
        self.batches, self.batch = batches, next(batches)
        return self.batch

    def before_evaluation(self, model):
        batches = itertools.islice(self.batches, self.fresh) if self.fresh else [self.batch]
        self.kept = self.workload.update_batch_norm(batches)
        self.seen.append(statistics_of(model)["norm.running_mean"])

    def after_evaluation(self, model):
        if not self.keep:
            self.workload.set_batch_norm(self.kept)


def trained(submission, folder, **options):
    workload = NormDigits(submission)
    budget = TimeBudget(unit="steps", eval_period=2)
    train(workload, 6, folder, callbacks=[budget], **options)
    return workload, budget.result


def test_training_goes_on_as_if_nothing_had_been_recomputed(tmp_path):
    plain, _ = trained(PlainSGD(), tmp_path)
    recomputed, result = trained(Recomputing(), tmp_path)
    testing.runs.assert_equal_models(plain, recomputed, "recomputing left a trace")
    assert len(recomputed.submission.seen) == len(result.evaluations)
    assert not [warning for warning in result.warnings if "changed" in warning]


def test_statistics_that_are_not_set_back_stay(tmp_path):
    plain, _ = trained(PlainSGD(), tmp_path)
    kept, _ = trained(Recomputing(keep=True), tmp_path)
    assert not torch.equal(plain.network.norm.running_mean, kept.network.norm.running_mean)
    assert torch.equal(plain.network.head.weight, kept.network.head.weight)


def test_new_batches_are_drawn_from_the_training_stream(tmp_path):
    workload, _ = trained(Recomputing(fresh=3), tmp_path)
    stream = workload.data.training_batches(workload.batch_size, 0, 1, next, None)
    drawn = list(itertools.islice(stream, 4))
    fresh = NormDigits(PlainSGD())
    train(fresh, 1, tmp_path)
    update_bn([batch["inputs"] for batch in drawn[1:]], fresh.network)
    torch.testing.assert_close(workload.submission.seen[0], fresh.network.norm.running_mean)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_the_model_runs_in_the_precision_of_the_run(precision, tmp_path):
    workload, _ = trained(Recomputing(), tmp_path, precision=precision)
    assert all(torch.isfinite(each).all() for each in workload.submission.seen)


@pytest.mark.parametrize("fresh", [0, 2])
def test_a_resumed_run_ends_as_an_unbroken_one(fresh, tmp_path):
    testing.runs.compare_resumed(lambda: NormDigits(Recomputing(fresh)), tmp_path)
