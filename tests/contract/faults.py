"""An optimizer that is right in every way, and some like it with one fault each."""

import torch
import torch.distributed as dist
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from algoperf_lightning import Submission
from algoperf_lightning.contract import MATRICES, Contract


class Plain(Optimizer):
    """Heavy-ball momentum with decoupled decay."""

    def __init__(self, params, lr=0.05, momentum=0.9, weight_decay=0.1, **more):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, **more})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(group, p, p.grad, self.state[p])
        return loss

    def update(self, group, p, gradient, state):
        momentum = state.setdefault("momentum", torch.zeros_like(p))
        momentum.mul_(group["momentum"]).add_(gradient)
        self.move(group, p, self.direction(p, momentum, state))

    def move(self, group, p, direction):
        p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])

    def direction(self, p, momentum, state):
        return momentum


class OnlyMatrices(Plain):
    def update(self, group, p, gradient, state):
        if p.ndim != 2:
            raise ValueError("matrices only")
        super().update(group, p, gradient, state)


class NeverMoves(Plain):
    def move(self, group, p, direction):
        pass


class BecomesNaN(Plain):
    def direction(self, p, momentum, state):
        return momentum * float("nan")


class ForgetsBias(Plain):
    def update(self, group, p, gradient, state):
        if p.shape != (3,):  # the bias of the output layer
            super().update(group, p, gradient, state)


class LastAxes(Plain):
    """Scaled by the root of the last two axes' ratio, which are the sides of a kernel."""

    def direction(self, p, momentum, state):
        return momentum * max(1, p.shape[-2] / p.shape[-1]) ** 0.5 if p.ndim >= 2 else momentum


class SaysItTurns(Plain):
    contract = Contract(symmetries={"rotation": MATRICES})

    def direction(self, p, momentum, state):
        return momentum.sign()


class CountsForItself(Plain):
    """Warms up by a count that is not saved."""

    steps = 0

    def step(self, closure=None):
        self.steps += 1
        return super().step(closure)

    def direction(self, p, momentum, state):
        return momentum * min(1, self.steps / 8)


class CountsForTheClass(Plain):
    steps = 0

    def step(self, closure=None):
        type(self).steps += 1
        return super().step(closure)

    def direction(self, p, momentum, state):
        return momentum * (1 + 1 / self.steps)


class RestartsLate(Plain):
    """Counts to a thousand, and does not save the count."""

    def __init__(self, params, **options):
        super().__init__(params, **options)
        self.steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps % 1000 == 0:
            self.state.clear()
        return super().step(closure)


class KeepsAll(Plain):
    def update(self, group, p, gradient, state):
        state.setdefault("history", []).append(p.clone())
        super().update(group, p, gradient, state)


class KeepsNumbers(Plain):
    def update(self, group, p, gradient, state):
        state.setdefault("norms", []).append(float(gradient.norm()) if not gradient.is_sparse else 0.0)
        super().update(group, p, gradient, state)


class DiffersByRank(Plain):
    def direction(self, p, momentum, state):
        return momentum * (1 + 0.1 * (dist.get_rank() if dist.is_initialized() else 0))


class WaitsForOneRank(Plain):
    def update(self, group, p, gradient, state):
        if dist.is_initialized() and dist.get_rank() == 0:
            dist.all_reduce(gradient)
        super().update(group, p, gradient, state)


class OtherForeach(Plain):
    """The implementation with foreach forgets weight decay."""

    def __init__(self, params, **options):
        super().__init__(params, foreach=None, **options)

    def move(self, group, p, direction):
        if group["foreach"]:
            p.sub_(direction, alpha=group["lr"])
        else:
            super().move(group, p, direction)


class OneNormOfAGroup(Plain):
    """Divides by the norm of all gradients of the group, as if they were one tensor."""

    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            self.norm = sum(p.grad.square().sum() for p in group["params"] if p.grad is not None) ** 0.5
            with torch.no_grad():
                for p in group["params"]:
                    if p.grad is not None:
                        self.update(group, p, p.grad, self.state[p])
        return loss

    def direction(self, p, momentum, state):
        return momentum / self.norm if self.norm else momentum


class ByPlace(Plain):
    """The first parameter of all moves twice as far."""

    def direction(self, p, momentum, state):
        return momentum * (2 if p is self.param_groups[0]["params"][0] else 1)


class Cancels(Plain):
    """Small squares are lost beside 1 in float32."""

    def direction(self, p, momentum, state):
        return momentum / (((1 + momentum.square()) - 1).sqrt() + 1e-3)


