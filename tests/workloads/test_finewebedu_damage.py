"""Data of finewebedu_lm that are damaged, or something else than they should be: all is named."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from test_finewebedu_data import ROWS, SMALL, folder_with, save_folder, stream_of

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.workloads.finewebedu.data import FineWebEduData
from algoperf_lightning.workloads.finewebedu.reading import HEADER_SIZE, DamagedError
from algoperf_lightning.workloads.finewebedu.sources import ArrowFolder, find_tokens


@pytest.fixture
def prepared(tmp_path):
    """Twelve windows to train on, four to validate, as token files and what they are from."""
    data = folder_with(tmp_path, np.arange(125) % 64, np.arange(45) % 64)
    data.prepare_data()
    return data


def truncate(path, by):
    path.write_bytes(path.read_bytes()[:-by])


def put(path, offset, content):
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: truncate(path, 20), r"282 bytes for 125 tokens, but it has 262"),
        (lambda path: truncate(path, path.stat().st_size), "starts with 'fwe-tok1', but it is empty"),
        (lambda path: truncate(path, path.stat().st_size - HEADER_SIZE), "282 bytes for 125 tokens, but it has 32"),
        (lambda path: path.write_bytes(b"\x00" * 500), "starts with 'fwe-tok1'"),
        (lambda path: put(path, 100, b"\x05"), "CRC-32"),
        (lambda path: put(path, 100, b"\x40\x00"), "ids below 64, but one is 64"),
        (lambda path: put(path, 24, b"\x61"), "ids of a vocabulary of 64, but they are of one of 97"),
    ],
    ids=["truncated", "empty", "header only", "no header", "flipped", "out of range", "vocabulary"],
)
def test_a_damaged_token_file_is_found_by_check(prepared, damage, message):
    damage(prepared.folder / "train.tokens")
    with pytest.raises(DataNotFoundError, match=message) as caught:
        FineWebEduData(SMALL, prepared.data_dir).check()
    assert "train.tokens" in str(caught.value)
    assert "algoperf data prepare finewebedu_lm" in str(caught.value)


def test_a_token_file_of_other_tokens_is_found_by_check(prepared):
    np.full(200, 3, "<u2").tofile(prepared.folder / "train.bin")
    with pytest.raises(DataNotFoundError, match=r"the 200 tokens of .*but it was made from 125 tokens"):
        FineWebEduData(SMALL, prepared.data_dir).check()


@pytest.mark.parametrize("bad", [-1, 64, 50_256])
def test_ids_out_of_range_are_named_with_their_file(tmp_path, bad):
    data = folder_with(tmp_path, np.zeros(125), np.zeros(45))
    (data.folder / "train.bin").unlink()
    save_folder(data.folder / "train", [[1] * 130, [bad]])
    with pytest.raises(DataNotFoundError, match=f"data-00000-of-00001.arrow .*ids from 0 to 63, but one is {bad:,}"):
        data.prepare_data()
    assert not (data.folder / "train.tokens").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.bin", b"", "expected tokens, but it is empty"),
        ("train.bin", b"\x01\x00\x02", "two bytes for each token, but it has 3 bytes"),
        ("train.npy", b"no array", "an array of integers, but reading failed"),
    ],
)
def test_flat_files_that_are_none_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedError, match=message):
        find_tokens(tmp_path, "train")


@pytest.mark.parametrize("array", [np.zeros(4, np.float32), np.zeros((2, 2), np.uint16)], ids=["floats", "axes"])
def test_arrays_that_hold_no_stream_of_ids_are_refused(tmp_path, array):
    np.save(tmp_path / "train.npy", array)
    with pytest.raises(DamagedError, match=r"with one axis .* but it is (float32|uint16) with shape"):
        find_tokens(tmp_path, "train")


def test_a_broken_off_file_with_the_header_of_llm_c_is_refused(tmp_path):
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, 1, 30
    (tmp_path / "x_train_0.bin").write_bytes(header.tobytes() + b"\x00" * 50)
    with pytest.raises(DamagedError, match="1,084 bytes for 30 tokens, but it has 1,074"):
        find_tokens(tmp_path, "train")


def test_folders_that_are_damaged_are_refused(tmp_path):
    folder = save_folder(tmp_path / "train", ROWS)
    arrow = folder / "data-00000-of-00001.arrow"
    whole = arrow.read_bytes()
    cases = {
        "truncated": whole[:-8],  # would read as a short file
        "a complete Arrow stream": whole[:-100],
        "reading failed": whole[: len(whole) // 2] + whole[-8:],
    }
    for message, content in cases.items():
        arrow.write_bytes(content)
        with pytest.raises(DamagedError, match=message):
            stream_of(ArrowFolder(folder))
    arrow.unlink()
    with pytest.raises(DamagedError, match=r"a file that state.json names, but it is missing"):
        ArrowFolder(folder)
    for state in ("{", "[]", '{"_data_files": [3]}'):
        (folder / "state.json").write_text(state)
        with pytest.raises(DamagedError, match=r"state.json.*_data_files"):
            ArrowFolder(folder)


@pytest.mark.parametrize(
    ("column", "type_", "rows", "message"),
    [
        ("tokens", None, ROWS, r"a column 'input_ids', but its columns are \['tokens'\]"),
        ("input_ids", pa.list_(pa.float32()), ROWS, "lists of integers in 'input_ids', but they are list<"),
        ("input_ids", pa.int32(), [1, 2], "lists of integers in 'input_ids', but they are int32"),
        ("input_ids", None, [[1, None]], "some are null"),
    ],
)
def test_folders_of_something_else_are_refused(tmp_path, column, type_, rows, message):
    with pytest.raises(DamagedError, match=message):
        ArrowFolder(save_folder(tmp_path / "train", rows, column, type_))


def test_a_folder_without_tokens_is_refused(tmp_path):
    data = folder_with(tmp_path, np.zeros(125), np.zeros(45))
    (data.folder / "train.bin").unlink()
    save_folder(data.folder / "train", [[], []])
    with pytest.raises(DataNotFoundError, match="contains 0 windows"):
        data.prepare_data()


def test_one_split_alone_is_not_enough(tmp_path):
    data = folder_with(tmp_path, np.zeros(125), np.zeros(45))
    (data.folder / "val.bin").unlink()
    with pytest.raises(DataNotFoundError, match=r"the tokens of train, but not of validation.*val\.bin"):
        data.prepare_data()


def test_too_little_to_evaluate_is_refused_and_too_little_to_train_on_is_told(tmp_path):
    short = folder_with(tmp_path, np.zeros(125), np.zeros(39))
    with pytest.raises(DataNotFoundError, match="contains 3 windows of 10 tokens for validation, but expected 4"):
        short.prepare_data()
    data = folder_with(tmp_path, np.zeros(119), np.zeros(45))
    with pytest.warns(UserWarning, match="contains 11 windows of 10 tokens for train, but expected 12.*comparable"):
        data.prepare_data()
    with pytest.warns(UserWarning, match="comparable"):
        assert len(data.open("train")) == 11
