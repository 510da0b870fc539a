"""The numbers of cifar100_allcnnc."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec

FOLDER = "cifar-100-python"
"""Folder of the unpacked archive, under the data directory, as in torchvision."""

CIFAR100_ALLCNNC = WorkloadSpec(
    name="cifar100_allcnnc",
    task="32 x 32 colour photographs, 100 classes",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=None,
    test_target=None,
    budget=16_200.0,
    eval_period=46.0,
    step_hint=54_600,
    epochs=350,
    whole_batches=True,
    splits={"train": 40_000, "eval_train": 10_000, "validation": 10_000, "test": 10_000},
    batch_size=256,
    eval_batch_size=1_000,
    dropout=0.5,
    model={"width": 96},
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
        validation_target=0.65,
        test_target=0.65,
        model={"width": 16},
        data={"workers": 0},
        changes={
            "budget": 120.0,
            "eval_period": 4.8,
            "step_hint": 1_000,
            "epochs": 5,
            "batch_size": 32,
            "eval_batch_size": 200,
            "splits": {"train": 1_600, "eval_train": 400, "validation": 400, "test": 400},
        },
    ),
    libraries=("torchvision",),
    extra="algoperf-lightning[vision]",
    files=(f"{FOLDER}/train", f"{FOLDER}/test"),
)

SPECS = (CIFAR100_ALLCNNC,)
