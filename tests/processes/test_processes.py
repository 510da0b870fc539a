"""Real processes: several ranks, kills, signals."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from preloaded import Program, start_ranks, wait_for_ranks

from algoperf_lightning.result import Status, TrialResult

SCRIPT = Path(__file__).with_name("run_trial.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def log_of(folder):
    return folder.parent / f"{folder.name}.log"


def start(folder, *options):
    """Start a trial, all of it in one process group; Lightning starts further ranks."""
    if "--ranks" not in options:
        return Program(SCRIPT, [folder, *options], log_of(folder), ENVIRONMENT)
    log = log_of(folder).open("a")
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *map(str, options)],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def run(folder, *options, timeout=600):
    process = start(folder, *options)
    try:
        code = process.wait(timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return code, log_of(folder).read_text()


def run_ranks(ranks, folder, *options, timeout=600):
    """Run a trial of several ranks that nobody but the test starts, where it does not matter who does."""
    code = wait_for_ranks(start_preloaded(ranks, folder, *options), timeout)
    return code, log_of(folder).read_text()


def start_preloaded(ranks, folder, *options):
    return start_ranks(ranks, SCRIPT, [folder, "--ranks", ranks, *options], log_of(folder), ENVIRONMENT)


def journal(folder, rank=0, event=None):
    path = folder / f"rank_{rank}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if event is None or line["event"] == event]


def same(one, other):
    first, second = (torch.load(folder / "final.pt", weights_only=True) for folder in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


def distance(one, other):
    """How far apart two runs ended, as a share of the parameters' norm."""
    first, second = (
        torch.cat([p.flatten() for p in torch.load(folder / "final.pt", weights_only=True).values()])
        for folder in (one, other)
    )
    return float((first - second).norm() / first.norm())


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    code, log = run(folder, "--step-clock", "--target", 0.6)
    assert code == 0, log
    return folder


@pytest.mark.slow
def test_eight_ranks_record_what_one_would(tmp_path, one_rank):
    folder = tmp_path / "run"
    code, log = run_ranks(8, folder, "--step-clock", "--target", 0.6)
    assert code == 0, log
    one, eight = TrialResult.read(one_rank / "trial"), TrialResult.read(folder / "trial")
    assert one.status is eight.status is Status.REACHED
    assert eight.environment["ranks"] == 8
    assert len(list(folder.rglob("trial.json"))) == 1
    assert [e.step for e in eight.evaluations] == [e.step for e in one.evaluations]
    assert eight.time_to_target == pytest.approx(one.time_to_target)
    for mine, theirs in zip(eight.evaluations, one.evaluations, strict=True):
        assert mine.metrics == pytest.approx(theirs.metrics, abs=0.05)  # rounding differs, and grows in 200 steps


@pytest.mark.slow
def test_ranks_decide_together_although_one_is_slower(tmp_path):
    folder = tmp_path / "run"
    code, log = run_ranks(2, folder, "--budget", 3, "--period", 0.5, "--sleep-on-rank", 1, "--sleep", 0.02)
    assert code == 0, log
    for event in ("reading", "evaluation", "end"):
        first, second = (
            [{k: v for k, v in line.items() if k != "pid"} for line in journal(folder, rank, event)] for rank in (0, 1)
        )
        assert first == second, event  # the same steps, and the same seconds: the first rank's
    result = TrialResult.read(folder / "trial")
    assert result.status is Status.BUDGET_SPENT
    assert len(result.evaluations) >= 4
    assert all(e.submission_seconds < 3 for e in result.evaluations)
    assert result.submission_seconds < 3 + 2  # the last reading comes some steps late at most, on a busy machine


@pytest.mark.slow
def test_in_steps_ranks_of_any_speed_and_a_killed_run_evaluate_at_the_same_steps(tmp_path):
    rules = ["--unit", "steps", "--budget", 130, "--period", 25, "--sleep-on-rank", 1, "--sleep", 0.01]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    code, log = run_ranks(2, whole, *rules)
    assert code == 0, log
    processes = start_preloaded(2, broken, *rules)
    while len(journal(broken, 0, "evaluation")) < 3:
        assert processes[0].poll() is None, log_of(broken).read_text()
        time.sleep(0.05)
    os.killpg(processes[0].pid, signal.SIGKILL)
    for process in processes:
        process.wait()
    code, log = run_ranks(2, broken, *rules)
    assert code == 0, log
    first, second = TrialResult.read(whole / "trial"), TrialResult.read(broken / "trial")
    assert [e.step for e in first.evaluations] == [1, 26, 51, 76, 101, 126, 130]
    assert second.preemptions == 1
    assert [(e.step, e.metrics) for e in second.evaluations] == [(e.step, e.metrics) for e in first.evaluations]
    assert same(whole, broken)


