"""The data of svhn_wrn164: the official files in MATLAB's format, splits, what is said of damage."""

import hashlib
from urllib.error import URLError

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from algoperf_lightning.data import DataNotFoundError, TrainingStream
from algoperf_lightning.workloads.svhn import data as svhn_data
from algoperf_lightning.workloads.svhn.data import SvhnData
from algoperf_lightning.workloads.svhn.spec import SVHN_WRN164

TRAIN, TEST = SVHN_WRN164.files


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svhn")
    SvhnData(SVHN_WRN164, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tmp_path):
    SvhnData(SVHN_WRN164, tmp_path).write_tiny()
    return tmp_path


def as_official(monkeypatch, folder):
    """Let torchvision's class and the data module take the files of a folder for the official ones."""
    from torchvision.datasets import SVHN

    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in (TRAIN, TEST)}
    entries = {"train": TRAIN, "test": TEST}
    listed = {
        part: [(folder / name).as_uri(), name.removeprefix("svhn/"), sums[name]] for part, name in entries.items()
    }
    monkeypatch.setattr(SVHN, "split_list", listed)
    monkeypatch.setattr(svhn_data, "COUNTS", svhn_data.TINY_COUNTS)
    monkeypatch.setattr(svhn_data, "SHARD", svhn_data.TINY_SHARD)
    return SVHN


def test_reading_agrees_with_torchvision(tiny, monkeypatch):
    official = as_official(monkeypatch, tiny)
    parts = SvhnData(SVHN_WRN164, tiny).parts
    for part, name in (("train", TRAIN), ("test", TEST)):
        theirs = official(tiny / "svhn", split=part)
        images, labels = parts[name.removeprefix("svhn/")]
        assert np.array_equal(images, theirs.data)
        assert np.array_equal(labels, theirs.labels)
        assert set(labels) == set(range(10))
    assert loadmat(tiny / TRAIN)["y"].max() == 10


def test_splits_of_a_tiny_set(tiny):
    data = SvhnData(SVHN_WRN164.of(tiny=True), tiny)
    data.check()
    assert {split: len(data.open(split)) for split in data.spec.splits} == data.spec.splits
    images, labels = data.parts["train_32x32.mat"]
    assert np.array_equal(data.open("validation").images, images[:300])
    assert np.array_equal(data.open("train").targets, labels[300:])
    batch = next(iter(TrainingStream(data.open("train"), 16, seed=0)))
    assert (batch["inputs"].shape, batch["inputs"].dtype) == ((16, 3, 32, 32), torch.float32)
    assert batch["inputs"].mean((1, 2, 3)).abs().max() < 1e-5


def test_the_faithful_variant_trains_on_validation_images(tiny):
    data = SvhnData(SVHN_WRN164.of(variant="faithful", tiny=True), tiny)
    validation, train = data.open("validation"), data.open("train")
    assert len(train) == 540
    assert len(validation) == 300 // 32 * 32
    shown = {image.tobytes() for image in validation.images}
    order = train.order(0)
    passes = [{train.images[row].tobytes() for row in order.take(540 * k, 540)} for k in range(4)]
    assert any(shown & each for each in passes)
    assert len({frozenset(each) for each in passes}) > 1
    plain = SvhnData(SVHN_WRN164.of(tiny=True), tiny)
    rows = {image.tobytes() for image in plain.open("train").images}
    assert not rows & {image.tobytes() for image in plain.open("validation").images}


DAMAGE = [
    pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-100]), "reading failed", id="truncated"),
    pytest.param(lambda path: path.write_bytes(b""), "reading failed", id="empty"),
    pytest.param(lambda path: savemat(path, {"X": np.zeros((32, 32, 3, 9), np.uint8), "y": [[1]] * 9}), "X", id="few"),
    pytest.param(
        lambda path: savemat(path, {"X": np.zeros((32, 32, 3, 300), np.uint8), "y": [[11]] * 300}), "1..10", id="labels"
    ),
    pytest.param(lambda path: savemat(path, {"X": np.zeros((32, 32, 3, 300), np.uint8)}), "'y'", id="no-labels"),
]


@pytest.mark.parametrize(("damage", "found"), DAMAGE)
def test_damaged_file_is_named_with_what_was_expected(damage, found, own_tiny):
    damage(own_tiny / TEST)
    message = rf"test_32x32\.mat is damaged: expected 300 images, .*{found}.*algoperf data tiny svhn_wrn164"
    with pytest.raises(DataNotFoundError, match=message):
        SvhnData(SVHN_WRN164, own_tiny).open("test")


def test_without_the_marker_the_official_sums_hold(own_tiny):
    (own_tiny / "svhn/TINY").unlink()
    with pytest.raises(DataNotFoundError, match=r"train_32x32\.mat is damaged: expected 73,257 images.*e26dedcc"):
        SvhnData(SVHN_WRN164, own_tiny).check()


def test_files_are_downloaded_and_checked(tiny, tmp_path, monkeypatch):
    official = as_official(monkeypatch, tiny)
    data = SvhnData(SVHN_WRN164, tmp_path)
    data.prepare_data()
    data.check()
    assert sorted(path.name for path in (tmp_path / "svhn").iterdir()) == ["test_32x32.mat", "train_32x32.mat"]
    (tmp_path / TEST).unlink()
    monkeypatch.setitem(official.split_list, "test", [*official.split_list["test"][:2], "0" * 32])
    with pytest.raises(DataNotFoundError, match=rf"md5 sum is .* not {'0' * 32}"):
        SvhnData(SVHN_WRN164, tmp_path).prepare_data()


def test_without_internet_the_error_says_what_to_do(tmp_path, monkeypatch):
    def no_internet(*args, **kwargs):
        raise URLError("no internet")

    monkeypatch.setattr("urllib.request.urlopen", no_internet)
    with pytest.raises(DataNotFoundError, match=r"(?s)no internet.*data prepare svhn_wrn164.*MD5 sum e26dedcc"):
        SvhnData(SVHN_WRN164, tmp_path).prepare_data()


def test_tiny_data_are_the_same_for_the_same_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        SvhnData(SVHN_WRN164, tmp_path / name).write_tiny(seed)
    a, b, c = ([(tmp_path / folder / name).read_bytes() for name in (TRAIN, TEST)] for folder in "abc")
    assert a == b
    assert all(x != y for x, y in zip(a, c, strict=True))