class Widens(Plain):
    """Half-precision parameters become float32."""

    def move(self, group, p, direction):
        p.data = p.data.float() if p.element_size() == 2 else p.data
        super().move(group, p, direction.to(p.dtype))


class TinyEps(Plain):
    """The constant against division by zero is 0 in float16."""

    def direction(self, p, momentum, state):
        second = state.setdefault("second", torch.zeros_like(p)).mul_(0.9999)
        second.addcmul_(momentum, momentum, value=1e-4)
        return momentum / (second.sqrt() + 1e-8)


class OtherWhenCompiled(Plain):
    def direction(self, p, momentum, state):
        return momentum * (0.9 if torch.compiler.is_compiling() else 1.0)


class MissingIsZero(Plain):
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure() if closure else None
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    self.update(group, p, torch.zeros_like(p) if p.grad is None else p.grad, self.state[p])
        return loss


class DividesByNorm(Plain):
    def direction(self, p, momentum, state):
        return momentum / momentum.norm()


class DividesByRows(Plain):
    """A row of zeros becomes NaN; a tensor of zeros does not."""

    def direction(self, p, momentum, state):
        if p.ndim < 2 or not momentum.any():
            return momentum
        return (momentum.flatten(1) / momentum.flatten(1).norm(dim=1, keepdim=True)).view_as(p)


class SparseTwice(Plain):
    """Takes sparse gradients, and adds them twice."""

    def update(self, group, p, gradient, state):
        super().update(group, p, 2 * gradient.to_dense() if gradient.is_sparse else gradient, state)


class KeepsGradient(Plain):
    """Compares gradients with those of the step before, which it keeps by reference."""

    def update(self, group, p, gradient, state):
        before = state.get("before", gradient)
        state["before"] = gradient
        super().update(group, p, 1.5 * gradient - 0.5 * before, state)


class DecaysGradient(Plain):
    def update(self, group, p, gradient, state):
        if not gradient.is_sparse:
            gradient.add_(p, alpha=0.1)
        super().update(group, p, gradient, state)


class CallsTwice(Plain):
    def step(self, closure=None):
        if closure is not None:
            closure()
        return super().step(closure)


class NeverCalls(Plain):
    def step(self, closure=None):
        return super().step()


class CallsWithoutGrad(Plain):
    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else closure()
        super().step()
        return loss


class ReturnsNothing(Plain):
    def step(self, closure=None):
        super().step(closure)


class NeverStill(Plain):
    """The learning rate is never below 1e-3."""

    def move(self, group, p, direction):
        p.sub_(direction, alpha=max(group["lr"], 1e-3))


class FirstRate(Plain):
    """Keeps the learning rate of the first step."""

    def update(self, group, p, gradient, state):
        momentum = state.setdefault("momentum", torch.zeros_like(p)).mul_(0.9).add_(gradient)
        p.sub_(momentum, alpha=state.setdefault("lr", group["lr"]))


class DrawsGlobally(Plain):
    def update(self, group, p, gradient, state):
        torch.rand(())
        super().update(group, p, gradient, state)


class SetsPrecision(Plain):
    def __init__(self, params, **options):
        super().__init__(params, **options)
        torch.set_float32_matmul_precision("high")


class Right(Submission):
    """A submission that is right in every way."""

    def configure_optimizers(self, model, workload):
        optimizer = Plain(model.parameters())
        schedule = LambdaLR(optimizer, lambda step: max(0.0, 1 - step / workload.step_hint))
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class FrozenSchedule(Right):
    """Warm-up over no steps: the rate stays where warm-up begins."""

    def configure_optimizers(self, model, workload):
        optimizer = Plain(model.parameters())
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1e-10, 1e-10, total_iters=1)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class Misspelt(Right):
    def __init__(self):
        self.microbatches = 4


class Counts(Right):
    """Counts steps in a closure, which state_dict knows nothing of."""

    def configure_optimizers(self, model, workload):
        optimizer, steps = Plain(model.parameters()), 0

        def after_step(*_):
            nonlocal steps
            steps += 1
            for group in optimizer.param_groups:
                group["lr"] = 0.05 / steps

        optimizer.register_step_post_hook(after_step)
        return optimizer


class DrawsAtStart(Right):
    def configure_optimizers(self, model, workload):
        torch.rand(())
        return super().configure_optimizers(model, workload)
