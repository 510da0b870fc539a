"""The files of wmt: text, archives, and what is said where they are not what they should be."""

from __future__ import annotations

import dataclasses
import io
import shutil
import tarfile

import pytest

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.data.downloads import DownloadError, checksum
from algoperf_lightning.workloads.wmt import corpus
from algoperf_lightning.workloads.wmt.corpus import PARTS, sample
from algoperf_lightning.workloads.wmt.data import TINY_PAIRS, WmtData
from algoperf_lightning.workloads.wmt.reading import HEADER_SIZE, TokenFile
from algoperf_lightning.workloads.wmt.spec import TOKENIZER, WMT_SPEC
from algoperf_lightning.workloads.wmt.tokenizer import train_tokenizer

TINY = WMT_SPEC.of(tiny=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("wmt")
    WmtData(WMT_SPEC, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tiny, tmp_path):
    """To damage."""
    shutil.copytree(tiny / "wmt", tmp_path / "wmt")
    return tmp_path


@pytest.fixture
def real(own_tiny):
    """Data that are few, but pass for the real ones: without the mark of tiny data."""
    (own_tiny / "wmt" / "TINY").unlink()
    spec = dataclasses.replace(TINY, splits={**TINY.splits, **TINY_PAIRS})
    return WmtData(spec, own_tiny)


def lines(path):
    return path.read_text().split("\n")[:-1]


def remove(data, *names):
    for name in names or ("train.tokens", "newstest2013.tokens", "newstest2014.tokens"):
        (data.folder / name).unlink()


# Text and archives


def test_prepare_makes_of_plain_text_what_is_missing(real):
    expected = {path.name: path.read_bytes() for path in real.folder.glob("*.tokens")}
    remove(real)
    real.prepare_data()
    real.check()
    assert {path.name: path.read_bytes() for path in real.folder.glob("*.tokens")} == expected
    remove(real, TOKENIZER, "train.tokens", "newstest2013.tokens", "newstest2014.tokens")
    fresh = WmtData(real.spec, real.data_dir)
    fresh.prepare_data()
    assert {path.name: path.read_bytes() for path in real.folder.glob("*.tokens")} == expected


def archives(folder, real):
    """Pack the plain text as it is published: in four parts and with SGML; take the plain text away."""
    content = {}
    for side, language in enumerate(("de", "en")):
        text = lines(real.folder / f"train.{language}")
        for number, part in enumerate(PARTS["train"]):
            name = part.folder + (part.source, part.target)[side]
            rows = [*text[number * 1_500 : (number + 1) * 1_500], *([""] if number == 0 else [])]
            content.setdefault(part.archive, {})[name] = "".join(f"{row}\n" for row in rows)
        dev = content.setdefault("dev.tgz", {})
        dev[f"dev/newstest2013.{language}"] = (real.folder / f"newstest2013.{language}").read_text()
        segments = [
            f'<seg id="{n}">{row}</seg>\n' for n, row in enumerate(lines(real.folder / f"newstest2014.{language}"))
        ]
        part = PARTS["test"][0]
        dev[part.folder + (part.source, part.target)[side]] = '<doc docid="1">\n<p>\n' + "".join(segments) + "</p>\n"
        for stem in ("train", "newstest2013", "newstest2014"):
            (real.folder / f"{stem}.{language}").unlink()
    for name, members in content.items():
        with tarfile.open(folder / name, "w:gz") as tar:
            for member, text in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))


def test_prepare_unpacks_the_published_archives(real):
    before = {name: TokenFile(real.folder / name).ids.tolist() for name in ("train.tokens", "newstest2014.tokens")}
    archives(real.folder, real)
    remove(real)
    real.prepare_data()
    real.check()
    assert {name: TokenFile(real.folder / name).ids.tolist() for name in before} == before
    assert not list(real.folder.glob("*.part"))


def test_prepare_downloads_archives_that_are_missing(real, tmp_path, monkeypatch):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    archives(elsewhere, real)

    def sum_of(part):
        return checksum(elsewhere / part.archive, "sha256")

    local = {
        split: tuple(
            dataclasses.replace(part, url=f"file://{elsewhere}/{part.archive}", sha256=sum_of(part)) for part in parts
        )
        for split, parts in PARTS.items()
    }
    monkeypatch.setattr(corpus, "PARTS", local)
    remove(real)
    real.prepare_data()
    real.check()


