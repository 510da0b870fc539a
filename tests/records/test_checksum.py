"""A record that something else than the clock changed: noticed in the run, and when it is read."""

import dataclasses
import json
import math

import pytest

from algoperf_lightning.records.checksum import Ledger, RecordChangedError
from algoperf_lightning.records.summary import result_table
from algoperf_lightning.result import Evaluation, RecordError, Status, TrialResult

HYPERPARAMETERS = {"betas": (0.9, math.inf), "kind": complex, "lr": 1e-3}


def row(number, accuracy=0.5):
    metrics = {"validation/accuracy": accuracy, "validation/odd": math.nan}
    return Evaluation(number, number / 3, number / 2, 0.1 + number, metrics)


def trial(rows=3, **changes):
    """A record with its clock's account."""
    words = dict.fromkeys(("workload", "version", "submission", "metric"), "x")
    words |= {"ruleset": "external", "stop_at": "validation", "direction": "max"}
    numbers = dict.fromkeys(("budget", "eval_period", "validation_target", "test_target"), 1.5)
    numbers |= {"seed": 2, "batch_size": 8}
    result = TrialResult(**{**words, **numbers, "hyperparameters": HYPERPARAMETERS, **changes})
    ledger = Ledger(result)
    for number in range(rows):
        ledger.add(row(number))
        result.evaluations.append(row(number))
    result.checksum = ledger.checksum
    return result, ledger


def written(folder, rows=3, status=Status.BUDGET_SPENT, **changes):
    result, _ = trial(rows, **changes)
    result.status = status
    folder.mkdir(exist_ok=True)
    result.write_trial(folder)
    result.write_evaluations(folder)
    return folder


def edit(folder, **changes):
    path = folder / "trial.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_rows(folder, change):
    path = folder / "evaluations.csv"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize("rows", [0, 1, 12])
def test_a_record_reads_back_as_it_was_written(tmp_path, rows):
    read = TrialResult.read(written(tmp_path, rows))
    assert read.changed == ""
    assert read.warnings == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a value", lambda lines: [*lines[:-1], lines[-1].replace("0.5", "1.0")]),
        ("a step", lambda lines: [*lines[:-1], "7" + lines[-1][1:]]),
        ("a row less", lambda lines: lines[:-1]),
        ("a row more", lambda lines: [*lines, "9,2.0,2.1,0.3,0.4,nan\n"]),
    ],
)
def test_changed_rows_are_noticed(tmp_path, name, change):
    edit_rows(written(tmp_path), change)
    read = TrialResult.read(tmp_path)
    assert "the clock recorded" in read.changed
    assert read.changed in str(list(result_table(read).columns[1].cells))


@pytest.mark.parametrize("change", [lambda lines: [*lines, lines[-1]], lambda lines: [lines[0], *reversed(lines[1:])]])
def test_rows_twice_or_in_another_order_are_damage(tmp_path, change):
    edit_rows(written(tmp_path), change)
    with pytest.raises(RecordError, match=r"evaluation \d has step"):
        TrialResult.read(tmp_path)


@pytest.mark.parametrize("change", [{"validation_target": 0.1}, {"budget": 1e9}, {"seed": 3}, {"unit": "steps"}])
def test_changed_terms_are_noticed(tmp_path, change):
    edit(written(tmp_path), **change)
    assert "are not those that the clock recorded" in TrialResult.read(tmp_path).changed


@pytest.mark.parametrize("change", [{"status": "stopped"}, {"warnings": []}, {"message": "fine"}])
def test_any_other_change_of_the_file_is_a_warning(tmp_path, change):
    edit(written(tmp_path, warnings=["it did something"]), **change)
    read = TrialResult.read(tmp_path)
    assert read.changed == ""
    assert read.warnings[0] == "trial.json was changed after the run."


def test_a_record_without_checksums_is_read(tmp_path):
    written(tmp_path)
    record = json.loads((tmp_path / "trial.json").read_text())
    old = {name: value for name, value in record.items() if name not in ("checksum", "file_checksum")}
    (tmp_path / "trial.json").write_text(json.dumps(old))
    read = TrialResult.read(tmp_path)
    assert read.changed == ""
    assert read.warnings == []
    assert len(read.evaluations) == 3


@pytest.mark.parametrize(
    "change", [lambda lines: [*lines, "9,2.0,2.1,0.3,0.4,nan\n"], lambda lines: lines[:2], lambda lines: []]
)
def test_what_a_kill_between_two_writes_leaves_is_not_a_change(tmp_path, change):
    edit_rows(written(tmp_path, status=Status.RUNNING), change)
    assert TrialResult.read(tmp_path).changed == ""


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("evaluation 2 was", lambda result: result.evaluations[1].metrics.update({"validation/accuracy": 1.0})),
        ("evaluation 1 was", lambda result: result.evaluations.reverse()),
        ("there were 3 evaluations, and now there are 2", lambda result: result.evaluations.pop()),
        ("there were 3 evaluations, and now there are 4", lambda result: result.evaluations.append(row(9, 1.0))),
        ("evaluation 3 was", lambda result: object.__setattr__(result.evaluations[2], "submission_seconds", 0.0)),
        ("validation_target was 1.5 and is now 0.1", lambda result: setattr(result, "validation_target", 0.1)),
        ("budget was 1.5 and is now inf", lambda result: setattr(result, "budget", math.inf)),
    ],
)
def test_the_clock_puts_its_record_back_and_says_what_was_changed(what, change):
    result, ledger = trial()
    before = dataclasses.asdict(result)
    change(result)
    with pytest.raises(RecordChangedError) as raised:
        ledger.check(result)
    assert what.replace("inf", "'inf'") in str(raised.value)
    after = dataclasses.asdict(result)
    assert repr(after) == repr(before)  # repr, as NaN is not itself


def test_an_account_goes_on_from_a_checkpoint_with_the_same_chain():
    result, ledger = trial()
    assert Ledger(result).checksum == ledger.checksum
