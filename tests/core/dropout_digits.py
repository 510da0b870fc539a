"""Digits with a model that has dropout of all kinds, and submissions that change its rate."""

import dataclasses

from torch import nn

from algoperf_lightning.dropout import Dropout, Dropout2d, attend
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits


class DropNet(nn.Module):
    """8 x 8 images to 10 logits: channels, values and probabilities of attention are dropped."""

    def __init__(self, rate):
        super().__init__()
        self.conv = nn.Conv2d(1, 12, 3, padding=1)
        self.channels = Dropout2d(rate)
        self.attention = Dropout(rate)
        self.values = Dropout(rate)
        self.head = nn.Linear(4 * 64, 10)

    def forward(self, images):
        features = self.channels(self.conv(images)).flatten(2).transpose(1, 2)
        queries, keys, values = features.unsqueeze(1).chunk(3, -1)
        mixed = attend(queries, keys, values, self.attention)
        return self.head(self.values(mixed.flatten(1)))


class DropDigits(Digits):
    """The rate is 0.1 where the submission names none."""

    def __init__(self, submission, **options):
        super().__init__(submission, **options)
        self.spec = dataclasses.replace(self.spec, dropout=0.1)

    def build_model(self):
        return DropNet(self.dropout)


class Fixed(PlainSGD):
    """Has one rate from beginning to end."""

    def __init__(self, rate=None):
        super().__init__()
        self.dropout = rate


class Asking(PlainSGD):
    """Has a model that is built with 0.6, and asks for another rate in each pass."""

    dropout = 0.6

    def __init__(self, rate=None):
        super().__init__()
        self.rate = rate

    def training_step(self, workload, batch):
        return workload.mean(workload.loss(batch, dropout=self.rate))


class Rising(PlainSGD):
    """Raises its attribute from step to step, and keeps it in its state."""

    def __init__(self):
        super().__init__()
        self.dropout = 0.0

    def training_step(self, workload, batch):
        self.dropout = min(0.9, self.dropout + 0.1)
        return super().training_step(workload, batch)

    def state_dict(self):
        return {"dropout": self.dropout}

    def load_state_dict(self, state):
        self.dropout = state["dropout"]


class ByHand(PlainSGD):
    """Sets the rates of the model's own modules, which is no way that the rules know."""

    def training_step(self, workload, batch):
        for module in workload.model.modules():
            if hasattr(module, "p"):
                module.p = 0.3
        return super().training_step(workload, batch)
