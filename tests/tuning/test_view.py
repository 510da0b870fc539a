"""What people see of studies, of trials that stand in every way."""

import dataclasses
import io
import json

import pytest
from rich.console import Console, ConsoleDimensions

from algoperf_lightning.cli import main
from algoperf_lightning.result import Evaluation, Status, TrialResult
from algoperf_lightning.tuning import state as trial_states
from algoperf_lightning.tuning import view
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies
from algoperf_lightning.tuning.state import State, Watch, count, look
from algoperf_lightning.tuning.studies import in_order
from algoperf_lightning.utilities.locks import TrialLock


@pytest.fixture
def trials(tmp_path):
    """Five trials: reached, running (12 s used), failed, interrupted, waiting."""
    (study,) = plan_studies(TuningRequest(["digits"], ["adamw"], tmp_path, studies=1, trials=5))
    study.write()
    planned = in_order([study])
    record(planned[0], Status.REACHED, 5.0, 0.97)
    record(planned[1], Status.RUNNING, 7.0, 0.5)
    record(planned[2], Status.FAILED, 2.0, 0.1)
    record(planned[3], Status.RUNNING, 9.0, 0.6)
    (planned[1].folder / "heartbeat").write_text("      12.000000\n")
    lock = TrialLock(planned[1].folder)
    assert lock.take()
    yield planned
    lock.release()


def record(trial, status, seconds, best, **more):
    more = {"budget": 60.0, **more}
    result = TrialResult(
        workload="digits", version="1.0", ruleset="external", submission="adamw", hyperparameters={}, seed=0,
        batch_size=8, eval_period=1.0, metric="accuracy", direction="max", validation_target=0.968,
        test_target=0.96, stop_at="validation", status=status, submission_seconds=seconds,
        message="RuntimeError in training: [red]no[/red] luck\n- second line" if status is Status.FAILED else "",
        evaluations=[Evaluation(1, seconds, seconds, 1.0, {"validation/accuracy": best})],
        **more,
    )  # fmt: skip
    result.write_trial(trial.folder)
    result.write_evaluations(trial.folder)


