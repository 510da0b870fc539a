"""A small artificial language: documents of a simple grammar, in the files of the benchmark's own preparation.

Each document is about three of 24 characters. A sentence is `number name habit number name stop`: two different
characters of the document, and the habit of the first, which agrees with it in number; each name has a fixed habit. A
model must look back two tokens for the number, and further for the characters of the document.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from algoperf_lightning.files import write_atomic

from .sources import COLUMN, NAMES

NUMBERS = 2
"""Ids 0 and 1: singular and plural."""
STOP = 2
FIRST_NAME, CHARACTERS = 3, 24
FIRST_HABIT, HABITS = FIRST_NAME + CHARACTERS, 18
"""First id of the habits, with a singular and a plural each; several characters share a habit."""
END = FIRST_HABIT + 2 * HABITS
"""Ends a document; the vocabulary is one larger."""

_CAST = 3
_SHARDS = {"train": 2, "validation": 1}


def document(random: np.random.RandomState) -> list[int]:
    """Return the ids of one document."""
    cast = random.permutation(CHARACTERS)[:_CAST]
    ids: list[int] = []
    for _ in range(random.randint(6, 13)):
        subject, other = random.permutation(cast)[:2].tolist()
        number, other_number = random.randint(NUMBERS, size=2).tolist()
        habit = FIRST_HABIT + 2 * (subject % HABITS) + number
        ids += [number, FIRST_NAME + subject, habit, other_number, FIRST_NAME + other, STOP]
    return [*ids, END]


def write_arrow_folders(folder: Path, tokens: dict[str, int], random: np.random.RandomState) -> None:
    """Write folders of documents as ``DatasetDict.save_to_disk`` does.

    Args:
        folder: Output folder.
        tokens: Minimum number of tokens of each split.
        random: Generator for the documents.
    """
    names = {split: NAMES[split][0] for split in tokens}
    for split, name in names.items():
        documents: list[list[int]] = []
        length = 0
        while length < tokens[split]:
            documents.append(document(random))
            length += len(documents[-1])
        (folder / name).mkdir(exist_ok=True)
        shards = [f"data-{number:05}-of-{_SHARDS[split]:05}.arrow" for number in range(_SHARDS[split])]
        for shard, rows in zip(shards, np.array_split(np.arange(len(documents)), len(shards)), strict=True):
            write_atomic(folder / name / shard, _arrow_stream([documents[row] for row in rows]))
        feature = {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "List"}
        _write_json(folder / name / "dataset_info.json", {"features": {COLUMN: feature}})
        _write_json(
            folder / name / "state.json",
            {
                "_data_files": [{"filename": shard} for shard in shards],
                "_fingerprint": f"tiny-{name}",
                "_format_columns": None,
                "_format_kwargs": {},
                "_format_type": None,
                "_output_all_columns": False,
                "_split": None,
            },
        )
    _write_json(folder / "dataset_dict.json", {"splits": list(names.values())})


def _arrow_stream(documents: list[list[int]]) -> bytes:
    import pyarrow as pa  # type: ignore[import-untyped]

    column = pa.array(documents, pa.list_(pa.int32()))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([(COLUMN, column.type)])) as writer:
        writer.write_table(pa.table({COLUMN: column}), max_chunksize=1_000)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _write_json(path: Path, content: dict[str, object]) -> None:
    write_atomic(path, json.dumps(content, indent=2) + "\n")
