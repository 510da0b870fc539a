"""Running a recorded trial again: ``algoperf fit`` in a separate process, with arguments from the record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import make_folder, write_atomic
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, find_workload, names, plugins
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.sizes import at_size, size_of
from algoperf_lightning.spec import WorkloadSpec

_CONFIG, _HYPERPARAMETERS = "config.yaml", "hparams.json"
_STANDARD_ERROR = 2  # the output of the trial is not part of the answer
_ENDED_BY_ITSELF = (Status.REACHED, Status.BUDGET_SPENT)


def rerun(result: TrialResult, folder: Path, source: Path, arguments: Sequence[str] = ()) -> int:
    """Run a recorded trial again, or resume the run, and return the exit code of ``algoperf fit``.

    Args:
        result: The record.
        folder: Folder of the new trial.
        source: Folder of the bundle's source files; they take precedence over installed ones.
        arguments: More arguments of ``algoperf fit``, which take precedence over those of the record.

    Raises:
        BadInputError: If the record does not name the trained class, or it cannot be imported.
    """
    make_folder(folder)
    write_atomic(folder / _CONFIG, yaml.safe_dump(config_of(result), sort_keys=False))
    command = [sys.executable, "-m", "algoperf_lightning", "fit", "--config", str(folder / _CONFIG)]
    if result.hyperparameters:
        write_atomic(folder / _HYPERPARAMETERS, json.dumps(result.hyperparameters))
        command += ["--hparams", str(folder / _HYPERPARAMETERS)]
    command += ["--recorder.folder", str(folder), *arguments]
    path = [str(source.absolute()), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONSAFEPATH": "1",  # files in the current folder must not shadow those of the bundle
        **_threads(result),
    }
    with subprocess.Popen(command, env=environment, stdout=_STANDARD_ERROR) as process:
        while True:
            with suppress(KeyboardInterrupt):  # the trial receives it too, saves its checkpoint, and ends
                return process.wait()


def config_of(result: TrialResult) -> dict[str, Any]:
    """Return the content of a config with which ``algoperf fit --config`` repeats a trial.

    Raises:
        BadInputError: If the record does not name the trained class, or it cannot be imported elsewhere.
    """
    environment = result.environment
    devices, nodes = environment.get("ranks", 1), environment.get("nodes", 1)
    trainer: dict[str, Any] = {
        "accelerator": environment.get("accelerator", "auto"),
        "devices": devices // nodes,
        "num_nodes": nodes,
        "precision": environment.get("precision", "32-true"),
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    if result.status not in _ENDED_BY_ITSELF and result.steps:
        trainer["max_steps"] = result.steps
    return {
        "workload": {"class_path": _workload_class(result), "init_args": _workload_arguments(result)},
        "submission": _submission_class(result),
        "time_budget": _rules(result),
        "trainer": trainer,
    }


def _workload_class(result: TrialResult) -> str:
    spec = _registered_spec(result)
    if spec is not None:
        return plugins(WORKLOADS)[spec.name].value.replace(":", ".")
    return _importable("workload", result.workload, result.environment.get("workload_class"))


def _workload_arguments(result: TrialResult) -> dict[str, Any]:
    spec, environment = _registered_spec(result), result.environment
    size = size_of(result.workload) if spec is None else spec.size
    arguments: dict[str, Any] = {"version": result.version, "seed": result.seed}
    arguments |= at_size(size)
    arguments |= {"variant": spec.variant} if spec is not None and spec.variant is not None else {}
    if environment.get("benchmark_settings"):
        arguments["benchmark_settings"] = True
    elif environment.get("compile"):
        arguments["compile"] = environment["compile"]
    return {**arguments, **environment.get("data_settings", {})}


def _registered_spec(result: TrialResult) -> WorkloadSpec | None:
    known = names(WORKLOADS)
    if any(f"{result.workload}_".startswith(f"{name}_") for name in known):
        return find_workload(result.workload, result.version)
    return None


def _submission_class(result: TrialResult) -> str:
    if result.submission in plugins(SUBMISSIONS):
        return plugins(SUBMISSIONS)[result.submission].value.replace(":", ".")
    return _importable("submission", result.submission, result.environment.get("submission_class"))


def _importable(kind: str, name: str, path: str | None) -> str:
    if path is None:
        raise BadInputError(
            f"The {kind} {name} is not installed, and the record does not name its class, because an older version "
            "wrote it. Run the trial again with this version, and pack that record."
        )
    if path.startswith("__main__.") or "<locals>" in path:
        raise BadInputError(
            f"The {kind} {name} was defined in a script, a notebook or a function ({path}), so it cannot be imported. "
            "Move the class into a module, run the trial again, and pack that record."
        )
    return path


def _rules(result: TrialResult) -> dict[str, Any]:
    rules: dict[str, Any] = {"ruleset": result.ruleset, "unit": result.unit, "stop_at": result.stop_at}
    if result.scale != 1.0:
        rules["scale"] = result.scale
    else:
        rules |= {name: _whole(getattr(result, name), result.unit) for name in ("budget", "eval_period")}
    if result.stop_diverged:
        rules["stop_diverged"] = True
    if result.validation_target is not None:
        rules["target"] = result.validation_target
    return rules


def _whole(value: float, unit: str) -> float:
    return value if unit == "seconds" else int(value)


def _threads(result: TrialResult) -> dict[str, str]:
    """Return environment variables that set torch's number of threads, on which the rounding of sums depends."""
    threads = result.environment.get("torch_threads")
    return {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
