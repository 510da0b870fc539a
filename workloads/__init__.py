"""The workloads: one folder a data set.

Classes are imported on first use, so that one workload's missing library does not break the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.utilities.lazy_names import lazy_names

if TYPE_CHECKING:
    from .cifar10.workload import Cifar10
    from .criteo1tb.workload import Criteo1TB
    from .digits.workload import Digits
    from .fastmri.workload import FastMRI
    from .finewebedu.workload import FineWebEduLM
    from .imagenet.resnet_workload import ImageNetResNet
    from .imagenet.vit_workload import ImageNetViT
    from .librispeech.conformer_workload import LibriSpeechConformer
    from .librispeech.deepspeech_workload import LibriSpeechDeepSpeech
    from .mnist.workload import Mnist
    from .ogbg.workload import OGBG
    from .wmt.workload import WMT

_MODULE = {
    "Cifar10": "cifar10.workload",
    "Criteo1TB": "criteo1tb.workload",
    "Digits": "digits.workload",
    "FastMRI": "fastmri.workload",
    "FineWebEduLM": "finewebedu.workload",
    "ImageNetResNet": "imagenet.resnet_workload",
    "ImageNetViT": "imagenet.vit_workload",
    "LibriSpeechConformer": "librispeech.conformer_workload",
    "LibriSpeechDeepSpeech": "librispeech.deepspeech_workload",
    "Mnist": "mnist.workload",
    "OGBG": "ogbg.workload",
    "WMT": "wmt.workload",
}

__all__ = [
    "OGBG",
    "WMT",
    "Cifar10",
    "Criteo1TB",
    "Digits",
    "FastMRI",
    "FineWebEduLM",
    "ImageNetResNet",
    "ImageNetViT",
    "LibriSpeechConformer",
    "LibriSpeechDeepSpeech",
    "Mnist",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULE)
