from __future__ import annotations

import dataclasses
import gzip
import os
import shutil
import zipfile

import numpy as np
import pytest

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.workloads.ogbg import conversion, parsing
from algoperf_lightning.workloads.ogbg import data as ogbg_data
from algoperf_lightning.workloads.ogbg.data import OGBGData
from algoperf_lightning.workloads.ogbg.parsing import BadTableError, read_table
from algoperf_lightning.workloads.ogbg.spec import FOLDER, OGBG, RAW_FILES


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("ogbg")
    OGBGData(OGBG, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tiny, tmp_path):
    """To damage."""
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    return tmp_path


def raw(folder, name):
    return folder / FOLDER / RAW_FILES[name]


def change(name, line, content):
    """A function that replaces a line of a table; ``content`` may be a function of the lines."""

    def apply(folder):
        lines = gzip.decompress(raw(folder, name).read_bytes()).decode().splitlines()
        lines[line : line + 1] = [] if content is None else [content(lines) if callable(content) else content]
        raw(folder, name).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), 1))

    return apply


def cut(name, share=0.5):
    def apply(folder):
        content = raw(folder, name).read_bytes()
        raw(folder, name).write_bytes(content[: int(len(content) * share)])

    return apply


def overwrite(name, content):
    return lambda folder: raw(folder, name).write_bytes(content)


