"""What torch's hooks see of the gradient: the table in ``docs/write_a_submission.md``, section 8."""

import pytest
import torch
import two_optimizers
from lightning.pytorch.plugins import MixedPrecision
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from two_optimizers import Recording

from algoperf_lightning import Submission
from algoperf_lightning.testing import train
from algoperf_lightning.workloads import Digits

CLIP, SCALE, STEPS = 0.01, 2.0**8, 4


class Watching(Optimizer):
    """SGD that notes the norm of the gradient once its closure has returned.

    It calls no ``super().step()``: where that is an optimizer's own, torch may call all hooks again.
    """

    def __init__(self, parameters, lr, note):
        super().__init__(parameters, {"lr": lr})
        self.note = note

    def step(self, closure=None):
        loss = None if closure is None else closure()
        if closure is not None:
            self.note("closure")
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.add_(parameter.grad, alpha=-group["lr"])
        return loss


class Watched(Submission):
    """Notes what each hook sees, by step; the loss is scaled so that no two steps have the same gradient."""

    gradient_clip = CLIP

    def __init__(self, first_overflows: bool = False):
        self.first_overflows = first_overflows
        self.seen, self.steps = [], 0

    def norm(self):
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        return float(torch.stack([g.norm() for g in gradients]).norm()) if gradients else None

    def note(self, where):
        self.seen.append((self.steps, where, self.norm()))

    def configure_optimizers(self, model, workload):
        self.parameters = list(model.parameters())
        optimizer = Watching(self.parameters, lr=1e-3, note=self.note)
        optimizer.register_step_pre_hook(lambda *_: self.note("pre-hook"))
        optimizer.register_step_post_hook(lambda *_: self.note("post-hook"))
        # The parameter whose gradient comes last.
        self.parameters[0].register_post_accumulate_grad_hook(lambda _: self.note("parameter's hook"))
        self.schedule = LambdaLR(optimizer, lambda step: 1.0)
        return {"optimizer": optimizer, "lr_scheduler": self.schedule}

    def training_step(self, workload, batch):
        self.steps += 1
        self.note("training_step")
        overflow = 1e30 if self.first_overflows and self.steps == 1 else 1.0
        return overflow * super().training_step(workload, batch)


def fit(folder, precision, first_overflows=False, **more):
    submission = Watched(first_overflows)
    if precision == "16-mixed":
        scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
        trainer = {"plugins": [MixedPrecision("16-mixed", "cpu", scaler=scaler)]}
    else:
        trainer = {"precision": precision}
    train(Digits(submission), STEPS, folder, **trainer, **more)
    return submission


def seen(submission, where):
    return [norm for step, place, norm in submission.seen if place == where]


clipped = pytest.approx(CLIP, rel=1e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_with_a_closure(precision, tmp_path):
    submission = fit(tmp_path, precision)
    order = [place for step, place, _ in submission.seen if step == 2 and place != "pre-hook"]
    assert order == ["training_step", "parameter's hook", "closure", "post-hook"]
    assert submission.seen[0] == (0, "pre-hook", None)  # before the first loss is computed
    assert seen(submission, "pre-hook") == [None, *[clipped] * (STEPS - 1)]  # those of the step before
    assert seen(submission, "training_step") == [None] * STEPS  # they have been cleared
    assert all(norm > 5 * CLIP for norm in seen(submission, "parameter's hook"))
    assert seen(submission, "closure") == [clipped] * STEPS
    assert seen(submission, "post-hook") == [clipped] * STEPS


def test_an_evaluation_clears_gradients(tmp_path):
    submission = fit(tmp_path, "32-true", val_check_interval=2, check_val_every_n_epoch=None)
    assert seen(submission, "pre-hook") == [None, clipped, None, clipped]


def test_with_a_scaler(tmp_path):
    submission = fit(tmp_path, "16-mixed")
    order = [place for step, place, _ in submission.seen if step == 2]
    assert order == ["training_step", "parameter's hook", "pre-hook", "post-hook"]
    assert seen(submission, "closure") == []
    assert seen(submission, "pre-hook") == [clipped] * STEPS
    assert seen(submission, "post-hook") == [clipped] * STEPS
    scaled, plain = (seen(fit(tmp_path, each), "parameter's hook")[0] for each in ("16-mixed", "32-true"))
    assert scaled == pytest.approx(SCALE * plain, rel=0.02)


def test_a_step_that_is_skipped_calls_no_hook_but_steps_the_schedule(tmp_path):
    submission = fit(tmp_path, "16-mixed", first_overflows=True)
    assert submission.steps == STEPS
    for where in ("pre-hook", "post-hook"):
        assert len(seen(submission, where)) == STEPS - 1
    assert submission.schedule.last_epoch == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("factors", [(), (1.0, 1e30)], ids=["finite", "overflow"])
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_gradients_of_a_fused_optimizer_are_clipped_as_those_of_others_are(precision, factors, tmp_path):
    class OfOne(Recording):
        gradient_clip = CLIP
        fused = False

        def configure_optimizers(self, model, workload):
            return SGD(model.parameters(), lr=1.0, momentum=0.9, fused=self.fused)

    class Fused(OfOne):
        fused = True

    if precision == "bf16-mixed":
        factors = ()
    one, other = (two_optimizers.fit(make(factors), tmp_path, precision).network for make in (OfOne, Fused))
    two_optimizers.assert_same(one, other)


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_clip_that_is_set_later_is_checked_where_it_is_used(value, tmp_path):
    class Later(Watched):
        def training_step(self, workload, batch):
            self.gradient_clip = value
            return super().training_step(workload, batch)

    with pytest.raises(ValueError, match=r"Later: gradient_clip must be a number in .* or None, but got"):
        train(Digits(Later()), 2, tmp_path)
