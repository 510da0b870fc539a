"""``algoperf calibrate``: the ratio of step times on this machine and on the benchmark's."""

from __future__ import annotations

import argparse
import datetime
import shlex
import statistics
import time
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.table import Table

from algoperf_lightning.commands.fit import FitCLI
from algoperf_lightning.commands.fit_arguments import packaged_configs
from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import make_folder
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.records.environment import describe_environment
from algoperf_lightning.registry import find_workload
from algoperf_lightning.spec import BENCHMARK_VERSIONS, LATEST_VERSION, WorkloadSpec
from algoperf_lightning.step_time import SOURCES
from algoperf_lightning.tuning.calibration import Calibration, add_calibration, read_calibrations, reference_of
from algoperf_lightning.utilities import terminal
from algoperf_lightning.utilities.progress import Advance, progress
from algoperf_lightning.workload import Workload

_EPILOG = (
    "Arguments after -- are given to `algoperf fit`: -- --config hardware/8gpu --trainer.precision bf16-mixed. The "
    "data must exist; tiny data are only useful if they have the shapes of the real data."
)


def run(arguments: Sequence[str]) -> None:
    """Measure one workload, print the consequences, and save the result."""
    given = list(arguments)
    split = given.index("--") if "--" in given else len(given)
    options = _parser().parse(given[:split])
    spec = find_workload(options.workload, options.version)
    reference = reference_of(spec)
    for name in ("steps", "warmup"):
        if getattr(options, name) < 1:
            raise BadInputError(f"--{name} must be a positive integer, but got {getattr(options, name)}.")
    read_calibrations(Path(options.output))  # detects now, not after the measurement, that it is not writable
    make_folder(Path(options.output).parent, "--output")
    with progress(f"{spec.full_name}: steps", options.warmup + options.steps) as advance:
        timer = StepTimer(options.warmup, advance)
        trainer, workload = _train(spec, options, given[split + 1 :], timer)
    calibration = Calibration(
        workload=spec.full_name,
        version=spec.version,
        submission=options.submission,
        step_seconds=statistics.median(timer.seconds),
        reference_step_seconds=reference.seconds,
        reference_source=reference.source,
        jax_step_seconds=reference.jax_seconds,
        environment=describe_environment(trainer, workload),
        date=str(datetime.date.today()),
    )
    report(calibration, spec, timer.seconds, Path(options.output))


class StepTimer(L.Callback):
    """Measures the time of each step, including the selection of its batch and the work of the device.

    Args:
        warmup: Steps before the first measured one, for compilation and caches.
        advance: Called after each step.
    """

    def __init__(self, warmup: int, advance: Advance) -> None:
        self._warmup = warmup
        self._advance = advance
        self._ticks: list[float] = []

    @property
    def seconds(self) -> list[float]:
        """Seconds of each measured step."""
        return [after - before for before, after in pairwise(self._ticks[self._warmup - 1 :])]

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Wait for the device and read the time."""
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize(trainer.strategy.root_device)
        self._ticks.append(time.perf_counter())
        self._advance()


def _train(
    spec: WorkloadSpec, options: argparse.Namespace, fit_arguments: Sequence[str], timer: StepTimer
) -> tuple[L.Trainer, Workload]:
    """Create the trial of `algoperf fit`, and run its first steps without a clock, evaluations or a record."""
    workload = get_workload(spec.name)
    arguments = ["--config", spec.name] if spec.name in packaged_configs() else []
    arguments += [f"--workload={workload.__module__}.{workload.__qualname__}", f"--workload.version={spec.version}"]
    arguments += [] if spec.variant is None else [f"--workload.variant={spec.variant}"]
    arguments += [] if options.data_dir is None else [f"--workload.data_dir={options.data_dir}"]
    arguments += ["--submission", options.submission, *fit_arguments]
    arguments += ["--trainer.limit_val_batches=0", f"--trainer.max_steps={options.warmup + options.steps}"]
    arguments += ["--trainer.enable_progress_bar=false"]
    cli = FitCLI(arguments)
    if cli.model.batch_size != spec.batch_size:
        raise BadInputError(
            f"{options.submission} trains {spec.full_name} with batches of {cli.model.batch_size}, but the benchmark's "
            f"step time is for batches of {spec.batch_size}. Calibrate with a submission that does not change the "
            "batch size."
        )
    ours = [cli.config_init[name] for name in cli.callbacks]
    trainer: Any = cli.trainer
    trainer.callbacks = [*(each for each in trainer.callbacks if each not in ours), timer]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No TimeBudget")  # steps are measured here, not a run
        trainer.fit(cli.model)
    return trainer, cli.model


@rank_zero_only
def report(calibration: Calibration, spec: WorkloadSpec, seconds: Sequence[float], output: Path) -> None:
    """Save a calibration, and print its consequences.

    Args:
        calibration: The measurement.
        spec: The spec of its workload.
        seconds: Seconds of each step.
        output: The file of calibrations.
    """
    add_calibration(output, calibration)
    budget, eval_period = spec.allowance(scale=calibration.scale)
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    hardware = BENCHMARK_VERSIONS[spec.version].hardware
    table = Table(show_header=False, title=f"{spec.full_name} · AlgoPerf {spec.version}", title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("a step here", f"{calibration.step_seconds:.4g} s, half of them {low:.4g} to {high:.4g} s")
    table.add_row("a step of the benchmark", f"{calibration.reference_step_seconds:.4g} s on {hardware}")
    table.add_row("source", SOURCES[calibration.reference_source])
    table.add_row("scale", f"{calibration.scale:g}")
    table.add_row("budget", f"{budget:,.0f} s instead of {spec.budget:,g} s")
    table.add_row("evaluation period", f"{eval_period:,.0f} s instead of {spec.eval_period:,g} s")
    table.add_row("one trial", f"algoperf fit --config {spec.name} --time_budget.scale {calibration.scale:g}")
    table.add_row("studies", f"algoperf tune {spec.full_name} --calibration {shlex.quote(str(output))} ...")
    if calibration.jax_scale is not None:
        table.add_row(
            "input-bound",
            "The benchmark's PyTorch code waits for its input in this step; its JAX code takes "
            f"{calibration.jax_step_seconds:.4g} s. If your input keeps up, the scale is nearer to "
            f"{calibration.jax_scale:g}.",
        )
    terminal.console().print(table)


def _parser() -> Parser:
    parser = Parser(
        hands_on=True,
        prog="algoperf calibrate",
        description="Measure the step time of a workload on this machine, and scale its budget accordingly.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("workload", metavar="WORKLOAD", help="a workload of AlgoPerf, or a variant")
    add(
        "--submission",
        default="adamw",
        metavar="NAME",
        help="submission whose steps are measured (default %(default)s)",
    )
    add(
        "--version",
        default=LATEST_VERSION,
        help="AlgoPerf version, which determines the reference machine (default newest)",
    )
    add("--steps", type=int, default=50, help="number of measured steps (default %(default)s)")
    add("--warmup", type=int, default=10, help="warm-up steps that are not measured (default %(default)s)")
    add("--data-dir", help="folder of the data (default $ALGOPERF_DATA_DIR, else ./data)")
    add("--output", default="calibration.json", metavar="FILE", help="output file (default %(default)s)")
    return parser
