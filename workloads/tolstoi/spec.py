"""The numbers of tolstoi_char_rnn."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec

FOLDER = "tolstoi"
"""Folder of the text, under the data directory."""

FILE = "war-and-peace.txt"

# Settings of the data: `rows` is the number of segments of the text that are read in parallel, `length` the number of
# characters in a block. Sizes of splits are in blocks.

TOLSTOI_CHAR_RNN = WorkloadSpec(
    name="tolstoi_char_rnn",
    task="the next character of War and Peace",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric="accuracy",
    metric_range=(0.0, 1.0),
    direction="max",
    validation_target=None,
    test_target=None,
    budget=15_480.0,
    eval_period=77.0,
    step_hint=156_600,
    epochs=200,
    whole_batches=True,
    splits={"train": 39_150, "eval_train": 13_050, "validation": 13_050, "test": 13_050},
    batch_size=50,
    eval_batch_size=50,
    dropout=0.2,
    model={"vocabulary": 83, "width": 128},
    data={"rows": 50, "length": 50},
    # The published runs used the same data; the variant exists because all problems of the study have it.
    variants={"faithful": Variant(validation_target=None, test_target=None)},
    tiny=Variant(
        validation_target=0.6,
        test_target=0.6,
        model={"width": 48},
        data={"rows": 10, "length": 20},
        changes={
            "budget": 60.0,
            "eval_period": 2.4,
            "step_hint": 1_500,
            "epochs": 5,
            "batch_size": 10,
            "eval_batch_size": 10,
            "splits": {"train": 1_790, "eval_train": 590, "validation": 590, "test": 590},
        },
    ),
    files=(f"{FOLDER}/{FILE}",),
)

SPECS = (TOLSTOI_CHAR_RNN,)
