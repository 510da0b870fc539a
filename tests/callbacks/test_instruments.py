"""Instruments beside a run: they change nothing of it, and their rows survive what the record survives."""

import csv
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from instrumented import differences, fit
from lightning.pytorch.loggers import CSVLogger

from algoperf_lightning.baselines import AdamW
from algoperf_lightning.callbacks import Instruments, TrialRecorder
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.instruments.instrument import INSTRUMENTS, PRESETS
from algoperf_lightning.plugins import get_submission, get_workload
from algoperf_lightning.records.instrument_rows import INSTRUMENTS_FILE, read_rows, series, unmeasurable
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.result import TrialResult
from algoperf_lightning.testing.runs import PlainSGD, small_batches, with_tiny_data
from algoperf_lightning.workloads import Digits

PAGE = Path(__file__).parents[2] / "docs" / "instruments.md"


def documented():
    """What cannot be measured on each workload, by the table of the documentation."""
    lines = [[field.strip(" `") for field in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines()]
    begin = next(
        place for place, line in enumerate(lines) if line and line[0] == "workload" and line[-1] == "all others"
    )
    columns = lines[begin]
    rows = itertools.takewhile(bool, lines[begin + 2 :])
    return {row[0]: {name for name, said in zip(columns, row, strict=True) if said == "–"} for row in rows}


DOCUMENTED = documented()
OTHERS = [name for name in plugins(WORKLOADS) if name != "digits"]


def digits(name="adamw", **options):
    submission = get_submission(name)()
    submission.batch_sizes = {"digits": 16}
    return Digits(submission, **options)


def without_folder(instruments):
    """The rows of a run without a record, one for each step."""
    rows = {}
    for row in instruments.rows:
        rows.setdefault(row["step"], {}).update(row)
    return rows


@pytest.mark.parametrize("name", ["adamw", "sam", "momentum", "schedule_free_adamw", "lawa_ema", "shampoo", "muon"])
def test_a_run_is_the_same_with_and_without(name, tmp_path, monkeypatch):
    plain = fit(digits(name), tmp_path)
    instruments = Instruments("economy")
    measured = fit(digits(name), tmp_path, instruments=instruments, monkeypatch=monkeypatch)
    assert differences(plain, measured) == []
    assert plain[0].submission_seconds == 2.5
    assert sorted(without_folder(instruments)) == [0, 1, 5, 9], "the first step, and the step after each evaluation"


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_workload_is_measured_and_trains_as_without(name, tmp_path, tiny_folder, monkeypatch):
    workload = get_workload(name)
    arguments = with_tiny_data(workload, tiny_folder(name))
    instruments = Instruments("full")
    runs = [
        fit(workload(small_batches(workload), **arguments), tmp_path, steps=3, instruments=each, monkeypatch=patch)
        for each, patch in ((Instruments(), None), (instruments, monkeypatch))
    ]
    assert differences(*runs) == []
    row = without_folder(instruments)[1]
    assert math.isfinite(row["loss"])
    assert math.isfinite(row["gradient_norm"])
    reasons = unmeasurable(instruments.rows)
    assert set(reasons) == DOCUMENTED[name], "differs from the table of docs/instruments.md"
    assert not [reason for reason in reasons.values() if "Error:" in reason], "an error that nobody has thought of"


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"compile": True}], ids=["bf16", "compiled"])
def test_precision_and_compilation_are_left_alone(options, tmp_path, monkeypatch):
    compiled = {"compile": options.pop("compile", False)}
    runs = [
        fit(digits(**compiled), tmp_path, measure, monkeypatch=patch, **options)
        for measure, patch in ((None, None), ("full", monkeypatch))
    ]
    assert differences(*runs) == []


