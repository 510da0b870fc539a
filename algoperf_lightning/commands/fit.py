"""``algoperf fit``: one trial, as a LightningCLI."""

from __future__ import annotations

import logging
import shlex
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from algoperf_lightning.commands.fit_arguments import FitArguments
from algoperf_lightning.commands.fit_errors import cause, refused_by_trainer, wrong_value
from algoperf_lightning.commands.hparams import expand_hparams
from algoperf_lightning.commands.submission_failure import print_failure, shown_failure
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.launch import trainer_options
from algoperf_lightning.records.summary import result_table
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, problems
from algoperf_lightning.result import CHECKPOINT_FILE, TrialResult
from algoperf_lightning.submission import Submission
from algoperf_lightning.utilities.interruption import Preempted
from algoperf_lightning.utilities.terminal import console, warn
from algoperf_lightning.workload import Workload


def run(arguments: Sequence[str]) -> None:
    """Run a trial; tracebacks of the submission's errors start in the submission's code."""
    cli = parse(arguments)
    try:
        fit(cli, arguments)
    except BadInputError:
        raise
    except Exception as error:
        text = shown_failure(error, cli.model.submission, cli.folder)
        if text is None:
            raise
        print_failure(text)
        raise SystemExit(1) from None


def parse(arguments: Sequence[str]) -> FitCLI:
    """Return workload, submission, callbacks and Trainer, created from the arguments."""
    # Messages about devices, which the record contains, and tips.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for line in problems(WORKLOADS, SUBMISSIONS):
        warn(line)
    return FitCLI(expand_hparams(arguments))


def fit(cli: FitCLI, arguments: Sequence[str]) -> None:
    """Fit, and print the result.

    Args:
        cli: The objects created from the arguments.
        arguments: The given arguments, for the command that resumes an interrupted run.
    """
    recorder: Any = cli.config_init["recorder"]
    checkpoint = cli.config.ckpt_path or recorder.checkpoint_path
    if checkpoint and not Path(checkpoint).is_file():
        raise BadInputError(f"--ckpt_path {checkpoint}: no such file. Leave it out to start a new trial.")
    clock: Any = cli.config_init["time_budget"]
    try:
        cli.trainer.fit(cli.model, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    except MisconfigurationException as error:
        raise refused_by_trainer(error, cli.given.given) from error
    except SystemExit as end:
        # Lightning turns KeyboardInterrupt into an exit with code 1.
        by_keyboard = isinstance(end.__context__, KeyboardInterrupt)
        if by_keyboard or isinstance(end, Preempted):
            _tell_how_to_resume(cli, arguments)
        if by_keyboard:
            raise SystemExit(130) from None
        raise  # the trial's process checks its type
    show(clock.result)


@rank_zero_only
def _tell_how_to_resume(cli: FitCLI, arguments: Sequence[str]) -> None:
    """Print the folder of an interrupted trial, and the command that resumes it."""
    folder = cli.folder
    if folder is None:
        print("algoperf: interrupted before the trial started.", file=sys.stderr)
        return
    command = ["algoperf", "fit", *arguments]
    if cli.config.recorder.folder is None:
        command += ["--recorder.folder", str(folder)]
    if cli.config.ckpt_path is not None:
        command += ["--ckpt_path", str(folder / CHECKPOINT_FILE)]
    print(f"algoperf: interrupted. The record is in {folder}", file=sys.stderr)
    print(f"algoperf: to resume: {shlex.join(command)}", file=sys.stderr)


@rank_zero_only
def show(result: TrialResult) -> None:
    """Print the table of a finished trial."""
    console().print(result_table(result))


def prepare_parser() -> None:
    """Build the parser of the next command line in advance, for a process that forks others, which each need one."""

    class Built(Exception):  # noqa: N818
        pass

    class ParserOnly(FitCLI):
        def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
            _prepared[self._parser_key] = parser
            raise Built

    with suppress(Built):
        ParserOnly([])


def parser_of_fit() -> LightningArgumentParser:
    """Return the parser of a command line without arguments."""
    prepare_parser()
    return _prepared.popitem()[1]


_prepared: dict[Any, LightningArgumentParser] = {}
"""Unused parsers, by the settings on which their arguments depend."""


class FitCLI(LightningCLI):
    """Lightning's command line with the terms of this field: a workload, a submission, a time budget.

    Args:
        arguments: Arguments of the command line.

    Raises:
        BadInputError: If an option, a name, a file or a value is invalid.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.given = FitArguments().read(arguments)
        groups = self.given.options.groups
        self.callbacks: dict[str, Any] = {name: each for name, each in groups.items() if name != "trainer"}
        super().__init__(
            model_class=Workload,
            subclass_mode_model=True,
            save_config_callback=None,
            seed_everything_default=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            trainer_defaults=trainer_options(),
            parser_kwargs={
                "prog": "algoperf fit",
                "description": "Run one trial: a submission on a workload. --hparams FILE takes the submission's "
                "hyperparameters from a trial's hparams.json.",
                "exit_on_error": False,
            },
            args=self.given.arguments,
            run=False,
        )

    @property
    def _parser_key(self) -> Any:
        return *self.callbacks.items(), *self.trainer_defaults.items()

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Build the parser, unless one was built in advance."""
        prepared = _prepared.pop(self._parser_key, None)
        if prepared is None:
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
        else:
            self.parser = prepared

    @property
    def folder(self) -> Path | None:
        """The trial's folder; None if it was not given and no run has started."""
        try:
            folder: Path = self.config_init["recorder"].folder
        except RuntimeError:
            return None
        return folder

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Do not add a seed: the workload has the trial's seed."""

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add trainer, workload, submission, and the callbacks of every trial."""
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})
        parser.add_subclass_arguments(Workload, "workload", required=True, fail_untyped=False)
        parser.add_subclass_arguments(Submission, "submission", required=True, fail_untyped=False)
        parser.link_arguments("submission", "workload.init_args.submission", apply_on="instantiate")
        for name, callback in self.callbacks.items():
            parser.add_lightning_class_args(callback, name)
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to resume from.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse without Lightning's warning about ``sys.argv``, which a subcommand always has.

        Raises:
            BadInputError: If an argument is missing or has a wrong value.
        """
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise wrong_value(error, self.given) from None

    def _set_seed(self) -> None:
        """Do not set a seed."""

    def instantiate_classes(self) -> None:
        """Create workload, submission and trainer.

        Raises:
            BadInputError: If one of them does not accept its arguments.
        """
        try:
            self.config_init = self.parser.instantiate(self.config)
        except Exception as error:
            raise cause(error) from error
        self.model = self.config_init["workload"]
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Create the trainer, without our progress bar if it is disabled.

        Raises:
            BadInputError: If it does not accept its options.
        """
        if self.config.trainer.enable_progress_bar is False:
            keys = self.parser.callback_keys
            self.parser.callback_keys = [key for key in keys if not isinstance(self.config_init[key], ProgressBar)]
        try:
            return super().instantiate_trainer(**kwargs)
        except Exception as error:  # all of its arguments are the user's
            raise refused_by_trainer(error, self.given.given) from error
