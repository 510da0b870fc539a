"""The model with which a trial starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from algoperf_lightning.multiplied import multiply_parameters
from algoperf_lightning.rng import derive_seed, forked_rng

if TYPE_CHECKING:
    from algoperf_lightning.workload import Workload


def initial_model(workload: Workload) -> nn.Module:
    """Return a new model as at the start of the trial, initialised from its seed."""
    with forked_rng(derive_seed(workload.seed, "model")):
        model = workload.build_model()
    if workload.spec.parameter_multiplier != 1.0:
        multiply_parameters(model, workload.spec.parameter_multiplier)
    return model
