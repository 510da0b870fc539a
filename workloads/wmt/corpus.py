"""The text of wmt: parallel files with one sentence per line, and the published archives."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.data import DamagedError, download, unpack
from algoperf_lightning.utilities.progress import progress

_SEGMENT = re.compile(rb'<seg id="\d+">(.*)</seg>')


@dataclass(frozen=True)
class Part:
    """A pair of files within an archive."""

    name: str
    """Name in TensorFlow Datasets."""
    source: str
    """Name of the German file."""
    target: str
    """Name of the English file."""
    folder: str
    """Their folder in the archive."""
    url: str
    sha256: str
    """SHA-256 of the archive."""

    @property
    def archive(self) -> str:
        """File name of the archive."""
        return self.url.rpartition("/")[2]


_DEV = (
    "dev/",
    "http://data.statmt.org/wmt19/translation-task/dev.tgz",
    "7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7",
)

PARTS: dict[str, tuple[Part, ...]] = {
    "train": (
        Part(
            "europarl_v7",
            "europarl-v7.de-en.de",
            "europarl-v7.de-en.en",
            "training/",
            "http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
            "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
        ),
        Part(
            "commoncrawl",
            "commoncrawl.de-en.de",
            "commoncrawl.de-en.en",
            "",
            "http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
            "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
        ),
        Part(
            "newscommentary_v12",
            "news-commentary-v12.de-en.de",
            "news-commentary-v12.de-en.en",
            "training/",
            "http://data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz",
            "2b45f30ef1d550d302fd17dd3a5cbe19134ccc4c2cf50c2dae534aee600101a2",
        ),
        Part(
            "rapid_2016",
            "rapid2016.de-en.de",
            "rapid2016.de-en.en",
            "",
            "http://data.statmt.org/wmt18/translation-task/rapid2016.tgz",
            "41557dd5d8f0ed3a6d98bce3b798b1a9d3b68361eb99d902329ddbb943a6b55a",
        ),
    ),
    "validation": (Part("newstest2013", "newstest2013.de", "newstest2013.en", *_DEV),),
    "test": (Part("newstest2014", "newstest2014-deen-src.de.sgm", "newstest2014-deen-ref.en.sgm", *_DEV),),
}
"""The parts of each split, in order."""

PLAIN = {"train": "train", "validation": "newstest2013", "test": "newstest2014"}
"""Stems of optional plain files that replace the parts of a split: ``train.de`` and ``train.en``, ..."""


class UnequalError(ValueError):
    """Two text files are not parallel."""


@dataclass(frozen=True)
class Text:
    """Two parallel files: plain text with one sentence per line, or SGML with one sentence per segment."""

    name: str
    source: Path
    target: Path

    def lines(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all pairs, including those with an empty side.

        Raises:
            UnequalError: If one file has more sentences than the other.
        """
        for number, (source, target) in enumerate(zip_longest(_sentences(self.source), _sentences(self.target))):
            if source is None or target is None:
                shorter, longer = (self.source, self.target) if source is None else (self.target, self.source)
                raise UnequalError(f"{shorter} ends after {number:,} sentences, but {longer} has more")
            yield source, target


def find_text(folder: Path, split: str) -> list[Text] | None:
    """Return the files of a split in a folder: the plain ones, or those of the parts; None if one is missing.

    Raises:
        UnequalError: If only one of the two plain files exists.
    """
    plain = Text(PLAIN[split], *(folder / f"{PLAIN[split]}.{language}" for language in ("de", "en")))
    parts = [Text(part.name, folder / part.source, folder / part.target) for part in PARTS[split]]
    for texts in ([plain], parts):
        if all(text.source.exists() and text.target.exists() for text in texts):
            return texts
    if plain.source != parts[0].source:  # otherwise it is also a part, and its archive contains the other file
        for there, lacking in ((plain.source, plain.target), (plain.target, plain.source)):
            if there.exists():
                raise UnequalError(f"{there} exists, but {lacking.name} does not")
    return None


