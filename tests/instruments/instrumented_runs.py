"""Short runs with instruments, recorded in a folder: what a diagnosis is tested and measured on."""

import dataclasses

import lightning as L

from algoperf_lightning.callbacks import Instruments, TimeBudget, TrialRecorder
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import find_workload
from algoperf_lightning.testing import at_tiny_size

MEASURE = ["light", "noise_scale", "activations", "attention", "outputs"]
"""What the rules read, but for the curvature."""
EVALUATIONS, MEASURED = 3, 12
"""In a run."""


def train(workload, submission, folder, data_dir, *, seed=0, steps=None, batch=None, measure=MEASURE):
    """Train one of the workloads at tiny size, its schedule ending with the run; ``steps`` None is its step hint."""
    cls = get_workload(find_workload(workload).name)
    if batch is not None:
        submission.batch_sizes = {workload: batch}
    instance = cls(submission, data_dir=data_dir, seed=seed, **at_tiny_size(cls))
    steps = steps or instance.spec.step_hint
    instance.spec = dataclasses.replace(instance.spec, step_hint=steps)
    trainer = L.Trainer(
        callbacks=[
            TimeBudget(unit="steps", budget=steps, eval_period=max(1, steps // EVALUATIONS)),
            Instruments(measure, every=max(1, steps // MEASURED), groups=4),
            TrialRecorder(folder, checkpoint=False),
        ],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=-1,
    )
    trainer.fit(instance)
