"""The job array of SLURM, against stand-ins for its commands that do what the real ones are documented to do."""

import math
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from commands import HERE, algoperf, states, tune
from test_sweeps import finish

from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.tuning import trial_process
from algoperf_lightning.tuning.launchers import make_launcher
from algoperf_lightning.tuning.state import State

# sbatch checks and keeps the script, and says the job's number; tasks run when the test says so.
SBATCH = """#!/usr/bin/env bash
if [ -e "$STUBS/refuse" ]; then echo "sbatch: error: invalid partition" >&2; exit 1; fi
[ "$1" = --parsable ] || exit 9
cp "$2" "$STUBS/submitted.sh"
echo "$2" >> "$STUBS/submissions"
echo "4711;cluster"
"""
SQUEUE = """#!/usr/bin/env bash
if [ -e "$STUBS/unreachable" ]; then
  echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2
  exit 1
fi
for argument in "$@"; do
  if [ "$argument" = --jobs=4711 ] && [ -e "$STUBS/queued" ]; then cat "$STUBS/queued"; exit 0; fi
done
echo "slurm_load_jobs error: Invalid job id specified" >&2
exit 1
"""
SRUN = """#!/usr/bin/env bash
[ "$1" = --kill-on-bad-exit=1 ] || exit 9
shift
exec "$@"
"""
SCONTROL = """#!/usr/bin/env bash
echo "$@" >> "$STUBS/requeued"
"""


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    folder = tmp_path / "stubs"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", SRUN), ("scontrol", SCONTROL)):
        path = folder / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STUBS", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.syspath_prepend(str(HERE))
    return folder


def submit(runs, *options, submission="probes.Slow"):
    command = tune(runs, submission, "--studies", 1, "--trials", 2, "--launcher", "slurm", *options)
    main([str(argument) for argument in command])


def run_task(stubs, number, **environment):
    """Run one task of the submitted array, as SLURM would; return its exit code."""
    variables = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_JOB_ID": "4711", **environment}
    script = stubs / "submitted.sh"
    done = subprocess.run(["bash", script], env={**os.environ, **variables}, check=False, timeout=200)
    return done.returncode


def test_the_script_is_a_job_array_that_requeues_and_is_signalled(tmp_path, stubs, capsys):
    header = tmp_path / "header"
    header.write_text("#SBATCH --mem=64G\nmodule load cuda\n")
    options = ["jobs=8", "devices=4", "cpus=6", "time=12:00:00", "partition=gpu", f"header={header}"]
    submit(tmp_path / "runs", "--option", *options)
    assert "Submitted as job 4711: 2 trials" in capsys.readouterr().out
    lines = (stubs / "submitted.sh").read_text().splitlines()
    for option in (
        "array=1-2%8",
        "requeue",
        "signal=USR1@120",
        "open-mode=append",
        "ntasks-per-node=4",
        "gpus-per-node=4",
        "cpus-per-task=6",
        "time=12:00:00",
        "partition=gpu",
        "mem=64G",
    ):
        assert f"#SBATCH --{option}" in lines
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first_command:]), "SLURM would not read these"
    assert lines.index("module load cuda") >= first_command
    assert subprocess.run(["bash", "-n", stubs / "submitted.sh"], check=False).returncode == 0


@pytest.mark.slow
def test_tasks_run_their_trials_and_go_back_into_the_queue_near_the_time_limit(tmp_path, stubs):
    runs = tmp_path / "runs"
    submit(runs, "--option", "gpus=no")
    # Near the time limit SLURM sends SIGUSR1 to the task's processes: here a stand-in for srun does, after the start.
    (stubs / "srun").write_text(
        '#!/usr/bin/env bash\nshift\n"$@" &\nchild=$!\n'
        f"trial={runs}/Slow/study_1/digits/trial_1\n"
        'while [ ! -s "$trial/evaluations.csv" ]; do sleep 0.1; done\nsleep 1\nkill -USR1 $child\nwait $child\n'
    )
    assert run_task(stubs, 1) == 143
    assert (stubs / "requeued").read_text() == "requeue 4711_1\n"
    first, second = states(runs)
    assert first.state is State.INTERRUPTED
    assert first.result.status == "preempted"
    assert second.state is State.WAITING
    (stubs / "srun").write_text(SRUN)
    assert run_task(stubs, 1) == 0
    first, second = states(runs)
    assert first.state.over
    assert first.result.preemptions == 1
    assert (stubs / "requeued").read_text() == "requeue 4711_1\n"


def test_what_is_in_the_queue_is_not_submitted_again(tmp_path, stubs, capsys):
    runs = tmp_path / "runs"
    submit(runs)
    (stubs / "queued").write_text("1\n2\n")
    submit(runs)
    assert "2 trials are already in SLURM's queue" in capsys.readouterr().out
    assert len((stubs / "submissions").read_text().splitlines()) == 1
    (stubs / "queued").write_text("2\n")
    submit(runs)
    assert len((stubs / "submissions").read_text().splitlines()) == 2
    (trial,) = (runs / "launcher" / "slurm_2" / "trials.txt").read_text().splitlines()
    assert trial.endswith("Slow/study_1/digits/trial_1")


