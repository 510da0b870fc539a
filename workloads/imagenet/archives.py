"""Unpack the official archives to folders of images, resumable after a kill."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.data.archives import ARCHIVE_ERRORS, files_of
from algoperf_lightning.data.downloads import checksum
from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.utilities.progress import Advance, progress

from .spec import CLASSES, IMAGES, TEST_FOLDER, TRAIN_FOLDER, VALIDATION_FOLDER


@dataclass(frozen=True)
class Archive:
    """An archive that the user must download."""

    name: str
    source: str
    """Its source and size."""
    md5: str | None = None
    """MD5 sum, where one is published."""


TRAIN = Archive(
    "ILSVRC2012_img_train.tar",
    "image-net.org, training images (tasks 1 & 2), 138 GB",
    "1d675b47d978889d74fa0da5fadfb00e",
)
VALIDATION = Archive(
    "ILSVRC2012_img_val.tar", "image-net.org, validation images (all tasks), 6.3 GB", "29b22e2961454d5413ddabcf34fc5622"
)
DEVKIT = Archive(
    "ILSVRC2012_devkit_t12.tar.gz", "image-net.org, development kit (tasks 1 & 2)", "fa75699e90414af021442c21a62c3abf"
)
IMAGENET_V2 = Archive("imagenetv2-matched-frequency.tar.gz", "huggingface.co/datasets/vaishaal/ImageNetV2, 1.2 GB")

ARCHIVES = {TRAIN_FOLDER: (TRAIN,), VALIDATION_FOLDER: (VALIDATION, DEVKIT), TEST_FOLDER: (IMAGENET_V2,)}
"""The archive of each folder."""

_LABELS = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
_CLASSES = "ILSVRC2012_devkit_t12/data/meta.mat"


def unpack(name: str, folder: Path, archives: dict[Archive, Path]) -> None:
    """Unpack one of the folders of :data:`ARCHIVES`; an interrupted call is resumed from ``<name>.part``.

    Args:
        name: Its key in :data:`ARCHIVES`.
        folder: The folder to create.
        archives: The folder that contains the archives.

    Raises:
        DataNotFoundError: If an archive is damaged or not the official one, or the disk is full.
    """
    part = folder.with_name(folder.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    paths = [archives[archive] for archive in ARCHIVES[name]]
    marker = part / ".verified"
    if not marker.exists():  # only once: the checksum of 138 GB takes minutes
        for archive in ARCHIVES[name]:
            _verify(archive, archives[archive])
        marker.touch()
    unpackers: dict[str, Callable[..., None]] = {
        TRAIN_FOLDER: _unpack_train,
        VALIDATION_FOLDER: _unpack_validation,
        TEST_FOLDER: _unpack_imagenet_v2,
    }
    with _told(paths[0]):
        unpackers[name](*paths, part)
        classes = [entry.path for entry in os.scandir(part) if entry.is_dir()]
        images = sum(len(os.listdir(path)) for path in classes)  # noqa: PTH208 # a million of them
        if (len(classes), images) != (CLASSES, IMAGES[name]):
            shutil.rmtree(part)  # otherwise files of a wrong archive would remain among the images of the right one
            raise tarfile.ReadError(
                f"expected {IMAGES[name]:,} images of {CLASSES:,} classes, but found {images:,} of {len(classes):,}"
            )
        marker.unlink()
        part.replace(folder)


def _unpack_train(archive: Path, part: Path) -> None:
    """Unpack an archive with one archive per class; existing classes are not unpacked again."""
    with (
        tarfile.open(archive, "r:") as outer,
        progress(f"{archive.name}: unpacking", archive.stat().st_size, bytes_=True) as advance,
    ):
        for member in outer:
            if is_left_by_system(member.name):
                continue
            wnid = _class_name(PurePosixPath(member.name).stem)
            if member.isfile() and not (part / wnid).exists():
                unfinished = part / f".{wnid}"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                content = outer.extractfile(member)
                with tarfile.open(fileobj=content, mode="r:") as inner:
                    for name, data in _images(inner):
                        (unfinished / name.name).write_bytes(data)
                unfinished.replace(part / wnid)
            advance(member.size)


def _unpack_validation(archive: Path, devkit: Path, part: Path) -> None:
    """Unpack images into class folders, by the labels of the development kit."""
    with _told(devkit):
        wnids = validation_wnids(devkit)
    with tarfile.open(archive, "r:") as tar, progress(f"{archive.name}: unpacking", len(wnids)) as advance:
        for name, data in _images(tar):
            number = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", name.name)
            if number is None or not 1 <= int(number[1]) <= len(wnids):
                raise tarfile.ReadError(f"{name} is not one of ILSVRC2012_val_00000001.JPEG to {len(wnids):08}")
            _write(part / wnids[int(number[1]) - 1], name.name, data, advance)


def _unpack_imagenet_v2(archive: Path, part: Path) -> None:
    """Unpack an archive of class folders."""
    with (
        tarfile.open(archive, "r:gz") as tar,
        progress(f"{archive.name}: unpacking", IMAGES[TEST_FOLDER]) as advance,
    ):
        for name, data in _images(tar):
            _write(part / _class_name(name.parent.name), name.name, data, advance)
        assert tar.fileobj is not None
        while tar.fileobj.read(1 << 20):  # up to gzip's checksum at the end: no other checksum is published
            pass


def validation_wnids(devkit: Path) -> list[str]:
    """Return the WordNet id of each validation image, from the development kit.

    Args:
        devkit: ``ILSVRC2012_devkit_t12.tar.gz``.
    """
    from scipy.io import loadmat  # type: ignore[import-untyped]

    with tarfile.open(devkit, "r:gz") as tar:
        texts = {name: tar.extractfile(name) for name in (_LABELS, _CLASSES)}
        contents = {name: file.read() for name, file in texts.items() if file is not None}
    synsets = loadmat(io.BytesIO(contents[_CLASSES]), squeeze_me=True)["synsets"]
    # Entries with children are groups of classes.
    leaves = np.atleast_1d(synsets)[[count == 0 for count in np.atleast_1d(synsets["num_children"])]]
    wnids = {int(number): str(wnid) for number, wnid in zip(leaves["ILSVRC2012_ID"], leaves["WNID"], strict=True)}
    return [wnids[int(number)] for number in contents[_LABELS].split()]


def _images(tar: tarfile.TarFile) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield name and content of every file; only the last parts of a name are used, so none escapes the folder."""
    for member, content in files_of(tar):
        yield PurePosixPath(member.name), content.read()


