"""Runs on the device under test."""

import logging
import warnings

import lightning as L
import torch

from algoperf_lightning import get_submission, get_workload
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.testing.runs import at_tiny_size

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def submission_for(name, workload, batch_size=16, **options):
    """A registered submission, with small batches on one workload."""
    submission = get_submission(name)(**options)
    submission.batch_sizes = {workload.spec.of(**at_tiny_size(workload)).full_name: batch_size}
    return submission


class GpuRuns:
    """Fits workloads on a device.

    Args:
        device: ``cpu`` or ``cuda``.
        folder: For runs.
        data: For the tiny data of workloads, which are written once.
    """

    def __init__(self, device, folder, data=None):
        self.device, self.folder, self.data = device, folder, data

    @property
    def options(self):
        """Of a Trainer that says nothing and uses the device."""
        return {
            "accelerator": "gpu" if self.device == "cuda" else "cpu",
            "devices": 1,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": self.folder,
        }

    def tiny(self, name, submission, **options):
        """A workload of a name at tiny size, on its tiny data."""
        workload = get_workload(name)
        folder = self.data / name
        if workload.spec.files and not folder.exists():
            workload.data_class(workload.spec, folder).write_tiny()
        return workload(submission, data_dir=folder, **at_tiny_size(workload), **options)

    def trainer(self, *callbacks, **options):
        """A Trainer on the device."""
        return L.Trainer(**{**self.options, "callbacks": list(callbacks), **options})

    def fit(self, workload, steps, *callbacks, recorder=None, budget=None, **options):
        """Fit under a clock that counts steps, or as ``budget`` says; return the result of the run.

        Args:
            workload: What is trained.
            steps: At most.
            *callbacks: Beside the clock.
            recorder: A ``TrialRecorder``, whose checkpoint is resumed if it has one.
            budget: Arguments of ``TimeBudget``.
            **options: More arguments of the Trainer.
        """
        clock = TimeBudget(**{"unit": "steps", "budget": 10_000, "eval_period": 4, **(budget or {})})
        recorders = [] if recorder is None else [recorder]
        options.setdefault("enable_checkpointing", bool(recorders))
        trainer = self.trainer(clock, *callbacks, *recorders, max_steps=steps, **options)
        checkpoint = None if recorder is None else recorder.checkpoint_path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(workload, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
        return clock.result

    def synchronize(self):
        """Wait for the device."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def assert_same_bits(one, other):
    """Two workloads have the same model, bit for bit."""
    first, second = one.network.state_dict(), other.network.state_dict()
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert not differing


def distance(one, other):
    """The norm of the difference of two models' parameters, as a share of the norm of the second."""
    first, second = (
        torch.cat([p.detach().float().cpu().flatten() for p in w.network.parameters()]) for w in (one, other)
    )
    return float((first - second).norm() / second.norm())
