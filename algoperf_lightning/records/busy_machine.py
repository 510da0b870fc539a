"""Whether seconds were lengthened by other programs: a run that computes on a CPU should have one all the time."""

from __future__ import annotations

import os

from algoperf_lightning.records.trial import Trial

_ENOUGH = 0.8
"""Processor seconds in a submission second below which a run is reported. An idle machine gives 0.95 to 1 on one
thread, and more on several, so on several threads this finds less than there is."""
_SHORTEST = 1.0
"""Submission seconds of a run that is too short to say anything of it."""


def load_average() -> float:
    """Return the one-minute load average of this machine; 0 where the system has none."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows, some containers
        return 0.0


def busy_machine(result: Trial) -> str:
    """Return what is wrong with the seconds of a run on a CPU that waited for it, in words; empty if nothing is.

    A run on a GPU is not looked at, as its process may sleep while the device computes.
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
