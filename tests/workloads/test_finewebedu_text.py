"""Text of finewebedu_lm: the tokenizer, parquet files, shuffling and splitting."""

from __future__ import annotations

import dataclasses
import errno
import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.data.downloads import DownloadError
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.workloads.finewebedu import documents
from algoperf_lightning.workloads.finewebedu.data import FineWebEduData
from algoperf_lightning.workloads.finewebedu.documents import SAMPLE, SAMPLE_FILES, Documents, tokenise
from algoperf_lightning.workloads.finewebedu.reading import DamagedError, TokenFile
from algoperf_lightning.workloads.finewebedu.spec import FINEWEBEDU_LM, FOLDER
from algoperf_lightning.workloads.finewebedu.tokenizer import Tokenizer

# The head of GPT-2's own list: `Ġ` is a space.
MERGES = ["Ġ t", "Ġ a", "h e", "i n", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t", "Ġ w", "Ġ o", "e n", "Ġ c", "i t"]
VOCABULARY = 256 + len(MERGES) + 1
END = VOCABULARY - 1
TEXTS = [
    "The rain in Spain stays there, the hen said; and then?  It's 1234 ...",
    "the the the\n\n  theater\tin on at\r\n",
    "Zürich — 東京, naïve café: ½ 😀 é",
    "a",
    " ",
    "he's we'll I'D they've 'tis 'S 'sre",
    "\x00\x01 non\u00a0breaking \u2028 lines <|endoftext|> goes on",
]
SMALL = dataclasses.replace(
    FINEWEBEDU_LM.of(tiny=True),
    model={**FINEWEBEDU_LM.model, "vocabulary": VOCABULARY},
    data={"length": 9},
    splits={"train": 20, "eval_train": 3, "validation": 2},
)


@pytest.fixture
def merges(tmp_path):
    path = tmp_path / "vocab.bpe"
    path.write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", "utf-8")
    return path


def slow_ids(text):
    """Byte-pair encoding as the paper says it: in each word, the first rule of the list that fits, again and again."""
    import regex

    visible = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    letters = {byte: chr(byte) for byte in visible}
    letters |= {byte: chr(256 + n) for n, byte in enumerate(b for b in range(256) if b not in visible)}
    vocabulary = [letters[byte] for byte in visible] + [letters[b] for b in range(256) if b not in visible]
    rules = [tuple(merge.split(" ")) for merge in MERGES]
    vocabulary += ["".join(rule) for rule in rules]
    ids = []
    for word in regex.findall(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", text):
        parts = [letters[byte] for byte in word.encode()]
        while pairs := [rule for rule in rules if rule in set(pairwise(parts))]:
            merged, position = [], 0
            while position < len(parts):
                if tuple(parts[position : position + 2]) == pairs[0]:
                    merged.append("".join(pairs[0]))
                    position += 2
                else:
                    merged.append(parts[position])
                    position += 1
            parts = merged
        ids += [vocabulary.index(part) for part in parts]
    return ids


def write_parquet(path, texts, column="text", type_=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": list(range(len(texts))), column: pa.array(texts, type_)}), path, row_group_size=7)


def prepare_text(tmp_path, merges, counts=(30, 21)):
    folder = tmp_path / FOLDER
    folder.mkdir(exist_ok=True)
    merges.rename(folder / "merges.txt")
    for number, count in enumerate(counts):
        write_parquet(folder / f"{number:03}.parquet", [f"document {number} {row} in the rain" for row in range(count)])
    return FineWebEduData(SMALL, tmp_path)


# Tokenizer


@pytest.mark.parametrize("threads", [1, 3])
def test_tokens_are_those_of_a_slow_implementation(merges, threads):
    encoded = Tokenizer(merges, VOCABULARY).encode(TEXTS, threads)
    assert [ids.tolist() for ids in encoded] == [[*slow_ids(text), END] for text in TEXTS]
    assert any((ids >= 256).sum() > 1 for ids in encoded), "no rule was used"
    assert all(END not in ids[:-1] for ids in encoded)


def test_known_tokens_of_gpt_2(merges):
    # With the whole list too, these are `Ġthe` and the letter A.
    assert Tokenizer(merges, VOCABULARY).encode([" the", "A"])[0].tolist() == [262, END]
    assert Tokenizer(merges, VOCABULARY).encode([" the", "A"])[1].tolist() == [32, END]


def test_an_empty_document_has_no_tokens(merges):
    assert Tokenizer(merges, VOCABULARY).encode([""])[0].tolist() == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("\n".join(MERGES[:-1]), "it has 14"),
        ("\n".join([*MERGES, "a b"]), "it has 16"),
        ("\n".join([*MERGES[:-1], MERGES[0]]), "some give the same"),
        ('{"model": {}}', "it has 1"),
        ("a\n" * 15, "reading failed"),
        ("東 京\n" * 15, "reading failed"),
        ("", "it has 0"),
    ],
)
def test_a_list_of_merges_of_another_vocabulary_is_refused(tmp_path, content, found):
    path = tmp_path / "merges.txt"
    path.write_text(content, "utf-8")
    with pytest.raises(DamagedError, match=f"a list of 15 merges, two tokens a line, but {found}"):
        Tokenizer(path, VOCABULARY)


# Parquet


def test_text_is_tokenised_shuffled_and_split(tmp_path, merges):
    tokenizer = Tokenizer(merges, VOCABULARY)
    data = prepare_text(tmp_path, merges)
    data.prepare_data()
    data.check()
    texts = [f"document {number} {row} in the rain" for number, count in ((0, 30), (1, 21)) for row in range(count)]
    known = {tuple(ids.tolist()): row for row, ids in enumerate(tokenizer.encode(texts))}
    rows = {}
    for split, name in (("train", "train.tokens"), ("validation", "val.tokens")):
        ids = TokenFile(data.folder / name).ids
        ends = np.flatnonzero(ids == END) + 1
        assert ends[-1] == len(ids)
        rows[split] = [known[tuple(part.tolist())] for part in np.split(ids, ends[:-1])]
    assert sorted(rows["train"] + rows["validation"]) == list(range(51))
    assert len(rows["train"]) == int(0.9 * 51) == 45
    assert rows["train"] != sorted(rows["train"])
    assert {row >= 30 for row in rows["train"]} == {True, False}
    assert not (data.folder / "tokenised").exists()


def test_the_same_text_gives_the_same_files(tmp_path, merges):
    data = prepare_text(tmp_path, merges)
    data.prepare_data()
    before = {path: path.read_bytes() for path in data.folder.glob("*.tokens")}
    next(iter(before)).unlink()
    FineWebEduData(SMALL, tmp_path).prepare_data()
    assert before == {path: path.read_bytes() for path in data.folder.glob("*.tokens")}


def test_files_that_are_tokenised_already_are_kept_after_a_kill(tmp_path, merges, monkeypatch):
    data = prepare_text(tmp_path, merges)
    seen = []

    def encode(self, texts, threads=1):
        seen.append(len(texts))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(self, texts, threads)

    original = Tokenizer.encode
    monkeypatch.setattr(Tokenizer, "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        data.prepare_data()
    assert [path.name for path in (data.folder / "tokenised").glob("*.documents")] == ["000.documents"]
    data.prepare_data()
    assert seen == [30, 21, 21]


def test_tokens_of_another_file_of_the_same_name_are_made_anew(tmp_path, merges):
    tokenizer, source, target = Tokenizer(merges, VOCABULARY), tmp_path / "0.parquet", tmp_path / "0.documents"
    write_parquet(source, ["one"])
    assert len(tokenise(source, target, tokenizer).ends) == 1
    write_parquet(source, ["one", None, "", "more"])
    again = tokenise(source, target, tokenizer)
    assert len(again.ends) == 4
    assert np.diff(again.ends).tolist()[:2] == [0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "a parquet file, but reading failed"),
        (lambda path: path.write_bytes(b"PAR1 and no more"), "a parquet file, but reading failed"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "a parquet file, but reading failed"),
        (lambda path: write_parquet(path, ["x"], "content"), r"a column 'text' of strings, but its columns are \['id'"),
        (lambda path: write_parquet(path, [1], "text"), "a column 'text' of strings"),
    ],
    ids=["empty", "no footer", "truncated", "no text", "numbers"],
)
def test_a_damaged_parquet_file_is_named(tmp_path, merges, make, message):
    data = prepare_text(tmp_path, merges)
    make(data.folder / "001.parquet")
    with pytest.raises(DataNotFoundError, match=re.escape("001.parquet") + f".*{message}"):
        data.prepare_data()


