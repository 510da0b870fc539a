"""A launcher of somebody's own, found by its entry point."""

import json
from pathlib import Path

import pytest
from commands import algoperf, states, tune

MODULE = """
import json
from algoperf_lightning.tuning.launchers import Launcher
from algoperf_lightning.tuning.trial_process import command

class Notes(Launcher):
    '''Notes what it would run.'''
    def __init__(self, where: str = "", copies: int = 1):
        self.where, self.copies = where, copies
    def slots(self):
        return self.copies
    def run(self, launch):
        launch.show()
        with open(self.where, "w") as file:
            json.dump([[command(trial) for trial in launch.trials], launch.environment], file)
        return RAN
"""


@pytest.mark.slow
@pytest.mark.parametrize(("ran", "exit_code"), [("False", 0), ("True", 1)])
def test_it_is_given_the_trials_and_its_options_and_says_whether_it_is_done(tmp_path, ran, exit_code):
    site = tmp_path / "site"
    info = site / "lab_launchers-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "lab_launchers.py").write_text(MODULE.replace("RAN", ran))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-launchers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[algoperf_lightning.launchers]\nnotes = lab_launchers:Notes\n")
    options = ["--launcher", "notes", "--option", f"where={tmp_path / 'noted'}", "copies=3"]
    command = tune(tmp_path / "runs", "probes.Slow", "--studies", 1, "--trials", 2, *options)
    code, printed = algoperf(*command, PYTHONPATH=f"{site}:{Path(__file__).parent}")
    assert code == exit_code, printed  # its trials are waiting: fine, if others will run them
    assert ("2 trials did not finish" in printed) == (ran == "True")
    commands, environment = json.loads((tmp_path / "noted").read_text())
    assert [line[-1] for line in commands] == [
        str(state.trial.folder.absolute()) for state in states(tmp_path / "runs")
    ]
    assert "ALGOPERF_DATA_DIR" in environment
    assert "on 3 slots" in printed
