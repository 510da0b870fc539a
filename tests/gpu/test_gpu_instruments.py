"""Instruments measure on the device, and change nothing there."""

import math

import pytest
from gpu_runs import assert_same_bits, submission_for

from algoperf_lightning import get_workload
from algoperf_lightning.callbacks import Instruments, TrialRecorder
from algoperf_lightning.instruments.diagnosis import diagnose
from algoperf_lightning.records.instrument_rows import read_rows, unmeasurable


@pytest.mark.parametrize("measure", ["light", "business"])
def test_measuring_changes_nothing(measure, runs, small, deterministic):
    if small and measure != "light":
        pytest.skip("tests/callbacks has them on the CPU")

    def workload():
        submission = submission_for("adamw", get_workload("imagenet_vit"))
        submission.dropout = 0.1
        return runs.tiny("imagenet_vit", submission)

    plain, measured = workload(), workload()
    runs.fit(plain, 8)
    recorder = TrialRecorder(runs.folder / "trial")
    runs.fit(measured, 8, Instruments(measure), recorder=recorder)
    assert_same_bits(measured, plain)
    rows = read_rows(runs.folder / "trial")
    assert [row["step"] for row in rows][:2] == [0, 1]
    assert all(math.isfinite(row["loss"]) and row["gradient_norm"] > 0 for row in rows)
    assert unmeasurable(rows) == {}


def test_nothing_is_wrong_with_a_run_that_is_right(runs, small):
    steps = 100 if small else 300
    workload = runs.tiny("digits", submission_for("adamw", get_workload("digits"), 64))
    runs.fit(
        workload,
        steps,
        Instruments(["light", "noise_scale", "activations", "stability"]),
        recorder=TrialRecorder(runs.folder / "trial"),
        budget={"budget": steps, "eval_period": steps // 10},
    )
    rows = read_rows(runs.folder / "trial")
    assert len(rows) >= 10
    assert [finding.rule for finding in diagnose(rows, 64)] == []
