from __future__ import annotations

import hashlib
import itertools
import pickle
import tarfile
from collections import Counter
from urllib.error import URLError

import numpy as np
import pytest
import torch
from golden import fill_a, fill_b, u
from torch.nn import functional as F

from algoperf_lightning.data import DataNotFoundError, Draws
from algoperf_lightning.data.streams import EvaluationBatches, TrainingStream
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads.cifar10 import batches as cifar10_batches
from algoperf_lightning.workloads.cifar10 import data as cifar10_data
from algoperf_lightning.workloads.cifar10.batches import AugmentedImages, crop_and_flip, normalise
from algoperf_lightning.workloads.cifar10.data import Cifar10Data, split_rows
from algoperf_lightning.workloads.cifar10.model import ResNet18
from algoperf_lightning.workloads.cifar10.spec import CIFAR10, FOLDER
from algoperf_lightning.workloads.cifar10.workload import Cifar10

TARGETS = torch.tensor([3, 7])
INPUTS_A = torch.from_numpy(np.sin(0.1 * np.arange(6144))).float().view(2, 3, 32, 32)
INPUTS_B = torch.from_numpy(u(0, 6144)).float().view(2, 3, 32, 32)

A_EVAL = [-0.135592, 0.101615, -0.115854, 0.134368, -0.0977592, 0.114169, -0.126167, 0.0877140]
A_TRAIN = [-0.135603, 0.101623, -0.115859, 0.134371, -0.0977585, 0.114165, -0.126160, 0.0877040]
B_EVAL = [
    [0.407180, 0.192956, -0.585619, 0.593149, 0.237005, 0.143459, 0.107329, -0.438491, -0.534233, -0.365896],
    [0.422985, 0.223369, -0.577857, 0.583144, 0.158489, 0.182288, 0.101439, -0.493818, -0.547791, -0.310621],
]
B_TRAIN = [-0.208837, 0.379684, -1.390575, 1.023760, 0.0371201, -0.932457, 0.0807696, -0.897802]
B_EVAL_AFTER = [0.273805, 0.145142, -0.461140, 0.365615, 0.146706, 0.0784127, 0.163208, -0.336254]


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


def filled(fill):
    workload = Cifar10(Submission())
    workload.model = workload.build_model()
    fill(workload.model)
    return workload.eval()


# Model


@pytest.mark.parametrize(
    ("fill", "inputs", "rows", "moments", "losses"),
    [
        pytest.param(fill_a, INPUTS_A, [A_EVAL, A_EVAL], (-0.00321558, 0.116954), [2.171486, 2.218141], id="sine"),
        pytest.param(fill_b, INPUTS_B, B_EVAL, (-0.0250768, 0.410192), [1.762176, 2.848001], id="hash"),
    ],
)
def test_outputs_and_losses_are_those_of_the_reference(fill, inputs, rows, moments, losses):
    workload = filled(fill)
    with torch.no_grad():
        logits = workload.network(inputs)
        loss = workload.loss({"inputs": inputs, "targets": TARGETS})
    assert torch.allclose(logits[:, : len(rows[0])], torch.tensor(rows), atol=5e-6)
    assert logits.double().mean().item() == pytest.approx(moments[0], abs=5e-6)
    assert logits.double().std().item() == pytest.approx(moments[1], abs=5e-6)
    assert loss.weight is None
    assert torch.allclose(loss.per_example, torch.tensor(losses), atol=1e-5)


def test_masked_and_smoothed_loss():
    workload = filled(fill_b)
    batch = {"inputs": INPUTS_B, "targets": TARGETS, "weights": torch.tensor([0.0, 1.0])}
    with torch.no_grad():
        loss = workload.loss(batch, label_smoothing=0.2)
    log_p = torch.tensor(B_EVAL)[1].log_softmax(0)
    expected = -0.8 * log_p[7] - 0.2 * log_p.mean()
    assert torch.allclose(loss.per_example, torch.stack([torch.tensor(0.0), expected]), atol=1e-5)


