"""Each of Lightning's Trainer options and callbacks is decided, and a Trainer that was given it does as decided."""

import inspect
import warnings

import lightning as L
import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import AsyncCheckpointIO, TorchSyncBatchNorm
from lightning.pytorch.strategies import DDPStrategy
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.callbacks.trainer_decisions import CALLBACKS, TRAINER_OPTIONS, Verdict
from algoperf_lightning.callbacks.trainer_options import TrainerOptionError

OPTIONS = {
    "accelerator": "cpu",
    "strategy": "fsdp",
    "devices": 1,
    "num_nodes": 1,
    "precision": "64-true",
    "logger": lambda folder: CSVLogger(folder),
    "callbacks": lambda folder: [L.Callback()],
    "fast_dev_run": 2,
    "max_epochs": 3,
    "min_epochs": 2,
    "max_steps": 8,
    "min_steps": 3,
    "max_time": "00:00:01:00",
    "limit_train_batches": 10,
    "limit_val_batches": 0.5,
    "limit_test_batches": 1,
    "limit_predict_batches": 1,
    "overfit_batches": 1,
    "val_check_interval": 5,
    "check_val_every_n_epoch": 7,
    "num_sanity_val_steps": 2,
    "log_every_n_steps": 1,
    "enable_checkpointing": True,
    "enable_progress_bar": True,
    "enable_model_summary": True,
    "accumulate_grad_batches": 2,
    "gradient_clip_val": 1.0,
    "gradient_clip_algorithm": "value",
    "deterministic": True,
    "benchmark": True,
    "inference_mode": False,
    "use_distributed_sampler": False,
    "profiler": "simple",
    "detect_anomaly": True,
    "barebones": True,
    "plugins": lambda folder: [AsyncCheckpointIO()],
    "sync_batchnorm": True,
    "reload_dataloaders_every_n_epochs": 1,
    "default_root_dir": lambda folder: folder / "elsewhere",
    "enable_autolog_hparams": False,
    "model_registry": "mine",
}
"""A value for each option, other than its default."""


class Writer(lightning_callbacks.BasePredictionWriter):
    pass


class Unfreezing(lightning_callbacks.BaseFinetuning):
    pass


MADE = {
    "BackboneFinetuning": lightning_callbacks.BackboneFinetuning,
    "BaseFinetuning": Unfreezing,
    "BasePredictionWriter": Writer,
    "BatchSizeFinder": lightning_callbacks.BatchSizeFinder,
    "Callback": L.Callback,
    "Checkpoint": lightning_callbacks.Checkpoint,
    "DeviceStatsMonitor": lightning_callbacks.DeviceStatsMonitor,
    "EMAWeightAveraging": lightning_callbacks.EMAWeightAveraging,
    "EarlyStopping": lambda: lightning_callbacks.EarlyStopping("validation/accuracy", patience=100, mode="max"),
    "GradientAccumulationScheduler": lambda: lightning_callbacks.GradientAccumulationScheduler({0: 1}),
    "LambdaCallback": lambda: lightning_callbacks.LambdaCallback(on_train_start=lambda *_: None),
    "LearningRateFinder": lightning_callbacks.LearningRateFinder,
    "LearningRateMonitor": lightning_callbacks.LearningRateMonitor,
    "ModelCheckpoint": lightning_callbacks.ModelCheckpoint,
    "ModelPruning": lambda: lightning_callbacks.ModelPruning("l1_unstructured"),
    "ModelSummary": lightning_callbacks.ModelSummary,
    "OnExceptionCheckpoint": lambda: lightning_callbacks.OnExceptionCheckpoint("folder"),
    "ProgressBar": lightning_callbacks.ProgressBar,
    "RichModelSummary": lightning_callbacks.RichModelSummary,
    "RichProgressBar": lightning_callbacks.RichProgressBar,
    "SpikeDetection": lightning_callbacks.SpikeDetection,
    "StochasticWeightAveraging": lambda: lightning_callbacks.StochasticWeightAveraging(0.1),
    "TQDMProgressBar": lightning_callbacks.TQDMProgressBar,
    "ThroughputMonitor": lambda: lightning_callbacks.ThroughputMonitor(lambda batch: 8, window_size=2),
    "Timer": lambda: lightning_callbacks.Timer("00:00:01:00"),
    "WeightAveraging": lambda: lightning_callbacks.WeightAveraging(avg_fn=get_ema_avg_fn()),
}
"""Each callback with as little as it needs."""


