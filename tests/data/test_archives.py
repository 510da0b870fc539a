"""Archives: what is unpacked, what is kept, and what is said of damage."""

import gzip
import io
import random
import tarfile
import zipfile

import pytest

from algoperf_lightning.data import DamagedError, read_gzip, unpack
from algoperf_lightning.files import written_aside

FILES = {
    "top/a/one.bin": random.Random(0).randbytes(20_000),
    "top/two.txt": b"two",
    "top/empty": b"",
    "__MACOSX/top/._two.txt": b"left by a Mac",
    "top/a/Thumbs.db": b"left by Windows",
    "../evil": random.Random(1).randbytes(20_000),
}
WANTED = {"top/a/one.bin", "top/two.txt", "top/empty"}


def pack(path, files=None):
    """Write an archive whose kind is that of its name."""
    files = FILES if files is None else files
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("top")
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, f"w:{path.suffix.removeprefix('.').replace('tar', '')}") as archive:
        folder = tarfile.TarInfo("top/folder")
        folder.type = tarfile.DIRTYPE
        link = tarfile.TarInfo("top/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        for member in (folder, link):
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name if name.startswith(".") else f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def there(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["x.zip", "x.tar", "x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def archive(request, tmp_path):
    return pack(tmp_path / request.param)


def test_wanted_files_are_unpacked(archive, tmp_path):
    folder, names = tmp_path / "out", []

    def place(name):
        names.append(name)
        return folder / name if name in WANTED else None

    assert unpack(archive, place) == 3
    assert there(folder) == {name: FILES[name] for name in WANTED}
    assert not [name for name in names if "MACOSX" in name or "Thumbs" in name], "systems' files are not offered"
    assert not {"top", "top/folder", "top/link"} & set(names), "only plain files are"


def test_whole_files_are_kept_and_others_written_again(archive, tmp_path):
    folder = tmp_path / "out"
    (folder / "top").mkdir(parents=True)
    (folder / "top/two.txt").write_bytes(b"ours")  # of another size: it broke off
    (folder / "top/empty.part").write_bytes(b"of a run that was killed")
    (folder / "top/a").mkdir()
    (folder / "top/a/one.bin").write_bytes(b"\1" * len(FILES["top/a/one.bin"]))
    assert unpack(archive, lambda name: folder / name if name in WANTED else None) == 3
    assert there(folder) == {
        "top/a/one.bin": b"\1" * len(FILES["top/a/one.bin"]),
        "top/two.txt": b"two",
        "top/empty": b"",
    }


def test_reading_ends_with_the_last_wanted_file(archive, tmp_path):
    asked = []

    def place(name):
        asked.append(name)
        return tmp_path / "out"

    assert unpack(archive, place, count=1) == 1
    assert asked == ["top/a/one.bin"]


@pytest.mark.parametrize("part", [0, 0.3, 0.6])
def test_a_truncated_archive_is_named_and_leaves_no_half_files(tmp_path, archive, part):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(part * len(content))] if part else b"")
    folder = tmp_path / "out"
    with pytest.raises(
        DamagedError, match=f"{archive.name}: expected a complete archive, but reading failed"
    ) as caught:
        unpack(archive, lambda name: folder / name if name in WANTED else None)
    assert caught.value.path == archive
    assert there(folder).items() <= FILES.items()


def test_a_changed_byte_in_a_zip_archive_is_found(tmp_path):
    archive = pack(tmp_path / "x.zip", {"a": bytes(1000)})
    content = bytearray(archive.read_bytes())
    content[content.index(b"a", 30) + 3] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DamagedError, match=r"x\.zip: expected a complete archive"):
        unpack(archive, lambda name: tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_no_damage(archive, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, lambda name: tmp_path / "out" / name if name in WANTED else None)
    assert there(tmp_path / "out") == {}


def test_gzip_files_are_read_or_named(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"content"))
    assert read_gzip(path) == b"content"
    for content in (gzip.compress(b"content")[:-3], b"no gzip", gzip.compress(b"content")[:-8] + bytes(8)):
        path.write_bytes(content)
        with pytest.raises(DamagedError, match=r"x\.gz: expected a complete gzip file, but unpacking failed"):
            read_gzip(path)


# Written aside


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_appears_whole(tmp_path, durable):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with written_aside(path, durable=durable) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
        assert (tmp_path / "file.part").exists()
    assert there(tmp_path) == {"file": b"after"}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ValueError])
def test_what_fails_leaves_the_file_as_it_was(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def fails():
        with written_aside(path) as file:
            file.write(b"after")
            raise error

    with pytest.raises(error):
        fails()
    assert there(tmp_path) == {"file": b"before"}
