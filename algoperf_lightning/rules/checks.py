"""Checks for violations of the rules during a run.

Before the submission's code is called, everything that it must not change is noted: the model's structure and hooks,
the data pipeline, loss and metric, the numbers of the workload, the clocks, global settings, threads and processes. It
is noted again after ``configure_optimizers``, at the start and end of each evaluation, and at the end of the run; each
difference is a warning in the record. Parameters must not change while the clock is stopped: they are compared before
and after each evaluation and each checkpoint, and around ``configure_optimizers``. The source code of the submission is
checked too: :mod:`algoperf_lightning.rules.scan`. People judge the warnings, which do not end the run.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from algoperf_lightning.rules import fresh_process, global_state
from algoperf_lightning.rules import looks as rule_looks
from algoperf_lightning.rules.order import gravest_first
from algoperf_lightning.rules.scan import scan
from algoperf_lightning.rules.sources import files, submissions_in
from algoperf_lightning.rules.tensor_checksums import checksums
from algoperf_lightning.training.observer import Observer

if TYPE_CHECKING:
    from algoperf_lightning.submission import Submission
    from algoperf_lightning.workload import Workload

_SHOWN = 3
_FREE_SECONDS = 2.0
_FREE_SHARE = 0.01
"""Share of the budget's seconds that ``configure_optimizers`` may take before it is charged."""

_SETTINGS = "A global setting"
_ENVIRONMENT = "The environment"
_MODES = "The model's modes"


_ADVICE = " From AlgoPerf 0.6 on, request another rate with workload.loss(batch, dropout=...)."


