"""The content of a part of LibriSpeech: folders of recordings and transcripts, and an index for a fast start."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import ARCHIVE_ERRORS, DamagedError
from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.utilities.progress import progress

from .reading import read_length, read_samples

_THREADS = 16


@dataclass(frozen=True)
class Index:
    """Utterances of one or more parts: path, length and transcript of each."""

    paths: NDArray[np.bytes_]
    """Paths of the recordings, relative to the folder of the data, shape ``(N,)``."""
    samples: NDArray[np.int64]
    """Number of samples of each, ``(N,)``."""
    text: NDArray[np.uint8]
    """All transcripts, concatenated."""
    begins: NDArray[np.int64]
    """Start of each transcript in the text, ``(N,)``."""
    ends: NDArray[np.int64]
    """End of each transcript in the text, ``(N,)``."""

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.paths)

    @property
    def characters(self) -> NDArray[np.int64]:
        """Number of (ASCII) characters of each transcript, ``(N,)``."""
        return self.ends - self.begins

    def path(self, row: int) -> str:
        """Return the path of a recording."""
        return bytes(self.paths[row]).decode()

    def transcript(self, row: int) -> str:
        """Return the transcript of an utterance."""
        return self.text[self.begins[row] : self.ends[row]].tobytes().decode()

    def take(self, rows: NDArray[np.int64]) -> Index:
        """Return the utterances of some rows, in ascending order; they share the text of this index."""
        return Index(self.paths[rows], self.samples[rows], self.text, self.begins[rows], self.ends[rows])

    def to_bytes(self) -> bytes:
        """Return the index as the content of a file."""
        file = io.BytesIO()
        np.savez_compressed(file, **vars(self))
        return file.getvalue()

    @classmethod
    def read(cls, path: Path) -> Index:
        """Read an index from a file.

        Raises:
            DamagedError: If the file is damaged.
        """
        try:
            with np.load(path) as file:
                index = cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, TypeError, KeyError, *ARCHIVE_ERRORS) as error:
            raise DamagedError(path, "an index of recordings", f"reading failed ({error})") from error
        columns = {len(column) for column in (index.paths, index.samples, index.begins, index.ends)}
        if len(columns) != 1 or index.ends.max(initial=0) != len(index.text):
            raise DamagedError(path, "an index of recordings", "its columns differ in length")
        return index

    @classmethod
    def joined(cls, indexes: list[Index]) -> Index:
        """Return one index of several."""
        before = np.cumsum([0, *(len(index.text) for index in indexes[:-1])])
        moved = list(zip(indexes, before, strict=True))
        return cls(
            np.concatenate([index.paths for index in indexes]),
            np.concatenate([index.samples for index in indexes]),
            np.concatenate([index.text for index in indexes]),
            np.concatenate([index.begins + offset for index, offset in moved]),
            np.concatenate([index.ends + offset for index, offset in moved]),
        )


def build_index(folder: Path, part: str) -> Index:
    """Index the folders of a part, in numerical order, reading the headers of its recordings.

    Args:
        folder: Folder of the data.
        part: For example ``train-clean-100``.

    Raises:
        DamagedError: If a transcript has no recording, a recording no transcript, or either is damaged.
    """
    paths, texts = zip(*list_utterances(folder, part), strict=True)
    samples = []
    with ThreadPoolExecutor(_THREADS) as pool, progress(f"{part}: reading lengths", len(paths)) as advance:
        for count in pool.map(lambda path: read_length(folder / path), paths):
            samples.append(count)
            advance()
    lengths = np.array([len(text) for text in texts], np.int64)
    ends = np.cumsum(lengths)
    return Index(
        np.array([path.encode() for path in paths]),
        np.array(samples, np.int64),
        np.frombuffer("".join(texts).encode("ascii"), np.uint8),
        ends - lengths,
        ends,
    )


def list_utterances(folder: Path, part: str) -> list[tuple[str, str]]:
    """Return path and transcript of every utterance of a part, in numerical order.

    Raises:
        DamagedError: As :func:`build_index`.
    """
    found = [
        (path.relative_to(folder).as_posix(), text)
        for chapter in _numbered_folders(folder / part, depth=2)
        for path, text in _read_chapter(chapter)
    ]
    if not found:
        raise DamagedError(folder / part, "folders <speaker>/<chapter> with recordings", "there are none")
    return found


def _numbered_folders(folder: Path, depth: int) -> Iterator[Path]:
    if not depth:
        yield folder
        return
    for inner in sorted((p for p in folder.iterdir() if p.name.isdecimal()), key=lambda path: int(path.name)):
        yield from _numbered_folders(inner, depth - 1)


def _read_chapter(chapter: Path) -> Iterator[tuple[Path, str]]:
    """Yield path and transcript of each recording of a chapter."""
    name = f"{chapter.parent.name}-{chapter.name}"
    transcripts = chapter / f"{name}.trans.txt"
    recordings = {path.stem for path in chapter.glob("*.flac") if not is_left_by_system(path.name)}
    try:
        lines = transcripts.read_text(encoding="ascii").splitlines()
    except FileNotFoundError as error:
        raise DamagedError(
            transcripts, f"the transcripts of {len(recordings)} recordings", "there is no such file"
        ) from error
    except UnicodeDecodeError as error:
        raise DamagedError(transcripts, "lines of ASCII text", f"reading failed ({error})") from error
    for line in lines:
        utterance, _, text = line.partition(" ")
        path = chapter / f"{utterance}.flac"
        if not utterance.startswith(f"{name}-") or not text.strip():
            raise DamagedError(
                transcripts, f"lines `{name}-0000 WORDS`", f"one is {line!r}, a transcript without words"
            )
        if utterance not in recordings:
            raise DamagedError(
                path, f"the recording of a transcript in {transcripts.name}", "the file is missing, or there are two"
            )
        recordings.remove(utterance)
        yield path, text
    if recordings:
        path = chapter / f"{min(recordings)}.flac"
        raise DamagedError(path, f"a line for it in {transcripts.name}", "this recording has no transcript")


def verify_part(folder: Path, part: str, index: Index) -> None:
    """Compare a part's folders with its index, and decode every recording.

    Raises:
        DamagedError: If anything differs or is damaged.
    """
    listed = list_utterances(folder, part)
    for row, (path, text) in enumerate(islice(listed, len(index))):
        if (path, text) != (index.path(row), index.transcript(row)):
            raise DamagedError(
                folder / path, f"as in the index, {index.path(row)}: {index.transcript(row)}", f"it is {text}"
            )
    if len(listed) != len(index):
        raise DamagedError(folder / part, f"{len(index):,} utterances, as in the index", f"there are {len(listed):,}")

    def decode(row: int) -> None:
        read_samples(folder / index.path(row), np.empty(index.samples[row], np.int16))

    with ThreadPoolExecutor(_THREADS) as pool, progress(f"{part}: decoding", len(index)) as advance:
        for _ in pool.map(decode, range(len(index))):
            advance()
