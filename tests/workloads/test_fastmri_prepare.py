"""Preparing the data of fastmri: unpacking the official archives, writing tiny data."""

from __future__ import annotations

import dataclasses
import io
import shutil
import tarfile

import h5py
import numpy as np
import pytest

from algoperf_lightning.data import DataNotFoundError
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


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Fewer volumes, to pack. Only to read from."""
    folder = tmp_path_factory.mktemp("few")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastmri_data, "TINY_VOLUMES", {TRAIN: 8, VALIDATION: 4})
        FastMRIData(FASTMRI, folder).write_tiny()
    return folder


@pytest.fixture
def as_official(monkeypatch):
    """What is in ``few`` passes for the official data set."""
    monkeypatch.setattr(fastmri_data, "VOLUMES", {TRAIN: 8, VALIDATION: 4})
    monkeypatch.setattr(fastmri_data, "SIDE", 64)
    splits = {"train": 64, "eval_train": 6, "validation": 16, "test": 16}
    monkeypatch.setattr(fastmri_data, "FASTMRI", dataclasses.replace(FASTMRI, splits=splits))


def pack(few, folder, archive, mode):
    """An archive as the official ones: one folder of another name; and what does not belong there."""
    quickly = {"preset": 0} if mode == "w:xz" else {"compresslevel": 1}
    with tarfile.open(archive, mode, **quickly) as tar:
        for path in sorted((few / "fastmri" / folder).iterdir()):
            tar.add(path, f"{folder.removeprefix('knee_')}/{path.name}")
        for name in ("singlecoil/._file0000001.h5", "../../outside.txt", "README"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"junk"))
        link = tarfile.TarInfo("singlecoil/link.h5")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)


def test_without_archives_it_says_what_to_fetch_and_where_to_put_it(tmp_path):
    with pytest.raises(DataNotFoundError) as caught:
        FastMRIData(FASTMRI, tmp_path).prepare_data()
    text = str(caught.value)
    for part in (
        "https://fastmri.med.nyu.edu",
        "knee_singlecoil_train.tar.xz and knee_singlecoil_val.tar.xz",
        f"into {tmp_path / 'fastmri'}, and run `algoperf data prepare fastmri --data-dir {tmp_path}`",
        "not the test archive",
        "algoperf data tiny fastmri",
    ):
        assert part in text


def test_archives_are_unpacked(few, tmp_path, as_official):
    folder = tmp_path / "fastmri"
    folder.mkdir()
    pack(few, TRAIN, tmp_path / "singlecoil_train.tar.gz", "w:gz")
    pack(few, VALIDATION, folder / f"{VALIDATION}.tar.xz", "w:xz")
    data = FastMRIData(FASTMRI, tmp_path)
    data.prepare_data()
    data.check()
    for name in (TRAIN, VALIDATION):
        theirs, ours = (sorted((root / "fastmri" / name).iterdir()) for root in (few, tmp_path))
        assert [path.name for path in ours] == [path.name for path in theirs]
        assert all(one.read_bytes() == other.read_bytes() for one, other in zip(ours, theirs, strict=True))
    assert not (tmp_path.parent / "outside.txt").exists()


def test_unpacking_goes_on_where_it_was_killed(few, tmp_path, as_official, monkeypatch):
    for name in (TRAIN, VALIDATION):
        pack(few, name, tmp_path / f"{name}.tar.gz", "w:gz")
    copied = []
    original = shutil.copyfileobj

    def fails_at_the_fifth(source, target, *rest):
        copied.append(target.name)
        if len(copied) == 5:
            target.write(source.read(1000))
            raise OSError(28, "No space left on device")
        original(source, target, *rest)

    monkeypatch.setattr(shutil, "copyfileobj", fails_at_the_fifth)
    data = FastMRIData(FASTMRI, tmp_path)
    with pytest.raises(DataNotFoundError, match=rf"{TRAIN}\.tar\.gz could not be unpacked: .*No space left"):
        data.prepare_data()
    folder = tmp_path / "fastmri" / TRAIN
    assert len(reading.volume_paths(folder)) == 4
    with pytest.raises(DataNotFoundError, match=rf"{TRAIN} contains 4 volumes"):
        data.open("train")
    data.prepare_data()
    assert len(copied) == 4 + 1 + 4 + 4  # the four that were whole are not written again
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in (few / "fastmri" / TRAIN).iterdir()
    )
    data.check()


@pytest.mark.parametrize("ending", ["xz", "gz"])
def test_truncated_archive_is_named_and_what_is_whole_is_kept(few, tmp_path, as_official, ending):
    shutil.copytree(few / "fastmri" / TRAIN, tmp_path / "fastmri" / TRAIN)
    archive = tmp_path / f"{VALIDATION}.tar.{ending}"
    pack(few, VALIDATION, archive, f"w:{ending}")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    data = FastMRIData(FASTMRI, tmp_path)
    with pytest.raises(DataNotFoundError, match=rf"tar\.{ending} could not be unpacked: .*download it again.*nyu\.edu"):
        data.prepare_data()
    whole = reading.volume_paths(tmp_path / "fastmri" / VALIDATION)
    assert 0 < len(whole) < 4
    assert all(path.read_bytes() == (few / "fastmri" / VALIDATION / path.name).read_bytes() for path in whole)


def test_archive_that_lacks_volumes_is_told(few, tmp_path, as_official):
    with tarfile.open(tmp_path / f"{TRAIN}.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(few / "fastmri" / TRAIN / "file0000001.h5", "file0000001.h5")
    pack(few, VALIDATION, tmp_path / f"{VALIDATION}.tar.gz", "w:gz")
    with pytest.raises(DataNotFoundError, match=rf"{TRAIN} contains 1 volumes .* expected 8"):
        FastMRIData(FASTMRI, tmp_path).prepare_data()


def test_folders_unpacked_by_hand_are_taken(few, tmp_path, as_official):
    shutil.copytree(few / "fastmri" / TRAIN, tmp_path / "fastmri" / "singlecoil_train")
    shutil.copytree(few / "fastmri" / VALIDATION, tmp_path / "singlecoil_val")
    data = FastMRIData(FASTMRI, tmp_path)
    data.prepare_data()
    data.check()
    assert {path.name for path in tmp_path.iterdir()} == {"fastmri"}


def test_a_tiny_data_set_is_not_completed_with_real_files(own_tiny):
    (own_tiny / "fastmri" / TRAIN / "file0000003.h5").unlink()
    with pytest.raises(DataNotFoundError, match=rf"{TRAIN} is missing from a tiny data set"):
        FastMRIData(FASTMRI, own_tiny).prepare_data()


# The tiny data set


def test_tiny_data_are_the_same_for_the_same_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(fastmri_data, "TINY_VOLUMES", {TRAIN: 2, VALIDATION: 2})
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        FastMRIData(FASTMRI, tmp_path / name).write_tiny(seed)
    a, b, c = ([path.read_bytes() for path in sorted((tmp_path / folder).rglob("*.h5"))] for folder in "abc")
    assert len(a) == 4
    assert a == b
    assert all(x != y for x, y in zip(a, c, strict=True))


def test_tiny_volumes_have_the_keys_and_attributes_of_the_official_ones(tiny):
    with h5py.File(tiny / "fastmri" / TRAIN / "file0000001.h5") as file:
        assert set(file) == {"ismrmrd_header", "kspace", "reconstruction_esc", "reconstruction_rss"}
        assert set(file.attrs) == {"acquisition", "max", "norm", "patient_id"}
        assert file["kspace"].dtype == np.complex64
        assert file["kspace"].shape in ((8, 128, 74), (8, 128, 80))
        assert file["reconstruction_esc"].shape == (8, 64, 64)
        assert file["reconstruction_esc"].dtype == np.float32
        assert file.attrs["max"] == file["reconstruction_esc"][:].max()
        kspace = file["kspace"][2].astype(complex)
        image = np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace), norm="ortho")))
        left = (kspace.shape[1] - 64) // 2
        assert np.allclose(image[32:96, left : left + 64], file["reconstruction_esc"][2], rtol=1e-4, atol=1e-9)


def test_tiny_data_never_replace_others(own_tiny):
    FastMRIData(FASTMRI, own_tiny).write_tiny()  # its own, yes
    (own_tiny / "fastmri" / "TINY").unlink()
    with pytest.raises(FileExistsError, match=r"not changed.*--data-dir OTHER"):
        FastMRIData(FASTMRI, own_tiny).write_tiny(seed=1)
