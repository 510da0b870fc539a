"""The numbers of cifar10 and cifar10_3c3d."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec

FOLDER = "cifar-10-batches-py"
"""Folder of the unpacked archive, under the data directory, as in torchvision."""

TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILES = ("test_batch",)

FILES = tuple(f"{FOLDER}/{name}" for name in (*TRAIN_FILES, *TEST_FILES))

CIFAR10 = WorkloadSpec(
    name="cifar10",
    task="32 x 32 colour photographs, 10 classes",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=0.85,
    test_target=0.85,
    budget=3_600.0,
    eval_period=600.0,
    step_hint=4_883,
    compiled=("model",),
    splits={"train": 45_000, "eval_train": 5_120, "validation": 5_000, "test": 10_000},
    batch_size=128,
    eval_batch_size=1_024,
    model={"width": 64, "blocks": 2},
    tiny=Variant(
        validation_target=0.85,
        test_target=0.85,
        model={"width": 8, "blocks": 1},
        changes={"budget": 60.0, "eval_period": 2.0, "step_hint": 400, "batch_size": 32},
    ),
    libraries=("torchvision",),
    extra="algoperf-lightning[vision]",
    files=FILES,
)

CIFAR10_3C3D = WorkloadSpec(
    name="cifar10_3c3d",
    task="32 x 32 colour photographs, 10 classes, small network",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=None,
    test_target=None,
    budget=1_320.0,
    eval_period=13.2,
    step_hint=31_200,
    epochs=100,
    whole_batches=True,
    splits={"train": 40_000, "eval_train": 10_000, "validation": 10_000, "test": 10_000},
    batch_size=128,
    eval_batch_size=1_000,
    model={"channels": (64, 96, 128), "widths": (512, 256)},
    data={"faithful": False},
    variants={
        "faithful": Variant(
            validation_target=None,
            test_target=None,
            data={"faithful": True},
            changes={"splits": {"train": 40_000, "eval_train": 9_984, "validation": 9_984, "test": 9_984}},
        ),
    },
    tiny=Variant(
        validation_target=0.98,
        test_target=0.97,
        model={"channels": (8, 12, 16), "widths": (32, 16)},
        data={"workers": 0},
        changes={
            "budget": 60.0,
            "eval_period": 2.4,
            "step_hint": 400,
            "epochs": 5,
            "batch_size": 32,
            "eval_batch_size": 100,
            "splits": {"train": 400, "eval_train": 100, "validation": 100, "test": 100},
        },
    ),
    libraries=("torchvision",),
    extra="algoperf-lightning[vision]",
    files=FILES,
)

SPECS = (CIFAR10, CIFAR10_3C3D)
