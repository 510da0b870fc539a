"""The official archives of LibriSpeech: download and unpacking, resumable after a kill."""

from __future__ import annotations

import re
from pathlib import Path

from algoperf_lightning.data.archives import unpack
from algoperf_lightning.data.downloads import download

from .spec import FOLDER

URL = "https://www.openslr.org/resources/12/{}.tar.gz"

# As in torchaudio.datasets.LIBRISPEECH.
SHA256 = {
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
}


def fetch_part(data_dir: Path, part: str) -> None:
    """Unpack a part from its archive in the data directory, which is kept, or from a downloaded archive.

    Raises:
        OSError: If it cannot be downloaded.
        DamagedError: If the archive is damaged.
    """
    archive = data_dir / f"{part}.tar.gz"
    own = archive.exists()
    if not own:
        download(URL.format(part), archive, sha256=SHA256[part])
    unpack_part(archive, data_dir / FOLDER, part)
    if not own:
        archive.unlink()


def unpack_part(archive: Path, folder: Path, part: str) -> None:
    """Unpack recordings and transcripts of one part; existing complete files are not written again."""
    wanted = re.compile(rf"{FOLDER}/({re.escape(part)}/\d+/\d+/\d+-\d+(-\d+\.flac|\.trans\.txt))")

    def place(name: str) -> Path | None:
        match = wanted.fullmatch(name)
        return folder / match[1] if match else None

    unpack(archive, place)
