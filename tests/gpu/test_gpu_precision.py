"""Mixed precision with every fused optimizer and a matrix method: gradients are unscaled, then clipped, then used."""

import pytest
import torch
from gpu_runs import submission_for

from algoperf_lightning import get_submission, testing
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.workloads import Digits

STEPS = 8
CLIP = 0.01


def is_fused(name):
    """Whether the optimizer of a submission says that its steps are fused."""
    workload = Digits(get_submission(name)())
    workload.configure_model()
    configured = workload.submission.configure_optimizers(workload.network, workload.view)
    optimizers = configured["optimizer"] if isinstance(configured, dict) else configured
    optimizers = optimizers if isinstance(optimizers, (list, tuple)) else [optimizers]
    return any(group.get("fused") for optimizer in optimizers for group in optimizer.param_groups)


NAMES = sorted({*filter(is_fused, plugins(SUBMISSIONS)), "shampoo"})
TWO_PASSES = ("sam",)
"""They compute a second gradient in their steps, which a scaler does not let them."""
SMALL = ("adamw", "sam")


class Watched(Digits):
    """Keeps the norm of each clipped gradient, and the first of them."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.norms, self.first = [], None

    def configure_gradient_clipping(self, optimizer, *args, **kwargs):
        super().configure_gradient_clipping(optimizer, *args, **kwargs)
        gradient = torch.cat([p.grad.flatten() for p in self.network.parameters()])
        self.norms.append(float(gradient.norm()))
        if self.first is None and gradient.isfinite().all():
            self.first = gradient.cpu()


def train(name, precision, runs):
    submission = submission_for(name, Digits, 64)
    submission.gradient_clip = CLIP
    workload = Watched(submission)
    testing.train(workload, STEPS, runs.folder, accelerator=runs.options["accelerator"], precision=precision)
    return workload


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_clipped_after_they_are_unscaled(name, precision, runs, small):
    if small and name not in SMALL:
        pytest.skip("two of them show that this runs")
    if name in TWO_PASSES and precision == "16-mixed" and runs.device == "cuda":  # the CPU takes bf16-mixed instead
        with pytest.raises(RuntimeError, match=r"not with precision='16-mixed'"):
            train(name, precision, runs)
        return
    exact, workload = train(name, "32-true", runs), train(name, precision, runs)
    assert workload.norms[0] == pytest.approx(CLIP, rel=1e-2), "of the first step"
    finite = [norm for norm in workload.norms if norm == norm]
    assert len(finite) >= STEPS - 2, f"{workload.norms}: a scaler skips steps only until it has found its scale"
    assert max(finite) <= CLIP * 1.01
    cosine = torch.nn.functional.cosine_similarity(workload.first, exact.first, dim=0)
    assert cosine > 0.99
    for parameter in workload.network.parameters():
        assert parameter.dtype is torch.float32
        assert parameter.isfinite().all()
