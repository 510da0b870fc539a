"""What a plug-in author needs to test a workload or a submission of their own.

Each check raises an ``AssertionError`` that says what is wrong. In a test file::

    import pytest
    from algoperf_lightning import testing

    @pytest.mark.parametrize("check", testing.SUBMISSION_CHECKS, ids=lambda check: check.__name__)
    def test_my_submission(check, tmp_path):
        check(MySubmission, tmp_path)
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from algoperf_lightning.data import EVALUATION_SPLITS
from algoperf_lightning.data.examples import Batch, Draws
from algoperf_lightning.data.streams import EvaluationBatches, TrainingStream
from algoperf_lightning.errors import NotMeasuredWarning
from algoperf_lightning.hyperparameters import numeric_hyperparameters
from algoperf_lightning.parameters import ParameterKind, parameter_kinds
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.rng import forked_rng
from algoperf_lightning.spec import meets_target
from algoperf_lightning.submission import Submission
from algoperf_lightning.workload import Workload, WorkloadView

WorkloadCheck: TypeAlias = Callable[[type[Workload], Path], None]
SubmissionCheck: TypeAlias = Callable[[type[Submission], Path], None]


class PlainSGD(Submission):
    """The plainest training algorithm, to run a workload with."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr

    def configure_optimizers(self, model: nn.Module, workload: WorkloadView) -> Any:
        """Return SGD without schedule."""
        return torch.optim.SGD(model.parameters(), lr=self.lr, momentum=0.9)


def train(workload: Workload, steps: int, folder: Path, *, checkpoint: Path | None = None, **options: Any) -> L.Trainer:
    """Train until a number of steps on the CPU, without a clock, and return the Trainer.

    Args:
        workload: What to train.
        steps: Optimizer steps, those before the checkpoint included.
        folder: Where the Trainer may write.
        checkpoint: A checkpoint to go on from.
        **options: More arguments of the Trainer.
    """
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
    }
    with _quiet_lightning():
        trainer = L.Trainer(max_steps=steps, max_epochs=-1, default_root_dir=folder, **{**quiet, **options})
        trainer.fit(workload, ckpt_path=checkpoint, weights_only=True)
    return trainer


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotMeasuredWarning)  # a check needs no clock
            yield
    finally:
        logger.setLevel(level)


# Workloads


def at_tiny_size(workload: type[Workload]) -> dict[str, Any]:
    """Return the arguments that make a workload as small as it can be."""
    return {} if workload.spec.tiny is None else {"tiny": True}


def with_tiny_data(workload: type[Workload], folder: Path) -> dict[str, Any]:
    """Write the tiny data set, if the data do not come with the package; return the arguments to use it."""
    if workload.spec.files:
        workload.data_class(workload.spec, folder).write_tiny()
    return {"data_dir": folder, **at_tiny_size(workload)}


def check_spec(workload: type[Workload], folder: Path) -> None:
    """The spec is whole, for every benchmark version and variant, without data or a model."""
    spec = workload.spec
    for version in spec.known_versions:
        for variant, tiny in product((None, *spec.variants), {False, spec.tiny is not None}):
            row = spec.of(version=version, variant=variant, tiny=tiny)
            assert row.eval_period < row.budget, (
                f"{row.full_name} {version}: the budget ends before an evaluation is due"
            )
    needed = {"train", "eval_train", "validation"} | ({"test"} if spec.test_target is not None else set())
    assert needed <= set(spec.splits), f"splits lack {needed - set(spec.splits)}"
    worst = -math.inf if spec.direction == "max" else math.inf
    assert not meets_target(worst, spec.validation_target, spec.direction)
    assert spec.metric in workload(PlainSGD()).build_metrics(), (
        f"build_metrics() lacks the target metric {spec.metric!r}"
    )


def check_model(workload: type[Workload], folder: Path) -> None:
    """Every variant's model is built from the seed alone; its parameters have kinds; the output layer is one of its.

    Like all checks that need a model, at tiny size where there is one.
    """
    for variant in (None, *workload.spec.variants):
        instance = workload(PlainSGD(), variant=variant, **at_tiny_size(workload))
        models = []
        for _ in range(2):
            torch.manual_seed(1)
            models.append(instance.build_model())
        first, second = (dict(model.named_parameters()) for model in models)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), "the seed does not decide the model"
        kinds = parameter_kinds(models[0])
        assert kinds.keys() == first.keys()
        assert all(isinstance(kind, ParameterKind) for kind in kinds.values())
        layers = dict(models[0].named_modules())
        assert workload.output_layer in layers, f"output_layer {workload.output_layer!r} is none of {sorted(layers)}"
        assert list(layers[workload.output_layer].parameters()), "the output layer has no parameters"