DAMAGES = [
    pytest.param(
        change("edge", 1, "0,99"),
        r"edge\.csv\.gz .*atoms 0 to \d+ in that graph.*line 2 is 0,99, a bond of graph 0",
        id="bond-outside",
    ),
    pytest.param(change("edge", 1, "0,-1"), r"edge\.csv\.gz .*line 2 contains '-1'", id="negative"),
    pytest.param(change("edge", 4, "0,1,2"), r"edge\.csv\.gz .*line 5 has 3 fields", id="fields"),
    pytest.param(change("edge", 4, "0"), r"edge\.csv\.gz .*line 5 has 1 fields", id="field"),
    pytest.param(
        change("edge", 4, None), r"edge\.csv\.gz .*one for each bond, as in num-edge-list.*it has", id="bond-lost"
    ),
    pytest.param(change("edge", 4, "70000,0"), r"edge\.csv\.gz .*line 5 contains 70000", id="large-number"),
    pytest.param(
        change("graph-label", 7, None),
        r"graph-label\.csv\.gz .*expected 2,000 lines, one for each graph.*it has 1,999",
        id="labels-lost",
    ),
    pytest.param(
        change("graph-label", 7, lambda lines: lines[7] + "\n" + lines[7]),
        r"graph-label\.csv\.gz .*it has 2,001",
        id="labels-more",
    ),
    pytest.param(
        change("graph-label", 7, ",".join(["2"] * 128)), r"graph-label\.csv\.gz .*line 8 contains 2\b", id="other-label"
    ),
    pytest.param(
        change("graph-label", 7, ",".join(["0.5"] * 128)),
        r"graph-label\.csv\.gz .*line 8 contains '0\.5'",
        id="half-label",
    ),
    pytest.param(
        change("node-feat", 11, "5,0,2,x,0,0,1,0,0"), r"node-feat\.csv\.gz .*line 12 contains 'x'", id="no-number"
    ),
    pytest.param(
        change("node-feat", 11, "5,0,2,,0,0,1,0,0"), r"node-feat\.csv\.gz .*line 12 contains ''", id="empty-feature"
    ),
    pytest.param(
        change("node-feat", 11, "300,0,2,0,0,0,1,0,0"), r"node-feat\.csv\.gz .*line 12 contains 300", id="large-feature"
    ),
    pytest.param(change("num-node-list", 0, "2"), r"edge\.csv\.gz|node-feat\.csv\.gz", id="other-count"),
    pytest.param(
        change("train", 5, "2000"), r"train\.csv\.gz .*line 6 is 2000, but there are 2,000 graphs", id="no-graph"
    ),
    pytest.param(
        change("train", 5, lambda lines: lines[4]), r"train\.csv\.gz .*line 6 is \d+, but that graph was", id="twice"
    ),
    pytest.param(change("test", 5, None), r"test\.csv\.gz .*graph \d+ is in none", id="graph-lost"),
    pytest.param(cut("edge-feat"), r"edge-feat\.csv\.gz .*it is truncated", id="truncated"),
    pytest.param(cut("graph-label", 0.999), r"graph-label\.csv\.gz .*it is truncated", id="truncated-at-the-end"),
    pytest.param(overwrite("valid", b"1\n2\n"), r"valid\.csv\.gz .*[Nn]ot a gzipped file", id="no-gzip"),
    pytest.param(overwrite("node-feat", b""), r"node-feat\.csv\.gz .*it has 0", id="empty"),
    pytest.param(lambda folder: raw(folder, "valid").unlink(), r"valid\.csv\.gz.* is missing", id="no-split-file"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
@pytest.mark.parametrize("converted", [True, False], ids=["check", "convert"])
def test_damage_is_named_with_its_line(own_tiny, damage, message, converted):
    damage(own_tiny)
    data = OGBGData(OGBG, own_tiny)
    if not converted:
        shutil.rmtree(own_tiny / FOLDER / "packed")
    with pytest.raises(DataNotFoundError, match=message):
        data.check() if converted or "missing" in message else data.fetch([])


def test_graph_in_two_splits_is_named(own_tiny):
    change("valid", 3, lambda lines: gzip.decompress(raw(own_tiny, "train").read_bytes()).decode().split()[0])(own_tiny)
    with pytest.raises(
        DataNotFoundError, match=r"valid\.csv\.gz .*line 4 is \d+, but that graph was in a split before"
    ):
        OGBGData(OGBG, own_tiny).check()


def test_official_sizes_hold_without_the_marker(own_tiny):
    (own_tiny / FOLDER / "TINY").unlink()
    with pytest.raises(
        DataNotFoundError, match=r"num-node-list.*437,929 lines, one for each graph, as in the official.*2,000"
    ):
        OGBGData(OGBG, own_tiny).open("train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(lambda old: old[:2000], "reading failed", id="truncated"),
        pytest.param(lambda old: b"", "reading failed", id="empty"),
        pytest.param(lambda old: old.replace(b"'|u1'", b"'|i1'"), r"it is int8 \(\d+, 9\)", id="type"),
        pytest.param(lambda old: old[:-3] + b"\x07" + old[-2:], "it contains others", id="one-byte"),
    ],
)
def test_damaged_conversion_is_named(own_tiny, content, message):
    path = own_tiny / FOLDER / "packed" / "node-feat.npy"
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(DataNotFoundError, match=rf"node-feat\.npy is damaged: .*{message}"):
        OGBGData(OGBG, own_tiny).check()


# Reading text


def table(path, text, *args, **options):
    path.write_bytes(gzip.compress(text if isinstance(text, bytes) else text.encode()))
    return read_table(path, *args, **options)


def test_tables_are_read_in_any_chunks(tmp_path, monkeypatch):
    random = np.random.RandomState(0)
    numbers = random.randint(0, 10 ** random.randint(1, 6, (500, 3)))
    text = "".join(",".join(map(str, row)) + "\n" for row in numbers)
    for chunk in (1 << 22, 64, 7, 1):
        monkeypatch.setattr(parsing, "_CHUNK", chunk)
        assert np.array_equal(table(tmp_path / "t.csv.gz", text, 3, np.int32), numbers)
    lines = text.splitlines()
    lines[399] = "1,2"
    with pytest.raises(BadTableError, match="line 400 has 2 fields"):
        table(tmp_path / "t.csv.gz", "\n".join(lines), 3, np.int32)


@pytest.mark.parametrize(
    "text", ["1,0,\n,2,3\n", "1.0,0.0,\n,2.0,3\n", "1,0,\r\n,2,3\r\n", "1,0,\n,2,3", "01,0,\n,2.0,3.0"]
)
def test_ways_to_write_a_table(tmp_path, text):
    assert table(tmp_path / "t.csv.gz", text, 3, np.int8, empty=-1).tolist() == [[1, 0, -1], [-1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n1,.0\n", "line 2 contains '.0'"),
        ("1,2\n1,1e0\n", "line 2 contains '1e0'"),
        ("1,2\n1,1.00\n", "line 2 contains '1.00'"),
        ("1,2\n1,1.0.0\n", "line 2 contains '1.0.0'"),
        ("1,2\n1, 1\n", "line 2 contains ' 1'"),
        ("1,2\n1,1234567890123456789\n", "line 2 contains '1234567890123456789'"),
        ("1,2\n\n1,2\n", "line 2 has 1 fields"),
        ("1,2\n1,\n", "line 2 contains ''"),
        (b"1,2\n1,\xff\n", "line 2 contains"),
        ("1,2,1\n2\n", "line 1 has 3 fields"),
        ("1,2\r1,2\n", "line 1 has 3 fields"),  # the end of a line is a newline
        ("1,2\n1,2\r\n1,\r2\n", r"line 3 contains '\\r2'"),
        ("a,b\n1,2\n", "line 1 contains 'a'"),
    ],
)
def test_what_is_no_table_is_named_with_the_line(tmp_path, text, message):
    with pytest.raises(BadTableError, match=message):
        table(tmp_path / "t.csv.gz", text, 2, np.int8)


# Converting


def test_only_what_is_not_converted_yet_is_converted(own_tiny, monkeypatch):
    data = OGBGData(OGBG, own_tiny)
    folder = own_tiny / FOLDER / "packed"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "edge.npy").unlink()
    read = []
    original = conversion.read_table
    monkeypatch.setattr(
        conversion, "read_table", lambda path, *args, **kw: read.append(path.name) or original(path, *args, **kw)
    )
    data.fetch(data.missing_files())
    assert read == ["edge.csv.gz"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def no_archive(monkeypatch, tmp_path):
    monkeypatch.setattr(ogbg_data, "URL", (tmp_path / "nowhere.zip").as_uri())


def pretend_official(monkeypatch, folder):
    """Let the tiny data set pass for the official one."""
    (folder / FOLDER / "TINY").unlink()
    sizes = {"train": 1400, "eval_train": 300, "validation": 300, "test": 300}
    monkeypatch.setattr(ogbg_data, "OGBG", dataclasses.replace(OGBG, splits=sizes))


def zip_up(tiny, target, leave_out=()):
    target.parent.mkdir(parents=True)
    with zipfile.ZipFile(target, "w") as archive:
        for name, path in RAW_FILES.items():
            if name not in leave_out:
                archive.write(tiny / FOLDER / path, f"pcba/{path}")
        archive.writestr("pcba/RELEASE_v1.txt", "")


def test_litter_in_the_archive_is_passed_over(tiny, tmp_path, monkeypatch):
    """Where a Mac has packed the archive again, each table has a twin whose name ends as its own does."""
    target = tmp_path / ogbg_data.ARCHIVE
    zip_up(tiny, target)
    with zipfile.ZipFile(target, "a") as archive:
        for path in RAW_FILES.values():
            folder, _, name = path.rpartition("/")
            archive.writestr(f"__MACOSX/{path}", b"\x00\x05\x16\x07")
            archive.writestr(f"pcba/{folder}/._{name}", b"\x00\x05\x16\x07")
            for litter in (".DS_Store", "Thumbs.db"):
                archive.writestr(f"pcba/{folder}/{name}.{litter}", b"\x00\x01")
                archive.writestr(f"{litter}/{path}", b"\x00\x01")
    no_archive(monkeypatch, tmp_path)
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "TINY").touch()
    pretend_official(monkeypatch, tmp_path)
    data = OGBGData(OGBG, tmp_path)
    data.prepare_data()
    data.check()
    for path in RAW_FILES.values():
        assert (tmp_path / FOLDER / path).read_bytes() == (tiny / FOLDER / path).read_bytes()


