"""Helpers of a view for training algorithms: parts of batches, batch norms, dropout, a log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from numbers import Real

from torch import Tensor

from algoperf_lightning.batch_norm import Statistics, recompute, set_statistics
from algoperf_lightning.data.examples import Batch
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.means import Means
from algoperf_lightning.spec import BENCHMARK_VERSIONS
from algoperf_lightning.training.batch_size import take_examples
from algoperf_lightning.viewed import Viewed


class Helpers(Means):
    """The methods of :class:`~algoperf_lightning.view.WorkloadView` that are not about the loss.

    Args:
        workload: The viewed workload.
    """

    _workload: Viewed

    def __init__(self, workload: Viewed) -> None:
        super().__init__(workload)

    def take(self, batch: Batch, examples: int) -> Batch:
        """Return the first examples of a batch, for a step on fewer than the global batch size.

        Args:
            batch: A training batch, this rank's share of the global one.
            examples: Number of examples of the GLOBAL batch; each rank returns its share of them.

        Raises:
            BadInputError: If the batch has fewer, or they cannot be split evenly over the ranks.
        """
        return take_examples(self._workload, batch, examples)

    def update_batch_norm(self, batches: Iterable[Batch], *, dropout: float | None = None) -> Statistics:
        """Recompute the running statistics of batch norms for the model's current weights, for example averaged ones.

        They become the average over the batches, as :func:`torch.optim.swa_utils.update_bn` computes it. The model runs
        on each batch as in training, without gradients; parameters, modes, and random states do not change. This
        runs on the clock. All ranks must call it; their statistics are averaged.

        Args:
            batches: At least one training batch: stored ones, or new ones from the iterator that ``select_batch``
                receives.
            dropout: As in :meth:`loss`.

        Returns:
            The previous statistics, for :meth:`set_batch_norm`; empty if the model has none.

        Raises:
            BadInputError: If there are no batches, or ``batches`` is a single batch.
        """
        if isinstance(batches, Mapping):
            raise BadInputError("update_batch_norm takes several batches, but got one. Pass a list: [batch].")
        with self._dropout_at(dropout):
            return recompute(self._workload.network, batches, self._workload.run_as_in_training, self._workload.ranks)

    def set_batch_norm(self, statistics: Statistics) -> None:
        """Set the running statistics of batch norms to those that :meth:`update_batch_norm` returned."""
        set_statistics(self._workload.network, statistics)

    def log(self, values: Mapping[str, float | Tensor]) -> None:
        """Log numbers for the record and the user's loggers, without waiting for the device. Callable from any hook.

        They belong to the current step or, around evaluations, to the last one; a later value replaces an earlier one
        with the same name. Those of the first rank are recorded. A run without a clock records nothing.

        Args:
            values: Numbers or tensors without axes, by name. Tensors are copied immediately, and remain on their
                device until the clock is read.

        Raises:
            BadInputError: If a value is neither.
        """
        self._workload.submission_log.add(values)

    def _check_label_smoothing(self, label_smoothing: float) -> None:
        """Raise unless it is in range: a schedule may leave the range, which losses would not detect."""
        if isinstance(label_smoothing, Tensor):
            return
        if not isinstance(label_smoothing, Real) or not 0 <= label_smoothing <= 1:
            raise BadInputError(f"label_smoothing must be a number from 0 to 1, but got {label_smoothing!r}.")

    def _dropout_at(self, rate: float | None) -> AbstractContextManager[None]:
        """Return a context in which the model has a rate of dropout."""
        if rate is None:
            return nullcontext()
        if not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise BadInputError(f"dropout must be a number from 0 to 1, but got {rate!r}.")
        rates = self._workload.dropout_rates
        if self._workload.spec.dropout is None or not rates.differ_from(rate):
            return nullcontext()
        version = self._workload.spec.version
        if not BENCHMARK_VERSIONS[version].dropout_may_change:
            raise BadInputError(
                f"AlgoPerf {version} fixes the rate of dropout when the model is built, but got dropout={rate!r} for a "
                "model that was built with another one. Set the submission's attribute dropout in its __init__, or run "
                "a version from 0.6 on."
            )
        return rates.all_at(rate)
