"""Errors that are the user's to correct, and how others are shown in one line."""

import traceback
from pathlib import Path


class NotMeasuredWarning(UserWarning):
    """A workload is trained and no clock measures it."""


class BadInputError(ValueError):
    """What was given cannot be used; the message says what, what was expected, and what to do.

    The command line shows the message alone; any other error comes with its traceback.

    Args:
        what: What is wrong.
        remedy: What to do about it, if that is not in ``what``; the message ends with it.
    """

    def __init__(self, what: str = "", remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}" if remedy else what)
        self.what = what


class PluginError(BadInputError):
    """A plug-in of an installed package cannot be loaded."""


class MissingLibraryError(PluginError, ImportError):
    """A library that is not installed is needed; the message has the command that installs it."""


def in_one_line(error: BaseException) -> str:
    """Return what an error of somebody else's code says and where it was raised: for messages without a traceback.

    Example:
        >>> in_one_line(ValueError("too large"))
        'ValueError: too large'
    """
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith("<")]
    if not frames or isinstance(error, SyntaxError):  # which says itself where it is
        return said
    return f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
