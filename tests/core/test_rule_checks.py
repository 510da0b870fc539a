"""What a machine sees of the rules being broken, and that it sees nothing where they are kept."""

import os
import time

import lightning as L
import pytest
import torch
from torch import nn

from algoperf_lightning import get_submission
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.result import TrialResult
from algoperf_lightning.rule_scan import scan
from algoperf_lightning.streams import EvaluationBatches
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits


def warnings_of(submission, tmp_path, **options):
    budget = TimeBudget(eval_period=1e-6)
    trainer = L.Trainer(
        callbacks=[budget],
        max_steps=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        accelerator="cpu",
    )
    trainer.fit(Digits(submission, **options))
    return budget.result.warnings


class Meddler(Submission):
    """Does one thing that it must not."""

    def __init__(self, what):
        self.what = what

    def configure_optimizers(self, model, workload):
        if self.what != "at an evaluation":
            MEDDLING[self.what](model, workload)
        return torch.optim.SGD(model.parameters(), lr=0.1)

    def before_evaluation(self, model):
        if self.what == "at an evaluation":
            model.late = nn.Identity()


def swap_layer(model, workload):
    model.add_module("extra", nn.Dropout(0.5))


def behind(workload):
    return workload._workload


def bigger_evaluation(model, workload):
    import dataclasses

    owner = behind(workload)
    owner.spec = dataclasses.replace(owner.spec, eval_batch_size=7)


def other_data(model, workload):
    behind(workload).data.seed = 12


def patched_stream(model, workload):
    EvaluationBatches.__len__ = lambda self: 1


MEDDLING = {
    "module": swap_layer,
    "evaluation batch": bigger_evaluation,
    "data": other_data,
    "stream": patched_stream,
    "clock": lambda model, workload: setattr(time, "monotonic", lambda: 0.0),
    "setting": lambda model, workload: torch.set_float32_matmul_precision("medium"),
    "threads": lambda model, workload: torch.set_num_threads(2),
    "environment": lambda model, workload: os.environ.update(A_SECRET="do not show"),
    "loss": lambda model, workload: setattr(behind(workload), "evaluate", behind(workload).evaluate),
}


@pytest.fixture
def put_back(monkeypatch):
    """Undo what a meddler does."""
    monkeypatch.setattr(EvaluationBatches, "__len__", EvaluationBatches.__len__)
    monkeypatch.setattr(time, "monotonic", time.monotonic)
    monkeypatch.setenv("A_SECRET", "")
    monkeypatch.delenv("A_SECRET")
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("module", "The model's structure changed during the run: module extra was 'not there' and is now 'Dropout'"),
        ("module", "The model's structure changed during the run: dropout extra was 'not there' and is now 0.5"),
        ("at an evaluation", "The model's structure changed during the run: module late"),
        ("evaluation batch", "The workload's numbers changed during the run: spec"),
        ("data", "The data pipeline changed during the run: seed was"),
        ("stream", "The data pipeline changed during the run: EvaluationBatches.__len__ was replaced"),
        ("clock", "A clock changed during the run: time.monotonic was replaced"),
        ("setting", "A global setting changed during the run: torch.get_float32_matmul_precision() was 'highest'"),
        ("threads", "A global setting changed during the run: torch.get_num_threads() was 1 and is now 2"),
        ("environment", "The environment changed during the run: A_SECRET."),
        ("loss", "The workload changed during the run: evaluate was replaced"),
    ],
)
def test_meddling_is_seen_once_and_recorded(tmp_path, put_back, what, expected):
    warnings = warnings_of(Meddler(what), tmp_path)
    found = [warning for warning in warnings if warning.startswith(expected)]
    assert len(found) == 1, warnings
    assert "do not show" not in " ".join(warnings)


@pytest.mark.parametrize("submission", [*plugins(SUBMISSIONS)])
def test_baselines_keep_the_rules(submission, tmp_path):
    assert warnings_of(get_submission(submission)(), tmp_path) == []


