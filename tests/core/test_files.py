import errno
import json
import math
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from algoperf_lightning.files import append_line, overwrite_in_place, to_plain, write_atomic

# Room for writing ends in two real ways: a limit on the size of any file, and a disk of 64 kB (in a mount namespace of
# the child's own, which needs the right to make one).
_PRELUDE = """
import json, os, resource, sys
from pathlib import Path
from algoperf_lightning.files import append_line, overwrite_in_place, write_atomic

folder = Path(sys.argv[1])

def fails(call, *args):
    try:
        call(*args)
    except OSError as error:
        return error.errno or str(error)
    return None
"""
_LIMIT = "resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))\n"
_MOUNT = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1"'


def run_in_little_room(kind, folder, code):
    """Run code in a process that can write 64 kB to a file, and return what it prints as JSON."""
    if kind == "file-size-limit":
        command = [sys.executable, "-c", _PRELUDE + _LIMIT + code, str(folder)]
    else:
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", _MOUNT]
        if not shutil.which("unshare") or subprocess.run([*command, "sh", folder, "true", ""], check=False).returncode:
            pytest.skip("this machine does not let us mount a small disk")
        command += ["sh", str(folder), sys.executable, _PRELUDE + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


little_room = pytest.mark.parametrize("kind", ["file-size-limit", "full-disk"])
NO_ROOM = {"file-size-limit": errno.EFBIG, "full-disk": errno.ENOSPC}


# write_atomic


def test_write_atomic_replaces_the_whole_file(tmp_path):
    path = tmp_path / "trial.json"
    for text in ("first and longer\n", "second\n", "", "Schrödinger ≥ ½\n"):
        write_atomic(path, text)
        assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_write_atomic_is_never_seen_half_done(tmp_path):
    path = tmp_path / "trial.json"
    texts = ["a" * 300_000, "b"]
    write_atomic(path, texts[0])
    done = threading.Event()

    def write():
        for number in range(100):
            write_atomic(path, texts[number % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(path.read_text())
    writer.join()
    assert seen == set(texts)


@little_room
def test_write_atomic_without_room_keeps_the_old_content(tmp_path, kind):
    code = """
write_atomic(folder / "trial.json", "old")
error = fails(write_atomic, folder / "trial.json", "n" * 100_000)
print(json.dumps([error, (folder / "trial.json").read_text(), os.listdir(folder)]))
"""
    assert run_in_little_room(kind, tmp_path, code) == [NO_ROOM[kind], "old", ["trial.json"]]


def test_write_atomic_leaves_nothing_behind_when_the_file_cannot_be_replaced(tmp_path):
    (tmp_path / "trial.json").mkdir()
    with pytest.raises(OSError, match=r"trial\.json"):
        write_atomic(tmp_path / "trial.json", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["trial.json"]


def test_write_atomic_into_a_missing_folder_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "trial.json", "text")


# append_line


def test_append_line_makes_the_file_and_adds_lines(tmp_path):
    path = tmp_path / "rows.csv"
    for line in ("step,loss", "1,0.5", "½"):
        append_line(path, line)
    assert path.read_bytes() == "step,loss\n1,0.5\n½\n".encode()


@little_room
def test_append_line_writes_whole_lines_until_there_is_no_room(tmp_path, kind):
    # 65 lines of 1000 bytes fit into 64 kB; the next one would be cut in the middle.
    code = """
line = "x" * 999
written = 0
while not (error := fails(append_line, folder / "rows.csv", line)):
    written += 1
again = fails(append_line, folder / "rows.csv", line)
short = fails(append_line, folder / "rows.csv", "short")
content = (folder / "rows.csv").read_text()
print(json.dumps([written, bool(error), bool(again), short, content == (line + "\\n") * written + "short\\n"]))
"""
    assert run_in_little_room(kind, tmp_path, code) == [65, True, True, None, True]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_append_line_to_a_full_device_raises(tmp_path):
    path = tmp_path / "rows.csv"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        append_line(path, "1,0.5")
    assert error.value.errno == errno.ENOSPC
    assert path.is_symlink()


def test_append_line_follows_a_link_to_a_file(tmp_path):
    (tmp_path / "real.csv").write_text("header\n")
    (tmp_path / "rows.csv").symlink_to("real.csv")
    append_line(tmp_path / "rows.csv", "1")
    assert (tmp_path / "real.csv").read_text() == "header\n1\n"


# overwrite_in_place


def room_of(path):
    status = path.stat()
    return max(status.st_blocks * 512, status.st_size)


@pytest.mark.parametrize("text", ["new", "", "½"], ids=["shorter", "empty", "two-bytes-a-character"])
def test_overwrite_in_place_leaves_nothing_of_the_old_text(tmp_path, text):
    path = tmp_path / "trial.json"
    path.write_text("something longer than the new text")
    inode = path.stat().st_ino
    overwrite_in_place(path, text)
    assert path.read_bytes() == text.encode()
    assert path.stat().st_ino == inode


def test_overwrite_in_place_uses_the_blocks_the_file_has_and_no_more(tmp_path):
    path = tmp_path / "trial.json"
    path.write_text("old" * 100)
    room = room_of(path)
    overwrite_in_place(path, "n" * room)
    assert path.read_text() == "n" * room

    with pytest.raises(OSError, match=f"No room for {room_of(path) + 1} bytes"):
        overwrite_in_place(path, "m" * (room_of(path) + 1))
    assert path.read_text() == "n" * room


def test_room_is_counted_in_bytes(tmp_path):
    path = tmp_path / "trial.json"
    path.write_text("old")
    with pytest.raises(OSError, match="No room"):
        overwrite_in_place(path, "½" * (room_of(path) // 2 + 1))
    assert path.read_text() == "old"


def test_overwrite_in_place_does_not_make_a_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        overwrite_in_place(tmp_path / "trial.json", "text")
    assert list(tmp_path.iterdir()) == []


def test_overwrite_in_place_works_where_nothing_else_can_be_written(tmp_path):
    code = """
path = folder / "trial.json"
write_atomic(path, "old" * 100)
fails((folder / "junk").write_bytes, bytes(100_000))
atomic = fails(write_atomic, path, "new")
in_place = fails(overwrite_in_place, path, "new" * 1000)
print(json.dumps([atomic, in_place, path.read_text() == "new" * 1000, sorted(os.listdir(folder))]))
"""
    assert run_in_little_room("full-disk", tmp_path, code) == [errno.ENOSPC, None, True, ["junk", "trial.json"]]


# to_plain


class Opaque:
    def __repr__(self):
        return "Opaque()"


class Warmup:
    """Has no words of its own: Python describes it by its address."""

    def __init__(self, steps, power=1.5, then=None):
        self.steps, self.power, self.then = steps, power, then
        self._calls = 7

    def rate(self, step):
        return min(1.0, step / self.steps) ** self.power


class Slotted:
    __slots__ = ("_cache", "names")

    def __init__(self):
        self.names = {"b", "a"}


HERE = __name__


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        pytest.param(None, None, id="none"),
        pytest.param(True, True, id="bool"),
        pytest.param(2**62, 2**62, id="int"),
        pytest.param(0.1, 0.1, id="float"),
        pytest.param("text", "text", id="text"),
        pytest.param(math.inf, "inf", id="infinity"),
        pytest.param(-math.inf, "-inf", id="minus-infinity"),
        pytest.param(math.nan, "nan", id="nan"),
        pytest.param((0.9, (1, [math.inf])), [0.9, [1, ["inf"]]], id="tuples-and-lists"),
        pytest.param({"a": {1: math.nan}}, {"a": {"1": "nan"}}, id="mappings"),
        pytest.param(np.float64(0.1), 0.1, id="numpy-float"),
        pytest.param(np.float64(math.inf), "inf", id="numpy-infinity"),
        pytest.param(np.int64(3), 3, id="numpy-integer"),
        pytest.param(np.bool_(True), True, id="numpy-bool"),
        pytest.param(Opaque(), "Opaque()", id="object"),
        pytest.param(Warmup(10), f"{HERE}.Warmup(power=1.5, steps=10, then=None)", id="plain-state"),
        pytest.param(Warmup(10, then=Warmup(3)), f"{HERE}.Warmup(power=1.5, steps=10)", id="state-that-is-no-text"),
        pytest.param(Slotted(), f"{HERE}.Slotted(names=['a', 'b'])", id="slots"),
        pytest.param(Warmup.rate, f"{HERE}.Warmup.rate", id="function"),
        pytest.param(Warmup(10).rate, f"{HERE}.Warmup.rate", id="method"),
        pytest.param(partial(Warmup.rate, step=3), f"partial({HERE}.Warmup.rate, step=3)", id="partial"),
        pytest.param([Warmup], [f"<class '{HERE}.Warmup'>"], id="class"),
        pytest.param({"b", "a", "c"}, ["a", "b", "c"], id="set"),
    ],
)
def test_to_plain_is_what_strict_json_holds(value, plain):
    result = to_plain(value)
    assert (result, type(result)) == (plain, type(plain))
    assert json.loads(json.dumps(result, allow_nan=False)) == plain
    assert to_plain(result) == plain
