"""Numerical checks: precision, implementations, compilation, and parameter order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from algoperf_lightning.errors import in_one_line
from algoperf_lightning.roles import parameter_roles

from .compare import Failed, NotApplicable, differing, moved, named, require_close, require_finite
from .run import Conduct, Run, trained
from .stage import Problem
from .subject import Subject, in_groups, restricted_to

SAME = 1e-9
"""Maximum relative difference between the same float64 computations in a different order."""
_SINGLE = 1e-2
"""Maximum relative difference between float32 and float64 after several steps."""
_COMPILED = 1e-4
"""Tolerance for compiled steps, in which PyTorch computes bias corrections in float32."""
_SWITCH = "foreach"
"""Group option of optimizers with several implementations, as in PyTorch."""
_STEPS = 8


def float32(subject: Subject) -> str:
    """Training in float32 and in float64 agrees within 1 % of the distance moved, for gradients of size 1 and 1e-4."""
    said = []
    rounding = _STEPS * torch.finfo(torch.float32).eps  # relative to the parameters
    for size in (1.0, 1e-4):
        start = Run(subject).values()
        double, single = (
            trained(subject, Problem(dtype=dtype, gradient_size=size), steps=_STEPS)
            for dtype in (torch.float64, torch.float32)
        )
        message = f"float32 and float64 differ with gradients of size {size:g}"
        said.append(
            f"{require_close(single, double, start, _SINGLE, message, rounding)} with gradients of size {size:g}"
        )
    return "; ".join(said)


def bfloat16(subject: Subject) -> str:
    """Parameters in bfloat16 are trained, stay finite and keep their dtype."""
    return _in_half_precision(subject, torch.bfloat16)


def float16(subject: Subject) -> str:
    """Parameters in float16 are trained, stay finite and keep their dtype."""
    return _in_half_precision(subject, torch.float16)


def _in_half_precision(subject: Subject, dtype: torch.dtype) -> str:
    run = Run(subject, Problem(dtype=dtype))
    start = run.values()
    for _ in range(_STEPS):
        end = run.steps(1)
        if other := [key for key, value in end.items() if value.dtype is not dtype]:
            raise Failed(f"parameters become {end[other[0]].dtype}: {named(other)}")
    require_finite(end, "after a few steps")
    if not any(moved(end, start).values()):
        raise Failed("no parameter moves")
    return f"finite after {_STEPS} steps"


def foreach(subject: Subject) -> str:
    """All implementations (foreach, fused), and separate groups of parameters, give the same result."""
    start = Run(subject).values()
    groups = Run(subject).optimizer.param_groups
    expected, said = trained(subject, steps=_STEPS), []
    for name in ("foreach", "fused"):
        if not any(_SWITCH in group and name in group for group in groups):
            continue
        try:
            one, other = (
                trained(subject, conduct=Conduct(switch=(name, value)), steps=_STEPS) for value in (True, False)
            )
        except RuntimeError as error:
            said.append(f"{name}: not supported ({in_one_line(error)[:60]})")
            continue
        said.append(f"{name}: {require_close(one, other, start, SAME, f'{name}=True and False differ')}")
    if subject.factory is not None:
        apart = trained(in_groups(subject), steps=_STEPS)
        message = "separate groups and one group give different results"
        said.append(f"separate groups: {require_close(apart, expected, start, SAME, message)}")
    if not said:
        raise NotApplicable("its optimizers have no option foreach or fused")
    return "; ".join(said)


def order(subject: Subject) -> str:
    """The order of parameters and groups does not affect the result."""
    start = Run(subject).values()
    expected = trained(subject, steps=_STEPS)
    found = trained(subject, Problem(reverse=True), steps=_STEPS)
    said = require_close(found, expected, start, SAME, "the opposite order of parameters gives a different result")
    if subject.factory is not None:
        ones, others = (
            trained(in_groups(subject), Problem(reverse=reverse), steps=_STEPS) for reverse in (True, False)
        )
        require_close(ones, others, start, SAME, "the opposite order of groups gives a different result")
    return said


def compiled(subject: Subject) -> str:
    """A step compiled with torch.compile gives the same result."""
    if subject.contract.closure_calls != 1:
        raise NotApplicable("a step computes further gradients (closure_calls)")
    subject, problem = _with_few_parameters(subject)
    steps = 4
    start = Run(subject, problem).values()
    expected = trained(subject, problem, Conduct(separate_gradient=True), steps=steps)
    torch._dynamo.reset()

    def compile_step(step: Callable[[], Any]) -> Callable[[], Any]:
        def update() -> None:
            step()

        compiled_step: Callable[[], Any] = torch.compile(update, backend="eager")
        return compiled_step

    try:
        found = trained(subject, problem, Conduct(separate_gradient=True, step=compile_step), steps=steps)
    finally:
        torch._dynamo.reset()
    if not differing(found, expected):
        return "bit-equal"
    return require_close(found, expected, start, _COMPILED, "the compiled step gives a different result")


def _with_few_parameters(subject: Subject) -> tuple[Subject, Problem]:
    """Return a subject and a problem with one parameter per role and number of axes, to reduce the tracing time.

    A submission trains the whole model. The other parameters get no gradients, unless the submission is exempt from
    that check.
    """
    run = Run(subject)
    roles = parameter_roles(run.stage.network, run.view.output_parameters)
    shapes = {name: p.ndim for name, p in run.stage.network.named_parameters()}
    chosen = {(roles[name].role, shapes[name]): name for name in reversed(run.stage.names)}.values()
    if subject.factory is not None:
        return restricted_to(subject, list(chosen)), Problem()
    if "missing_gradients" in subject.contract.exempt:
        return subject, Problem()
    others = set(run.stage.names) - set(chosen)
    return subject, Problem(absent=lambda step: others)
