"""Each rule with submissions that break it: what a machine sees, what it does not, and that it accuses nobody else."""

import builtins
import gc
import importlib
import os
import re
import sys
import threading
import time
from pathlib import Path

import numpy
import pytest
import torch
from cheats import CHEATS
from rule_cases import Cheat, run
from text_cheats import FOUND, MODULE, NOT_FOUND
from torch import nn
from torchmetrics import Metric

from algoperf_lightning import get_submission, get_workload
from algoperf_lightning.classification import ClassificationWorkload
from algoperf_lightning.data import streams
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, plugins
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.rules.order import gravest_first
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import PlainSGD, with_tiny_data
from algoperf_lightning.workloads import Digits

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


class FakeClock:
    """Seconds that pass only by ``advance``."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


SETTINGS = [
    (sys.getprofile, sys.setprofile),
    (threading.getprofile, threading.setprofile),
    (sys.getswitchinterval, sys.setswitchinterval),
    (lambda: os.sched_getaffinity(0), lambda cores: os.sched_setaffinity(0, cores)),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_default_dtype, torch.set_default_dtype),
    (lambda: False, torch.set_flush_denormal),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch._C._is_multithreading_enabled, torch._C._set_multithreading_enabled),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    *(
        (
            lambda name=name: getattr(torch.backends.cudnn, name),
            lambda on, name=name: setattr(torch.backends.cudnn, name, on),
        )
        for name in ("benchmark", "deterministic")
    ),
    *(
        (lambda kind=kind: torch.is_autocast_enabled(kind), lambda on, kind=kind: torch.set_autocast_enabled(kind, on))
        for kind in ("cpu", "cuda")
    ),
    (lambda: torch.get_autocast_dtype("cpu"), lambda dtype: torch.set_autocast_dtype("cpu", dtype)),
]


@pytest.fixture
def put_back(monkeypatch):
    """Undo what a cheat does to the process."""
    for owner, name in (
        (streams.EvaluationBatches, "__len__"),
        (ClassificationWorkload, "evaluate"),
        (Metric, "reset"),
        (nn.Linear, "forward"),
        (nn.functional, "linear"),
        (time, "monotonic"),
        (time, "perf_counter"),
        (torch.cuda, "synchronize"),
        (builtins, "sum"),
        (numpy, "mean"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setenv("A_SECRET", "")
    monkeypatch.delenv("A_SECRET")
    before = [(set_back, get()) for get, set_back in SETTINGS]
    collecting = list(gc.callbacks)
    cheats = []
    yield cheats
    for set_back, value in before:
        set_back(value)
    gc.callbacks[:] = collecting
    for cheat in cheats:
        if hasattr(cheat, "code"):
            cheat.function.__code__ = cheat.code
        for name, end in (("handle", "remove"), ("done", "set"), ("process", "kill")):
            if hasattr(cheat, name):
                getattr(getattr(cheat, name), end)()
        if hasattr(cheat, "process"):
            cheat.process.wait()
        if hasattr(cheat, "pid"):
            os.waitpid(cheat.pid, 0)


def warnings_of(kind, tmp_path, put_back):
    """Run a cheat; return what was seen in the run, without what was read in its text, and the result."""
    kind.clock = FakeClock()
    cheat = kind(at=kind.moment)
    put_back.append(cheat)
    result = run(cheat, tmp_path, clock=kind.clock, raises=True).result
    assert cheat.acted, result.message
    return [warning for warning in result.warnings if ", line " not in warning], result


def ids(kind):
    return f"{kind.row}-{kind.__name__}-{kind.moment}"


@pytest.mark.parametrize("kind", [kind for kind in CHEATS if kind.seen], ids=ids)
def test_a_cheat_is_seen_once_and_recorded(kind, tmp_path, put_back):
    warnings, result = warnings_of(kind, tmp_path, put_back)
    if kind.row == "record":
        assert result.status is Status.FAILED
        assert kind.seen in result.message
        return
    assert result.status.final, result.message
    found = [warning for warning in warnings if warning.startswith(kind.seen)]
    assert len(found) == 1, warnings
    assert found[0] in TrialResult.read(tmp_path / "trial").warnings
    assert "do not show" not in " ".join(warnings)


@pytest.mark.parametrize("kind", [kind for kind in CHEATS if not kind.seen], ids=ids)
def test_a_cheat_that_the_page_says_is_not_seen_is_not_seen(kind, tmp_path, put_back):
    warnings, result = warnings_of(kind, tmp_path, put_back)
    assert result.status.final, result.message
    assert warnings == []


class MakesItsBaseLate(Submission):
    """A wrapper of one's own, which wraps nothing until it makes its optimizer."""

    def __init__(self, base):
        self.base = base
        self.parts = {}

    def configure_optimizers(self, model, workload):
        self.parts["inner"] = [self.base()]
        return self.parts["inner"][0].configure_optimizers(model, workload)


