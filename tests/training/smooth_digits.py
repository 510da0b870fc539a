"""Digits without batch norm, whose batches may be divided; and submissions that make gradients by themselves."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits

BATCH, LR = 12, 0.1
WEIGHTS = torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1])


class Smooth(Digits):
    """No batch norm: batches in parts have the gradient of the whole."""

    def build_model(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


class InParts(PlainSGD):
    batch_sizes: ClassVar = {"digits": BATCH}

    def __init__(self, number=1):
        super().__init__(lr=LR)
        self.micro_batches = number
        self.label_smoothing = 0.1
        self.sizes = []

    def training_step(self, workload, batch):
        self.sizes.append(len(batch["targets"]))
        return super().training_step(workload, batch)


class Chosen(InParts):
    """Trains on the examples of two classes: few, another number on each rank and in each step, or none."""

    def select_batch(self, batches):
        batch = next(batches)
        chosen = batch["targets"] < 2
        return {name: rows[chosen] for name, rows in batch.items()}


class OddWeights(InParts):
    """Examples of odd classes count three times."""

    def select_batch(self, batches):
        batch = next(batches)
        return {**batch, "weights": 1.0 + 2 * (batch["targets"] % 2)}


class OwnPart(InParts):
    """Makes the gradient of a penalty by itself, and returns the loss."""

    def training_step(self, workload, batch):
        penalty = 0.01 * sum(p.square().sum() for p in workload.model.parameters())
        penalty.backward()
        return super().training_step(workload, batch)


class OwnLoss(InParts):
    """Makes the gradient of the loss by itself, and returns the penalty of one layer."""

    def training_step(self, workload, batch):
        super().training_step(workload, batch).backward()
        return 0.01 * workload.model[1].weight.square().sum()


class ByHand(InParts):
    """Sets the gradients of all layers to what autograd computes, and returns the value of the loss."""

    def training_step(self, workload, batch):
        loss = super().training_step(workload, batch)
        parameters = list(workload.model.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        return loss.detach()


class HandAdded(InParts):
    """Sets the gradient of one layer, which another rank's examples decide too, and returns a loss without it."""

    def training_step(self, workload, batch):
        model = workload.model
        model[3].bias.grad = 0.1 * F.one_hot(batch["targets"], 10).float().mean(0)
        model[3].bias.requires_grad_(False)
        loss = super().training_step(workload, batch)
        model[3].bias.requires_grad_(True)
        return loss


class Scaled(InParts):
    """Learns a factor of the loss, a parameter that is not the model's."""

    def configure_optimizers(self, model, workload):
        self.log_factor = nn.Parameter(torch.zeros(()))
        optimizer = super().configure_optimizers(model, workload)
        optimizer.add_param_group({"params": [self.log_factor]})
        return optimizer

    def training_step(self, workload, batch):
        return self.log_factor.exp() * super().training_step(workload, batch)


class LineSearch(InParts):
    """Decides by the value of the loss how often it computes gradients."""

    def configure_optimizers(self, model, workload):
        return torch.optim.LBFGS(model.parameters(), max_iter=4, line_search_fn="strong_wolfe")

    def training_step(self, workload, batch):
        loss = workload.loss(batch)
        mean = workload.mean(loss)
        return mean + (workload.mean_value(loss) - mean.detach())


def plain_loop(steps, *, weights=None, choose=None, penalty=0.0, only_first=False, added=False, scaled=False):
    """The parameters after a plain loop over whole batches, in float64."""
    workload = Smooth(InParts())
    workload.configure_model()
    model = workload.network.double()
    penalised = [model[1].weight] if only_first else list(model.parameters())
    batches = iter(workload.data.training_batches(BATCH, 0, 1, next, None))
    log_factor = nn.Parameter(torch.zeros(()).double(), requires_grad=scaled)
    optimizer = torch.optim.SGD([*model.parameters(), log_factor], lr=LR, momentum=0.9)
    for _ in range(steps):
        batch = next(batches)
        inputs, targets = batch["inputs"].double(), batch["targets"]
        weight = torch.ones(BATCH).double() if weights is None else weights(targets).double()
        if choose is not None:
            weight = weight * choose(targets)
        losses = F.cross_entropy(model(inputs), targets, reduction="none", label_smoothing=0.1)
        loss = (losses * weight).sum() / weight.sum().clamp(min=1) + penalty * sum(p.square().sum() for p in penalised)
        optimizer.zero_grad()
        (log_factor.exp() * loss).backward()
        if added:
            model[3].bias.grad = 0.1 * F.one_hot(targets, 10).double().mean(0)
        optimizer.step()
    return list(model.parameters())


CASES = {
    "plain": (InParts, {}),
    "chosen": (Chosen, {"choose": lambda targets: targets < 2}),
    "weights": (OddWeights, {"weights": lambda targets: 1 + 2 * (targets % 2)}),
    "own part": (OwnPart, {"penalty": 0.01}),
    "own loss": (OwnLoss, {"penalty": 0.01, "only_first": True}),
    "by hand": (ByHand, {}),
    "hand added": (HandAdded, {"added": True}),
    "scaled": (Scaled, {"scaled": True}),
}
"""Submissions, and what a plain loop does to the same end."""


def assert_equal(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other.double(), **{"rtol": 1e-5, "atol": 1e-7, **tolerance})