def test_a_full_set_measures_every_quantity_or_says_why_not(tmp_path):
    instruments = Instruments("full")
    fit(digits("momentum"), tmp_path, instruments=instruments, steps=3)
    rows = without_folder(instruments)
    assert set(rows) == {0, 1}
    row = rows[1]
    assert set(unmeasurable(instruments.rows)) == DOCUMENTED["digits"] == {"attention"}
    assert row["hessian_trace"] == pytest.approx(row["gauss_newton_trace"], abs=8 * row["hessian_trace_error"])
    assert row["largest_eigenvalue"] > row["smallest_eigenvalue"]
    assert row["real_to_predicted"] == pytest.approx(1.0, abs=0.2)
    assert sum(row["gradient_histogram"]) == sum(map(sum, row["joint_histogram"]))
    numbers = {name: value for name, value in row.items() if isinstance(value, float)}
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    assert set(bad) <= {"noise_scale", "clip_ratio"}
    parameters = [name for name, _ in digits("momentum").build_model().named_parameters()]
    assert list(row["update_ratios"]) == parameters


def test_sizes_are_those_of_the_parameters(tmp_path):
    """Against copies that a callback of the test makes."""
    import lightning as L

    seen = []

    class Copies(L.Callback):
        def on_train_batch_start(self, trainer, workload, *args):
            seen.append(torch.cat([p.detach().flatten() for p in workload.network.parameters()]).double())

    instruments = Instruments(["update_size", "distance", "successive_updates"], every=1)
    fit(digits(), tmp_path, instruments=instruments, steps=4, callbacks=[Copies()])
    rows = without_folder(instruments)
    moves = [b - a for a, b in itertools.pairwise(seen)]
    for step in range(3):
        assert rows[step]["distance"] == pytest.approx(float((seen[step] - seen[0]).norm()), rel=1e-5)
        assert rows[step]["update_size"] == pytest.approx(float(moves[step].norm()), rel=1e-4)
    cosine = float(moves[1] @ moves[2] / moves[1].norm() / moves[2].norm())
    assert rows[1]["cosine_updates"] == pytest.approx(cosine, rel=1e-3)


def test_weights_that_a_submission_swaps_for_evaluations_are_not_taken_for_updates(tmp_path):
    class Swaps(AdamW):
        batch_sizes = {"digits": 16}  # noqa: RUF012

        def before_evaluation(self, model):
            self.kept = [p.detach().clone() for p in model.parameters()]
            for p in model.parameters():
                p.data.mul_(0.5)

        def after_evaluation(self, model):
            for p, kept in zip(model.parameters(), self.kept, strict=True):
                p.data.copy_(kept)

    instruments = Instruments("light", every=1)
    fit(Digits(Swaps()), tmp_path, instruments=instruments, steps=6)
    sizes = [row["update_size"] for row in without_folder(instruments).values()]
    assert max(sizes) < 0.1, "half of the weights would be 3"


def test_the_table_of_the_documentation_has_every_workload():
    assert list(DOCUMENTED) == sorted(plugins(WORKLOADS))


def test_nothing_costs_nothing():
    assert not callable(Instruments().on_train_batch_start)
    assert not callable(Instruments("full").on_train_batch_start), "until a step is due"
    assert Instruments().state_dict() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measure": "bussiness"}, "business"),
        ({"measure": ["loss", "hesian_trace"]}, "hessian_trace"),
        ({"measure": []}, "Expected a preset"),
        ({"measure": "light", "every": 0}, "every must be an integer of 1 or more, but got 0"),
        ({"measure": "light", "groups": 1}, "groups must be an integer of 2 or more, but got 1"),
    ],
)
def test_what_is_not_known_is_refused(arguments, message):
    with pytest.raises(BadInputError, match=message):
        Instruments(**arguments)


def test_presets_grow_and_name_instruments():
    sets = [set(names) for names in PRESETS.values()]
    assert all(small < large for small, large in itertools.pairwise(sets))
    assert sets[-1] == set(INSTRUMENTS)