def _class_name(name: str) -> str:
    """Return a name that a class folder may have."""
    if not re.fullmatch(r"n\d{8}|\d{1,4}", name):
        raise tarfile.ReadError(f"{name!r} is not a class")
    return name


def _write(folder: Path, name: str, data: bytes, advance: Advance) -> None:
    """Write one image, unless it exists already."""
    path = folder / name
    if not path.exists():
        folder.mkdir(exist_ok=True)
        unfinished = folder.parent / ".image"
        unfinished.write_bytes(data)
        unfinished.replace(path)
    advance()


def _verify(archive: Archive, path: Path) -> None:
    with _told(path):
        if archive.md5 is not None and (found := checksum(path, "md5")) != archive.md5:
            raise tarfile.ReadError(f"its MD5 sum should be {archive.md5}, but is {found}")


@contextmanager
def _told(archive: Path) -> Iterator[None]:
    """Convert errors of unpacking into one with instructions."""
    try:
        yield
    except DataNotFoundError:  # of an archive that is read at the same time, and was reported already
        raise
    except (*ARCHIVE_ERRORS, KeyError, ValueError) as error:
        source = next((a.source for archives in ARCHIVES.values() for a in archives if a.name == archive.name), "")
        raise DataNotFoundError(f"{archive} is damaged: {error}. Download it again ({source}).") from error
    except OSError as error:
        raise DataNotFoundError(
            f"{archive} could not be unpacked: {error}. Unpacked files are kept; run the same command to continue."
        ) from error
