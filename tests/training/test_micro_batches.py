"""Micro-batches: the gradient of the whole batch, made of its parts."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from smooth_digits import CASES, LR, WEIGHTS, InParts, Smooth, assert_equal, plain_loop
from torch import nn

from algoperf_lightning import Loss
from algoperf_lightning.data.parts import BatchParts, split_sizes
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim import Sam
from algoperf_lightning.testing import train
from algoperf_lightning.testing.runs import compare_resumed
from algoperf_lightning.workloads import Digits

STEPS = 4


class Weighted(InParts):
    """Examples count or do not, other numbers of them in each micro-batch."""

    def __init__(self, number=3):
        super().__init__(number)

    def select_batch(self, batches):
        return {**next(batches), "weights": WEIGHTS}


class Penalised(InParts):
    """A term of the parameters, which each micro-batch's loss has."""

    def training_step(self, workload, batch):
        penalty = 0.01 * sum(p.square().sum() for p in workload.model.parameters())
        return super().training_step(workload, batch) + penalty


def by_hand(**options):
    return plain_loop(STEPS, **options)


def trained(submission, folder, cls=Smooth, **options):
    workload = cls(submission)
    train(workload, STEPS, folder, **options)
    return list(workload.network.parameters())


@pytest.mark.parametrize("number", [2, 3, 12])
@pytest.mark.parametrize(
    ("cls", "reference"),
    [*CASES.values(), (Weighted, {"weights": lambda _: WEIGHTS}), (Penalised, {"penalty": 0.01})],
)
def test_the_gradient_is_that_of_the_whole_batch(cls, reference, number, tmp_path):
    submission = cls(number)
    assert_equal(trained(submission, tmp_path), by_hand(**reference))
    assert len(submission.sizes) == number * STEPS


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"precision": "bf16-mixed"}, {"rtol": 0.02, "atol": 2e-3}),
        ({"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]}, {"rtol": 0.01, "atol": 1e-3}),
    ],
    ids=["bf16-mixed", "16-mixed"],
)
def test_in_mixed_precision(options, tolerance, tmp_path):
    found = trained(Weighted(), tmp_path, **options)
    assert_equal(found, by_hand(weights=lambda _: WEIGHTS), **tolerance)


def test_a_model_that_is_compiled(tmp_path):
    class Compiled(Smooth):
        def configure_model(self):
            super().configure_model()
            self.network.compile(backend="aot_eager", fullgraph=True)

    assert_equal(trained(Weighted(), tmp_path, Compiled), by_hand(weights=lambda _: WEIGHTS))


def test_closures_that_are_called_twice(tmp_path):
    class Sharp(InParts):
        def configure_optimizers(self, model, workload):
            return Sam(model.parameters(), rho=0.05, lr=1e-2)

    assert_equal(trained(Sharp(4), tmp_path), trained(Sharp(1), tmp_path))


def test_several_optimizers(tmp_path):
    class Two(Penalised):
        def configure_optimizers(self, model, workload):
            parts = [[p for p in model.parameters() if (p.ndim > 1) == matrices] for matrices in (True, False)]
            return [torch.optim.SGD(part, lr=LR, momentum=0.9) for part in parts]

    assert_equal(trained(Two(3), tmp_path), by_hand(penalty=0.01))


def test_the_loss_that_is_recorded_is_the_mean_of_all_parts(tmp_path):
    seen = {}

    class Recording(Smooth):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            seen.setdefault(self.submission.micro_batches, []).append(outputs["loss"].item())

    for number in (1, 4):
        trained(InParts(number), tmp_path, Recording)
    assert seen[4] == pytest.approx(seen[1], rel=1e-6)


class Ghost(nn.Module):
    """Batch norm over thirds of a batch, one after the other, as micro-batches see it."""

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.norm = nn.BatchNorm1d(64)

    def forward(self, images):
        return torch.cat([self.norm(part) for part in images.flatten(1).tensor_split(self.number)])


