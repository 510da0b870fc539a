"""The numbers of mnist."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec

FOLDER = "MNIST/raw"
"""Where torchvision keeps the raw files, under the data directory."""

MNIST = WorkloadSpec(
    name="mnist",
    task="28 x 28 handwritten digits, 10 classes",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=0.97,
    test_target=0.97,
    budget=60.0,
    eval_period=10.0,
    step_hint=7_813,
    compiled=("model",),
    splits={"train": 50_000, "eval_train": 10_000, "validation": 10_000, "test": 10_000},
    batch_size=16,
    eval_batch_size=10_000,
    tiny=Variant(
        validation_target=0.93,
        test_target=0.93,
        changes={"budget": 20.0, "eval_period": 0.5, "step_hint": 2_000, "eval_batch_size": 1_000},
    ),
    files=(
        f"{FOLDER}/train-images-idx3-ubyte",
        f"{FOLDER}/train-labels-idx1-ubyte",
        f"{FOLDER}/t10k-images-idx3-ubyte",
        f"{FOLDER}/t10k-labels-idx1-ubyte",
    ),
)

SPECS = (MNIST,)
