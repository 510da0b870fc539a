"""The treatment of each Trainer option and callback of Lightning in a timed run, and the detection of given ones.

A test compares the table with Lightning's own lists, so that additions of a new version need a decision. The page
``docs/trainer.md`` is generated from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import lightning as L
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy


class Verdict(StrEnum):
    """How a timed run treats an option or a callback."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    IGNORED = "ignored"
    """Set to the value that a timed run needs, with a warning if it was given."""
    IRRELEVANT = "irrelevant"
    """Has no effect in ``Trainer.fit`` on a workload."""


@dataclass(frozen=True)
class Decision:
    """The decision on an option or callback, and the reason."""

    verdict: Verdict
    text: str
    """Effect and alternative, as a continuation of its name: ``changes the data. Leave it out.``"""
    given: Callable[[L.Trainer], str | None] = lambda trainer: None
    """Describes the given value; returns None if there is none. For refused and ignored options."""
    but_for: str = ""
    """Exceptions that are allowed."""


def _allowed(text: str) -> Decision:
    return Decision(Verdict.ALLOWED, text)


def _irrelevant(text: str) -> Decision:
    return Decision(Verdict.IRRELEVANT, text)


def _refused(text: str, given: Callable[[L.Trainer], str | None] = lambda trainer: None) -> Decision:
    return Decision(Verdict.REFUSED, text, given)


def _ignored(text: str, given: Callable[[L.Trainer], str | None] = lambda trainer: None) -> Decision:
    return Decision(Verdict.IGNORED, text, given)


def _unless(name: str, *defaults: Any) -> Callable[[L.Trainer], str | None]:
    """Return a function that reports an attribute of the Trainer unless it is one of the defaults."""

    def look(trainer: L.Trainer) -> str | None:
        value = getattr(trainer, name)
        return None if value in defaults else f"{name}={value!r}"

    return look


def _limit(name: str) -> Callable[[L.Trainer], str | None]:
    def look(trainer: L.Trainer) -> str | None:
        if trainer.fast_dev_run or trainer.overfit_batches:  # which set the limits themselves
            return None
        return _unless(name, 1.0)(trainer)

    return look


def _max_epochs(trainer: L.Trainer) -> str | None:
    given = trainer.fit_loop.max_epochs
    return None if given in (None, -1, 1000) else f"max_epochs={given}"  # 1000 is what Lightning itself fills in


def _min_epochs(trainer: L.Trainer) -> str | None:
    return f"min_epochs={trainer.fit_loop.min_epochs}" if trainer.fit_loop.min_epochs else None


def _min_steps(trainer: L.Trainer) -> str | None:
    given = trainer.fit_loop.epoch_loop.min_steps
    return f"min_steps={given}" if given else None


def _val_check_interval(trainer: L.Trainer) -> str | None:
    if trainer._val_check_time_interval is not None:
        return f"val_check_interval={trainer._val_check_time_interval} s"
    given = getattr(trainer, "val_check_interval", None)
    return None if given in (None, 1.0) else f"val_check_interval={given}"


def _strategy(trainer: L.Trainer) -> str | None:
    strategy = trainer.strategy
    name = type(strategy).__name__
    if not isinstance(strategy, (DDPStrategy, SingleDeviceStrategy)):
        return f"strategy {name}"
    for option in ("_model_averaging_period", "_ddp_comm_hook"):
        if getattr(strategy, option, None) is not None:
            return f"{option.lstrip('_')} of {name}"
    return None


def _sync_batchnorm(trainer: L.Trainer) -> str | None:
    return None if trainer._accelerator_connector._layer_sync is None else "sync_batchnorm"


