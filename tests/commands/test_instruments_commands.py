"""Pictures and diagnosis of runs, from their rows alone."""

import ast
import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import nbclient
import nbformat
import pytest

from algoperf_lightning.cli import main
from algoperf_lightning.instruments.live import named, watch
from algoperf_lightning.instruments.pictures import layers, panel
from algoperf_lightning.records.checks import RecordError
from algoperf_lightning.records.instrument_rows import append_row, continue_rows, read_rows, series, unmeasurable
from algoperf_lightning.result import Evaluation, Status, TrialResult


def row(step, **values):
    by_layer = {"hidden.weight": 1e-3 * (1 + step), "head.weight": math.nan}
    return {
        "step": step,
        "submission_seconds": 0.1 * step,
        "loss": 2.0 / (1 + step),
        "update_ratio": 1e-3,
        "update_ratios": by_layer,
        "norm_test": math.inf if step == 0 else 0.9,
        **values,
    }


@pytest.fixture
def trial(tmp_path):
    """Make the record of a finished run with rows."""

    def make(name, rows):
        folder = tmp_path / name
        folder.mkdir()
        fields = {field.name for field in dataclasses.fields(TrialResult)}
        known = {
            "workload": "digits",
            "version": "1.0",
            "ruleset": "external",
            "submission": name,
            "seed": 0,
            "hyperparameters": {},
            "batch_size": 64,
            "budget": 9.0,
            "eval_period": 1.0,
            "metric": "accuracy",
            "direction": "max",
            "validation_target": 0.9,
            "test_target": None,
            "stop_at": "validation",
        }
        result = TrialResult(**{key: value for key, value in known.items() if key in fields})
        result.evaluations = [Evaluation(1, 0.1, 0.1, 2.0, {"validation/accuracy": 0.5})]
        result.status, result.steps = Status.STOPPED, 9
        result.write_evaluations(folder)
        result.write_trial(folder)
        for each in rows:
            append_row(folder, each)
        return folder

    return make


def test_rows_are_read_as_they_were_written_and_parts_of_a_step_are_one(tmp_path):
    append_row(tmp_path, row(0))
    append_row(tmp_path, {"step": 0, "alpha": -0.5, "unmeasurable": {"attention": "none there"}})
    append_row(tmp_path, row(5, loss=math.nan))
    first, second = read_rows(tmp_path)
    assert first["alpha"] == -0.5
    assert first["norm_test"] == math.inf
    assert math.isnan(first["update_ratios"]["head.weight"])
    assert math.isnan(second["loss"])
    assert unmeasurable([first, second]) == {"attention": "none there"}
    assert series([first, second], "alpha") == ([0], [-0.5])
    for line in (tmp_path / "instruments.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_cut_line_is_not_read_and_a_damaged_one_is_named(tmp_path):
    append_row(tmp_path, row(0))
    path = tmp_path / "instruments.jsonl"
    path.write_text(path.read_text() + '{"step": 1, "lo')
    assert [each["step"] for each in read_rows(tmp_path)] == [0]
    path.write_text('{"stop": 1}\n' + path.read_text())
    with pytest.raises(RecordError, match="line 1"):
        read_rows(tmp_path)


def test_a_run_goes_on_with_the_rows_before_its_checkpoint(tmp_path):
    for step in (0, 1, 5):
        append_row(tmp_path, row(step))
    (tmp_path / "other").mkdir()
    continue_rows(tmp_path / "other", 5, tmp_path)
    assert [each["step"] for each in read_rows(tmp_path / "other")] == [0, 1]
    continue_rows(tmp_path, 0)
    assert read_rows(tmp_path) == []


def test_pictures_have_a_curve_for_each_run_and_say_why_one_is_missing():
    reasons = {"stability": "no limit is known"}
    runs = {"a": [row(0), row(5, unmeasurable=reasons)], "b": [row(0), row(5), row(9)]}
    figure = panel(runs, {"a": ([1, 5], [0.1, 0.2]), "b": ([1], [0.1])})
    loss = next(axes for axes in figure.axes if axes.get_title(loc="left") == "Loss of the batch")
    assert [list(line.get_xdata()) for line in loss.lines] == [[0, 5], [0, 5, 9]]
    assert "Not measured: stability (no limit is known)." in [text.get_text() for text in figure.texts]
    images = [image for axes in layers(runs).axes for image in axes.get_images()]
    assert [image.get_array().shape for image in images] == [(2, 2), (2, 3)]
    assert images[0].norm is images[1].norm, "the same colours for the same numbers"


def test_the_commands_draw_and_diagnose(trial, capsys):
    good = trial("good", [row(step) for step in (0, 1, 5, 9)])
    bad = trial("bad", [row(step, update_ratio=0.2, loss=2.0) for step in (0, 1, 5, 9)])
    main(["instruments", str(good), str(bad), "--follow", "--dark", "--output", str(good.parent / "pictures")])
    assert {path.name for path in (good.parent / "pictures").iterdir()} == {"instruments.png", "layers.png"}
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["diagnose", str(good), str(bad)])
    printed = capsys.readouterr().out
    assert end.value.code == 1
    assert "good: 4 measured steps, the last after step 9\nNothing conspicuous." in printed
    assert "The learning rate is likely too high" in printed
    assert "updates are 0.2 of the weights" in printed
    assert "Not judged: " in printed
    assert "noise (`noise_scale` was not measured (economy))" in printed


