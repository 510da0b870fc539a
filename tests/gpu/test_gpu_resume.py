"""A run that is stopped and goes on ends as an unbroken one, bit for bit, with its generators on the device."""

import os
import signal

import lightning as L
import pytest
import torch
from gpu_runs import assert_same_bits, submission_for

from algoperf_lightning import get_workload
from algoperf_lightning.callbacks import TrialRecorder
from algoperf_lightning.result import Status, TrialResult

STEPS = 8
DROPOUT = 0.2


class Terminated(L.Callback):
    """The machine is needed for something else, after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def vit(runs, submission="nadamw", **options):
    made = submission_for(submission, get_workload("imagenet_vit"), **options)
    made.dropout = DROPOUT
    return runs.tiny("imagenet_vit", made)


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_stopped_run_goes_on_bit_for_bit(precision, runs, device, deterministic):
    folder = runs.folder / "trial"
    unbroken = vit(runs)
    expected = runs.fit(unbroken, STEPS, precision=precision)
    with pytest.raises(SystemExit):
        runs.fit(vit(runs), STEPS, Terminated(4), recorder=TrialRecorder(folder), precision=precision)
    stopped = TrialResult.read(folder)
    assert stopped.status is Status.PREEMPTED
    assert 4 <= stopped.steps < STEPS
    torch.manual_seed(1234)  # of all devices: another process would begin elsewhere, too
    resumed = vit(runs)
    result = runs.fit(resumed, STEPS, recorder=TrialRecorder(folder), precision=precision)
    assert result.preemptions == 1
    assert result.steps == STEPS
    assert_same_bits(resumed, unbroken)
    assert result.evaluations[-1].metrics == expected.evaluations[-1].metrics
    assert result.evaluations[-1].loss == expected.evaluations[-1].loss
    if device == "cuda":
        checkpoint = torch.load(folder / "last.ckpt", weights_only=True, map_location="cpu")
        assert _has_cuda_state(checkpoint)


def _has_cuda_state(value):
    if isinstance(value, dict):
        return any(key == "cuda" or _has_cuda_state(each) for key, each in value.items())
    return isinstance(value, (list, tuple)) and any(map(_has_cuda_state, value))


def test_dropout_draws_from_the_generator_that_is_restored(runs, deterministic):
    """Otherwise the test above would pass whatever became of generators."""
    ends = []
    for seed in (1, 2):

        class Reseeded(L.Callback):
            def on_train_batch_start(self, trainer, *args, seed=seed):
                if trainer.global_step == 4:
                    torch.manual_seed(seed)

        workload = vit(runs)
        runs.fit(workload, STEPS, Reseeded())
        ends.append(torch.cat([p.detach().flatten() for p in workload.network.parameters()]))
    assert not torch.equal(*ends)
