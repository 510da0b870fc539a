"""Selection of submissions and workloads from a set of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import Benchmark
from algoperf_lightning.scoring.runs import Runs, counted, present, some_of
from algoperf_lightning.utilities.inputs import nearest_or_raise


class Selection:
    """Which submissions and workloads are scored.

    A pattern is a name of submissions or workloads, possibly with ``*`` and ``?``. If patterns that match submissions
    are included, only these submissions are kept, and likewise for workloads. Excluded ones are removed from the rest.

    Example:
        >>> Selection(["wmt", "ogbg"], ["muon*"])
        Selection(include=['wmt', 'ogbg'], exclude=['muon*'])
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self.include = list(include)
        self.exclude = list(exclude)

    def __repr__(self) -> str:
        return f"Selection(include={self.include}, exclude={self.exclude})"

    def of_runs(self, runs: Runs) -> Runs:
        """Return the runs of selected submissions on workloads that are not excluded; a note names the others.

        Findings about removed runs are removed too.

        Runs on workloads that are not included remain, because they may be the held-out ones of included workloads.
        """
        names = present(trial.submission for trial in runs.trials)
        kept = set(self._of(present([*names, *(name for each in runs.findings for name, _ in each.about)])))
        trials = [each for each in runs.trials if each.submission in kept and not self._excludes(each.workload)]
        chosen = Runs(trials, list(runs.findings))
        _keep_findings(chosen, lambda name, of: name in kept and not (of and self._excludes(of)))
        if number := len(runs.trials) - len(trials):
            left_out = [*(name for name in names if name not in kept), *filter(self._excludes, _workloads(runs))]
            message = f"{counted(number, 'trial')} left out, as requested: {some_of(left_out)}."
            chosen.note("left out", message, strict=False)
        return chosen

    def of_benchmark(self, benchmark: Benchmark, runs: Runs) -> Benchmark:
        """Return the benchmark of the selected workloads, whose name shows that it is not the official one.

        Args:
            benchmark: The benchmark of the runs.
            runs: All runs, which define the names.

        Raises:
            BadInputError: If a pattern matches neither a submission nor a workload, or no base workload remains.
        """
        names = [workload.name for workload in benchmark.workloads]
        known = dict.fromkeys([*(trial.submission for trial in runs.trials), *_workloads(runs), *names])
        for pattern in (*self.include, *self.exclude):
            if not any(fnmatchcase(name, pattern) for name in known):
                nearest_or_raise("submission or workload", pattern, known)
        kept = set(self._of(names))
        base = tuple(workload for workload in benchmark.base if workload.name in kept)
        if not base:
            raise BadInputError(
                f"No base workload of {benchmark.name} is left by --include and --exclude: {', '.join(names)}."
            )
        bases = {workload.name for workload in base}
        held_out = tuple(each for each in benchmark.held_out if each.base in bases and not self._excludes(each.name))
        if len(base) + len(held_out) == len(names):
            return benchmark
        name = f"{some_of(workload.name for workload in base)} of {benchmark.name}"
        if len(base) == len(benchmark.base):
            lost = some_of(each.name for each in benchmark.held_out if each not in held_out)
            name = f"{benchmark.name}, without {lost}"
        return dataclasses.replace(benchmark, name=name, base=base, held_out=held_out, part=True)

    def of_findings(self, runs: Runs, benchmark: Benchmark) -> None:
        """Remove findings about workloads that are in the runs, but not in the selected part of a benchmark."""
        if benchmark.part:
            scored = {workload.name for workload in benchmark.workloads}
            _keep_findings(runs, lambda _, of: of is None or of in scored)

    def _excludes(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.exclude)

    def _of(self, names: Sequence[str]) -> list[str]:
        wanted = [pattern for pattern in self.include if any(fnmatchcase(name, pattern) for name in names)]
        return [
            name
            for name in names
            if (not wanted or any(fnmatchcase(name, pattern) for pattern in wanted)) and not self._excludes(name)
        ]


def _keep_findings(runs: Runs, keeps: Callable[[str, str | None], bool]) -> None:
    """Keep findings about all runs, and those about at least one selected submission and workload."""
    runs.findings = [each for each in runs.findings if not each.about or any(keeps(*pair) for pair in each.about)]


def _workloads(runs: Runs) -> Sequence[str]:
    return present(trial.workload for trial in runs.trials)
