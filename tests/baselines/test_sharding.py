"""Work that ranks share: who computes what, and that several ranks end where one does, bit by bit."""

from itertools import product
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from on_ranks import run_on_ranks
from ranks_sharding import OPTIMIZERS, run_all

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.sharding import compute_here, owners_of, share_over_ranks, sharing


@pytest.mark.parametrize("costs", [[], [5], [1, 1, 1], [9, 7, 6, 5, 4, 4], [1e9, 1, 1, 1], [0, 0, 0]], ids=str)
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_no_rank_has_much_more_work_than_it_must(costs, ranks):
    owners = owners_of(costs, ranks)
    assert len(owners) == len(costs)
    assert all(0 <= owner < ranks for owner in owners)

    def busiest(owners):
        return max(
            sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in range(ranks)
        )

    best = min(busiest(each) for each in product(range(ranks), repeat=len(costs))) if ranks ** len(costs) < 5000 else 0
    assert not best or busiest(owners) <= 4 / 3 * best


def squares(numbers):
    return [torch.full((2,), float(number)) for number in numbers]


@pytest.mark.parametrize("share", [share_over_ranks, compute_here], ids=["shared", "here"])
def test_one_process_computes_all(share):
    results = share(lambda numbers: (torch.full((2,), float(n)) for n in numbers), [1.0, 2.0, 3.0], [torch.ones(2)] * 3)
    assert [result[0].item() for result in results] == [0, 1, 2]
    assert share(squares, [], []) == []


@pytest.fixture
def group_of_one(tmp_path):
    if dist.is_initialized():  # an earlier test of this process has left one
        dist.destroy_process_group()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_process_group_of_one_computes_all(group_of_one):
    results = share_over_ranks(squares, [1.0, 1.0], [torch.ones(2)] * 2, dist.group.WORLD)
    assert [result[0].item() for result in results] == [0, 1]


@pytest.mark.parametrize(
    ("compute", "costs", "like", "message"),
    [
        (squares, [1.0], [torch.ones(2)] * 2, r"1 for 2 computations"),
        (lambda numbers: [torch.ones(2)], [1.0] * 2, [torch.ones(2)] * 2, r"results of 2 computations, but got 1"),
        (squares, [1.0], [torch.ones(3)], r"shape \(2,\).*\(3,\)"),
        (squares, [1.0], [torch.ones(2).double()], r"float32.*float64"),
    ],
    ids=["costs", "results", "shape", "type"],
)
def test_what_cannot_be_shared_is_refused(compute, costs, like, message):
    with pytest.raises(BadInputError, match=message):
        share_over_ranks(compute, costs, like)


def test_the_choice_to_share():
    assert sharing(False, None) is compute_here
    assert sharing(True, None).func is share_over_ranks


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Where every optimizer and Trainer of ``ranks_sharding.py`` ended, on one, two and three ranks."""
    folder = tmp_path_factory.mktemp("sharding")
    for ranks in (2, 3):
        run_on_ranks(Path(__file__).parent / "ranks_sharding.py", folder, ranks)
    run_all(folder)
    return {path.stem: torch.load(path, weights_only=True) for path in folder.glob("*.pt")}


def assert_equal(ends, others):
    assert ends.keys() == others.keys()
    for name, end in ends.items():
        assert torch.equal(end, others[name]), f"{name}: {(end - others[name]).abs().max()}"


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
class TestRanks:
    """All bit for bit, on this processor: products round alike, however many matrices are in a batch."""

    def test_two_and_three_ranks_end_where_one_does(self, ends, name, dtype):
        one = ends[f"{name}_{dtype}_here_1"]
        for ranks in (2, 3):
            for way in ("here", "shared", "group"):
                if (way, ranks) != ("group", 2):
                    assert_equal(ends[f"{name}_{dtype}_{way}_{ranks}"], one)

    def test_a_checkpoint_of_two_ranks_goes_on_on_one_and_the_other_way_round(self, ends, name, dtype):
        one = ends[f"{name}_{dtype}_here_1"]
        assert_equal(ends[f"{name}_{dtype}_resumed-on-one"], one)
        assert_equal(ends[f"{name}_{dtype}_resumed-on-two"], one)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["muon", "shampoo", "soap"])
def test_a_trainer_of_two_ranks(ends, name):
    """Shared work changes no bit; and two ranks end where one does, but for the rounding of the averaged gradient."""
    assert_equal(ends[f"fit_{name}_True_2"], ends[f"fit_{name}_False_2"])
    assert_equal(ends[f"fit_{name}_resumed_2"], ends[f"fit_{name}_True_2"])
    for key, value in ends[f"fit_{name}_True_1"].items():
        torch.testing.assert_close(ends[f"fit_{name}_True_2"][key], value, rtol=1e-7, atol=1e-10, msg=key)
