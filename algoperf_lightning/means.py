"""The mean loss of the global batch, which ranks and micro-batches have parts of."""

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
"""Largest relative difference of two sums of the same weights."""


class Losses(Protocol):
    """What is averaged: a :class:`~algoperf_lightning.view.Loss`."""

    @property
    def per_example(self) -> Tensor:
        """Loss of each example, ``(B,)``."""

    @property
    def weight(self) -> Tensor | None:
        """Valid units in each example, ``(B,)``; None if each is one."""


class Shared(Protocol):
    """What is known of how a batch is shared: by a :class:`~algoperf_lightning.workload.Workload`."""

    chooses_examples: bool

    @property
    def ranks(self) -> int:
        """Processes that share the global batch."""

    def count_units(self, batch: Batch) -> Tensor | None:
        """Return the valid units of each example."""

    def split_batch(self, batch: Batch, parts: int) -> list[Batch]:
        """Return a batch in parts."""

    def first_examples(self, batch: Batch, number: int) -> Batch:
        """Return the first examples of a batch."""


@dataclass(frozen=True)
class _Part:
    """One of several micro-batches, while its loss is computed."""

    parts: int
    examples: int
    units: Tensor | None
    """Valid units of each of its examples; None if each is one."""
    whole: Tensor | int
    """Valid units of the global batch."""


class Means:
    """The part of a :class:`~algoperf_lightning.view.WorkloadView` that averages losses.

    Args:
        workload: It knows how many ranks there are, and how a batch is divided.
    """

    _workload: Shared

    def __init__(self, workload: Shared) -> None:
        self._workload = workload
        self._part: _Part | None = None
        self._deviations: list[Tensor] = []
        self._counts_checked = False

    def mean(self, loss: Losses) -> Tensor:
        """Return the mean loss over the valid examples of the GLOBAL batch, scaled for this rank and micro-batch.

        Differentiate the result: the gradients of ranks and micro-batches are averaged, so each loss is the local sum,
        times the number of ranks and micro-batches, over the count of the global batch. Ranks may have different
        numbers of examples, or none. The value on one rank is not the global mean: see :meth:`mean_value`.

        All ranks must call it equally often.

        Raises:
            BadInputError: If a submission with micro-batches selects examples within one of them: the number of
                examples in the global batch is then unknown; or if ``loss`` is not a loss.
        """
        if isinstance(loss, Tensor) or not hasattr(loss, "per_example"):
            raise _no_loss(loss)
        total = loss.per_example.sum()
        if self._part is None and loss.weight is None and not self._workload.chooses_examples:
            return total / max(1, len(loss.per_example))  # all ranks have as many
        return total * self._shares / self._global_count(loss)

    @torch.no_grad()
    def mean_value(self, loss: Losses) -> Tensor:
        """Return the mean loss over the valid examples of the GLOBAL batch: the same on all ranks, without a gradient.

        For logs, line searches, and decisions on which all ranks must agree. In a micro-batch, it is the share of the
        micro-batch; the average over the micro-batches is the mean. All ranks must call it equally often.

        Raises:
            BadInputError: As :meth:`mean`.
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
            BadInputError: If :meth:`mean` was called on other losses than those of the micro-batches.
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
        """Losses that are averaged in a step: one for each rank and micro-batch."""
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
        """Return the number of valid units on all ranks, at least 1.

        Args:
            units: Those of each example of this rank; None if each is one.
            examples: How many there are on this rank.
            device: Where the ranks exchange numbers.
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
        """Look at what was compared on the device, which waits for it: only where it may go wrong, and at first."""
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
