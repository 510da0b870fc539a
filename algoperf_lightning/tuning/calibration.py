"""Step times of a machine relative to the benchmark's, and the resulting budgets."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import make_folder, write_atomic
from algoperf_lightning.spec import BENCHMARK_VERSIONS, WorkloadSpec
from algoperf_lightning.step_time import StepTime, StepTimeSource
from algoperf_lightning.utilities.inputs import check_positive


@dataclass(frozen=True)
class Calibration:
    """The step time of a workload on this machine and on the benchmark's."""

    workload: str
    """Full name."""
    version: str
    """AlgoPerf version with whose machine it is compared."""
    submission: str
    """Submission whose steps were measured."""
    step_seconds: float
    """Median seconds of a step here."""
    reference_step_seconds: float
    """Seconds of a step on the benchmark's machine."""
    reference_source: StepTimeSource
    """Source of this number."""
    jax_step_seconds: float | None
    """Seconds of a step of the benchmark's JAX code there, if its PyTorch code waits for input; otherwise None."""
    environment: dict[str, Any]
    """Hardware and software, as in a trial's record."""
    date: str

    @property
    def scale(self) -> float:
        """Seconds of this machine per second of the benchmark's, with three significant digits."""
        return _three_digits(self.step_seconds / self.reference_step_seconds)

    @property
    def jax_scale(self) -> float | None:
        """The same relative to the benchmark's JAX code, if its PyTorch code waits for input; otherwise None."""
        return None if self.jax_step_seconds is None else _three_digits(self.step_seconds / self.jax_step_seconds)


def _three_digits(ratio: float) -> float:
    return float(f"{ratio:.3g}")


def reference_of(spec: WorkloadSpec) -> StepTime:
    """Return the time of a step on the benchmark's machine.

    Raises:
        BadInputError: If it is unknown for the workload.
    """
    reference = spec.reference_step
    if reference is None:
        raise BadInputError(
            f"{spec.full_name} cannot be calibrated: its step time on the benchmark's machine "
            f"({BENCHMARK_VERSIONS[spec.version].hardware}) is unknown. Count steps instead: --time_budget.unit "
            "steps, or --unit steps of `algoperf tune`."
        )
    return reference


def read_calibrations(path: Path) -> dict[str, Calibration]:
    """Return the calibrations in a file by full name of the workload; empty if there is no file.

    Raises:
        BadInputError: If it is not a file of calibrations.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        fields = [item.name for item in dataclasses.fields(Calibration)]
        for name, row in rows.items():
            if "reference_step_seconds" in row and "reference_source" not in row:
                raise BadInputError(
                    f"{path}: {name} was calibrated against step times of the benchmark that have since been corrected "
                    "(by a factor of up to 8). Delete the file, and calibrate again."
                )
        found = {name: Calibration(**{field: row[field] for field in fields}) for name, row in rows.items()}
        for calibration in found.values():
            check_positive(f"{path}: scale of {calibration.workload}", calibration.scale)
    except FileNotFoundError:
        return {}
    except BadInputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise BadInputError(f"{path} is not a file of `algoperf calibrate`: {error!r}.") from error
    return found


def read_scales(path: Path, version: str) -> dict[str, float]:
    """Return the scales in a file by full name of the workload.

    Raises:
        BadInputError: If it is missing, damaged, or of another benchmark version.
    """
    if not path.is_file():
        command = f"algoperf calibrate WORKLOAD --output {shlex.quote(str(path))}"
        raise BadInputError(f"There is no file {path}. Create it with `{command}`.")
    calibrations = read_calibrations(path)
    for calibration in calibrations.values():
        if calibration.version != version:
            raise BadInputError(
                f"{path}: {calibration.workload} was calibrated for AlgoPerf {calibration.version}, not {version}. "
                f"Calibrate it with --version {version}, into another file."
            )
    return {name: calibration.scale for name, calibration in calibrations.items()}


def add_calibration(path: Path, calibration: Calibration) -> None:
    """Add a calibration to a file, which may contain those of other workloads."""
    rows = {**read_calibrations(path), calibration.workload: calibration}
    content = {name: {**dataclasses.asdict(row), "scale": row.scale} for name, row in sorted(rows.items())}
    make_folder(path.parent)
    write_atomic(path, json.dumps(content, indent=2) + "\n")
