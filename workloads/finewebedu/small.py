"""The text of the small size: documents of the package as parquet, and a byte-pair encoding of 1,024 tokens for them.

The 767 merges are those of the greedy algorithm (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909) on this text,
with GPT-2's division into words.
"""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

from algoperf_lightning.files import write_atomic
from algoperf_lightning.packaged_data import read_documents

from .documents import COLUMN, MERGES

_PACKAGED_MERGES = "small_merges.txt"
PARQUET = "documents.parquet"


def write_documents(folder: Path) -> None:
    """Write the text and the merges into a folder, under the names by which conversion finds them."""
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet as pq

    content = io.BytesIO()
    pq.write_table(pa.table({COLUMN: read_documents()}), content)
    write_atomic(folder / PARQUET, content.getvalue())
    write_atomic(folder / MERGES[0], files(__package__).joinpath(_PACKAGED_MERGES).read_bytes())
