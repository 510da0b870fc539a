"""What is found in the text of a submission, under which disguises, and what is let alone."""

import importlib
import linecache
import sys
import types

import pytest

from algoperf_lightning import get_submission
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.rules.scan import scan
from algoperf_lightning.rules.sources import sources

HEAD = "import torch, os, time\nfrom algoperf_lightning import Submission\nclass Entry(Submission):\n    {}\n"


@pytest.fixture
def scanned(tmp_path, monkeypatch):
    """Write modules and return what is found in the class ``Entry`` of the first."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def scan_texts(text, **others):
        for name, content in {"entry_for_scan": text, **others}.items():
            path = tmp_path / (name.replace(".", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
            written.append(name)
        importlib.invalidate_caches()
        return scan(importlib.import_module("entry_for_scan").Entry)

    yield scan_texts
    for name in written:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("submission", [*plugins(SUBMISSIONS)])
def test_baselines_have_nothing_to_be_found(submission):
    assert scan(get_submission(submission)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(self, w): return 1 if self.name == 'mnist' else 2", "line 4: names the workload 'mnist'"),
        ("def f(self, w): return {'digits': 0.1}", "names the workload 'digits' outside of batch_sizes"),
        ("def f(self, w): return w.num_train_examples == 50_000", "compares num_train_examples with a constant"),
        ("def f(self, w): return w._workload", "accesses objects behind the view of the workload"),
        ("def f(self, w): return getattr(w, '_workload')", "accesses objects behind the view of the workload"),
        ("def training_step(self, w, b): return w._anything", "accesses _anything behind the view of the workload"),
        ("def training_step(self, w, b): self.v = w; return self.v._terms", "accesses _terms behind the view"),
        ("def before_step(self, m, w): return w._terms", "accesses _terms behind the view of the workload"),
        ("def training_step(self, w, b): return vars(w)", "accesses objects behind the view of the workload with vars"),
        ("def training_step(self, w, b): w.stop_requested = False", "writes to w.stop_requested"),
        ("def configure_optimizers(self, m, w): setattr(w, 'x', 1)", "behind the view of the workload with set"),
        ("def get_eval_batch_size(self, name): return 3", "sets an evaluation batch size"),
        ("def f(self): torch.backends.cudnn.benchmark = True", "writes to torch.backends.cudnn.benchmark"),
        ("def f(self): torch.set_num_threads(9)", "uses torch.set_num_threads: a global setting"),
        ("def f(self): torch.backends.cuda.enable_flash_sdp(False)", "uses torch.backends.cuda.enable_flash_sdp"),
        ("def f(self): os.environ['X'] = '1'", "writes to os.environ['X'], a global setting"),
        ("def f(self): os.environ.update(X='1')", "uses os.environ.update: a global setting"),
        ("def f(self): time.monotonic = None", "writes to time.monotonic, a global setting"),
        ("def f(self): open('/tmp/weights')", "reads with open from outside its own package"),
        ("def f(self): return torch.load('/tmp/weights')", "reads with torch.load from outside its own package"),
        ("def f(self, path): return path.read_bytes()", "reads with read_bytes from outside its own package"),
        ("def f(self, data): return data.open('validation')", "reads with open from outside its own package"),
        ("def f(self): return os.fork()", "uses os.fork: another process"),
        ("def f(self, w): type(w).loss = None", "writes to type(w).loss"),
        ("def f(self, w): w.__class__.loss = None", "writes to w.__class__.loss"),
        ("def f(self, w): setattr(type(w), 'loss', None)", "changes type(w), which belongs to other code"),
        ("def f(self): setattr(torch.nn.Linear, 'forward', None)", "changes torch.nn.Linear, which belongs to other"),
        ("def f(self): torch.nn.Linear.forward = None", "writes to torch.nn.Linear.forward"),
        ("def f(self): exec('import this')", "uses exec: text that is executed as code"),
        ("def f(self, batches): return batches.gi_frame", "reads the frames of other code"),
        ("def f(self, batches): return self.data.evaluation_batches(0, 1)", "uses the evaluation data"),
    ],
)
def test_what_is_written_plainly_is_found(scanned, text, expected):
    (warning,) = scanned(HEAD.format(text))
    assert expected in warning


@pytest.mark.parametrize(
    ("imports", "use", "expected"),
    [
        ("import torch as t", "t.load('x')", "reads with torch.load"),
        ("from torch import load", "load('x')", "reads with torch.load"),
        ("from torch import load as l", "l('x')", "reads with torch.load"),
        ("import torch; fetch = torch.load", "fetch('x')", "reads with torch.load"),
        ("import numpy as np", "np.load('x')", "reads with numpy.load"),
        ("import numpy as np", "np.memmap('x')", "reads with numpy.memmap"),
        ("from pathlib import Path as P", "P('x').read_text()", "reads with read_text"),
        ("from pathlib import Path as P", "P('x').open('rb')", "reads with open"),
        ("import pickle, io", "pickle.load(io.BytesIO())", "reads with pickle.load"),
        ("import threading as th", "th.Thread(target=print)", "uses threading.Thread: a thread"),
        ("from threading import Timer", "Timer(1, print)", "uses threading.Timer: a thread"),
        ("from threading import Thread as T; U = T", "U(target=print)", "threading.Thread: a thread"),
        ("from concurrent.futures import ThreadPoolExecutor as E", "E()", "a thread"),
        ("import subprocess as s", "s.Popen(['x'])", "uses subprocess.Popen: another process"),
        ("from multiprocessing import Process", "Process()", "uses multiprocessing.Process: another process"),
        ("import atexit", "atexit.register(print)", "uses atexit.register: code that runs at exit or on a signal"),
        ("from atexit import register as at", "at(print)", "uses atexit.register"),
        ("import signal", "signal.setitimer(0, 1)", "uses signal.setitimer"),
        ("import gc", "gc.get_objects()", "uses gc.get_objects: objects or frames"),
        ("from gc import get_referrers as g", "g(1)", "uses gc.get_referrers"),
        ("import sys", "sys._getframe(2)", "uses sys._getframe"),
        ("import ctypes", "ctypes.c_int.from_address(3)", "uses ctypes.c_int.from_address"),
        ("from torch import set_num_threads as n", "n(4)", "uses torch.set_num_threads: a global setting"),
        ("from torch.backends import cudnn as c", "c.benchmark", ""),
        ("import importlib", "importlib.import_module('al' + 'go')", "imports a module whose name is computed"),
        ("import importlib", "importlib.import_module('sklearn.datasets')", "imports sklearn.datasets"),
        ("from urllib.request import urlopen", "urlopen('x')", "uses urllib.request.urlopen: the network"),
    ],
)
def test_disguises_are_looked_through(scanned, imports, use, expected):
    found = scanned(f"{imports}\n" + HEAD.format(f"def f(self): return {use}"))
    if expected:
        assert any(expected in warning for warning in found), found
    else:
        assert found == []


@pytest.mark.parametrize(
    "imports",
    [
        "from sklearn.datasets import load_digits",
        "import torchvision.datasets as d",
        "from torchvision import datasets",
        "from algoperf_lightning import get_workload",
        "from algoperf_lightning.workloads.digits.data import DigitsData",
        "from algoperf_lightning.workloads import Digits",
        "from algoperf_lightning.data.streams import TrainingStream",
        "import algoperf_lightning.data",
    ],
)
def test_imports_of_data_and_workloads_are_found(scanned, imports):
    (warning,) = scanned(f"{imports}\n" + HEAD.format("pass"))
    assert "line 1: imports" in warning


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
        "def f(self): type(self).made = 3",
        "def f(self): setattr(self, 'a', 1); return getattr(self, '_private', 2)",
        "def f(self): self._state = {}; return self._state",
        "def training_step(self, w, b): return w.mean(w.loss(b, label_smoothing=0.1))",
        "def training_step(self, w, b): w.log({'a': 1}); return w.mean(w.loss(w.take(b, 8)))",
        "def before_evaluation(self, m): self.kept = self.workload.update_batch_norm([self.batch])",
        "def f(self, w, b, p, v): return torch.func.jvp(lambda p: w.outputs(b, parameters=p), (p,), (v,))",
        "def f(self, w, b):\n     with w.second_order(): return w.mean(w.loss_of(w.outputs(b), b))",
        "def f(self): from pathlib import Path; return torch.load(Path(__file__).parent / 'optimizer.pt')",
        "def f(self): from importlib import resources; return resources.files(__package__).joinpath('a').read_text()",
        "def f(self): from importlib.resources import files; p = files(__package__) / 'a'; return open(p)",
        "def f(self): p = os.path.join(os.path.dirname(__file__), 'a')\n     with open(p) as q: return torch.load(q)",
    ],
)
def test_what_is_allowed_is_let_alone(scanned, text):
    text = text.replace("\n     ", "\n        ")
    if "\n" in text:
        text = text.replace("def f(self): ", "def f(self):\n        ")
    assert scanned(HEAD.format(text)) == []


def test_what_a_submission_may_import_of_the_library_is_let_alone(scanned):
    imports = "from algoperf_lightning.workload import WorkloadView\nfrom algoperf_lightning import ParameterKind\n"
    assert scanned(imports + HEAD.format("pass")) == []


def test_modules_of_its_own_that_a_submission_imports_are_read(scanned):
    found = scanned(
        "import helper_for_scan\n" + HEAD.format("pass"),
        helper_for_scan="from threading import Thread\nworker = Thread(target=print)\nimport deeper_for_scan",
        deeper_for_scan="import atexit\natexit.register(lambda: None)",
    )
    assert [warning.partition(",")[0] for warning in found] == ["helper_for_scan", "deeper_for_scan"]


def test_modules_of_others_are_not_read(scanned):
    assert scanned("import lightning, numpy, sklearn\n" + HEAD.format("pass")) == []


def test_packages_of_a_virtual_environment_in_the_submissions_folder_are_not_read(scanned, tmp_path, monkeypatch):
    installed = tmp_path / ".venv/lib/python3/site-packages"
    installed.mkdir(parents=True)
    (installed / "installed_for_scan.py").write_text("import atexit\natexit.register(lambda: None)")
    monkeypatch.syspath_prepend(installed)
    assert scanned("import installed_for_scan\n" + HEAD.format("pass")) == []


def test_this_library_is_not_read_as_part_of_a_submission_in_its_repository(scanned, monkeypatch):
    monkeypatch.setattr("algoperf_lightning.rules.sources._lies_beside", lambda file, folder: "torch" not in file.parts)
    scanned("from algoperf_lightning import Submission\nclass Entry(Submission):\n    pass\n")
    assert [source.name for source in sources(sys.modules["entry_for_scan"].Entry)] == ["entry_for_scan"]


@pytest.fixture
def notebook(monkeypatch):
    """Return a function that runs cells in ``__main__``."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)

    def run(*cells):
        for number, source in enumerate(cells):
            cell = f"<ipython-input-{number}>"
            linecache.cache[cell] = (len(source), None, source.splitlines(keepends=True), cell)
            exec(compile(source, cell, "exec"), vars(module))
        return module

    return run


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("t.set_num_threads(9)", "uses torch.set_num_threads"),
        ("os.environ['X'] = '1'", "writes to os.environ['X']"),
        ("Worker(target=print)", "uses threading.Thread"),
        ("type(self.view).loss = None", "writes to type(self.view).loss"),
    ],
)
def test_of_a_notebooks_class_the_methods_are_read_with_the_names_of_its_cells(notebook, cell, expected):
    first = "import os, torch as t, torch\nfrom threading import Thread as Worker\nos.environ.get('X')\n"
    module = notebook(first, f"class Entry:\n    def f(self): {cell}\n")
    assert any(expected in warning for warning in scan(module.Entry))


@pytest.mark.parametrize(
    "text",
    [
        "def f(self): getattr(torch, 'set_num_' + 'threads')(2)",
        "def f(self): vars(torch)['lo' + 'ad']('x')",
        "def f(self, w): return w.num_train_examples % 7",
        "def f(self, p): return sum(q.numel() for q in p) == self.fingerprint",
    ],
)
def test_what_is_made_from_parts_is_not_seen(scanned, text):
    """No reading of text can see all: ``docs/rules.md`` says so, and this test holds it to that."""
    assert scanned(HEAD.format(text)) == []
