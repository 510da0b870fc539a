"""Workload: fixed model, data, loss and metric, trained by a submission."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torchmetrics import Metric

from algoperf_lightning.data import EVALUATION_SPLITS, WorkloadData
from algoperf_lightning.data.examples import Batch
from algoperf_lightning.data.parts import BatchParts
from algoperf_lightning.data.streams import Loader, TrainingBatches
from algoperf_lightning.dropout import DropoutRates
from algoperf_lightning.errors import NotMeasuredWarning
from algoperf_lightning.files import to_plain
from algoperf_lightning.hyperparameters import check_regularisers
from algoperf_lightning.label_smoothing import compile_loss
from algoperf_lightning.objective import Objective, check_objective
from algoperf_lightning.records.checkpoints import CheckpointMismatchError
from algoperf_lightning.rng import derive_seed, seed_all, set_rng_state
from algoperf_lightning.spec import LATEST_VERSION, WorkloadSpec
from algoperf_lightning.submission import Submission
from algoperf_lightning.training.batch_size import check_split, choose_batch_size
from algoperf_lightning.training.initial_model import initial_model
from algoperf_lightning.training.split_metrics import SplitMetrics
from algoperf_lightning.training.submission_training import SubmissionTraining
from algoperf_lightning.training.torch_setup import TorchSetup
from algoperf_lightning.training.trial_state import add_trial_state, put_batches, take_trial_state
from algoperf_lightning.training.used_objects import UsedObjectError, used_in_a_run
from algoperf_lightning.view import WorkloadView
from algoperf_lightning.viewed import Loss

__all__ = ["CheckpointMismatchError", "Loss", "UsedObjectError", "Workload", "WorkloadView"]


class Workload(SubmissionTraining, Objective, BatchParts, ABC):
    """Base class of every workload. ``Trainer.fit(workload)`` trains it with its submission.

    A workload defines :attr:`spec`, :attr:`data_class`, :attr:`output_layer`, :meth:`build_model`, :meth:`outputs`,
    :meth:`loss_of`, :meth:`build_metrics` and :meth:`evaluate`. It contains no code for timing, optimizers or
    result files.

    Args:
        submission: The training algorithm.
        variant: One of ``spec.variants``, or None for the workload itself.
        tiny: Use the workload at tiny size (``spec.tiny``), which trains on a tiny data set in a minute or two.
        small: Use it at small size (``spec.small``), for comparing algorithms on one machine.
        version: AlgoPerf version that sets budget, step hint and evaluation period: ``0.5``, ``0.6`` or ``1.0``.
        data_dir: Folder of the data; default ``$ALGOPERF_DATA_DIR``, else ``./data``.
        seed: Determines initialisation, data order, augmentation and dropout of the trial.
        compile: Compile the model with ``torch.compile``; a string is its mode, for example ``max-autotune``.
        benchmark_settings: Configure torch as in the benchmark's own runs of this version: precision of float32 matrix
            products (TF32 in 1.0), cuDNN's choice of algorithms, and what is compiled, whatever ``compile`` says.

    Raises:
        BadInputError: If the variant, the version or the mode of compilation is unknown, the submission's batch size is
            not a positive integer, or its dropout, label smoothing or clipping is out of range.
        TypeError: If ``submission`` is not a :class:`~algoperf_lightning.submission.Submission`, or the workload
            defines no loss.
    """

    spec: WorkloadSpec
    data_class: ClassVar[type[WorkloadData]]
    output_layer: ClassVar[str]
    """Name of the output layer, as in ``named_modules()``. Training algorithms may treat it differently."""

    # What a workload defines

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return a freshly initialised model. Reads ``self.spec.model`` and ``self.dropout``, and needs no data."""

    @abstractmethod
    def build_metrics(self) -> dict[str, Metric]:
        """Return fresh metrics of one split, by name; ``spec.metric`` is one of them."""

    @abstractmethod
    def evaluate(self, batch: Batch, metrics: Mapping[str, Any]) -> None:
        """Run the model on an evaluation batch and update the metrics; ``weights`` are 0 for padding."""

    @property
    def dropout(self) -> float | None:
        """The dropout rate to build the model with: the submission's, else the workload's own."""
        return self.spec.dropout if self.submission.dropout is None else self.submission.dropout

    # The trial

    def __init__(
        self,
        submission: Submission,
        *,
        variant: str | None = None,
        tiny: bool = False,
        small: bool = False,
        version: str = LATEST_VERSION,
        data_dir: str | Path | None = None,
        seed: int = 0,
        compile: bool | str = False,
        benchmark_settings: bool = False,
    ) -> None:
        if not isinstance(submission, Submission):
            raise TypeError(
                f"{type(self).__name__} needs a Submission (an instance, not a class), but got {submission!r}. "
                f"Try {type(self).__name__}(get_submission('adamw')())."
            )
        check_objective(type(self))
        super().__init__(submission)
        check_regularisers(submission)
        self.spec = type(self).spec.of(version=version, variant=variant, tiny=tiny, small=small)
        self._torch_setup = TorchSetup(self.spec, compile, benchmark_settings)
        self._hyperparameters = to_plain(submission.hyperparameters)  # now, because a run may change objects
        self.seed = seed
        self.batch_size = choose_batch_size(self.spec, submission)
        self.data = self.data_class(self.spec, data_dir, seed=derive_seed(seed, "data"))
        self.model: nn.Module | None = None
        self._dropout_rates: DropoutRates | None = None
        self.view = WorkloadView(self)
        self.on_clock: Callable[[], AbstractContextManager[None]] = nullcontext
        """Makes a block in which the submission's clock runs, for states saved off the clock; set by the clock."""
        self._metrics: SplitMetrics | None = None
        self._rng_state: dict[str, Any] | None = None

    # The run, as Lightning calls it; training itself is in SubmissionTraining

    def begin_trial(self) -> None:
        """Start a measured run, which only depends on the seed and the hyperparameters.

        The model is built when the run starts. A workload or a submission that was already used
        in a run is refused, because its state (averages, batches, counts) would affect the measurement.

        Raises:
            UsedObjectError: If the workload or its submission was used before.
        """
        if self._was_used or self.submission.was_used:
            raise used_in_a_run(self if self._was_used else self.submission, self)
        self.model = None

    def configure_callbacks(self) -> list[L.Callback]:
        """Apply the benchmark's settings of torch, and let callbacks check the Trainer before any of them is set up."""
        trainer: Any = self.trainer
        for callback in trainer.callbacks:
            if trainer.state.fn == "fit" and (check := getattr(callback, "check_trainer", None)) is not None:
                check(trainer, self)
        return self._torch_setup.callbacks()

    def prepare_data(self) -> None:
        """Download and convert the data, once per node."""
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """Check that the batch can be split over the ranks, before anything is built."""
        self._evaluations, self._schedules_due = 0, False
        check_split(self.batch_size, self.trainer.world_size, self.spec, self.submission)

    def configure_model(self) -> None:
        """Build the model from the trial's seed, and compile it in place, which keeps the names of its parameters."""
        if self.model is None:
            self.model = initial_model(self)
            self._dropout_rates = DropoutRates(self.model, self.dropout)
            self._torch_setup.compile_model(self.model)
            if self._torch_setup.compile_loss and self.loss_function is not None:
                self.loss_function = compile_loss(self.loss_function)

    def train_dataloader(self) -> TrainingBatches:
        """Return the endless training batches."""
        strategy = self.trainer.strategy

        def to_device(batch: Batch) -> Batch:
            moved: Batch = strategy.batch_to_device(batch, dataloader_idx=0)
            return moved

        return self.data.training_batches(
            self.batch_size,
            self.trainer.global_rank,
            self.trainer.world_size,
            self.calls.select_batch,
            None if strategy.root_device.type == "cpu" else to_device,
        )

    def val_dataloader(self) -> list[Loader]:
        """Return the loaders of all splits that are evaluated."""
        return self.data.evaluation_batches(self.trainer.global_rank, self.trainer.world_size)

    def on_train_start(self) -> None:
        """Seed the random generators, or restore their state in a resumed run."""
        self.observer.data_are_open()
        if not self.view.timed:
            rank_zero_warn(
                "No TimeBudget is among the Trainer's callbacks: nothing is measured, and the run has no budget. "
                "Trainer(callbacks=[TimeBudget()]) measures it.",
                category=NotMeasuredWarning,
            )
        if self._rng_state is not None:
            set_rng_state(self._rng_state)
            self._rng_state = None
        else:
            seed_all(derive_seed(self.seed, "training", self.trainer.global_rank))

    def on_validation_model_eval(self) -> None:
        """Set the model to evaluation mode, after the rule checks have seen the mode that the step left."""
        if self.trainer.state.fn == "fit":
            self.observer.look_at_modes()
        super().on_validation_model_eval()

    def on_validation_start(self) -> None:
        """Create new metrics and save the random state, because an evaluation must not change training."""
        if self.trainer.world_size > 1:
            self.agree_on_buffers()
        if self.trainer.state.fn == "fit":
            self.observer.evaluation_begins()
        self._metrics = SplitMetrics(self._evaluated_splits, self.build_metrics, self.device)

    def agree_on_buffers(self) -> None:
        """Make the model's buffers the same on all ranks before an evaluation: those of the first rank.

        Data-parallel training broadcasts them before each training step; after it, the running statistics of each rank
        have been updated with its own share of the batch.
        """
        for buffer in self.network.buffers():
            dist.broadcast(buffer, src=0)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Update the metrics of one split; at its end compute them over all ranks, and log them.

        If they were logged after all splits, Lightning's ``validate`` would return them once for each split.
        """
        assert self._metrics is not None
        self.evaluate(batch, self._metrics.of(dataloader_idx))
        if batch_idx + 1 == self.trainer.num_val_batches[dataloader_idx]:
            computed = self._metrics.compute(dataloader_idx)
            self.log_dict(computed, on_epoch=True, add_dataloader_idx=False, batch_size=1, rank_zero_only=True)

    def on_validation_epoch_end(self) -> None:
        """Store the metrics of all splits, and restore the random state of training."""
        assert self._metrics is not None
        self.evaluation, self._metrics = self._metrics.end(), None
        in_training = self.trainer.state.fn == "fit" and not self.trainer.sanity_checking
        self._schedules_due = in_training and self.trainer.global_step > 0

    @property
    def _evaluated_splits(self) -> list[str]:
        return [prefix for prefix, split in EVALUATION_SPLITS.items() if split in self.spec.splits]

    def metric_names(self) -> list[str]:
        """Return the names of all metrics of an evaluation, as ``split/metric``."""
        metrics = list(self.build_metrics())
        return [f"{prefix}/{name}" for prefix in self._evaluated_splits for name in metrics]

    @property
    def dropout_rates(self) -> DropoutRates:
        """The dropout rates that the model was built with, and methods that change them."""
        if self._dropout_rates is None or self._dropout_rates.model is not self.network:
            self._dropout_rates = DropoutRates(self.network, self.dropout)
        return self._dropout_rates

    def step_seed(self) -> int:
        """Return a seed that is the same on every rank and different at each step."""
        return derive_seed(self.seed, "step", self.trainer.global_step)

    @property
    def ranks(self) -> int:
        """Processes that share the global batch."""
        return self.trainer.world_size

    @property
    def network(self) -> nn.Module:
        """The model, once it is built."""
        if self.model is None:
            raise RuntimeError("The model is built when Trainer.fit starts; before that, call build_model().")
        return self.model

    def torch_settings(self) -> dict[str, Any]:
        """Return how torch is set up while this workload runs, for the record."""
        return self._torch_setup.describe()

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the identity of the trial and the state of each rank: submission, data position, random generators.

        Raises:
            CheckpointContentError: If some state could not be read again; Lightning calls this hook last.
        """
        with self.on_clock():
            state = self.calls.state_dict()
        add_trial_state(checkpoint, self.identity(), state, self._evaluations)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint belongs to this trial, and restore its state.

        Raises:
            CheckpointMismatchError: If it is of another workload, submission, hyperparameters, seed or number of ranks.
        """
        mine, self._evaluations = take_trial_state(
            checkpoint, self.identity(), self.trainer.global_rank, self.trainer.ckpt_path
        )
        self.calls.load_state_dict(mine["submission"])
        self._rng_state = mine["rng"]
        put_batches(checkpoint, mine["batches"])

    def identity(self) -> dict[str, Any]:
        """Return the identity of the trial, which must be equal in a resumed run."""
        return {
            "workload": self.spec.full_name,
            "version": self.spec.version,
            "submission": type(self.submission).__qualname__,
            "hyperparameters": self._hyperparameters,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "ranks": self.trainer.world_size,
        }
