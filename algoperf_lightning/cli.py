"""The ``algoperf`` command. Subcommands are in ``algoperf_lightning.commands``, and are imported when called."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import algoperf_lightning
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.inputs import nearest_or_raise

COMMANDS = {
    "list": "show the workloads and submissions that are installed",
    "check": "check an optimizer or a submission for common mistakes, in seconds",
    "fit": "run one trial: a submission on a workload, to its target",
    "tune": "run all studies and trials of a ruleset; run it again to resume",
    "status": "show the progress of `algoperf tune`",
    "instruments": "plot the measurements of instruments in one or two runs",
    "diagnose": "report likely problems of a run, from the measurements of its instruments",
    "repair": "restore damaged trials from their checkpoints, or move them aside",
    "calibrate": "scale a workload's budget to this machine's speed",
    "score": "compare submissions: leaderboard, times, speedups, performance profiles",
    "cost": "split times into steps, the cost of a step, and the machine's noise",
    "reprice": "estimate the ranking on another machine from its step times",
    "boards": "list the packaged boards: published runs to score your runs against",
    "agreement": "compare the ranking of runs with that of a board",
    "sensitivity": "show how results depend on each hyperparameter, from the trials of a study",
    "compare": "compare two submissions: how much faster, how certain, and how many more runs are needed",
    "final": "show final performance after tuning in stages, and how much defaults and tuning matter",
    "pack": "pack trials into one file: records, source of the submissions, checksums",
    "reproduce": "rerun trials of a bundle and compare them with their records",
    "data": "prepare or check the data of a workload, or write a tiny data set",
    "completion": "print a shell completion script",
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
    except BrokenPipeError:  # `algoperf list | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        # About a path of the user. In `fit` it may be raised by a submission, whose author needs the traceback.
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
