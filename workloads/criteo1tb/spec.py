"""The numbers of criteo1tb."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec
from algoperf_lightning.step_time import StepTime

FOLDER = "criteo1tb"
"""Folder of the raw files, under the data directory."""

CONVERTED = f"{FOLDER}/converted"
"""Folder of the converted files, under the data directory."""

DAYS = 24
"""Days of clicks; the last one is validation and test."""

_OLDER = {"budget": 7_703.0, "eval_period": 120.0}

CRITEO1TB = WorkloadSpec(
    name="criteo1tb",
    task="click-through rate of advertisements, 4.2e9 rows",
    loss_type=LossType.SIGMOID_CROSS_ENTROPY,
    metric="loss",
    metric_range=(0.0, None),
    direction="min",
    validation_target=0.123735,
    test_target=0.126041,
    budget=8_915.0,
    eval_period=356.0,
    step_hint=10_666,
    step_time=StepTime(0.869),
    cudnn_benchmark=False,
    splits={"train": 4_195_197_692, "eval_train": 83_279_872, "validation": 83_274_637, "test": 95_000_000},
    batch_size=262_144,
    # The benchmark has two values, 8,192 (PyTorch) and 131,072 (JAX). It affects the time, but not the metric.
    eval_batch_size=131_072,
    dropout=0.0,
    model={
        "vocab_size": 4_194_304,
        "embed_dim": 128,
        "bottom": (512, 256),  # hidden widths; the bottom MLP ends at embed_dim, the top MLP at 1
        "top": (1024, 1024, 512, 256),
        "layer_norm": False,
        "embedding_scale": None,  # 1 / sqrt(vocab_size)
        "residual": False,
        "residual_width": 256,
    },
    files=tuple(f"{CONVERTED}/day_{day}.json" for day in range(DAYS)),
    variants={
        "layernorm": Variant(0.123757, 0.126152, model={"layer_norm": True}),
        "embed_init": Variant(0.129657, 0.131967, model={"embedding_scale": 1.0}),
        "resnet": Variant(0.12415, 0.12648, model={"residual": True}),
    },
    versions={"0.5": _OLDER, "0.6": _OLDER},
    tiny=Variant(
        validation_target=0.3413,
        test_target=0.346,
        model={"vocab_size": 4_096, "embed_dim": 16, "bottom": (32, 32), "top": (64, 32), "residual_width": 32},
        data={"workers": 0},
        changes={
            "budget": 10.0,
            "eval_period": 0.4,
            "step_hint": 400,
            "batch_size": 128,
            "eval_batch_size": 1_024,
            "splits": {"train": 23_000, "eval_train": 4_600, "validation": 3_330, "test": 3_800},
        },
    ),
    small=Variant(
        validation_target=None,
        test_target=None,
        model={"vocab_size": 16_384, "embed_dim": 16, "bottom": (64, 32), "top": (96, 64, 32), "residual_width": 64},
        data={"workers": 0},
        changes={
            "task": "click-through rate in a synthetic log, 300,000 rows",
            "budget": 100.0,
            "eval_period": 10.0,
            "step_hint": 1_500,
            "parameter_multiplier": 4.0,
            "batch_size": 192,
            "eval_batch_size": 2_048,
            "splits": {"train": 289_800, "eval_train": 400, "validation": 4_100, "test": 1_900},
        },
    ),
)

SPECS = (CRITEO1TB,)