def test_a_diagnosis_is_data_too_and_no_finding_is_exit_code_0(trial, capsys):
    reasons = {"stability": "no limit is known"}
    good = trial("good", [row(0), row(1, unmeasurable=reasons), row(5), row(9)])
    main(["diagnose", str(good), "--json"])
    (data,) = json.loads(capsys.readouterr().out)
    assert (data["run"], data["measured_steps"], data["last_step"], data["findings"]) == (str(good), 4, 9, [])
    assert data["not_judged"]["above_stability_limit"] == "no limit is known"
    assert "frozen_layers" not in data["not_judged"]
    with pytest.raises(SystemExit) as end:
        main(["diagnose", str(trial("bad", [row(step, loss=math.nan) for step in (0, 1, 5)])), "--json"])
    assert end.value.code == 1
    (finding,) = json.loads(capsys.readouterr().out)[0]["findings"]
    assert finding["rule"] == "diverged"
    assert finding["evidence"].startswith("the loss is not finite at step 0")


def test_the_first_step_alone_is_no_diagnosis(trial, capsys):
    with pytest.raises(SystemExit) as end:
        main(["diagnose", str(trial("short", [row(0)]))])
    assert end.value.code == 2
    assert "Only step 0 was measured" in capsys.readouterr().err


@pytest.mark.slow
def test_a_live_run_is_drawn_from_another_process(tmp_path):
    """The run has a minute of budget; it is drawn, drawn again with later rows, and stopped."""
    run = tmp_path / "run"
    options = ("--instruments.measure", "light", "--instruments.every", "20", "--trainer.accelerator", "cpu")
    with started("fit", "--config", "digits", *options, "--recorder.folder", run) as fit:
        while fit.poll() is None and not read_rows(run):
            time.sleep(0.1)
        with started("instruments", run, "--follow") as drawing:
            seen = []
            for _ in range(2):
                assert drawing.stdout.readline().startswith(f"Drawn: {run / 'instruments.png'}")
                seen.append((run / "instruments.png").stat().st_mtime_ns)
            assert fit.poll() is None, "the pictures are those of a live run"
    assert seen[0] < seen[1]


@contextmanager
def started(*arguments):
    """A command in a process of its own, which is ended with the block."""
    command = [sys.executable, "-m", "algoperf_lightning", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("command", ["instruments", "diagnose"])
def test_a_run_without_rows_is_named(command, trial, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, str(trial("empty", []))])
    assert end.value.code == 2
    assert "--instruments.measure business" in capsys.readouterr().err


def test_a_run_is_seen_again_with_each_new_row_until_it_ends(trial):
    folder = trial("run", [row(0)])
    result = TrialResult.read(folder)

    def set_status(status):
        result.status = status
        result.write_trial(folder)

    set_status(Status.RUNNING)
    seen = watch(named([folder]), pause=0.0)
    assert [each["step"] for each in next(seen).rows["run"]] == [0]
    append_row(folder, {"step": 0, "alpha": -0.5})  # the rest of a step that was seen
    assert next(seen).rows["run"][0]["alpha"] == -0.5
    append_row(folder, row(5))
    set_status(Status.STOPPED)
    last = next(seen)
    assert [each["step"] for each in last.rows["run"]] == [0, 5]
    assert last.evaluations["run"] == ([1], [0.5])
    assert list(seen) == []


@pytest.mark.slow
def test_a_notebook_shows_a_live_run_in_place(tmp_path):
    """A run of another process, which begins before the cell and ends during it: one picture at the end."""
    run = tmp_path / "run"
    options = ["--config", "digits", "--instruments.measure", "light", "--instruments.every", "20"]
    limits = ["--trainer.max_steps", "120", "--trainer.accelerator", "cpu", "--recorder.folder", str(run)]
    command = [sys.executable, "-m", "algoperf_lightning", "fit", *options, *limits]
    cells = [
        "import pathlib, subprocess, time; from algoperf_lightning.instruments import live, pictures; drawn = []\n"
        "panel = live.Measured.panel\n"
        "live.Measured.panel = lambda self, **look: (drawn.append(len(self.rows['run'])), panel(self, **look))[1]",
        f"fit = subprocess.Popen({command!r})",
        f"while not pathlib.Path({str(run / 'instruments.jsonl')!r}).exists(): time.sleep(0.02)",
        f"live.follow({str(run)!r}, pause=0.1)",
        "drawn",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120).execute()
    (picture,) = notebook.cells[3].outputs
    assert picture["data"]["image/png"].startswith("iVBOR")
    drawn = ast.literal_eval(notebook.cells[-1].outputs[0]["data"]["text/plain"])
    assert len(drawn) > 1
    assert drawn[-1] == len(read_rows(run))
