from __future__ import annotations

import gzip
import hashlib
import itertools
from collections import Counter
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from golden import fill_a, fill_b, u
from torch.nn import functional as F

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.data.streams import EvaluationBatches, TrainingStream
from algoperf_lightning.submission import Submission
from algoperf_lightning.workloads.mnist.batches import normalise
from algoperf_lightning.workloads.mnist.data import MnistData, split_rows
from algoperf_lightning.workloads.mnist.model import MnistMLP
from algoperf_lightning.workloads.mnist.spec import MNIST
from algoperf_lightning.workloads.mnist.workload import Mnist

TARGETS = torch.tensor([0, 3, 6, 9])
INPUTS_A = torch.from_numpy(np.sin(0.1 * np.arange(3136))).float().view(4, 1, 28, 28)
INPUTS_B = torch.from_numpy(u(0, 3136)).float().view(4, 1, 28, 28)
TRAIN_IMAGES = "MNIST/raw/train-images-idx3-ubyte"
TEST_LABELS = "MNIST/raw/t10k-labels-idx1-ubyte"


@pytest.fixture
def tiny(tmp_path):
    MnistData(MNIST, tmp_path).write_tiny()
    return tmp_path


def filled(fill):
    workload = Mnist(Submission())
    workload.model = workload.build_model()
    fill(workload.model)
    return workload.eval()


@pytest.mark.parametrize(
    ("k", "value"),
    [(0, -0.9417000059038401), (1, 0.933312576264143), (3, 0.5559495743364096), (1000000, 0.7156566111370921)],
)
def test_hash_fill_has_its_known_values(k, value):
    assert u(k, 1)[0] == value


# Model


GOLDEN = [
    pytest.param(
        fill_a,
        INPUTS_A,
        [-0.0174564, -0.00592676, -0.0234041, 0.0160537, 0.0261265, -0.00297117, 0.00628276, -0.0244516],
        (-0.00269697, 0.0181812),
        [2.3175, 2.2841, 2.2938, 2.2804],
        1e-4,
        id="sine",
    ),
    pytest.param(
        fill_b,
        INPUTS_B,
        [0.329709, -0.247192, 0.428393, 0.236457, 0.171075, -0.672293, 0.129846, -0.640025],
        (-0.0501501, 0.423380),
        [1.962647, 2.093234, 2.068111, 3.050209],
        2e-6,
        id="hash",
    ),
]


@pytest.mark.parametrize(("fill", "inputs", "first_row", "moments", "losses", "tolerance"), GOLDEN)
def test_outputs_and_losses_are_those_of_the_reference(fill, inputs, first_row, moments, losses, tolerance):
    workload = filled(fill)
    logits = workload.network(inputs)
    assert torch.allclose(logits[0, :8], torch.tensor(first_row), atol=1e-6)
    assert logits.double().mean().item() == pytest.approx(moments[0], abs=1e-6)
    assert logits.double().std().item() == pytest.approx(moments[1], abs=1e-6)
    loss = workload.loss({"inputs": inputs, "targets": TARGETS})
    assert loss.weight is None
    assert torch.allclose(loss.per_example, torch.tensor(losses), atol=tolerance)


def test_masked_and_smoothed_loss_is_that_of_the_reference():
    weights = torch.tensor([1.0, 1.0, 0.0, 1.0])
    loss = filled(fill_a).loss({"inputs": INPUTS_A, "targets": TARGETS, "weights": weights}, label_smoothing=0.1)
    assert torch.allclose(loss.per_example, torch.tensor([2.3160, 2.2859, 0.0, 2.2826]), atol=1e-4)
    assert loss.weight.sum() == 3


def test_smoothed_loss_is_that_of_the_reference():
    loss = filled(fill_b).loss({"inputs": INPUTS_B, "targets": TARGETS}, label_smoothing=0.1)
    assert loss.per_example.sum().item() == pytest.approx(9.208687, abs=1e-5)


