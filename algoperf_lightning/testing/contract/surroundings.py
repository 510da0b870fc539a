"""Checks of the environment of a step: global state of the process, and attribute names."""

from __future__ import annotations

import inspect

import torch

from algoperf_lightning.rng import get_rng_state
from algoperf_lightning.rules import global_state as process
from algoperf_lightning.submission import misspelt

from .compare import Failed, NotApplicable, named
from .holdings import equal, leaves
from .run import Run
from .subject import Subject


def global_state(subject: Subject) -> str:
    """A step does not change the process: random generators, settings of torch, and the environment."""
    before = settings()
    run = Run(subject)
    if run.drew_at_start:
        raise Failed("creating the optimizer draws from the global random generators, which are not seeded yet")
    drawn = dict(leaves(get_rng_state(), ""))
    run.steps(6)
    if changed := [*subject.changes, *process.differences(before, settings())]:
        raise Failed("; ".join(changed[:3]))
    now = dict(leaves(get_rng_state(), ""))
    if kinds := sorted({path.split("'")[1] for path, value in drawn.items() if not equal(value, now[path])}):
        raise Failed(f"a step draws from or seeds the global random generators ({', '.join(kinds)})")
    return "random generators, settings of torch and the environment are unchanged"


def settings() -> dict[str, object]:
    """Return the process settings that a step must not change."""
    modes = {
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.is_inference_mode_enabled()": torch.is_inference_mode_enabled(),
    }
    return {**process.settings(), **process.interpreter(), **process.environment(), **modes}


def attributes(subject: Subject) -> str:
    """No attribute is a misspelling of one that a run reads."""
    if subject.submission is None:
        raise NotApplicable("an optimizer has no attributes that a run reads")
    submission = subject.make()
    names = {name for owner in type(submission).__mro__[:-1] for name in vars(owner)} | set(vars(submission))
    arguments = set(inspect.signature(type(submission).__init__).parameters)
    if found := misspelt(names, arguments):
        words = [f"{name} (did you mean {meant}?)" for name, meant in found.items()]
        raise Failed(f"a run does not read {named(words)}")
    return "no misspelt attribute"
