"""`algoperf check`: what it is given, what it prints, and its exit codes."""

import json
import subprocess
import sys

import pytest

from algoperf_lightning.cli import main
from algoperf_lightning.testing import CHECKS

QUICK = ["--only", "closure", "--only", "attributes"]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["check", *arguments])
    return ended.value.code, capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("adamw", "AdamW"),
        ("torch.optim.SGD", "SGD"),
        ("torch.optim:SGD", "SGD"),
        ("algoperf_lightning.baselines.Lion", "Lion"),
    ],
)
def test_names_and_paths_are_checked(capsys, name, subject):
    code, said = run(capsys, name, *QUICK)
    assert code == 0
    assert f"{subject}: " in said.out
    assert "called 1 times per step" in said.out


def test_a_failure_is_shown_with_its_meaning_and_its_code(capsys):
    code, said = run(capsys, "faults.CallsTwice", *QUICK)
    assert code == 1
    assert "a step calls its closure 2 times" in said.out
    assert CHECKS["closure"].meaning in said.out


def test_json_has_all_that_was_found(capsys):
    code, said = run(capsys, "faults.CallsTwice", *QUICK, "--json", "--option", "lr=0.1")
    found = json.loads(said.out)
    assert code == 1
    assert found["subject"] == "CallsTwice"
    assert not found["passed"]
    assert [(row["check"], row["status"]) for row in found["checks"]] == [
        ("closure", "failed"),
        ("attributes", "not applicable"),
    ]


def test_options_reach_the_hyperparameters(capsys):
    code, said = run(capsys, "torch.optim.SGD", "--only", "memory", "--option", "momentum=0.9", "--option", "lr=1e-2")
    assert code == 0
    assert "4.0 bytes per float32 parameter" in said.out


def test_all_checks_are_listed(capsys):
    main(["check", "--list", "--json"])
    assert [row["check"] for row in json.loads(capsys.readouterr().out)] == list(CHECKS)
    main(["check", "--list"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in CHECKS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "algoperf check needs the name"),
        (["adamv"], "Did you mean 'adamw'"),
        (["adadelta"], "Did you mean"),
        (["torch.optim.AdamV"], "Unknown class of torch.optim"),
        (["torch.nn.Linear"], "must be a subclass of Submission or torch.optim.Optimizer"),
        (["adamw", "--only", "resumes"], "Did you mean 'resume'"),
        (["adamw", "--option", "lr"], "--option must be NAME=VALUE"),
        (["adamw", "--option", "lr=0.1"], "lr"),
        (["torch.optim.SGD", "--option", "lrr=0.1"], "lrr"),
        (["torch.optim.SparseAdam"], "cannot train any tensor"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, said):
    code, found = run(capsys, *arguments)
    assert code == 2
    assert said in found.err
    assert len(found.err.splitlines()) == 1


def test_a_check_does_not_wait_for_lightning():
    """Its import takes as long as all checks but one."""
    script = (
        "import sys\nfrom algoperf_lightning import get_submission\nfrom algoperf_lightning.commands import check\n"
        "from algoperf_lightning.registry import SUBMISSIONS, plugins\n"
        "[get_submission(name) for name in plugins(SUBMISSIONS)]\n"
        "sys.exit('lightning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