@pytest.mark.slow
def test_each_rank_is_given_back_its_own_batches_and_its_own_state(tmp_path):
    rules = ["--unit", "steps", "--budget", 90, "--period", 11, "--target", 0.9999, "--of-its-rank"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    code, log = run_ranks(2, whole, *rules)
    assert code == 0, log
    code, log = run_ranks(2, broken, *rules, "--max-steps", 40)
    assert code == 0, log
    ranks = torch.load(broken / "trial" / "last.ckpt", weights_only=True)["algoperf_lightning"]["ranks"]
    assert [rank["batches"][0]["drawn"] for rank in ranks] == [40, 40 + 13]
    assert not torch.equal(ranks[0]["submission"]["kept"]["inputs"], ranks[1]["submission"]["kept"]["inputs"])
    code, log = run_ranks(2, broken, *rules)
    assert code == 0, log
    assert TrialResult.read(broken / "trial").preemptions == 1
    assert same(whole, broken)


@pytest.mark.slow
def test_few_collectives_a_step(tmp_path):
    folder = tmp_path / "run"
    rules = ["--step-clock", "--max-steps", 420, "--period", 1000, "--budget", 2000]
    code, log = run_ranks(2, folder, *rules, "--count-collectives")
    assert code == 0, log
    counts = {int(step): n for step, n in json.loads((folder / "collectives.json").read_text()).items()}
    # Steps 201 to 300 take a second on this clock: one reading, one collective. (Gradients are reduced below Python.)
    assert 1 <= sum(counts.get(step, 0) for step in range(201, 301)) <= 2


@pytest.mark.slow
def test_mean_loss_is_that_of_the_global_batch_where_ranks_hold_different_numbers_of_valid_examples(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder, ranks in zip(folders, (1, 2), strict=True):
        code, log = run_ranks(ranks, folder, "--step-clock", "--weighted", "--max-steps", 60, "--period", 1000)
        assert code == 0, log
    assert distance(*folders) < 1e-4


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_stop_on_any_rank_is_the_submissions(tmp_path, rank):
    folder = tmp_path / "run"
    code, log = run_ranks(2, folder, "--unit", "steps", "--period", 50, "--stop-on-rank", rank)
    assert code == 0, log
    result = TrialResult.read(folder / "trial")
    assert result.status is Status.STOPPED
    assert result.message == "The submission ended the run."
    assert [evaluation.step for evaluation in result.evaluations] == [1, 11]  # read every tenth step at the latest
    assert [line["step"] for line in (*journal(folder, 0, "end"), *journal(folder, 1, "end"))] == [11, 11]


@pytest.mark.slow
def test_an_error_on_one_rank_ends_all_and_is_recorded(tmp_path):
    folder = tmp_path / "run"
    code, _ = run(folder, "--ranks", 2, "--fail-on-rank", 1, "--period", 0.2)
    assert code != 0
    result = TrialResult.read(folder / "trial")
    assert result.status is Status.FAILED
    assert "this rank cannot evaluate" in result.message
    assert "evaluation" in result.message


@pytest.mark.slow
def test_a_run_killed_ten_times_loses_nothing_and_gains_nothing(tmp_path):
    steps, options = 4000, ["--noise", 1e-3, "--period", 0.3, "--budget", 1000]
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    chance = random.Random(0)
    kills, rows_seen = 0, []
    while kills < 10:
        lives = len(journal(killed, event="start"))
        process = start(killed, "--max-steps", steps * 100, *options)
        while len(journal(killed, event="start")) == lives:
            assert process.poll() is None, (tmp_path / "killed.log").read_text()
            time.sleep(0.01)
        time.sleep(chance.uniform(0.02, 1.2))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        record = TrialResult.read(killed / "trial")  # readable at any moment
        assert record.status is Status.RUNNING
        assert record.evaluations[: len(rows_seen)] == rows_seen, "an evaluation that was written is gone or changed"
        rows_seen = record.evaluations
    reached = journal(killed)[-1]["step"]
    steps = reached + 300
    for folder in (killed, unbroken):
        code, log = run(folder, "--max-steps", steps, *options)
        assert code == 0, log

    result = TrialResult.read(killed / "trial")
    assert result.status is Status.STOPPED
    assert result.evaluations[: len(rows_seen)] == rows_seen
    written = [e.step for e in result.evaluations]
    assert written == sorted(set(written)), "an evaluation was doubled"
    seconds = [line["seconds"] for line in journal(killed) if "seconds" in line]
    assert seconds == sorted(seconds), "the clock ran backwards"
    assert result.steps == steps
    assert same(killed, unbroken), "a resumed run ends elsewhere than an unbroken one"
    worked = 0.0
    for pid in {line["pid"] for line in journal(killed)}:
        life = [line["seconds"] for line in journal(killed) if line["pid"] == pid and "seconds" in line]
        worked += life[-1] - life[0]
    assert result.submission_seconds >= worked, "work that was done again was not charged again"


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_saves_and_the_run_goes_on(tmp_path, ranks):
    folder = tmp_path / "run"
    options = ["--ranks", ranks, "--noise", 1e-3, "--period", 1000, "--budget", 2000]
    process = start(folder, *options)
    while not journal(folder, event="reading"):
        assert process.poll() is None, (tmp_path / "run.log").read_text()
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM, (tmp_path / "run.log").read_text()
    stopped = TrialResult.read(folder / "trial")
    assert stopped.status is Status.PREEMPTED
    assert stopped.steps == journal(folder, event="end")[-1]["step"]
    final = stopped.steps + 50
    unbroken = tmp_path / "unbroken"
    for each in (folder, unbroken):
        code, log = run(each, "--max-steps", final, *options)
        assert code == 0, log
    resumed = journal(folder, event="start")[-1]
    assert resumed["step"] == stopped.steps
    assert resumed["seconds"] == pytest.approx(stopped.submission_seconds, abs=0.01)
    assert [e.step for e in TrialResult.read(folder / "trial").evaluations] == [1, final]
    assert same(folder, unbroken)


@pytest.mark.slow
def test_a_batch_that_cannot_be_split_over_the_ranks_is_refused_before_anything_runs(tmp_path):
    folder = tmp_path / "run"
    code, log = run(folder, "--ranks", 3)
    assert code != 0
    assert "batch size 64 for digits cannot be split evenly over 3 ranks" in log
    assert not journal(folder)
    assert not (folder / "trial" / "evaluations.csv").exists()
