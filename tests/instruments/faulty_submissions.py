"""Submissions with exactly one fault each, and the rule that names it."""

from dataclasses import dataclass, field

import torch
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning import Submission
from algoperf_lightning.baselines import AdamW
from algoperf_lightning.testing.runs import PlainSGD


class WithoutAHiddenLayer(PlainSGD):
    """Does not pass a layer to the optimizer."""

    def configure_optimizers(self, model, workload):
        trained = [p for name, p in model.named_parameters() if "hidden" not in name]
        return torch.optim.SGD(trained, lr=self.lr, momentum=0.9)


class WithDeadUnits(PlainSGD):
    """Begins with biases at which no unit of a layer is ever active."""

    def configure_optimizers(self, model, workload):
        with torch.no_grad():
            model.hidden.bias.sub_(100.0)
        return super().configure_optimizers(model, workload)


class Scheduled(PlainSGD):
    """SGD with a factor on the learning rate by step."""

    factor = staticmethod(lambda step: 1.0)

    def configure_optimizers(self, model, workload):
        optimizer = super().configure_optimizers(model, workload)
        return {"optimizer": optimizer, "lr_scheduler": LambdaLR(optimizer, self.factor)}


class EndedEarly(Scheduled):
    """A schedule that is 0 after 5 steps."""

    factor = staticmethod(lambda step: float(step < 5))


class NeverStepped(Scheduled):
    """A warm-up that is made, but not returned, so that nobody steps it."""

    factor = staticmethod(lambda step: min(1.0, (step + 1) / 500))

    def configure_optimizers(self, model, workload):
        return super().configure_optimizers(model, workload)["optimizer"]


class WarmedUpTooFar(Scheduled):
    """A warm-up to a learning rate that the run does not survive."""

    factor = staticmethod(lambda step: min(1.0, (step + 1) / 200))


class OneLongStep(Scheduled):
    """A single step that is far too long."""

    factor = staticmethod(lambda step: 60.0 if step == 250 else 1.0)


class Ascending(PlainSGD):
    """Steps in the direction of the gradient."""

    def configure_optimizers(self, model, workload):
        return torch.optim.SGD(model.parameters(), lr=self.lr, maximize=True)


class Decayed(PlainSGD):
    """A weight decay that leaves nothing of the weights."""

    def configure_optimizers(self, model, workload):
        return torch.optim.AdamW(model.parameters(), lr=self.lr, weight_decay=100.0)


class Clipped(PlainSGD):
    gradient_clip = 1e-3


class Smoothed(PlainSGD):
    label_smoothing = 0.3


class WithGrowingQueries(Submission):
    """Weight decay of the wrong sign on the matrices that make queries and keys."""

    def configure_optimizers(self, model, workload):
        pairs = list(model.named_parameters())
        grown = [p for name, p in pairs if "query" in name or "key" in name]
        others = [p for name, p in pairs if not ("query" in name or "key" in name)]
        groups = [{"params": others}, {"params": grown, "weight_decay": -20.0}]
        return torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.0)


@dataclass(frozen=True)
class Fault:
    """A run that has a fault."""

    submission: Submission
    rule: str
    workload: str = "digits"
    steps: int | None = 400
    """None for the workload's step hint."""
    batch: int | None = None
    also: frozenset[str] = field(default_factory=frozenset)
    """Rules that may speak, too, because the fault has these consequences."""


FAULTS = {
    "frozen layer": Fault(WithoutAHiddenLayer(lr=0.03), "frozen_layers"),
    "dead layer": Fault(WithDeadUnits(lr=0.03), "dead_units"),
    "schedule that ended early": Fault(EndedEarly(lr=0.03), "stuck"),
    "warm-up that is never stepped": Fault(NeverStepped(lr=0.03), "stuck"),
    "batch of one": Fault(PlainSGD(lr=0.003), "noise", batch=1),
    "uphill": Fault(Ascending(lr=0.01), "uphill"),
    "decayed": Fault(Decayed(lr=1e-3), "decayed_weights"),
    "strong decay": Fault(AdamW(weight_decay=10.0), "decayed_weights", steps=300),
    "clipped": Fault(Clipped(lr=0.03), "always_clipped"),
    "label smoothing": Fault(Smoothed(lr=0.05), "label_smoothing", steps=800),
    "diverged": Fault(PlainSGD(lr=1e10), "diverged"),
    "warm-up too far": Fault(WarmedUpTooFar(lr=1.0), "warmup_divergence"),
    "spike": Fault(OneLongStep(lr=0.03), "spikes"),
    "growing queries": Fault(WithGrowingQueries(), "attention_logits", "imagenet_vit_tiny", steps=100),
}
