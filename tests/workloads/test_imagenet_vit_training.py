"""What the training data of imagenet_vit go through: RandAugment, mixup; and the workload as a whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest

from algoperf_lightning import cli
from algoperf_lightning.data.streams import EvaluationBatches, TrainingStream
from algoperf_lightning.result import TrialResult
from algoperf_lightning.testing import PlainSGD, train
from algoperf_lightning.workloads.imagenet import rand_augment as rand_augment_module
from algoperf_lightning.workloads.imagenet.mixup import draw_weight, mixup
from algoperf_lightning.workloads.imagenet.normalise import normalise
from algoperf_lightning.workloads.imagenet.spec import IMAGENET_VIT
from algoperf_lightning.workloads.imagenet.vit_workload import ImageNetViT


def workload_on(folder, submission=None):
    return ImageNetViT(submission or PlainSGD(), tiny=True, data_dir=folder)


# Mixup


def test_mixup_blends_each_example_with_the_one_before():
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    targets = torch.tensor([3, 1, 4, 1, 6])
    mixed = mixup({"inputs": images, "targets": targets, "other": "kept"}, 0.3, 10)
    for n in range(5):
        expected = 0.3 * images[n].double() + 0.7 * images[n - 1].double()
        assert torch.allclose(mixed["inputs"][n].double(), expected, atol=1e-4)
        probabilities = torch.zeros(10)
        probabilities[targets[n]] += 0.3
        probabilities[targets[n - 1]] += 0.7
        assert torch.allclose(mixed["targets"][n], probabilities)
    assert mixed["inputs"].dtype == mixed["targets"].dtype == torch.float32
    assert mixed["other"] == "kept"
    assert images.dtype == torch.uint8  # untouched


def test_mixup_of_pixels_is_mixup_of_normalised_images():
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    targets = torch.zeros(4, dtype=torch.int64)
    early = normalise(mixup({"inputs": images, "targets": targets}, 0.3, 10)["inputs"])
    late = mixup({"inputs": normalise(images), "targets": targets}, 0.3, 10)["inputs"]
    torch.testing.assert_close(early, late, rtol=1e-5, atol=1e-5)


def test_mixup_never_waits_for_the_device():
    # A meta tensor has no values: whoever reads one to go on, as a wait for a GPU would, fails.
    batch = {
        "inputs": torch.empty(4, 3, 8, 8, dtype=torch.uint8, device="meta"),
        "targets": torch.empty(4, dtype=torch.int64, device="meta"),
    }
    assert mixup(batch, 0.3, 10)["targets"].shape == (4, 10)


def test_weights_are_of_the_beta_distribution():
    torch.manual_seed(0)
    weights = [draw_weight() for _ in range(4_000)]
    assert kstest(weights, beta(0.2, 0.2).cdf).pvalue > 0.01
    assert all(isinstance(weight, float) for weight in weights)


# The pipeline


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("imagenet")
    workload_on(folder).data.write_tiny()
    return folder


class Watching(PlainSGD):
    """Goes over each batch twice, and writes down what it got."""

    def __init__(self):
        super().__init__()
        self.batches, self.losses = [], []

    def training_step(self, workload, batch):
        first, second = (workload.mean(workload.loss(batch)) for _ in range(2))
        self.batches.append(batch)
        self.losses.append((first.item(), second.item()))
        return first


def test_a_submission_gets_mixed_batches_that_stay_what_they_are(tiny, tmp_path):
    submission = Watching()
    workload = workload_on(tiny, submission)
    train(workload, 4, tmp_path)
    raw = iter(TrainingStream(workload.data.open("train"), workload.batch_size, workload.data.seed))
    weights = set()
    for batch, (first, second) in zip(submission.batches, submission.losses, strict=True):
        assert first == second
        unmixed = next(raw)
        assert unmixed["inputs"].dtype == torch.uint8
        one_hot = torch.nn.functional.one_hot(unmixed["targets"], 10).float()
        rows = one_hot.argmax(1) != one_hot.roll(1, 0).argmax(1)
        weight = batch["targets"][rows][one_hot[rows] > 0]
        assert weight.std() < 1e-6  # one for the batch
        mixed = weight[0] * unmixed["inputs"] + (1 - weight[0]) * unmixed["inputs"].roll(1, 0)
        torch.testing.assert_close(batch["inputs"], mixed, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(batch["targets"], weight[0] * one_hot + (1 - weight[0]) * one_hot.roll(1, 0))
        weights.add(round(weight[0].item(), 6))
    assert len(weights) == 4


def test_only_training_images_go_through_rand_augment(tiny, monkeypatch):
    seen = []

    def spy(image, numbers):
        seen.append(numbers)
        assert image.shape == (64, 64, 3)
        return np.full_like(image, 77)

    monkeypatch.setattr(rand_augment_module, "rand_augment", spy)
    data = workload_on(tiny).data
    assert (next(iter(TrainingStream(data.open("train"), 8, seed=1)))["inputs"] == 77).all()
    assert np.shape(seen) == (8, rand_augment_module.NUMBERS)
    assert len(np.unique(seen)) == np.size(seen)
    for split in ("eval_train", "validation", "test"):
        batch = next(iter(EvaluationBatches(data.open(split), 8)))
        assert not (batch["inputs"] == 77).all()
        assert batch["targets"].dtype == torch.int64
    assert len(seen) == 8


def test_the_numbers_of_each_benchmark_version():
    rows = {version: IMAGENET_VIT.of(version=version) for version in ("0.5", "0.6", "1.0")}
    assert [(row.budget, row.eval_period, row.step_hint) for row in rows.values()] == [
        (77_520, 420, 186_666),
        (69_768, 420, 167_999),
        (64_292, 2_571, 167_999),
    ]
    assert IMAGENET_VIT.validation_target == pytest.approx(0.77309)
    assert IMAGENET_VIT.test_target == pytest.approx(0.6519)
    assert IMAGENET_VIT.splits["eval_train"] % IMAGENET_VIT.eval_batch_size == 0


@pytest.mark.slow
def test_two_ranks_mix_on_their_own_and_evaluate_as_one(tmp_path):
    workload = workload_on(tmp_path)
    workload.data.write_tiny()
    script = Path(__file__).with_name("ranks_imagenet_vit.py")
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in range(2))
    for one, other in zip(first["shares"], second["shares"], strict=True):
        assert len(one) == len(other) == workload.batch_size // 2
        assert min(one) != pytest.approx(min(other), abs=1e-4)
    models = [torch.load(tmp_path / f"rank_{rank}.pt") for rank in range(2)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert first["evaluation"] == second["evaluation"]
    workload.configure_model()
    workload.network.load_state_dict(models[0])
    workload.eval()
    for prefix, split in (("train", "eval_train"), ("validation", "validation"), ("test", "test")):
        metrics = workload.build_metrics()
        for batch in EvaluationBatches(workload.data.open(split), 7):
            with torch.no_grad():
                workload.evaluate(batch, metrics)
        for name, metric in metrics.items():
            assert float(metric.compute()) == pytest.approx(first["evaluation"][f"{prefix}/{name}"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [None, *IMAGENET_VIT.variants])
def test_every_variant_learns_with_the_tiny_config(variant, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--workload.variant", variant] if variant else []
    options += ["--time_budget.unit", "steps"]
    cli.main(["fit", "--config", "tiny/imagenet_vit", "--workload.data_dir", str(tiny), *options])
    (folder,) = (path.parent for path in tmp_path.rglob("trial.json"))
    result = TrialResult.read(folder)
    accuracies = [evaluation.metrics["validation/accuracy"] for evaluation in result.evaluations]
    assert accuracies[0] < 0.25
    assert max(accuracies) >= 0.8
