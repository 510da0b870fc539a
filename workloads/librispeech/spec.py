"""The numbers of librispeech_conformer and librispeech_deepspeech."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec
from algoperf_lightning.step_time import StepTime

FOLDER = "LibriSpeech"
"""Folder of the unpacked official archives, under the data directory."""

TRAIN_PARTS = ("train-clean-100", "train-clean-360", "train-other-500")
PARTS = MappingProxyType(
    {"train": TRAIN_PARTS, "validation": ("dev-clean", "dev-other"), "test": ("test-clean",)},
)
"""The official parts that each split consists of. ``test-other`` is not used."""

UTTERANCES = MappingProxyType(
    {
        "train-clean-100": 28_539,
        "train-clean-360": 104_014,
        "train-other-500": 148_688,
        "dev-clean": 2_703,
        "dev-other": 2_864,
        "test-clean": 2_620,
    }
)
"""Utterances in each official part, before those that are too long are dropped."""

TOKENIZER_FILE = "spm_model.vocab"
"""The SentencePiece model, with the same name as in AlgoPerf, whose files can be used here."""

TINY_VOCABULARY = 16
TINY_UTTERANCES = MappingProxyType(
    {
        "train-clean-100": 96,
        "train-clean-360": 96,
        "train-other-500": 96,
        "dev-clean": 24,
        "dev-other": 24,
        "test-clean": 32,
    }
)
"""Utterances in each part of a tiny data set."""


def index_file(part: str) -> str:
    """Return the path of the index of a part, relative to the folder of the data."""
    return f"index/{part}.npz"


_SHARED: dict[str, Any] = {
    "task": "speech recognition, 960 h of read English",
    "loss_type": LossType.CTC,
    "metric": "wer",
    "metric_range": (0.0, None),
    "direction": "min",
    "splits": {"train": 263_840, "eval_train": 5_376, "validation": 5_348, "test": 2_472},
    "batch_size": 256,
    "eval_batch_size": 256,
    "dropout": 0.1,
    "data": {"samples": 320_000, "characters": 256, "tokens": 256, "workers": 4},
    "libraries": ("sentencepiece", "soundfile"),
    "extra": "algoperf-lightning[speech]",
    "files": (
        *(f"{FOLDER}/{part}" for part in UTTERANCES),
        *(f"{FOLDER}/{index_file(part)}" for part in UTTERANCES),
        f"{FOLDER}/{TOKENIZER_FILE}",
    ),
}
_TINY_DATA = {"samples": 25_600, "characters": 24, "tokens": 24, "workers": 0}
_TINY_CHANGES = {
    "budget": 75.0,
    "eval_period": 3.0,
    "step_hint": 240,
    "batch_size": 16,
    "eval_batch_size": 64,
    "splits": {"train": 288, "eval_train": 48, "validation": 48, "test": 32},
}

_SMALL_MODEL = {"batch_norm_momentum": 0.02, "frequency_masks": 1, "time_masks": 3}
_SMALL_DATA = {"samples": 8_000, "characters": 6, "tokens": 9, "workers": 0}
_SMALL_CHANGES = {
    "task": "speech recognition, real words in synthetic voices",
    "budget": 100.0,
    "eval_period": 12.5,
    "step_hint": 1_250,
    "batch_size": 6,
    "eval_batch_size": 250,
    "splits": {"train": 6_000, "eval_train": 30, "validation": 500, "test": 60},
}
SMALL_VOCABULARY = 64
SMALL_UTTERANCES = MappingProxyType(
    {
        "train-clean-100": 2_000,
        "train-clean-360": 2_000,
        "train-other-500": 2_000,
        "dev-clean": 250,
        "dev-other": 250,
        "test-clean": 60,
    }
)
"""Recordings in each part of the small size."""

CONFORMER = WorkloadSpec(
    name="librispeech_conformer",
    validation_target=0.085884,
    test_target=0.052981,
    budget=43_680.0,
    eval_period=1_747.0,
    step_hint=76_000,
    step_time=StepTime(0.697),
    cudnn_benchmark=False,
    **_SHARED,
    model={
        "vocabulary": 1024,
        "width": 512,
        "blocks": 4,
        "heads": 8,
        "attention_temperature": 1.0,
        "final_layer_norm": True,
        "batch_norm_momentum": 0.001,
        "activation": "swish",
        "frequency_masks": 2,
        "time_masks": 10,
    },
    variants={
        "attention_temperature": Variant(0.109977, 0.068065, {"attention_temperature": 1.6}),
        "layernorm": Variant(0.09731, 0.05996, {"final_layer_norm": False}),
        "gelu": Variant(0.094114, 0.056629, {"activation": "gelu"}),
    },
    tiny=Variant(
        validation_target=0.352,
        test_target=0.4,
        model={"vocabulary": TINY_VOCABULARY, "width": 48, "blocks": 1, "heads": 4, "batch_norm_momentum": 0.02},
        data=_TINY_DATA,
        changes=_TINY_CHANGES,
    ),
    small=Variant(
        validation_target=None,
        test_target=None,
        model={"vocabulary": SMALL_VOCABULARY, "width": 24, "blocks": 1, "heads": 4, **_SMALL_MODEL},
        data=_SMALL_DATA,
        changes={**_SMALL_CHANGES, "parameter_multiplier": 32.0},
    ),
    versions={
        "0.5": {"budget": 61_068.0, "eval_period": 1_440.0, "step_hint": 80_000},
        "0.6": {"budget": 58_015.0, "eval_period": 1_440.0},
    },
)

DEEPSPEECH = WorkloadSpec(
    name="librispeech_deepspeech",
    validation_target=0.119936,
    test_target=0.074143,
    budget=36_949.0,
    eval_period=1_447.0,
    step_hint=38_400,
    step_time=StepTime(0.755),
    compiled=("loss",),
    **_SHARED,
    model={
        "vocabulary": 1024,
        "width": 512,
        "lstm_layers": 6,
        "feed_forward_layers": 3,
        "activation": "relu",
        "residual": True,
        "layer_norm": False,
        "batch_norm_momentum": 0.001,
        "frequency_masks": 2,
        "time_masks": 10,
    },
    variants={
        "tanh": Variant(0.150883, 0.098613, {"activation": "tanh"}),
        "no_resnet": Variant(0.131564, 0.079297, {"residual": False}),
        "norm_and_spec_aug": Variant(
            0.14342,
            0.090976,
            {"layer_norm": True, "frequency_masks": 4, "time_masks": 15},
            changes={"eval_batch_size": 128},
        ),
    },
    tiny=Variant(
        validation_target=0.152,
        test_target=0.1471,
        model={
            "vocabulary": TINY_VOCABULARY,
            "width": 48,
            "lstm_layers": 2,
            "feed_forward_layers": 1,
            "batch_norm_momentum": 0.02,
        },
        data=_TINY_DATA,
        changes={**_TINY_CHANGES, "budget": 40.0, "eval_period": 1.6, "step_hint": 140},
    ),
    small=Variant(
        validation_target=None,
        test_target=None,
        model={
            "vocabulary": SMALL_VOCABULARY,
            "width": 24,
            "lstm_layers": 2,
            "feed_forward_layers": 1,
            **_SMALL_MODEL,
        },
        data=_SMALL_DATA,
        changes={**_SMALL_CHANGES, "parameter_multiplier": 32.0},
    ),
    versions={
        "0.5": {"budget": 55_506.0, "eval_period": 1_440.0, "step_hint": 48_000},
        "0.6": {"budget": 44_405.0, "eval_period": 1_440.0},
    },
)

SPECS = (CONFORMER, DEEPSPEECH)