def test_without_text_and_network_it_says_what_to_copy(real, monkeypatch):
    def offline(*args, **kwargs):
        raise DownloadError("no network")

    monkeypatch.setattr(corpus, "download", offline)
    remove(real, "train.tokens", "train.de", "train.en")
    with pytest.raises(DataNotFoundError, match=r"train.de and train.en\) or the archives \(training-parallel-euro"):
        real.prepare_data()


@pytest.mark.parametrize(
    ("damage", "said"), [("truncated", "is damaged"), ("other members", "does not contain dev/newstest2014")]
)
def test_a_damaged_archive_is_named(real, damage, said):
    archives(real.folder, real)
    path = real.folder / "dev.tgz"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        with tarfile.open(path, "w:gz") as tar:
            tar.add(real.folder / TOKENIZER, "dev/something")
    remove(real, "newstest2014.tokens")
    with pytest.raises(DataNotFoundError, match=rf"newstest2014.tokens is missing .*dev.tgz {said}"):
        real.prepare_data()
    assert not (real.folder / PARTS["test"][0].target).exists()


# Bad input


def test_unequal_line_counts_are_found(own_tiny):
    data = WmtData(TINY, own_tiny)
    with (data.folder / "newstest2013.de").open("a") as file:
        file.write("Noch ein Satz.\n")
    message = r"must be parallel, .*newstest2013.en ends after 64 sentences, .*newstest2013.de has more"
    with pytest.raises(DataNotFoundError, match=message):
        data.check()
    with pytest.raises(DataNotFoundError, match=message):
        data.fetch([data.folder / "newstest2013.tokens"])


@pytest.mark.parametrize(
    ("split", "lacking", "there"),
    [("train", "train.de", "train.en"), ("train", "train.en", "train.de"), ("test", "newstest2014.de", "2014.en")],
)
def test_one_plain_file_without_the_other_is_found(real, monkeypatch, split, lacking, there):
    monkeypatch.setattr(corpus, "download", lambda *args, **kwargs: pytest.fail("it is no reason to fetch 1.9 GB"))
    remove(real, lacking)
    message = (
        rf"the text of {split} must be parallel, .*{there} exists, but {lacking} does not\. Provide the right files"
    )
    with pytest.raises(DataNotFoundError, match=message):
        real.check()
    remove(real, "train.tokens" if split == "train" else "newstest2014.tokens")
    with pytest.raises(DataNotFoundError, match=message):
        real.prepare_data()


def test_a_published_file_without_the_other_is_completed_from_its_archive(real):
    english = (real.folder / "newstest2013.en").read_bytes()
    archives(real.folder, real)
    (real.folder / "newstest2013.en").write_bytes(english)  # a kill while unpacking may leave one
    remove(real, "newstest2013.tokens")
    real.prepare_data()
    assert (real.folder / "newstest2013.de").exists()


def test_empty_text_is_found(real):
    for language in ("de", "en"):
        (real.folder / f"train.{language}").write_text("")
    for missing in (TOKENIZER, "train.tokens"):
        with pytest.raises(
            DataNotFoundError, match=r"must be not empty, but .*train.de and .*train.en contain no sentence"
        ):
            real.fetch([real.folder / missing])


def test_text_that_is_no_utf_8_is_found(real):
    path = real.folder / "train.de"
    rows = path.read_bytes().split(b"\n")
    rows[17] = "Ein grüner Hund.".encode("latin-1")
    path.write_bytes(b"\n".join(rows))
    remove(real, "train.tokens")
    with pytest.raises(
        DataNotFoundError, match=r"expected UTF-8 text in train.de and train.en, but pair 18 is not UTF-8"
    ):
        real.prepare_data()


def test_other_numbers_of_pairs_than_the_benchmarks_are_found(real):
    spec = dataclasses.replace(real.spec, splits={**real.spec.splits, "train": 7_000, "test": 70})
    data = WmtData(spec, real.data_dir)
    with pytest.raises(DataNotFoundError, match=r"expected 70 sentence pairs of test, but .* contains 64"):
        data.fetch([data.folder / "newstest2014.tokens"])
    with pytest.warns(
        UserWarning, match=r"expected 7,000 sentence pairs of train, but .* contains 6,000. Times are then"
    ):
        data.fetch([data.folder / "train.tokens"])


