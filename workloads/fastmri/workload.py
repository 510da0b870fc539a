"""fastMRI: reconstruct knee images from a quarter of their k-space with a U-Net. AlgoPerf scores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from torchmetrics import Metric

from algoperf_lightning.data import Batch, WorkloadData
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .data import FastMRIData
from .metric import ssim
from .model import UNet
from .spec import FASTMRI


def _absolute_error(outputs: Tensor, batch: Batch) -> Loss:
    losses = (outputs.float() - batch["targets"]).abs().mean((1, 2))
    weights = batch.get("weights")
    return Loss(losses) if weights is None else Loss(losses * weights, weights)


class FastMRI(Workload):
    """Reconstruction of magnetic resonance images of knees, single coil, four-fold accelerated.

    Batch: ``inputs`` float32 ``(B, 320, 320)``, images from the undersampled k-space, each with mean 0 and standard
    deviation 1 before it is clipped to +-6; ``targets`` float32 ``(B, 320, 320)``, images from the full k-space, on the
    scale of their inputs; ``mean`` and ``std`` ``(B,)`` that convert them back to pixels; ``volume_max`` ``(B,)``, the
    largest pixel of the volume.

    The loss of an example is the mean absolute error over its pixels, on the normalised scale. Metrics: ``ssim``, the
    mean structural similarity of the images in the scanner's unit, and ``loss``.

    Reference: J. Zbontar et al., fastMRI: An Open Dataset and Benchmarks for Accelerated MRI, 2018,
    https://arxiv.org/abs/1811.08839; Dahl et al., Benchmarking Neural Network Training Algorithms, 2023,
    https://arxiv.org/abs/2306.07179 (AlgoPerf).
    """

    spec = FASTMRI
    data_class: ClassVar[type[WorkloadData]] = FastMRIData
    output_layer: ClassVar[str] = "output"
    loss_function = staticmethod(_absolute_error)

    def build_model(self) -> nn.Module:
        """Return the network."""
        return UNet(**self.spec.model, dropout=self.dropout or 0.0)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the reconstructed images on the normalised scale, ``(B, 320, 320)``."""
        images: Tensor = self.network(batch["inputs"])
        return images

    def loss_of(self, outputs: Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return the mean absolute error of each image, float32 ``(B,)``; label smoothing is ignored."""
        loss: Loss = self.loss_function(outputs, batch)
        return loss

    def build_metrics(self) -> dict[str, Metric]:
        """Return the mean structural similarity and the mean loss."""
        return {"ssim": WeightedMean(), "loss": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update both with a batch."""
        outputs = self.outputs(batch)
        scale, offset = batch["std"].view(-1, 1, 1), batch["mean"].view(-1, 1, 1)
        # The target image is clipped to +-6, as in the benchmark, whose target values were set with it.
        pixels, true_pixels = outputs.float() * scale + offset, batch["targets"] * scale + offset
        metrics["ssim"].update(ssim(pixels, true_pixels, batch["volume_max"]), batch["weights"])
        metrics["loss"].update(self.regularized(self.loss_of(outputs, batch)).per_example, batch["weights"])
