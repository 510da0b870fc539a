"""Curves of quadratic_deep with the rules of the published runs, for a test and for the page of the docs.

Published is one run each (from the authors' result files), with the Hessian that its process had come to. The spread is
that of 16 orders of the training data here; runs with one seed saw one order, so their distances go together.
"""

import torch
from torch import nn

from algoperf_lightning import get_submission
from algoperf_lightning.data.examples import Permutations, WholeBatches
from algoperf_lightning.workloads import QuadraticDeep

EPOCHS, STEPS, BATCH, KEPT = 100, 7, 128, 896
SHUFFLES = 16
POINTS = (1, 2, 3, EPOCHS)

# Optimizer, schedule, instance of the Hessian; test loss after epochs 1, 2, 3 and 100.
PUBLISHED = [
    ("sgd", "constant", 1, (106.2497, 104.4355, 102.9412, 87.2981)),
    ("momentum", "constant", 2, (131.0954, 232.9773, 210.9955, 84.1959)),
    ("nag", "constant", 12, (110.0511, 100.2234, 98.3210, 95.8855)),
    ("adagrad", "constant", 3, (306.9950, 285.9527, 270.8548, 122.2906)),
    ("adadelta", "constant", 2, (347.3545, 347.3508, 347.3470, 346.8653)),
    ("rmsprop", "constant", 12, (362.4735, 352.1027, 343.0619, 107.3967)),
    ("adam", "constant", 1, (345.1842, 337.0891, 329.1793, 106.6758)),
    ("amsgrad", "constant", 10, (215.2805, 171.5068, 141.9356, 89.7266)),
    ("adabound", "constant", 1, (327.3962, 234.1581, 137.0127, 87.1290)),
    ("amsbound", "constant", 1, (327.4794, 234.4842, 137.3913, 87.0846)),
    ("nadam", "constant", 1, (342.6856, 334.2623, 326.2800, 106.5598)),
    ("radam", "constant", 1, (256.9084, 256.5758, 256.0826, 129.5402)),
    ("adabelief", "constant", 1, (256.8862, 256.3317, 255.3472, 102.2619)),
    ("lookahead_momentum", "constant", 1, (123.95, 122.50, 96.06, 87.26)),
    ("lookahead_radam", "constant", 1, (208.92, 110.44, 110.39, 88.510)),
    ("sgd", "cosine", 1, (106.2466, 104.4401, 102.9488, 88.0128)),
    ("sgd", "cosine-restarts", 1, (106.2466, 104.4758, 103.1085, 87.6367)),
    ("sgd", "trapezoid", 2, (101.5109, 101.1673, 100.6946, 83.6775)),
]


def make(name, schedule, instance, seed, faithful=True):
    variant = "faithful" if instance == 1 else f"faithful_{instance}"
    submission = get_submission(f"valley_{name}")(schedule=schedule, faithful=faithful)
    return QuadraticDeep(submission, variant=variant, seed=seed)


class Epochs:
    """What a schedule reads of a run."""

    steps_per_epoch, unit, budget, step_hint = STEPS, "epochs", EPOCHS, EPOCHS * STEPS


def curves(name, schedule, instance, faithful=True):
    """The test loss after each of ``POINTS`` epochs for each order of the data, shape ``(SHUFFLES, 4)``.

    All orders are trained at once, as rows of one parameter: every rule of the study is elementwise.
    """
    workload = make(name, schedule, instance, seed=0, faithful=faithful)
    curvature = workload.build_model().curvature
    train, test = (workload.data.open(split).columns["inputs"] for split in ("train", "test"))
    orders = [WholeBatches(Permutations(len(train), seed), len(train), BATCH) for seed in range(SHUFFLES)]
    model = nn.Module()
    model.point = nn.Parameter(torch.ones(SHUFFLES, train.shape[1]))
    configured = workload.submission.configure_optimizers(model, Epochs())
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]
    losses = []
    for step in range(EPOCHS * STEPS):
        means = torch.stack([train[order.take(step * BATCH, BATCH)].mean(dim=0) for order in orders])
        model.point.grad = (model.point.detach() - means) @ curvature
        optimizer.step()
        scheduler.step()
        if (step + 1) % STEPS == 0 and (step + 1) // STEPS in POINTS:
            offsets = model.point.detach()[:, None] - test[:KEPT]
            losses.append((0.5 * ((offsets @ curvature) * offsets).sum(dim=-1)).mean(dim=-1))
    return torch.stack(losses, dim=1)
