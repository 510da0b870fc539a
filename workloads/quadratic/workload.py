"""quadratic_deep: the minimum of a noisy quadratic in 100 dimensions; a problem of DeepOBS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torchmetrics import Metric

from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .data import QuadraticData
from .model import NoisyQuadratic
from .spec import QUADRATIC_DEEP


class QuadraticDeep(Workload):
    """Minimisation of ``0.5 (point - sample)^T Q (point - sample)`` over samples, in 100 dimensions, from ones.

    Batch: ``inputs`` float32 ``(B, 100)``, the samples. Metric: ``loss``, the mean over a split; on the test split it
    is 86.8 or more. ``label_smoothing`` and ``dropout`` are ignored.

    The Hessian ``Q`` is always the same. In DeepOBS, each problem that a process builds has a different one, so the
    published runs of "Descending through a Crowded Valley" have several. The variants ``faithful`` and ``faithful_N``
    use the Hessian of the first and of the N-th such problem, and omit the last incomplete batch in evaluations.

    Reference: F. Schneider, L. Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019,
    https://arxiv.org/abs/1903.05499; P. Chaudhari et al., Entropy-SGD: Biasing Gradient Descent into Wide Valleys,
    2017, https://arxiv.org/abs/1611.01838 (the eigenvalues).
    """

    spec = QUADRATIC_DEEP
    data_class: ClassVar[type[WorkloadData]] = QuadraticData
    output_layer: ClassVar[str] = ""
    """The model itself: there is no other layer."""

    def build_model(self) -> nn.Module:
        """Return the point."""
        return NoisyQuadratic(**self.spec.model)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the loss of each sample, ``(B,)``."""
        losses: Tensor = self.network(batch["inputs"])
        return losses

    def loss_of(self, outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the same."""
        weights = batch.get("weights")
        return Loss(outputs) if weights is None else Loss(outputs * weights, weights)

    def build_metrics(self) -> dict[str, Metric]:
        """Return the mean loss."""
        return {"loss": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update it with a batch."""
        metrics["loss"].update(self.loss(batch).per_example, batch["weights"])