def entry(tmp_path, monkeypatch, text, name="entry_of_text"):
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    return importlib.import_module(name).Entry


@pytest.mark.parametrize(("row", "expression"), [(row, each) for row in FOUND for each in FOUND[row]])
def test_what_is_found_in_the_text_is_recorded(row, expression, tmp_path, monkeypatch):
    result = run(entry(tmp_path, monkeypatch, MODULE.format(expression=expression))(), tmp_path).result
    (warning,) = result.warnings
    assert warning.startswith("entry_of_text, line 13: ")


@pytest.mark.parametrize("wrapper", ["ema_nesterov", "tail_averaging", "cautious_decay/tail_averaging", "made_late"])
def test_the_text_inside_a_wrapper_is_read_too(wrapper, tmp_path, monkeypatch):
    base = entry(tmp_path, monkeypatch, MODULE.format(expression="workload.name == 'mnist'"), "entry_in_a_wrapper")
    outer, _, inner = wrapper.partition("/")
    if wrapper == "made_late":
        submission = MakesItsBaseLate(base)
    else:
        options = {"cautious_decay": 0.1} if inner else {}  # plain SGD has no decay to take over
        submission = get_submission(outer)(f"{inner}/{base.__module__}.Entry" if inner else base, **options)
    warnings = run(submission, tmp_path, steps=1).result.warnings
    (line,) = [warning for warning in warnings if warning.startswith("entry_in_a_wrapper")]
    assert line.startswith("entry_in_a_wrapper, line 13: names the workload 'mnist'")


@pytest.mark.slow
def test_what_a_submission_inside_a_wrapper_set_is_seen(tmp_path, monkeypatch, put_back):
    base = entry(tmp_path, monkeypatch, IMPORTED, "entry_in_a_wrapper_that_sets")
    warnings = run(get_submission("ema_nesterov")(base), tmp_path, steps=1).result.warnings
    told = "A global setting or variable changed when the submission was imported or created: A_SECRET."
    assert told in warnings


@pytest.mark.parametrize(("row", "expression"), [(row, each) for row in NOT_FOUND for each in NOT_FOUND[row]])
def test_what_the_page_says_is_not_found_in_the_text_is_not_found(row, expression, tmp_path, monkeypatch):
    result = run(entry(tmp_path, monkeypatch, MODULE.format(expression=expression))(), tmp_path, steps=1).result
    assert result.warnings == []


def test_every_row_of_the_page_has_a_cheat_that_is_seen_and_one_that_is_not():
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == {kind.row for kind in CHEATS if kind.seen} | set(FOUND) | {"import"}
    assert rows == {kind.row for kind in CHEATS if not kind.seen} | set(NOT_FOUND) | {"import"}


@pytest.mark.slow
@pytest.mark.parametrize("submission", [*plugins(SUBMISSIONS)])
def test_baselines_keep_the_rules(submission, tmp_path):
    result = run(get_submission(submission)(), tmp_path, steps=3).result
    assert result.status.final, result.message
    assert result.warnings == result.notes == []


# Before the run


IMPORTED = """
import os
import torch
from rule_cases import Cheat

torch.set_float32_matmul_precision("medium")

class Entry(Cheat):
    def __init__(self):
        super().__init__()
        torch.set_default_dtype(torch.float32)
        os.environ["A_SECRET"] = "do not show"
"""


@pytest.mark.slow
def test_what_a_submission_set_when_it_was_imported_or_made_is_seen(tmp_path, monkeypatch, put_back):
    kind = entry(tmp_path, monkeypatch, IMPORTED, "entry_that_sets")
    warnings = [line for line in run(kind(), tmp_path, steps=1).result.warnings if ", line " not in line]
    prefix = "A global setting or variable changed when the submission was imported or created: "
    assert f"{prefix}torch.get_float32_matmul_precision() was 'highest' and is now 'medium'." in warnings
    assert f"{prefix}A_SECRET." in warnings
    assert all(warning.startswith(prefix) for warning in warnings)


