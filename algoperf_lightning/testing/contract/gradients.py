"""Checks of gradient handling: missing, zero and sparse gradients, kept or modified gradients, and closures."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch

from algoperf_lightning.errors import in_one_line

from .compare import Failed, NotApplicable, differing, named, require_close, require_finite, require_only_decay
from .run import Conduct, Run, trained
from .stage import EMBEDDING, STEP_HINT, Problem, Stage
from .subject import Subject

_SOME = (
    "attention.in_proj_weight",
    "convolution.weight",
    EMBEDDING,
    "head.weight",
    "hidden.weight",
    "norm.weight",
    "scale.factor",
)
"""One parameter of each role."""
_NEVER = ("attention.out_proj.weight", "attention.out_proj.bias")


def missing_gradients(subject: Subject) -> str:
    """A step does not change parameters without a gradient, from the first step on."""
    sometimes = [name for name in _SOME if _takes(subject, name)]
    never = [name for name in _NEVER if _takes(subject, name)]

    def absent(step: int) -> Collection[str]:
        return [*never, *(sometimes if step % 3 == 0 else [])]

    run = Run(subject, Problem(absent=absent))
    if len(run.stage.names) <= len(sometimes) + len(never):
        raise NotApplicable("the optimizer accepts too few kinds of parameters")
    moved, ever = set(), set()
    for step in range(STEP_HINT):
        before, after = run.values(), run.steps(1)
        require_finite(after, "with missing gradients")
        ever |= set(differing(before, after))
        moved |= {name for name in absent(step) if not _stays(before[name], after[name])}
    if moved:
        raise Failed(f"{named(sorted(moved))} change in steps without a gradient")
    if still := [name for name in sometimes if name not in ever]:
        raise Failed(f"{named(still)} have no gradient in the first step, and do not move in later steps")
    return f"{len(sometimes)} parameters without gradient in some steps, {len(never)} in all"


def zero_gradients(subject: Subject) -> str:
    """Gradients of exactly 0 cause no NaN, and no change other than weight decay."""
    some = tuple(name for name in _SOME if _takes(subject, name))
    every = tuple(Stage(Problem(), subject.parameters).names)
    said = ""
    for zero in (some, every):
        run = Run(subject, Problem(zero=zero))
        start = run.values()
        end = run.steps(STEP_HINT)
        where = "with gradients of 0" if zero is some else "with gradients of 0 in all parameters"
        require_finite(end, where)
        said = require_only_decay({name: start[name] for name in zero}, end, where)
        require_finite(trained(subject, Problem(dtype=torch.float32, zero=zero), steps=STEP_HINT), f"{where} (float32)")
    return said


def sparse_gradients(subject: Subject) -> str:
    """Embedding rows without gradient cause no NaN; sparse gradients are rejected, or used like dense gradients."""
    if not _takes(subject, EMBEDDING):
        raise NotApplicable("the optimizer does not accept embeddings")
    problem = Problem(without_rows=(EMBEDDING,))
    run = Run(subject, problem)
    start = run.values()
    dense = run.steps(STEP_HINT)
    require_finite(dense, "with rows without gradient")
    try:
        sparse = trained(subject, Problem(without_rows=(EMBEDDING,), sparse=(EMBEDDING,)), steps=STEP_HINT)
    except Exception as error:
        return f"no NaN in rows without gradient; sparse gradients are rejected ({type(error).__name__})"
    require_finite(sparse, "with sparse gradient tensors")
    return (
        f"sparse and dense gradients: {require_close(sparse, dense, start, 1e-9, 'sparse gradients differ from dense')}"
    )


def gradient_kept(subject: Subject) -> str:
    """Overwriting gradients in place between steps does not change the result."""
    expected = trained(subject, steps=STEP_HINT)
    reused = trained(subject, conduct=Conduct(reuses_gradients=True), steps=STEP_HINT)
    if names := differing(expected, reused):
        raise Failed(f"{named(names)} depend on changes of .grad after the step: the gradient is kept without a copy")
    return "bit-equal if .grad is overwritten between steps"


def gradient_modified(subject: Subject) -> str:
    """A step does not modify gradients."""
    run = Run(subject)
    for _ in range(4):
        run.step()
        found = {name: p.grad for name, p in run.stage.network.named_parameters() if p.grad is not None}
        changed = [name for name, before in run.gradients.items() if not torch.equal(before, found.get(name, before))]
        if changed:
            raise Failed(f"a step modifies the gradient of {named(changed)} in place")
    return "gradients are not modified"


def closure(subject: Subject) -> str:
    """A step calls its closure as often as declared, with gradients enabled, and returns its value."""
    run = Run(subject)
    run.steps(2)
    wanted, counts = subject.contract.closure_calls, []
    for optimizer in run.optimization.optimizers:
        counts += [_called(run, optimizer) for _ in range(3)]
    if wanted is not None and set(counts) != {wanted}:
        raise Failed(f"a step calls its closure {_series(counts)} times, but closure_calls={wanted} is declared")
    said = f"called {_series(counts)} times per step"
    expected = trained(subject, steps=4)
    try:
        separate = trained(subject, conduct=Conduct(separate_gradient=True), steps=4)
    except Exception as error:
        if wanted == 1:
            raise Failed(
                f"a step without a closure, which 16-bit precision needs, fails: {in_one_line(error)}"
            ) from error
        return f"{said}; a step without a closure is not supported"
    if wanted == 1 and (names := differing(expected, separate)):
        raise Failed(f"a step without a closure, after the backward pass, gives a different result: {named(names)}")
    return f"{said}; a step without a closure gives the same result"


def _stays(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Return whether a parameter is unchanged up to the rounding error of moving it back and forth."""
    apart, length = torch.linalg.vector_norm(after - before), torch.linalg.vector_norm(before)
    return bool(apart <= 1e-13 * length)


def _called(run: Run, optimizer: torch.optim.Optimizer) -> int:
    """Return the number of closure calls in one step of an optimizer."""
    losses: list[Any] = []
    enabled: list[bool] = []
    run.step()  # initialises the state as in regular training
    run._batch = run.stage.batch(run.stage.step)

    def counted() -> Any:
        enabled.append(torch.is_grad_enabled())
        losses.append(run.closure())
        return losses[-1]

    step: Callable[..., Any] = optimizer.step
    returned = step(counted)
    if not losses:
        raise Failed("a step does not call its closure, which computes the gradient")
    if not all(enabled):
        raise Failed("the closure is called with gradients disabled; wrap the call in torch.enable_grad()")
    if returned is None or not any(float(returned) == float(loss) for loss in losses):
        raise Failed(f"a step returns {returned!r} instead of the closure's value")
    return len(losses)


def _series(counts: list[int]) -> str:
    return " or ".join(str(count) for count in sorted(set(counts)))


def _takes(subject: Subject, name: str) -> bool:
    return subject.parameters is None or name in subject.parameters
