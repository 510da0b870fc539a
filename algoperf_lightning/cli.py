"""The ``algoperf`` command. A subcommand lies in ``algoperf_lightning.commands``, and is imported when called."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import algoperf_lightning
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.spec import nearest_or_raise

COMMANDS = {
    "list": "show the workloads and submissions that are installed",
    "check": "check an optimizer or a submission for common mistakes, in seconds",
    "fit": "run one trial: a submission on a workload, to its target",
    "tune": "run all studies and trials of a ruleset; the same command resumes after a crash",
    "status": "show what `algoperf tune` has done and is doing",
    "instruments": "draw the measurements of instruments in one or two runs",
    "diagnose": "report likely problems of a run, from the measurements of its instruments",
    "repair": "restore damaged trials from their checkpoints, or set them aside",
    "calibrate": "scale a workload's budget to this machine's speed",
    "score": "compare submissions: leaderboard, times, speedups, performance profiles",
    "cost": "split times into steps, the cost of a step, and the machine's noise",
    "reprice": "estimate the ranking on another machine from what steps cost there",
    "boards": "list the packaged boards: runs that own ones can be scored against",
    "agreement": "compare the ranking of runs with that of a board",
    "sensitivity": "show how results depend on each hyperparameter, from the trials of a tuning",
    "compare": "compare two submissions: how much faster, how sure, and how many more runs would tell",
    "final": "show final performance, and what defaults and tuning are worth, after tuning in stages",
    "pack": "pack trials into one file: records, source of the submissions, checksums",
    "reproduce": "run trials of a bundle again, and compare them with their records",
    "data": "prepare, check, or make tiny data of a workload",
    "completion": "print a script that completes commands, options and names in a shell",
}


_ABOUT_A_PATH = (
    *(errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR),
    *(errno.EPERM, errno.EROFS),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a subcommand; bad input ends with one line on stderr and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        raise SystemExit(0)
    if given[0] == "--version":
        print(f"algoperf-lightning {algoperf_lightning.__version__}")
        raise SystemExit(0)
    name = ""
    try:
        name = nearest_or_raise("command", given[0], COMMANDS)
        import_module(f"algoperf_lightning.commands.{name}").run(given[1:])
    except BadInputError as error:
        _end_with(str(error))
    except KeyboardInterrupt:
        print("algoperf: interrupted.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # `algoperf list | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        # Of a path that a person gave. In `fit` it may come from a submission, whose author needs the traceback.
        if name == "fit" or error.errno not in _ABOUT_A_PATH or error.filename is None:
            raise
        _end_with(f"{error.filename}: {error.strerror}.")


def _end_with(message: str) -> NoReturn:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"algoperf: error: {message}", file=sys.stderr)
    raise SystemExit(2)


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: algoperf COMMAND ...\n\n"
        "Which training algorithm reaches a fixed target first?\n\n"
        f"commands:\n{rows}\n\n"
        "`algoperf COMMAND --help` shows the options. Start here: algoperf fit --config digits"
    )


if __name__ == "__main__":
    main()
