"""``algoperf fit``: one trial, as a LightningCLI."""

from __future__ import annotations

import logging
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from algoperf_lightning.commands.hparams import expand_hparams
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.launch import trainer_options
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, get_submission, get_workload, plugins
from algoperf_lightning.result import TrialResult
from algoperf_lightning.spec import nearest_or_raise
from algoperf_lightning.submission import Submission
from algoperf_lightning.summary import result_table
from algoperf_lightning.workload import Workload

CALLBACKS = "algoperf_lightning.callbacks"
"""Entry points of the callbacks that every trial has, with their options under the entry point's name."""

_PLUGIN_OPTIONS = {"--workload": WORKLOADS, "--submission": SUBMISSIONS}


def run(arguments: Sequence[str]) -> None:
    """Parse, fit, print the result."""
    # Devices found and tips: the record holds the former, nobody needs the latter.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    cli = FitCLI(args=resolve_names(expand_hparams(arguments)), run=False)
    recorder: Any = cli.config_init["recorder"]
    checkpoint = cli.config.ckpt_path or recorder.checkpoint_path
    if checkpoint and not Path(checkpoint).is_file():
        raise BadInputError(f"--ckpt_path {checkpoint}: there is no such file. Leave it out to start a new trial.")
    cli.trainer.fit(cli.model, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    clock: Any = cli.config_init["time_budget"]
    show(clock.result)


@rank_zero_only
def show(result: TrialResult) -> None:
    """Print the table of a finished trial."""
    Console().print(result_table(result))


class FitCLI(LightningCLI):
    """Lightning's command line, with the words of this field: a workload, a submission, a time budget."""

    def __init__(self, **kwargs: Any) -> None:
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
            **kwargs,
        )

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add no seed: the workload has the trial's."""

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add trainer, workload, submission, and the callbacks that every trial has."""
        for group in (WORKLOADS, SUBMISSIONS):
            for entry in plugins(group).values():
                with suppress(ImportError):  # a plug-in whose library is missing breaks only itself
                    entry.load()  # so that class names alone will do
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})
        parser.add_subclass_arguments(Workload, "workload", required=True, fail_untyped=False)
        parser.add_subclass_arguments(Submission, "submission", required=True, fail_untyped=False)
        parser.link_arguments("submission", "workload.init_args.submission", apply_on="instantiate")
        for name, entry in plugins(CALLBACKS).items():
            parser.add_lightning_class_args(entry.load(), name)
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to resume from.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse without Lightning's warning about ``sys.argv``, which a subcommand always has.

        Raises:
            BadInputError: If an option or a key of a config is unknown or has a wrong value.
        """
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise BadInputError(f"{error}\n`algoperf fit --help` shows all options.") from None

    def _set_seed(self) -> None:
        """Set none."""

    def instantiate_classes(self) -> None:
        """Make workload, submission and trainer.

        Raises:
            BadInputError: If one of them refuses its arguments.
        """
        try:
            self.config_init = self.parser.instantiate(self.config)
        except ValueError as error:
            raise _cause(error) from None
        self.model = self.config_init["workload"]
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Make the trainer; without our progress bar, if there is to be none."""
        if self.config.trainer.enable_progress_bar is False:
            keys = self.parser.callback_keys
            self.parser.callback_keys = [key for key in keys if not isinstance(self.config_init[key], ProgressBar)]
        return super().instantiate_trainer(**kwargs)


def _cause(error: BaseException) -> BaseException:
    """Return the bad input that the parser wrapped in words of its own, if that is what it was."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, BadInputError):
        inner = inner.__cause__ or inner.__context__
    return inner or error


def resolve_names(arguments: list[str]) -> list[str]:
    """Let configs and plug-ins be named as ``algoperf list`` names them."""
    resolved: list[str] = []
    option = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if option:
            argument = _resolve(option, argument)
        elif equals and name in (*_PLUGIN_OPTIONS, "--config"):
            argument = f"{name}={_resolve(name, value)}"
        option = argument if argument in (*_PLUGIN_OPTIONS, "--config", "-c") else ""
        resolved.append(argument)
    return resolved


def _resolve(option: str, value: str) -> str:
    if option in _PLUGIN_OPTIONS:
        if "." in value or not value.islower():
            return value  # a class, or a path to one
        plugin = get_workload(value) if option == "--workload" else get_submission(value)
        return f"{plugin.__module__}.{plugin.__qualname__}"
    if Path(value).is_file() or value.endswith((".yaml", ".yml", ".json")):
        return value
    packaged = packaged_configs()
    return packaged[nearest_or_raise("config", value, packaged)]


def packaged_configs() -> dict[str, str]:
    """Return the paths of the configs that come with the package, by the names they are called by."""
    folder = Path(str(files("algoperf_lightning.configs")))
    return {path.relative_to(folder).with_suffix("").as_posix(): str(path) for path in sorted(folder.rglob("*.yaml"))}
