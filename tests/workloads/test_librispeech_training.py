"""Whole runs of the LibriSpeech workloads: on two ranks, to the tiny target, without their libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from algoperf_lightning.workloads.librispeech.data import LibriSpeechData
from algoperf_lightning.workloads.librispeech.spec import CONFORMER

SCRIPT = Path(__file__).with_name("ranks_librispeech.py")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("librispeech")
    LibriSpeechData(CONFORMER, folder).write_tiny()
    return folder


def run(workload, tiny, out, *options):
    """What each rank has at the end."""
    out.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), workload, str(tiny), str(out), *options]
    subprocess.run(command, check=True, env=environment, timeout=300, capture_output=True)
    return [torch.load(path) for path in sorted(out.glob("rank_*.pt"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workload", "alone", "together"),
    [
        pytest.param("librispeech_conformer", ["--halves"], [[]], id="conformer"),
        pytest.param("librispeech_deepspeech", [], [[], ["--compile"]], id="deepspeech"),
    ],
)
def test_two_ranks_train_as_one_process(tiny, tmp_path, workload, alone, together):
    # One step: in the next, rounding may put an activation on the other side of a ReLU's kink.
    (one,) = run(workload, tiny, tmp_path / "one", "--steps", "1", *alone)
    for number, options in enumerate(together):
        ranks = run(workload, tiny, tmp_path / f"two_{number}", "--ranks", "2", "--steps", "1", *options)
        assert len(ranks) == 2
        for name, value in one["model"].items():
            first, second = (rank["model"][name] for rank in ranks)
            assert torch.equal(first, second), f"{name} differs between the ranks"
            if "running" not in name or workload == "librispeech_deepspeech":
                assert torch.allclose(first, value, rtol=1e-5, atol=2e-6), f"{name} is another one on two ranks"
        assert ranks[0]["evaluation"] == ranks[1]["evaluation"]
        if workload == "librispeech_deepspeech":
            assert ranks[0]["evaluation"] == pytest.approx(one["evaluation"], rel=1e-3)


@pytest.mark.slow
def test_the_conformer_is_evaluated_with_the_mean_of_all_ranks_statistics(tiny, tmp_path):
    ranks = run("librispeech_conformer", tiny, tmp_path / "two", "--ranks", "2", "--steps", "1")
    names = ranks[0]["trained"]
    assert {name.rpartition(".")[2] for name in names} == {"running_mean", "running_var"}
    for name in names:
        first, second = (rank["trained"][name] for rank in ranks)
        assert not torch.equal(first, second), f"{name} is the same on both ranks: the test would see nothing"
        for rank in ranks:
            torch.testing.assert_close(rank["model"][name], (first + second) / 2, rtol=0, atol=1e-7)
