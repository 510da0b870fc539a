"""The numbers of svhn_wrn164."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec

FOLDER = "svhn"
"""Folder of the files, under the data directory."""

TRAIN_FILE = "train_32x32.mat"
TEST_FILE = "test_32x32.mat"

SVHN_WRN164 = WorkloadSpec(
    name="svhn_wrn164",
    task="32 x 32 photographs of house numbers, 10 digits",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=None,
    test_target=None,
    budget=15_480.0,
    eval_period=96.0,
    step_hint=58_880,
    epochs=160,
    whole_batches=True,
    splits={"train": 47_225, "eval_train": 26_032, "validation": 26_032, "test": 26_032},
    batch_size=128,
    eval_batch_size=1_024,
    model={"width": 64},
    data={"faithful": False},
    variants={
        "faithful": Variant(
            validation_target=None,
            test_target=None,
            data={"faithful": True},
            changes={"splits": {"train": 47_225, "eval_train": 25_984, "validation": 25_984, "test": 25_984}},
        ),
    },
    tiny=Variant(
        validation_target=0.97,
        test_target=0.97,
        model={"width": 8},
        data={"workers": 0},
        changes={
            "budget": 50.0,
            "eval_period": 2.0,
            "step_hint": 150,
            "epochs": 5,
            "batch_size": 32,
            "eval_batch_size": 150,
            "splits": {"train": 540, "eval_train": 300, "validation": 300, "test": 300},
        },
    ),
    libraries=("torchvision",),
    extra="algoperf-lightning[vision]",
    files=(f"{FOLDER}/{TRAIN_FILE}", f"{FOLDER}/{TEST_FILE}"),
)

SPECS = (SVHN_WRN164,)
