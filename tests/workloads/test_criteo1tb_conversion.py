"""From text to converted files, and what is said of damaged text."""

from __future__ import annotations

import dataclasses
import gzip
import json

import numpy as np
import pytest
import torch

from algoperf_lightning.data import DataNotFoundError, Draws
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.workloads.criteo1tb import conversion
from algoperf_lightning.workloads.criteo1tb import data as criteo_data
from algoperf_lightning.workloads.criteo1tb.data import Criteo1TBData
from algoperf_lightning.workloads.criteo1tb.parsing import ROW, parse
from algoperf_lightning.workloads.criteo1tb.parts import FinishedParts, PartWriter
from algoperf_lightning.workloads.criteo1tb.reading import read_index
from algoperf_lightning.workloads.criteo1tb.spec import CRITEO1TB
from algoperf_lightning.workloads.criteo1tb.tiny import ClickModel

PART = 10
DAYS = (25,) * 23 + (19 * PART + 25,)
"""Rows of each day of a small data set that is not marked as tiny."""
SPEC = dataclasses.replace(CRITEO1TB, splits={"train": 23 * 25, "eval_train": 230, "validation": 25, "test": 19 * PART})


@pytest.fixture(scope="module")
def texts():
    """The text of each day."""
    model = ClickModel(np.random.RandomState(1))
    return [model.rows(rows) for rows in DAYS]


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(criteo_data, "ROWS_PER_PART", PART)
    monkeypatch.setattr(conversion, "_BLOCK", 3_000)  # some twelve lines


def write_raw(folder, texts, form="gz"):
    (folder / "criteo1tb").mkdir(exist_ok=True)
    for day, text in enumerate(texts):
        path = folder / "criteo1tb" / f"day_{day}"
        if form == "gz":
            path.with_suffix(".gz").write_bytes(gzip.compress(text))
        elif form == "plain":
            path.write_bytes(text)
        else:
            lines = text.splitlines(keepends=True)
            for shard, begin in enumerate(range(0, len(lines), PART)):
                path.with_name(f"{path.name}_{shard:02}").write_bytes(b"".join(lines[begin : begin + PART]))


def converted(folder):
    return {path.name: path.read_bytes() for path in (folder / "criteo1tb" / "converted").iterdir()}


def flip(path):
    content = bytearray(path.read_bytes())
    content[-40] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("form", ["gz", "plain", "shards"])
def test_text_of_every_official_form_gives_the_same_rows(form, texts, tmp_path, small_parts):
    write_raw(tmp_path, texts, form)
    data = Criteo1TBData(SPEC, tmp_path)
    data.prepare_data()
    data.check()
    expected = [parse(text) for text in texts]
    train = np.concatenate(expected[:23])
    for split, rows in (("train", train), ("test", expected[23][:190]), ("validation", expected[23][190:])):
        examples = data.open(split)
        indices = np.arange(len(examples))
        batch = examples.read(indices, Draws(0, indices))
        assert batch["inputs"].dtype == batch["targets"].dtype == torch.float32
        assert batch["ids"].dtype == torch.int32
        assert np.array_equal(batch["targets"], rows["label"])
        assert np.array_equal(batch["inputs"], rows["dense"])
        for column in range(26):
            assert np.array_equal(batch["ids"][:, column], rows[f"id_{column}"]), column
    index = json.loads((data.converted / "day_3.json").read_text())
    assert [part["rows"] for part in index["parts"]] == [10, 10, 5]
    assert index["rows"] == 25
    assert np.load(data.converted / "day_3_02.npy").dtype == ROW