def shown(part, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(part)
    return console.file.getvalue()


def test_status_as_json(trials, tmp_path, capsys):
    main(["status", str(tmp_path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [each["state"] for each in found["trials"]] == ["reached", "running", "failed", "interrupted", "waiting"]
    assert [each["used"] for each in found["trials"]] == [5, 12, 2, 9, 0]
    assert [each["best"] for each in found["trials"]] == [0.97, 0.5, 0.1, 0.6, None]
    assert found["trials"][2]["message"].startswith("RuntimeError")
    assert found["counts"] == dict.fromkeys(["waiting", "running", "interrupted", "failed", "reached"], 1)


def test_states_are_what_the_folders_say(trials):
    states = [look(trial) for trial in trials]
    assert [state.state for state in states] == [
        State.REACHED,
        State.RUNNING,
        State.FAILED,
        State.INTERRUPTED,
        State.WAITING,
    ]
    assert [state.used for state in states] == [5, 12, 2, 9, 0]
    assert [state.left for state in states] == [0, 48, 58, 51, 60]
    assert count(states) == dict.fromkeys([state.state for state in states], 1)


def test_the_table_fits_a_terminal_and_names_every_trial(trials):
    lines = shown(view.status_table([look(trial) for trial in trials], 80)).splitlines()
    assert len(lines) == 1 + 5
    assert "running" in lines[2]
    assert "12 of 60 " in lines[2]
    assert "0.5" in lines[2]
    assert "0.968" in lines[2]
    assert "≤ 48 s" in lines[2]


def test_the_summary_says_what_is_left_at_worst(trials):
    states = [look(trial) for trial in trials]
    line = view.summary(states, slots=2)
    assert line.startswith("5 trials: 1 waiting, 1 running, 1 interrupted, 1 failed, 1 reached")
    assert "at most 3 min of submission time (80 s on 2 slots) left" in line
    assert view.summary(states[:1]) == "1 trial: 1 reached"


def test_lines_tell_each_change_once(trials, capsys):
    show = view._Lines(Watch(trials), 1)
    show()
    assert capsys.readouterr().out == ""
    record(trials[4], Status.BUDGET_SPENT, 60.0, 0.9)
    show()
    show()
    assert (
        capsys.readouterr().out == "adamw study_1 digits trial_5: budget spent after 60.0 of 60 s, best 0.9 (≥ 0.968)\n"
    )


def test_trials_that_are_over_or_have_not_begun_are_read_once(trials, monkeypatch):
    read = []
    monkeypatch.setattr(trial_states, "look", lambda trial: read.append(trial.number) or look(trial))
    watch = Watch(trials)
    states = [state.state for state in watch.look()]
    assert read == [1, 2, 3, 4, 5]
    read.clear()
    assert [state.state for state in watch.look()] == states
    changing = [trial.number for trial, state in zip(trials, states, strict=True) if not state.over]
    changing.remove(5)  # it waits
    assert read == changing
    read.clear()
    record(trials[4], Status.BUDGET_SPENT, 60.0, 0.9)
    assert watch.look()[4].state is State.BUDGET_SPENT
    assert 5 in read


def test_a_slow_look_at_many_trials_is_repeated_less_often(monkeypatch):
    now, shown_at = [0.0], []
    monkeypatch.setattr(view.time, "monotonic", lambda: now[0])

    def slow():
        shown_at.append(now[0])
        now[0] += 0.5

    show = view.Show(slow, 1.0)
    while now[0] < 30:
        show()
        now[0] += 0.25
    assert shown_at == [0.0, 10.5, 21.0]


def test_the_live_table_shows_what_runs_and_what_failed(trials, monkeypatch):
    monkeypatch.setattr(view, "_LIVE_ROWS", 3)
    text = shown(view._live(Watch(trials), 1, ConsoleDimensions(80, 24)))
    rows = text.splitlines()[1:4]
    assert [row.split()[4] for row in rows] == ["failed", "reached", "running"]
    assert "5 trials" in text


def test_messages_are_shown_as_they_are_and_one_line(trials):
    line = view.describe(look(trials[2]))
    assert line == "adamw study_1 digits trial_3: failed: RuntimeError in training: [red]no[/red] luck - second line"


def test_of_a_study_in_steps_everything_is_said_in_steps(tmp_path):
    (study,) = plan_studies(TuningRequest(["digits"], ["adamw"], tmp_path, studies=1, trials=2, unit="steps"))
    study.write()
    planned = in_order([study])
    record(planned[0], Status.PREEMPTED, 7.0, 0.5, unit="steps", budget=10_000.0, steps=2_500)
    states = [look(trial) for trial in planned]
    assert [(state.used, state.left) for state in states] == [(2_500, 7_500), (0, 10_000)]
    table = shown(view.status_table(states, 100), width=100)
    assert table.split()[5] == "steps"
    assert "2,500 of 10,000 " in table
    assert "≤ 7,500" in table
    assert view.summary(states, slots=2) == "2 trials: 1 waiting, 1 interrupted; at most 17,500 steps left"
    assert view.describe(states[0]).startswith("adamw study_1 digits trial_1: interrupted after 2,500 of 10,000 steps")


def test_a_record_that_is_no_record_is_a_failure_with_its_reason(trials):
    (trials[4].folder / "trial.json").write_text(json.dumps({"status": "reached"}))
    state = look(trials[4])
    assert state.state is State.FAILED
    assert "trial.json: format missing" in state.message
    assert "--retry-failed" in state.message


@pytest.mark.parametrize("width", [60, 80, 120, 10_000])
@pytest.mark.parametrize("submission", ["adamw", "schedule_free_adamw"])
def test_no_number_is_cut_at_any_width(submission, width, tmp_path):
    (study,) = plan_studies(TuningRequest(["digits"], [submission], tmp_path, studies=1, trials=2))
    long = dataclasses.replace(study, workload="librispeech_deepspeech_norm_and_spec_aug", budget=55_506.0)
    long.write()
    planned = in_order([long])
    record(planned[0], Status.RUNNING, 43_210.0, 0.118093, budget=55_506.0)
    record(planned[1], Status.BUDGET_SPENT, 12_345.0, 0.118093, budget=55_506.0)
    states = [look(trial) for trial in planned]
    text = shown(view.status_table(states, width), width)
    assert "…" not in text
    joined = "".join(text.split())  # names are folded, and lines where the table has no room
    assert "43,210" in joined
    assert "of55,506" in joined
    assert joined.count("0.1181") == 2
    assert joined.count("0.968") == 2
    if width >= 120:
        assert "43,210 of 55,506" in text
        assert all(len(line.rstrip()) <= width for line in text.splitlines())
        assert len(text.splitlines()) >= 3
    live = shown(view._live(Watch(planned), 1, ConsoleDimensions(width, 8)), width)
    assert "…" not in live
