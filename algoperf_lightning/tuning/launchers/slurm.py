"""Trials as a SLURM job array: one script, which can be read, edited, and submitted by hand."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import write_atomic
from algoperf_lightning.result import FAILURE_FILE
from algoperf_lightning.tuning.launchers.base import Launch, Launcher
from algoperf_lightning.tuning.plan import LOG_FILE, PlannedTrial
from algoperf_lightning.tuning.trial_process import EXIT_PREEMPTED
from algoperf_lightning.tuning.trial_process import __name__ as TRIAL_MODULE

SCRIPT_FILE = "job.sh"
TRIALS_FILE = "trials.txt"
JOB_FILE = "job_id"

_NOTICE = 120  # seconds before the time limit at which trials are signalled to save their checkpoints


class SlurmLauncher(Launcher):
    """Submit a job array with one task per trial, and return; SLURM runs it.

    Shortly before the time limit a task receives SIGUSR1: the trial saves its checkpoint and ends, and the script
    requeues the task. SLURM itself requeues a task that is preempted or whose node fails (``--requeue``). In both cases
    the trial continues with the time that it has used. Trials that are still in the queue are not submitted again.

    Args:
        jobs: Maximum number of concurrent tasks. Default: no limit.
        devices: Processes of each trial, on one node, each with a GPU. The Trainer needs the same number:
            ``-- --trainer.devices 8``.
        gpus: ``no`` for processes without GPUs.
        cpus: Cores of each process.
        time: Limit of one task, in the format of ``sbatch --time``; a trial may need several.
        partition: As for ``sbatch``.
        account: As for ``sbatch``.
        header: A file whose lines are inserted at the top of the script: more ``#SBATCH`` lines, modules to load.
    """

    def __init__(
        self,
        jobs: int | None = None,
        devices: int = 1,
        gpus: str = "yes",
        cpus: int | None = None,
        time: str | None = None,
        partition: str | None = None,
        account: str | None = None,
        header: str | None = None,
    ) -> None:
        if gpus not in ("yes", "no"):
            raise BadInputError(f"--option gpus={gpus}: expected yes or no.")
        if header is not None and not Path(header).is_file():
            raise BadInputError(f"--option header={header}: there is no such file.")
        self._jobs = jobs
        self._header = "" if header is None else Path(header).read_text(encoding="utf-8").rstrip() + "\n"
        self._options = {
            "job-name": "algoperf",
            "nodes": "1",
            "ntasks-per-node": str(devices),
            "gpus-per-node": str(devices) if gpus == "yes" else None,
            "cpus-per-task": None if cpus is None else str(cpus),
            "time": time,
            "partition": partition,
            "account": account,
        }

    def slots(self) -> int | None:
        """Return the limit of concurrent tasks, if there is one."""
        return self._jobs

    def run(self, launch: Launch) -> bool:
        """Write the script, submit it, and return False, because the trials run later.

        Raises:
            BadInputError: If ``sbatch`` does not exist or fails; the script is written, and can be submitted by hand.
                If the trials in the queue cannot be determined; nothing is written or submitted then.
        """
        folder = launch.output / "launcher"
        queued = _in_queue(folder)
        trials = [trial for trial in launch.trials if str(trial.folder.absolute()) not in queued]
        if queued:
            print(f"{len(queued)} trials are already in SLURM's queue.")  # noqa: T201
        if not trials:
            return False
        folder = _next_folder(folder)
        write_atomic(folder / TRIALS_FILE, "".join(f"{trial.folder.absolute()}\n" for trial in trials))
        write_atomic(folder / SCRIPT_FILE, self.script(folder, trials, launch))
        job = _submit(folder)
        write_atomic(folder / JOB_FILE, f"{job}\n")
        print(f"Submitted as job {job}: {len(trials)} trials. The script is {folder / SCRIPT_FILE}.")  # noqa: T201
        return False

    def script(self, folder: Path, trials: list[PlannedTrial], launch: Launch) -> str:
        """Return the batch script for some trials."""
        limit = "" if self._jobs is None else f"%{self._jobs}"
        options = {
            **self._options,
            "array": f"1-{len(trials)}{limit}",
            "requeue": "",
            "open-mode": "append",
            "signal": f"USR1@{_NOTICE}",
            "output": shlex.quote(str(folder.absolute() / "slurm_%a.txt")),
        }
        lines = "".join(
            f"#SBATCH --{name}{'=' if value else ''}{value}\n" for name, value in options.items() if value is not None
        )
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in launch.environment.items())
        failures = FAILURE_FILE.format(rank="*")
        trials_file = shlex.quote(str(folder.absolute() / TRIALS_FILE))
        return (
            "#!/usr/bin/env bash\n"
            "# Written by `algoperf tune --launcher slurm`. One task of the array runs one trial of trials.txt.\n"
            f"{lines}{self._header}{exports}"
            f'trial=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {trials_file})\n'
            "# When one process of a trial ends with an error, the others would wait for it forever.\n"
            f"srun --kill-on-bad-exit=1 {shlex.quote(sys.executable)} -m {TRIAL_MODULE} "
            f'"$trial" >> "$trial/{LOG_FILE}" 2>&1\n'
            "code=$?\n"
            "# The time limit is near and the trial has saved its checkpoint: requeue it. A failed trial is not\n"
            "# requeued, even if this exit code is that of a process that the failure terminated.\n"
            f'if [ $code -eq {EXIT_PREEMPTED} ] && ! compgen -G "$trial/{failures}" > /dev/null; then\n'
            '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"\n'
            "fi\n"
            "exit $code\n"
        )


def _submit(folder: Path) -> str:
    """Submit the script, and return the job's number."""
    command = ["sbatch", "--parsable", str(folder.absolute() / SCRIPT_FILE)]
    by_hand = f"The script is {folder / SCRIPT_FILE}; on a machine of the cluster, submit it with `sbatch`."
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise BadInputError(f"sbatch is not installed here. {by_hand}") from None
    except subprocess.CalledProcessError as error:
        raise BadInputError(f"sbatch failed: {error.stderr.strip()} {by_hand}") from error
    return done.stdout.strip().partition(";")[0]  # may be followed by the cluster's name


def _in_queue(folder: Path) -> set[str]:
    """Return the folders of trials whose tasks are pending or running in SLURM."""
    queued: set[str] = set()
    for job_file in sorted(folder.glob(f"slurm_*/{JOB_FILE}")):
        job = job_file.read_text(encoding="utf-8").strip()
        command = ["squeue", "--noheader", "--array", "--format=%K", f"--jobs={job}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise BadInputError(
                f"squeue is not installed here, so it is unknown whether job {job} is still running."
            ) from None
        # It also fails for old jobs that SLURM no longer knows, which have no tasks.
        if done.returncode and "Invalid job id" not in done.stderr:
            raise BadInputError(
                f"squeue failed, so it is unknown whether job {job} is still running, and its trials "
                f"could be submitted twice: {done.stderr.strip()} Run the command again when squeue works."
            )
        tasks = {int(line) for line in done.stdout.split() if line.isdigit()}
        trials = (job_file.parent / TRIALS_FILE).read_text(encoding="utf-8").splitlines()
        queued |= {trials[task - 1] for task in tasks}
    return queued


def _next_folder(parent: Path) -> Path:
    number = 1
    while True:
        folder = parent / f"slurm_{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder
