"""The numbers of fmnist_2c2d and fmnist_vae."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec

FOLDER = "FashionMNIST/raw"
"""Folder of the raw files, under the data directory, as in torchvision."""

FILES = (
    f"{FOLDER}/train-images-idx3-ubyte",
    f"{FOLDER}/train-labels-idx1-ubyte",
    f"{FOLDER}/t10k-images-idx3-ubyte",
    f"{FOLDER}/t10k-labels-idx1-ubyte",
)

TINY_SPLITS = {"train": 1_000, "eval_train": 200, "validation": 200, "test": 200}
"""Sizes of the splits of a tiny data set."""

_FAITHFUL = Variant(
    validation_target=None,
    test_target=None,
    data={"faithful": True},
    changes={"splits": {"train": 50_000, "eval_train": 9_984, "validation": 9_984, "test": 9_984}},
)

FMNIST_2C2D = WorkloadSpec(
    name="fmnist_2c2d",
    task="28 x 28 images of clothing, 10 classes",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=None,
    test_target=None,
    budget=600.0,
    eval_period=6.0,
    step_hint=39_000,
    epochs=100,
    whole_batches=True,
    splits={"train": 50_000, "eval_train": 10_000, "validation": 10_000, "test": 10_000},
    batch_size=128,
    eval_batch_size=1_000,
    model={"channels": 32, "width": 1_024},
    data={"faithful": False},
    variants={"faithful": _FAITHFUL},
    tiny=Variant(
        validation_target=0.97,
        test_target=0.95,
        model={"channels": 8, "width": 64},
        changes={
            "budget": 30.0,
            "eval_period": 1.2,
            "step_hint": 300,
            "epochs": 5,
            "batch_size": 32,
            "eval_batch_size": 200,
            "splits": TINY_SPLITS,
        },
    ),
    libraries=("torchvision",),
    extra="algoperf-lightning[vision]",
    files=FILES,
)

FMNIST_VAE = WorkloadSpec(
    name="fmnist_vae",
    task="28 x 28 images of clothing, autoencoder",
    loss_type=LossType.MEAN_SQUARED_ERROR,
    metric="loss",
    metric_range=(0.0, None),
    direction="min",
    validation_target=None,
    test_target=None,
    budget=2_340.0,
    eval_period=23.4,
    step_hint=78_100,
    epochs=100,
    whole_batches=True,
    splits={"train": 50_000, "eval_train": 10_000, "validation": 10_000, "test": 10_000},
    batch_size=64,
    eval_batch_size=1_000,
    dropout=0.2,
    model={"width": 64},
    data={"faithful": False},
    variants={"faithful": _FAITHFUL},
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
            "splits": TINY_SPLITS,
        },
    ),
    libraries=("torchvision",),
    extra="algoperf-lightning[vision]",
    files=FILES,
)

SPECS = (FMNIST_2C2D, FMNIST_VAE)