class RuleChecks(Observer):
    """Compares everything that a submission must not change before and after its code has run.

    Args:
        workload: The workload; the caller sets its :attr:`~algoperf_lightning.workload.Workload.observer`.
        clock: Function that measures the seconds of ``configure_optimizers``.
    """

    def __init__(self, workload: Workload, clock: Callable[[], float] = time.monotonic) -> None:
        self._workload = workload
        self._before: dict[str, Mapping[str, Any]] = {}
        self._modes: Mapping[str, Any] = {}
        self._own_files: frozenset[str] = frozenset()
        self._read: set[type] = set()
        self._evaluated: dict[str, int] | None = None
        self._warnings: list[str] = []
        self._clock = clock
        self.charge = 0.0
        """Seconds of ``configure_optimizers`` that count as submission time."""

    @property
    def warnings(self) -> list[str]:
        """Warnings so far without duplicates, first those that affect scores."""
        return gravest_first(self._warnings)

    def _begin(self) -> None:
        """Note the initial state: the model is built, and the submission's code was not called for this run yet."""
        self._evaluated, self.charge = None, 0.0
        self._warnings, self._read = [], set()
        self._read_texts()
        for name in global_state.foreign_clocks():
            self._add(f"A clock was replaced before the run: {name}.")
        if names := rule_looks.replaced(self._workload):
            self._add(f"Methods were replaced before the run: {_listed(names)}.")
        for name in rule_looks.threads(self._own_files):
            self._add(f"Other code ran alongside before the run: {name}.")
        for submission in submissions_in(self._workload.submission):
            self._compare_with_a_fresh_process(submission)
        self._before = self._look()
        self._modes = rule_looks.modes(self._workload.network)

    def _read_texts(self) -> None:
        """Add warnings about the source code of the submission and of those that it contains."""
        self._own_files = files(self._workload.submission)
        for kind in dict.fromkeys(type(each) for each in submissions_in(self._workload.submission)):
            for warning in scan(kind) if kind not in self._read else ():
                self._add(warning)
            self._read.add(kind)

    @contextmanager
    def configuring(self) -> Iterator[None]:
        """Check the submission's ``configure_optimizers``, which is called within the block."""
        self._begin()
        workload = self._workload
        _make_an_optimizer()
        before, begun = checksums(workload.network), self._clock()
        yield
        seconds = self._clock() - begun
        self._read_texts()  # again, because it may have created the submission that it wraps
        changed = self._compare(before, "in configure_optimizers")
        free = 0.0 if changed else max(_FREE_SECONDS, _FREE_SHARE * workload.spec.budget)
        if seconds > free:
            self.charge = seconds - free
            self._add(
                f"configure_optimizers took {seconds:.1f} s"
                + (" and changed parameters" if changed else "")
                + f": {self.charge:.1f} s of it are submission time."
            )
        self.look()

    def data_are_open(self) -> None:
        """Note again what the Trainer and libraries for data have set; the submission has not run since."""
        if self._before:
            self._before[_SETTINGS] = global_state.settings()
            self._before[_ENVIRONMENT] = global_state.environment()

    def evaluation_begins(self) -> None:
        """Note the parameters, which an evaluation must not change."""
        if self._before:
            self._compare_looks(evaluated=False)
            self._evaluated = checksums(self._workload.network)

    def look_at_modes(self) -> None:
        """Check whether the modules are in their training modes, before an evaluation changes these."""
        if self._before:
            now = rule_looks.modes(self._workload.network)
            both = self._modes.keys() & now.keys()  # added and removed modules are detected elsewhere
            self._add_all(_MODES, {name: self._modes[name] for name in both}, {name: now[name] for name in both})
            self._modes = now

    def look(self) -> None:
        """Add a warning for each change."""
        evaluated, self._evaluated = self._evaluated, None
        if evaluated is None:
            self.look_at_modes()
        else:
            self._compare(evaluated, "during an evaluation")
        self._compare_looks(evaluated=evaluated is not None)

    def _compare_looks(self, *, evaluated: bool) -> None:
        seen = self._look()
        for what, now in seen.items():
            if evaluated and what == _ENVIRONMENT:
                continue  # metrics also import libraries, when they are first computed
            self._add_all(what, self._before.get(what, now), now)
        # Each change is reported once: later states are compared with the current one.
        self._before = seen

    def _add_all(self, what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        words = global_state.differences(before, now)
        for line in words[:_SHOWN]:
            advice = _ADVICE if line.startswith("dropout ") else ""
            self._add(f"{what} changed during the run: {line}.{advice}")
        if len(words) > _SHOWN:
            self._add(f"{what} changed during the run: {len(words) - _SHOWN} more such changes.")

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Check that a checkpoint, which is written within the block, does not change the parameters."""
        before = checksums(self._workload.network) if self._before else {}
        yield
        if self._before:
            self._compare(before, "while a checkpoint was written")

    def _compare(self, before: Mapping[str, int], when: str) -> bool:
        now = checksums(self._workload.network)
        changed = [name for name in before if now.get(name) != before[name]]
        if changed:
            self._add(f"Parameters or buffers changed {when}: {_listed(changed)}.")
        return bool(changed)

    def _compare_with_a_fresh_process(self, submission: Submission) -> None:
        """Find out who has changed global settings before the run: the submission, or the script that runs it."""
        module, name = type(submission).__module__, type(submission).__qualname__
        is_first = self._workload.trainer.is_global_zero
        if global_state.settings() == global_state.SETTINGS_AT_IMPORT or not is_first:
            return
        if module == "__main__" or module.startswith("algoperf_lightning.") or "<locals>" in name:
            return
        try:
            words = fresh_process.changes(module, name, submission.hyperparameters)
        except (OSError, ValueError, StopIteration, subprocess.SubprocessError):
            return  # its arguments cannot be stored, or it is not in a file: the origin of the settings is unknown
        for line in words:
            self._add(f"A global setting or variable changed when the submission was imported or created: {line}.")

    def warn(self, warning: str) -> None:
        """Add a warning from elsewhere about a change of how the run is measured."""
        self._add(warning)

    def _add(self, warning: str) -> None:
        if warning not in self._warnings:
            self._warnings.append(warning)

    def _look(self) -> dict[str, Mapping[str, Any]]:
        workload = self._workload
        return {
            "The model's structure": rule_looks.structure(workload.network),
            "A hook or a forward pass": rule_looks.hooks(workload.network),
            "The workload": rule_looks.methods(workload),
            "The data pipeline": rule_looks.data(workload),
            "The workload's numbers": rule_looks.numbers(workload),
            "A clock": global_state.clocks(),
            "The interpreter": global_state.interpreter(),
            "Threads or processes": {**rule_looks.threads(self._own_files), **rule_looks.children()},
            _SETTINGS: global_state.settings(),
            _ENVIRONMENT: global_state.environment(),
        }


def _make_an_optimizer() -> None:
    """Let torch do the imports of the first optimizer of a process, which are not the submission's work."""
    torch.optim.SGD([torch.zeros(1)], lr=0.0)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
