"""An error of a submission in ``algoperf fit``: its own lines first, one line with cause and record last, exit 1."""

from itertools import pairwise

import pytest

from algoperf_lightning.cli import main
from algoperf_lightning.result import Status, TrialResult

HELPERS = """
import torch

def broken(message):
    raise ValueError(message)

class Optimizer(torch.optim.SGD):
    def step(self, closure=None):
        closure()
        return broken("in the optimizer")
"""

MINE = """
import torch
from algoperf_lightning import Submission
from helpers_of_mine import Optimizer, broken

class Base(Submission):
    def configure_optimizers(self, model, workload):
        return torch.optim.SGD(model.parameters(), lr=0.1)

class Step(Base):
    def training_step(self, workload, batch):
        broken("in the step")

class Configure(Base):
    def configure_optimizers(self, model, workload):
        return model.parameters(1, 2, 3)

class Leaves(Base):
    def select_batch(self, batches):
        return next(iter(()))

class Caused(Base):
    def before_evaluation(self, model):
        try:
            broken("the cause")
        except ValueError as error:
            raise RuntimeError("the effect") from error

class OwnOptimizer(Base):
    def configure_optimizers(self, model, workload):
        return Optimizer(model.parameters(), lr=0.1)

class Batch(Base):
    def select_batch(self, batches):
        return {"inputs": torch.zeros(4, 3), "targets": torch.zeros(4)}
"""

CASES = {
    "Step": ('broken("in the step")', "ValueError: in the step"),
    "Configure": ("return model.parameters(1, 2, 3)", "TypeError: "),
    "Leaves": ("return next(iter(()))", "SubmissionError: Leaves.select_batch raised StopIteration"),
    "Caused": ('broken("the cause")', "RuntimeError: the effect"),
    "OwnOptimizer": ('return broken("in the optimizer")', "ValueError: in the optimizer"),
    "Batch": ("return workload.mean(", "Error: "),
}


@pytest.mark.parametrize("name", CASES)
def test_its_own_lines_come_first_and_what_failed_last(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine_that_fails.py").write_text(MINE)
    (tmp_path / "helpers_of_mine.py").write_text(HELPERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    quiet = ["--trainer.enable_model_summary=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    command = ["fit", "--workload", "digits", "--submission", f"mine_that_fails.{name}", "--recorder.folder", "trial"]
    with pytest.raises(SystemExit) as ended:
        main([*command, *quiet, "--trainer.logger=false"])
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    lines = printed[printed.index("Traceback") :].strip().splitlines()
    own_line, what = CASES[name]
    frames = [(file, line) for file, line in pairwise(lines) if file.startswith("  File ")]
    assert own_line in frames[0][1], printed
    assert not any("lightning/pytorch/" in file for file, _ in frames), printed
    assert lines[-1].startswith("algoperf: error: ")
    assert what in lines[-1]
    assert lines[-1].endswith("The record is in trial")
    record = TrialResult.read(tmp_path / "trial")
    assert record.status is Status.FAILED
    assert what.partition(":")[0] in record.message


def test_an_error_that_is_not_the_submissions_keeps_its_traceback(tmp_path, monkeypatch):
    def fail(self):
        raise OSError("disk gone")

    monkeypatch.setattr("algoperf_lightning.workloads.Digits.prepare_data", fail)
    command = ["fit", "--workload", "digits", "--submission", "adamw", "--recorder.folder", str(tmp_path / "trial")]
    with pytest.raises(OSError, match="disk gone"):
        main([*command, "--trainer.logger=false", "--trainer.accelerator=cpu"])
