"""Digits with a network that has all that an optimizer may trip over; and how the submissions are made small for it."""

import dataclasses

import torch
from torch import nn

from algoperf_lightning import baselines, get_submission
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.workloads import Digits

NAMES = list(plugins(SUBMISSIONS))


def representatives():
    """Names of submissions that differ in more than their optimizer.

    Those in a folder of `baselines/` share all other code; of these it is the first. Optimizers are tested one by one.
    """
    found = {}
    for name, entry in plugins(SUBMISSIONS).items():
        package = entry.module.rpartition(".")[0]
        found.setdefault(package if package.startswith(f"{baselines.__name__}.") else name, name)
    return list(found.values())


STEP_HINT = 12

# So that what happens every hundred steps happens in a few, and nothing diverges.
OFTEN = {
    "amos": {"converge_factor": 100.0},  # the rate for so few steps is too large for a comparison
    "caspr_adaptive": {"precondition_frequency": 2, "preconditioning_start": 3},
    "ema_nesterov": {"look_ahead_start": 2},
    "shampoo": {"precondition_frequency": 3},
    "tail_averaging": {"tail_share": 0.5},
    **{name: {"precondition_frequency": 2} for name in ("soap", "kl_soap", "kl_shampoo")},
}


class OddNet(nn.Module):
    """8 x 8 images to 10 logits; has a 0-dim parameter, tied ones, and one that is never used."""

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6) if batch_norm else nn.Identity()
        self.first = nn.Linear(96, 16)
        self.tied = nn.Linear(16, 16, bias=False)
        self.codes = nn.Embedding(16, 16)
        self.tied.weight = self.codes.weight
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.unused = nn.Parameter(torch.ones(3, 2))
        self.head = nn.Linear(16, 10)

    def forward(self, images):
        features = torch.tanh(self.norm(self.conv(images)))
        features = torch.tanh(self.first(features.flatten(1)))
        codes = self.codes(features.argmax(1))
        return self.head(torch.tanh(self.tied(features) + codes) * self.scale)


class OddDigits(Digits):
    batch_norm = True

    def __init__(self, submission, **options):
        super().__init__(submission, **options)
        self.spec = dataclasses.replace(self.spec, step_hint=STEP_HINT)

    def build_model(self):
        return OddNet(self.batch_norm)


class OddDigitsWithoutNorm(OddDigits):
    """Batch norm's statistics are each rank's own, so that two ranks are not one."""

    batch_norm = False


def make(name, **options):
    return get_submission(name)(**OFTEN.get(name, {}), **options)