@pytest.mark.parametrize(
    ("targets", "weights", "accuracy"),
    [
        pytest.param([0, 3, 6, 9], [1, 1, 1, 1], 0.0, id="none-right"),
        pytest.param([2, 3, 6, 2], [1, 1, 1, 1], 0.5, id="half-right"),
        pytest.param([2, 3, 2, 2], [1, 1, 0, 1], 2 / 3, id="padding-not-counted"),
    ],
)
def test_accuracy_is_the_share_of_valid_examples_that_are_right(targets, weights, accuracy):
    workload = filled(fill_b)  # which says 2 to all four images
    metrics = workload.build_metrics()
    batch = {"inputs": INPUTS_B, "targets": torch.tensor(targets), "weights": torch.tensor(weights).float()}
    with torch.no_grad():
        workload.evaluate(batch, metrics)
    assert float(metrics["accuracy"].compute()) == pytest.approx(accuracy)


def test_parameters_are_those_of_the_reference():
    parameters = dict(MnistMLP().named_parameters())
    assert list(parameters) == ["layer1.weight", "layer1.bias", "layer2.weight", "layer2.bias"]
    assert Counter(tuple(p.shape) for p in parameters.values()) == Counter([(128, 784), (128,), (10, 128), (10,)])
    assert sum(p.numel() for p in parameters.values()) == 101_770


def test_both_tensors_of_the_output_layer_are_known():
    workload = filled(fill_a)
    assert workload.view.output_parameters == {"layer2.weight", "layer2.bias"}


def test_first_layers_are_initialised_uniformly_with_their_biases():
    torch.manual_seed(0)
    model = MnistMLP()
    for layer, bound in ((model.layer1, 784**-0.5), (model.layer2, 128**-0.5)):
        assert 0.95 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert 0 < layer.bias.abs().max() <= bound


def test_model_compiles_without_graph_breaks():
    torch._dynamo.reset()
    model = MnistMLP()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(INPUTS_A), model(INPUTS_A))
    torch._dynamo.reset()


# Data


def test_pixels_are_not_divided_by_255():
    images = torch.tensor([0, 1, 255], dtype=torch.uint8).view(3, 1, 1)
    expected = torch.tensor([-0.1307, 1 - 0.1307, 255 - 0.1307]) / 0.3081
    assert torch.equal(normalise(images).flatten(), expected)
    assert normalise(images).max() > 827


@pytest.mark.parametrize("images", [pytest.param(60_000, id="official"), pytest.param(1_200, id="tiny")])
def test_splits_of_the_training_files(images):
    rows = np.arange(images)
    train, validation = rows[split_rows("train", images, 0)], rows[split_rows("validation", images, 0)]
    assert np.array_equal(np.concatenate([train, validation]), rows)
    assert len(train) == images * 5 // 6
    chosen = split_rows("eval_train", images, 0)
    assert len(chosen) == len(set(chosen)) == images // 6
    assert set(chosen) <= set(train)
    assert np.array_equal(chosen, split_rows("eval_train", images, 0))
    assert not np.array_equal(chosen, split_rows("eval_train", images, 1))


def test_official_splits_have_the_sizes_of_the_spec():
    rows = np.arange(60_000)
    sizes = {name: len(rows[split_rows(name, 60_000, 0)]) for name in ("train", "eval_train", "validation")}
    assert {**sizes, "test": MnistData.counts["t10k"]} == MNIST.splits


def test_every_split_reads_as_declared(tiny):
    data = MnistData(MNIST, tiny)
    data.check()
    assert {split: len(data.open(split)) for split in MNIST.splits} == {
        "train": 1_000,
        "eval_train": 200,
        "validation": 200,
        "test": 200,
    }
    batch = next(iter(TrainingStream(data.open("train"), 16, seed=0)))
    assert batch["inputs"].shape == (16, 1, 28, 28)
    assert batch["inputs"].dtype == torch.float32
    assert batch["targets"].shape == (16,)
    assert batch["targets"].dtype == torch.int64


