"""The files of fastmri: splits, headers, index, damage."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil

import h5py
import numpy as np
import pytest
import torch

from algoperf_lightning.data import DataNotFoundError, Draws
from algoperf_lightning.data.streams import EvaluationBatches, Loader, TrainingStream
from algoperf_lightning.workloads.fastmri import data as fastmri_data
from algoperf_lightning.workloads.fastmri import reading
from algoperf_lightning.workloads.fastmri.data import FastMRIData
from algoperf_lightning.workloads.fastmri.spec import FASTMRI

TRAIN, VALIDATION = "knee_singlecoil_train", "knee_singlecoil_val"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("fastmri")
    FastMRIData(FASTMRI, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tiny, tmp_path):
    """To damage."""
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    return tmp_path


def read(examples, *indices):
    rows = np.array(indices, dtype=np.int64)
    return examples.read(rows, Draws(0, rows))


# Splits


def test_every_split_reads_as_declared(tiny):
    data = FastMRIData(FASTMRI, tiny)
    data.prepare_data()
    data.check()
    sizes = {split: len(data.open(split)) for split in FASTMRI.splits}
    assert sizes == {"train": 192, "eval_train": 19, "validation": 32, "test": 32} == FASTMRI.of(tiny=True).splits
    for split in FASTMRI.splits:
        batch = next(iter(EvaluationBatches(data.open(split), 16)))
        count = len(batch["weights"])
        assert batch["inputs"].shape == batch["targets"].shape == (count, 64, 64)
        assert all(batch[name].shape == (count,) for name in ("mean", "std", "volume_max", "weights"))
        assert {value.dtype for value in batch.values()} == {torch.float32}
        assert batch["inputs"].mean((1, 2)).abs().max() < 0.2  # little is cut
        assert (batch["inputs"].abs().max() <= 6) & (batch["targets"].abs().max() <= 6)


def test_validation_is_the_first_hundred_of_the_sorted_official_files(monkeypatch, tmp_path):
    names = sorted(f"file{number}.h5" for number in range(1, 200))  # as strings: file10 before file2

    def volume(name):
        return reading.Volume(name, 1, 1, (18, 640, 368), (18, 320, 320), 1.0, 2048, 4096)

    monkeypatch.setattr(fastmri_data, "read_index", lambda *_: [volume(name) for name in names])
    monkeypatch.setattr(FastMRIData, "require_files", lambda self: None)
    splits = {**FASTMRI.splits, "validation": 1_800, "test": 1_782}
    monkeypatch.setattr(fastmri_data, "FASTMRI", dataclasses.replace(FASTMRI, splits=splits))
    data = FastMRIData(FASTMRI, tmp_path)
    validation, test = (data.open(split).reader.volumes for split in ("validation", "test"))
    assert [volume.name for volume in validation] == names[:100]
    assert [volume.name for volume in test] == names[100:]
    assert len(test) == 99


def test_batches_are_the_same_from_worker_processes(tiny):
    train = FastMRIData(FASTMRI, tiny).open("train")
    alone, helped = (Loader(TrainingStream(train, 8, seed=5), workers).open() for workers in (0, 2))
    for _ in range(3):
        one, other = next(alone), next(helped)
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(read(pickle.loads(pickle.dumps(train)), 7)["inputs"], read(train, 7)["inputs"])


# Headers and index


def rewritten(path, **changes):
    """Write a volume anew with some of its parts replaced, None for left out."""
    with h5py.File(path) as file:
        parts = {key: file[key][()] for key in file}
        attributes = dict(file.attrs)
    for name, value in changes.items():
        place = attributes if name in attributes else parts
        place[name] = value
    with h5py.File(path, "w") as file:
        for key, value in parts.items():
            if value is not None:
                file[key] = value
        for key, value in attributes.items():
            if value is not None:
                file.attrs[key] = value


def truncated(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "no-hdf5": lambda path: path.write_bytes(b"<html>Your link has expired</html>" * 100),
    "truncated": lambda path: truncated(path, 300_000),
    "truncated-header": lambda path: truncated(path, 600),
    "no-kspace": lambda path: rewritten(path, kspace=None),
    "no-target": lambda path: rewritten(path, reconstruction_esc=None),
    "no-maximum": lambda path: rewritten(path, max=None),
    "nan-maximum": lambda path: rewritten(path, max=float("nan")),
    "zero-maximum": lambda path: rewritten(path, max=0.0),
    "text-maximum": lambda path: rewritten(path, max="large"),
    "two-maxima": lambda path: rewritten(path, max=np.ones(2)),
    "other-type": lambda path: rewritten(path, kspace=np.zeros((8, 128, 74))),
    "multi-coil": lambda path: rewritten(path, kspace=np.zeros((8, 15, 128, 74), np.complex64)),
    "fewer-slices": lambda path: rewritten(path, reconstruction_esc=np.zeros((7, 64, 64), np.float32)),
    "no-slices": lambda path: rewritten(
        path, kspace=np.zeros((0, 128, 74), np.complex64), reconstruction_esc=np.zeros((0, 64, 64), np.float32)
    ),
    "small-kspace": lambda path: rewritten(path, kspace=np.ones((8, 128, 60), np.complex64)),
    "other-side": lambda path: rewritten(path, reconstruction_esc=np.ones((8, 60, 64), np.float32)),
}
EXPECTED = {
    "no-kspace": "'kspace', complex64 of shape .*, but it has only ismrmrd_header, reconstruction_esc",
    "no-target": "'reconstruction_esc', float32",
    "no-maximum": "attribute 'max', a positive number, but it is None",
    "nan-maximum": "attribute 'max', a positive number, but it is .*nan",
    "zero-maximum": "attribute 'max', a positive number, but it is .*0",
    "multi-coil": r"but it is complex64 of shape \(8, 15, 128, 74\)",
    "fewer-slices": "but there are 8 and 7",
    "other-side": r"targets of \(64, 64\) pixels, but they are \(60, 64\)",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_volume_is_named_when_it_is_opened(own_tiny, damage):
    FastMRIData(FASTMRI, own_tiny).open("train")  # there is an index from before
    DAMAGE[damage](own_tiny / "fastmri" / TRAIN / "file0000007.h5")
    expected = EXPECTED.get(damage, "expected")
    with pytest.raises(DataNotFoundError, match=rf"file0000007\.h5 is damaged: .*{expected}.*algoperf data tiny"):
        FastMRIData(FASTMRI, own_tiny).open("train")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({"kspace": np.full((8, 128, 74), np.nan, np.complex64)}, id="kspace-nan"),
        pytest.param({"kspace": np.zeros((8, 128, 74), np.complex64)}, id="kspace-zero"),
        pytest.param({"reconstruction_esc": np.full((8, 64, 64), np.inf, np.float32)}, id="target-inf"),
    ],
)
def test_check_finds_damaged_values(own_tiny, spoil):
    rewritten(own_tiny / "fastmri" / VALIDATION / "file0000008.h5", **spoil)
    data = FastMRIData(FASTMRI, own_tiny)
    data.open("test")
    with pytest.raises(DataNotFoundError, match=r"file0000008\.h5 is damaged: .*slice 0"):
        data.check()


def test_check_goes_through_all_bytes(own_tiny):
    path = own_tiny / "fastmri" / TRAIN / "file0000024.h5"
    with h5py.File(path, "r+") as file:
        file["kspace"][7, 127, 70] = complex(0, np.inf)
    with pytest.raises(DataNotFoundError, match=r"file0000024\.h5 is damaged: .*slice 7"):
        FastMRIData(FASTMRI, own_tiny).check()


def test_file_that_shrinks_or_goes_during_a_run_is_named(own_tiny):
    train = FastMRIData(FASTMRI, own_tiny).open("train")
    path = own_tiny / "fastmri" / TRAIN / "file0000001.h5"
    truncated(path, 100_000)
    with pytest.raises(DataNotFoundError, match=r"file0000001\.h5 is damaged: .*slice 7 of 8.*ends .* early"):
        read(train, 7)
    path.unlink()
    with pytest.raises(DataNotFoundError, match=r"file0000001\.h5 is damaged: .*No such file"):
        read(train, 7)


def test_index_is_kept_and_notices_changes(own_tiny, monkeypatch):
    opened = []
    original = reading.read_header

    def spy(path):
        opened.append(path.name)
        return original(path)

    monkeypatch.setattr(reading, "read_header", spy)
    first = FastMRIData(FASTMRI, own_tiny).open("train").reader.volumes
    opened.clear()
    assert FastMRIData(FASTMRI, own_tiny).open("train").reader.volumes == first
    assert opened == []
    path = own_tiny / "fastmri" / TRAIN / "file0000002.h5"
    with h5py.File(path, "r+") as file:
        file.attrs["max"] = 7.0  # the same size, another time
    second = FastMRIData(FASTMRI, own_tiny).open("train").reader.volumes
    assert opened == ["file0000002.h5"]
    assert second[1].maximum == 7.0
    path.rename(path.with_name("file9.h5"))
    third = FastMRIData(FASTMRI, own_tiny).open("train").reader.volumes
    assert [volume.name for volume in third] == sorted(volume.name for volume in third)
    assert third[-1].name == "file9.h5"


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"format": 0}), '{"format": 1, "volumes": [{}]}'])
def test_index_that_is_none_is_made_anew(own_tiny, content):
    data = FastMRIData(FASTMRI, own_tiny)
    expected = data.open("train").reader.volumes
    cache = own_tiny / "fastmri" / f"{TRAIN}.index.json"
    cache.write_text(content)
    assert FastMRIData(FASTMRI, own_tiny).open("train").reader.volumes == expected
    assert len(json.loads(cache.read_text())["volumes"]) == 24


def test_data_that_cannot_be_written_to_are_read(own_tiny, monkeypatch):
    def refuse(path, content):
        raise PermissionError(path)

    (own_tiny / "fastmri" / f"{TRAIN}.index.json").unlink(missing_ok=True)
    monkeypatch.setattr(reading, "write_atomic", refuse)
    assert len(FastMRIData(FASTMRI, own_tiny).open("train")) == 192
    assert not (own_tiny / "fastmri" / f"{TRAIN}.index.json").exists()


def test_compressed_and_chunked_volumes_are_read_like_plain_ones(own_tiny):
    before = read(FastMRIData(FASTMRI, own_tiny).open("train"), 0, 3, 7)
    path = own_tiny / "fastmri" / TRAIN / "file0000001.h5"
    with h5py.File(path) as file:
        kspace, target, maximum = file["kspace"][:], file["reconstruction_esc"][:], file.attrs["max"]
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", data=kspace, compression="gzip")
        file.create_dataset("reconstruction_esc", data=target.astype(">f4"), chunks=(3, 16, 64))
        file.attrs["max"] = maximum
    examples = FastMRIData(FASTMRI, own_tiny).open("train")
    assert examples.reader.volumes[0].kspace_offset is None
    assert examples.reader.volumes[0].target_offset is None
    assert examples.reader.volumes[1].kspace_offset is not None
    after = read(examples, 0, 3, 7)
    assert all(torch.equal(before[name], after[name]) for name in before)


# Counts


def test_missing_or_additional_volumes_are_noticed(own_tiny):
    folder = own_tiny / "fastmri" / VALIDATION
    (folder / "._file0000001.h5").write_bytes(b"left by an archive of a Mac")
    FastMRIData(FASTMRI, own_tiny).open("test")
    shutil.copy(folder / "file0000001.h5", folder / "file0000009.h5")
    with pytest.raises(DataNotFoundError, match=rf"{VALIDATION} contains 9 volumes .* expected 8\. Move away"):
        FastMRIData(FASTMRI, own_tiny).open("test")
    for number in (1, 9):
        (folder / f"file000000{number}.h5").unlink()
    with pytest.raises(DataNotFoundError, match=rf"{VALIDATION} contains 7 volumes .* expected 8.*algoperf data tiny"):
        FastMRIData(FASTMRI, own_tiny).open("test")


def test_without_the_marker_the_official_numbers_hold(own_tiny, monkeypatch):
    (own_tiny / "fastmri" / "TINY").unlink()
    with pytest.raises(
        DataNotFoundError, match=r"contains 24 volumes .* expected 973\..*algoperf data prepare fastmri"
    ):
        FastMRIData(FASTMRI, own_tiny).check()
    monkeypatch.setattr(fastmri_data, "VOLUMES", {TRAIN: 24, VALIDATION: 8})
    with pytest.raises(DataNotFoundError, match=r"file0000001\.h5 is damaged: expected targets of \(320, 320\) pixels"):
        FastMRIData(FASTMRI, own_tiny).check()
    monkeypatch.setattr(fastmri_data, "SIDE", 64)
    with pytest.raises(DataNotFoundError, match=r"have 192 slices, but expected 34,742"):
        FastMRIData(FASTMRI, own_tiny).check()
