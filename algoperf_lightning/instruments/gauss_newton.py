"""The generalised Gauss-Newton matrix of a probe: products, and samples of its diagonal.

It is J' H J with J the Jacobian of the model's outputs and H the Hessian of the objective with respect to the outputs,
for any loss of outputs (Schraudolph 2002). It does not include a workload's regularisation term.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.instruments.probe import Probe, UnmeasurableError
from algoperf_lightning.spec import LossType

_ELEMENTWISE = (LossType.SIGMOID_CROSS_ENTROPY, LossType.MEAN_SQUARED_ERROR)


class GaussNewton:
    """The matrix at the parameters of a probe; use it within the same block.

    Args:
        probe: Probe at the model's own parameters.

    Raises:
        UnmeasurableError: If the workload defines only a loss.
    """

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._parameters = list(probe.parameters.values())
        try:
            leaves, self._structure = tree_flatten(probe.outputs)
        except BadInputError as error:
            raise UnmeasurableError("the workload has no outputs apart from its loss") from error
        self._all: list[Any] = leaves
        self._places = [place for place, each in enumerate(leaves) if isinstance(each, Tensor) and each.requires_grad]
        self.outputs = [leaves[place] for place in self._places]
        """The outputs that depend on parameters."""

    def product(self, vector: Tensor) -> Tensor:
        """Return the matrix times a vector, shape ``(D,)``.

        Raises:
            UnmeasurableError: If the loss has no curvature in the outputs, or the model has no second derivative.
        """
        return self._probe.average(self._pull(self._curved(self._push(vector))))

    def diagonals(self, loss_type: str, samples: int = 8) -> Iterator[Tensor]:
        """Yield unbiased estimates of the diagonal, never negative, shape ``(D,)``; each costs a backward pass.

        Args:
            loss_type: Type of the workload's loss.
            samples: Number of estimates, each from a vector of independent signs.

        Raises:
            UnmeasurableError: If no root of the outputs' Hessian is known for the loss.
        """
        generator = torch.Generator(self.outputs[0].device).manual_seed(self._probe.seed)
        for _ in range(samples):
            yield self._probe.average(self._pull([self._root(loss_type, generator)]).square())

    def _root(self, loss_type: str, generator: torch.Generator) -> Tensor:
        """Return a root of the outputs' Hessian multiplied by independent signs, in the shape of the outputs."""
        if len(self.outputs) != 1 or loss_type not in (LossType.SOFTMAX_CROSS_ENTROPY, *_ELEMENTWISE):
            raise UnmeasurableError(f"no root of the Hessian of the outputs is known for a loss of {loss_type}")
        output = self.outputs[0].detach()
        signs = torch.randint(0, 2, output.shape, generator=generator, device=output.device).to(output.dtype) * 2 - 1
        if loss_type in _ELEMENTWISE:
            return signs * self._curved([torch.ones_like(output)])[0].clamp(min=0).sqrt()
        q, weights = self._softmax
        scaled = signs * (weights[..., None] * q).sqrt()
        root: Tensor = scaled - q * scaled.sum(dim=-1, keepdim=True)
        return root

    @cached_property
    def _softmax(self) -> tuple[Tensor, Tensor]:
        """The softmaxes of the outputs, and the weight of each in the objective.

        The weight is the curvature of the objective along a direction, divided by the variance of the softmax along it.
        """
        q = self.outputs[0].detach().softmax(dim=-1)
        direction = torch.linspace(-1, 1, q.shape[-1], dtype=q.dtype, device=q.device).expand_as(q)
        curvature = (direction * self._curved([direction])[0]).sum(dim=-1)
        mean = (q * direction).sum(dim=-1, keepdim=True)
        variance = (q * (direction - mean).square()).sum(dim=-1)
        weights = torch.where(variance > 1e-6, curvature / variance.clamp(min=1e-6), torch.zeros_like(variance))
        return q, weights.clamp(min=0)

    @cached_property
    def _objective(self) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs detached from the model, and the gradient of the objective with respect to them, with its graph."""
        outputs = [each.detach().requires_grad_() for each in self.outputs]
        leaves = list(self._all)
        for place, each in zip(self._places, outputs, strict=True):
            leaves[place] = each
        objective = self._probe.losses_of(tree_unflatten(leaves, self._structure)).mean()
        gradient = torch.autograd.grad(objective, outputs, create_graph=True)
        if not any(each.requires_grad for each in gradient):
            raise UnmeasurableError("the loss has no curvature in the outputs of the model")
        return outputs, list(gradient)

    def _curved(self, vectors: list[Tensor]) -> list[Tensor]:
        outputs, gradient = self._objective
        slope = torch.stack([(g * v).sum() for g, v in zip(gradient, vectors, strict=True)]).sum()
        found = torch.autograd.grad(slope, outputs, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(o) if each is None else each for o, each in zip(outputs, found, strict=True)]

    @cached_property
    def _linear(self) -> tuple[list[Tensor], Tensor]:
        """Cotangents of the outputs, and the gradient of the parameters for them, which is linear in the cotangents."""
        cotangents = [torch.zeros_like(each).requires_grad_() for each in self.outputs]
        found = torch.autograd.grad(
            self.outputs, self._parameters, cotangents, create_graph=True, retain_graph=True, allow_unused=True
        )
        return cotangents, self._probe.flat(found)

    def _push(self, vector: Tensor) -> list[Tensor]:
        cotangents, image = self._linear
        try:
            found = torch.autograd.grad(image @ vector, cotangents, retain_graph=True, allow_unused=True)
        except (RuntimeError, NotImplementedError) as error:
            raise UnmeasurableError(f"the model has no second derivative: {str(error).splitlines()[0]}") from error
        return [torch.zeros_like(c) if each is None else each for c, each in zip(cotangents, found, strict=True)]

    def _pull(self, cotangents: list[Tensor]) -> Tensor:
        found = torch.autograd.grad(self.outputs, self._parameters, cotangents, retain_graph=True, allow_unused=True)
        return self._probe.flat(found)