def test_a_conversion_goes_on_where_it_broke_off(texts, tmp_path, small_parts, monkeypatch):
    write_raw(tmp_path, texts)
    data = Criteo1TBData(SPEC, tmp_path)
    data.prepare_data()
    whole = converted(tmp_path)
    for day in (5, 7, 9):  # as a kill leaves them
        index = data.converted / f"day_{day}.json"
        FinishedParts(data.converted, day).add(read_index(index)[0])
        index.unlink()
    for name in ("day_5_02.npy", "day_7_01.npy"):
        (data.converted / name).unlink()
    stale = data.converted / ".day_7_01.npy.123"
    stale.write_bytes(b"of a run that was killed")
    before = {path.name: path.stat().st_mtime_ns for path in data.converted.glob("*.npy")}
    parsed = []
    monkeypatch.setattr(conversion, "parse", lambda text: parsed.append(text.count(b"\n")) or parse(text))
    data.prepare_data()
    assert converted(tmp_path) == whole
    after = {path.name: path.stat().st_mtime_ns for path in data.converted.glob("*.npy")}
    assert {name for name in after if after[name] != before.get(name)} == {
        "day_5_02.npy",
        "day_7_01.npy",
        "day_7_02.npy",
        "day_9_02.npy",
    }  # the short last part of a day cannot be told from one that was cut off
    assert sum(parsed) < 60
    data.prepare_data()
    assert sum(parsed) < 60


@pytest.mark.parametrize("form", ["gz", "shards"])
def test_parts_that_changed_after_they_were_written_are_written_again(form, texts, tmp_path, small_parts):
    for folder in (tmp_path / "whole", tmp_path / "broken"):
        folder.mkdir()
        write_raw(folder, texts, form)
    Criteo1TBData(SPEC, tmp_path / "whole").prepare_data()
    whole = converted(tmp_path / "whole")
    raw = tmp_path / "broken" / "criteo1tb" / ("day_23.gz" if form == "gz" else "day_23_21")
    good = raw.read_bytes()
    raw.write_bytes(gzip.compress(gzip.decompress(good)[:-90]) if form == "gz" else good[:-90])
    data = Criteo1TBData(SPEC, tmp_path / "broken")
    with pytest.raises(DataNotFoundError, match=f"{raw.name} is damaged"):
        data.prepare_data()
    raw.write_bytes(good)
    before = {path.name: path.stat().st_mtime_ns for path in data.converted.glob("day_23_*.npy")}
    flip(data.converted / "day_23_03.npy")
    data.prepare_data()
    assert converted(tmp_path / "broken") == whole
    after = {name: (data.converted / name).stat().st_mtime_ns for name in before}
    assert len(before) > 10
    assert {name for name in before if after[name] != before[name]} == {"day_23_03.npy"}

    flip(data.converted / "day_23_04.npy")
    (data.converted / "day_23_06.npy").unlink()
    data.prepare_data()
    assert converted(tmp_path / "broken") == whole


def test_a_day_without_its_index_is_converted_anew(texts, tmp_path, small_parts):
    write_raw(tmp_path, texts)
    data = Criteo1TBData(SPEC, tmp_path)
    data.prepare_data()
    whole = converted(tmp_path)
    flip(data.converted / "day_5_00.npy")
    (data.converted / "day_5.json").unlink()
    data.prepare_data()
    assert converted(tmp_path) == whole


def test_shards_that_are_converted_are_not_read_again(texts, tmp_path, small_parts):
    write_raw(tmp_path, texts, "shards")
    data = Criteo1TBData(SPEC, tmp_path)
    data.prepare_data()
    whole = converted(tmp_path)
    (data.converted / "day_23_04.npy").unlink()
    with pytest.raises(DataNotFoundError, match=r"day_23_04.npy is missing.*data prepare"):
        data.open("train")
    data.prepare_data()
    assert converted(tmp_path) == whole


def test_text_may_be_deleted_after_conversion(texts, tmp_path, small_parts):
    write_raw(tmp_path, texts)
    data = Criteo1TBData(SPEC, tmp_path)
    data.prepare_data()
    for path in (tmp_path / "criteo1tb").glob("day_*.gz"):
        path.unlink()
    data.prepare_data()
    data.check()


def test_a_last_line_may_lack_its_end(texts, tmp_path, small_parts):
    write_raw(tmp_path, [*texts[:22], texts[22].removesuffix(b"\n"), texts[23]])
    data = Criteo1TBData(SPEC, tmp_path)
    data.prepare_data()
    assert len(data.open("train")) == 23 * 25


def bad_text(text):
    lines = text.splitlines(keepends=True)
    lines[17] = lines[17].replace(b"\n", b"x\n")
    return b"".join(lines)