@pytest.fixture(autouse=True)
def settings_as_they_were():
    kept = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, torch.get_default_dtype()
    yield
    torch.use_deterministic_algorithms(kept[0])
    torch.backends.cudnn.benchmark = kept[1]
    torch.set_default_dtype(kept[2])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The result of an ordinary Trainer."""
    time_budget, *_ = controlled_fit(tmp_path_factory.mktemp("plain"), budget={"budget": 2.0})
    return time_budget.result


def rows(result):
    return [
        (evaluation.step, evaluation.submission_seconds, dict(evaluation.metrics)) for evaluation in result.evaluations
    ]


def value_of(option, folder):
    value = OPTIONS[option]
    return value(folder) if callable(value) else value


def run(folder, callbacks=(), default_root_dir=None, **trainer):
    """Fit with what was given alone; Lightning's own quiet only where it does not stand in the way."""
    if trainer.get("barebones"):
        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), None)
        trainer = {**quiet, **trainer}
    kinds = [type(callback).__name__ for callback in callbacks]
    if any("Bar" in kind for kind in kinds):
        trainer["enable_progress_bar"] = True
    if any("Summary" in kind for kind in kinds):
        trainer["enable_model_summary"] = True
    return controlled_fit(default_root_dir or folder, callbacks=callbacks, budget={"budget": 2.0}, trainer=trainer)


def test_every_option_of_the_trainer_is_decided():
    assert set(inspect.signature(L.Trainer).parameters) == TRAINER_OPTIONS.keys() == OPTIONS.keys()


def test_every_callback_of_lightning_is_decided():
    assert set(lightning_callbacks.__all__) == CALLBACKS.keys() == MADE.keys()


def of(table, *verdicts):
    return [name for name, decision in table.items() if decision.verdict in verdicts]


@pytest.mark.parametrize("option", of(TRAINER_OPTIONS, Verdict.REFUSED))
def test_refused_options_are_named_with_the_way_out(option, tmp_path):
    given = DDPStrategy(model_averaging_period=3) if option == "strategy" else value_of(option, tmp_path)
    with pytest.raises(TrainerOptionError) as error:
        run(tmp_path, **{option: given})
    message = str(error.value).replace("model_averaging_period of DDPStrategy", "strategy")
    assert option in message
    assert TRAINER_OPTIONS[option].text in message
    assert message.count("\n- ") == 1


@pytest.mark.parametrize("option", of(TRAINER_OPTIONS, Verdict.IGNORED))
def test_ignored_options_are_named_and_change_nothing(option, tmp_path, plain):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        time_budget, *_ = run(tmp_path, **{option: value_of(option, tmp_path)})
    if option != "num_sanity_val_steps":  # whose default and 2 are the same
        said = [str(warning.message) for warning in caught if f"{option}=" in str(warning.message)]
        assert said
        assert "is ignored" in said[0]
    assert rows(time_budget.result) == rows(plain)


@pytest.mark.parametrize("option", of(TRAINER_OPTIONS, Verdict.ALLOWED, Verdict.IRRELEVANT))
def test_what_is_allowed_or_irrelevant_leaves_the_measurement_as_it_is(option, tmp_path, plain):
    time_budget, *_ = run(tmp_path, **{option: value_of(option, tmp_path)})
    result = time_budget.result
    assert result.warnings == plain.warnings
    got = rows(result)
    if option == "precision":  # which other numbers come of
        assert [row[:2] for row in got] == [row[:2] for row in rows(plain)]
    else:
        assert got == rows(plain)


