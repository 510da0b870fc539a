"""The objective of a workload: the model's outputs, their loss, and a regularisation term."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from torch import Tensor, nn

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.second_order import plain_operations
from algoperf_lightning.viewed import Loss, Outputs


class Objective:
    """The part of a workload that computes losses.

    A workload defines :meth:`outputs`, which runs the model, and :meth:`loss_of`, which does not. If the
    outputs take too much memory, it overrides :meth:`loss` as well. A workload that defines only :meth:`loss` works,
    except with submissions that need the outputs.
    """

    recurrent: ClassVar[bool] = False
    """Whether the model calls functions such as ``torch.lstm`` directly; torch's recurrent modules are detected."""

    @property
    def network(self) -> nn.Module:
        """The model, once it is built."""
        raise NotImplementedError

    loss_function: Callable[..., Any] | None = None
    """Static method that :meth:`loss_of` calls with outputs and batch; compiled if losses are compiled."""

    def outputs(self, batch: Batch) -> Outputs:
        """Run the model on a batch and return its outputs: a tensor, or a tuple or dict of tensors.

        Raises:
            BadInputError: If the workload defines only :meth:`loss`.
        """
        raise _without_outputs(self)

    def loss_of(self, outputs: Outputs, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the training loss of each example, given the model's outputs; it does not use the model.

        Raises:
            BadInputError: If the workload defines only :meth:`loss`.
        """
        raise _without_outputs(self)

    def regularization(self) -> Tensor | None:
        """Return the workload's regularisation term, a scalar, for example a factor times the sum of squared weights.

        It is part of the workload's objective, not of a submission: :meth:`loss` adds it to the loss of each example,
        so it is part of the mean loss in training and in evaluations. None means no term.
        """
        return None

    def loss(self, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Run the model on a batch and return the training loss of each example, with :meth:`regularization`."""
        loss = self.loss_of(self.outputs(batch), batch, label_smoothing=label_smoothing)
        term = self.regularization()
        return loss if term is None else loss.plus(term)

    def regularized(self, loss: Loss) -> Loss:
        """Return a loss with :meth:`regularization` added, for losses that were computed from outputs."""
        term = self.regularization()
        return loss if term is None else loss.plus(term)

    def second_order(self) -> AbstractContextManager[None]:
        """Return a block in which outputs and losses can be differentiated twice, and in forward mode.

        A workload extends it if its model or loss uses other operations without such derivatives.
        """
        layers = any(isinstance(module, nn.RNNBase) for module in self.network.modules())
        return plain_operations(recurrent=self.recurrent or layers)


def check_objective(workload: type[Objective]) -> None:
    """Check that a workload defines its loss.

    Raises:
        TypeError: If it defines neither outputs and their loss, nor the loss.
    """
    whole = workload.outputs is not Objective.outputs and workload.loss_of is not Objective.loss_of
    if not whole and workload.loss is Objective.loss:
        raise TypeError(
            f"{workload.__name__} must define outputs(self, batch), and loss_of(self, outputs, batch, *, "
            "label_smoothing=0.0) that returns a Loss."
        )


def _without_outputs(workload: Objective) -> BadInputError:
    name = type(workload).__name__
    return BadInputError(
        f"{name} defines only loss(batch), so its model's outputs are not available separately. Define "
        f"outputs(batch) and loss_of(outputs, batch, label_smoothing=...) in {name}; if the loss is enough, call loss."
    )
