"""Without optional libraries and on other systems: all modules are imported, and what is missing is named."""

import configparser
import os
import re
import subprocess
import sys
import types
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from algoperf_lightning.registry import WORKLOADS, get_spec, plugins
from algoperf_lightning.utilities import locks

ROOT = Path(__file__).parents[2]
SPECS = {name: get_spec(name) for name in plugins(WORKLOADS)}
UNIX_ONLY = {"fcntl", "pwd", "grp", "resource", "termios"}
OPTIONAL = {library for spec in SPECS.values() for library in spec.libraries} | {"ray", "pandas", "torchaudio"}

# The beginning of a program for which some modules are not installed.
BARE = """
import importlib.metadata, sys

HIDDEN = set(sys.argv.pop(1).split(","))


class Without:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self._finder.find_spec(name, path, target)


def metadata(name):
    if name.lower().replace("-", "_") in HIDDEN:
        raise importlib.metadata.PackageNotFoundError(name)
    return distribution(name)


distribution, importlib.metadata.distribution = importlib.metadata.distribution, metadata
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def run_bare(hidden, code, folder, *arguments):
    """Run code in a new process without some modules, and return its output."""
    done = subprocess.run(
        [sys.executable, "-c", BARE + code, ",".join(sorted(hidden)), *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "150", "USER": "user"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_ALL = """
import os, signal, torch, lightning
for name in ("fork", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "killpg", "setsid", "pwrite"):
    vars(os).pop(name, None)  # Windows has none of these
for name in ("SIGKILL", "SIGUSR1", "pthread_kill"):
    vars(signal).pop(name, None)
from importlib import import_module
for module in sys.argv[1:]:
    import_module(module)
    print(module)
"""

WITHOUT_EACH = """
from contextlib import redirect_stderr
from io import StringIO
from algoperf_lightning import cli, get_workload
from algoperf_lightning.registry import get_spec, import_class, plugins

def said(call, *arguments):
    try:
        with redirect_stderr(stderr := StringIO()):
            call(*arguments)
    except (ImportError, SystemExit) as error:
        return f"{type(error).__name__} {stderr.getvalue() or error}".strip()
    return "nothing"

seen = set()
for name in sys.argv[1:]:
    spec, entry = get_spec(name), plugins("algoperf_lightning.workloads")[name]
    workload = import_class("workload", entry.value.replace(":", "."), object)
    for library in spec.libraries:
        HIDDEN.clear()
        HIDDEN.add(library)
        print(said(get_workload, name))
        print(said(workload.data_class, spec))
        if library not in seen:
            print(said(cli.main, ["data", "tiny", name]))
        seen.add(library)
HIDDEN.clear()
HIDDEN.update({"torch_geometric"})
print(said(cli.main, ["fit", "--workload", "ogbg", "--submission", "adamw"]))
print(said(cli.main, ["fit", "--workload", "OGBG", "--submission", "adamw"]))
"""

DIGITS = """
from algoperf_lightning import cli
cli.main(["fit", "--config", "digits", "--time_budget.target", "0.9"])
cli.main(["score", "runs", "--output", "report"])
"""


@pytest.mark.slow
def test_all_modules_are_imported_without_optional_libraries_and_without_what_only_unix_has(tmp_path):
    modules = []
    for folder in ("algoperf_lightning", "baselines", "callbacks", "configs", "workloads"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts if folder == "algoperf_lightning" else ("algoperf_lightning", *parts)
            modules.append(".".join(parts).removesuffix(".__init__"))
    modules.remove("algoperf_lightning.__main__")
    assert run_bare(OPTIONAL | UNIX_ONLY, IMPORT_ALL, tmp_path, *modules).split() == modules


@pytest.mark.slow
def test_each_missing_library_is_named_with_its_extra_wherever_it_is_needed_first(tmp_path):
    lines = run_bare(OPTIONAL, WITHOUT_EACH, tmp_path, *SPECS).splitlines()
    seen = set()
    for name, spec in SPECS.items():
        for library in spec.libraries:
            install = f"pip install '{spec.extra}'."
            message = f"The workload {name!r} needs the library {library!r}, which is not installed: {install}"
            expected = [f"MissingLibraryError {message}"] * 2
            if library not in seen:
                expected.append(f"SystemExit algoperf: error: {message}")
            seen.add(library)
            said, lines = lines[: len(expected)], lines[len(expected) :]
            assert said == expected
    assert lines == [line for line in lines if "SystemExit" in line and "'algoperf-lightning[ogbg]'" in line]
    assert len(lines) == 2, "a name and a class name were given to fit"


@pytest.mark.slow
def test_digits_and_scoring_need_no_optional_library(tmp_path):
    assert "target reached" in run_bare(OPTIONAL, DIGITS, tmp_path)
    assert (tmp_path / "report" / "report.html").is_file()


def test_extras_bring_the_libraries_that_workloads_name():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = {
        name: set(re.findall(r"^([\w-]+)", text, re.MULTILINE))
        for name, text in config["options.extras_require"].items()
    }
    packages = packages_distributions()
    for spec in SPECS.values():
        if spec.libraries:
            brought = extras[spec.extra.removeprefix("algoperf-lightning[").removesuffix("]")]
            assert brought <= extras["all"]
            for library in spec.libraries:
                assert brought & {name.replace("_", "-") for name in packages[library]}, (spec.name, library)
    named = {"torchvision", "torchaudio", "torch-geometric", "sentencepiece"}
    assert named <= extras["all"]


# What stands in for msvcrt of Windows: an exclusive lock of one byte.
MSVCRT = """
import fcntl, os

LK_NBLCK = 2


def locking(descriptor, mode, count):
    assert mode == LK_NBLCK and count == 1
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    assert position > os.fstat(descriptor).st_size, "the text must stay readable"
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""


def test_a_trial_is_locked_where_the_system_has_no_flock(tmp_path, monkeypatch):
    module = types.ModuleType("msvcrt")
    exec(MSVCRT, vars(module))
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    monkeypatch.setattr(locks, "fcntl", None)
    assert not locks.is_locked(tmp_path)
    lock = locks.TrialLock(tmp_path)
    assert lock.take()
    assert locks.is_locked(tmp_path)
    assert f"process {os.getpid()}" in locks.holder(tmp_path)
    assert not locks.TrialLock(tmp_path).take()
    lock.release()
    assert not locks.is_locked(tmp_path)
    assert locks.TrialLock(tmp_path).take()