def test_reading_agrees_with_torchvision(tiny):
    from torchvision.datasets import MNIST as Official

    theirs = Official(tiny, train=False)
    ours = MnistData(MNIST, tiny).open("test")
    assert torch.equal(ours.columns["targets"], theirs.targets)
    assert torch.equal(ours.columns["inputs"], normalise(theirs.data))


def test_missing_file_is_named_with_the_command(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"train-images-idx3-ubyte .*algoperf data prepare mnist --data-dir"):
        MnistData(MNIST, tmp_path).open("train")


def damage(path, how):
    content = path.read_bytes()
    return {
        "truncated": content[:-100],
        "longer": content + b"\0",
        "empty": b"",
        "other-magic": b"\x1f\x8b" + content[2:],
        "other-shape": content[:8] + b"\0\0\0\x1c\0\0\0\x1d" + content[16:],
    }[how]


@pytest.mark.parametrize("how", ["truncated", "longer", "empty", "other-magic", "other-shape"])
def test_damaged_images_are_named_with_what_was_expected(tiny, how):
    path = tiny / TRAIN_IMAGES
    path.write_bytes(damage(path, how))
    with pytest.raises(DataNotFoundError, match=r"train-images-idx3-ubyte is damaged: expected .* images .*algoperf"):
        MnistData(MNIST, tiny).open("validation")


def test_fewer_labels_than_images_are_refused(tiny):
    path = tiny / TEST_LABELS
    path.write_bytes(path.read_bytes()[:4] + b"\0\0\0\x64" + path.read_bytes()[8:108])
    with pytest.raises(DataNotFoundError, match=r"t10k-labels-idx1-ubyte is damaged: expected 200 labels"):
        MnistData(MNIST, tiny).open("test")


