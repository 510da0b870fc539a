"""Files of every workload that the system refuses, or whose content is not as it was: one error that names the file."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil

import pytest

from algoperf_lightning.cli import main
from algoperf_lightning.data import DamagedError, DataNotFoundError
from algoperf_lightning.data.file_data import TINY_MARKER
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import WORKLOADS, get_spec, plugins
from algoperf_lightning.workloads.mnist.data import MnistData
from algoperf_lightning.workloads.mnist.spec import MNIST

WITH_FILES = [name for name in plugins(WORKLOADS) if get_spec(name).files]
FAST = ("mnist", "cifar10", "ogbg")
EVERY_KIND = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in WITH_FILES]


@pytest.fixture(scope="module")
def tiny_sets(tmp_path_factory):
    """The tiny data set of each workload, written when it is asked for first."""
    written = {}

    def of(name):
        if name not in written:
            written[name] = tmp_path_factory.mktemp(name)
            data_of(name, written[name]).write_tiny()
        return written[name]

    return of


def data_of(name, folder):
    spec = get_spec(name)
    data = get_workload(name).data_class(spec if spec.tiny is None else spec.of(tiny=True), folder)
    data.workers = 0
    return data


def one_of_each_kind(folder):
    """A file of each ending in each folder, of those with many files the largest: small ones may be names only."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != TINY_MARKER]
    kept = sorted((path for path in files if "/." not in str(path)), key=lambda path: (_kind(path), path))
    largest = [max(group, key=lambda path: path.stat().st_size) for _, group in itertools.groupby(kept, key=_kind)]
    return [path.relative_to(folder) for path in largest][:6]


def _kind(path):
    return str(path.parent if len(list(path.parent.iterdir())) > 3 else path.parent.parent), path.suffix


def to_folder(path):
    path.unlink()
    path.mkdir()


def to_dead_link(path):
    path.unlink()
    path.symlink_to("nowhere/at/all")


def to_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def a_step(data):
    for loader in data.evaluation_batches(0, 1):
        next(iter(loader))
    next(iter(data.training_batches(4, 0, 1, next, None)))


USES = {"check": lambda data: data.verify(), "prepare": lambda data: data.prepare_data(), "train": a_step}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("spoil", [to_folder, to_dead_link, to_loop], ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("name", EVERY_KIND)
def test_what_is_no_file_is_named_wherever_it_is_met(name, spoil, tiny_sets, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody must go to the network for it
    whole = tiny_sets(name)
    errors = []
    for file in one_of_each_kind(whole):
        folder = tmp_path / "data"
        shutil.copytree(whole, folder)
        spoil(folder / file)
        for use in USES.values():
            try:
                use(data_of(name, folder))
            except BadInputError as error:
                errors.append(str(error))
        shutil.rmtree(folder)
    assert errors
    assert [error for error in errors if "\n" in error or str(folder) not in error] == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", EVERY_KIND)
def test_a_flipped_bit_in_any_file_of_a_tiny_set_is_found(name, tiny_sets, tmp_path):
    whole = tiny_sets(name)
    data_of(name, whole).verify()
    for file in one_of_each_kind(whole):
        folder = tmp_path / "data"
        shutil.copytree(whole, folder)
        content = bytearray((folder / file).read_bytes())
        content[2 * len(content) // 3] ^= 1
        (folder / file).write_bytes(content)
        with pytest.raises(DataNotFoundError):
            data_of(name, folder).verify()
        shutil.rmtree(folder)


def to_file(path):
    path.write_text("")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: folder.symlink_to(folder.parent / "unmounted"),
            "MNIST is a link .*unmounted, which does not exist",
        ),
        (to_file, "MNIST is a file|a folder was expected|is missing"),
    ],
    ids=["dead link", "file"],
)
@pytest.mark.parametrize("action", ["prepare", "check", "tiny"])
def test_a_folder_of_data_that_is_none_is_named_by_the_command(action, spoil, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(MnistData, "fetch", lambda *_: pytest.fail("it went to the network"))
    spoil(tmp_path / "MNIST")
    with pytest.raises(SystemExit) as ended:
        main(["data", action, "mnist", "--data-dir", str(tmp_path)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("algoperf: error: ")
    assert str(tmp_path / "MNIST") in said
    assert re.search(message, said)
    assert len(said.splitlines()) == 1


def test_files_of_others_are_named(tmp_path, monkeypatch):
    MnistData(MNIST, tmp_path).write_tiny()
    path = tmp_path / MNIST.files[0]

    def refused(*_):  # as the system would, which lets root read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(MnistData, "open", refused)
    with pytest.raises(DataNotFoundError, match=f"{path.name} is not accessible"):
        data_of("mnist", tmp_path).verify()


def test_damage_that_a_reader_names_is_told_with_what_to_do(tmp_path, monkeypatch):
    data = MnistData(MNIST, tmp_path)

    def broken(*_):
        raise DamagedError(data.folder / "t10k-labels-idx1-ubyte", "labels", "there are none")

    monkeypatch.setattr(MnistData, "open", broken)  # without `naming_damage`, as an author may write it
    message = r"mnist: .*ubyte is damaged: expected labels, but there are none\. .*data prepare mnist"
    with pytest.raises(DataNotFoundError, match=message):
        data.evaluation_batches(0, 1)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_not_taken_for_a_damaged_file(code, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(code, os.strerror(code), str(tmp_path / "MNIST"))

    monkeypatch.setattr(MnistData, "fetch", full)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        MnistData(MNIST, tmp_path).prepare_data()
    assert not isinstance(caught.value, BadInputError)
