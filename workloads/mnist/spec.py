"""The numbers of mnist and mnist_vae."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec

FOLDER = "MNIST/raw"
"""Folder of the raw files, under the data directory, as in torchvision."""

FILES = (
    f"{FOLDER}/train-images-idx3-ubyte",
    f"{FOLDER}/train-labels-idx1-ubyte",
    f"{FOLDER}/t10k-images-idx3-ubyte",
    f"{FOLDER}/t10k-labels-idx1-ubyte",
)

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
    libraries=("torchvision",),
    extra="algoperf-lightning[vision]",
    files=FILES,
)

MNIST_VAE = WorkloadSpec(
    name="mnist_vae",
    task="28 x 28 handwritten digits, autoencoder",
    loss_type=LossType.MEAN_SQUARED_ERROR,
    metric="loss",
    metric_range=(0.0, None),
    direction="min",
    validation_target=None,
    test_target=None,
    budget=1_200.0,
    eval_period=24.0,
    step_hint=39_050,
    epochs=50,
    whole_batches=True,
    splits={"train": 50_000, "eval_train": 10_000, "validation": 10_000, "test": 10_000},
    batch_size=64,
    eval_batch_size=1_000,
    dropout=0.2,
    model={"width": 64},
    data={"faithful": False},
    variants={
        "faithful": Variant(
            validation_target=None,
            test_target=None,
            data={"faithful": True},
            changes={"splits": {"train": 50_000, "eval_train": 9_984, "validation": 9_984, "test": 9_984}},
        ),
    },
    tiny=Variant(
        validation_target=60.0,
        test_target=60.0,
        model={"width": 8},
        changes={
            "budget": 60.0,
            "eval_period": 2.4,
            "step_hint": 1_000,
            "epochs": 5,
            "eval_batch_size": 200,
            "splits": {"train": 1_000, "eval_train": 200, "validation": 200, "test": 200},
        },
    ),
    libraries=("torchvision",),
    extra="algoperf-lightning[vision]",
    files=FILES,
)

SPECS = (MNIST, MNIST_VAE)
