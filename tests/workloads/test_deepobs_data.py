"""Data of the problems of DeepOBS that share files with others, or have their format: MNIST, Fashion-MNIST, CIFAR."""

import gzip
import hashlib
import tarfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from algoperf_lightning import get_workload
from algoperf_lightning.data import DataNotFoundError, Draws, TrainingStream
from algoperf_lightning.images.distortions import standardise
from algoperf_lightning.registry import get_spec
from algoperf_lightning.workloads.cifar100.data import Cifar100Data
from algoperf_lightning.workloads.fmnist.data import FashionMnistData

NAMES = ("mnist_vae", "fmnist_2c2d", "fmnist_vae", "cifar10_3c3d", "cifar100_allcnnc")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in ("mnist", "fmnist_2c2d", "cifar10", "cifar100_allcnnc"):
        get_workload(name).data_class(get_spec(name), folder).write_tiny()
    return folder


def data_of(name, folder, **options):
    return get_workload(name).data_class(get_spec(name).of(**{"tiny": True, **options}), folder)


@pytest.mark.parametrize("name", NAMES)
def test_every_split_reads_as_declared(name, tiny):
    data = data_of(name, tiny)
    data.check()
    assert {split: len(data.open(split)) for split in data.spec.splits} == data.spec.splits
    batch = next(iter(TrainingStream(data.open("train"), 16, seed=0)))
    shape = (3, 32, 32) if name.startswith("cifar") else (1, 28, 28)
    assert (batch["inputs"].shape, batch["inputs"].dtype) == ((16, *shape), torch.float32)
    if name.endswith("vae"):
        assert (batch["noise"].shape, batch["noise"].dtype) == ((16, 8), torch.float32)
        assert "targets" not in batch
    else:
        assert (batch["targets"].shape, batch["targets"].dtype) == ((16,), torch.int64)


@pytest.mark.parametrize("name", ["mnist_vae", "fmnist_2c2d", "fmnist_vae"])
def test_pixels_are_those_of_torchvision_divided_by_255(name, tiny):
    data = data_of(name, tiny)
    theirs = data.official(tiny, train=True)
    for split, rows in (("validation", slice(200)), ("train", slice(200, None))):
        examples = data.open(split)
        batch = examples.read(np.arange(len(examples)), None) if name == "fmnist_2c2d" else None
        inputs = examples.images.unsqueeze(1).float() / 255 if batch is None else batch["inputs"]
        assert torch.equal(inputs, theirs.data[rows].unsqueeze(1).float() / 255)
        if batch is not None:
            assert torch.equal(batch["targets"], theirs.targets[rows])


@pytest.mark.parametrize("name", ["cifar10_3c3d", "cifar100_allcnnc"])
def test_validation_images_are_the_first_ones_standardised_and_only_training_images_are_distorted(name, tiny):
    data = data_of(name, tiny)
    images, targets = data.train_part
    count = data.spec.splits["validation"]
    batch = data.open("validation").read(np.arange(count), None)
    assert np.array_equal(batch["inputs"].numpy(), standardise(images[:count].astype(np.float32)))
    assert np.array_equal(batch["targets"].numpy(), targets[:count])
    train = data.open("train")
    assert np.array_equal(train.images, images[count:])
    batch = next(iter(TrainingStream(train, 8, seed=0)))
    plain = standardise(images[count:][train.order(0).take(0, 8)].astype(np.float32))
    assert not np.allclose(batch["inputs"].numpy(), plain, atol=0.1)


def test_fine_labels_of_cifar100_are_read(tiny):
    _, targets = data_of("cifar100_allcnnc", tiny).test_part
    assert set(targets) == set(range(100))


def test_the_faithful_variant_of_cifar10_validates_on_a_file_that_it_trains_on(tiny):
    data = data_of("cifar10_3c3d", tiny, variant="faithful")
    images, _ = data.train_part
    validation, train, eval_train = (data.open(split) for split in ("validation", "train", "eval_train"))
    assert (len(train), len(train.targets), len(validation), len(eval_train)) == (400, 500, 96, 96)
    files = [{image.tobytes() for image in images[100 * k : 100 * (k + 1)]} for k in range(5)]
    (shown,) = [k for k, file in enumerate(files) if validation.images[0].tobytes() in file]
    assert all(image.tobytes() in files[shown] for image in validation.images)
    order = train.order(0)
    seen = [
        sum(bool({images[row].tobytes() for row in order.take(400 * p, 400)} & file) for file in files)
        for p in range(5)
    ]
    assert seen == [4] * 5
    rows = np.arange(96)
    batch = eval_train.read(rows, Draws(0, rows))["inputs"].numpy()
    assert not np.allclose(batch, standardise(eval_train.images.astype(np.float32)), atol=0.1)  # distorted too


