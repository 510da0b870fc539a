"""Downloads from a real server on this machine, which breaks off, resumes, and lies."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from algoperf_lightning.data.downloads import DownloadError, checksum, download

CONTENT = bytes(range(256)) * 8_192  # 2 MiB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT: ``/ranges`` from any byte on, ``/broken`` only its first half, ``/plain`` from the start.

    ``/curt`` is as ``/ranges``, but does not say how long the file is when asked for what lies behind its end.
    """

    requests: ClassVar[list] = []

    def do_GET(self):
        asked = self.headers.get("Range")
        self.requests.append((self.path, asked))
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/plain":
            begin = 0
        if begin >= len(CONTENT):
            self.send_response(416)
            if self.path != "/curt":
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        end = len(CONTENT) // 2 if self.path == "/broken" else len(CONTENT)
        self.wfile.write(CONTENT[begin:end])

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(autouse=True)
def _forget():
    Server.requests.clear()


def test_a_file_is_brought_whole_and_only_once(url, tmp_path):
    path = download(f"{url}/ranges", tmp_path / "deep" / "file", md5=MD5)
    assert path.read_bytes() == CONTENT
    download(f"{url}/ranges", path)
    assert len(Server.requests) == 1
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_broken_download_goes_on_where_it_was(url, tmp_path):
    with pytest.raises(DownloadError, match=r"was lost after 1,048,576 of 2,097,152 .*1,048,576 bytes are kept"):
        download(f"{url}/broken", tmp_path / "file", md5=MD5)
    assert not (tmp_path / "file").exists()
    download(f"{url}/ranges", tmp_path / "file", md5=MD5)
    assert Server.requests[-1] == ("/ranges", "bytes=1048576-")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_from_the_start(url, tmp_path):
    (tmp_path / "file.part").write_bytes(b"half of it")
    assert download(f"{url}/plain", tmp_path / "file", md5=MD5).read_bytes() == CONTENT


def test_a_whole_part_is_taken_as_it_is(url, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(f"{url}/ranges", tmp_path / "file", md5=MD5).read_bytes() == CONTENT
    assert len(Server.requests) == 1


@pytest.mark.parametrize("name", ["ranges", "curt"])
def test_a_part_of_another_file_is_thrown_away(url, tmp_path, name):
    (tmp_path / "file.part").write_bytes(CONTENT + b"as it was before")
    assert download(f"{url}/{name}", tmp_path / "file").read_bytes() == CONTENT
    assert [asked for _, asked in Server.requests] == [f"bytes={len(CONTENT) + 16}-", None]


def test_a_wrong_sum_is_told_and_not_kept(url, tmp_path):
    with pytest.raises(DownloadError, match=f"its md5 sum is {MD5}, not 0000"):
        download(f"{url}/ranges", tmp_path / "file", md5="0000")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["missing", "refused"])
def test_what_cannot_be_had_is_named(url, tmp_path, name):
    address = f"{url}/missing" if name == "missing" else "http://127.0.0.1:9/file"
    with pytest.raises(DownloadError, match=f"{address} could not be downloaded"):
        download(address, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_checksum(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert checksum(tmp_path / "file", "sha256") == hashlib.sha256(CONTENT).hexdigest()
