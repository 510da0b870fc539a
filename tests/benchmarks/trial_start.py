"""What the start of a trial costs: in a fresh process, and forked from a server that has imported everything.

Runs short trials of digits both ways, in turn, and prints the medians of processor seconds a trial and the peak memory
of its process: ``python tests/benchmarks/trial_start.py --trials 5``.
"""

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from algoperf_lightning.tuning.fork_server import ForkServer
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies
from algoperf_lightning.tuning.trial_process import child_environment, command, server_command

STEPS = ["--time_budget.budget", "20", "--time_budget.eval_period", "20"]


def start_fresh(trial, environment):
    nothing = subprocess.DEVNULL
    return subprocess.Popen(command(trial), env=environment, stdout=nothing, stderr=nothing)


def measure(process):
    """Return processor seconds, wall seconds and peak memory in MiB of one trial's process."""
    before = time.monotonic()
    peak = seconds = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        peak = max([peak, *(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))])
        seconds = max(seconds, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
        time.sleep(0.01)
    return seconds, time.monotonic() - before, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=5)
    options = parser.parse_args()
    environment = child_environment({"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"})
    with tempfile.TemporaryDirectory() as folder:
        (study,) = plan_studies(
            TuningRequest(
                ["digits"],
                ["adamw"],
                Path(folder),
                unit="steps",
                studies=1,
                trials=2 * options.trials,
                fit_arguments=STEPS,
            )
        )
        study.write()
        started = time.monotonic()
        server = ForkServer(server_command(), environment)
        rows = {"fresh": [], "forked": []}
        for number, trial in enumerate(study.trials):
            way = ("fresh", "forked")[number % 2]
            process = (
                start_fresh(trial, environment) if way == "fresh" else server.start(trial.folder, Path(os.devnull))
            )
            rows[way].append(measure(process))
        server.close()
        print(f"whole measurement: {time.monotonic() - started:.0f} s")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"processor seconds of all processes, the server's imports included: {used.ru_utime + used.ru_stime:.1f}")
    medians = {}
    for way, values in rows.items():
        medians[way] = [statistics.median(column) for column in zip(*values, strict=True)]
        seconds, wall, peak = medians[way]
        print(
            f"{way:>7}: {seconds:.2f} processor seconds, {wall:.2f} s, peak {peak:.0f} MiB (medians of {len(values)})"
        )
    print(f"fresh / forked, processor seconds: {medians['fresh'][0] / medians['forked'][0]:.1f}")


if __name__ == "__main__":
    main()
