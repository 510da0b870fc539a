"""Location of the data directory. Does not import torch, so that ``algoperf list`` can use it."""

from __future__ import annotations

import os
from pathlib import Path

DATA_DIR_VARIABLE = "ALGOPERF_DATA_DIR"


def resolve_data_dir(data_dir: str | Path | None) -> Path:
    """Return the data directory: the argument if given, else ``$ALGOPERF_DATA_DIR``, else ``./data``."""
    return Path(data_dir or os.environ.get(DATA_DIR_VARIABLE) or "data").expanduser()
