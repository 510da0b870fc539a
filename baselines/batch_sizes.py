"""Global training batch sizes of the benchmark's submissions, by workload name.

Source: the ``get_batch_size`` functions of AlgoPerf's baselines and of the submissions on its leaderboards.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_USUAL = {
    "criteo1tb": 262_144,
    "fastmri": 32,
    "finewebedu_lm": 64,
    "imagenet_resnet": 1_024,
    "imagenet_vit": 1_024,
    "librispeech_conformer": 256,
    "librispeech_deepspeech": 256,
    "mnist": 16,
    "ogbg": 512,
    "wmt": 128,
}
_SMALLER_RESNETS = {"imagenet_resnet_gelu": 512, "imagenet_resnet_silu": 512}


def _sizes(**changes: int) -> Mapping[str, int]:
    return MappingProxyType({**_USUAL, **_SMALLER_RESNETS, **changes})


USUAL = _sizes()
"""Most submissions."""

TARGET_SETTING = _sizes(imagenet_vit_glu=512)
"""NadamW where it set the targets."""

WITHOUT_VARIANTS: Mapping[str, int] = MappingProxyType(_USUAL)
"""LAMB, SAM and Adafactor: variants have the workload's size."""

CYCLIC = _sizes(imagenet_resnet=512)
"""Cyclic learning rate and LAWA."""

SHAMPOO = _sizes(librispeech_conformer=200, librispeech_deepspeech=224)
"""Distributed Shampoo."""

SCHEDULE_FREE = _sizes(fastmri=16, imagenet_resnet=768, librispeech_conformer=128)
"""Schedule-Free AdamW, second version, external tuning."""

SCHEDULE_FREE_PRODIGY = _sizes(librispeech_conformer=224)
"""Schedule-Free Prodigy."""