def test_a_label_above_nine_is_refused(tiny):
    path = tiny / TEST_LABELS
    path.write_bytes(path.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(DataNotFoundError, match=r"expected labels in 0\.\.9, but it has a label 10"):
        MnistData(MNIST, tiny).open("test")


def test_without_the_marker_the_official_sizes_hold(tiny, monkeypatch):
    (tiny / "MNIST/raw/TINY").unlink()
    with pytest.raises(DataNotFoundError, match=r"expected 60,000 images .* in 47,040,016 bytes .*data prepare mnist"):
        MnistData(MNIST, tiny).check()
    monkeypatch.setattr(MnistData, "counts", MnistData.tiny_counts)
    MnistData(MNIST, tiny).open("train")


def flip(path, position, bits):
    content = bytearray(path.read_bytes())
    content[position] ^= bits
    path.write_bytes(content)


def test_files_of_the_official_size_must_be_the_official_ones(tiny, monkeypatch):
    (tiny / "MNIST/raw/TINY").unlink()
    monkeypatch.setattr(MnistData, "counts", MnistData.tiny_counts)
    with pytest.raises(DataNotFoundError, match=r"train-images-idx3-ubyte is damaged: .* official file, .*MD5"):
        MnistData(MNIST, tiny).check()
    sums = {Path(name).name: hashlib.md5((tiny / name).read_bytes()).hexdigest() for name in MNIST.files}
    monkeypatch.setattr(MnistData, "md5", sums)
    MnistData(MNIST, tiny).check()
    flip(tiny / TEST_LABELS, 150, 1)
    with pytest.raises(DataNotFoundError, match=rf"t10k-labels-idx1-ubyte.*MD5 sum {sums[Path(TEST_LABELS).name]}"):
        MnistData(MNIST, tiny).check()


# Fetching


def pack(folder, remove):
    for name in MNIST.files:
        path = folder / name
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        if remove:
            path.unlink()
    (folder / "MNIST/raw/TINY").unlink()


def no_internet(*args, **kwargs):
    raise URLError("no internet")


def test_complete_data_are_left_alone(tiny, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", no_internet)
    MnistData(MNIST, tiny).prepare_data()


def test_packed_files_are_unpacked(tiny, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", no_internet)
    before = [(tiny / name).read_bytes() for name in MNIST.files]
    pack(tiny, remove=True)
    MnistData(MNIST, tiny).prepare_data()
    assert [(tiny / name).read_bytes() for name in MNIST.files] == before
    assert len(list((tiny / "MNIST/raw").iterdir())) == 8  # four packed, four unpacked, nothing left over


def test_damaged_packed_file_is_named(tiny):
    pack(tiny, remove=True)
    archive = tiny / (TRAIN_IMAGES + ".gz")
    archive.write_bytes(archive.read_bytes()[:-50])
    with pytest.raises(
        DataNotFoundError, match=r"train-images-idx3-ubyte\.gz is damaged: expected a complete gzip file"
    ):
        MnistData(MNIST, tiny).prepare_data()
    assert not (tiny / TRAIN_IMAGES).exists()


def test_without_internet_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", no_internet)
    with pytest.raises(DataNotFoundError, match=r"(?s)no internet.*data prepare mnist .*train-images-idx3-ubyte\.gz"):
        MnistData(MNIST, tmp_path).prepare_data()
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


def test_only_missing_files_are_put_in_place_by_a_download(tiny, tmp_path_factory, monkeypatch):
    source = tmp_path_factory.mktemp("server")
    MnistData(MNIST, source).write_tiny(seed=1)

    def download(url, download_root, filename, md5):
        name = filename.removesuffix(".gz")
        Path(download_root, name).write_bytes((source / "MNIST/raw" / name).read_bytes())

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", download)
    (tiny / "MNIST/raw/TINY").unlink()
    (tiny / TRAIN_IMAGES).unlink()
    kept = (tiny / TEST_LABELS).read_bytes()
    MnistData(MNIST, tiny).prepare_data()
    assert (tiny / TRAIN_IMAGES).read_bytes() == (source / TRAIN_IMAGES).read_bytes()
    assert (tiny / TEST_LABELS).read_bytes() == kept


def test_a_tiny_data_set_is_not_completed_with_real_files(tiny):
    (tiny / TEST_LABELS).unlink()
    with pytest.raises(DataNotFoundError, match=r"t10k-labels-idx1-ubyte is missing from a tiny data set"):
        MnistData(MNIST, tiny).prepare_data()


# The tiny data set


def test_tiny_data_are_the_same_for_the_same_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        MnistData(MNIST, tmp_path / name).write_tiny(seed)
    a, b, c = ([(tmp_path / folder / name).read_bytes() for name in MNIST.files] for folder in "abc")
    assert a == b
    assert all(x != y for x, y in zip(a, c, strict=True))


def test_tiny_data_never_replace_others(tiny):
    MnistData(MNIST, tiny).write_tiny()  # its own, yes
    (tiny / "MNIST/raw/TINY").unlink()
    before = (tiny / TRAIN_IMAGES).read_bytes()
    with pytest.raises(FileExistsError, match=r"not changed.*--data-dir OTHER"):
        MnistData(MNIST, tiny).write_tiny(seed=1)
    assert (tiny / TRAIN_IMAGES).read_bytes() == before


def test_tiny_data_are_learnable(tiny):
    data = MnistData(MNIST, tiny)
    torch.manual_seed(0)
    model = MnistMLP()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for batch in itertools.islice(TrainingStream(data.open("train"), 16, seed=0), 600):
        optimizer.zero_grad()
        F.cross_entropy(model(batch["inputs"]), batch["targets"]).backward()
        optimizer.step()
    batch = next(iter(EvaluationBatches(data.open("validation"), 200)))
    with torch.no_grad():
        accuracy = (model(batch["inputs"]).argmax(-1) == batch["targets"]).float().mean()
    assert accuracy > 0.9
