"""The numbers of cifar10."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec

FOLDER = "cifar-10-batches-py"
"""Where torchvision keeps the unpacked archive, under the data directory."""

TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILES = ("test_batch",)

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
    files=tuple(f"{FOLDER}/{name}" for name in (*TRAIN_FILES, *TEST_FILES)),
)

SPECS = (CIFAR10,)
