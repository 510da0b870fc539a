"""Batches of librispeech: decoded recordings and encoded transcripts, padded to fixed lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError, naming_damage
from algoperf_lightning.data.damage import Damaged
from algoperf_lightning.data.examples import Batch, Draws, Examples
from algoperf_lightning.errors import BadInputError

from .index import Index
from .reading import read_samples
from .spec import TOKENIZER_FILE
from .tokenizer import Tokenizer


class Utterances(Examples):
    """Recordings and their transcripts.

    A batch: ``inputs`` int16 ``(B, N)``, the samples, then zeros; ``input_lengths`` int64 ``(B,)``; ``targets`` int64
    ``(B, S)``, the word pieces with the end, then zeros; ``target_lengths`` int64 ``(B,)``. N and S are fixed, so a
    compiled model sees one shape. (AlgoPerf's batches contain the same numbers as float32, and masks instead of
    lengths, which takes four times the memory.)

    Args:
        folder: Folder of the data.
        index: All utterances.
        rows: Indices of the used utterances, ``(N,)``.
        tokenizer: Converts transcripts to word pieces.
        samples: N, the padded number of samples of a recording.
        tokens: S, the padded number of word pieces of a transcript.
        damaged: Creates the error for a recording that cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        index: Index,
        rows: NDArray[np.int64],
        tokenizer: Tokenizer,
        *,
        samples: int,
        tokens: int,
        damaged: Damaged = DamagedError,
    ) -> None:
        self.folder = folder
        self.index = index
        self.rows = rows
        self.tokenizer = tokenizer
        self.samples = samples
        self.tokens = tokens
        self._damaged = damaged

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self.rows)

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Decode recordings and encode transcripts; nothing is random."""
        rows = self.rows[indices]
        lengths = self.index.samples[rows]
        audio = np.zeros((len(rows), self.samples), np.int16)
        with naming_damage(self._damaged):
            for row, length, out in zip(rows, lengths, audio, strict=True):
                read_samples(self.folder / self.index.path(row), out[:length])
        targets, target_lengths = self._targets(rows)
        return {
            "inputs": torch.from_numpy(audio),
            "input_lengths": torch.from_numpy(lengths),
            "targets": torch.from_numpy(targets),
            "target_lengths": torch.from_numpy(target_lengths),
        }

    def _targets(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        encoded = self.tokenizer.encode([self.index.transcript(row) for row in rows])
        lengths = np.array([len(pieces) for pieces in encoded], np.int64)
        if (lengths > self.tokens).any():
            row = rows[lengths.argmax()]
            raise BadInputError(
                f"{self.folder / TOKENIZER_FILE} makes {lengths.max()} word pieces of {self.index.path(row)}, but at "
                f"most {self.tokens} fit. Delete it and prepare the data again, which trains a new one."
            )
        targets = np.zeros((len(rows), self.tokens), np.int64)
        for out, pieces in zip(targets, encoded, strict=True):
            out[: len(pieces)] = pieces
        return targets, lengths

    def check_targets(self) -> None:
        """Encode every transcript.

        Raises:
            BadInputError: If one has too many word pieces.
        """
        for begin in range(0, len(self.rows), 1_024):
            self._targets(self.rows[begin : begin + 1_024])
