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
from algoperf_lightning.tuning.plan import PlannedTrial
from algoperf_lightning.utilities.inputs import nearest_or_raise

LAUNCHERS = "algoperf_lightning.launchers"
"""The entry-point group of launchers."""


@dataclass(frozen=True)
class Launch:
    """The task of a launcher."""

    trials: Sequence[PlannedTrial]
    """Trials to run, in this order if possible; none of them is finished."""
    output: Path
    """The folder of all trials; a launcher may store its own files in ``output/launcher``."""
    data_dir: Path
    """Data directory of all trials."""
    show: Callable[[], None]
    """Called about every second while trials run."""

    @property
    def environment(self) -> dict[str, str]:
        """Additional environment variables of every trial's process."""
        from algoperf_lightning.data.data_dir import DATA_DIR_VARIABLE

        return {DATA_DIR_VARIABLE: str(self.data_dir.absolute())}


class Launcher(ABC):
    """Runs trials, each in a separate process.

    The arguments of ``__init__`` are the launcher's options (``--option NAME=VALUE``): keyword arguments with defaults,
    of type ``int`` or ``str``, or None.

    A launcher starts :func:`~algoperf_lightning.tuning.trial_process.command` for each trial; child processes get the
    environment :func:`~algoperf_lightning.tuning.trial_process.child_environment`. A launcher does not need the status
    of trials: the trial's process takes its lock, resumes from its checkpoint, and writes its record.
    """

    @abstractmethod
    def slots(self) -> int | None:
        """Return the number of concurrent trials; None if this process cannot know it."""

    @abstractmethod
    def run(self, launch: Launch) -> bool:
        """Run trials until each has ended, or submit them to another system.

        Returns:
            True if all trials were run here as far as possible, so that the next command continues unfinished ones;
            False if they were submitted, and may run later.

        Raises:
            BadInputError: If this is not possible here.
            KeyboardInterrupt: If the user interrupts it; the trials have then been asked to end.
        """


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block, like Ctrl-C.

    Only the first one does: further signals must not interrupt the saving that the first one has started.
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
    """Return the launcher with a name.

    Args:
        name: Name in the entry-point group ``algoperf_lightning.launchers``.
        options: Options, each ``NAME=VALUE``.

    Raises:
        BadInputError: If the launcher or an option is unknown, or a value has the wrong type.
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
