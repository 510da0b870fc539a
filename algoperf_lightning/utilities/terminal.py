"""What the commands print: tables as wide as they need where nobody's window is in the way, and warnings."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_UNLIMITED = 10_000  # columns


def console() -> Console:
    """Return a console for standard output.

    Into a file or a pipe, lines are as long as they need: what is cut there is lost. ``$COLUMNS`` overrides both.
    """
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return Console()
    return Console(width=_UNLIMITED)


def warn(message: str) -> None:
    """Print one line on standard error, on the first rank of a machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"algoperf: warning: {message}", file=sys.stderr)  # noqa: T201
