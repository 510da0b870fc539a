"""Errors that users can correct, and the display of other errors in one line."""

import traceback
from pathlib import Path


class NotMeasuredWarning(UserWarning):
    """A workload is trained without a clock that measures it."""


class BadInputError(ValueError):
    """Invalid input of a user; the message names the value, what was expected, and what to do.

    The command line shows only the message; other errors are shown with a traceback.

    Args:
        what: Description of the problem.
        remedy: What to do about it, if ``what`` does not say so; appended to the message.
    """

    def __init__(self, what: str = "", remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}" if remedy else what)
        self.what = what


class PluginError(BadInputError):
    """A plug-in of an installed package cannot be loaded."""


class MissingLibraryError(PluginError, ImportError):
    """A required library is not installed; the message contains the command that installs it."""


def in_one_line(error: BaseException) -> str:
    """Return an error's type, message and place in one line, for messages without a traceback.

    Example:
        >>> in_one_line(ValueError("too large"))
        'ValueError: too large'
    """
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<")]
    if not frames or isinstance(error, SyntaxError):  # its message contains the place
        return said
    return f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