def test_text_that_changed_since_is_found(own_tiny):
    data = WmtData(TINY, own_tiny)
    with (data.folder / "train.de").open("a") as file:
        file.write("\n")  # a pair with empty sides is none
    with (data.folder / "train.en").open("a") as file:
        file.write("\n")
    with pytest.raises(DataNotFoundError, match=r"train.tokens is damaged: expected the 6,000 pairs of"):
        data.check()


def test_too_little_text_for_the_tokenizer_is_said(real):
    for language in ("de", "en"):
        (real.folder / f"train.{language}").write_text("aa\n" * 6_000)
    with pytest.raises(DataNotFoundError, match=r"no tokenizer of 150 ids can be made from .*train.de"):
        real.fetch([real.folder / TOKENIZER])


def model_with(real, **special):
    """A tokenizer of the right size whose special tokens have other ids."""
    from sentencepiece import SentencePieceTrainer

    text = sample(corpus.find_text(real.folder, "train"), 50_000)
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=text, model_writer=model, vocab_size=150, character_coverage=1.0, minloglevel=2, **special
    )
    return model.getvalue()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(lambda real: b"", "it is empty", id="empty"),
        pytest.param(lambda real: b"no model", "reading failed", id="other"),
        pytest.param(
            lambda real: train_tokenizer(sample(corpus.find_text(real.folder, "train"), 50_000), 120),
            "it has 120",
            id="of-another-size",
        ),
        pytest.param(
            lambda real: model_with(real, pad_id=0, unk_id=1, bos_id=2, eos_id=3),
            r"should be the ids \(0, 1, 2, -1\), but are \(1, 2, 3, 0\)",
            id="of-another-library",
        ),
        pytest.param(lambda real: model_with(real, pad_id=3), r"but are \(0, 1, 2, 3\)", id="an-id-for-padding"),
    ],
)
def test_a_wrong_tokenizer_is_found(real, content, found):
    (real.folder / TOKENIZER).write_bytes(content(real))
    with pytest.raises(
        DataNotFoundError, match=rf"sentencepiece_model is damaged: expected a SentencePiece model of 150 .*{found}"
    ):
        WmtData(real.spec, real.data_dir).check()


def test_tokens_of_another_tokenizer_are_found(own_tiny):
    data = WmtData(TINY, own_tiny)
    content = train_tokenizer(sample(corpus.find_text(data.folder, "train"), 50_000), 150)
    (data.folder / TOKENIZER).write_bytes(content)
    with pytest.raises(DataNotFoundError, match=r"train.tokens is damaged: .* they are another tokenizer's"):
        data.open("train")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_missing_files_are_named(own_tiny, split):
    data = WmtData(TINY, own_tiny)
    name = "train.tokens" if split == "train" else TOKENIZER
    (data.folder / name).unlink()
    with pytest.raises(DataNotFoundError, match=rf"{name} is missing"):
        data.open(split)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda data: b"", "expected a token file", id="empty"),
        pytest.param(lambda data: b"PK" + data[2:], "expected a token file", id="another-file"),
        pytest.param(lambda data: data[:-2], r"expected [\d,]+ bytes for 6,000 pairs", id="truncated"),
        pytest.param(lambda data: data[: HEADER_SIZE + 50], "expected at least 144,064 bytes", id="truncated-table"),
        pytest.param(lambda data: data + b"ab", r"expected [\d,]+ bytes for 6,000 pairs", id="longer"),
        pytest.param(lambda data: data[:8] + bytes(8) + data[16:], "expected sentence pairs", id="no-pairs"),
        pytest.param(lambda data: data[:-4] + b"\xff\xff" + data[-2:], "expected ids below 150, but one is 65,535"),
        pytest.param(lambda data: data[:-4] + b"\x05\x00" + data[-2:], "expected content with CRC-32", id="one-id"),
        pytest.param(
            lambda data: data[:HEADER_SIZE] + b"\x01" + data[HEADER_SIZE + 1 :], "expected content with", id="one-end"
        ),
    ],
)
def test_damaged_token_files_are_found(own_tiny, change, message):
    data = WmtData(TINY, own_tiny)
    path = data.folder / "train.tokens"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataNotFoundError, match=rf"train.tokens is damaged: {message}.* Delete this file, then run"):
        data.check()