def test_the_stages_of_a_protocol_are_submitted_one_after_the_other(tmp_path, stubs, capsys):
    def command(budget):
        suite = ["tune", "--suite", "crowded-valley", "quadratic_deep", "--submission", "valley_sgd", "--plain"]
        main([*suite, "--budget", budget, "--output", str(tmp_path / "runs"), "--launcher", "slurm"])
        return capsys.readouterr().out

    def submitted():
        jobs = (tmp_path / "runs" / "launcher").glob("slurm_*/trials.txt")
        return [len(path.read_text().splitlines()) for path in sorted(jobs)]

    printed = command("small")
    assert submitted() == [10 + 25]
    assert "At most 9 more trials depend on the results" in printed
    assert "Run the same command again when the preceding trials have ended." in printed
    (stubs / "queued").write_text("".join(f"{number}\n" for number in range(1, 36)))
    command("small")
    assert submitted() == [35], "what is in the queue was submitted again"
    for state in states(tmp_path / "runs"):
        finish(state.trial, math.inf, 0.5)
    (stubs / "queued").write_text("")
    assert "depend on the results" not in command("small")
    assert submitted() == [35, 9]
    waiting = [state.trial for state in states(tmp_path / "runs") if state.state is State.WAITING]
    assert {trial.study.stage for trial in waiting} == {"best"}
    for trial in waiting:
        finish(trial, math.inf, 0.5)
    command("small")
    assert submitted() == [35, 9]
    command("medium")  # 25 more points; the best of all is known only then
    assert submitted() == [35, 9, 25]


def test_a_job_that_slurm_has_forgotten_leaves_nothing_in_the_queue(tmp_path, stubs):
    submit(tmp_path / "runs")
    submit(tmp_path / "runs")
    assert len((stubs / "submissions").read_text().splitlines()) == 2


def test_nothing_is_submitted_while_it_is_not_known_what_is_in_the_queue(tmp_path, stubs, capsys):
    submit(tmp_path / "runs")
    (stubs / "unreachable").touch()
    with pytest.raises(SystemExit):
        submit(tmp_path / "runs")
    assert re.search(r"it is unknown whether job 4711 .*Unable to contact", capsys.readouterr().err, re.DOTALL)
    assert len((stubs / "submissions").read_text().splitlines()) == 1


def test_folders_may_have_spaces(tmp_path, stubs):
    runs = tmp_path / "two words, it's #1"
    submit(runs)
    script = (stubs / "submitted.sh").read_text()
    # sbatch reads quotes and comments in its options as the shell does.
    options = [shlex.split(line, comments=True) for line in re.findall(r"^#SBATCH (.*)", script, re.MULTILINE)]
    assert [f"--output={runs / 'launcher' / 'slurm_1' / 'slurm_%a.txt'}"] in options
    (stubs / "srun").write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    assert run_task(stubs, 2) == 0
    trial = runs / "Slow" / "study_1" / "digits" / "trial_2"
    assert (trial / "log.txt").read_text().splitlines()[-1] == str(trial)


@pytest.mark.parametrize(
    ("code", "failure", "requeued"),
    [(143, None, True), (143, "failure_rank_2.txt", False), (75, None, False), (1, None, False), (0, None, False)],
    ids=["preempted", "told to end after a failure", "locked", "failed", "over"],
)
def test_only_a_trial_that_can_go_on_is_put_back_into_the_queue(tmp_path, stubs, code, failure, requeued):
    runs = tmp_path / "runs"
    submit(runs)
    (stubs / "srun").write_text(f"#!/usr/bin/env bash\nexit {code}\n")
    if failure is not None:
        (runs / "Slow" / "study_1" / "digits" / "trial_1" / failure).touch()
    assert run_task(stubs, 1) == code
    assert (stubs / "requeued").exists() is requeued


@pytest.mark.parametrize(("rank", "code"), [("0", 143), ("1", 0)])
def test_the_first_rank_alone_says_that_a_trial_was_preempted(monkeypatch, rank, code):
    monkeypatch.setenv("SLURM_PROCID", rank)
    with pytest.raises(SystemExit) as ended:
        trial_process._end_early(signal.SIGUSR1, None)
    assert ended.value.code == code


def test_a_refusal_is_told_with_the_script_to_submit_by_hand(tmp_path, stubs, capsys):
    (stubs / "refuse").touch()
    with pytest.raises(SystemExit):
        submit(tmp_path / "runs")
    assert re.search(r"sbatch failed: .*invalid partition.*slurm_1/job.sh", capsys.readouterr().err, re.DOTALL)


@pytest.mark.slow
def test_without_slurm_the_script_is_written_all_the_same(tmp_path):
    command = tune(tmp_path / "runs", "probes.Slow", "--studies", 1, "--trials", 2, "--launcher", "slurm")
    code, printed = algoperf(*command, PATH=str(Path(sys.executable).parent))
    assert code == 2
    assert "sbatch is not installed here" in printed
    assert (tmp_path / "runs" / "launcher" / "slurm_1" / "job.sh").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("slurn", [], "Unknown launcher 'slurn'. Did you mean 'slurm'"),
        ("slurm", ["job=3"], "Unknown option of the launcher slurm 'job'. Did you mean 'jobs'"),
        ("slurm", ["jobs=many"], "jobs=many: expected a positive integer"),
        ("slurm", ["jobs"], "expected NAME=VALUE"),
        ("slurm", ["gpus=maybe"], "expected yes or no"),
        ("slurm", ["header=/none"], "there is no such file"),
        ("local", ["jobs=0"], "expected a positive integer"),
    ],
)
def test_options_of_launchers_are_checked(name, options, message):
    with pytest.raises(BadInputError, match=re.escape(message)):
        make_launcher(name, options)
