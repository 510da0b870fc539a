"""Losses, gradients and curvature on a batch at one point of a workload, computed on demand and shared by instruments.

Rows are gradients of groups of examples: from one forward pass of the complete batch, and a backward pass for each
group with zeros for the losses of all others. This is defined for every model, even if examples interact (batch norm,
graphs in one batch), where gradients of single examples would be those of another function. If examples do not
interact, one pass for all groups gives the same rows in a fraction of the time; it is first compared with a row of the
general method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.instruments.groups import Groups, Route, group_size, groups_at_once
from algoperf_lightning.instruments.noise import Moments
from algoperf_lightning.instruments.probed import Probed
from algoperf_lightning.instruments.probed import UnmeasurableError as UnmeasurableError
from algoperf_lightning.rng import forked_rng
from algoperf_lightning.viewed import Loss, Outputs

_TOLERANCE, _ALIKE = 1e-2, 1e-3
"""Maximum relative distance of the mean of all rows from the gradient (some models compute in bfloat16), and of the
results of both methods for one row. Rows of another function, such as gradients of single examples with batch norm,
differ by a quarter or more."""


class Probe:
    """A batch at the current parameters of a workload; use it within ``undisturbed``.

    With several ranks, each has its share of the global batch, and all must access the same quantities in the same
    order. Vectors of parameters are flat, shape ``(D,)``, in the order of :attr:`parameters`.

    Args:
        workload: The view of a workload.
        batch: This rank's share of a training batch.
        seed: Seed of every forward pass (dropout, masks of spectra), so that all passes evaluate the same function.
        groups: Number of rows on this rank; fewer if the batch has fewer examples, or cannot be divided equally.
        label_smoothing: Label smoothing of the loss.
        ranks: Processes that share the batch.
        at: Parameters instead of the model's own, by name: copies of all trained ones.
        route: How groups are measured in the run, which its first probe determines.
        from_rows: Whether rows are required, so that losses and gradient can be computed from them, if one pass gives
            the correct ones.
    """

    def __init__(
        self,
        workload: Probed,
        batch: Batch,
        *,
        seed: int = 0,
        groups: int = 8,
        label_smoothing: float = 0.0,
        ranks: int = 1,
        at: Mapping[str, Tensor] | None = None,
        route: Route | None = None,
        from_rows: bool = False,
    ) -> None:
        self.workload = workload
        self._route, self._from_rows = route or Route(), from_rows
        self.batch = batch
        """This rank's share of the batch."""
        self.seed = seed
        self._groups, self._ranks, self.label_smoothing = groups, ranks, label_smoothing
        self._at = None if at is None else {name: each.detach().requires_grad_() for name, each in at.items()}
        own = {name: p for name, p in workload.model.named_parameters() if p.requires_grad}
        self.parameters: dict[str, Tensor] = {
            name: p if self._at is None else self._at[name] for name, p in own.items()
        }
        """The trained parameters, by name."""
        self.shared: dict[str, Any] = {}
        """Results that several instruments use, computed by the first of them."""

    # Losses and gradients

    @cached_property
    def losses(self) -> Tensor:
        """This rank's losses, shape ``(B,)``, scaled so that their mean over all ranks is the objective.

        They are connected to the parameters; their graph is kept until :meth:`release`.
        """
        with forked_rng(self.seed):
            return self._scaled(self._loss(self.batch, self._at))

    def _scaled(self, loss: Loss) -> Tensor:
        losses = loss.per_example
        units = losses.new_tensor(float(len(losses))) if loss.weight is None else loss.weight.sum()
        self._scale = self._scale_of(len(losses), units)
        return losses * self._scale

    def _scale_of(self, examples: int, units: Tensor) -> Tensor:
        """Return the factor on this rank's losses with which their mean over all ranks is the objective."""
        counts = self.total(torch.stack([torch.tensor(float(examples), device=units.device), units.float()]))
        return counts[0] / counts[1].clamp(min=1)

    @cached_property
    def outputs(self) -> Outputs:
        """The outputs of the model at its own parameters, connected to them."""
        with forked_rng(self.seed):
            return self.workload.outputs(self.batch, update_batch_norm=False)

    def release(self) -> None:
        """Drop all results and their graphs, because the parameters are about to change."""
        for name in ("losses", "gradient", "rows", "moments", "outputs", "group_losses", "_slope", "_groups_at_once"):
            self.__dict__.pop(name, None)
        self.shared = {}

    @property
    def model(self) -> nn.Module:
        """The model."""
        return self.workload.model

    def forward(self) -> None:
        """Run the model and its loss on the batch, with the same random numbers as every pass and without a graph."""
        with torch.no_grad(), forked_rng(self.seed):
            self._loss(self.batch, None)

    def forward_outputs(self) -> Outputs:
        """Return the outputs of the model, without a graph.

        Raises:
            UnmeasurableError: If the workload defines only a loss.
        """
        try:
            with torch.no_grad(), forked_rng(self.seed):
                return self.workload.outputs(self.batch, update_batch_norm=False)
        except BadInputError as error:
            raise UnmeasurableError("the workload has no outputs apart from its loss") from error

    def losses_of(self, outputs: Outputs) -> Tensor:
        """Return losses as :attr:`losses`, ``(B,)``, given some outputs, without the regularisation term."""
        return self._scaled(self.workload.loss_of(outputs, self.batch, label_smoothing=self.label_smoothing))

    @property
    def loss(self) -> float:
        """The objective on the global batch."""
        return float(self.average(self.group_losses.mean()))

    @cached_property
    def gradient(self) -> Tensor:
        """The gradient of the objective on the global batch, shape ``(D,)``."""
        if self._groups_at_once is not None:
            return self.average(self._groups_at_once.gradients.mean(dim=0))
        return self.average(self._pull(torch.full_like(self.losses, 1 / len(self.losses))))

    @cached_property
    def rows(self) -> Tensor:
        """Mean gradients of this rank's groups of examples, shape ``(R, D)``.

        Raises:
            UnmeasurableError: If their mean is not the gradient, because the losses are not the contributions of
                examples.
        """
        if self._groups_at_once is not None:
            return self._groups_at_once.gradients
        found = self._rows_at_once()
        if found is None:
            found = torch.stack([self._row(start) for start in range(0, len(self.losses), self.group_size)])
        mean, gradient = self.average(found.mean(dim=0)), self.gradient
        if float((mean - gradient).norm()) > _TOLERANCE * float(gradient.norm()):
            raise UnmeasurableError("the gradients of groups of examples do not add up to the gradient of the batch")
        return found

    def _row(self, start: int) -> Tensor:
        """Return the mean gradient of the group that begins with an example, from a backward pass of the batch."""
        cotangent = torch.zeros_like(self.losses)
        cotangent[start : start + self.group_size] = 1 / self.group_size
        return self._pull(cotangent)

    def _rows_at_once(self) -> Tensor | None:
        """Return the rows from one pass, if they are correct; the first probe of a run checks one of them."""
        if self._route.at_once is False:
            return None
        found = self._one_pass()
        fits = found is not None and found.examples == len(self.losses)
        rows = found.scaled(self._scale).gradients if found and fits else None
        if self._route.at_once is None:
            first = self._row(0)
            alike = rows is not None and float((rows[0] - first).norm()) <= _ALIKE * float(first.norm())
            self._route.at_once = bool(self.total(first.new_tensor(float(alike))) == self._ranks)
        return rows if self._route.at_once else None

    @cached_property
    def _groups_at_once(self) -> Groups | None:
        """Losses, gradient and rows from one pass, if all are required and one pass gives the correct ones."""
        found = self._one_pass() if self._from_rows and self._route.at_once else None
        return None if found is None else found.scaled(self._scale_of(found.examples, found.units))

    def _one_pass(self) -> Groups | None:
        with forked_rng(self.seed):
            return groups_at_once(self._loss, self.parameters, self.batch, self._groups)

    def _loss(self, batch: Batch, parameters: Mapping[str, Tensor] | None) -> Loss:
        options: dict[str, Any] = {"label_smoothing": self.label_smoothing, "update_batch_norm": False}
        return self.workload.loss(batch, parameters=parameters, **options)

    @cached_property
    def group_losses(self) -> Tensor:
        """Mean losses of this rank's groups, shape ``(R,)``."""
        if self._groups_at_once is not None:
            return self._groups_at_once.losses
        return self.losses.detach().view(-1, self.group_size).mean(dim=1)

    @property
    def group_size(self) -> int:
        """Examples in each group."""
        known = self._groups_at_once
        return group_size(len(self.losses), self._groups) if known is None else known.size

    @cached_property
    def moments(self) -> Moments:
        """Moments of the rows of all ranks."""
        if self._ranks == 1:
            return Moments.of(self.rows, self.group_size)
        mine = Moments.around(self.rows, self.gradient, self.group_size)
        along = self.total(torch.tensor(mine.along, dtype=torch.float64, device=mine.spread.device))
        return Moments(mine.rows * self._ranks, mine.group_size, mine.gradient, self.total(mine.spread), float(along))

    # Curvature

    def hessian_product(self, vector: Tensor) -> Tensor:
        """Return the Hessian of the objective times a vector, shape ``(D,)``.

        Raises:
            UnmeasurableError: If an operation of the model or its loss has no second derivative.
        """
        slope = self._slope @ vector
        try:
            found = torch.autograd.grad(slope, list(self.parameters.values()), retain_graph=True, allow_unused=True)
        except (RuntimeError, NotImplementedError) as error:
            raise UnmeasurableError(_without_second_derivative(error)) from error
        return self.average(self.flat(found))

    @cached_property
    def _slope(self) -> Tensor:
        """This rank's gradient, connected to the parameters."""
        try:
            found = torch.autograd.grad(
                self.losses.mean(), list(self.parameters.values()), create_graph=True, allow_unused=True
            )
        except (RuntimeError, NotImplementedError) as error:
            raise UnmeasurableError(_without_second_derivative(error)) from error
        flat = self.flat(found)
        if not flat.requires_grad:
            raise UnmeasurableError("the gradient does not depend on the parameters: there is no second derivative")
        return flat

    # Vectors of parameters

    def flatten(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return the tensors of all parameters as one flat vector, in float32 or wider."""
        return self.flat([tensors[name] for name in self.parameters])

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Return a flat vector in the shapes of the parameters, by name."""
        pieces = torch.split(vector, [p.numel() for p in self.parameters.values()])
        return {name: piece.view_as(p) for (name, p), piece in zip(self.parameters.items(), pieces, strict=True)}

    def random_signs(self, number: int) -> Tensor:
        """Return a vector of independent signs, the same on all ranks: the ``number``-th one of this probe."""
        first = next(iter(self.parameters.values()))
        generator = torch.Generator(first.device).manual_seed((self.seed + 1_000_003 * (number + 1)) % 2**63)
        size = sum(p.numel() for p in self.parameters.values())
        # Eight signs from each random byte: generating a number per sign would take almost as long as a product with H.
        drawn = torch.empty((size + 7) // 8, 1, dtype=torch.uint8, device=first.device).random_(
            0, 256, generator=generator
        )
        bits = drawn >> torch.arange(8, dtype=torch.uint8, device=first.device) & 1
        return bits.flatten()[:size].to(torch.promote_types(first.dtype, torch.float32)).mul_(2).sub_(1)

    def gathered(self, value: Tensor) -> Tensor:
        """Return the concatenated values of all ranks, which have the same shape ``(R,)``."""
        if self._ranks == 1:
            return value
        parts = [torch.empty_like(value) for _ in range(self._ranks)]
        dist.all_gather(parts, value.contiguous())
        return torch.cat(parts)

    def flat(self, tensors: Sequence[Tensor | None]) -> Tensor:
        """Return the tensors of all parameters as one flat vector, in order; None counts as zeros."""
        pairs = zip(self.parameters.values(), tensors, strict=True)
        flat = [(torch.zeros_like(p) if each is None else each).reshape(-1) for p, each in pairs]
        widest = torch.float64 if any(each.dtype == torch.float64 for each in flat) else torch.float32
        return torch.cat([each.to(widest) for each in flat])

    def _pull(self, cotangent: Tensor) -> Tensor:
        found = torch.autograd.grad(
            self.losses, list(self.parameters.values()), cotangent, retain_graph=True, allow_unused=True
        )
        return self.flat(found)

    # Ranks

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a value over all ranks."""
        if self._ranks > 1:
            value = value.detach().clone()
            dist.all_reduce(value)
        return value

    def average(self, value: Tensor) -> Tensor:
        """Return the mean of a value over all ranks."""
        return self.total(value) / self._ranks if self._ranks > 1 else value


def _without_second_derivative(error: Exception) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    named = {"ctc": "CTC has no second derivative", "setup_context": "a custom function in the model has none"}
    known = next((reason for part, reason in named.items() if part in first.lower()), None)
    return known or f"no second derivative: {first}"