TRAINER_OPTIONS: Mapping[str, Decision] = {
    "accelerator": _allowed("The record names the hardware."),
    "strategy": Decision(
        Verdict.REFUSED,
        "shards the model or averages something other than the gradient; submissions and evaluations need complete "
        "parameters on each rank. Use one device or strategy='ddp'.",
        _strategy,
        but_for="one device and DDP (without `ddp_comm_hook` and `model_averaging_period`)",
    ),
    "devices": _allowed("The batch is split over the devices."),
    "num_nodes": _allowed("The batch is split over the devices of all nodes."),
    "precision": _allowed("The record names it."),
    "logger": _allowed("Loggers work off the clock, and receive the results of the trial as metrics."),
    "callbacks": _allowed("Each callback is checked separately; see the table of callbacks."),
    "fast_dev_run": _refused(
        "cuts evaluations short. Use max_steps to try a few steps.", _unless("fast_dev_run", False, 0)
    ),
    "max_epochs": _ignored("there are no epochs; the budget ends the run", _max_epochs),
    "min_epochs": _ignored("the target or the budget ends the run", _min_epochs),
    "max_steps": _allowed("The run ends there, with a final evaluation, unless it has ended earlier."),
    "min_steps": _ignored("the target or the budget ends the run", _min_steps),
    "max_time": _refused("ends the run by wall time. Use TimeBudget(budget=...), in submission seconds."),
    "limit_train_batches": _refused("changes the data. Leave it out.", _limit("limit_train_batches")),
    "limit_val_batches": _refused("changes the data. Leave it out.", _limit("limit_val_batches")),
    "limit_test_batches": _irrelevant("It is for `Trainer.test`."),
    "limit_predict_batches": _irrelevant("It is for `Trainer.predict`."),
    "overfit_batches": _refused("changes the data. Leave it out.", _unless("overfit_batches", 0.0)),
    "val_check_interval": _ignored("the workload fixes when it is evaluated", _val_check_interval),
    "check_val_every_n_epoch": _ignored(
        "the workload fixes when it is evaluated", _unless("check_val_every_n_epoch", None, 1)
    ),
    "num_sanity_val_steps": _ignored("there is an evaluation right after the first step"),
    "log_every_n_steps": _allowed("Loggers work off the clock."),
    "enable_checkpointing": _allowed("Checkpoints are written off the clock."),
    "enable_progress_bar": _allowed("`BudgetProgressBar` works off the clock, Lightning's own bars on the clock."),
    "enable_model_summary": _allowed("It is made before the clock starts."),
    "accumulate_grad_batches": _refused(
        "changes the batch size, which is the submission's. Set its batch_sizes.",
        _unless("accumulate_grad_batches", 1),
    ),
    "gradient_clip_val": _refused(
        "clips gradients, which is the submission's choice. Set its gradient_clip.",
        _unless("gradient_clip_val", None),
    ),
    "gradient_clip_algorithm": _refused(
        "clips gradients, which is the submission's choice. Set its gradient_clip, which limits the norm.",
        _unless("gradient_clip_algorithm", None),
    ),
    "deterministic": _allowed("It may cost time."),
    "benchmark": _allowed("The search for the fastest kernels is on the clock."),
    "inference_mode": _allowed("It is for evaluations, which are off the clock."),
    "use_distributed_sampler": _irrelevant("The workload splits its data over the ranks itself."),
    "profiler": _allowed("Its work is on the clock."),
    "detect_anomaly": _allowed("It costs time, on the clock."),
    "barebones": _allowed("It disables logging, and `TrialRecorder` cannot be used with it."),
    "plugins": _allowed("Plugins that synchronise batch norm, as `sync_batchnorm` does, are refused."),
    "sync_batchnorm": _refused("changes the model. Leave it out.", _sync_batchnorm),
    "reload_dataloaders_every_n_epochs": _ignored(
        "training data are one endless stream", _unless("reload_dataloaders_every_n_epochs", 0)
    ),
    "default_root_dir": _allowed("`TrialRecorder` writes there if it is given no folder."),
    "enable_autolog_hparams": _allowed("It determines whether loggers receive the hyperparameters of the trial."),
    "model_registry": _allowed("It is for `ModelCheckpoint`."),
}
"""Every option of ``Trainer``."""

_AVERAGE = (
    "evaluates weights other than those that the submission trains, off the clock. Average weights in the submission, "
    "with before_evaluation and after_evaluation."
)
_FREEZE = "chooses which parameters are trained, which is the submission's work. Do it in configure_optimizers."
_ON_CLOCK = "Its work at training steps is on the clock."

CALLBACKS: Mapping[str, Decision] = {
    "BackboneFinetuning": _refused(_FREEZE),
    "BaseFinetuning": _refused(_FREEZE),
    "BasePredictionWriter": _irrelevant("It is for `Trainer.predict`."),
    "BatchSizeFinder": _refused("changes the batch size, which is the submission's. Set its batch_sizes."),
    "Callback": _allowed(f"Your own callback. {_ON_CLOCK}"),
    "Checkpoint": _allowed("Checkpoints are written off the clock."),
    "DeviceStatsMonitor": _allowed(_ON_CLOCK),
    "EMAWeightAveraging": _refused(_AVERAGE),
    "EarlyStopping": _allowed("It is checked after each evaluation, and ends the run with the status `stopped`."),
    "GradientAccumulationScheduler": _refused(
        "changes the batch size, which is the submission's. Set its batch_sizes."
    ),
    "LambdaCallback": _allowed(_ON_CLOCK),
    "LearningRateFinder": _refused(
        "trains, and changes the learning rate, before the clock starts. Set the learning rate, or tune it with "
        "`algoperf tune`."
    ),
    "LearningRateMonitor": _allowed("Reading the rates is on the clock, logging them is not."),
    "ModelCheckpoint": _allowed("Checkpoints are written off the clock. `TrialRecorder` writes those to resume from."),
    "ModelPruning": _refused("changes the model. Leave it out."),
    "ModelSummary": _allowed("It is made before the clock starts."),
    "OnExceptionCheckpoint": _allowed("Checkpoints are written off the clock."),
    "ProgressBar": _allowed(f"`BudgetProgressBar` works off the clock. For other bars: {_ON_CLOCK.lower()}"),
    "RichModelSummary": _allowed("It is made before the clock starts."),
    "RichProgressBar": _allowed(f"{_ON_CLOCK} `BudgetProgressBar` works off the clock."),
    "SpikeDetection": _refused("skips some batches, which changes the data. Leave it out."),
    "StochasticWeightAveraging": _refused(
        "changes learning rates and weights, which is the submission's work. Average weights in the submission, with "
        "before_evaluation and after_evaluation."
    ),
    "TQDMProgressBar": _allowed(f"{_ON_CLOCK} `BudgetProgressBar` works off the clock."),
    "ThroughputMonitor": _allowed(f"{_ON_CLOCK} It waits for the device whenever it logs."),
    "Timer": _refused(
        "(also created by max_time) ends the run by wall time. Use TimeBudget(budget=...), in submission seconds."
    ),
    "WeightAveraging": _refused(_AVERAGE),
}
"""Every callback of ``lightning.pytorch.callbacks``; a subclass is treated like its base class."""


def decide(callback: L.Callback) -> tuple[str, Decision]:
    """Return the decision on a callback, and the name of the Lightning class to which it applies."""
    for cls in type(callback).__mro__:
        if cls.__module__.startswith("lightning.") and cls.__name__ in CALLBACKS:
            return cls.__name__, CALLBACKS[cls.__name__]
    return "Callback", CALLBACKS["Callback"]
