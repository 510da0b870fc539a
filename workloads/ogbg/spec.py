"""The numbers of ogbg."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec
from algoperf_lightning.step_time import StepTime

FOLDER = "ogbg/pcba"
"""Folder of the files, under the data directory; ``ogbg/pcba.zip`` is the official archive."""

SPLIT_FILES = {"train": "train", "validation": "valid", "test": "test"}
"""Name of each split's file of graph indices, in ``split/scaffold`` of the archive."""

RAW_FILES = {
    **{
        name: f"raw/{name}.csv.gz"
        for name in ("num-node-list", "num-edge-list", "node-feat", "edge", "edge-feat", "graph-label")
    },
    **{name: f"split/scaffold/{name}.csv.gz" for name in SPLIT_FILES.values()},
}
"""The official tables by name, each after those it is checked against; each is converted to ``packed/<name>.npy``."""

OGBG = WorkloadSpec(
    name="ogbg",
    task="128 properties of molecules (ogbg-molpcba), by a graph network",
    loss_type=LossType.SIGMOID_CROSS_ENTROPY,
    metric="mean_average_precision",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=0.28098,
    test_target=0.268729,
    budget=11_303.0,
    eval_period=452.0,
    step_hint=52_000,
    step_time=StepTime(0.221),
    compiled=("loss",),
    splits={"train": 350_343, "eval_train": 43_793, "validation": 43_793, "test": 43_793},
    batch_size=512,
    eval_batch_size=32_768,
    dropout=0.1,
    model={"latent": 256, "hidden": (256,), "rounds": 5, "activation": "relu", "narrower": 1},
    libraries=("torch_geometric",),
    extra="algoperf-lightning[ogbg]",
    files=(
        *(f"{FOLDER}/{path}" for path in RAW_FILES.values()),
        *(f"{FOLDER}/packed/{name}.npy" for name in RAW_FILES),
    ),
    variants={
        "gelu": Variant(0.27771, 0.262926, model={"activation": "gelu"}),
        "silu": Variant(0.282178, 0.272144, model={"activation": "silu"}),
        "model_size": Variant(0.269446, 0.253051, model={"latent": 128, "hidden": (256, 256), "rounds": 3}),
    },
    tiny=Variant(
        validation_target=0.5114,
        test_target=0.4978,
        model={"narrower": 8, "rounds": 3},
        changes={
            "budget": 40.0,
            "eval_period": 1.6,
            "step_hint": 800,
            "batch_size": 64,
            "eval_batch_size": 512,
            "splits": {"train": 1_400, "eval_train": 300, "validation": 300, "test": 300},
        },
    ),
    small=Variant(
        validation_target=None,
        test_target=None,
        model={"narrower": 8, "rounds": 3},
        changes={
            "task": "128 properties of synthetic molecules, by a graph network",
            "budget": 100.0,
            "eval_period": 10.0,
            "step_hint": 1_250,
            "parameter_multiplier": 2.0,
            "batch_size": 48,
            "eval_batch_size": 320,
            "splits": {"train": 12_000, "eval_train": 160, "validation": 640, "test": 320},
        },
    ),
    versions={
        "0.6": {"budget": 12_011.0, "eval_period": 240.0},
        "0.5": {"budget": 18_477.0, "eval_period": 240.0, "step_hint": 80_000},
    },
)

SPECS = (OGBG,)
