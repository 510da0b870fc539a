"""quadratic_deep against numbers of DeepOBS and of the published runs."""

import itertools

import numpy as np
import pytest
import torch

from algoperf_lightning import get_workload
from algoperf_lightning.data import TrainingStream
from algoperf_lightning.submission import Submission
from algoperf_lightning.workloads.quadratic.data import QuadraticData
from algoperf_lightning.workloads.quadratic.model import NoisyQuadratic, hessian, random_rotation
from algoperf_lightning.workloads.quadratic.spec import PUBLISHED_INSTANCES, QUADRATIC_DEEP


def test_the_hessian_is_that_of_the_reference():
    found = hessian()
    shown = (found[0, 0], found[0, 1], found[99, 99], np.linalg.norm(found), np.trace(found))
    expected = (6.221429443252536, 1.1270198982225974, 6.305663773355068, 139.94660200801584, 477.61227959501394)
    assert shown == pytest.approx(expected, rel=1e-12)
    assert found.sum() == pytest.approx(535.0586, rel=1e-6)
    values = np.linalg.eigvalsh(found)
    assert ((values > 0) & (values < 1)).sum() == 90
    assert ((values > 30) & (values < 60)).sum() == 10
    assert values.sum() == pytest.approx(477.61227959501394, rel=1e-12)


def test_the_rotation_is_that_of_the_reference():
    generator = np.random.RandomState(42)
    eigenvalues = [*generator.uniform(0, 1, 90), *generator.uniform(30, 60, 10)]
    assert eigenvalues[:3] == pytest.approx([0.37454012, 0.95071431, 0.73199394], abs=5e-9)
    rotation = random_rotation(generator)
    assert rotation[0, :2].tolist() == pytest.approx([-0.10934861832285958, -0.0412156529170346], rel=1e-12)
    assert rotation @ rotation.T == pytest.approx(np.eye(100), abs=1e-12)


def quadratic_data(**options):
    return QuadraticData(QUADRATIC_DEEP.of(**options))


def test_samples_are_those_of_the_reference():
    data = quadratic_data()
    first = {split: data.open(split).columns["inputs"][0, :3].tolist() for split in ("train", "validation", "test")}
    assert first["train"] == pytest.approx([0.2980285, -0.08295858, 0.38861313], rel=1e-6)
    assert first["validation"] == pytest.approx([-0.45036882, 0.7898144, 0.747684], rel=1e-6)
    assert first["test"] == pytest.approx([0.15443996, -0.5450889, -0.22710186], rel=1e-6)
    rows = {tuple(row) for row in data.open("train").columns["inputs"].tolist()}
    assert {tuple(row) for row in data.open("eval_train").columns["inputs"].tolist()} == rows


@pytest.mark.parametrize(
    ("point", "losses"),
    [
        pytest.param(torch.ones(100), [358.793719, 339.940175, 296.293055, 390.625604], id="ones"),
        pytest.param(torch.arange(100).sin(), [251.737445, 402.260751, 255.582072, 316.947209], id="sine"),
    ],
)
def test_losses_of_the_quadratic_are_those_of_the_reference(point, losses):
    model = NoisyQuadratic()
    assert [p.numel() for p in model.parameters()] == [100]
    with torch.no_grad():
        model.point.copy_(point)
    assert model(quadratic_data().open("test").columns["inputs"][:4]).tolist() == pytest.approx(losses, rel=1e-6)


def test_the_smallest_test_loss_is_that_of_the_reference():
    test = quadratic_data(variant="faithful").open("test").columns["inputs"]
    model = NoisyQuadratic()
    for point, loss in ((torch.zeros(100), 86.926420), (test.mean(0), 86.873527)):
        with torch.no_grad():
            model.point.copy_(point)
        assert float(model(test).mean()) == pytest.approx(loss, rel=1e-6)


PUBLISHED = {
    1: (353.44677, 353.81275, 477.612280, 87.04601),
    2: (347.35822, 349.22410, 468.692953, 83.37628),
    3: (351.84081, 344.94819, 525.395955, 97.32047),
    10: (274.10125, 273.79128, 485.525972, 88.49710),
    12: (379.29912, 381.09216, 524.231205, 95.19167),
}


def test_every_hessian_of_the_published_runs_is_known():
    assert tuple(PUBLISHED) == PUBLISHED_INSTANCES


@pytest.mark.parametrize("instance", PUBLISHED)
def test_the_faithful_variants_begin_and_end_as_published(instance):
    variant = "faithful" if instance == 1 else f"faithful_{instance}"
    workload = get_workload("quadratic_deep")(Submission(), variant=variant)
    model = workload.build_model()
    splits = {split: workload.data.open(split).columns["inputs"] for split in ("train", "validation", "test")}
    assert {split: len(samples) for split, samples in splits.items()} == {
        "train": 1_000,
        "validation": 896,
        "test": 896,
    }
    test, valid, trace, optimum = PUBLISHED[instance]
    with torch.no_grad():
        assert model(splits["test"]).double().mean().item() == pytest.approx(test, rel=3e-7)
        assert model(splits["validation"]).double().mean().item() == pytest.approx(valid, rel=3e-7)
        model.point.copy_(splits["train"].mean(0))
        assert model(splits["test"]).double().mean().item() == pytest.approx(optimum, rel=3e-7)
    assert model.curvature.trace().item() == pytest.approx(trace, rel=1e-6)


def test_the_gradient_of_the_quadratic_is_that_of_the_reference():
    model = NoisyQuadratic()
    model(quadratic_data().open("train").columns["inputs"]).mean().backward()
    assert model.point.grad[:3].tolist() == pytest.approx([-5.25751308, -7.96798267, -2.47772286], rel=2e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_first_epochs_of_sgd_are_those_of_the_published_run(seed):
    workload = get_workload("quadratic_deep")(Submission(), variant="faithful")
    model = workload.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batches = iter(TrainingStream(workload.data.open("train"), 128, seed, whole_batches=True))
    samples, losses = workload.data.open("test").columns["inputs"], []
    for _ in range(3):
        for batch in itertools.islice(batches, 7):
            optimizer.zero_grad()
            model(batch["inputs"]).mean().backward()
            optimizer.step()
        losses.append(model(samples).mean().item())
    # Orders of the samples spread the first value by 0.09.
    assert losses == pytest.approx([106.2497, 104.4355, 102.9412], abs=0.4)