def test_warnings_are_in_the_record_and_read_back(tmp_path):
    result = TrialResult(
        **dict.fromkeys(("workload", "version", "ruleset", "submission", "metric", "stop_at"), "x"),
        **dict.fromkeys(("seed", "batch_size", "budget", "eval_period", "validation_target", "test_target"), 1),
        hyperparameters={},
        direction="max",
        warnings=["it did something"],
    )
    result.write_trial(tmp_path)
    assert TrialResult.read(tmp_path).warnings == ["it did something"]


def test_evaluations_that_a_submission_sees_are_not_the_records_own(tmp_path):
    class Forger(PlainSGD):
        def training_step(self, workload, batch):
            with pytest.raises((AttributeError, TypeError)):
                workload.evaluations.append("forged")
            return super().training_step(workload, batch)

    warnings_of(Forger(), tmp_path)


# The text


def scanned(tmp_path, monkeypatch, text):
    (tmp_path / "entry_for_scan.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import importlib
    import sys

    sys.modules.pop("entry_for_scan", None)
    module = importlib.import_module("entry_for_scan")
    return scan(module.Entry)


HEAD = "import torch, os, time\nfrom algoperf_lightning import Submission\nclass Entry(Submission):\n    {}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(self, w): return 1 if self.name == 'mnist' else 2", "line 4: names the workload 'mnist'"),
        ("def f(self, w): return {'digits': 0.1}", "names the workload 'digits' elsewhere than in batch_sizes"),
        ("def f(self, w): return w.num_train_examples == 50_000", "compares num_train_examples with a constant"),
        ("def f(self, w): return w._workload", "reaches behind the view of the workload"),
        ("def get_eval_batch_size(self, name): return 3", "chooses an evaluation batch size"),
        ("def f(self): torch.backends.cudnn.benchmark = True", "writes to torch.backends.cudnn.benchmark"),
        ("def f(self): torch.set_num_threads(9)", "calls torch.set_num_threads, a global setting"),
        ("def f(self): torch.backends.cuda.enable_flash_sdp(False)", "calls torch.backends.cuda.enable_flash_sdp"),
        ("def f(self): os.environ['X'] = '1'", "writes to os.environ['X'], a global setting"),
        ("def f(self): time.monotonic = None", "writes to time.monotonic, a global setting"),
    ],
)
def test_what_is_written_plainly_is_found(tmp_path, monkeypatch, text, expected):
    (warning,) = scanned(tmp_path, monkeypatch, HEAD.format(text))
    assert expected in warning


@pytest.mark.parametrize(
    "text",
    [
        "batch_sizes = {'mnist': 128, 'imagenet_vit_glu': 2 ** 10, 'other': 8 * 128}",
        "def f(self, w): '''It is good on mnist.'''",
        "def f(self, w): return w.step_hint // 2 + w.num_train_examples",
        "def f(self, w): return w.loss_type == 'ctc'",
        "def f(self, p): self.lr = 3; p.data[0] = torch.zeros(1); return p.ndim == 2",
        "def f(self): torch.manual_seed(3)",
        "def f(self): return torch.backends.cuda.is_built()",
    ],
)
def test_what_is_allowed_is_let_alone(tmp_path, monkeypatch, text):
    assert scanned(tmp_path, monkeypatch, HEAD.format(text)) == []


def test_of_a_notebooks_class_the_methods_are_read_with_the_names_of_its_cells(tmp_path, monkeypatch):
    import linecache
    import sys
    import types

    source = "class Entry:\n    def f(self): t.set_num_threads(9); os.environ['X'] = '1'\n"
    cell = "<ipython-input-1>"
    notebook = types.ModuleType("__main__")
    linecache.cache[cell] = (len(source), None, source.splitlines(keepends=True), cell)
    exec(compile("import os, torch as t, torch\n", cell, "exec"), vars(notebook))
    exec(compile(source, cell, "exec"), vars(notebook))
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    found = scan(notebook.Entry)
    assert any("writes to os.environ['X']" in warning for warning in found)
