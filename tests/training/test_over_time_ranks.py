"""Two processes: shares of part of a batch, running statistics, and whose log it is."""

from pathlib import Path

import pytest
import torch
from on_ranks import run_on_ranks
from ranks_over_time import STEPS, make_net, make_norm_net
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from algoperf_lightning.result import TrialResult

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run_on_ranks(Path(__file__).parent / "ranks_over_time.py", folder)
    return folder


def of_ranks(folder, workload):
    return [torch.load(folder / workload / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_each_rank_trains_on_its_share_of_what_was_taken(folder):
    ranks, model = of_ranks(folder, "Net"), make_net()
    for step in range(STEPS):
        shares = [{name: rows[: 2 * (step + 1)] for name, rows in rank["batches"][step].items()} for rank in ranks]
        inputs, targets = (torch.cat([share[name] for share in shares]) for name in ("inputs", "targets"))
        gradients = torch.autograd.grad(F.cross_entropy(model(inputs), targets), list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    for rank in ranks:
        for found, expected in zip(rank["end"].values(), model.parameters(), strict=True):
            torch.testing.assert_close(found, expected.data)


def test_recomputed_statistics_are_the_average_over_the_ranks(folder):
    ranks, expected = of_ranks(folder, "NormNet"), []
    for rank in ranks:
        model = make_norm_net()
        model.load_state_dict(rank["parameters"], strict=False)
        update_bn([batch["inputs"] for batch in rank["batches"]], model)
        expected.append(dict(model.named_buffers()))
    assert not torch.allclose(expected[0]["2.running_mean"], expected[1]["2.running_mean"])
    for rank in ranks:
        for name in ("2.running_mean", "2.running_var"):
            torch.testing.assert_close(rank["recomputed"][name], (expected[0][name] + expected[1][name]) / 2)


@pytest.mark.parametrize("workload", ["Net", "NormNet"])
def test_the_log_is_that_of_the_first_rank(workload, folder):
    rows = TrialResult.read(folder / workload / "trial").submission_log()
    assert [row.values for row in rows] == [{"rank": 0.0, "examples": 2.0 * (step + 1)} for step in range(STEPS)]
