"""The ``algoperf`` command. A subcommand lies in ``algoperf_lightning.commands``, and is imported when called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import algoperf_lightning
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.spec import nearest_or_raise

COMMANDS = {
    "list": "show the workloads and submissions that are installed",
    "fit": "run one trial: a submission on a workload, to its target",
    "tune": "run all studies and trials of a ruleset; the same command goes on after a crash",
    "status": "show what `algoperf tune` has done and is doing",
    "calibrate": "scale a workload's budget to this machine's speed",
    "score": "compare submissions: leaderboard, times, speedups, performance profiles",
    "data": "prepare, check, or make tiny data of a workload",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a subcommand; bad input ends with one line on stderr and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        raise SystemExit(0)
    if given[0] == "--version":
        print(f"algoperf-lightning {algoperf_lightning.__version__}")
        raise SystemExit(0)
    try:
        name = nearest_or_raise("command", given[0], COMMANDS)
        import_module(f"algoperf_lightning.commands.{name}").run(given[1:])
    except BadInputError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"algoperf: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: algoperf COMMAND ...\n\n"
        "Which training algorithm reaches a fixed target first?\n\n"
        f"commands:\n{rows}\n\n"
        "`algoperf COMMAND --help` tells more. Start here: algoperf fit --config digits"
    )


if __name__ == "__main__":
    main()
