from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.workloads.imagenet import archives as imagenet_archives
from algoperf_lightning.workloads.imagenet import data as imagenet_data
from algoperf_lightning.workloads.imagenet.archives import ARCHIVES, Archive, validation_wnids
from algoperf_lightning.workloads.imagenet.data import ImageNetData
from algoperf_lightning.workloads.imagenet.spec import IMAGENET_RESNET, IMAGES, TEST_FOLDER

CLASSES = 3
SHARES = (8, 3, 2)
COUNTS = {name: CLASSES * share for name, share in zip(IMAGENET_RESNET.files, SHARES, strict=True)}
V2 = Path(TEST_FOLDER).name


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def tar_of(files, mode="w"):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as tar:
        for name, data in files:
            add(tar, name, data)
    return content.getvalue()


def devkit(wnids_of_images, wnids):
    """The development kit: ids 1 to 1000 in an order of their own are the classes, higher ones groups of them."""
    numbers = {wnid: number for number, wnid in enumerate(reversed(wnids), start=1)}
    rows = [(number, wnid, "words", "gloss", 0, [], 0, 1300) for wnid, number in numbers.items()]
    rows.append((len(wnids) + 1, "n99999999", "a group", "gloss", 2, [1, 2], 1, 0))
    names = (
        "ILSVRC2012_ID WNID words gloss num_children children wordnet_height num_train_images".split()  # noqa: SIM905
    )
    synsets = np.array([tuple(row) for row in rows], dtype=[(name, object) for name in names])[:, None]
    mat = io.BytesIO()
    savemat(mat, {"synsets": synsets})
    truth = "".join(f"{numbers[wnid]}\n" for wnid in wnids_of_images)
    folder = "ILSVRC2012_devkit_t12"
    return tar_of(
        [
            (f"{folder}/readme.txt", b"..."),
            (f"{folder}/data/meta.mat", mat.getvalue()),
            (f"{folder}/data/ILSVRC2012_validation_ground_truth.txt", truth.encode()),
        ],
        "w:gz",
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """What shall come out: folders of a few images."""
    folder = tmp_path_factory.mktemp("tiny")
    for name, share in zip(("train", "val", V2), SHARES, strict=True):
        for label in range(CLASSES):
            class_folder = folder / name / (str(label) if name == V2 else f"n{label:08}")
            class_folder.mkdir(parents=True)
            for number in range(share):
                file_name = {
                    "train": f"n{label:08}_{number}.JPEG",
                    "val": f"ILSVRC2012_val_{number * CLASSES + label + 1:08}.JPEG",
                    V2: f"{label}{number}.jpeg",
                }[name]
                Image.new("RGB", (9, 8), (label, number, len(name))).save(class_folder / file_name)
    return folder


@pytest.fixture(scope="module")
def official(tiny, tmp_path_factory):
    """The official archives of a data set as small as the tiny one."""
    folder = tmp_path_factory.mktemp("official")
    classes = sorted((tiny / "train").iterdir())
    inner = [(f"{c.name}.tar", tar_of((p.name, p.read_bytes()) for p in sorted(c.iterdir()))) for c in classes]
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(inner))
    images = sorted((tiny / "val").rglob("*.JPEG"), key=lambda path: path.name)
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of((path.name, path.read_bytes()) for path in images))
    kit = devkit([path.parent.name for path in images], [path.name for path in classes])
    (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(kit)
    v2 = [(f"{V2}/{p.parent.name}/{p.name}", p.read_bytes()) for p in sorted((tiny / V2).rglob("*.jpeg"))]
    (folder / "imagenetv2-matched-frequency.tar.gz").write_bytes(tar_of(v2, "w:gz"))
    return folder


@pytest.fixture
def data(official, tmp_path, monkeypatch):
    """A data module whose official data are these."""
    for name, count in COUNTS.items():
        monkeypatch.setitem(IMAGES, name, count)
    for module in (imagenet_data, imagenet_archives):
        monkeypatch.setattr(module, "CLASSES", CLASSES)
    for name, archives in ARCHIVES.items():
        sums = [hashlib.md5((official / archive.name).read_bytes()).hexdigest() for archive in archives]
        with_sums = [Archive(a.name, a.source, sum_ if a.md5 else None) for a, sum_ in zip(archives, sums, strict=True)]
        monkeypatch.setitem(ARCHIVES, name, tuple(with_sums))
    shutil.copytree(official, tmp_path, dirs_exist_ok=True)
    return ImageNetData(IMAGENET_RESNET, tmp_path)


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.[Jj]*") if path.is_file()}


def test_the_official_archives_are_unpacked(data, tiny):
    data.prepare_data()
    data.check()
    assert files_of(data.folder) == files_of(tiny)
    assert {path.name for path in data.folder.iterdir()} == {"train", "val", V2, ".index"}
    assert {path.name for path in (data.folder / "train").iterdir()} == {f"n{label:08}" for label in range(CLASSES)}


LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")


def with_litter(content, mode):
    """An archive as a Mac or Windows packs it again: litter in each folder, and beside each file its twin."""
    with tarfile.open(fileobj=io.BytesIO(content), mode=f"r:{mode}") as tar:
        files = [(member.name, tar.extractfile(member).read()) for member in tar if member.isfile()]
    twice = []
    for name, data in files:
        folder, slash, last = name.rpartition("/")
        twice += [(f"{folder}{slash}._{last}", b"\x00\x05\x16\x07"), (f"__MACOSX/{name}", b"\x00\x05\x16\x07")]
        twice += [(f"{folder}{slash}{each}", b"\x00\x01") for each in LITTER]
        twice.append((name, with_litter(data, "") if name.endswith(".tar") else data))
    return tar_of(twice, f"w:{mode}")


def test_litter_in_archives_is_passed_over(data, tiny, monkeypatch):
    for name, archives in ARCHIVES.items():
        for archive in archives:
            path = data.data_dir / archive.name
            path.write_bytes(with_litter(path.read_bytes(), "gz" if path.suffix == ".gz" else ""))
        monkeypatch.setitem(ARCHIVES, name, tuple(Archive(each.name, each.source, None) for each in archives))
    data.prepare_data()
    data.check()
    assert files_of(data.folder) == files_of(tiny)
    assert {path.name for path in (data.folder / "train").iterdir()} == {f"n{label:08}" for label in range(CLASSES)}
    assert not [path for path in data.folder.rglob("*") if path.name in LITTER or path.name.startswith("._")]


def test_archives_in_the_folder_itself_are_found_too(data, tiny):
    data.folder.mkdir()
    for path in list(data.data_dir.glob("*.tar*")):
        path.rename(data.folder / path.name)
    data.prepare_data()
    assert files_of(data.folder / "val") == files_of(tiny / "val")


def test_unpacked_folders_need_no_archive(data, tiny):
    for path in list(data.data_dir.glob("*.tar*")):
        path.unlink()
    shutil.copytree(tiny, data.folder)
    data.prepare_data()
    data.check()


class Killed(BaseException):
    """Not an error: nothing may catch it."""


@pytest.mark.parametrize("after", [1, 11, 24, 28, 35])
def test_a_kill_only_interrupts(data, tiny, monkeypatch, after):
    written, verified = [], []
    real, real_checksum = Path.write_bytes, imagenet_archives.checksum

    def write(path, content):
        if "imagenet" in path.parts:
            if len(written) == after:
                real(path, content[: len(content) // 2])
                raise Killed
            written.append(path)
        return real(path, content)

    def checksum(path, name):
        verified.append(path.name)
        return real_checksum(path, name)

    monkeypatch.setattr(imagenet_archives, "checksum", checksum)
    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(Killed):
        data.prepare_data()
    whole = {path.relative_to(data.folder) for path in data.folder.iterdir() if path.suffix != ".part"}
    for name in whole:  # what has its own name is whole
        assert files_of(data.folder / name) == files_of(tiny / name)
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: written.append(path) or real(path, content))
    ImageNetData(IMAGENET_RESNET, data.data_dir).prepare_data()
    assert files_of(data.folder) == files_of(tiny)
    assert sorted(verified) == sorted(a.name for archives in ARCHIVES.values() for a in archives if a.md5)
    assert not list(data.folder.rglob(".n*"))
    assert not list(data.folder.glob("*.part"))
    assert len(written) <= sum(COUNTS.values()) + SHARES[0]  # one class, at most, is unpacked again


def test_what_is_missing_is_named_with_its_source(data):
    for name in ("ILSVRC2012_img_train.tar", "ILSVRC2012_devkit_t12.tar.gz"):
        (data.data_dir / name).unlink()
    with pytest.raises(DataNotFoundError) as caught:
        data.prepare_data()
    message = str(caught.value)
    assert "ILSVRC2012_img_train.tar (image-net.org, training images" in message
    assert "ILSVRC2012_devkit_t12.tar.gz" in message
    assert "ILSVRC2012_img_val.tar" not in message
    assert f") into {data.data_dir}: " in message
    assert f"algoperf data prepare imagenet_resnet --data-dir {data.data_dir}" in message
    assert "train/<wnid>/*.JPEG" in message
    assert "algoperf data tiny imagenet_resnet" in message


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"])
def test_archives_with_another_checksum_are_refused(data, name):
    with (data.data_dir / name).open("r+b") as file:
        file.seek(600)
        file.write(b"damage")
    with pytest.raises(
        DataNotFoundError, match=rf"{name} is damaged: its MD5 sum should be .* Download it again \(image"
    ):
        data.prepare_data()


def test_a_damaged_development_kit_is_not_said_to_be_the_images(data):
    (part := data.folder / "val.part").mkdir(parents=True)
    (part / ".verified").touch()
    (data.data_dir / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(tar_of([("readme.txt", b"...")], "w:gz"))
    with pytest.raises(
        DataNotFoundError, match=r"ILSVRC2012_devkit_t12\.tar\.gz is damaged: .*development kit"
    ) as error:
        data.prepare_data()
    assert "img_val" not in str(error.value)


def test_a_cut_archive_without_checksum_is_noticed(data):
    path = data.data_dir / "imagenetv2-matched-frequency.tar.gz"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(DataNotFoundError, match=r"imagenetv2-matched-frequency\.tar\.gz is damaged: .*huggingface"):
        data.prepare_data()
    assert not (data.folder / V2).exists()


def test_an_archive_of_something_else_is_noticed(data):
    content = tar_of([(f"other/{label}/a.jpeg", b"...") for label in range(CLASSES)], "w:gz")
    (data.data_dir / "imagenetv2-matched-frequency.tar.gz").write_bytes(content)
    with pytest.raises(DataNotFoundError, match=r"expected 6 images of 3 classes, but found 3 of 3"):
        data.prepare_data()
    assert not (data.data_dir / f"{V2}.part").exists(), "it would spoil the right archive's images"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../../../7/evil.jpeg", "expected 6 images of 3 classes, but found 1 of 1"),  # unpacked into class 7
        ("../evil.jpeg", r"'\.\.' is not a class"),
        ("/evil.jpeg", "'' is not a class"),
        ("evil.jpeg", "'' is not a class"),
        ("a/../evil.jpeg", r"'\.\.' is not a class"),
    ],
)
def test_names_in_an_archive_cannot_leave_the_folder(data, name, message):
    content = tar_of([(name, b"...")], "w:gz")
    (data.data_dir / "imagenetv2-matched-frequency.tar.gz").write_bytes(content)
    with pytest.raises(DataNotFoundError, match=rf"matched-frequency\.tar\.gz is damaged: {message}"):
        data.prepare_data()
    assert not [path for path in data.data_dir.parent.rglob("evil.jpeg") if f"{V2}.part" not in path.parts]


def test_a_full_disk_keeps_what_is_there(data, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataNotFoundError, match=r"could not be unpacked: .*No space left.*to continue"):
        data.prepare_data()


def test_validation_labels_are_read_through_the_classes_own_numbers(tmp_path):
    wnids = ["n00000003", "n00000005", "n00000001"]
    path = tmp_path / "devkit.tar.gz"
    path.write_bytes(devkit(["n00000005", "n00000001", "n00000005"], wnids))
    assert validation_wnids(path) == ["n00000005", "n00000001", "n00000005"]


def test_checksums_are_those_that_torchvision_knows():
    from torchvision.datasets.imagenet import ARCHIVE_META

    ours = {archive.name: archive.md5 for archives in ARCHIVES.values() for archive in archives if archive.md5}
    assert ours == dict(ARCHIVE_META.values())