def fetch_text(folder: Path, split: str) -> list[Text]:
    """Unpack the files of a split from the archives in the folder, which are downloaded if they are missing.

    Raises:
        OSError: If one cannot be downloaded, or is damaged.
    """
    for part in PARTS[split]:
        missing = [name for name in (part.source, part.target) if not (folder / name).exists()]
        if missing:
            archive = download(part.url, folder / part.archive, sha256=part.sha256)
            members = {part.folder + name: folder / name for name in missing}
            try:
                unpack(archive, members.get, count=len(members))
            except DamagedError as error:
                raise OSError(f"{archive} is damaged ({error.found}); delete it") from error
            if lacking := [name for name, path in members.items() if not path.exists()]:
                raise FileNotFoundError(f"{archive} does not contain {' and '.join(lacking)}")
    texts = find_text(folder, split)
    assert texts is not None
    return texts


def _sentences(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        if path.suffix != ".sgm":
            for line in file:
                yield line.removesuffix(b"\n")
            return
        for line in file:  # some of these files are not valid SGML, so parsers fail
            if segment := _SEGMENT.match(line):
                yield segment[1]


def survey(texts: list[Text], what: str) -> tuple[int, int]:
    """Read the text of a split; return the number of pairs without an empty side, and the bytes of its files.

    Raises:
        UnequalError: If two files are not parallel.
        ValueError: If they contain no pair.
    """
    pairs, since = 0, 0
    size = sum(path.stat().st_size for text in texts for path in (text.source, text.target))
    with progress(what, size, bytes_=True) as advance:
        for text in texts:
            for source, target in text.lines():
                pairs += bool(source and target)
                since += len(source) + len(target) + 2
                if since > 1 << 20:
                    advance(since)
                    since = 0
    if not pairs:
        raise ValueError(f"{texts[0].source} and {texts[0].target} contain no sentence pair")
    return pairs, size


def pairs_of(texts: list[Text]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the sentence pairs of a split, without those with an empty side."""
    return (pair for text in texts for pair in text.lines() if pair[0] and pair[1])


def sample(texts: list[Text], size: int) -> Iterator[bytes]:
    """Yield sentences, alternating German and English, until ``size`` bytes are reached, including line ends.

    They are the first pairs in the order of TensorFlow Datasets without shuffling. TensorFlow Datasets shuffles when it
    writes its files, so these pairs are spread over the whole text.
    """
    keys, lengths = array("Q"), array("I")
    for text in texts:
        salted = f"train{text.name}/0/"
        for number, (source, target) in enumerate(text.lines()):
            if source and target:
                digest = hashlib.md5(f"{salted}{number}".encode(), usedforsecurity=False).digest()
                keys.append(int.from_bytes(digest[:8], "big"))
                lengths.append(len(source) + len(target) + 2)
    order = reading_order(np.array(keys, np.uint64))
    until = int(np.searchsorted(np.cumsum(np.array(lengths, np.int64)[order]), size))
    wanted = dict.fromkeys(order[: until + 1].tolist(), (b"", b""))
    for place, pair in enumerate(pairs_of(texts)):
        if place in wanted:
            wanted[place] = pair
    for pair in wanted.values():
        yield from pair


def reading_order(keys: NDArray[np.uint64], shards: int = 16, block: int = 16) -> NDArray[np.int64]:
    """Return the order in which TensorFlow Datasets reads pairs whose names have these hashes, ``(N,)``.

    It sorts by hash, splits the result into files of equal size, and reads a block of each file in turn.
    """
    count = len(keys)
    ranked = np.argsort(keys, kind="stable")
    bounds = np.rint(count * np.arange(shards + 1) / shards).astype(np.int64)
    shard = np.repeat(np.arange(shards), np.diff(bounds))
    place = np.arange(count) - bounds[shard]
    return ranked[np.lexsort((place, shard, place // block))]
