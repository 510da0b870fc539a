"""Completion in a real shell: commands, options, and names of plug-ins."""

import shutil
import subprocess

import pytest

from algoperf_lightning.cli import COMMANDS, main
from algoperf_lightning.commands.completion import whole_parser
from algoperf_lightning.commands.list import run as list_
from algoperf_lightning.commands.parser import parser_of

COMPLETE = r"""
source "$1"; shift
function=$(complete -p algoperf | sed 's/.*-F \([^ ]*\).*/\1/')
for typed in "$@"; do
    read -r -a COMP_WORDS <<< "$typed"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$typed COMP_POINT=${#typed} COMPREPLY=()
    $function algoperf "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "$typed -> ${COMPREPLY[*]}"
done
"""
CASES = {
    "algoperf repro": "reproduce",
    "algoperf sc": "score",
    "algoperf score --inter": "--interpolate",
    "algoperf score --mode pub": "published",
    "algoperf score --against v0.5": "v0.5-external",
    "algoperf tune dig": "digits",
    "algoperf tune digits --submission lion_": "lion_muon",
    "algoperf tune digits --data": "--data-dir",
    "algoperf fit --trainer.max_st": "--trainer.max_steps",
    "algoperf fit --time_budget.unit st": "steps",
    "algoperf fit --config hardware/8": "hardware/8gpu",
    "algoperf data prep": "prepare",
    "algoperf data tiny ogb": "ogbg",
    "algoperf completion zs": "zsh",
}


@pytest.fixture(scope="module")
def parser():
    return whole_parser()


def test_every_command_and_its_options_can_be_completed(parser):
    commands = parser._subparsers._group_actions[0].choices
    assert list(commands) == list(COMMANDS)
    assert "--data-dir" in commands["tune"]._option_string_actions
    with_arguments = [name for name, each in commands.items() if any(a.dest != "help" for a in each._actions)]
    assert with_arguments == list(COMMANDS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(tmp_path, monkeypatch, capsys, parser):
    monkeypatch.setattr("algoperf_lightning.commands.completion.whole_parser", lambda: parser)
    main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "complete").write_text(COMPLETE)
    command = ["bash", str(tmp_path / "complete"), str(tmp_path / "script"), *CASES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = dict(line.split(" -> ") for line in done.stdout.splitlines())
    assert found == {line: CASES[line] for line in CASES}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_scripts_that_they_can_parse(shell, tmp_path, monkeypatch, capsys, parser):
    monkeypatch.setattr("algoperf_lightning.commands.completion.whole_parser", lambda: parser)
    main(["completion", shell])
    script = capsys.readouterr().out
    assert "lion_muon" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_an_unknown_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(["completion", "bsh"])
    assert end.value.code == 2
    assert "Did you mean bash?" in capsys.readouterr().err


def test_a_parser_is_taken_without_running_the_command(capsys):
    assert parser_of(list_).prog == "algoperf list"
    assert capsys.readouterr().out == ""
