"""The interface of launchers, and how they are found."""

from __future__ import annotations

import inspect
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import load_plugin
from algoperf_lightning.spec import nearest_or_raise
from algoperf_lightning.tuning.plan import PlannedTrial

LAUNCHERS = "algoperf_lightning.launchers"
"""The entry-point group of launchers."""


@dataclass(frozen=True)
class Launch:
    """What a launcher is asked to do."""

    trials: Sequence[PlannedTrial]
    """To run, in this order as far as it goes; none of them is over."""
    output: Path
    """The folder that all of them lie in; a launcher may keep files of its own in ``output/launcher``."""
    data_dir: Path
    """Where the data lie, for all trials."""
    show: Callable[[], None]
    """To be called every second or so while trials run."""

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that every trial's process needs, beside the caller's own."""
        from algoperf_lightning.data.data_dir import DATA_DIR_VARIABLE

        return {DATA_DIR_VARIABLE: str(self.data_dir.absolute())}


class Launcher(ABC):
    """Runs trials, each in a process of its own.

    The arguments of ``__init__`` are the launcher's options (``--option NAME=VALUE``): keyword arguments with defaults,
    of type ``int`` or ``str``, or None.

    A launcher starts :func:`~algoperf_lightning.tuning.trial_process.command` for each trial; if as a child of its own,
    then in :func:`~algoperf_lightning.tuning.trial_process.child_environment`. It need not know how a trial stands: the
    trial's own process takes its lock, resumes from its checkpoint, and writes its record.
    """

    @abstractmethod
    def slots(self) -> int | None:
        """Return how many trials run side by side; None if that is not for this process to know."""

    @abstractmethod
    def run(self, launch: Launch) -> bool:
        """Run trials until each has ended, or hand them over to whoever will.

        Returns:
            True if each was run as far as it went here, so that one that is not over is left for the next command;
            False if they were handed over, and may run later.

        Raises:
            BadInputError: If it cannot be done here.
            KeyboardInterrupt: If the user ends it; the trials have been told to end then.
        """


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block, as Ctrl-C does.

    Only the first one does: whoever sends more of them must not cut short the saving that the first one began.
    """

    def interrupt(signum: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def make_launcher(name: str, options: Sequence[str] = ()) -> Launcher:
    """Return the launcher of that name.

    Args:
        name: As in the entry-point group ``algoperf_lightning.launchers``.
        options: ``NAME=VALUE`` each.

    Raises:
        BadInputError: If there is no such launcher or option, or a value is of the wrong type.
    """
    kind: Callable[..., Launcher] = load_plugin(LAUNCHERS, "launcher", name, Launcher)  # type: ignore[type-abstract]
    signature = inspect.signature(kind, eval_str=True)
    known = {parameter.name: parameter for parameter in signature.parameters.values()}
    values: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        nearest_or_raise(f"option of the launcher {name}", key, known)
        if not equals:
            raise BadInputError(f"--option {option}: expected NAME=VALUE.")
        values[key] = _convert(key, text, known[key].annotation)
    return kind(**values)


def _convert(name: str, text: str, annotation: Any) -> int | str:
    if "int" not in str(annotation):
        return text
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise BadInputError(f"--option {name}={text}: expected a positive integer.")
    return number
