"""Base class of the autoencoder workloads: loss and reconstruction metrics."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn
from torchmetrics import Metric

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.metrics import WeightedMean
from algoperf_lightning.workload import Loss, Workload

from .autoencoder import Autoencoder, Reconstruction, autoencoder_losses


class AutoencodingWorkload(Workload, ABC):
    """Encode images of 28 x 28 pixels as eight latent variables with a variational autoencoder.

    Batch: ``inputs`` float32 ``(B, 1, 28, 28)`` in [0, 1]; ``noise`` float32 ``(B, 8)``, standard normal samples for
    the latent variables. The noise of an evaluated example is the same in every evaluation.

    The loss of an image is the squared error summed over its pixels plus the Kullback-Leibler divergence in nats
    between its latent variables and a standard normal distribution. ``label_smoothing`` is ignored. Metric: ``loss``.
    Runs with uninformative latent variables stay on a plateau, at about 52.9 for MNIST.

    Reference: D. P. Kingma, M. Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114.
    """

    output_layer: ClassVar[str] = "pixels"

    def build_model(self) -> nn.Module:
        """Return the network."""
        return Autoencoder(**self.spec.model, dropout=self.dropout or 0.0)

    def outputs(self, batch: Batch) -> Reconstruction:
        """Return images ``(B, 1, 28, 28)``, and mean and logarithm of the deviation of the latents, both ``(B, 8)``."""
        reconstruction: Reconstruction = self.network(batch["inputs"], batch["noise"])
        return reconstruction

    def loss_of(self, outputs: Reconstruction, batch: Batch, *, label_smoothing: float = 0.0) -> Loss:
        """Return squared error plus divergence of each image, ``(B,)``."""
        losses = autoencoder_losses(outputs, batch["inputs"])
        weights = batch.get("weights")
        return Loss(losses) if weights is None else Loss(losses * weights, weights)

    def build_metrics(self) -> dict[str, Metric]:
        """Return the mean loss."""
        return {"loss": WeightedMean()}

    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Update the mean loss with a batch."""
        metrics["loss"].update(self.loss(batch).per_example, batch["weights"])
