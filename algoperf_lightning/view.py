"""WorkloadView: the interface of a workload for training algorithms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from algoperf_lightning.batch_norm import statistics_left_alone
from algoperf_lightning.data.examples import Batch
from algoperf_lightning.parameters import ParameterKind, parameter_kinds
from algoperf_lightning.roles import ParameterRole, parameter_roles
from algoperf_lightning.second_order import average_over_ranks, pass_with
from algoperf_lightning.view_helpers import Helpers
from algoperf_lightning.viewed import Loss as Loss
from algoperf_lightning.viewed import Outputs as Outputs
from algoperf_lightning.viewed import Viewed

if TYPE_CHECKING:
    from algoperf_lightning.records.evaluations import Evaluation
    from algoperf_lightning.records.trial import Trial
    from algoperf_lightning.spec import Unit


@dataclass(frozen=True)
class _Terms:
    """The limits of a timed trial; the view does not contain the record."""

    budget: float
    eval_period: float
    unit: Unit
    validation_target: float | None


class WorkloadView(Helpers):
    """The interface of a workload for training algorithms. It does not contain the workload's name.

    Reference: AlgoPerf rules, "Submission API": a submission may use loss type, step hint, shapes and kinds of
    parameters and so on, but must not distinguish workloads.
    """

    def __init__(self, workload: Viewed) -> None:
        super().__init__(workload)
        self._terms: _Terms | None = None
        self._evaluations: tuple[Evaluation, ...] = ()

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self._workload.network

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Every evaluation so far, oldest first; copies that cannot be changed."""
        return self._evaluations

    def begin(self, result: Trial) -> None:
        """Start a timed run. For the clock, not for submissions."""
        self._terms = _Terms(result.budget, result.eval_period, result.unit, result.validation_target)
        self.stop_requested = False
        self.show(result.evaluations)

    def show(self, evaluations: Sequence[Evaluation]) -> None:
        """Show copies of the evaluations so far. For the clock, not for submissions."""
        self._evaluations = tuple(evaluation.copy() for evaluation in evaluations)

    @property
    def timed(self) -> bool:
        """Whether a clock measures the run."""
        return self._terms is not None

    @property
    def loss_type(self) -> str:
        """What kind of loss is trained: a :class:`~algoperf_lightning.spec.LossType`."""
        return self._workload.spec.loss_type

    @property
    def step_hint(self) -> int:
        """Steps a good training algorithm may need; the usual horizon of a schedule."""
        return self._workload.spec.step_hint

    @property
    def budget(self) -> float:
        """The trial's budget, in :attr:`unit`; without a clock, the workload's under external tuning."""
        return self._workload.spec.budget if self._terms is None else self._terms.budget

    @property
    def eval_period(self) -> float:
        """Time from one evaluation to the next, in :attr:`unit`."""
        return self._workload.spec.eval_period if self._terms is None else self._terms.eval_period

    @property
    def unit(self) -> Unit:
        """What the budget counts: ``seconds`` of submission time, ``steps``, or ``epochs``."""
        return "seconds" if self._terms is None else self._terms.unit

    @property
    def metric(self) -> str:
        """Name of the target metric as in :attr:`evaluations`: ``validation/accuracy``."""
        return f"validation/{self._workload.spec.metric}"

    @property
    def direction(self) -> str:
        """``max`` if a higher metric is better, else ``min``."""
        return self._workload.spec.direction

    @property
    def validation_target(self) -> float | None:
        """The value of the metric to reach; None for a run without a target."""
        spec = self._workload.spec
        return spec.validation_target if self._terms is None else self._terms.validation_target

    @property
    def test_target(self) -> float | None:
        """The value of the metric on the test split, None if there is none."""
        return self._workload.spec.test_target

    @property
    def num_train_examples(self) -> int:
        """Examples in the training split."""
        return self._workload.spec.splits["train"]

    @property
    def steps_per_epoch(self) -> int:
        """Steps in a pass over the training data: its number of complete batches, at least 1."""
        return max(1, self.num_train_examples // self.batch_size)

    @property
    def batch_size(self) -> int:
        """The global training batch size."""
        return self._workload.batch_size

    @property
    def parameter_kinds(self) -> dict[str, ParameterKind]:
        """Kind of every parameter, by its name in ``model.named_parameters()``."""
        return parameter_kinds(self.model)

    @property
    def parameter_roles(self) -> dict[str, ParameterRole]:
        """Role of every parameter, by its name in ``model.named_parameters()``: hidden matrix, embedding and so on."""
        return parameter_roles(self.model, self.output_parameters)

    @property
    def output_parameters(self) -> frozenset[str]:
        """Names of the parameters of the output layer."""
        layer = self._workload.output_layer
        return frozenset(name for name, _ in self.model.named_parameters() if name.rpartition(".")[0] == layer)

    def loss(
        self,
        batch: Batch,
        *,
        label_smoothing: float = 0.0,
        update_batch_norm: bool = True,
        dropout: float | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Loss:
        """Run the model on a batch and return the training loss of each example.

        Args:
            batch: A training batch.
            label_smoothing: In [0, 1).
            update_batch_norm: Whether running statistics are updated; False in the second pass of a two-pass method.
            dropout: Rate of all dropout in this pass, in [0, 1]; None is the rate that the model was built with. It
                may differ between steps. A model without dropout ignores it.
            parameters: Parameters to use instead of the model's own, by their names in ``model.named_parameters()``;
                for the transforms of ``torch.func``. Running statistics are then not updated.

        Raises:
            BadInputError: If the dropout rate or the label smoothing is not in [0, 1]; if the rate differs from that of
                the model under the rules of AlgoPerf 0.5, which fix it when the model is built; if the model has no
                parameter of a name; or if the examples of a batch are taken one by one (``torch.func.vmap``) and there
                is batch norm.
        """
        self._check_label_smoothing(label_smoothing)
        if parameters is not None:
            run = partial(self.loss, batch, label_smoothing=label_smoothing, update_batch_norm=False, dropout=dropout)
            return pass_with(self.model, parameters, batch, run)
        with (
            self._dropout_at(dropout),
            nullcontext() if update_batch_norm else statistics_left_alone(self.model),
        ):
            return self._workload.loss(batch, label_smoothing=label_smoothing)

    def outputs(
        self,
        batch: Batch,
        *,
        update_batch_norm: bool = True,
        dropout: float | None = None,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Outputs:
        """Run the model on a batch and return its outputs, from which :meth:`loss_of` computes the loss.

        They are a tensor, or a tuple or dict of tensors; each workload's class documents the shapes. The arguments are
        those of :meth:`loss`, which is :meth:`loss_of` of the outputs, plus :meth:`regularization`.

        Raises:
            BadInputError: As :meth:`loss`, and if the workload defines only a loss.
        """
        if parameters is not None:
            run = partial(self.outputs, batch, update_batch_norm=False, dropout=dropout)
            return pass_with(self.model, parameters, batch, run)
        with (
            self._dropout_at(dropout),
            nullcontext() if update_batch_norm else statistics_left_alone(self.model),
        ):
            return self._workload.outputs(batch)

    def loss_of(self, outputs: Outputs, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the training loss of each example, given the model's outputs, without :meth:`regularization`.

        No parameter of the model is used: its Hessian is the middle factor of a Gauss-Newton matrix.

        Raises:
            BadInputError: If the label smoothing is not in [0, 1].
        """
        self._check_label_smoothing(label_smoothing)
        return self._workload.loss_of(outputs, batch, label_smoothing=label_smoothing)

    def regularization(self) -> Tensor | None:
        """Return the workload's regularisation term, a scalar that is part of :meth:`loss`; None if there is none."""
        return self._workload.regularization()

    def second_order(self) -> AbstractContextManager[None]:
        """Return a block for second derivatives, and for those in forward mode (``torch.func.jvp``).

        Within the block, attention is computed by its definition, and compiled models and losses run uncompiled:
        neither fused attention nor compiled graphs have second derivatives. Compute outputs, losses and all derivatives
        within it.
        """
        return self._workload.second_order()

    def average_over_ranks(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the means of tensors over all ranks, without graph; with one rank, the tensors themselves.

        Data-parallel training averages only the ``.grad`` that ``backward`` sets, not the results of
        ``torch.autograd.grad`` and ``torch.func``. The average over the ranks of derivatives of :meth:`mean` is
        the derivative for the global batch.

        Args:
            tensors: Of the same shapes on every rank. All ranks must call this equally often.
        """
        return average_over_ranks(tensors, self._workload.ranks)

    def shared_generator(self) -> torch.Generator:
        """Return a random generator that yields the same numbers on every rank, on the model's device.

        torch's own generators differ between ranks. This one is new at each call, seeded by the trial's seed and the
        step count: within a step, each call yields the same numbers, and a resumed run needs no saved state.
        """
        return torch.Generator(next(self.model.parameters()).device).manual_seed(self._workload.step_seed())

    def stop(self) -> None:
        """End training at the next reading of the clock, with a last evaluation if there is budget for it."""
        self.stop_requested = True
