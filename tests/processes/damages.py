"""Ways to damage a file of a trial's folder, and the commands that then look at it, all in this process."""

import contextlib
from pathlib import Path

import pytest
import torch

from algoperf_lightning.cli import main
from algoperf_lightning.commands.tune_options import request_of, tune_parser
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.tuning.planning import plan_studies
from algoperf_lightning.tuning.trial_process import fit_arguments, planned_trial

RECORD, ROWS, CHECKPOINT, PLAN, CONFIG = "trial.json", "evaluations.csv", "last.ckpt", "plan.json", "config.yaml"
STEPS = ["--time_budget.eval_period", "5", "--time_budget.budget", "20", "--time_budget.target", "0.999"]
TUNE = ["tune", "digits", "--submission", "adamw", "--unit", "steps", "--studies", "1", "--trials", "1", "--plain"]


def whole(path):
    """What lies where a file is, in ways that no JSON or CSV is damaged in particular."""
    data = path.read_bytes() if path.is_file() else b"text\n"
    half = len(data) // 2

    def write(content):
        return lambda: path.write_bytes(content)

    def replace(make):
        def call():
            if path.exists():
                path.unlink()
            make()

        return call

    return {
        "missing": replace(lambda: None),
        "empty": write(b""),
        "cut": write(data[:half]),
        "first byte": write(data[:1]),
        "zeros": write(bytes(len(data))),
        "binary": write(bytes(range(256)) * 4),
        "not utf-8": write(b"\xff\xfe" + data),
        "flipped": write(data[:half] + bytes([data[half] ^ 1 if data else 1]) + data[half + 1 :]),
        "twice": write(data + data),
        "json null": write(b"null"),
        "json list": write(b"[1, 2]"),
        "deep": write(b"[" * 100_000),
        "folder": replace(path.mkdir),
        "dangling": replace(lambda: path.symlink_to("nowhere")),
        "loop": replace(lambda: path.symlink_to(path.name)),
    }


def kinds(*quick):
    """All kinds of damage, of which most are tried only where time is taken for it."""
    return [
        pytest.param(kind, marks=[] if kind in quick else pytest.mark.slow, id=kind)
        for kind in sorted(whole(Path("x")))
    ]


def stops_after(steps):
    def select(self, batches):
        self.selected = getattr(self, "selected", 0) + 1
        if self.selected > steps:
            raise RuntimeError("interrupted")
        return next(batches)

    return select


def plan(runs):
    """Write the plan as `tune` does, and run nothing."""
    options = tune_parser().parse([*TUNE[1:], "--output", str(runs)])
    for study in plan_studies(request_of(options, STEPS)):
        study.write()


def trial_of(runs):
    return next(runs.rglob(CONFIG)).parent


def fit(folder, *more):
    main(["fit", *fit_arguments(planned_trial(folder)), *more])


COMMANDS = {
    "status": lambda runs, folder: main(["status", str(runs)]),
    "score": lambda runs, folder: main(["score", str(runs)]),
    "fit": lambda runs, folder: fit(folder),
    "repair": lambda runs, folder: main(["repair", str(folder)]),
}


def run(name, runs, folder, capsys):
    """Run a command; it may refuse, in one line that names a file, and must not raise anything else."""
    code = 0
    try:
        COMMANDS[name](runs, folder)
    except SystemExit as end:
        code = end.code or 0
    said, printed = capsys.readouterr()
    assert "algoperf repair" not in said or name != "repair", f"the repair advises a repair: {said}"
    if code:
        assert code == 2, name
        assert printed.startswith("algoperf: error: "), printed
        assert str(runs) in printed or str(folder) in printed, printed
    return code


def steps_known(folder):
    """Steps of all evaluations that a folder's files hold anywhere, also set aside."""
    found = set()
    for path in folder.rglob("*"):
        if path.name.endswith(ROWS) and path.is_file():
            with contextlib.suppress(ValueError):
                rows = path.read_text().splitlines()[1:]
                found |= {int(row.split(",")[0]) for row in rows}
        if path.name.endswith(CHECKPOINT) and path.is_file():
            with contextlib.suppress(Exception):
                clock = torch.load(path, weights_only=True)["callbacks"]["TimeBudget"]
                found |= {row["step"] for row in clock["evaluations"]}
    return found


def check_all(runs, folder, capsys):
    """Every reader, then the repair, then all of them again: the trial can be run to its end."""
    before = steps_known(folder)
    codes = {name: run(name, runs, folder, capsys) for name in ("status", "score", "fit")}
    assert before <= steps_known(folder), "an evaluation was lost"
    assert run("repair", runs, folder, capsys) == 0
    assert before <= steps_known(folder), "an evaluation was lost by the repair"
    return codes


def ends_well(runs, folder, capsys):
    assert run("fit", runs, folder, capsys) == 0
    result = TrialResult.read(folder)
    assert result.status is Status.BUDGET_SPENT
    assert [each.step for each in result.evaluations] == [1, 6, 11, 16, 20]
    assert run("status", runs, folder, capsys) == 0
    assert run("score", runs, folder, capsys) == 0
