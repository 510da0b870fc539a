"""Completion in a real shell: commands, options, and names of plug-ins."""

import shutil
import subprocess

import pytest

from algoperf_lightning.cli import COMMANDS, main
from algoperf_lightning.commands.completion import whole_parser
from algoperf_lightning.commands.list import run as list_
from algoperf_lightning.commands.parser import parser_of

BASH = r"""
source "$1"; shift
function=$(complete -p algoperf | sed 's/.*-F \([^ ]*\).*/\1/')
for typed in "$@"; do
    read -r -a COMP_WORDS <<< "$typed"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$typed COMP_POINT=${#typed} COMPREPLY=()
    $function algoperf "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "$typed -> ${COMPREPLY[*]}"
done
"""
FISH = r"""
source $argv[1]
for typed in $argv[2..-1]
    echo "$typed -> "(complete -C "$typed" | string replace -r '\t.*' '' | string join ' ')
end
"""
ZSH = r"""
zmodload zsh/zpty
folder=${1:h}; shift
zpty z zsh -f -i
zpty -w z "PROMPT=; fpath=(${folder} \$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w z 'show () { print -r -- "<<$BUFFER>>"; BUFFER=; zle reset-prompt }; zle -N show; bindkey "^X" show'
zpty -w z 'bindkey "^I" complete-word; echo READ''Y'
zpty -r -m z answer '*READY*'
for typed in "$@"; do
    zpty -w -n z "$typed"$'\t\x18'
    zpty -r -m z answer '*<<*>>*'
    line=${${answer##*<<}%%>>*}
    print -r -- "$typed -> ${${line% }##* }"
done
zpty -d z
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
"""What completes lines in each shell, zsh in a terminal of its own; the arguments are the script and the lines."""
OPTIONS = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}
CASES = {
    "algoperf repro": "reproduce",
    "algoperf sc": "score",
    "algoperf score --inter": "--interpolate",
    "algoperf score --mode pub": "published",
    "algoperf score --against v0.5": "v0.5-external",
    "algoperf tune dig": "digits",
    "algoperf tune digits finewebe": "finewebedu_lm",
    "algoperf list quad": "quadratic_deep",
    "algoperf check lion_": "lion_muon",
    "algoperf tune digits --submission adamw lion_": "lion_muon",
    "algoperf tune digits --submission lion_": "lion_muon",
    "algoperf tune digits --submission adamw --data": "--data-dir",
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


@pytest.mark.parametrize("shell", list(SCRIPTS))
def test_a_shell_completes(shell, tmp_path, monkeypatch, capsys, parser):
    """In the shell itself where it is installed; otherwise the script has the names."""
    monkeypatch.setattr("algoperf_lightning.commands.completion.whole_parser", lambda: parser)
    main(["completion", shell])
    script = tmp_path / "_algoperf"
    script.write_text(capsys.readouterr().out)
    assert "lion_muon" in script.read_text()
    if shutil.which(shell):
        (tmp_path / "complete").write_text(SCRIPTS[shell])
        cases = list(CASES)[:: 1 if shell != "zsh" else 3]  # zsh waits for its terminal at each
        command = [shell, *OPTIONS[shell], str(tmp_path / "complete"), str(script), *cases]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path)
        assert done.stderr == ""
        found = dict(line.split(" -> ") for line in done.stdout.splitlines())
        assert found == {line: CASES[line] for line in cases}


def test_an_unknown_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(["completion", "bsh"])
    assert end.value.code == 2
    assert "Did you mean bash?" in capsys.readouterr().err


def test_a_parser_is_taken_without_running_the_command(capsys):
    assert parser_of(list_).prog == "algoperf list"
    assert capsys.readouterr().out == ""
