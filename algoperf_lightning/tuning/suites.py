"""Suites: workloads that are run and scored together, with the unit of their budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from algoperf_lightning.registry import find_workload, get_spec
from algoperf_lightning.sizes import at_size
from algoperf_lightning.spec import Unit
from algoperf_lightning.tuning.protocol import Protocol, TuningBudget
from algoperf_lightning.utilities.inputs import nearest_or_raise

CROWDED_VALLEY = Protocol(
    budgets={
        "one-shot": TuningBudget(),
        "small": TuningBudget(25),
        "medium": TuningBudget(50),
        "large": TuningBudget(50, refined=25),
    },
    seed=42,
    repeats=10,
    spanning=10,
    settings={"schedule": "constant", "faithful": False},
)
"""Rules of the study "Descending through a Crowded Valley"."""
_VALLEY_PROBLEMS = (
    "quadratic_deep",
    "mnist_vae",
    "fmnist_2c2d",
    "cifar10_3c3d",
    "fmnist_vae",
    "cifar100_allcnnc",
    "svhn_wrn164",
    "tolstoi_char_rnn",
)


@dataclass(frozen=True)
class Suite:
    """A set of workloads."""

    name: str
    workloads: Mapping[str, str]
    """Full names of workloads, by their names in the suite."""
    unit: Unit
    """Default unit of budgets."""
    more: Sequence[str] = ()
    """Full names that may also be selected, but are not part of the complete suite."""
    protocol: Protocol | None = None
    """Tuning protocol of submissions; None for AlgoPerf's rules."""

    def choose(self, names: Sequence[str]) -> list[str]:
        """Return the full names of the named workloads, or of all if none is named.

        Raises:
            BadInputError: If one is not part of the suite; the message suggests the most similar one.
        """
        known = {**self.workloads, **{name: name for name in (*self.workloads.values(), *self.more)}}
        return [known[nearest_or_raise(f"workload of the suite {self.name!r}", name, known)] for name in names] or list(
            self.workloads.values()
        )


def with_variant(full_names: Sequence[str], variant: str, version: str) -> list[str]:
    """Return the variants with a name of some workloads, and workloads without such a variant themselves.

    Args:
        full_names: Full names of the workloads; those of variants are not changed.
        variant: Name of the variant.
        version: Version of AlgoPerf.

    Raises:
        BadInputError: If a workload is unknown; the message suggests the most similar one.

    Example:
        >>> with_variant(["quadratic_deep", "digits"], "faithful", "1.0")
        ['quadratic_deep_faithful', 'digits']
    """
    found = []
    for full_name in full_names:
        spec = find_workload(full_name, version)
        if spec.variant is None and variant in spec.variants:
            spec = get_spec(spec.name).of(version=version, variant=variant, **at_size(spec.size))
        found.append(spec.full_name)
    return found


def get_suite(name: str, version: str) -> Suite:
    """Return a suite.

    Args:
        name: ``algoperf``, the workloads of a benchmark version; ``tiny``, for laptops; ``small``, to
            compare algorithms on one machine; ``crowded-valley``, the problems of the study of that name, with its own
            rules of tuning.
        version: Version of AlgoPerf.

    Raises:
        BadInputError: If the suite or version is unknown; the message suggests the most similar one.
    """
    from algoperf_lightning.scoring.benchmarks import get_benchmark, small_workloads, tiny_workloads

    official = [workload.name for workload in get_benchmark(version, "external").base]
    suites = {
        "algoperf": Suite("algoperf", {name: name for name in official}, "seconds"),
        "tiny": Suite("tiny", {name.removesuffix("_tiny"): name for name in tiny_workloads()}, "steps"),
        "small": Suite("small", {name.removesuffix("_small"): name for name in small_workloads()}, "steps"),
        "crowded-valley": Suite(
            "crowded-valley",
            {name: name for name in _VALLEY_PROBLEMS},
            "epochs",
            more=[form for name in _VALLEY_PROBLEMS for form in _forms(name)],
            protocol=CROWDED_VALLEY,
        ),
    }
    return suites[nearest_or_raise("suite", name, suites)]


def _forms(name: str) -> list[str]:
    """Return the full names of a workload, of its variants, and of the smaller sizes of each."""
    spec = get_spec(name)
    forms = product((None, *spec.variants), (None, *spec.sizes))
    return [spec.of(variant=variant, **at_size(size)).full_name for variant, size in forms]
