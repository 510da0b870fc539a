"""Checks of saved state: resuming, completeness of the state, and memory."""

from __future__ import annotations

import torch

from algoperf_lightning.rng import get_rng_state, set_rng_state

from .compare import Failed, differing, named
from .holdings import attributes, equal, held
from .run import Run
from .stage import STEP_HINT, Problem
from .subject import Subject

_STEPS = STEP_HINT + 6
_AHEAD = 3
"""Number of steps compared after resuming. For one of the stops, the run is compared until the end."""


def resume(subject: Subject) -> str:
    """A run that is saved after any step and resumed in new objects is bit-equal to an uninterrupted run."""
    whole = Run(subject)
    expected = [whole.steps(1) for _ in range(_STEPS)]
    broken = Run(subject)
    for stop in range(1, _STEPS):
        values = broken.steps(1)
        if names := differing(values, expected[stop - 1]):
            raise Failed(f"two identical runs differ after step {stop}: {named(names)}")
        saved, rng = broken.save(), get_rng_state()
        resumed = Run(subject, saved=saved)
        end = _STEPS if stop == STEP_HINT - 1 else min(_STEPS, stop + _AHEAD)
        for step in range(stop, end):
            if names := differing(resumed.steps(1), expected[step]):
                raise Failed(f"after resuming from step {stop}, step {step + 1} differs: {named(names)}")
        set_rng_state(rng)
    return f"bit-equal after resuming from each of {_STEPS - 1} steps"


def state(subject: Subject) -> str:
    """Attributes of the submission and its optimizers are the same in a resumed run."""
    stop, more = STEP_HINT - 1, 5  # includes an evaluation, around which submissions may store attributes
    run = Run(subject)
    run.steps(stop)
    saved, rng = run.save(), get_rng_state()
    run.steps(more)
    set_rng_state(rng)
    resumed = Run(subject, saved=saved)
    resumed.steps(more)
    expected, found = attributes(run), attributes(resumed)
    wrong = [path for path, value in expected.items() if path not in found or not equal(value, found[path])]
    wrong += [path for path in found if path not in expected]
    if wrong:
        shown = "; ".join(
            f"{path} is {_shown(found.get(path, 'missing'))} instead of {_shown(expected.get(path, 'missing'))}"
            for path in wrong[:2]
        )
        more_of_them = f"; and {len(wrong) - 2} more" if len(wrong) > 2 else ""
        raise Failed(f"{more} steps after resuming, {shown}{more_of_them}")
    return f"{len(expected)} attributes are equal, in addition to the optimizer states"


def _shown(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)[:40]


def memory(subject: Subject) -> str:
    """The state does not grow with the number of steps; its size per parameter is shown."""
    run = Run(subject, Problem(dtype=torch.float32))
    sizes, counts = [], []
    for _ in range(4):
        run.steps(STEP_HINT)
        size, count = held(run)
        sizes.append(size)
        counts.append(count)
    parameters = sum(value.numel() for value in run.values().values())
    each = [size / parameters for size in sizes]
    for what, series in (("bytes per parameter", each), ("stored numbers", [float(count) for count in counts])):
        if series[1] < series[2] < series[3]:
            shown = ", ".join(f"{value:.4g}" for value in series)
            raise Failed(f"{what} after {STEP_HINT}, {2 * STEP_HINT}, {3 * STEP_HINT}, {4 * STEP_HINT} steps: {shown}")
    return f"{each[-1]:.1f} bytes per float32 parameter, for small tensors"