@pytest.mark.parametrize("position", ["before the clock", "after the clock"])
@pytest.mark.parametrize("name", of(CALLBACKS, Verdict.REFUSED))
def test_refused_callbacks_are_named_with_the_way_out(name, position, tmp_path):
    clock = FakeClock()
    callbacks = [MADE[name](), TimeBudget(clock=clock)]
    if position == "after the clock":
        callbacks.reverse()
    trainer = L.Trainer(
        callbacks=callbacks, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    with pytest.raises(TrainerOptionError) as error:
        trainer.fit(TimedDigits(TimedSubmission(clock)))
    assert name in str(error.value)
    assert CALLBACKS[name].text in str(error.value)


def test_a_subclass_of_a_refused_callback_is_refused(tmp_path):
    class Mine(lightning_callbacks.EMAWeightAveraging):
        pass

    with pytest.raises(TrainerOptionError, match="Mine, a EMAWeightAveraging, evaluates weights other"):
        run(tmp_path, [Mine()])


@pytest.mark.parametrize("name", of(CALLBACKS, Verdict.ALLOWED, Verdict.IRRELEVANT))
def test_allowed_callbacks_leave_the_measurement_as_it_is(name, tmp_path, plain, monkeypatch):
    monkeypatch.chdir(tmp_path)
    needs_logger = name in ("DeviceStatsMonitor", "LearningRateMonitor", "ThroughputMonitor")
    options = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 1} if needs_logger else {}
    time_budget, *_ = run(tmp_path, [MADE[name]()], **options)
    assert time_budget.result.warnings == plain.warnings
    assert rows(time_budget.result) == rows(plain)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"strategy": DDPStrategy(ddp_comm_hook=lambda state, bucket: None)}, "ddp_comm_hook of DDPStrategy"),
        ({"plugins": [TorchSyncBatchNorm()]}, "sync_batchnorm"),
    ],
    ids=["compressed gradients", "batch norm by plugin"],
)
def test_what_hides_in_strategies_and_plugins_is_refused(options, named, tmp_path):
    with pytest.raises(TrainerOptionError, match=named):
        run(tmp_path, **options)


def test_ddp_itself_is_allowed(tmp_path, plain):
    time_budget, *_ = run(tmp_path, strategy="ddp")
    assert rows(time_budget.result) == rows(plain)


class Meddling(TimedSubmission):
    """Turns the search for anomalies on or off in its first step."""

    def __init__(self, clock, on):
        super().__init__(clock)
        self.on = on

    def training_step(self, workload, batch):
        torch.autograd.set_detect_anomaly(self.on)
        return super().training_step(workload, batch)


@pytest.mark.parametrize(("of_trainer", "of_submission"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_search_for_anomalies_is_a_violation_where_the_submission_changes_it(of_trainer, of_submission, tmp_path):
    clock = FakeClock()
    workload = TimedDigits(Meddling(clock, of_submission))
    time_budget, *_ = controlled_fit(
        tmp_path, workload=workload, clock=clock, budget={"budget": 2.0}, trainer={"detect_anomaly": of_trainer}
    )
    said = [line for line in time_budget.result.warnings if "torch.is_anomaly_enabled() was" in line]
    assert len(said) == (of_trainer != of_submission)


LOADER = DataLoader(TensorDataset(torch.zeros(4, 64), torch.zeros(4)))


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"train_dataloaders": LOADER}, "training"),
        ({"val_dataloaders": LOADER}, "evaluation"),
        ({"datamodule": lambda: TimedDigits(TimedSubmission()).data}, "training"),
    ],
    ids=["training", "evaluation", "another's data module"],
)
def test_other_data_are_refused(given, kind, tmp_path):
    given = {name: value() if name == "datamodule" else value for name, value in given.items()}
    clock = FakeClock()
    trainer = L.Trainer(callbacks=[TimeBudget(clock=clock)], accelerator="cpu", logger=False, default_root_dir=tmp_path)
    with pytest.raises(TrainerOptionError, match=f"given {kind} data, but a workload has its own"):
        trainer.fit(TimedDigits(TimedSubmission(clock)), **given)
