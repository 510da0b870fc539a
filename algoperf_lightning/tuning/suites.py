"""Suites: workloads that are run and scored together, and what a budget counts on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from algoperf_lightning.spec import Unit, nearest_or_raise


@dataclass(frozen=True)
class Suite:
    """Workloads that belong together."""

    name: str
    workloads: Mapping[str, str]
    """Full names, by the names they are called by in the suite."""
    unit: Unit
    """What budgets count, unless the user says otherwise."""

    def choose(self, names: Sequence[str]) -> list[str]:
        """Return the full names of the workloads named, of all if none is.

        Raises:
            BadInputError: If one is not part of the suite; the message names the nearest.
        """
        known = {**self.workloads, **{name: name for name in self.workloads.values()}}
        return [known[nearest_or_raise(f"workload of the suite {self.name!r}", name, known)] for name in names] or list(
            self.workloads.values()
        )


def get_suite(name: str, version: str) -> Suite:
    """Return a suite: ``algoperf``, the workloads of a benchmark version, or ``tiny``, for laptops.

    Raises:
        BadInputError: If there is no such suite or version; the message names the nearest.
    """
    from algoperf_lightning.scoring.benchmarks import get_benchmark, tiny_workloads

    official = [workload.name for workload in get_benchmark(version, "external").base]
    suites = {
        "algoperf": Suite("algoperf", {name: name for name in official}, "seconds"),
        "tiny": Suite("tiny", {name.removesuffix("_tiny"): name for name in tiny_workloads()}, "steps"),
    }
    return suites[nearest_or_raise("suite", name, suites)]
