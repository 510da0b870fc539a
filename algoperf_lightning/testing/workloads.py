"""Checks of a workload."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from algoperf_lightning.data.examples import Batch
from algoperf_lightning.data.streams import EvaluationBatches, TrainingStream
from algoperf_lightning.data.workload_data import EVALUATION_SPLITS
from algoperf_lightning.multiplied import multiply_parameters
from algoperf_lightning.objective import Objective
from algoperf_lightning.parameters import ParameterKind, parameter_kinds
from algoperf_lightning.rng import forked_rng
from algoperf_lightning.roles import parameter_roles
from algoperf_lightning.sizes import at_size
from algoperf_lightning.spec import meets_target
from algoperf_lightning.testing.runs import (
    PlainSGD,
    assert_equal_models,
    at_tiny_size,
    built_with_dropout,
    compare_resumed,
    ready,
    small_batches,
    train,
    training_batch,
    with_tiny_data,
)
from algoperf_lightning.workload import Workload

WorkloadCheck: TypeAlias = Callable[[type[Workload], Path], None]


def check_spec(workload: type[Workload], folder: Path) -> None:
    """The spec is complete for every benchmark version and variant, without data or a model."""
    spec = workload.spec
    for version in spec.known_versions:
        for variant, size in product((None, *spec.variants), (None, *spec.sizes)):
            row = spec.of(version=version, variant=variant, **at_size(size))
            assert row.eval_period < row.budget, (
                f"{row.full_name} {version}: the budget ends before an evaluation is due"
            )
    needed = {"train", "eval_train", "validation"} | ({"test"} if spec.test_target is not None else set())
    assert needed <= set(spec.splits), f"splits do not include {needed - set(spec.splits)}"
    worst = -math.inf if spec.direction == "max" else math.inf
    if spec.validation_target is not None:
        assert not meets_target(worst, spec.validation_target, spec.direction)
    assert spec.metric in workload(PlainSGD()).build_metrics(), (
        f"build_metrics() does not return the target metric {spec.metric!r}"
    )


def check_model(workload: type[Workload], folder: Path) -> None:
    """The model of every variant depends only on the seed, its parameters have kinds, and it has the output layer.

    Like all checks that need a model, this one uses the tiny size if there is one.
    """
    for variant in (None, *workload.spec.variants):
        instance = workload(PlainSGD(), variant=variant, **at_tiny_size(workload))
        models = []
        for _ in range(2):
            torch.manual_seed(1)
            models.append(instance.build_model())
        first, second = (dict(model.named_parameters()) for model in models)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), "models built with the same seed differ"
        kinds = parameter_kinds(models[0])
        assert kinds.keys() == first.keys()
        assert all(isinstance(kind, ParameterKind) for kind in kinds.values())
        parameter_roles(models[0])  # raises if a declared role is invalid
        layers = dict(models[0].named_modules())
        assert workload.output_layer in layers, f"output_layer {workload.output_layer!r} is not one of {sorted(layers)}"
        assert list(layers[workload.output_layer].parameters()), "the output layer has no parameters"


def check_data(workload: type[Workload], folder: Path) -> None:
    """Every split can be read; each example is evaluated once on any number of ranks, in batches of the same shape."""
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
    """The first loss is finite, with one value per example, and its gradient reaches every parameter."""
    instance = ready(workload, folder)
    batch = training_batch(instance)
    loss = instance.loss(batch, label_smoothing=0.1)
    assert loss.per_example.ndim == 1, f"per_example has shape {tuple(loss.per_example.shape)}, expected (B,)"
    assert torch.isfinite(loss.per_example).all(), "the first loss is not finite"
    loss.per_example.sum().backward()  # type: ignore[no-untyped-call]
    missing = [name for name, p in instance.network.named_parameters() if p.grad is None]
    assert not missing, f"no gradient reaches {missing}"


def check_outputs(workload: type[Workload], folder: Path) -> None:
    """The loss is the loss of the outputs plus the regularisation term, and ``loss_of`` uses no parameter.

    A workload that defines only ``loss`` passes, because it has no outputs.
    """
    if workload.outputs is Objective.outputs:
        return
    instance = ready(workload, folder)
    instance.eval()  # dropout and masks would differ between passes
    batch = training_batch(instance)
    outputs = instance.outputs(batch)
    parts: Any = [outputs] if isinstance(outputs, Tensor) else outputs
    parts = list(parts.values()) if isinstance(parts, dict) else list(parts)
    assert all(isinstance(part, Tensor) for part in parts), "outputs are neither a tensor, nor a tuple or dict of them"
    assert any(part.requires_grad for part in parts), "no output depends on a parameter"
    expected = instance.regularized(instance.loss_of(outputs, batch, label_smoothing=0.1))
    loss = instance.loss(batch, label_smoothing=0.1)
    torch.testing.assert_close(loss.per_example, expected.per_example, rtol=1e-4, atol=1e-5)
    assert (loss.weight is None) == (expected.weight is None), "loss and loss_of differ in their weights"
    if loss.weight is not None and expected.weight is not None:
        assert torch.equal(loss.weight, expected.weight), "loss and loss_of differ in their weights"
    detached = tree_map_only(Tensor, Tensor.detach, outputs)
    assert not instance.loss_of(detached, batch).per_example.requires_grad, "loss_of uses a parameter of the model"


def check_multiplied(workload: type[Workload], folder: Path) -> None:
    """Modules read their parameters as attributes, so that the model can compute with a multiple of them.

    See :func:`~algoperf_lightning.multiplied.multiply_parameters`.
    """
    instance = ready(workload, folder)
    instance.eval()
    batch = training_batch(instance)
    factor = 4.0
    losses, gradients = [], []
    for _ in range(2):
        losses.append(instance.loss(batch).per_example)
        losses[-1].mean().backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad for name, p in instance.network.named_parameters()})
        instance.zero_grad()
        multiply_parameters(instance.network, factor)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)
    for name, gradient in gradients[0].items():
        if gradient is not None:
            message = f"the gradient of {name}, which is multiplied by {factor:g}, is not {factor:g} times as large"
            torch.testing.assert_close(gradients[1][name], factor * gradient, rtol=1e-4, atol=1e-5, msg=message)


def check_parts(workload: type[Workload], folder: Path) -> None:
    """Micro-batches have the same examples, units and, in evaluation mode, gradients as the batch."""
    instance = ready(workload, folder)
    instance.eval()  # batch norm and dropout would differ between parts
    batch = training_batch(instance)
    losses, gradients = [], []
    for parts in ([batch], instance.split_batch(batch, 3)):
        computed = [instance.loss(part, label_smoothing=0.1) for part in parts]
        for part, loss in zip(parts, computed, strict=True):
            units = instance.count_units(part)
            assert (units is None) == (loss.weight is None), "count_units differs from the weights of the loss"
            if units is not None and loss.weight is not None:
                torch.testing.assert_close(units, loss.weight, msg="count_units differs from the weights of the loss")
        losses.append(torch.cat([loss.per_example for loss in computed]))
        losses[-1].mean().backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in instance.network.parameters()])
        instance.zero_grad()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)
    first = instance.loss(instance.first_examples(batch, 3), label_smoothing=0.1)
    torch.testing.assert_close(first.per_example, losses[0][:3], rtol=1e-4, atol=1e-5, msg="first_examples differ")
    for whole, in_parts in zip(*gradients, strict=True):
        torch.testing.assert_close(in_parts, whole, rtol=1e-3, atol=1e-5)


def check_compile(workload: type[Workload], folder: Path) -> None:
    """The compiled model is a single graph, gives the same losses, and keeps the names of its parameters."""
    plain = ready(workload, folder)
    compiled = ready(workload, folder)
    torch._dynamo.reset()
    compiled.network.compile(backend="aot_eager", fullgraph=True)
    batch = training_batch(plain)
    for instance in (plain, compiled):
        instance.eval()
    expected, got = (instance.loss(batch).per_example for instance in (plain, compiled))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    torch._dynamo.reset()


def check_dropout(workload: type[Workload], folder: Path) -> None:
    """The dropout rate of a pass applies to all dropout of the model, including attention, but not to evaluations."""
    arguments = with_tiny_data(workload, folder)
    for variant in (None, *workload.spec.variants):
        off, on = (
            built_with_dropout(workload(small_batches(workload), variant=variant, **arguments), rate)
            for rate in (0.0, 0.5)
        )
        with forked_rng(5), torch.no_grad():
            for parameter in off.network.parameters():  # layers initialised to 0 would hide previous layers
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
        on.network.load_state_dict(off.network.state_dict())
        batch = training_batch(off)

        def losses(instance: Workload, dropout: float | None = None, batch: Batch = batch) -> Tensor:
            with forked_rng(7), torch.no_grad():
                return instance.view.loss(batch, dropout=dropout).per_example

        if workload.spec.dropout is None:
            assert torch.equal(losses(off), losses(on)), "there is dropout in the model, but spec.dropout is None"
            continue
        assert not torch.equal(losses(off), losses(on)), "a dropout rate of 0.5 has no effect"
        expected = (
            "the dropout rate of a pass is not applied; functional dropout takes the rate of a module "
            "algoperf_lightning.dropout.Dropout"
        )
        assert torch.equal(losses(on, 0.0), losses(off)), expected
        assert torch.equal(losses(off, 0.5), losses(on)), expected
        assert torch.equal(losses(off, 0.0), losses(off)), "the dropout rate is not reset after the pass"
        torchs = [name for name, module in off.network.named_modules() if type(module) in (nn.Dropout, nn.Dropout2d)]
        assert not torchs, f"a new rate compiles the model again: {torchs} should be algoperf_lightning.dropout.Dropout"
        off.eval()
        assert torch.equal(losses(off, 0.5), losses(off)), "dropout is active in evaluation"


def check_resume(workload: type[Workload], folder: Path) -> None:
    """A run that is saved and resumed is bit-equal to an uninterrupted one; checkpoints contain only plain types."""
    arguments = with_tiny_data(workload, folder)
    compare_resumed(lambda: workload(small_batches(workload), **arguments), folder)


def check_evaluation(workload: type[Workload], folder: Path) -> None:
    """An evaluation returns every metric of every split, and does not affect training."""
    arguments = with_tiny_data(workload, folder)
    plain, evaluated = (workload(small_batches(workload), **arguments) for _ in range(2))
    train(plain, 4, folder)
    train(evaluated, 4, folder, val_check_interval=2, check_val_every_n_epoch=None)
    prefixes = {prefix for prefix, split in EVALUATION_SPLITS.items() if split in workload.spec.splits}
    expected = {f"{prefix}/{name}" for prefix in prefixes for name in evaluated.build_metrics()}
    assert set(evaluated.evaluation) == expected, f"metrics are {sorted(evaluated.evaluation)}"
    assert_equal_models(plain, evaluated, "evaluation changes the trained parameters")


def check_target(workload: type[Workload], folder: Path) -> None:
    """The target is not met at the first evaluation, after one step; otherwise there would be nothing to measure."""
    instance = workload(small_batches(workload), **with_tiny_data(workload, folder))
    train(instance, 1, folder, val_check_interval=1, check_val_every_n_epoch=None)
    spec = instance.spec
    if spec.validation_target is None:
        return
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
    check_outputs,
    check_multiplied,
    check_parts,
    check_compile,
    check_dropout,
    check_resume,
    check_evaluation,
    check_target,
)
"""All checks of a workload; the folder is for its tiny data and checkpoints."""


def _shapes(batch: Batch) -> tuple[Any, ...]:
    return tuple((name, tuple(value.shape)) for name, value in batch.items() if isinstance(value, Tensor))
