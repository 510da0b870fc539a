"""Torch set up as the benchmark's own runs: what each version does, that it is recorded, and that losses stay."""

from __future__ import annotations

import functools

import lightning as L
import pytest
import torch

from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import get_spec
from algoperf_lightning.rng import forked_rng
from algoperf_lightning.scoring.benchmarks import get_benchmark
from algoperf_lightning.spec import BENCHMARK_VERSIONS
from algoperf_lightning.testing import PlainSGD, at_tiny_size
from algoperf_lightning.training.benchmark_settings import BenchmarkSettings
from algoperf_lightning.workloads import Digits

# Of the official sources: which models and which losses are compiled.
COMPILED = {
    "0.6": ({"fastmri", "imagenet_resnet", "wmt"}, {"fastmri", "librispeech_deepspeech", "ogbg", "wmt"}),
    "1.0": (
        {"fastmri", "imagenet_resnet", "imagenet_vit", "wmt", "finewebedu_lm"},
        {"fastmri", "librispeech_deepspeech", "ogbg", "wmt", "finewebedu_lm", "imagenet_vit"},
    ),
}
COMPILED["0.5"] = COMPILED["0.6"]
OFFICIAL = sorted(workload.name for workload in get_benchmark("1.0", "external").base)


@pytest.mark.parametrize("version", BENCHMARK_VERSIONS)
def test_every_version_compiles_what_its_sources_do(version):
    settings = {
        name: BenchmarkSettings.of(get_spec(name).of(version=version))
        for name in OFFICIAL
        if version in get_spec(name).known_versions
    }
    for part, expected in zip(("model", "loss"), COMPILED[version], strict=True):
        assert {name for name, found in settings.items() if part in found.compiled} == expected
    assert {found.matmul_precision for found in settings.values()} == {"high" if version == "1.0" else None}
    plain = {name for name, found in settings.items() if not found.cudnn_benchmark}
    assert plain == {"criteo1tb", "librispeech_conformer"}


class Watching(PlainSGD):
    """Notes how torch is set up while it trains."""

    def training_step(self, workload, batch):
        self.seen = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
        return super().training_step(workload, batch)


def fit(folder, workload):
    budget = TimeBudget(eval_period=1e-6)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(
        callbacks=[budget], max_steps=2, logger=False, default_root_dir=folder, accelerator="cpu", **options
    )
    trainer.fit(workload)
    return budget.result


@pytest.fixture
def own_settings():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.benchmark = before[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "asked", "expected"),
    [("1.0", True, ("high", True)), ("0.6", True, ("highest", True)), ("1.0", False, ("highest", False))],
)
def test_a_run_has_the_versions_settings_records_them_and_sets_them_back(
    version, asked, expected, own_settings, tmp_path
):
    submission = Watching()
    result = fit(tmp_path, Digits(submission, version=version, benchmark_settings=asked))
    assert submission.seen == expected
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.benchmark is False
    recorded = ("float32_matmul_precision", "cudnn_benchmark", "benchmark_settings")
    assert tuple(result.environment[name] for name in recorded) == (*expected, asked)
    changed = [warning for warning in result.warnings if "changed during the run" in warning]
    assert changed == [], "the submission did not do it"


class Failing(PlainSGD):
    """Raises at the beginning, or in its second step."""

    def __init__(self, where="configure_optimizers"):
        super().__init__()
        self.where, self.steps = where, 0

    def configure_optimizers(self, model, workload):
        if self.where == "configure_optimizers":
            raise ValueError("no luck")
        return super().configure_optimizers(model, workload)

    def training_step(self, workload, batch):
        self.steps += 1
        if self.steps == 2:
            raise ValueError("no luck")
        return super().training_step(workload, batch)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["configure_optimizers", "training_step"])
def test_a_run_that_fails_sets_them_back(where, own_settings, tmp_path):
    with pytest.raises(ValueError, match="no luck"):
        fit(tmp_path, Digits(Failing(where), benchmark_settings=True))
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.benchmark is False


def test_what_is_compiled_is_the_versions_choice_and_recorded():
    plain = get_workload("imagenet_vit")(PlainSGD(), tiny=True, compile="max-autotune").torch_settings()
    assert (plain["compile"], plain["compile_loss"], plain["benchmark_settings"]) == ("max-autotune", False, False)
    for version, (models, losses) in COMPILED.items():
        for name in OFFICIAL:
            if version in get_spec(name).known_versions:
                workload = get_workload(name)(
                    PlainSGD(), tiny=True, version=version, compile=True, benchmark_settings=True
                )
                found = workload.torch_settings()
                assert (found["compile"], found["compile_loss"]) == (name in models, name in losses), (version, name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("ogbg", "librispeech_deepspeech") else pytest.mark.slow)
        for name in OFFICIAL
    ],
)
def test_compiled_models_and_losses_give_the_same_numbers(name, tmp_path, monkeypatch):
    cls = get_workload(name)
    data = cls.data_class(cls.spec, tmp_path)
    data.write_tiny()
    torch._dynamo.reset()
    # As one graph each (but CTC, of which torch makes none), and without code generation, which takes minutes.
    whole = name != "librispeech_deepspeech"
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=whole))
    losses, gradients = [], []
    for asked in (False, True):
        workload = cls(PlainSGD(), data_dir=tmp_path, benchmark_settings=asked, **at_tiny_size(cls))
        workload.configure_model()
        with forked_rng(0):
            batch = next(iter(workload.data.training_batches(4, 0, 1, next, None)))
            loss = workload.loss(batch, label_smoothing=0.1)
        loss.per_example.sum().backward()
        losses.append(loss)
        gradients.append([parameter.grad for parameter in workload.network.parameters()])
        if asked:
            kept = type(workload).loss_function
            assert (workload.loss_function is not kept) == (
                workload.torch_settings()["compile_loss"] and kept is not None
            )
    plain, compiled = losses
    torch.testing.assert_close(compiled.per_example, plain.per_example, rtol=1e-5, atol=1e-5)
    assert (compiled.weight is None) == (plain.weight is None)
    if plain.weight is not None:
        assert torch.equal(compiled.weight, plain.weight)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)
    torch._dynamo.reset()