def check_data(workload: type[Workload], folder: Path) -> None:
    """Every split is read; each example is evaluated once on any number of ranks, in batches of one shape."""
    data = workload(PlainSGD(), **with_tiny_data(workload, folder)).data
    data.prepare_data()
    data.check()
    for split in EVALUATION_SPLITS.values():
        if split not in data.spec.splits:
            continue
        examples = data.open(split)
        for ranks in (1, 3):
            batches = [batch for rank in range(ranks) for batch in EvaluationBatches(examples, 64, rank, ranks)]
            valid = sum(
                int((batch["weights"].reshape(len(batch["weights"]), -1) > 0).any(1).sum()) for batch in batches
            )
            assert valid == len(examples), (
                f"{split}: {valid} of {len(examples)} examples are evaluated on {ranks} ranks"
            )
            assert len({_shapes(batch) for batch in batches}) == 1, f"{split}: batches differ in shape"
    whole = next(iter(TrainingStream(data.open("train"), 8, seed=3)))
    parts = [next(iter(TrainingStream(data.open("train"), 8, seed=3, rank=rank, ranks=2))) for rank in range(2)]
    for name, value in whole.items():
        if isinstance(value, Tensor) and value.shape[:1] == (8,):
            joined = torch.cat([part[name] for part in parts])
            assert torch.equal(joined, value), f"{name} of a batch depends on the number of ranks"


def check_gradients(workload: type[Workload], folder: Path) -> None:
    """The first loss is finite, one value an example, and its gradient reaches every parameter."""
    instance = _ready(workload, folder)
    batch = _training_batch(instance)
    loss = instance.loss(batch, label_smoothing=0.1)
    assert loss.per_example.ndim == 1, f"per_example has shape {tuple(loss.per_example.shape)}, expected (B,)"
    assert torch.isfinite(loss.per_example).all(), "the first loss is not finite"
    loss.per_example.sum().backward()  # type: ignore[no-untyped-call]
    missing = [name for name, p in instance.network.named_parameters() if p.grad is None]
    assert not missing, f"no gradient reaches {missing}"


def check_compile(workload: type[Workload], folder: Path) -> None:
    """The model is one graph, gives the same losses compiled, and keeps its names."""
    plain = _ready(workload, folder)
    compiled = _ready(workload, folder)
    torch._dynamo.reset()
    compiled.network.compile(backend="aot_eager", fullgraph=True)
    batch = _training_batch(plain)
    for instance in (plain, compiled):
        instance.eval()
    expected, got = (instance.loss(batch).per_example for instance in (plain, compiled))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    torch._dynamo.reset()


def check_dropout(workload: type[Workload], folder: Path) -> None:
    """The rate of dropout of a pass reaches all dropout of the model, that of attention too, and no evaluation."""
    arguments = with_tiny_data(workload, folder)
    for variant in (None, *workload.spec.variants):
        off, on = (
            _built_with_dropout(workload(_small_batches(workload), variant=variant, **arguments), rate)
            for rate in (0.0, 0.5)
        )
        with forked_rng(5), torch.no_grad():
            for parameter in off.network.parameters():  # layers that begin at 0 would hide what comes before them
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        on.network.load_state_dict(off.network.state_dict())
        batch = _training_batch(off)

        def losses(instance: Workload, dropout: float | None = None, batch: Batch = batch) -> Tensor:
            with forked_rng(7), torch.no_grad():
                return instance.view.loss(batch, dropout=dropout).per_example

        if workload.spec.dropout is None:
            assert torch.equal(losses(off), losses(on)), "there is dropout in the model, but spec.dropout is None"
            continue
        assert not torch.equal(losses(off), losses(on)), "a rate of 0.5 drops nothing"
        expected = (
            "a rate does not follow; functional dropout takes that of a module algoperf_lightning.dropout.Dropout"
        )
        assert torch.equal(losses(on, 0.0), losses(off)), expected
        assert torch.equal(losses(off, 0.5), losses(on)), expected
        assert torch.equal(losses(off, 0.0), losses(off)), "the rate stays after the pass"
        torchs = [name for name, module in off.network.named_modules() if type(module) in (nn.Dropout, nn.Dropout2d)]
        assert not torchs, f"a new rate compiles the model again: {torchs} should be algoperf_lightning.dropout.Dropout"
        off.eval()
        assert torch.equal(losses(off, 0.5), losses(off)), "evaluations are with dropout"


def check_resume(workload: type[Workload], folder: Path) -> None:
    """A run that is saved and resumed ends bit-equal to an unbroken one, and a checkpoint holds only plain types."""
    arguments = with_tiny_data(workload, folder)
    _check_resume(lambda: workload(_small_batches(workload), **arguments), folder)


def check_evaluation(workload: type[Workload], folder: Path) -> None:
    """An evaluation gives every metric of every split, and does not disturb training."""
    arguments = with_tiny_data(workload, folder)
    plain, evaluated = (workload(_small_batches(workload), **arguments) for _ in range(2))
    train(plain, 4, folder)
    train(evaluated, 4, folder, val_check_interval=2, check_val_every_n_epoch=None)
    prefixes = {prefix for prefix, split in EVALUATION_SPLITS.items() if split in workload.spec.splits}
    expected = {f"{prefix}/{name}" for prefix in prefixes for name in evaluated.build_metrics()}
    assert set(evaluated.evaluation) == expected, f"metrics are {sorted(evaluated.evaluation)}"
    _assert_equal_models(plain, evaluated, "evaluating changes what is trained")