def test_the_faithful_variant_of_cifar100_holds_validation_images_out(tiny):
    data = data_of("cifar100_allcnnc", tiny, variant="faithful")
    train = data.open("train")
    shown = {image.tobytes() for image in data.open("validation").images}
    order = train.order(0)
    assert not any(train.images[row].tobytes() in shown for row in order.take(0, 3 * len(train)))


# Files


def no_internet(*args, **kwargs):
    raise URLError("no internet")


def test_packed_files_of_fashion_mnist_must_be_the_official_ones(tmp_path, monkeypatch):
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", no_internet)
    spec = get_spec("fmnist_2c2d")
    FashionMnistData(spec, tmp_path).write_tiny()
    (tmp_path / "FashionMNIST/raw/TINY").unlink()
    before, sums = {}, []
    for name in spec.files:
        path = tmp_path / name
        before[name] = path.read_bytes()
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        sums.append((packed.name, hashlib.md5(packed.read_bytes()).hexdigest()))
        path.unlink()
    with pytest.raises(DataNotFoundError, match=r"train-images-idx3-ubyte\.gz is damaged: .*8d4fb7e6c68d"):
        FashionMnistData(spec, tmp_path).prepare_data()
    monkeypatch.setattr(FashionMNIST, "resources", sums)
    monkeypatch.setattr(FashionMnistData, "counts", FashionMnistData.tiny_counts)
    data = FashionMnistData(spec, tmp_path)
    data.prepare_data()
    data.check()
    assert {name: (tmp_path / name).read_bytes() for name in spec.files} == before


def test_fashion_mnist_is_downloaded_with_torchvision(tiny, tmp_path, monkeypatch):
    seen = []

    def download(url, download_root, filename, md5):
        seen.append((url, md5))
        name = filename.removesuffix(".gz")
        Path(download_root, name).write_bytes((tiny / "FashionMNIST/raw" / name).read_bytes())

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", download)
    spec = get_spec("fmnist_vae")
    FashionMnistData(spec, tmp_path).prepare_data()
    assert all((tmp_path / name).read_bytes() == (tiny / name).read_bytes() for name in spec.files)
    assert seen[0][0].startswith("http://fashion-mnist.s3-website")
    assert seen[0][1] == "8d4fb7e6c68d591d4c3dfef9ec88bf0d"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fmnist_2c2d", r"(?s)no internet.*data prepare fmnist_2c2d .*train-images-idx3-ubyte\.gz"),
        ("cifar100_allcnnc", r"no internet.*data prepare cifar100_allcnnc .*cifar-100-python\.tar\.gz"),
        ("cifar10_3c3d", r"no internet.*data prepare cifar10_3c3d .*cifar-10-python\.tar\.gz"),
        ("mnist_vae", r"(?s)no internet.*data prepare mnist_vae "),
    ],
)
def test_without_internet_the_error_says_what_to_do(name, message, tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", no_internet)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", no_internet)
    with pytest.raises(DataNotFoundError, match=message):
        get_workload(name).data_class(get_spec(name), tmp_path).prepare_data()


def test_the_archive_of_cifar100_is_unpacked_and_read_if_its_sums_are_right(tiny, tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100

    def md5(path):
        return hashlib.md5(path.read_bytes()).hexdigest()

    folder, archive = tiny / "cifar-100-python", tmp_path / "cifar-100-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("train", "test", "meta"):
            tar.add(folder / name, f"cifar-100-python/{name}")
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", no_internet)
    spec = get_spec("cifar100_allcnnc")
    with pytest.raises(DataNotFoundError, match=r"MD5 sum eb9058c3a382ffc7106e4002c42a8d85"):
        Cifar100Data(spec, tmp_path).prepare_data()
    monkeypatch.setattr(CIFAR100, "tgz_md5", md5(archive))
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5(folder / "train")]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", "0" * 32]])
    monkeypatch.setattr(Cifar100Data, "counts", Cifar100Data.tiny_counts)
    Cifar100Data(spec, tmp_path).prepare_data()
    with pytest.raises(
        DataNotFoundError, match=r"test is damaged: expected 400 images.*`fine_labels` in 0\.\.99, with"
    ):
        Cifar100Data(spec, tmp_path).check()
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5(folder / "test")]])
    data = Cifar100Data(spec, tmp_path)
    data.check()
    monkeypatch.setitem(CIFAR100.meta, "md5", md5(folder / "meta"))
    theirs = CIFAR100(tmp_path, train=False)
    images, targets = data.test_part
    assert np.array_equal(images, theirs.data.transpose(0, 3, 1, 2))
    assert np.array_equal(targets, theirs.targets)
