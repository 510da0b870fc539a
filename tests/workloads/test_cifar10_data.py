"""The files of CIFAR-10: splits, formats, damage, fetching, and the tiny data set."""

import hashlib
import itertools
import pickle
import tarfile
from urllib.error import URLError

import numpy as np
import pytest
import torch
from test_cifar10_batches import random_images
from torch.nn import functional as F

from algoperf_lightning.data import DataNotFoundError, Draws
from algoperf_lightning.data.streams import EvaluationBatches, TrainingStream
from algoperf_lightning.workloads.cifar10.batches import normalise
from algoperf_lightning.workloads.cifar10.data import Cifar10Data, split_rows
from algoperf_lightning.workloads.cifar10.model import ResNet18
from algoperf_lightning.workloads.cifar10.spec import CIFAR10, FOLDER


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("cifar10")
    Cifar10Data(CIFAR10, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tmp_path):
    """To damage."""
    Cifar10Data(CIFAR10, tmp_path).write_tiny()
    return tmp_path


# Data


@pytest.mark.parametrize(
    ("images", "sizes"),
    [pytest.param(50_000, (45_000, 5_120, 5_000), id="official"), pytest.param(500, (450, 51, 50), id="tiny")],
)
def test_splits_of_the_training_files(images, sizes):
    rows = np.arange(images)
    train, chosen, validation = (rows[split_rows(name, images, 0)] for name in ("train", "eval_train", "validation"))
    assert (len(train), len(chosen), len(validation)) == sizes
    assert np.array_equal(np.concatenate([train, validation]), rows)
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(train)
    assert np.array_equal(chosen, split_rows("eval_train", images, 0))
    assert not np.array_equal(chosen, split_rows("eval_train", images, 1))


def test_official_splits_have_the_sizes_of_the_spec():
    rows = np.arange(50_000)
    sizes = {name: len(rows[split_rows(name, 50_000, 0)]) for name in ("train", "eval_train", "validation")}
    assert {**sizes, "test": Cifar10Data.counts["test_batch"]} == CIFAR10.splits


def test_every_split_reads_as_declared(tiny):
    data = Cifar10Data(CIFAR10, tiny)
    data.check()
    sizes = {split: len(data.open(split)) for split in CIFAR10.splits}
    assert sizes == {"train": 450, "eval_train": 51, "validation": 50, "test": 100}
    batch = next(iter(TrainingStream(data.open("train"), 128, seed=0)))
    assert batch["inputs"].shape == (128, 3, 32, 32)
    assert batch["inputs"].dtype == torch.float32
    assert batch["targets"].shape == (128,)
    assert batch["targets"].dtype == torch.int64


def test_only_training_images_are_augmented(tiny):
    data = Cifar10Data(CIFAR10, tiny)
    train, eval_train = data.open("train"), data.open("eval_train")
    rows = split_rows("eval_train", 500, data.seed)
    plain = eval_train.read(np.arange(len(rows)), Draws(0, np.arange(len(rows))))["inputs"]
    assert torch.equal(plain, normalise(train.images[rows]))
    assert not torch.equal(plain, train.read(rows, Draws(0, rows))["inputs"])


def test_files_are_in_the_official_format(tiny):
    with (tiny / FOLDER / "data_batch_2").open("rb") as file:
        entry = pickle.load(file, encoding="latin1")
    assert set(entry) == {"batch_label", "labels", "data", "filenames"}
    images = Cifar10Data(CIFAR10, tiny).open("train").images
    assert np.array_equal(images[100:200].reshape(100, 3072), entry["data"])
    with (tiny / FOLDER / "batches.meta").open("rb") as file:
        assert len(pickle.load(file, encoding="latin1")["label_names"]) == 10


def python_2_pickle(data, labels):
    """What Python 2 and the NumPy of its day wrote, as in the official files: byte strings, and other module names."""
    shape = b"".join(b"M" + size.to_bytes(2, "little") for size in data.shape) + b"\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb\x89"
        + b"T" + data.size.to_bytes(4, "little") + data.tobytes() + b"tb"
    )  # fmt: skip
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + numbers + b"eu."


def test_pickles_of_python_2_are_read(own_tiny):
    data, labels = random_images(100).reshape(100, 3072), np.arange(100) % 10
    (own_tiny / FOLDER / "test_batch").write_bytes(python_2_pickle(data, labels))
    test = Cifar10Data(CIFAR10, own_tiny).open("test")
    assert np.array_equal(test.images.reshape(100, 3072), data)
    assert np.array_equal(test.targets, labels)


