from __future__ import annotations

import io
import os
import pickle
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from algoperf_lightning.data import DataNotFoundError, Draws
from algoperf_lightning.data.streams import Loader, TrainingStream
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.workloads.imagenet import data as imagenet_data
from algoperf_lightning.workloads.imagenet import index as imagenet_index
from algoperf_lightning.workloads.imagenet.batches import eval_train_rows
from algoperf_lightning.workloads.imagenet.crops import (
    evaluation_crop,
    imagenet_v2_crop,
    random_box,
    resized_crop,
)
from algoperf_lightning.workloads.imagenet.data import ImageNetData
from algoperf_lightning.workloads.imagenet.index import index_images
from algoperf_lightning.workloads.imagenet.reading import decode
from algoperf_lightning.workloads.imagenet.spec import IMAGENET_RESNET, TEST_FOLDER, TINY_SPLITS

TINY = IMAGENET_RESNET.of(tiny=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("imagenet")
    ImageNetData(TINY, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tiny, tmp_path):
    """To damage."""
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    return tmp_path


# Splits


def test_every_split_reads_as_declared(tiny):
    data = ImageNetData(TINY, tiny)
    assert TINY.splits == TINY_SPLITS
    for split, size in TINY_SPLITS.items():
        examples = data.open(split)
        assert len(examples) == size
        batch = examples.read(np.arange(size), Draws(0, np.arange(size)))
        assert batch["inputs"].shape == (size, 3, 64, 64)
        assert batch["inputs"].dtype == (torch.float32 if split == "test" else torch.uint8)
        assert batch["targets"].dtype == torch.int64
        assert set(batch["targets"].tolist()) == set(range(10))


def test_the_full_workload_reads_tiny_data(tiny):
    examples = ImageNetData(IMAGENET_RESNET, tiny).open("test")
    assert examples.read(np.arange(2), Draws(0, np.arange(2)))["inputs"].shape == (2, 3, 224, 224)


def test_only_training_images_are_augmented(tiny):
    data = ImageNetData(TINY, tiny)
    train, eval_train, test = data.open("train"), data.open("eval_train"), data.open("test")
    row = int(eval_train.rows[0])
    path = train.index.path(row, train.targets[row])
    image = Image.open(path).convert("RGB")
    plain = eval_train.read(np.zeros(1, np.int64), Draws(0, np.zeros(1, np.int64)))
    assert np.array_equal(plain["inputs"][0].permute(1, 2, 0).numpy(), evaluation_crop(image, 64))
    assert plain["targets"].tolist() == [int(Path(path).parent.name[1:])]
    draws = Draws(1, np.arange(50))
    varied = train.read(np.full(50, row), draws)["inputs"]
    assert len({image.numpy().tobytes() for image in varied}) == 50
    first = resized_crop(decode(np.fromfile(path, np.uint8)), random_box(*image.size[::-1], draws.uniform(22)[0]), 64)
    mirrored = draws.uniform(23)[0, 22] < 0.5
    assert torch.equal(varied[0], first.flip(-1) if mirrored else first)
    tested = test.read(np.array([7]), Draws(0, np.zeros(1, np.int64)))["inputs"][0].permute(1, 2, 0).numpy()
    source = Image.open(test.index.path(7, test.targets[7]))
    assert np.array_equal(tested, imagenet_v2_crop(np.asarray(source), 64))


def test_half_of_the_training_images_are_mirrored(tiny):
    train = ImageNetData(TINY, tiny).open("train")
    file = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(256, 0)).save(file, "JPEG")
    data = np.frombuffer(file.getvalue(), np.uint8).copy()
    numbers = Draws(0, np.arange(1000)).uniform(train.numbers)
    rising = [image[:, -1].mean() > image[:, 0].mean() for image in (train.prepare(data, n) for n in numbers)]
    assert abs(np.mean(rising) - 0.5) < 0.05


