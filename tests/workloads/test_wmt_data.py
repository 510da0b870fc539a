"""Data of wmt: tokenizer, token files, splits."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.data.streams import EvaluationBatches, TrainingStream
from algoperf_lightning.workloads.wmt import conversion, corpus
from algoperf_lightning.workloads.wmt.corpus import Text, reading_order, sample
from algoperf_lightning.workloads.wmt.data import TINY_PAIRS, WmtData
from algoperf_lightning.workloads.wmt.reading import TokenFile
from algoperf_lightning.workloads.wmt.spec import TOKENIZER, WMT_SPEC
from algoperf_lightning.workloads.wmt.tokenizer import Tokenizer, train_tokenizer

TINY = WMT_SPEC.of(tiny=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("wmt")
    WmtData(WMT_SPEC, folder).write_tiny()
    return folder


def lines(path):
    return path.read_text().split("\n")[:-1]


# Tokenizer


def test_the_tokenizer_has_the_settings_of_the_reference(tiny):
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(tiny / "wmt" / TOKENIZER))
    assert model.vocab_size() == TINY.model["vocabulary"]
    assert [model.id_to_piece(number) for number in range(3)] == ["<unk>", "<s>", "</s>"]
    assert model.pad_id() == -1
    letters = {letter for language in ("de", "en") for letter in (tiny / "wmt" / f"train.{language}").read_text()}
    covered = {model.id_to_piece(number) for number in range(model.vocab_size())}
    assert letters - {" ", "\n"} <= covered  # a coverage of 1


def test_ids_have_an_end_and_no_start_and_unknowns_are_0(tiny):
    tokenizer = Tokenizer(tiny / "wmt" / TOKENIZER)
    ids = tokenizer.encode(["Der Hund.", "Der 猫 Hund."])
    assert all(sentence[-1] == 2 and 1 not in sentence for sentence in ids)
    assert ids[1].count(0) == 1
    assert tokenizer.decode([ids[0], ids[1]]) == ["Der Hund.", "Der  ⁇  Hund."]
    assert tokenizer.decode(tokenizer.encode(["Ｄer \t Hund  ."])) == ["Der Hund ."]  # NFKC, white space
    assert tokenizer.decode([]) == []


def test_the_same_text_gives_the_same_tokenizer_as_the_library_makes_of_a_file(tiny, tmp_path):
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    texts = corpus.find_text(tiny / "wmt", "train")
    made = [train_tokenizer(sample(texts, 100_000), 120) for _ in range(2)]
    assert made[0] == made[1]
    (tmp_path / "text").write_bytes(b"".join(line + b"\n" for line in sample(texts, 100_000)))
    options = f"--vocab_size=120 --character_coverage=1.0 --model_prefix={tmp_path}/model --model_type=unigram"
    SentencePieceTrainer.train(f"--input={tmp_path}/text {options} --minloglevel=1")
    ours = SentencePieceProcessor(model_proto=made[0])
    theirs = SentencePieceProcessor(model_file=f"{tmp_path}/model.model")
    for number in range(120):
        assert ours.id_to_piece(number) == theirs.id_to_piece(number)
        assert ours.get_score(number) == theirs.get_score(number)


def test_text_for_the_tokenizer_ends_with_the_pair_that_reaches_the_size(tmp_path):
    for language in ("de", "en"):
        (tmp_path / f"train.{language}").write_text("".join(f"{language}{n:02}\n" for n in range(50)))
    text = [Text("train", tmp_path / "train.de", tmp_path / "train.en")]
    taken = list(sample(text, 95))  # each pair has ten bytes
    assert len(taken) == 20
    assert all(
        german.startswith(b"de") and english == b"en" + german[2:]
        for german, english in zip(taken[::2], taken[1::2], strict=True)
    )
    assert taken == list(sample(text, 1_000))[:20] != sorted(taken)
    assert len(list(sample(text, 100))) == 20
    assert len(list(sample(text, 101))) == 22


def test_reading_order_takes_blocks_of_sorted_shards_in_turns():
    keys = np.random.RandomState(0).permutation(70).astype(np.uint64)
    ranked = [int(np.flatnonzero(keys == key)[0]) for key in range(70)]
    bounds = [0, 18, 35, 52, 70]
    shards = [ranked[begin:end] for begin, end in pairwise(bounds)]
    expected = [n for block in range(0, 18, 3) for shard in shards for n in shard[block : block + 3]]
    assert reading_order(keys, shards=4, block=3).tolist() == expected


# Token files


def test_token_files_hold_what_the_tokenizer_makes_of_the_text(tiny):
    data = WmtData(TINY, tiny)
    for split, stem in (("train", "train"), ("test", "newstest2014")):
        german, english = (lines(data.folder / f"{stem}.{language}") for language in ("de", "en"))
        file = TokenFile(data.folder / f"{stem}.tokens")
        assert len(file) == len(german) == TINY_PAIRS[split]
        pairs = np.arange(len(file))
        for side, text in enumerate((german, english)):
            expected = data.tokenizer.encode(text)
            assert [[t for t in row if t] for row in file.padded(pairs, side, 128).tolist()] == expected
            assert file.lengths()[:, side].tolist() == file.known[:, side].tolist() == [len(ids) for ids in expected]


class Counting:
    """A tokenizer that notes how many sentences it has seen, and may be killed."""

    def __init__(self, tokenizer, until=None):
        self.tokenizer, self.until, self.seen = tokenizer, until, 0
        self.size, self.fingerprint = tokenizer.size, tokenizer.fingerprint

    def encode(self, sentences):
        if self.until is not None and self.seen >= self.until:
            raise KeyboardInterrupt
        self.seen += len(sentences)
        return self.tokenizer.encode(sentences)


def test_tokenising_goes_on_where_it_was_killed(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "_CHUNK", 500)
    data = WmtData(TINY, tiny)
    text = list(zip(*(lines(data.folder / f"train.{language}") for language in ("de", "en")), strict=True))
    path = tmp_path / "train.tokens"

    def write(encoder, size=7):
        conversion.write_token_file(path, lambda: iter(text), len(text), size, encoder, "tokens")

    with pytest.raises(KeyboardInterrupt):
        write(Counting(data.tokenizer, until=4_000))
    assert not path.exists()
    with path.with_name("train.tokens.part").open("ab") as file:
        file.write(b"ids of pairs that are not noted down yet")
    write(rest := Counting(data.tokenizer))
    assert rest.seen == 2 * len(text) - 4_000
    resumed = path.read_bytes()
    path.unlink()
    write(data.tokenizer)
    assert path.read_bytes() == resumed
    assert not path.with_name("train.tokens.part").exists()
    with pytest.raises(KeyboardInterrupt):
        write(Counting(data.tokenizer, until=4_000))
    write(fresh := Counting(data.tokenizer), size=8)  # of another text
    assert fresh.seen == 2 * len(text)


def test_long_pairs_are_left_out_of_all_splits(tiny):
    short = dataclasses.replace(TINY, data={"length": 20})
    data = WmtData(short, tiny)
    for split in ("train", "eval_train", "validation", "test"):
        examples = data.open(split)
        lengths = examples.tokens.lengths()
        assert 0 < lengths[examples.pairs].max() <= 20 < lengths.max()
        if split != "eval_train":
            assert len(examples.pairs) == (lengths <= 20).all(1).sum()
    with pytest.raises(DataNotFoundError, match="expected sentence pairs of 2 tokens at most, but all"):
        WmtData(dataclasses.replace(TINY, data={"length": 2}), tiny).open("validation")


# Splits


def test_evaluated_pairs_are_those_of_the_file_by_length(tiny):
    examples = WmtData(TINY, tiny).open("validation")
    batches = list(EvaluationBatches(examples, 24))
    inputs = torch.cat([batch["inputs"][batch["weights"] > 0] for batch in batches])
    assert inputs.shape == (64, TINY.data["length"])
    lengths = (inputs > 0).sum(1)
    assert torch.equal(lengths, lengths.sort().values)
    tokenizer = Tokenizer(tiny / "wmt" / TOKENIZER)
    texts = [tokenizer.decode([[t for t in row if t]])[0] for row in inputs.tolist()]
    assert sorted(texts) == sorted(lines(tiny / "wmt" / "newstest2013.de"))


def test_the_seed_decides_the_rows_and_the_pairs_of_training_that_are_evaluated(tiny):
    def batch(split, seed):
        examples = WmtData(TINY, tiny, seed=seed).open(split)
        return next(iter(TrainingStream(examples, 8, seed=0)))["inputs"].tolist()

    for split in ("train", "eval_train"):
        assert batch(split, 1) == batch(split, 1) != batch(split, 2)
    assert batch("validation", 1) == batch("validation", 2)
    chosen = WmtData(TINY, tiny, seed=1).open("eval_train")
    assert len(set(chosen.pairs.tolist())) == len(chosen) == TINY.splits["eval_train"]


def test_the_full_size_workload_reads_tiny_data(tiny):
    data = WmtData(WMT_SPEC, tiny)
    data.prepare_data()
    data.check()
    batch = next(iter(TrainingStream(data.open("train"), 4, seed=0)))
    assert {values.shape for values in batch.values()} == {(4, 256)}
    assert batch["inputs_segmentation"].max() > 6
