"""Files of LibriSpeech: what is damaged is named, what is missing is fetched."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
import sentencepiece
import soundfile
import torch

from algoperf_lightning.data import DataNotFoundError, DownloadError, Draws
from algoperf_lightning.workloads.librispeech import archives as official
from algoperf_lightning.workloads.librispeech import data as librispeech_data
from algoperf_lightning.workloads.librispeech.data import LibriSpeechData
from algoperf_lightning.workloads.librispeech.spec import (
    CONFORMER,
    FOLDER,
    TINY_UTTERANCES,
    TINY_VOCABULARY,
    TOKENIZER_FILE,
    UTTERANCES,
)
from algoperf_lightning.workloads.librispeech.tiny import WORDS

TINY = CONFORMER.of(tiny=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("librispeech")
    LibriSpeechData(CONFORMER, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tiny, tmp_path):
    """To damage."""
    shutil.copytree(tiny, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def as_official(monkeypatch):
    """A spec for which the tiny data set, without its marker, is the official one."""
    monkeypatch.setattr(librispeech_data, "UTTERANCES", TINY_UTTERANCES)
    return dataclasses.replace(TINY, size=None)


def read(examples, indices):
    return examples.read(np.asarray(indices), Draws(0, np.asarray(indices)))


# Damage

CHAPTER = "train-clean-360/2/1"


def truncate(folder):
    path = folder / CHAPTER / "2-1-0003.flac"
    path.write_bytes(path.read_bytes()[:-3_000])


def corrupt(folder):
    path = folder / CHAPTER / "2-1-0003.flac"
    content = bytearray(path.read_bytes())
    content[2_000:2_100] = bytes(100)
    path.write_bytes(content)


def no_flac(folder):
    (folder / CHAPTER / "2-1-0003.flac").write_bytes(b"ID3 not what it seems")


def resample(folder):
    soundfile.write(folder / CHAPTER / "2-1-0003.flac", np.zeros(9_000, np.int16), 8_000, subtype="PCM_16")


def remove_recording(folder):
    (folder / CHAPTER / "2-1-0003.flac").unlink()


def remove_line(folder):
    path = folder / CHAPTER / "2-1.trans.txt"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "2-1-0003" not in line))


def remove_transcripts(folder):
    (folder / CHAPTER / "2-1.trans.txt").unlink()


def empty_transcript(folder):
    path = folder / CHAPTER / "2-1.trans.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join("2-1-0003 " if line.startswith("2-1-0003") else line for line in lines))


def repeat_line(folder):
    path = folder / CHAPTER / "2-1.trans.txt"
    path.write_text(path.read_text() + "2-1-0003 A NET\n")


def change_words(folder):
    path = folder / CHAPTER / "2-1.trans.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join("2-1-0003 NO NO NO" if line.startswith("2-1-0003") else line for line in lines))


def spoil_index(folder):
    path = folder / "index/train-clean-360.npz"
    path.write_bytes(path.read_bytes()[:500])


def remove_part(folder):
    shutil.rmtree(folder / "train-clean-360/2/1")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"2-1-0003\.flac is damaged: expected [\d,]+ samples, but decoding"),
        (corrupt, r"2-1-0003\.flac is damaged: expected [\d,]+ samples, but decoding"),
        (no_flac, r"2-1-0003\.flac is damaged: expected FLAC of 16 bits, 16000 Hz, one channel, but opening failed"),
        (resample, r"2-1-0003\.flac is damaged: expected FLAC of 16 bits, 16000 Hz, .* 8000, 1\)"),
        (remove_recording, r"2-1-0003\.flac is damaged: expected the recording of a transcript in 2-1\.trans\.txt"),
        (remove_line, r"2-1-0003\.flac is damaged: expected a line for it in 2-1\.trans\.txt"),
        (remove_transcripts, r"2-1\.trans\.txt is damaged: expected the transcripts of 48 recordings"),
        (empty_transcript, r"2-1\.trans\.txt is damaged: .*'2-1-0003 ', a transcript without words"),
        (repeat_line, r"2-1-0003\.flac is damaged: expected the recording of a transcript"),
        (change_words, r"2-1-0003\.flac is damaged: expected as in the index, .* but it is NO NO NO"),
        (spoil_index, r"train-clean-360\.npz is damaged: expected an index of recordings"),
        (remove_part, r"train-clean-360.* is damaged: expected .*2-1-0000"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damage_is_found_and_named_with_what_to_do(own_tiny, damage, message):
    damage(own_tiny / FOLDER)
    with pytest.raises(DataNotFoundError, match=rf"{message}.*`algoperf data tiny librispeech_conformer --data-dir"):
        LibriSpeechData(TINY, own_tiny).check()


def model_with(**special):
    """A SentencePiece model of 16 pieces whose special ones have other numbers."""
    model = io.BytesIO()
    texts = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=TINY_VOCABULARY, minloglevel=2, **special
    )
    return model.getvalue()


@pytest.mark.parametrize("spec", [TINY, CONFORMER], ids=["tiny", "full-size"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(lambda: b"no model", r"reading failed \(.*\)", id="other"),
        pytest.param(lambda: b"", r"reading failed \(it is empty\)", id="empty"),
        pytest.param(
            lambda: model_with(pad_id=0, unk_id=1, bos_id=2, eos_id=3),
            r".* should be the pieces \(0, 1, 2, -1\), but are \(1, 2, 3, 0\)\)",
            id="of-another-library",
        ),
        pytest.param(lambda: model_with(bos_id=-1, eos_id=1), r".* but are \(0, -1, 1, -1\)\)", id="another-end"),
        pytest.param(lambda: model_with(pad_id=3), r".* but are \(0, 1, 2, 3\)\)", id="a-piece-for-padding"),
    ],
)
def test_a_wrong_tokenizer_is_named_when_a_split_is_opened(own_tiny, spec, content, found):
    (own_tiny / FOLDER / TOKENIZER_FILE).write_bytes(content())
    message = rf"spm_model\.vocab is damaged: expected a SentencePiece model of [\d,]+ pieces, but {found}. Delete this"
    with pytest.raises(DataNotFoundError, match=message):
        LibriSpeechData(spec, own_tiny).open("train")


def test_damage_is_named_in_training_too(own_tiny):
    examples = LibriSpeechData(TINY, own_tiny).open("train")
    truncate(own_tiny / FOLDER)
    row = next(row for row in range(len(examples)) if examples.index.path(row).endswith("2-1-0003.flac"))
    with pytest.raises(
        DataNotFoundError, match=r"2-1-0003\.flac is damaged.* Delete it and .*train-clean-360\.npz, then"
    ):
        read(examples, [row])


def test_without_the_marker_the_official_numbers_hold(own_tiny):
    (own_tiny / FOLDER / "TINY").unlink()
    with pytest.raises(DataNotFoundError, match=r"train-clean-100\.npz is damaged: expected 28,539 utterances"):
        LibriSpeechData(CONFORMER, own_tiny).check()
    assert sum(UTTERANCES[part] for part in librispeech_data.PARTS["train"]) == 281_241
    assert sum(UTTERANCES[part] for part in librispeech_data.PARTS["validation"]) == 5_567


# Fetching


def no_internet(*args, **kwargs):
    raise DownloadError("no internet")


def archives(tiny, folder):
    """The tiny data set as the official archives, with their other files."""
    for part in UTTERANCES:
        with tarfile.open(folder / f"{part}.tar.gz", "w:gz") as tar:
            readme = tarfile.TarInfo("LibriSpeech/README.TXT")
            tar.addfile(readme, io.BytesIO())
            tar.add(tiny / FOLDER / part, f"LibriSpeech/{part}")


def same_files(one, other):
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file() and path.name != "TINY")
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names if name.suffix != ".npz")


def test_archives_beside_are_unpacked_indexed_and_kept(tiny, tmp_path, as_official, monkeypatch):
    archives(tiny, tmp_path)
    monkeypatch.setattr(official, "download", no_internet)
    data = LibriSpeechData(as_official, tmp_path)
    data.prepare_data()
    data.check()
    assert same_files(tiny / FOLDER, tmp_path / FOLDER)
    assert {path.name for path in tmp_path.iterdir()} == {FOLDER, *(f"{part}.tar.gz" for part in UTTERANCES)}
    whole, own = (LibriSpeechData(TINY, folder).open("train") for folder in (tiny, tmp_path))
    assert all(torch.equal(value, read(whole, [7])[name]) for name, value in read(own, [7]).items())


def test_archives_are_downloaded_verified_and_deleted(tiny, tmp_path, as_official, monkeypatch):
    source, target = tmp_path / "web", tmp_path / "data"
    source.mkdir()
    archives(tiny, source)
    sums = {part: hashlib.sha256((source / f"{part}.tar.gz").read_bytes()).hexdigest() for part in UTTERANCES}
    monkeypatch.setattr(official, "URL", f"file://{source}/{{}}.tar.gz")
    with pytest.raises(DataNotFoundError, match=r"is not the expected file: its sha256 sum"):
        LibriSpeechData(as_official, target).prepare_data()
    monkeypatch.setattr(official, "SHA256", sums)
    LibriSpeechData(as_official, target).prepare_data()
    assert same_files(tiny / FOLDER, target / FOLDER)
    assert [path.name for path in target.iterdir()] == [FOLDER]


def test_a_tree_that_is_there_is_taken_as_it_is(own_tiny, as_official, monkeypatch):
    monkeypatch.setattr(official, "download", no_internet)
    shutil.rmtree(own_tiny / FOLDER / "index")
    (own_tiny / FOLDER / "TINY").unlink()
    tokenizer = (own_tiny / FOLDER / TOKENIZER_FILE).read_bytes()
    (own_tiny / FOLDER / TOKENIZER_FILE).unlink()
    data = LibriSpeechData(as_official, own_tiny)
    data.prepare_data()
    data.check()
    assert (own_tiny / FOLDER / TOKENIZER_FILE).read_bytes() == tokenizer


def test_unpacking_goes_on_where_it_was_killed(tiny, tmp_path, as_official, monkeypatch):
    archives(tiny, tmp_path)
    monkeypatch.setattr(official, "download", no_internet)
    copy, written, kill_at = shutil.copyfileobj, [], 150

    def copy_or_kill(source, target, *rest):
        if len(written) == kill_at:
            raise KeyboardInterrupt
        written.append(target.name)
        copy(source, target, *rest)

    monkeypatch.setattr(shutil, "copyfileobj", copy_or_kill)
    with pytest.raises(KeyboardInterrupt):
        LibriSpeechData(as_official, tmp_path).prepare_data()
    kill_at = None
    LibriSpeechData(as_official, tmp_path).prepare_data()
    assert len(written) == len(set(written))
    assert same_files(tiny / FOLDER, tmp_path / FOLDER)


def test_the_advice_on_a_damaged_recording_helps(tiny, own_tiny, as_official, monkeypatch):
    archives(tiny, own_tiny)
    monkeypatch.setattr(official, "download", no_internet)
    (own_tiny / FOLDER / "TINY").unlink()
    for name in (f"{CHAPTER}/2-1-0003.flac", "index/train-clean-360.npz"):
        (own_tiny / FOLDER / name).unlink()
    data = LibriSpeechData(as_official, own_tiny)
    data.prepare_data()
    data.check()
    assert same_files(tiny / FOLDER, own_tiny / FOLDER)


def test_without_internet_the_error_says_what_to_do(own_tiny, tmp_path, as_official, monkeypatch):
    monkeypatch.setattr(official, "download", no_internet)
    with pytest.raises(
        DataNotFoundError, match=r"no internet.*data prepare.*copy https://www.openslr.*clean-100.tar.gz"
    ):
        LibriSpeechData(as_official, tmp_path / "empty").prepare_data()
    (own_tiny / FOLDER / "TINY").unlink()
    (own_tiny / FOLDER / "index/test-clean.npz").unlink()
    (own_tiny / FOLDER / "test-clean/6/1/6-1-0002.flac").unlink()
    with pytest.raises(DataNotFoundError, match=r"no internet; the existing files are incomplete: .*6-1-0002\.flac"):
        LibriSpeechData(as_official, own_tiny).prepare_data()


def test_a_damaged_archive_is_named(tmp_path, as_official):
    (tmp_path / "train-clean-100.tar.gz").write_bytes(b"\x1f\x8b\x08 no archive")
    with pytest.raises(DataNotFoundError, match=r"train-clean-100 is missing and could not be downloaded"):
        LibriSpeechData(as_official, tmp_path).prepare_data()
