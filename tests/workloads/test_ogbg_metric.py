from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from algoperf_lightning.submission import Submission
from algoperf_lightning.workloads import OGBG
from algoperf_lightning.workloads.ogbg.metric import MeanAveragePrecision, average_precision

ENTRIES = torch.arange(12 * 128).view(12, 128)
LOGITS = torch.sin(0.7 * ENTRIES.double()).float()
LABELLED = (31 * ENTRIES % 7 != 0).float()
LABELS = (7919 * ENTRIES % 5 == 0).float() * LABELLED


class Scripted(torch.nn.Module):
    """A network that gives the logits it was told, and those of the padding graph."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.cat([logits, torch.full((1, logits.shape[1]), 7.0)])

    def forward(self, *graphs):
        return self.logits[-graphs[-1] :]


def evaluated(*batches):
    workload = OGBG(Submission())
    metrics = workload.build_metrics()
    for logits, targets, weights in batches:
        workload.model = Scripted(logits)
        nothing = dict.fromkeys(("nodes", "edges", "senders", "receivers", "node_graphs"))
        workload.evaluate({**nothing, "targets": targets, "weights": weights}, metrics)
    return {name: metric.compute().item() for name, metric in metrics.items()}


@pytest.mark.parametrize("times", [1, 2])
def test_metrics_are_those_of_the_reference(times):
    assert LABELLED.sum() == 1316
    values = evaluated(*[(LOGITS, LABELS, LABELLED)] * times)
    assert values["loss"] == pytest.approx(0.752043, rel=2e-6)
    assert values["accuracy"] == pytest.approx(0.499240, rel=2e-6)
    assert values["mean_average_precision"] == pytest.approx(0.360334, rel=2e-6)


def test_padding_and_the_split_into_batches_change_nothing():
    pad = torch.full((3, 128), 5.0)
    ones, zeros = torch.ones(3, 128), torch.zeros(3, 128)
    parts = (
        (LOGITS[:5], LABELS[:5], LABELLED[:5]),
        (torch.cat([LOGITS[5:], pad]), torch.cat([LABELS[5:], ones]), torch.cat([LABELLED[5:], zeros])),
    )
    assert evaluated(*parts) == pytest.approx(evaluated((LOGITS, LABELS, LABELLED)), rel=1e-12)


def by_scikit_learn(scores, positive, valid):
    """Average precision of each task; the benchmark leaves out those without a positive."""
    values = []
    for task in range(scores.shape[1]):
        rows = valid[:, task]
        labels = positive[rows, task]
        values.append(average_precision_score(labels, scores[rows, task]) if labels.any() else math.nan)
    return np.array(values)


def case(seed, rows, tasks, levels, rate, labelled):
    """Scores, where ``levels`` makes ties; labels, where the first tasks have no positives, or nothing else."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(rows, tasks, generator=generator)
    scores = scores if levels is None else (scores * levels).floor() / levels
    positive = torch.rand(rows, tasks, generator=generator) < rate
    valid = torch.rand(rows, tasks, generator=generator) < labelled
    positive[:, 0] = False
    positive[:, 1] = True
    valid[:, 2] = False
    return scores, positive, valid


@pytest.mark.parametrize(
    ("rows", "levels", "rate", "labelled"),
    [
        pytest.param(1000, None, 0.02, 0.6, id="like-the-real-ones"),
        pytest.param(300, 5, 0.3, 0.7, id="many-ties"),
        pytest.param(300, 1, 0.3, 0.7, id="all-tied"),
        pytest.param(40, 20, 0.05, 1.0, id="few-positives"),
        pytest.param(1, None, 0.9, 1.0, id="one-row"),
    ],
)
def test_average_precision_is_scikit_learns(rows, levels, rate, labelled):
    scores, positive, valid = case(rows, rows, 24, levels, rate, labelled)
    ours = average_precision(scores, positive, valid).numpy()
    theirs = by_scikit_learn(scores.numpy(), positive.numpy(), valid.numpy())
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert math.isnan(ours[0])
    assert math.isnan(ours[2])
    assert rows == 1 or ours[1] == 1


def test_average_precision_by_hand():
    # In order of scores: hit, then a tie of two with one hit, a missing label, a miss, a hit.
    scores = torch.tensor([[0.9], [0.5], [0.5], [0.4], [0.3], [0.1]])
    positive = torch.tensor([[True], [True], [False], [True], [False], [True]])
    valid = torch.tensor([[True], [True], [True], [False], [True], [True]])
    expected = (1 / 1 + 2 / 3 + 3 / 5) / 3
    assert average_precision(scores, positive, valid).item() == pytest.approx(expected, rel=1e-12)


def test_scores_that_are_infinite_count_like_others():
    scores = torch.tensor([[-torch.inf], [1.0], [-torch.inf], [torch.inf], [0.0]])
    positive = torch.tensor([[True], [False], [False], [True], [True]])
    valid = torch.tensor([[True], [True], [True], [True], [False]])
    assert average_precision(scores, positive, valid).item() == pytest.approx((1 + 2 / 4) / 2, rel=1e-12)


def test_the_mean_is_over_tasks_that_have_a_positive():
    scores, positive, valid = case(0, 200, 16, 50, 0.1, 0.5)
    metric = MeanAveragePrecision()
    metric.update(scores.logit(eps=1e-6), positive.float(), valid.float())
    expected = average_precision(scores, positive, valid)
    assert expected.isnan().sum() == 2
    assert metric.compute().item() == pytest.approx(expected.nanmean().item(), rel=1e-12)


def test_scores_that_saturate_in_float32_are_tied():
    logits = torch.tensor([[40.0], [30.0], [20.0], [-3.0]])
    targets = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    metric = MeanAveragePrecision()
    metric.update(logits, targets, torch.ones(4, 1))
    assert metric.compute().item() == pytest.approx(1 / 3)
    assert average_precision(logits, targets == 1, targets >= 0).item() == 1


def test_a_diverged_model_has_no_precision():
    logits = LOGITS.clone()
    logits[3, 1] = math.nan
    for weight, is_nan in ((0.0, False), (1.0, True)):
        weights = LABELLED.clone()
        weights[3, 1] = weight
        metric = MeanAveragePrecision()
        metric.update(logits, LABELS, weights)
        assert math.isnan(metric.compute().item()) is is_nan


def test_nothing_labelled_is_nan_without_a_warning():
    metric = MeanAveragePrecision()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(LOGITS, LABELS, torch.zeros_like(LABELLED))
        assert math.isnan(metric.compute().item())
