"""Downloads of large files that are resumable, verified, and atomic: the final name never has partial content.

``pooch``, ``fsspec`` and ``torch.hub`` also verify checksums, but restart interrupted downloads from the beginning.
"""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.files import make_folder, sync
from algoperf_lightning.utilities.progress import progress

_CHUNK = 1 << 20
_TIMEOUT = 60.0


class DownloadError(BadInputError, OSError):
    """A file could not be downloaded, or has an unexpected checksum."""


def download(url: str, path: Path, *, md5: str | None = None, sha256: str | None = None) -> Path:
    """Download a file. The partial content of an interrupted call is kept in ``<name>.part`` and reused.

    Args:
        url: URL with the scheme ``http``, ``https`` or ``file``.
        path: Destination. An existing file is not downloaded again.
        md5: Expected MD5 checksum in hexadecimal, if published.
        sha256: Expected SHA-256 checksum in hexadecimal, if published.

    Returns:
        ``path``.

    Raises:
        DownloadError: If the download fails or is interrupted, or the checksum does not match.
    """
    if path.exists():
        return path
    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    try:
        _fetch(url, part, path.name)
    except (OSError, HTTPException) as error:
        kept = part.stat().st_size if part.exists() else 0
        more = f" {kept:,} bytes are kept; run the same command again to resume." if kept else ""
        raise DownloadError(f"{url} could not be downloaded: {error}.{more}") from error
    for name, expected in (("md5", md5), ("sha256", sha256)):
        if expected is not None and (found := checksum(part, name)) != expected.lower():
            part.unlink()
            raise DownloadError(
                f"{url} is not the expected file: its {name} sum is {found}, not {expected}. The downloaded "
                "file was deleted. Try again, or download the file manually."
            )
    part.replace(path)
    return path


def checksum(path: Path, algorithm: str) -> str:
    """Return the checksum of a file in hexadecimal; ``algorithm`` is a name from :mod:`hashlib`."""
    sum_ = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file, progress(f"{path.name}: verifying", path.stat().st_size, bytes_=True) as advance:
        while chunk := file.read(_CHUNK):
            sum_.update(chunk)
            advance(len(chunk))
    return sum_.hexdigest()


def _fetch(url: str, part: Path, name: str) -> None:
    """Append the missing bytes of the file to ``part``."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "algoperf-lightning"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        size = error.headers.get("Content-Range", "").rpartition("/")[2]
        if error.code != 416 or not have:
            raise
        if size != str(have):  # the partial content belongs to another file
            part.unlink()
            _fetch(url, part, name)
        return  # complete: an earlier call was killed after the last byte
    with response:
        if have and response.status != 206:  # the server sends the file from the beginning
            have = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with part.open("ab" if have else "wb") as file:
            with progress(f"{name}: downloading", total, done=have, bytes_=True) as advance:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
            sync(file)
    if total is not None and part.stat().st_size != total:
        raise OSError(f"the connection was lost after {part.stat().st_size:,} of {total:,} bytes")
