"""The numbers of imagenet_resnet and imagenet_vit."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec
from algoperf_lightning.step_time import StepTime

FOLDER = "imagenet"
"""Folder of all images, under the data directory."""

CLASSES = 1_000
"""Classes of ImageNet."""

TRAIN_FOLDER = f"{FOLDER}/train"
VALIDATION_FOLDER = f"{FOLDER}/val"
TEST_FOLDER = f"{FOLDER}/imagenetv2-matched-frequency-format-val"
"""The folder in the official archive of ImageNet-v2."""

FILES = (TRAIN_FOLDER, VALIDATION_FOLDER, TEST_FOLDER)

IMAGES = {TRAIN_FOLDER: 1_281_167, VALIDATION_FOLDER: 50_000, TEST_FOLDER: 10_000}
"""Images in each of them."""

TINY_SPLITS = {"train": 400, "eval_train": 100, "validation": 100, "test": 50}
"""Sizes of the splits of a tiny data set."""

SMALL_CLASSES = 40
SMALL_IMAGES = {TRAIN_FOLDER: 8_000, VALIDATION_FOLDER: 520, TEST_FOLDER: 120}
"""Classes and images of the small size."""

_SMALL_DATA = {"classes": SMALL_CLASSES, "rand_augment": False, "workers": 0}
_SMALL_CHANGES = {
    "task": "handwritten digits on fabrics, 40 classes",
    "splits": {"train": 8_000, "eval_train": 40, "validation": 520, "test": 120},
    "batch_size": 16,
    "eval_batch_size": 130,
    "budget": 100.0,
    "eval_period": 10.0,
    "step_hint": 1_250,
}

# Settings of the data: `image_size` is the side of the images in pixels, `classes` the number of classes, and
# `rand_augment` whether RandAugment is applied to training images.

IMAGENET_RESNET = WorkloadSpec(
    name="imagenet_resnet",
    task="photographs, 1,000 classes, ResNet-50",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=1 - 0.22569,
    test_target=1 - 0.3440,
    budget=49_918.0,
    eval_period=1_996.0,
    step_hint=195_999,
    step_time=StepTime(0.642, jax_seconds=0.251),
    compiled=("model",),
    splits={"train": 1_281_167, "eval_train": 50_176, "validation": 50_000, "test": 10_000},
    batch_size=1_024,
    eval_batch_size=1_024,
    model={"activation": "relu", "bn_init_scale": 0.0, "blocks": (3, 4, 6, 3), "width": 64},
    data={"image_size": 224, "classes": CLASSES, "rand_augment": False},
    libraries=("torchvision",),
    extra="algoperf-lightning[imagenet]",
    files=FILES,
    variants={
        "silu": Variant(0.75445, 0.6323, model={"activation": "silu"}, changes={"batch_size": 512}),
        "gelu": Variant(0.76765, 0.6519, model={"activation": "gelu"}, changes={"batch_size": 512}),
        "large_bn_init": Variant(0.76526, 0.6423, model={"bn_init_scale": 8.0}),
    },
    tiny=Variant(
        validation_target=0.98,
        test_target=0.94,
        model={"blocks": (1, 1, 1, 1), "width": 16},
        data={"image_size": 64, "classes": 10, "workers": 0},
        changes={
            "splits": TINY_SPLITS,
            "batch_size": 32,
            "eval_batch_size": 100,
            "budget": 20.0,
            "eval_period": 0.8,
            "step_hint": 120,
        },
    ),
    small=Variant(
        validation_target=None,
        test_target=None,
        model={"blocks": (1, 1, 1), "width": 8},
        data={**_SMALL_DATA, "image_size": 24},
        changes={**_SMALL_CHANGES, "parameter_multiplier": 4.0},
    ),
    versions={
        "0.5": {"budget": 63_008.0, "eval_period": 510.0, "step_hint": 186_666},
        "0.6": {"budget": 66_159.0, "eval_period": 510.0},
    },
)

IMAGENET_VIT = WorkloadSpec(
    name="imagenet_vit",
    task="photographs, 1,000 classes, ViT-S/16",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=1 - 0.22691,
    test_target=1 - 0.3481,
    budget=64_292.0,
    eval_period=2_571.0,
    step_hint=167_999,
    step_time=StepTime(0.793, jax_seconds=0.454),
    compiled=("model", "loss"),
    splits={"train": 1_281_167, "eval_train": 51_200, "validation": 50_000, "test": 10_000},
    batch_size=1_024,
    eval_batch_size=2_048,
    dropout=0.0,
    model={"width": 384, "depth": 12, "mlp_width": 1_536, "heads": 6, "patch": 16},
    data={"image_size": 224, "classes": CLASSES, "rand_augment": True},
    libraries=("torchvision",),
    extra="algoperf-lightning[imagenet]",
    files=FILES,
    variants={
        "glu": Variant(0.75738, 0.6359, model={"gated": True}),
        "post_ln": Variant(0.75312, 0.6286, model={"norm_last": True}),
        "map": Variant(0.77113, 0.6523, model={"attention_pooling": True}),
    },
    tiny=Variant(
        validation_target=0.96,
        test_target=0.98,
        model={"width": 64, "depth": 2, "mlp_width": 128, "heads": 4, "patch": 8},
        data={"image_size": 64, "classes": 10, "workers": 0},
        changes={
            "splits": TINY_SPLITS,
            "batch_size": 32,
            "eval_batch_size": 100,
            "budget": 30.0,
            "eval_period": 1.2,
            "step_hint": 200,
        },
    ),
    small=Variant(
        validation_target=None,
        test_target=None,
        model={"width": 48, "depth": 2, "mlp_width": 96, "heads": 3, "patch": 4},
        data={**_SMALL_DATA, "image_size": 20},
        changes={**_SMALL_CHANGES, "parameter_multiplier": 8.0},
    ),
    versions={
        "0.5": {"budget": 77_520.0, "eval_period": 420.0, "step_hint": 186_666, "compiled": ()},
        "0.6": {"budget": 69_768.0, "eval_period": 420.0, "compiled": ()},
    },
)

SPECS = (IMAGENET_RESNET, IMAGENET_VIT)