@pytest.mark.slow
def test_what_the_script_set_that_runs_a_submission_is_not_the_submissions(tmp_path, monkeypatch, put_back):
    kind = entry(tmp_path, monkeypatch, "from rule_cases import Cheat\nclass Entry(Cheat): pass\n", "entry_of_a_script")
    torch.set_float32_matmul_precision("high")
    warnings = run(kind(), tmp_path, steps=1).result.warnings
    assert [line for line in warnings if ", line " not in line] == []


def test_what_data_set_when_they_are_opened_is_not_the_submissions(tmp_path, monkeypatch):
    """As scikit-learn sets variables for threads when a workload imports it."""

    class DigitsThatImport(Digits.data_class):
        def open(self, split):
            os.environ[f"KMP_{split.upper()}"] = "TRUE"
            return super().open(split)

    for split in ("train", "eval_train", "validation", "test"):
        monkeypatch.setenv(f"KMP_{split.upper()}", "")
        monkeypatch.delenv(f"KMP_{split.upper()}")
    monkeypatch.setattr(Digits, "data_class", DigitsThatImport)
    assert [line for line in run(Cheat(), tmp_path).result.warnings if ", line " not in line] == []
    assert os.environ["KMP_VALIDATION"] == "TRUE"


def test_processes_that_read_data_are_not_the_submissions(tmp_path):
    class DigitsOfWorkers(Digits):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.data.workers = 1

    warnings = run(Cheat(), tmp_path, workload=DigitsOfWorkers).result.warnings
    assert [line for line in warnings if ", line " not in line] == []


# What is charged


def test_seconds_of_configure_optimizers_are_charged_beyond_what_is_free(tmp_path, put_back):
    (kind,) = [kind for kind in CHEATS if kind.__name__ == "works_before_the_start"]
    _, result = warnings_of(kind, tmp_path, put_back)
    assert result.submission_seconds == pytest.approx(60.0 - max(2.0, 0.01 * Digits.spec.budget))


def test_all_seconds_of_configure_optimizers_are_charged_where_it_changed_parameters(tmp_path):
    clock = FakeClock()

    def train(cheat):
        clock.advance(1.5)
        with torch.no_grad():
            next(cheat.model.parameters()).add_(1.0)

    result = run(Cheat(train), tmp_path, clock=clock).result
    assert result.submission_seconds == pytest.approx(1.5)
    assert "1.5 s of it are submission time" in " ".join(result.warnings)


# How it is told


def test_many_changes_of_one_kind_are_a_few_lines(tmp_path):
    def add_many(cheat):
        for number in range(50):
            cheat.model.add_module(f"extra_{number:02}", nn.Identity())

    warnings = run(Cheat(add_many), tmp_path).result.warnings
    found = [warning for warning in warnings if warning.startswith("The model's structure")]
    assert len(found) == 4
    assert found[-1] == "The model's structure changed during the run: 47 more such changes."


def test_what_changes_scores_comes_first():
    given = ["entry, line 3: names the workload 'mnist'.", "The environment changed: X.", "A clock was replaced."] * 2
    assert gravest_first(given) == [given[2], given[1], given[0]]


def test_warnings_are_in_the_record_and_read_back(tmp_path):
    result = TrialResult(
        **dict.fromkeys(("workload", "version", "submission", "metric"), "x"),
        ruleset="external",
        stop_at="validation",
        **dict.fromkeys(("seed", "batch_size", "budget", "eval_period", "validation_target", "test_target"), 1),
        hyperparameters={},
        direction="max",
        warnings=["it did something"],
    )
    result.write_trial(tmp_path)
    assert TrialResult.read(tmp_path).warnings == ["it did something"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*plugins(WORKLOADS)])
def test_no_workload_accuses_a_submission(name, tmp_path):
    """Whatever its libraries set when they are imported, and whatever its modules are made of."""
    kind = get_workload(name)
    result = run(PlainSGD(), tmp_path, workload=kind, **with_tiny_data(kind, tmp_path / "data")).result
    assert result.status.final, result.message
    assert result.warnings == []
