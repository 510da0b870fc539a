"""Output of the commands: tables, whose width is only limited on a terminal, and warnings."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_UNLIMITED = 10_000  # columns


def console() -> Console:
    """Return a console for standard output.

    In files and pipes the width is not limited, so that nothing is truncated. ``$COLUMNS`` overrides both.
    """
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return Console()
    return Console(width=_UNLIMITED)


def warn(message: str) -> None:
    """Print one line on standard error, on the first rank of a machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"algoperf: warning: {message}", file=sys.stderr)  # noqa: T201
