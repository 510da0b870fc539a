"""Mean loss of a global batch that is split over ranks and micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.data.parts import count_examples
from algoperf_lightning.errors import BadInputError

_ROUNDING = 1e-3
"""Maximum relative difference between two sums of the same weights."""


class Losses(Protocol):
    """Losses to average: a :class:`~algoperf_lightning.view.Loss`."""

    @property
    def per_example(self) -> Tensor:
        """Losses per example, ``(B,)``."""

    @property
    def weight(self) -> Tensor | None:
        """Number of valid units per example, ``(B,)``; None means one each."""


class Shared(Protocol):
    """Interface to the division of batches, implemented by :class:`~algoperf_lightning.workload.Workload`."""

    chooses_examples: bool

    @property
    def ranks(self) -> int:
        """Number of processes that share the global batch."""

    def count_units(self, batch: Batch) -> Tensor | None:
        """Return the number of valid units per example."""

    def split_batch(self, batch: Batch, parts: int) -> list[Batch]:
        """Split a batch into parts."""

    def first_examples(self, batch: Batch, number: int) -> Batch:
        """Return the first examples of a batch."""


@dataclass(frozen=True)
class _Part:
    """State of one micro-batch during its loss computation."""

    parts: int
    examples: int
    units: Tensor | None
    """Number of valid units per example of the micro-batch; None means one each."""
    whole: Tensor | int
    """Number of valid units in the global batch."""


class Means:
    """Mixin of :class:`~algoperf_lightning.view.WorkloadView` that averages losses.

    Args:
        workload: Workload that provides the number of ranks and the division of batches.
    """

    _workload: Shared

    def __init__(self, workload: Shared) -> None:
        self._workload = workload
        self._part: _Part | None = None
        self._deviations: list[Tensor] = []
        self._counts_checked = False

    def mean(self, loss: Losses) -> Tensor:
        """Return the mean loss over the valid examples of the GLOBAL batch, scaled for the rank and micro-batch.

        Use the result for the backward pass. Gradients are averaged over ranks and micro-batches, so each loss is the
        local sum multiplied by the number of ranks and micro-batches and divided by the count of the global batch.
        Ranks may have different numbers of examples, including zero. The value on one rank is not the global mean; see
        :meth:`mean_value`.

        All ranks must call this method equally often.

        Raises:
            BadInputError: If a submission selects examples within a micro-batch, which makes the number of examples in
                the global batch unknown, or if ``loss`` is not a loss.
        """
        if isinstance(loss, Tensor) or not hasattr(loss, "per_example"):
            raise _no_loss(loss)
        total = loss.per_example.sum()
        if self._part is None and loss.weight is None and not self._workload.chooses_examples:
            return total / max(1, len(loss.per_example))  # the same number on all ranks
        return total * self._shares / self._global_count(loss)

    @torch.no_grad()
    def mean_value(self, loss: Losses) -> Tensor:
        """Return the mean loss over the valid examples of the GLOBAL batch, equal on all ranks and without gradient.

        Use it for logging, line searches, and decisions on which all ranks must agree. Within a micro-batch, the result
        is scaled so that its average over the micro-batches is the mean. All ranks must call this method equally often.

        Raises:
            BadInputError: See :meth:`mean`.
        """
        value = self.mean(loss).detach()
        ranks = self._workload.ranks
        if ranks > 1:
            dist.all_reduce(value)
            value /= ranks
        return value

    def parts(self, batch: Batch, number: int) -> Iterator[Batch]:
        """Yield a batch as micro-batches, with :meth:`mean` set up for each. For the training loop only.

        Raises:
            BadInputError: If :meth:`mean` was called with losses other than those of the micro-batches.
        """
        units = self._workload.count_units(batch)
        whole = self._over_ranks(units, count_examples(batch, units), next(_tensors(batch)).device)
        try:
            for part in self._workload.split_batch(batch, number):
                of_part = self._workload.count_units(part)
                self._part = _Part(number, count_examples(part, of_part), of_part, whole)
                yield part
        finally:
            self._part = None
        self._check_deviations()

    @property
    def _shares(self) -> int:
        """Number of losses averaged in a step, one per rank and micro-batch."""
        return self._workload.ranks * (1 if self._part is None else self._part.parts)

    def _global_count(self, loss: Losses) -> Tensor | int:
        part = self._part
        if part is None:
            return self._over_ranks(loss.weight, len(loss.per_example), loss.per_example.device)
        if len(loss.per_example) != part.examples or (loss.weight is None) != (part.units is None):
            raise _not_of_part(part.parts)
        if loss.weight is not None and part.units is not None:
            expected = part.units.sum()
            self._deviations.append((loss.weight.sum() - expected).abs() / expected.clamp(min=1))
        return part.whole

    def _over_ranks(self, units: Tensor | None, examples: int, device: torch.device) -> Tensor | int:
        """Return the total number of valid units on all ranks, at least 1.

        Args:
            units: Units per example on this rank; None means one each.
            examples: Number of examples on this rank.
            device: Device used for the communication between ranks.
        """
        ranks = self._workload.ranks
        if units is not None:
            count = units.sum()
        elif ranks == 1 or not self._workload.chooses_examples:
            return max(1, ranks * examples)
        else:
            count = torch.full((), examples, dtype=torch.float32, device=device)
        if ranks > 1:
            count = count.clone()
            dist.all_reduce(count)
        return count.clamp(min=1)

    def _check_deviations(self) -> None:
        """Check the deviations, which synchronises with the device; limited to the first time and to risky cases."""
        deviations, self._deviations = self._deviations, []
        if deviations and (self._workload.chooses_examples or not self._counts_checked):
            self._counts_checked = True
            if bool((torch.stack(deviations) > _ROUNDING).any()):
                raise _not_of_part(len(deviations))


def _tensors(batch: Batch) -> Iterator[Tensor]:
    return (value for value in batch.values() if isinstance(value, Tensor))


def _no_loss(given: object) -> BadInputError:
    return BadInputError(
        f"workload.mean and mean_value take what workload.loss(batch) returned, but got a {type(given).__name__}. For "
        "other losses per example, pass Loss(per_example, weight), with `from algoperf_lightning import Loss`."
    )


def _not_of_part(parts: int) -> BadInputError:
    return BadInputError(
        f"With micro-batches ({parts} here), workload.mean must be called on the loss of all examples of the "
        "micro-batch, with their original weights: the mean over the global batch is computed from the batch, "
        "before the losses of the other micro-batches are known. Drop examples or change batch['weights'] in "
        "select_batch, or set micro_batches = 1. If the submission does neither, the workload's count_units(batch) "
        "differs from the weights of its loss."
    )
