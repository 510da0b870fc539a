"""The numbers of quadratic_deep."""

from __future__ import annotations

from algoperf_lightning.spec import LossType, Variant, WorkloadSpec

PUBLISHED_INSTANCES = (1, 2, 3, 10, 12)
"""The Hessians of the published runs of "Descending through a Crowded Valley"."""


def _published(instance: int) -> Variant:
    return Variant(
        validation_target=None,
        test_target=None,
        model={"instance": instance},
        data={"faithful": True},
        changes={"splits": {"train": 1_000, "eval_train": 896, "validation": 896, "test": 896}},
    )


QUADRATIC_DEEP = WorkloadSpec(
    name="quadratic_deep",
    task="a noisy quadratic in 100 dimensions",
    loss_type=LossType.MEAN_SQUARED_ERROR,
    metric="loss",
    metric_range=(0.0, None),
    direction="min",
    validation_target=85.62,
    test_target=87.16,
    budget=60.0,
    eval_period=0.6,
    step_hint=700,
    epochs=100,
    whole_batches=True,
    splits={"train": 1_000, "eval_train": 1_000, "validation": 1_000, "test": 1_000},
    batch_size=128,
    eval_batch_size=1_000,
    model={"instance": 1},
    data={"faithful": False},
    variants={
        "faithful": _published(1),
        **{f"faithful_{instance}": _published(instance) for instance in PUBLISHED_INSTANCES[1:]},
    },
)

SPECS = (QUADRATIC_DEEP,)