def test_the_record_says_what_was_measured_and_warns_of_a_denser_schedule(tmp_path):
    usual, _, _ = fit(digits(), tmp_path, "light", callbacks=[TrialRecorder(tmp_path / "a")], steps=5)
    dense, _, _ = fit(
        digits(),
        tmp_path,
        instruments=Instruments("light", every=2),
        callbacks=[TrialRecorder(tmp_path / "b")],
        steps=5,
    )
    assert usual.warnings == []
    assert TrialResult.read(tmp_path / "a").environment["instruments"]["measure"] == list(PRESETS["light"])
    assert TrialResult.read(tmp_path / "b").warnings == dense.warnings
    assert "Instruments measured every 2 steps" in dense.warnings[0]
    assert [row["step"] for row in read_rows(tmp_path / "b")] == [0, 1, 2, 4]


def test_loggers_get_numbers_off_the_clock(tmp_path):
    logger = CSVLogger(tmp_path)
    result, _, _ = fit(digits(), tmp_path, "light", steps=3, logger=logger, callbacks=[TrialRecorder(tmp_path / "t")])
    with open(f"{logger.log_dir}/metrics.csv", newline="") as file:
        written = {int(row["step"]): row["instruments/loss"] for row in csv.DictReader(file) if row["instruments/loss"]}
    steps, losses = series(read_rows(tmp_path / "t"), "loss")
    assert {step: float(value) for step, value in written.items()} == pytest.approx(
        dict(zip(steps, losses, strict=True))
    )
    assert result.submission_seconds == 0.75


def test_a_run_that_diverges_has_its_rows(tmp_path):
    workload = Digits(PlainSGD(lr=1e30))
    fit(workload, tmp_path, "business", steps=7, callbacks=[TrialRecorder(tmp_path / "t")])
    rows = read_rows(tmp_path / "t")
    assert [row["step"] for row in rows] == [0, 1, 5]
    assert math.isnan(rows[-1]["loss"])
    assert "NaN" not in (tmp_path / "t" / INSTRUMENTS_FILE).read_text(), "no JSON"


@pytest.mark.slow
@pytest.mark.parametrize("first", [6, 7])
def test_a_resumed_run_measures_what_an_unbroken_one_does(first, tmp_path):
    """Step 5 is measured: a run that ends at 6 has a part of it left, for which a checkpoint holds the update."""
    whole = Instruments("business")
    fit(digits("sam"), tmp_path, instruments=whole, steps=9, callbacks=[TrialRecorder(tmp_path / "whole")])
    fit(digits("sam"), tmp_path, "business", steps=first, callbacks=[TrialRecorder(tmp_path / "parts")])
    path = tmp_path / "parts" / INSTRUMENTS_FILE
    late = b'{"step": %d, "loss": 1.0}\n{"step": %d, "lo' % (first, first + 1)
    path.write_bytes(path.read_bytes() + late)  # after the last checkpoint
    trial = tmp_path / "parts" / "trial.json"
    trial.write_text(trial.read_text().replace('"stopped"', '"running"'))
    fit(digits("sam"), tmp_path, "business", steps=9, callbacks=[TrialRecorder(tmp_path / "parts")])
    expected, found = (
        {row["step"]: without_seconds(row) for row in read_rows(tmp_path / name)} for name in ("whole", "parts")
    )
    assert found.pop(first)["loss"] > 1.0, "evaluated at its end, the first part has the next step measured"
    assert set(found) == {0, 1, 5}
    assert {"alpha", "cosine_gradients", "cosine_updates"} <= set(found[5])
    for step, row in found.items():
        assert row == pytest.approx(expected[step], nan_ok=True)


def without_seconds(row):
    return {name: value for name, value in row.items() if isinstance(value, float) and name != "submission_seconds"}


@pytest.mark.slow
def test_two_ranks_measure_what_one_process_does_and_train_as_without(tmp_path):
    script = Path(__file__).parent / "ranks_instruments.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert lines["differences"] == "[]"
    assert lines["steps"] == "[0, 1, 5]"
    instruments = Instruments("business", groups=8)
    fit(digits("sam"), tmp_path, instruments=instruments, steps=3)
    row = without_folder(instruments)[1]
    expected = [row[name] for name in ("loss", "gradient_norm", "norm_test", "hessian_trace", "alpha")]
    assert list(map(float, lines["values"].split())) == pytest.approx(expected, rel=1e-3)