def check_target(workload: type[Workload], folder: Path) -> None:
    """The target is not met by the first evaluation, after one step: then there would be nothing to measure."""
    instance = workload(_small_batches(workload), **with_tiny_data(workload, folder))
    train(instance, 1, folder, val_check_interval=1, check_val_every_n_epoch=None)
    spec = instance.spec
    value = instance.evaluation[f"validation/{spec.metric}"]
    assert not meets_target(value, spec.validation_target, spec.direction), (
        f"the first evaluation, after one step, has {spec.metric} {value:g} and meets the target "
        f"{spec.validation_target:g}: choose a harder one"
    )


WORKLOAD_CHECKS: tuple[WorkloadCheck, ...] = (
    check_spec,
    check_model,
    check_data,
    check_gradients,
    check_compile,
    check_dropout,
    check_resume,
    check_evaluation,
    check_target,
)
"""All checks of a workload; the folder is for its tiny data and checkpoints."""


# Submissions


def check_hyperparameters(submission: type[Submission], folder: Path) -> None:
    """It is made without arguments, survives copying, and its search space names its arguments.

    If it declares ranges, every hyperparameter that is a number has one; so a misspelt name does not go unseen.
    """
    made = submission()
    assert copy.deepcopy(made).hyperparameters == made.hyperparameters
    numbers = numeric_hyperparameters(submission)
    without = [name for name, number in numbers.items() if number.interval is None]
    assert len(without) in (0, len(numbers)), f"hyperparameter_ranges lacks {', '.join(without)}"
    arguments = set(inspect.signature(submission.__init__).parameters) - {"self"}
    space = submission.search_space
    if space is None:
        return
    ranges = isinstance(space, Mapping)
    points: list[Any] = [space] if ranges else list(space)
    assert points, "an empty search space: leave it None for a submission that tunes itself"
    for point in points:
        unknown = set(point) - arguments
        assert not unknown, f"the search space names {sorted(unknown)}, which __init__ does not take"
    if not ranges:
        for point in points:
            submission(**point)


def check_trains(submission: type[Submission], folder: Path) -> None:
    """It changes every parameter and halves the loss of a small problem in 200 steps, or in 1,000; its name unseen."""
    for steps in (200, 1_000):
        started, trained = (get_workload("digits")(submission(), data_dir=folder) for _ in range(2))
        assert not hasattr(trained.view, "name"), "a submission could tell workloads apart"
        trained.spec = dataclasses.replace(trained.spec, step_hint=steps)
        train(trained, steps, folder)
        started.configure_model()
        batch = trained.data.open("eval_train").read(np.arange(256), Draws(0, np.arange(256)))
        with torch.no_grad():
            before, after = (float(w.eval().loss(batch).per_example.mean()) for w in (started, trained))
        if after < before / 2:
            break
    assert after < before / 2, f"the loss went from {before:.4f} to {after:.4f} in {steps} steps"
    fresh = dict(started.network.named_parameters())
    still = [name for name, p in trained.network.named_parameters() if torch.equal(p, fresh[name])]
    assert not still, f"{steps} steps left {still} as they were"


def check_submission_resume(submission: type[Submission], folder: Path) -> None:
    """A run that is saved and resumed ends bit-equal to an unbroken one, and a checkpoint holds only plain types."""
    _check_resume(lambda: get_workload("digits")(submission(), data_dir=folder), folder)


SUBMISSION_CHECKS: tuple[SubmissionCheck, ...] = (check_hyperparameters, check_trains, check_submission_resume)
"""All checks of a submission; the folder is for checkpoints."""


def _check_resume(make: Callable[[], Workload], folder: Path) -> None:
    unbroken, broken, resumed = make(), make(), make()
    train(unbroken, 6, folder)
    checkpoint = folder / "halfway.ckpt"
    train(broken, 3, folder).save_checkpoint(checkpoint)
    train(resumed, 6, folder, checkpoint=checkpoint)
    _assert_equal_models(unbroken, resumed, "a resumed run ends elsewhere")


def _assert_equal_models(one: Workload, other: Workload, message: str) -> None:
    first, second = one.network.state_dict(), other.network.state_dict()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert not differing, f"{message}: {differing} differ"


def _small_batches(workload: type[Workload]) -> Submission:
    class SmallBatches(PlainSGD):
        batch_sizes: ClassVar = {workload.spec.of(**at_tiny_size(workload)).full_name: 8}

    return SmallBatches()


def _ready(workload: type[Workload], folder: Path) -> Workload:
    """Return a workload with its model built."""
    instance = workload(_small_batches(workload), **with_tiny_data(workload, folder))
    instance.configure_model()
    return instance


def _built_with_dropout(workload: Workload, rate: float) -> Workload:
    workload.submission.dropout = rate
    workload.configure_model()
    return workload


def _training_batch(workload: Workload) -> Batch:
    return next(iter(TrainingStream(workload.data.open("train"), 8, seed=3)))


def _shapes(batch: Batch) -> tuple[Any, ...]:
    return tuple((name, tuple(value.shape)) for name, value in batch.items() if isinstance(value, Tensor))