@pytest.mark.parametrize("way", ["beside", "downloaded"])
def test_archive_is_unpacked_and_converted(tiny, tmp_path, monkeypatch, way):
    archive = tmp_path / "elsewhere" / "pcba.zip"
    zip_up(tiny, archive)
    if way == "beside":
        archive = tmp_path / ogbg_data.ARCHIVE
        zip_up(tiny, archive)
        no_archive(monkeypatch, tmp_path)
    else:
        monkeypatch.setattr(ogbg_data, "URL", archive.as_uri())
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "TINY").touch()
    pretend_official(monkeypatch, tmp_path)
    data = OGBGData(OGBG, tmp_path)
    data.prepare_data()
    data.check()
    assert len(data.open("train")) == 1400
    assert {path.name for path in (tmp_path / FOLDER).rglob("*") if path.is_file()} == {
        file.rpartition("/")[2] for file in OGBG.files
    }


def test_nothing_half_written_is_left_after_an_error(tiny, tmp_path, monkeypatch):
    archive = tmp_path / ogbg_data.ARCHIVE
    zip_up(tiny, archive)
    content = bytearray(archive.read_bytes())
    content[content.index(b"node-feat.csv.gz") + 5000] ^= 1  # fails its checksum
    archive.write_bytes(content)
    with pytest.raises(DataNotFoundError, match=r"pcba\.zip is damaged: .*CRC-32"):
        OGBGData(OGBG, tmp_path).prepare_data()
    assert not [path for path in (tmp_path / FOLDER).rglob("*") if path.name.startswith(".")]

    def full(*_):
        raise OSError(28, "No space left on device")

    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / FOLDER / "packed")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        OGBGData(OGBG, tmp_path).fetch([])
    assert not list((tmp_path / FOLDER / "packed").iterdir())


def test_archive_that_lacks_a_table_or_is_cut_is_named(tiny, tmp_path, monkeypatch):
    archive = tmp_path / ogbg_data.ARCHIVE
    zip_up(tiny, archive, leave_out=["valid"])
    with pytest.raises(DataNotFoundError, match=r"pcba\.zip is damaged: .*split/scaffold/valid\.csv\.gz is not in it"):
        OGBGData(OGBG, tmp_path).prepare_data()
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(DataNotFoundError, match=r"pcba\.zip is damaged: expected a complete archive"):
        OGBGData(OGBG, tmp_path).prepare_data()


def test_without_internet_the_error_says_what_to_do(tmp_path, monkeypatch):
    no_archive(monkeypatch, tmp_path)
    with pytest.raises(DataNotFoundError, match=r"not be downloaded.*copy the official archive, .* to .*pcba\.zip"):
        OGBGData(OGBG, tmp_path).prepare_data()
