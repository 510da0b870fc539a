"""The GPT-2 tokenizer: OpenAI's library tiktoken with GPT-2's file of merges."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError

_BYTES = 256


class Tokenizer:
    """The byte-pair encoding of GPT-2. The last id ends a document.

    Args:
        merges: OpenAI's ``vocab.bpe`` or Hugging Face's ``merges.txt``, which contain the same merges.
        vocabulary: Required number of ids: 256 bytes, one for each merge, and the end.

    Raises:
        DamagedError: If the file is not a list of merges, or has another length.

    Reference: A. Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
    """

    def __init__(self, merges: Path, vocabulary: int) -> None:
        import tiktoken
        from tiktoken_ext.openai_public import r50k_pat_str  # type: ignore[import-untyped]

        self.end = vocabulary - 1
        self._encoding = tiktoken.Encoding(
            "gpt2",
            pat_str=r50k_pat_str,
            mergeable_ranks=_ranks(merges, vocabulary - 1),
            special_tokens={"<|endoftext|>": self.end},
            explicit_n_vocab=vocabulary,
        )

    def encode(self, texts: list[str], threads: int = 1) -> list[NDArray[np.uint16]]:
        """Return the ids of each text followed by the end token, uint16 ``(T,)``; no ids for an empty text.

        Text that spells the end token is encoded like any other text.

        Args:
            texts: One text per document.
            threads: Number of documents that are encoded at a time.
        """

        def one(text: str) -> NDArray[np.uint16]:
            if not text:
                return np.empty(0, np.uint16)
            return np.append(self._encoding.encode_to_numpy(text, disallowed_special=()), self.end).astype(np.uint16)

        with ThreadPoolExecutor(threads) as pool:  # the library releases the GIL
            return list(pool.map(one, texts))


def _ranks(path: Path, count: int) -> dict[bytes, int]:
    """Return the ranks of all byte strings: the bytes in the order of their printable substitutes, then the merges."""
    letters = _stand_ins()
    ranks = {bytes([letters[letter]]): rank for rank, letter in enumerate(letters)}
    expected = f"a list of {count - _BYTES:,} merges, two tokens a line"
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#version")]
        for line in lines:
            first, second = line.split(" ")
            ranks[bytes(letters[letter] for letter in first + second)] = len(ranks)
    except (ValueError, KeyError) as error:
        raise DamagedError(path, expected, f"reading failed ({error!r})") from error
    if len(lines) != count - _BYTES:
        raise DamagedError(path, expected, f"it has {len(lines):,}")
    if len(ranks) != count:
        raise DamagedError(path, expected, "some give the same token")
    return ranks


def _stand_ins() -> dict[str, int]:
    """Return the byte of each character in the file; bytes that cannot be printed have characters from 256 on."""
    printable = {chr(byte): byte for byte in range(_BYTES) if chr(byte).isprintable() and chr(byte) != " "}
    others = [byte for byte in range(_BYTES) if chr(byte) not in printable]
    return printable | {chr(_BYTES + number): byte for number, byte in enumerate(others)}
