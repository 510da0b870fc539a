"""Where the data lie. Without torch, so that ``algoperf list`` can look there."""

from __future__ import annotations

import os
from pathlib import Path

DATA_DIR_VARIABLE = "ALGOPERF_DATA_DIR"


def resolve_data_dir(data_dir: str | Path | None) -> Path:
    """Return the data directory: the argument, else ``$ALGOPERF_DATA_DIR``, else ``./data``."""
    return Path(data_dir or os.environ.get(DATA_DIR_VARIABLE) or "data").expanduser()