def garbled(text):
    packed = bytearray(gzip.compress(text))
    packed[200:260] = bytes(60)
    return packed


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        pytest.param("day_8.gz", lambda t: gzip.compress(bad_text(t)), "category 26, but line 18 has", id="line"),
        pytest.param("day_8.gz", lambda t: gzip.compress(t)[:-60], "expected a complete gzip file", id="cut"),
        pytest.param("day_8.gz", garbled, "expected", id="garbled"),
        pytest.param("day_8.gz", lambda t: t, "expected a complete gzip file", id="no-gzip"),
        pytest.param("day_8.gz", lambda t: gzip.compress(b""), "it is empty", id="empty"),
        pytest.param("day_8.gz", lambda t: gzip.compress(t.replace(b"\n", b"\t")), "expected 40 fields", id="one-line"),
        pytest.param("day_8.gz", lambda t: gzip.compress(b"x" * 10**6), "'xxx.*does not end", id="endless-line"),
        pytest.param("day_8", lambda t: t[:-200], "expected 40 fields between tabs, but line 25", id="cut-text"),
        pytest.param("day_8", lambda t: b"label\tcount\n" + t, "line 1 has 2", id="header"),
    ],
)
def test_damaged_text_is_named_and_the_rest_is_kept(name, damage, message, texts, tmp_path, small_parts):
    form = "gz" if name.endswith(".gz") else "plain"
    write_raw(tmp_path, texts, form)
    (tmp_path / "criteo1tb" / name).write_bytes(damage(texts[8]))
    data = Criteo1TBData(SPEC, tmp_path)
    with pytest.raises(DataNotFoundError, match=rf"{name} is damaged: .*{message}.*data prepare criteo1tb"):
        data.prepare_data()
    assert not (data.converted / "day_8.json").exists()
    assert not list(data.converted.glob(".*"))
    write_raw(tmp_path, texts, form)
    data.prepare_data()
    data.check()


@pytest.mark.parametrize(
    ("shard", "text", "message"),
    [
        pytest.param(
            "day_8_01", lambda lines: lines[:9], "day_8_01 is damaged: expected 10 lines, .*it has 9", id="short"
        ),
        pytest.param("day_8_00", lambda lines: lines + lines[:3], "day_8_00 is damaged: .*it has 13", id="long"),
        pytest.param("day_8_01", None, "among the shards of day 8 there is no day_8_01", id="missing"),
    ],
)
def test_damaged_shards_are_named(shard, text, message, texts, tmp_path, small_parts):
    write_raw(tmp_path, texts, "shards")
    path = tmp_path / "criteo1tb" / shard
    if text is None:
        path.unlink()
    else:
        path.write_bytes(b"".join(text(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(DataNotFoundError, match=message):
        Criteo1TBData(SPEC, tmp_path).prepare_data()


def test_missing_text_is_asked_for(tmp_path):
    with pytest.raises(
        DataNotFoundError, match=r"no day_0.gz, day_0 or day_0_00 in .*Criteo's 1TB Click Logs.*data tiny"
    ):
        Criteo1TBData(CRITEO1TB, tmp_path).prepare_data()


def test_a_day_that_lacks_its_last_shard_is_noticed_by_the_number_of_rows(texts, tmp_path, small_parts):
    write_raw(tmp_path, texts, "shards")
    (tmp_path / "criteo1tb" / "day_4_02").unlink()
    data = Criteo1TBData(SPEC, tmp_path)
    data.prepare_data()
    with pytest.raises(DataNotFoundError, match=r"train .* contain 570 rows, but expected 575"):
        data.open("train")
    data.open("validation")


def test_a_full_disk_is_told(texts, tmp_path, small_parts, monkeypatch):
    def full(self, rows):
        raise OSError(28, "No space left on device")

    write_raw(tmp_path, texts)
    monkeypatch.setattr(PartWriter, "write", full)
    with pytest.raises(BadInputError, match=r"disk of .* is full.*494 GB.*again to continue"):
        Criteo1TBData(SPEC, tmp_path).prepare_data()
    assert not converted(tmp_path)