class Malicious:
    def __reduce__(self):
        return print, ("code was run",)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x80\x04\x95", id="truncated"),
        pytest.param(pickle.dumps([1, 2]), id="no-dict"),
        pytest.param(pickle.dumps({"data": np.zeros((100, 3072), np.uint8)}), id="no-labels"),
        pytest.param(pickle.dumps({"data": np.zeros((9, 3072), np.uint8), "labels": [0] * 9}), id="too-few"),
        pytest.param(pickle.dumps({"data": np.zeros((100, 3072)), "labels": [0] * 100}), id="other-type"),
        pytest.param(pickle.dumps({"data": np.zeros((100, 3072), np.uint8), "labels": [10] * 100}), id="other-labels"),
        pytest.param(pickle.dumps(Malicious()), id="malicious"),
    ],
)
def test_damaged_file_is_named_with_what_was_expected(own_tiny, content, capsys):
    (own_tiny / FOLDER / "data_batch_3").write_bytes(content)
    with pytest.raises(DataNotFoundError, match=r"data_batch_3 is damaged: expected 100 images, .*algoperf data tiny"):
        Cifar10Data(CIFAR10, own_tiny).open("train")
    assert capsys.readouterr().out == ""


def test_missing_file_is_named_with_the_command(own_tiny):
    (own_tiny / FOLDER / "data_batch_3").unlink()
    with pytest.raises(DataNotFoundError, match=r"data_batch_3 .*algoperf data prepare cifar10 --data-dir"):
        Cifar10Data(CIFAR10, own_tiny).open("train")


def test_without_the_marker_the_official_checksums_hold(own_tiny):
    (own_tiny / FOLDER / "TINY").unlink()
    with pytest.raises(DataNotFoundError, match=r"data_batch_1 .* 10,000 images.*c99cafc1.*data prepare cifar10"):
        Cifar10Data(CIFAR10, own_tiny).check()


# Fetching


def no_internet(*args, **kwargs):
    raise URLError("no internet")


def test_complete_data_are_left_alone(tiny, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", no_internet)
    Cifar10Data(CIFAR10, tiny).prepare_data()


def test_archive_beside_is_unpacked_and_read_if_its_sums_are_right(tiny, tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10 as Official

    def md5(path):
        return hashlib.md5(path.read_bytes()).hexdigest()

    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in (*CIFAR10.files, f"{FOLDER}/batches.meta"):
            tar.add(tiny / name, name)
    names = [name.removeprefix(f"{FOLDER}/") for name in CIFAR10.files]
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", no_internet)
    monkeypatch.setattr(Official, "tgz_md5", md5(archive))
    monkeypatch.setattr(Official, "train_list", [[name, md5(tiny / FOLDER / name)] for name in names[:5]])
    monkeypatch.setattr(Official, "test_list", [[names[5], md5(tiny / FOLDER / names[5])]])
    monkeypatch.setattr(Cifar10Data, "counts", Cifar10Data.tiny_counts)
    data = Cifar10Data(CIFAR10, tmp_path)
    data.prepare_data()
    data.check()
    assert np.array_equal(data.open("test").images, Cifar10Data(CIFAR10, tiny).open("test").images)
    assert {path.name for path in tmp_path.iterdir()} == {FOLDER, archive.name}
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {*names, "batches.meta"}


def test_without_internet_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", no_internet)
    with pytest.raises(DataNotFoundError, match=r"no internet.*data prepare cifar10 .*cifar-10-python\.tar\.gz"):
        Cifar10Data(CIFAR10, tmp_path).prepare_data()
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


def test_a_tiny_data_set_is_not_completed_with_real_files(own_tiny):
    (own_tiny / FOLDER / "test_batch").unlink()
    with pytest.raises(DataNotFoundError, match=r"test_batch is missing from a tiny data set"):
        Cifar10Data(CIFAR10, own_tiny).prepare_data()


# The tiny data set


def test_tiny_data_are_the_same_for_the_same_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        Cifar10Data(CIFAR10, tmp_path / name).write_tiny(seed)
    a, b, c = ([(tmp_path / folder / name).read_bytes() for name in CIFAR10.files] for folder in "abc")
    assert a == b
    assert all(x != y for x, y in zip(a, c, strict=True))


def test_tiny_data_never_replace_others(own_tiny):
    Cifar10Data(CIFAR10, own_tiny).write_tiny()  # its own, yes
    (own_tiny / FOLDER / "TINY").unlink()
    before = (own_tiny / FOLDER / "data_batch_1").read_bytes()
    with pytest.raises(FileExistsError, match=r"not changed.*--data-dir OTHER"):
        Cifar10Data(CIFAR10, own_tiny).write_tiny(seed=1)
    assert (own_tiny / FOLDER / "data_batch_1").read_bytes() == before


@pytest.mark.slow
def test_tiny_data_are_learnable(tiny):
    data = Cifar10Data(CIFAR10, tiny)
    torch.manual_seed(0)
    model = ResNet18()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for batch in itertools.islice(TrainingStream(data.open("train"), 16, seed=0), 24):
        optimizer.zero_grad()
        F.cross_entropy(model(batch["inputs"]), batch["targets"]).backward()
        optimizer.step()
    batch = next(iter(EvaluationBatches(data.open("test"), 100)))
    with torch.no_grad():
        accuracy = (model.eval()(batch["inputs"]).argmax(-1) == batch["targets"]).float().mean()
    assert accuracy > 0.4  # chance is 0.1