def test_augmentation_depends_on_the_position_in_the_stream_only(tiny):
    train = ImageNetData(TINY, tiny).open("train")
    rows = np.arange(8)
    whole = train.read(rows, Draws(7, rows + 100))["inputs"]
    assert torch.equal(whole[4:], train.read(rows[4:], Draws(7, rows[4:] + 100))["inputs"])
    assert not torch.equal(whole, train.read(rows, Draws(8, rows + 100))["inputs"])


def test_worker_processes_give_the_batches_of_one_process(tiny):
    train = ImageNetData(TINY, tiny).open("train")
    alone, workers = (Loader(TrainingStream(train, 8, seed=0), count).open() for count in (0, 2))
    for _ in range(5):
        one, other = next(alone), next(workers)
        assert torch.equal(one["inputs"], other["inputs"])
        assert torch.equal(one["targets"], other["targets"])
        assert other["inputs"].is_contiguous(memory_format=torch.channels_last)


def test_evaluated_training_images_are_the_first_of_a_shuffle():
    rows = eval_train_rows(1000, 50, seed=3)
    order = list(range(1000))
    random.Random(3).shuffle(order)
    assert rows.tolist() == order[:50]
    assert not np.array_equal(rows, eval_train_rows(1000, 50, seed=4))
    assert sorted(eval_train_rows(30, 50, seed=0)) == list(range(30))


