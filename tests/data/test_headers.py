"""Binary files with a header: read, summed, and valid only when they are whole."""

import struct
import zlib

import pytest

from algoperf_lightning.data import DamagedError, naming_damage
from algoperf_lightning.data.headers import crc32_of_rest, read_header, require_checksum, write_header_last

LAYOUT = struct.Struct("<4sQI")
MAGIC = b"tst1"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it is empty"),
        (b"other stuff here", "it starts with b'other st'"),
        (b"tst1abc", "it starts with b'tst1abc'"),
    ],
    ids=["empty", "other", "short"],
)
def test_other_files_are_refused(tmp_path, content, found):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        read_header(path, LAYOUT, MAGIC, "a test file")
    assert (caught.value.path, caught.value.expected) == (path, "a test file, which starts with 'tst1'")
    assert caught.value.found == found


def test_a_file_is_valid_once_its_header_is_written(tmp_path):
    path, content = tmp_path / "file", bytes(range(256)) * 100
    with path.open("w+b") as file:
        file.write(bytes(LAYOUT.size) + content)
        file.seek(LAYOUT.size)
        counted = []
        checksum = crc32_of_rest(file, counted.append)
        assert (checksum, sum(counted)) == (zlib.crc32(content), len(content))
        with pytest.raises(DamagedError):
            read_header(path, LAYOUT, MAGIC, "a test file")
        write_header_last(file, LAYOUT.pack(MAGIC, 7, checksum))
    assert read_header(path, LAYOUT, MAGIC, "a test file") == (7, checksum)
    require_checksum(path, zlib.crc32(content), checksum)
    with pytest.raises(DamagedError, match="CRC-32 sum 00000001, but it has 00000002"):
        require_checksum(path, 1, 2)


def test_damage_becomes_the_error_of_whoever_knows_what_to_do(tmp_path):
    def damaged(path, expected, found):
        return LookupError(f"delete {path.name}: wanted {expected}, got {found}")

    with pytest.raises(LookupError, match="delete file: wanted a, got b"), naming_damage(damaged):
        raise DamagedError(tmp_path / "file", "a", "b")
    with pytest.raises(ZeroDivisionError), naming_damage(lambda *_: LookupError()):
        raise ZeroDivisionError
