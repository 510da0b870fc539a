"""The workloads: one folder per data set.

Classes are imported on first use, so that one workload's missing library does not break the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.utilities.lazy_names import lazy_names

if TYPE_CHECKING:
    from .cifar10.three_conv_workload import Cifar10ThreeConvThreeDense
    from .cifar10.workload import Cifar10
    from .cifar100.workload import Cifar100AllCnnC
    from .criteo1tb.workload import Criteo1TB
    from .digits.workload import Digits
    from .fastmri.workload import FastMRI
    from .finewebedu.workload import FineWebEduLM
    from .fmnist.vae_workload import FmnistVae
    from .fmnist.workload import FmnistTwoConvTwoDense
    from .imagenet.resnet_workload import ImageNetResNet
    from .imagenet.vit_workload import ImageNetViT
    from .librispeech.conformer_workload import LibriSpeechConformer
    from .librispeech.deepspeech_workload import LibriSpeechDeepSpeech
    from .mnist.vae_workload import MnistVae
    from .mnist.workload import Mnist
    from .ogbg.workload import OGBG
    from .quadratic.workload import QuadraticDeep
    from .svhn.workload import SvhnWideResNet
    from .tolstoi.workload import TolstoiCharRnn
    from .wmt.workload import WMT

_MODULE = {
    "Cifar10": "cifar10.workload",
    "Cifar100AllCnnC": "cifar100.workload",
    "Cifar10ThreeConvThreeDense": "cifar10.three_conv_workload",
    "Criteo1TB": "criteo1tb.workload",
    "Digits": "digits.workload",
    "FastMRI": "fastmri.workload",
    "FineWebEduLM": "finewebedu.workload",
    "FmnistTwoConvTwoDense": "fmnist.workload",
    "FmnistVae": "fmnist.vae_workload",
    "ImageNetResNet": "imagenet.resnet_workload",
    "ImageNetViT": "imagenet.vit_workload",
    "LibriSpeechConformer": "librispeech.conformer_workload",
    "LibriSpeechDeepSpeech": "librispeech.deepspeech_workload",
    "Mnist": "mnist.workload",
    "MnistVae": "mnist.vae_workload",
    "OGBG": "ogbg.workload",
    "QuadraticDeep": "quadratic.workload",
    "SvhnWideResNet": "svhn.workload",
    "TolstoiCharRnn": "tolstoi.workload",
    "WMT": "wmt.workload",
}

__all__ = [
    "OGBG",
    "WMT",
    "Cifar10",
    "Cifar10ThreeConvThreeDense",
    "Cifar100AllCnnC",
    "Criteo1TB",
    "Digits",
    "FastMRI",
    "FineWebEduLM",
    "FmnistTwoConvTwoDense",
    "FmnistVae",
    "ImageNetResNet",
    "ImageNetViT",
    "LibriSpeechConformer",
    "LibriSpeechDeepSpeech",
    "Mnist",
    "MnistVae",
    "QuadraticDeep",
    "SvhnWideResNet",
    "TolstoiCharRnn",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULE)