def test_batch_norm_is_that_of_each_micro_batch(tmp_path):
    def with_norm(number):
        class Normed(Digits):
            def build_model(self):
                return nn.Sequential(Ghost(number), nn.Linear(64, 10))

        return Normed

    in_parts, ghost = with_norm(1)(InParts(3)), with_norm(3)(InParts(1))
    for workload in (in_parts, ghost):
        train(workload, STEPS, tmp_path)
    assert_equal(in_parts.network.parameters(), ghost.network.parameters())
    assert_equal(in_parts.network.buffers(), ghost.network.buffers())
    assert in_parts.network[0].norm.num_batches_tracked == 3 * STEPS


def test_resumed_in_the_middle(tmp_path):
    compare_resumed(lambda: Smooth(Weighted()), tmp_path)


def test_a_step_that_is_skipped(tmp_path):
    class Skipping(InParts):
        def training_step(self, workload, batch):
            loss = super().training_step(workload, batch)
            return None if len(self.sizes) > 6 else loss  # from the third step on

    submission = Skipping(3)
    found = trained(submission, tmp_path)
    short = Smooth(InParts(3))
    train(short, 2, tmp_path)
    assert len(submission.sizes) == 12
    assert_equal(found, short.network.parameters())


# Refusals


@pytest.mark.parametrize("number", [0, -1, 2.0, None, True])
def test_a_number_that_is_none(number):
    with pytest.raises(BadInputError, match=r"InParts: micro_batches must be an integer in \[1, inf\), but got"):
        Smooth(InParts(number))


def test_a_number_that_does_not_divide_the_batch(tmp_path):
    with pytest.raises(BadInputError, match="12 examples in a batch for digits cannot be divided evenly"):
        train(Smooth(InParts(5)), 1, tmp_path)


def test_a_number_that_is_set_later(tmp_path):
    class Later(InParts):
        def select_batch(self, batches):
            self.micro_batches = 4 if len(self.sizes) < 8 else 0
            return next(batches)

    submission = Later(1)
    with pytest.raises(BadInputError, match="micro_batches must be an integer"):
        train(Smooth(submission), 3, tmp_path)
    assert submission.sizes == [3] * 8


class HalfOfEach(InParts):
    def training_step(self, workload, batch):
        half = {name: rows[: len(rows) // 2] for name, rows in batch.items()}
        return workload.mean(workload.loss(half))


class OtherWeights(Weighted):
    def training_step(self, workload, batch):
        loss = workload.loss(batch)
        return workload.mean(Loss(loss.per_example * 3, loss.weight * 3))


class NoWeights(Weighted):
    def training_step(self, workload, batch):
        return workload.mean(Loss(workload.loss(batch).per_example))


@pytest.mark.parametrize("cls", [HalfOfEach, OtherWeights, NoWeights])
def test_a_mean_over_other_examples_than_those_of_the_micro_batch(cls, tmp_path):
    with pytest.raises(BadInputError, match="Drop examples or change batch"):
        train(Smooth(cls(2)), 1, tmp_path)
    train(Smooth(cls(1)), 1, tmp_path)


def test_some_parts_without_a_loss(tmp_path):
    class Some(InParts):
        def training_step(self, workload, batch):
            return super().training_step(workload, batch) if len(self.sizes) < 4 else None

    with pytest.raises(BadInputError, match="None for some micro-batches"):
        train(Smooth(Some(3)), 2, tmp_path)


def test_batches_that_cannot_be_divided_by_rows():
    batch = {"inputs": torch.zeros(4, 2), "edges": torch.zeros(9, 2)}
    with pytest.raises(BadInputError, match=r"but got inputs: \(4, 2\), edges: \(9, 2\)\. Define split_batch"):
        BatchParts().split_batch(batch, 2)
    with pytest.raises(BadInputError, match="Define split_batch"):
        BatchParts().split_batch({"inputs": torch.zeros(4, 2), "scale": 1.0}, 2)


@pytest.mark.parametrize(("examples", "parts"), [(7, 3), (6, 3), (2, 4), (0, 2)])
def test_parts_are_as_equal_as_can_be(examples, parts):
    rows = torch.arange(examples)
    batch = {"inputs": {"left": rows, "right": [rows + 1]}, "targets": rows}
    pieces = BatchParts().split_batch(batch, parts)
    assert [len(piece["targets"]) for piece in pieces] == split_sizes(examples, parts)
    assert torch.equal(torch.cat([piece["inputs"]["right"][0] for piece in pieces]), rows + 1)
