"""Plug-ins of other packages, installed for real: a package folder and its metadata on the path of a new process."""

import os
import subprocess
import sys

import pytest

from algoperf_lightning import get_submission, get_workload
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import get_spec, name_of, plugins

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


def test_two_plugins_of_one_name_are_refused(tmp_path):
    install(tmp_path, "[algoperf_lightning.workloads]\ndigits = lab_plugins:LabDigits\n")
    listed = algoperf(tmp_path, "list")
    assert listed.returncode == 2
    assert "Two plug-ins are named 'digits'" in listed.stderr


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
