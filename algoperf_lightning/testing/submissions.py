"""Checks of a submission."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from algoperf_lightning.data.examples import Draws
from algoperf_lightning.hyperparameters import numeric_hyperparameters
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing.runs import compare_resumed, train

SubmissionCheck: TypeAlias = Callable[[type[Submission], Path], None]


def check_hyperparameters(submission: type[Submission], folder: Path) -> None:
    """It can be created without arguments and copied, and its search space only contains its arguments.

    If it declares ranges, every numeric hyperparameter has one, so that a misspelt name is detected.
    """
    made = submission()
    assert copy.deepcopy(made).hyperparameters == made.hyperparameters
    numbers = numeric_hyperparameters(submission)
    without = [name for name, number in numbers.items() if number.interval is None]
    assert len(without) in (0, len(numbers)), f"hyperparameter_ranges has no {', '.join(without)}"
    arguments = set(inspect.signature(submission.__init__).parameters) - {"self"}
    space = submission.search_space
    if space is None:
        return
    ranges = isinstance(space, Mapping)
    points: list[Any] = [space] if ranges else list(space)
    assert points, "the search space is empty: use None for a submission that tunes itself"
    for point in points:
        unknown = set(point) - arguments
        assert not unknown, f"the search space contains {sorted(unknown)}, which are not arguments of __init__"
    if not ranges:
        for point in points:
            submission(**point)


def check_trains(submission: type[Submission], folder: Path) -> None:
    """It changes every parameter and halves the loss of a small problem in 200 or 1,000 steps, without its name."""
    for steps in (200, 1_000):
        started, trained = (get_workload("digits")(submission(), data_dir=folder) for _ in range(2))
        assert not hasattr(trained.view, "name"), "a submission could distinguish workloads"
        trained.spec = dataclasses.replace(trained.spec, step_hint=steps)
        train(trained, steps, folder)
        started.configure_model()
        batch = trained.data.open("eval_train").read(np.arange(256), Draws(0, np.arange(256)))
        with torch.no_grad():
            before, after = (float(w.eval().loss(batch).per_example.mean()) for w in (started, trained))
        if after < before / 2:
            break
    assert after < before / 2, f"the loss went from {before:.4f} to {after:.4f} in {steps} steps"
    fresh = dict(started.network.named_parameters())
    still = [name for name, p in trained.network.named_parameters() if torch.equal(p, fresh[name])]
    assert not still, f"{steps} steps did not change {still}"


def check_submission_resume(submission: type[Submission], folder: Path) -> None:
    """A run that is saved and resumed is bit-equal to an uninterrupted one; checkpoints contain only plain types."""
    compare_resumed(lambda: get_workload("digits")(submission(), data_dir=folder), folder)


SUBMISSION_CHECKS: tuple[SubmissionCheck, ...] = (check_hyperparameters, check_trains, check_submission_resume)
"""All checks of a submission; the folder is for checkpoints."""