def test_evaluated_training_images_are_those_of_the_trial(tiny):
    first, same, other = (ImageNetData(TINY, tiny, seed=seed).open("eval_train").rows for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_rand_augment_is_applied_where_the_spec_says_so(tiny, monkeypatch):
    from dataclasses import replace

    seen = []

    def rand_augment(image, numbers):
        seen.append((image.shape, image.dtype, numbers))
        return 255 - image

    module = SimpleNamespace(NUMBERS=5, rand_augment=rand_augment)
    monkeypatch.setitem(__import__("sys").modules, "algoperf_lightning.workloads.imagenet.rand_augment", module)
    plain = ImageNetData(TINY, tiny).open("train")
    augmented = ImageNetData(replace(TINY, data={**TINY.data, "rand_augment": True}), tiny).open("train")
    rows, draws = np.arange(4), Draws(0, np.arange(4))
    assert torch.equal(augmented.read(rows, draws)["inputs"], 255 - plain.read(rows, draws)["inputs"])
    assert [(shape, dtype, len(numbers)) for shape, dtype, numbers in seen] == [((64, 64, 3), np.uint8, 5)] * 4
    assert np.array_equal(seen[0][2], draws.uniform(28)[0, 23:])


def test_examples_can_be_sent_to_another_process(tiny):
    train = pickle.loads(pickle.dumps(ImageNetData(TINY, tiny).open("train")))
    assert len(train) == 400
    assert len(pickle.dumps(train)) < 100_000


# The index


def index_of(folder):
    return index_images(folder, folder / ".index.npz")


def age(folder):
    """Let the class folders be old enough for their time stamps to be trusted."""
    for path in [folder, *folder.iterdir()]:
        os.utime(path, (1_600_000_000, 1_600_000_000))


def make_classes(folder, **classes):
    for name, images in classes.items():
        (folder / name).mkdir(parents=True)
        for image in images:
            (folder / name / image).write_bytes(b"")


def test_index_lists_images_by_class(tmp_path):
    make_classes(tmp_path, n02=["b.JPEG", "a.jpg", ".hidden.JPEG", "notes.txt"], n01=["c.PNG"], n03=[])
    (tmp_path / "n04.JPEG").write_bytes(b"")  # no class folder
    index = index_of(tmp_path)
    assert index.classes == ("n01", "n02", "n03")
    assert index.labels.tolist() == [0, 1, 1]
    assert [index.path(row, label) for row, label in enumerate(index.labels)] == [
        str(tmp_path / name) for name in ("n01/c.PNG", "n02/a.jpg", "n02/b.JPEG")
    ]


def test_numbered_classes_have_the_order_of_their_numbers(tmp_path):
    make_classes(tmp_path, **{str(number): ["a.jpeg"] for number in range(12)})
    assert index_of(tmp_path).classes == tuple(str(number) for number in range(12))


def test_index_is_kept_and_notices_every_change(tmp_path, monkeypatch):
    make_classes(tmp_path, n01=["a.JPEG", "b.JPEG"], n02=["c.JPEG"])
    age(tmp_path)
    first = index_of(tmp_path)
    listed = []
    real = imagenet_index._list_images
    monkeypatch.setattr(imagenet_index, "_list_images", lambda folder: listed.append(folder.name) or real(folder))
    again = index_of(tmp_path)
    assert listed == []
    assert again.classes == first.classes
    assert np.array_equal(again.names, first.names)
    (tmp_path / "n02" / "c.JPEG").rename(tmp_path / "n02" / "longer_name.JPEG")
    index = index_of(tmp_path)
    assert listed == ["n02"]
    assert index.names.tolist() == [b"a.JPEG", b"b.JPEG", b"longer_name.JPEG"]
    (tmp_path / "n02" / "d.JPEG").write_bytes(b"")  # right after it was listed
    assert len(index_of(tmp_path)) == 4
    shutil.rmtree(tmp_path / "n01")
    assert index_of(tmp_path).classes == ("n02",)
    make_classes(tmp_path, n03=["e.JPEG"])
    assert index_of(tmp_path).labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x93NUMPY"], ids=["empty", "cut", "other"])
def test_damaged_index_is_made_anew(tmp_path, content):
    make_classes(tmp_path, n01=["a.JPEG"])
    (tmp_path / ".index.npz").write_bytes(content)
    assert len(index_of(tmp_path)) == 1


def test_index_that_cannot_be_kept_is_used_all_the_same(tmp_path):
    make_classes(tmp_path, n01=["a.JPEG"])
    (tmp_path / "file").write_bytes(b"")
    assert len(index_images(tmp_path, tmp_path / "file" / "index.npz")) == 1


# Damage


def damage(folder, change):
    data = ImageNetData(TINY, folder)
    change(data.folder)
    return ImageNetData(TINY, folder)


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def rename_class(split):
    return (split / "n00000003").rename(split / "n00000099")


V2 = TEST_FOLDER.rpartition("/")[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda f: shutil.rmtree(f / "train" / "n00000004"),
            r"train is damaged: expected 400 images in 10 class folders, but it has 9 .*does not have n00000004",
            id="missing-class",
        ),
        pytest.param(
            lambda f: shutil.rmtree(f / "val" / "n00000004"),
            r"val is damaged.*does not have n00000004",
            id="missing-in-val",
        ),
        pytest.param(
            lambda f: (f / "train" / "other").mkdir(),
            r"has 11 class folders.* additionally has other",
            id="one-too-many",
        ),
        pytest.param(
            lambda f: rename_class(f / "val"),
            r"val .*does not have n00000003.*additionally has n00000099",
            id="other-class",
        ),
        pytest.param(
            lambda f: [path.unlink() for path in (f / "train" / "n00000002").iterdir()],
            r"train/n00000002 is damaged: expected images, but it has 0",
            id="empty-class",
        ),
        pytest.param(
            lambda f: (f / "train" / "n00000002" / "n00000002_7.JPEG").unlink(),
            r"train is damaged: expected 400 images .*, but it has 399 images",
            id="missing-image",
        ),
        pytest.param(
            lambda f: next((f / "val" / "n00000002").iterdir()).unlink(),
            r"val/n00000002 is damaged: expected 10 images, but it has 9",
            id="missing-in-val-class",
        ),
        pytest.param(
            lambda f: next((f / V2 / "6").iterdir()).unlink(), r"val/6 .*expected 5 images", id="missing-in-v2"
        ),
        pytest.param(lambda f: (f / V2 / "6").rename(f / V2 / "six"), r"class folders 0 to 9", id="other-name-in-v2"),
        pytest.param(lambda f: shutil.rmtree(f / "val"), r"imagenet/val is missing.*data prepare", id="no-val"),
    ],
)
def test_incomplete_folders_are_named(own_tiny, change, message):
    data = damage(own_tiny, change)
    with pytest.raises(DataNotFoundError, match=message):
        data.check()


