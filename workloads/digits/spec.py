"""The numbers of digits."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, WorkloadSpec

DIGITS = WorkloadSpec(
    name="digits",
    task="8 x 8 handwritten digits, 10 classes",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=0.968,
    test_target=0.96,
    budget=60.0,
    eval_period=1.0,
    step_hint=10_000,
    splits={"train": 597, "eval_train": 597, "validation": 600, "test": 600},
    batch_size=64,
    eval_batch_size=600,
)

SPECS = (DIGITS,)
