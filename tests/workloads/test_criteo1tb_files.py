"""Converted files that are damaged: all is named."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from test_criteo1tb_conversion import flip

from algoperf_lightning.data import DataNotFoundError
from algoperf_lightning.workloads.criteo1tb.data import Criteo1TBData
from algoperf_lightning.workloads.criteo1tb.spec import CRITEO1TB


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("criteo1tb")
    Criteo1TBData(CRITEO1TB, folder).write_tiny()
    return folder


@pytest.fixture
def own_tiny(tiny, tmp_path):
    """To damage."""
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(cut, "expected 200 rows of 113 bytes, but reading failed", id="cut"),
        pytest.param(flip, "expected checksum [0-9a-f]{8}, but it has", id="flipped-bit"),
        pytest.param(lambda path: path.write_bytes(b""), "but reading failed", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"x" * 50_000), "but reading failed", id="garbage"),
        pytest.param(lambda path: np.save(path, np.zeros(200)), "not rows", id="other-type"),
        pytest.param(lambda path: np.save(path, np.load(path)[:150]), "expected 200 rows, but it has 150", id="fewer"),
        pytest.param(lambda path: np.save(path, np.array([{}])), "but reading failed", id="pickle"),
    ],
)
def test_check_finds_a_damaged_file(own_tiny, damage, message):
    data = Criteo1TBData(CRITEO1TB, own_tiny)
    damage(data.converted / "day_6_03.npy")
    with pytest.raises(DataNotFoundError, match=f"day_6_03.npy is damaged: .*{message}.*data tiny"):
        data.check()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"parts": [{"file": "day_6_00.npy"}]}', '{"parts": 3}'])
def test_a_damaged_index_is_named(own_tiny, content):
    data = Criteo1TBData(CRITEO1TB, own_tiny)
    (data.converted / "day_6.json").write_text(content)
    with pytest.raises(DataNotFoundError, match=r"day_6.json is damaged: expected the index of a day"):
        data.open("train")


def test_a_missing_index_is_named(own_tiny):
    data = Criteo1TBData(CRITEO1TB, own_tiny)
    (data.converted / "day_6.json").unlink()
    with pytest.raises(DataNotFoundError, match=r"day_6.json is missing.*data prepare criteo1tb"):
        data.open("train")