def test_check_names_every_damaged_image(own_tiny):
    folder = own_tiny / "imagenet"
    cut(folder / "train" / "n00000002" / "n00000002_7.JPEG")
    (folder / "train" / "n00000008" / "n00000008_3.JPEG").write_bytes(b"")
    with pytest.raises(
        DataNotFoundError,
        match=r"n00000002_7\.JPEG is damaged: .*truncated.*the same with .*n00000008_3\.JPEG.*data tiny",
    ):
        ImageNetData(TINY, own_tiny).check()


@pytest.mark.parametrize("split", ["train", "test"])
def test_damage_is_never_skipped_in_a_run(own_tiny, split):
    examples = ImageNetData(TINY, own_tiny).open(split)
    path = Path(examples.index.path(3, examples.targets[3]))
    cut(path)
    with pytest.raises(DataNotFoundError, match=rf"{path.name} is damaged: expected a complete JPEG"):
        examples.read(np.arange(5), Draws(0, np.arange(5)))
    path.unlink()
    with pytest.raises(DataNotFoundError, match=rf"{path.name} is damaged: .*No such file"):
        examples.read(np.arange(5), Draws(0, np.arange(5)))


def test_damage_found_by_a_worker_process_is_told(own_tiny):
    train = ImageNetData(TINY, own_tiny).open("train")
    shutil.rmtree(own_tiny / "imagenet" / "train")
    with pytest.raises(DataNotFoundError, match=r"is damaged: expected a complete JPEG"):
        next(Loader(TrainingStream(train, 4, seed=0), 1).open())


def test_real_data_are_counted_and_kept_from_the_tiny_form(own_tiny, monkeypatch):
    (own_tiny / "imagenet" / "TINY").unlink()
    with pytest.raises(
        DataNotFoundError, match=r"expected 1,281,167 images in 1,000 class folders.*delete .*/train and"
    ):
        ImageNetData(IMAGENET_RESNET, own_tiny).open("train")
    with pytest.raises(BadInputError, match=r"imagenet_resnet_tiny is for tiny data.*--data-dir OTHER"):
        ImageNetData(TINY, own_tiny).open("train")
    monkeypatch.setattr(imagenet_data, "CLASSES", 10)
    for name, count in zip(IMAGENET_RESNET.files, (400, 100, 50), strict=True):
        monkeypatch.setitem(imagenet_data.IMAGES, name, count)
    ImageNetData(IMAGENET_RESNET, own_tiny).check()


# The tiny data set


def test_tiny_data_are_the_same_for_the_same_seed(tiny, tmp_path):
    ImageNetData(TINY, tmp_path / "same").write_tiny()
    ImageNetData(TINY, tmp_path / "other").write_tiny(seed=1)
    name = Path("imagenet/val/n00000001/ILSVRC2012_val_00000002.JPEG")
    assert (tiny / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    assert (tiny / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_tiny_data_have_the_oddities_of_the_real_ones(tiny):
    train = tiny / "imagenet" / "train"
    assert Image.open(train / "n00000000" / "n00000000_0.JPEG").format == "PNG"
    assert Image.open(train / "n00000001" / "n00000001_0.JPEG").mode == "CMYK"
    assert len({Image.open(path).size for path in (train / "n00000002").iterdir()}) > 20


def test_tiny_data_never_replace_others(own_tiny):
    (own_tiny / "imagenet" / "TINY").unlink()
    with pytest.raises(FileExistsError, match=r"not changed.*--data-dir OTHER"):
        ImageNetData(TINY, own_tiny).write_tiny()
