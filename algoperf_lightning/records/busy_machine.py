"""Detection of seconds that other programs have lengthened: a run on a CPU should use one processor all the time."""

from __future__ import annotations

import os

from algoperf_lightning.records.trial import Trial

_ENOUGH = 0.8
"""A run is reported below this number of processor seconds per submission second. An idle machine gives 0.95 to 1 with
one thread, and more with several, so fewer disturbances are found with several threads."""
_SHORTEST = 1.0
"""Runs with fewer submission seconds are too short to be judged."""


def load_average() -> float:
    """Return the one-minute load average of this machine; 0 if the system does not have it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows, some containers
        return 0.0


def busy_machine(result: Trial) -> str:
    """Return a warning if a run on a CPU had to wait for the processor; otherwise an empty string.

    Runs on a GPU are not checked, because their process may sleep while the device computes.
    """
    used, seconds = result.processor_seconds, result.submission_seconds
    if used is None or seconds < _SHORTEST or result.environment.get("accelerator") != "cpu":
        return ""
    if used >= _ENOUGH * seconds:
        return ""
    cores = result.environment.get("cpu_count")
    load = f", load average up to {result.load:.1f} on {cores} cores" if result.load else ""
    advice = (
        "Run it again on an idle machine, or count steps."
        if result.unit == "seconds"
        else "It counts steps, so its result is not affected."
    )
    return (
        f"it had a processor during {used / seconds:.0%} of its submission seconds ({used:.1f} of {seconds:.1f} "
        f"s{load}), so its seconds are too long. {advice}"
    )