def test_damaged_documents_are_found(tmp_path, merges):
    source, target = tmp_path / "0.parquet", tmp_path / "0.documents"
    write_parquet(source, TEXTS)
    tokenise(source, target, Tokenizer(merges, VOCABULARY))
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="for 7 documents, but it has"):
        Documents(target)
    target.write_bytes(b"something")
    with pytest.raises(DamagedError, match="starts with 'fwe-doc1'"):
        Documents(target)


def test_a_full_disk_is_not_taken_for_a_damaged_file(tmp_path, merges, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    data = prepare_text(tmp_path, merges)
    with monkeypatch.context() as patch:
        patch.setattr(documents.os, "fsync", full)
        with pytest.raises(BadInputError, match=r"the disk of .* is full.*data prepare finewebedu_lm") as caught:
            data.prepare_data()
    assert not isinstance(caught.value, DataNotFoundError)
    data.prepare_data()
    data.check()


# Fetching


def test_what_is_missing_is_downloaded(tmp_path, merges, monkeypatch):
    content = merges.read_bytes()
    fetched = []

    def download(url, path, **sums):
        if path.exists():
            return path
        fetched.append((url, sums))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name == "vocab.bpe":
            path.write_bytes(content)
        else:
            write_parquet(path, [f"{path.name} {row} in the rain" for row in range(4)])
        return path

    monkeypatch.setattr(documents, "download", download)
    data = FineWebEduData(SMALL, tmp_path)
    write_parquet(data.folder / SAMPLE / SAMPLE_FILES[3], ["there already"])
    data.prepare_data()
    urls = [url for url, _ in fetched]
    base = "https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu/resolve/main/sample/10BT"
    assert urls[1:] == [f"{base}/{number:03}_00000.parquet" for number in range(14) if number != 3]
    assert urls[0].endswith("vocab.bpe")
    assert len(fetched[0][1]["sha256"]) == 64


def test_without_internet_the_error_says_what_to_bring(tmp_path, monkeypatch):
    def download(url, path, **sums):
        raise DownloadError(f"{url} could not be downloaded: no route")

    monkeypatch.setattr(documents, "download", download)
    with pytest.raises(DataNotFoundError, match="no route") as caught:
        FineWebEduData(FINEWEBEDU_LM, tmp_path).prepare_data()
    for part in ("folders `train` and `val`", "train.bin and val.bin", "merges.txt", "algoperf data tiny"):
        assert part in str(caught.value)
