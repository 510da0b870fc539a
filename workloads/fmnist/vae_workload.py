"""fmnist_vae: encode images of clothing with eight latent variables; a problem of DeepOBS."""

from __future__ import annotations

from typing import ClassVar

from algoperf_lightning.data import WorkloadData
from algoperf_lightning.images.autoencoding import AutoencodingWorkload

from .data import FashionMnistVaeData
from .spec import FMNIST_VAE


class FmnistVae(AutoencodingWorkload):
    """A variational autoencoder of 28 x 28 images of clothing; batch, loss and metric are those of all autoencoders.

    The variant ``faithful`` omits incomplete batches in evaluations, as in DeepOBS.

    Reference: F. Schneider, L. Balles, P. Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019,
    https://arxiv.org/abs/1903.05499.
    """

    spec = FMNIST_VAE
    data_class: ClassVar[type[WorkloadData]] = FashionMnistVaeData
