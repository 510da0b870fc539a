"""A user's request to ``algoperf tune``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.rng import SEEDS
from algoperf_lightning.spec import BENCHMARK_VERSIONS, LATEST_VERSION, TRIALS, Ruleset, Unit
from algoperf_lightning.tuning.checks import is_integer
from algoperf_lightning.tuning.points import Method, Point, draw_points
from algoperf_lightning.tuning.protocol import Protocol
from algoperf_lightning.tuning.search_space import SearchSpace
from algoperf_lightning.utilities.inputs import nearest_or_raise


@dataclass(frozen=True)
class Staged:
    """Tuning in stages, by the protocol of a study instead of AlgoPerf's rules.

    Raises:
        BadInputError: If the budget or setting is unknown; the message suggests the most similar one.
    """

    protocol: Protocol
    budget: str
    """Name of the largest budget; the smaller ones are part of it."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Values of the protocol's settings: ``{"schedule": "cosine"}``."""

    def __post_init__(self) -> None:
        self.protocol.up_to(self.budget)
        for name in self.fixed:
            nearest_or_raise("setting", name, self.protocol.settings)

    @property
    def defaults_only(self) -> bool:
        """Whether nothing is tuned."""
        return not any(each.points for each in self.protocol.up_to(self.budget).values())

    def points(self, space: SearchSpace) -> list[Point]:
        """Return the initially tried points; the default one if nothing is tuned."""
        count = max(each.points for each in self.protocol.up_to(self.budget).values())
        return draw_points(space, count, self.protocol.seed, "random") if count else [{}]


@dataclass(frozen=True)
class TuningRequest:
    """A user's request: submissions on workloads, under a ruleset.

    Raises:
        BadInputError: If the ruleset or version is unknown, or a number is out of range.
    """

    workloads: Sequence[str]
    """Full names: ``fastmri``, ``fastmri_tanh``, ``fastmri_tiny``."""
    submissions: Sequence[str]
    """Registered names, or import paths of classes."""
    output: Path
    ruleset: Ruleset = "external"
    version: str = LATEST_VERSION
    studies: int | None = None
    """Default: the version's."""
    trials: int | None = None
    """Trials of each study. Default: 5 under external tuning, or fewer if the search space has fewer points; 1 under
    self-tuning, where no other number is allowed."""
    unit: Unit = "seconds"
    """Unit of budgets."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """Factors on the workloads' seconds, by full name, from the calibration of this machine; if there are any, every
    workload needs one."""
    seed: int = 0
    method: Method = "halton"
    search_spaces: Mapping[str, Path] = field(default_factory=dict)
    """Files to read search spaces from, by submission, instead of the class's own."""
    sweep: str | None = None
    """A hyperparameter whose octaves are tried instead of a search space: ``learning_rate``, ``learning_rate=0.01``."""
    staged: Staged | None = None
    """Tuning by another protocol than AlgoPerf's."""
    stop_hopeless: bool = False
    fit_arguments: Sequence[str] = ()
    data_dir: Path = Path("data")

    def __post_init__(self) -> None:
        nearest_or_raise("benchmark version", self.version, BENCHMARK_VERSIONS)
        nearest_or_raise("ruleset", self.ruleset, TRIALS)
        for name in ("studies", "trials"):
            value = getattr(self, name)
            if value is not None and (not is_integer(value) or value < 1):
                raise BadInputError(f"{name} must be a positive integer, but got {value!r}.")
        if not is_integer(self.seed) or not 0 <= self.seed < SEEDS:
            raise BadInputError(f"seed must be an integer in [0, 2**32), but got {self.seed!r}.")
        if self.ruleset == "self-tuning" and self.trials not in (None, 1):
            raise BadInputError(
                f"The self-tuning ruleset has one trial per study, but trials is {self.trials}. Use more studies."
            )
        if self.sweep is not None:
            self._check_sweep()
        if self.staged is not None:
            self._check_staged()

    def _check_sweep(self) -> None:
        reasons = {
            "the self-tuning ruleset has one trial per study": self.ruleset == "self-tuning",
            "its octaves replace the --search-space": bool(self.search_spaces),
            "--stop-hopeless would end the trials at other octaves early": self.stop_hopeless,
        }
        if reason := next((reason for reason, given in reasons.items() if given), None):
            raise BadInputError(f"--sweep {self.sweep} cannot be used here: {reason}. Leave one of them out.")

    def _check_staged(self) -> None:
        given = {
            "ruleset": self.ruleset != "external",
            "studies": self.studies is not None,
            "trials": self.trials is not None,
            "seed": self.seed != 0,
            "method": self.method != "halton",
            "sweep": self.sweep is not None,
            "stop-hopeless": self.stop_hopeless,
        }
        if names := [f"--{name}" for name, is_given in given.items() if is_given]:
            raise BadInputError(
                f"{', '.join(names)} cannot be combined with this suite, whose protocol sets the trials, their points "
                "and their seeds. Leave it out, or name the workloads without --suite."
            )

    @property
    def number_of_studies(self) -> int:
        """Number of studies of each submission on each workload; by default one for a sweep."""
        prescribed = (
            1 if self.sweep is not None or self.staged is not None else BENCHMARK_VERSIONS[self.version].studies
        )
        return prescribed if self.studies is None else self.studies

    def trials_of(self, space: SearchSpace) -> int:
        """Return the number of trials of each study; by default at most one per point, as in the official code."""
        return int(min(TRIALS[self.ruleset], space.size)) if self.trials is None else self.trials