def test_batch_statistics_and_their_running_values_are_those_of_the_reference():
    model = filled(fill_b).network
    with torch.no_grad():
        logits = model.train()(INPUTS_B)
        after = model.eval()(INPUTS_B)
    assert torch.allclose(logits[0, :8], torch.tensor(B_TRAIN), atol=1e-4)
    assert logits.double().mean().item() == pytest.approx(-0.299575, abs=1e-4)
    assert logits.double().std().item() == pytest.approx(0.769221, abs=1e-4)
    assert F.cross_entropy(logits, TARGETS, reduction="sum").item() == pytest.approx(4.59627, abs=1e-4)
    assert torch.allclose(model.bn1.running_mean[:3], torch.tensor([-0.00097726, -0.00185647, -0.00061891]), atol=1e-6)
    assert torch.allclose(model.bn1.running_var[:3], torch.tensor([0.939788, 0.922934, 0.936792]), atol=1e-5)
    assert torch.allclose(after[0, :8], torch.tensor(B_EVAL_AFTER), atol=1e-4)
    assert after.double().mean().item() == pytest.approx(-0.0168770, abs=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_second_pass_leaves_the_running_statistics_alone(compiled):
    workload = Cifar10(PlainSGD())
    workload.configure_model()
    if compiled:
        workload.network.compile(backend="aot_eager")
    batch = {"inputs": torch.randn(8, 3, 32, 32), "targets": torch.arange(8)}
    first = workload.view.loss(batch).per_example
    before = {name: buffer.clone() for name, buffer in workload.network.named_buffers()}
    second = workload.view.loss(batch, update_batch_norm=False).per_example
    (first.sum() + second.sum()).backward()
    assert torch.equal(first, second)
    assert all(torch.equal(buffer, before[name]) for name, buffer in workload.network.named_buffers())
    workload.view.loss(batch)
    assert not torch.equal(workload.network.bn1.running_mean, before["bn1.running_mean"])


def test_batch_statistics_with_the_sine_fill_are_those_of_the_reference():
    model = filled(fill_a).network
    with torch.no_grad():
        logits = model.train()(INPUTS_A)
    assert torch.allclose(logits[0, :8], torch.tensor(A_TRAIN), atol=1e-4)
    expected = torch.tensor([0.900821, 0.901271, 0.901502, 0.900668])
    assert torch.allclose(model.bn1.running_var[:4], expected, atol=1e-5)


def test_parameters_are_those_of_the_reference():
    with torch.device("meta"):
        model = ResNet18()
    parameters = dict(model.named_parameters())
    assert sum(p.numel() for p in parameters.values()) == 11_173_962
    assert Counter(tuple(p.shape) for p in parameters.values()) == {
        (10,): 1,
        (64,): 10,
        (128,): 10,
        (256,): 10,
        (512,): 10,
        (10, 512): 1,
        (64, 3, 3, 3): 1,
        (64, 64, 3, 3): 4,
        (128, 64, 1, 1): 1,
        (128, 64, 3, 3): 1,
        (128, 128, 3, 3): 3,
        (256, 128, 1, 1): 1,
        (256, 128, 3, 3): 1,
        (256, 256, 3, 3): 3,
        (512, 256, 1, 1): 1,
        (512, 256, 3, 3): 1,
        (512, 512, 3, 3): 3,
    }
    assert list(parameters)[15:24] == [
        "layer2.0.conv1.weight",
        "layer2.0.bn1.weight",
        "layer2.0.bn1.bias",
        "layer2.0.conv2.weight",
        "layer2.0.bn2.weight",
        "layer2.0.bn2.bias",
        "layer2.0.downsample.conv.weight",
        "layer2.0.downsample.bn.weight",
        "layer2.0.downsample.bn.bias",
    ]
    assert len(list(model.buffers())) == 60


def test_initialisation_follows_the_reference():
    torch.manual_seed(0)
    model = ResNet18()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            std = module.weight[0].numel() ** -0.5
            assert module.weight.std().item() == pytest.approx(std, rel=0.05), name
            assert module.weight.abs().max().item() <= 2 * std / 0.8796, name
        if isinstance(module, torch.nn.BatchNorm2d):
            last_of_block = name.endswith(".bn2")
            assert (module.weight == (0 if last_of_block else 1)).all(), name
            assert (module.bias == 0).all(), name
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert model.fc.weight.abs().max().item() > 0.025  # not cut
    assert (model.fc.bias == 0).all()


def test_both_tensors_of_the_output_layer_are_known():
    assert filled(fill_a).view.output_parameters == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("training", [pytest.param(True, id="training"), pytest.param(False, id="evaluation")])
def test_model_compiles_without_graph_breaks(training):
    torch._dynamo.reset()
    model = ResNet18().train(training)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(compiled(INPUTS_B), model(INPUTS_B), atol=1e-5)
    torch._dynamo.reset()


# Augmentation


def random_images(count):
    return np.random.RandomState(0).randint(0, 256, (count, 3, 32, 32)).astype(np.uint8)


def test_normalisation_agrees_with_torchvision():
    from torchvision.transforms import v2

    images = random_images(4)
    slow = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)),
        ]
    )
    assert torch.allclose(normalise(images), slow(torch.from_numpy(images)), atol=1e-6)


def test_crops_and_flips_agree_with_torchvision_one_image_at_a_time():
    from torchvision.transforms.v2 import functional as T

    corners = np.array(list(itertools.product(range(9), range(9))))
    images, flips = random_images(81), np.arange(81) % 3 == 0
    cropped = crop_and_flip(images, corners, flips)
    for image, (top, left), flip, result in zip(images, corners.tolist(), flips, cropped, strict=True):
        expected = T.crop(T.pad(torch.from_numpy(image), [4, 4, 4, 4]), top, left, 32, 32)
        expected = T.horizontal_flip(expected) if flip else expected
        assert np.array_equal(result, expected.numpy())


def test_augmentation_depends_on_the_position_in_the_stream_only():
    images = AugmentedImages(random_images(8), np.arange(8))
    rows = np.arange(8)
    whole = images.read(rows, Draws(7, rows + 100))["inputs"]
    half = images.read(rows[4:], Draws(7, rows[4:] + 100))["inputs"]
    assert torch.equal(whole[4:], half)
    assert not torch.equal(whole, images.read(rows, Draws(8, rows + 100))["inputs"])


def test_every_crop_is_drawn_and_half_of_the_images_are_mirrored():
    image = np.arange(32 * 32).reshape(1, 1, 32, 32).repeat(3, axis=1)
    count = 4_000
    seen = []

    def spy(images, corners, flips):
        seen.append((corners, flips))
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10_batches, "crop_and_flip", spy)
        examples = AugmentedImages(image.astype(np.uint8), np.zeros(1, np.int64))
        examples.read(np.zeros(count, np.int64), Draws(0, np.arange(count)))
    corners, flips = seen[0]
    shares = np.bincount(corners[:, 0] * 9 + corners[:, 1], minlength=81) / count
    assert len(shares) == 81
    assert np.abs(shares - 1 / 81).max() < 0.01
    assert abs(flips.mean() - 0.5) < 0.03


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
    assert {**sizes, "test": cifar10_data.IMAGES_PER_FILE} == CIFAR10.splits


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
    monkeypatch.setattr(cifar10_data, "IMAGES_PER_FILE", 100)
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
    with pytest.raises(FileExistsError, match=r"left alone.*--data-dir OTHER"):
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
