"""The numbers of fastmri."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec
from algoperf_lightning.step_time import StepTime

FOLDER = "fastmri"
"""Folder of the volumes, under the data directory."""

TRAIN_FOLDER = "knee_singlecoil_train"
VALIDATION_FOLDER = "knee_singlecoil_val"

FASTMRI = WorkloadSpec(
    name="fastmri",
    task="knee MRI slices from a quarter of their k-space",
    loss_type=LossType.MEAN_ABSOLUTE_ERROR,
    metric="ssim",
    metric_range=(-1.0, 1.0),
    direction="max",
    validation_target=0.723653,
    test_target=0.740633,
    budget=2_745.0,
    eval_period=110.0,
    step_hint=18_094,
    step_time=StepTime(0.047),
    compiled=("model", "loss"),
    splits={"train": 34_742, "eval_train": 3_584, "validation": 3_554, "test": 3_581},
    batch_size=32,
    eval_batch_size=256,
    dropout=0.0,
    model={"channels": 32, "pools": 4, "activation": "leaky_relu", "norm": "instance"},
    libraries=("h5py",),
    extra="algoperf-lightning[fastmri]",
    files=(f"{FOLDER}/{TRAIN_FOLDER}", f"{FOLDER}/{VALIDATION_FOLDER}"),
    variants={
        "layernorm": Variant(0.723284, 0.739996, model={"norm": "layer"}),
        "model_size": Variant(0.723559, 0.740726, model={"channels": 64, "pools": 3}),
        "tanh": Variant(0.717840, 0.734505, model={"activation": "tanh"}),
    },
    tiny=Variant(
        validation_target=0.8461,
        test_target=0.8463,
        model={"channels": 8, "pools": 2},
        data={"workers": 0},
        changes={
            "budget": 75.0,
            "eval_period": 3.0,
            "step_hint": 400,
            "splits": {"train": 192, "eval_train": 19, "validation": 32, "test": 32},
            "batch_size": 8,
            "eval_batch_size": 32,
        },
    ),
    small=Variant(
        validation_target=None,
        test_target=None,
        model={"channels": 4, "pools": 3},
        data={"workers": 0},
        changes={
            "task": "synthetic MRI slices from a quarter of their k-space",
            "budget": 100.0,
            "eval_period": 12.5,
            "step_hint": 1_250,
            "parameter_multiplier": 16.0,
            "splits": {"train": 2_400, "eval_train": 8, "validation": 504, "test": 24},
            "batch_size": 4,
            "eval_batch_size": 63,
        },
    ),
    versions={
        "0.5": {"budget": 8_859.0, "eval_period": 80.0, "step_hint": 36_189},
        "0.6": {"budget": 4_430.0, "eval_period": 80.0},
    },
)

SPECS = (FASTMRI,)
