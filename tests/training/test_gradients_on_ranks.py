"""Two processes have the gradient of the global batch: uneven shares, micro-batches, gradients made by a submission."""

from pathlib import Path

import pytest
import torch
from on_ranks import run_on_ranks
from ranks_gradients import NUMBERS, ONE_PASS, SEVERAL_PASSES, STEPS, STRATEGIES
from smooth_digits import CASES, LineSearch, Smooth, assert_equal, plain_loop

from algoperf_lightning.testing import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks left what they trained: all cases in one pair of processes."""
    folder = tmp_path_factory.mktemp("ranks")
    run_on_ranks(Path(__file__).parent / "ranks_gradients.py", folder)
    return folder


@pytest.mark.sampled(5)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_are_one(name, number, strategy, folder):
    state = torch.load(folder / f"{name}_{number}_{strategy}.pt", weights_only=True)
    assert_equal(state["ranks"][0], plain_loop(STEPS, **CASES[name][1]))
    for one, other in zip(*state["ranks"], strict=True):
        assert torch.equal(one, other)
    assert state["reductions"] == STEPS  # once a step, whatever the number of micro-batches
    for ranks in state["values"]:
        total, count = (sum(column) for column in list(zip(*ranks, strict=True))[:2])
        for _, _, value in ranks:
            assert value == pytest.approx(total / max(1, count), rel=1e-5)


@pytest.mark.parametrize("name", ONE_PASS)
def test_a_static_graph_has_one_backward_pass_a_step(name, folder):
    state = torch.load(folder / f"{name}_1_static.pt", weights_only=True)
    for ranks in state["ranks"]:
        assert_equal(ranks, plain_loop(STEPS, **CASES[name][1]))


@pytest.mark.parametrize(("name", "cls", "number"), SEVERAL_PASSES)
def test_a_static_graph_with_several_is_refused(name, cls, number, folder):
    for message in torch.load(folder / f"refused_{name}_{number}.pt", weights_only=True):
        assert message.startswith(f"{cls.__name__} has several backward passes in a step")
        assert "Set static_graph=False" in message


@pytest.mark.parametrize("number", NUMBERS)
def test_a_line_search_by_the_value_of_the_global_mean(number, folder, tmp_path):
    state = torch.load(folder / f"line search_{number}_8gpu.pt", weights_only=True)
    alone = Smooth(LineSearch())
    train(alone, STEPS, tmp_path, precision="64-true")
    for ranks in state["ranks"]:
        assert_equal(ranks, alone.network.parameters(), rtol=1e-3, atol=1e-5)
    assert state["reductions"] > STEPS
