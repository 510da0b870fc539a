"""Checks of shapes and symmetries: parameter roles, convolutions, rotated and scaled problems."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from algoperf_lightning.contract import EVERY_ROLE, SYMMETRIES
from algoperf_lightning.roles import Role, parameter_roles

from .compare import Failed, NotApplicable, difference, differing, named, require_close, require_finite
from .run import Run, trained
from .stage import STEP_HINT, TWINS, Problem
from .subject import Subject

_STEPS = 8
_TURNED = 1e-6
_SCALE = 1e3
_SCALED = 1e-3
"""Tolerance for added constants, such as eps, which do not scale with the problem."""


def roles(subject: Subject, refused: str = "") -> str:
    """Parameters of all roles, with zero to four axes, are trained."""
    run = Run(subject)
    still = set(run.stage.names)
    for _ in range(STEP_HINT):  # sign-based updates may return to their initial values
        before, end = run.values(), run.steps(1)
        still -= set(differing(before, end))
    require_finite(end, "after a few steps")
    if still:
        raise Failed(f"{named(sorted(still))} never move")
    if refused:
        raise Failed(f"{refused}; all other checks run without them")
    return f"{len(end)} parameters of {len(set(_roles(run).values()))} roles move"


def convolution(subject: Subject) -> str:
    """A convolution of kernel size 1 is trained like a linear layer, and a transposed kernel like the original."""
    run = Run(subject)
    if not set(TWINS) <= set(run.stage.names):
        raise NotApplicable("the optimizer does not accept convolutions")
    start = run.values()
    end = run.steps(STEP_HINT)
    said = "kernels of size 1 are trained like linear layers"
    for name, (other, axes) in TWINS.items():
        twin, twin_start = (
            values[other].permute(axes + tuple(range(len(axes), values[other].ndim))).reshape(end[name].shape)
            for values in (end, start)
        )
        what = "an equivalent linear layer" if other == "hidden.weight" else "the same kernel with swapped axes"
        message = f"a kernel of shape {tuple(end[name].shape)} is not trained like {what}"
        require_close({name: end[name]}, {name: twin}, {name: twin_start}, _TURNED, message)
    return said


def symmetry(subject: Subject) -> str:
    """Declared symmetries hold."""
    declared = subject.contract.symmetries
    if not declared:
        holding = [name for name in SYMMETRIES if _broken(subject, name, EVERY_ROLE) is None]
        raise NotApplicable(f"no symmetry is declared; these hold for all roles: {', '.join(holding) or 'none'}")
    for name, allowed in declared.items():
        if (broken := _broken(subject, name, allowed)) is not None:
            raise Failed(f"{name} is declared ({SYMMETRIES[name]}), but {broken}")
    return f"{', '.join(declared)} hold"


def _broken(subject: Subject, name: str, allowed: Collection[Role]) -> str | None:
    """Describe where a symmetry is violated for parameters of some roles. Returns None if it holds."""
    run = Run(subject)
    chosen = {key for key, role in _roles(run).items() if role in allowed and key in run.stage.names}
    turn = _turn(name, chosen)
    start = {key: turn(key, value) for key, value in run.values().items()}
    plain = {key: turn(key, value) for key, value in run.steps(_STEPS).items()}
    scale = _SCALE if name == "scale" else 1.0
    found = trained(subject, Problem(turn=turn, scale=scale), steps=_STEPS)
    kept = {key: plain[key] for key in chosen}
    apart, worst = difference({key: found[key] for key in chosen}, kept, start) if chosen else (0.0, "")
    bound = _SCALED if name == "scale" else _TURNED
    return None if apart <= bound else f"{worst} differs by {apart:.1e} of the distance moved"


def _roles(run: Run) -> dict[str, Role]:
    found = parameter_roles(run.stage.network, run.view.output_parameters)
    return {name: each.role for name, each in found.items() if name in run.stage.names}


def _turn(name: str, chosen: Collection[str]) -> Callable[[str, Tensor], Tensor]:
    """Return a function that transforms the chosen parameters as matrices of the first axis by all other axes."""
    if name == "scale":
        return lambda key, tensor: tensor
    left = name != "right_rotation"
    right = name != "left_rotation"

    def turn(key: str, tensor: Tensor) -> Tensor:
        if key not in chosen or tensor.ndim == 0:
            return tensor
        matrix = tensor.double().reshape(len(tensor), -1)
        if left:
            matrix = _operator(name, key, matrix.shape[0]) @ matrix
        if right and tensor.ndim > 1:
            matrix = matrix @ _operator(name, f"{key}'", matrix.shape[1])
        return matrix.reshape(tensor.shape)

    return turn


def _operator(name: str, key: str, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name}/{key}/{size}".encode()))
    if name == "permutation":
        return torch.eye(size, dtype=torch.float64)[torch.randperm(size, generator=generator)]
    if name == "sign":
        return torch.diag(torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1)
    turned: Tensor = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    return turned
