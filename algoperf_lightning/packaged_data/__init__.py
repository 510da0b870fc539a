"""Real data that come with the package, for workloads at tiny and small size: handwritten digits and English text.

Sources and licences are in ``README.md`` next to this file.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError

__all__ = ["read_digits", "read_documents"]

_DIGITS, _DOCUMENTS = "optdigits.csv.gz", "python_documentation.txt.xz"
_DOCUMENTS_SHA256 = "168c3def50fe300b009ebc7da2e8a68315bbfc6ab05d88c18ecdb7506d5693c7"


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return 1,797 handwritten digits of 13 people: ink in 0..16, shape ``(1797, 8, 8)``, and labels ``(1797,)``.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49 (the test part), licence CC BY 4.0.
    """
    raw = gzip.decompress(_read(_DIGITS))
    rows = np.loadtxt(raw.decode().splitlines(), delimiter=",", dtype=np.uint8)
    return rows[:, :64].reshape(-1, 8, 8), rows[:, 64]


def read_documents() -> list[str]:
    """Return 783 documents of English technical text in ASCII, 1.7 million characters.

    Source: documentation strings and help topics of the standard library of Python 3.11, Python Software Foundation,
    PSF License Version 2.

    Raises:
        BadInputError: If the file is not the one that belongs to this version of the package.
    """
    raw = lzma.decompress(_read(_DOCUMENTS))
    if hashlib.sha256(raw).hexdigest() != _DOCUMENTS_SHA256:
        raise BadInputError(f"{_DOCUMENTS} of the package was changed. Install algoperf-lightning again.")
    return raw.decode("ascii").split("\0")


def _read(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()
