"""``algoperf completion``: a shell completion script for commands, options, and names of plug-ins."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args, get_origin

import shtab

from algoperf_lightning.cli import COMMANDS
from algoperf_lightning.commands.parser import Parser, parser_of
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, names
from algoperf_lightning.scoring.boards import packaged_boards

_FOLDERS = ("DIR", "RUN", "RUNS", "TRIAL")
_HOW = """\
bash: algoperf completion bash > ~/.local/share/bash-completion/completions/algoperf
zsh:  algoperf completion zsh > DIR/_algoperf, for a DIR of $fpath
fish: algoperf completion fish > ~/.config/fish/completions/algoperf.fish
Run it again after installing a package with workloads or submissions."""


def run(arguments: Sequence[str]) -> None:
    """Print the script."""
    parser = Parser(
        prog="algoperf completion",
        description="Print a shell completion script for commands, options, and names of workloads, submissions and "
        "boards.",
        epilog=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "shell", metavar="SHELL", choices=shtab.SUPPORTED_SHELLS, help=", ".join(shtab.SUPPORTED_SHELLS)
    )
    shell = parser.parse(arguments).shell
    root = whole_parser()
    own = {"zsh": _zsh, "fish": _fish}
    print(own[shell](root) if shell in own else shtab.complete(root, shell))


# shtab's scripts for zsh and fish complete only the first value of a list.
def _zsh(root: argparse.ArgumentParser) -> str:
    for _, option in _options_with_lists(root):
        option.metavar = f"*-*:{option.metavar}"  # up to the next option
    return shtab.complete(root, "zsh").replace('  "(*)::', '  "*:').replace('  "(*):', '  "*:')


_FISH_LIST = """
function _algoperf_values_of
  set -l options (string match -- '-*' (commandline -opc))
  test (count $options) -gt 0; and test $options[-1] = $argv[1]
end
"""


def _fish(root: argparse.ArgumentParser) -> str:
    script = shtab.complete(root, "fish") + _FISH_LIST
    for command, option in _options_with_lists(root):
        values = " ".join(option.choices or ["(__fish_complete_path (commandline -ct))"])
        for name in option.option_strings:
            condition = f"_shtab_algoperf_using {command}; and _algoperf_values_of {name}"
            script += f"complete -c algoperf -n '{condition}' -ka \"{values}\"\n"
    return script


def _options_with_lists(root: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """Yield the options of commands that take any number of values, with the command."""
    (commands,) = (each for each in root._actions if isinstance(each, argparse._SubParsersAction))
    for command, parser in commands.choices.items():
        for action in parser._actions:
            if action.option_strings and action.nargs in ("+", "*"):
                yield command, action


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser with all commands, for completion only; arguments that are names list all choices."""
    root = argparse.ArgumentParser(prog="algoperf")
    root.add_argument("--version", action="store_true", help="show the version")
    commands = root.add_subparsers()
    for name, summary in COMMANDS.items():
        parser = _parser(name)
        for action in parser._actions:
            _list_names(action)
        commands.add_parser(name, help=summary, parents=[parser], add_help=False)
    return root


def _parser(name: str) -> argparse.ArgumentParser:
    if name == "fit":  # jsonargparse's, with the options of the Trainer and of every callback
        from algoperf_lightning.commands.fit import parser_of_fit

        return parser_of_fit()
    return parser_of(import_module(f"algoperf_lightning.commands.{name}").run)


def _configs() -> list[str]:
    root = Path(str(files("algoperf_lightning.configs")))
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def _list_names(action: argparse.Action) -> None:
    """Add to an action its possible values: names, or files and folders."""
    if isinstance(action, argparse._SubParsersAction):
        for parser in action.choices.values():
            for inner in parser._actions:
                _list_names(inner)
        return
    if action.choices is not None or action.nargs == 0:
        return
    if get_origin(hint := getattr(action, "_typehint", None)) is Literal:  # an argument of jsonargparse
        action.choices = list(get_args(hint))
        return
    known = {
        "workload": lambda: names(WORKLOADS),
        "submission": lambda: names(SUBMISSIONS),
        "name": lambda: names(SUBMISSIONS),  # of `algoperf check`
        "names": lambda: [*names(WORKLOADS), *names(SUBMISSIONS)],  # of `algoperf list`
        "board": packaged_boards,
        "against": packaged_boards,
        "highlight": lambda: names(SUBMISSIONS),
        "config": _configs,
    }
    kind = action.dest if action.dest in known else action.dest.removesuffix("s")
    if kind in known:
        action.choices = list(known[kind]())
    elif action.metavar in _FOLDERS or action.dest.endswith("_dir"):
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    else:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
