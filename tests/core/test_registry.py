"""Plug-ins of other packages, installed for real: a package folder and its metadata on the path of a new process."""

import json
import os
import subprocess
import sys

import pytest

from algoperf_lightning import cli, get_submission, get_workload
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import WORKLOADS, get_spec, name_of, plugins
from algoperf_lightning.utilities.discovery import discover

PACKAGE = '''
"""A package of somebody else's."""

import dataclasses

from algoperf_lightning import Submission
from algoperf_lightning.workloads import Digits


class LabDigits(Digits):
    """Digits with a lower target."""

    spec = dataclasses.replace(Digits.spec, name="lab_digits", validation_target=0.5)


class LabSGD(Submission):
    """SGD as our lab likes it."""

    def configure_optimizers(self, model, workload):
        import torch

        return torch.optim.SGD(model.parameters(), lr=0.1)
'''


def install(folder, entry_points, module=PACKAGE):
    (folder / "lab_plugins.py").write_text(module)
    metadata = folder / "lab_plugins-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-plugins\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)


def algoperf(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "algoperf_lightning", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "150"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_plugins_of_another_package_are_listed_and_run(tmp_path):
    install(
        tmp_path,
        "[algoperf_lightning.workloads]\nlab_digits = lab_plugins:LabDigits\n"
        "[algoperf_lightning.submissions]\nlab_sgd = lab_plugins:LabSGD\n",
    )
    listed = algoperf(tmp_path, "list")
    assert listed.returncode == 0, listed.stderr
    assert "lab_digits" in listed.stdout
    assert "accuracy ≥ 0.5" in listed.stdout
    assert "SGD as our lab likes it." in listed.stdout
    done = algoperf(tmp_path, "fit", "--workload", "lab_digits", "--submission", "lab_sgd", "--trainer.logger", "false")
    assert done.returncode == 0, done.stderr
    assert "target reached" in done.stdout
    assert (tmp_path / "runs" / "lab_digits" / "lab_sgd" / "trial_1" / "trial.json").exists()


@pytest.mark.slow
def test_a_plugin_whose_library_is_missing_breaks_only_itself(tmp_path):
    install(
        tmp_path,
        "[algoperf_lightning.workloads]\nlab_digits = lab_plugins:LabDigits\n",
        module="import a_library_nobody_has\n",
    )
    listed = algoperf(tmp_path, "list")
    assert listed.returncode == 0, listed.stderr
    assert "a_library_nobody_has" in listed.stdout
    assert "digits" in listed.stdout
    named = algoperf(tmp_path, "fit", "--workload", "lab_digits", "--submission", "adamw")
    assert named.returncode == 2
    assert "pip install a_library_nobody_has" in named.stderr
    other = algoperf(tmp_path, "fit", "--config", "digits", "--trainer.max_steps", "2")
    assert other.returncode == 0, other.stderr


# What packages of others can do wrong: entry points, and the text of the module they name.
BROKEN = {
    "raises": ("[{w}]\nraises_w = raises_m:X\n[{s}]\nraises_s = raises_m:X\n", "raise RuntimeError('no luck')\n"),
    "exits": ("[{w}]\nexits_w = exits_m:X\n[{s}]\nexits_s = exits_m:X\n[{c}]\nexits_c = exits_m:X\n", "exit(0)\n"),
    "gives-up": ("[{s}]\ngives_up_s = gives_up_m:X\n", "raise BaseException('all is lost')\n"),
    "lacks": ("[{w}]\nlacks_w = lacks_m:Nope\n[{s}]\nlacks_s = lacks_m:Nope\n", "x = 1\n"),
    "garbled": ("[{s}]\ngarbled_s = garbled_m:X\n", "def (:\n"),
    "no-class": (
        "[{w}]\nno_class_w = no_class_m:x\n[{s}]\nno_class_s = no_class_m:x\n[{c}]\nno_class_c = no_class_m:x\n",
        "x = 1\n",
    ),
    "absent": ("[{s}]\nabsent_s = absent_from_here:X\n", ""),
    "malformed": ("[{w}]\nmalformed_w = what is this?\n[{s}]\nmalformed_s = :::\n", ""),
    "twin-one": ("[{s}]\ntwin = twin_one_m:X\n", ""),
    "twin-two": ("[{s}]\ntwin = twin_two_m:X\n", ""),
}
GROUPS = {
    "w": "algoperf_lightning.workloads",
    "s": "algoperf_lightning.submissions",
    "c": "algoperf_lightning.callbacks",
}


@pytest.fixture(scope="module")
def among_broken(tmp_path_factory):
    """A folder on the path with every kind of broken package, and one that works."""
    folder = tmp_path_factory.mktemp("broken")
    install(folder, "[algoperf_lightning.submissions]\nlab_sgd = lab_plugins:LabSGD\n")
    for name, (entry_points, module) in BROKEN.items():
        under = name.replace("-", "_")
        (folder / f"{under}_m.py").write_text(module)
        metadata = folder / f"{under}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(entry_points.format(**GROUPS))
    return folder


@pytest.mark.slow
def test_broken_packages_are_named_in_a_line_each_and_the_others_are_listed(among_broken):
    listed = algoperf(among_broken, "list")
    assert listed.returncode == 0, listed.stderr
    assert "digits " in listed.stdout
    assert "SGD as our lab likes it." in listed.stdout
    lines = listed.stdout.splitlines()
    for name in BROKEN:
        assert any(name in line and "ackage" in line for line in lines), name
    assert any("'raises_s'" in line and "RuntimeError: no luck (raises_m.py, line 1)" in line for line in lines)
    assert any("'exits_w'" in line and "SystemExit" in line for line in lines)
    assert any("'lacks_w'" in line and "Nope" in line for line in lines)
    assert any("twin_one_m:X of twin-one and twin_two_m:X of twin-two" in line for line in lines)
    assert "Traceback" not in listed.stdout + listed.stderr


@pytest.mark.slow
def test_broken_packages_do_not_keep_others_from_running(among_broken):
    done = algoperf(among_broken, "fit", "--config", "digits", "--submission", "lab_sgd", "--trainer.max_steps", "2")
    assert done.returncode == 0, done.stderr
    assert "stopped before the target" in done.stdout
    warned = [line for line in done.stderr.splitlines() if line.startswith("algoperf: warning: ")]
    for said in (
        "'exits_c' of the package exits",
        "The callback 'no_class_c' of the package no-class",
        "twin-one",
        "malformed",
    ):
        assert any(said in line for line in warned), said


@pytest.mark.parametrize("content", [b"[{}]\na line without an equals sign\n", b"[{}]\n\xff = a:b\n"])
def test_a_file_of_entry_points_that_cannot_be_parsed_hides_only_its_own(content, tmp_path, monkeypatch):
    metadata = tmp_path / "lab_plugins-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_bytes(content.replace(b"{}", WORKLOADS.encode()))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = discover.__wrapped__(WORKLOADS)
    assert "digits" in found.usable
    assert "entry points of the package lab_plugins cannot be read" in found.problems["lab_plugins"]
    assert not discover.__wrapped__("algoperf_lightning.launchers").problems


IN_PROCESS = """
import json, sys
from algoperf_lightning.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        print(f"{arguments[-1]}: exit {end.code}", file=sys.stderr)
"""


@pytest.mark.slow
def test_a_broken_plugin_that_is_asked_for_is_an_error(among_broken):
    names = ["raises", "exits", "gives_up", "lacks", "garbled", "no_class", "absent", "malformed"]
    asked = [["fit", "--workload", "digits", "--submission", f"{name}_s"] for name in names]
    asked += [["list", f"{name}_w"] for name in ("raises", "exits", "lacks", "no_class", "malformed")]
    asked += [["list", "twin"], ["tune", "digits", "--submission", "twin", "--output", "r", "--submission", "exits_s"]]
    done = subprocess.run(
        [sys.executable, "-c", IN_PROCESS, json.dumps(asked)],
        cwd=among_broken,
        env={**os.environ, "PYTHONPATH": str(among_broken), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "Traceback" not in done.stderr
    for arguments in asked:
        assert f"{arguments[-1]}: exit 2" in done.stderr
    for name in names:
        package = name.replace("_", "-")
        assert any(
            line.startswith("algoperf: error: ") and f"{name}_s" in line and package in line
            for line in done.stderr.splitlines()
        ), name


@pytest.mark.slow
def test_two_plugins_of_one_name_are_refused_by_that_name_only(tmp_path):
    install(tmp_path, "[algoperf_lightning.workloads]\ndigits = lab_plugins:LabDigits\n")
    named = algoperf(tmp_path, "fit", "--workload", "digits", "--submission", "adamw")
    assert named.returncode == 2
    assert "Two packages offer 'digits'" in named.stderr
    by_path = algoperf(tmp_path, "fit", "--config", "digits", "--trainer.max_steps", "2")  # which has the import path
    assert by_path.returncode == 0, by_path.stderr
    assert "Two packages offer 'digits'" in by_path.stderr
    assert (tmp_path / "runs" / "digits" / "adamw" / "trial_1" / "trial.json").exists()


@pytest.mark.parametrize(
    ("get", "name", "nearest"),
    [
        pytest.param(get_workload, "mnits", "mnist", id="workload"),
        pytest.param(get_spec, "cifar", "cifar10", id="spec"),
        pytest.param(get_submission, "adam", "adamw", id="submission"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(get, name, nearest):
    with pytest.raises(BadInputError, match=f"Unknown .* '{name}'. Did you mean '{nearest}'?"):
        get(name)


def test_names_and_specs_are_those_of_the_classes():
    for group, get in (("workloads", get_workload), ("submissions", get_submission)):
        for name in plugins(f"algoperf_lightning.{group}"):
            assert name_of(get(name)) == name
    for name in plugins("algoperf_lightning.workloads"):
        assert get_spec(name) is get_workload(name).spec
        assert get_spec(name).name == name


def test_a_class_of_a_notebook_is_named_as_it_is():
    class Mine(get_submission("adamw")):
        pass

    assert name_of(Mine) == "Mine"


def test_a_submission_is_listed_by_its_import_path_too(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine_listed.py").write_text(
        'from algoperf_lightning.testing import PlainSGD\n\n\nclass Mine(PlainSGD):\n    """My own."""\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    cli.main(["list", "mine_listed.Mine"])
    assert "mine_listed.Mine: My own." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["list", "mine_listed.Mein"])
    assert "Did you mean 'Mine'" in capsys.readouterr().err
