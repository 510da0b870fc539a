"""Changes that importing and creating a submission makes in a process that does nothing else."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from algoperf_lightning.files import to_plain
from algoperf_lightning.rules import global_state

_SECONDS = 300.0
_MARK = "algoperf_lightning.rules.fresh_process: "


def changes(module: str, name: str, hyperparameters: Mapping[str, Any]) -> list[str]:
    """Import and instantiate a class in a new process; return descriptions of what this has changed.

    Args:
        module: Module of the class.
        name: Its qualified name.
        hyperparameters: Its arguments, if JSON can represent them.

    Raises:
        OSError, subprocess.SubprocessError, ValueError: If the process did not answer.
    """
    question = json.dumps([sys.path, module, name, to_plain(hyperparameters)])
    environment = {
        **global_state.ENVIRONMENT_AT_IMPORT,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "algoperf_lightning.rules.fresh_process"],
        input=question,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    line = next(line for line in reversed(done.stdout.splitlines()) if line.startswith(_MARK))
    answer: list[str] = json.loads(line.removeprefix(_MARK))
    return answer


def _answer(question: str) -> list[str]:
    path, module, name, hyperparameters = json.loads(question)
    sys.path[:] = path
    importlib.import_module("lightning")  # its own settings at import are not the submission's
    before = (global_state.settings(), global_state.environment())
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    found(**hyperparameters)
    now = (global_state.settings(), global_state.environment())
    return [line for was, is_now in zip(before, now, strict=True) for line in global_state.differences(was, is_now)]


if __name__ == "__main__":
    sys.stdout.write(f"\n{_MARK}{json.dumps(_answer(sys.stdin.read()))}\n")
