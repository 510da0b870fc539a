import io
import random

import numpy as np
import pytest
import torch

from algoperf_lightning.rng import derive_seed, forked_rng, get_rng_state, seed_all, set_rng_state


def draw():
    """An odd count of Gaussians, so that the generators hold a spare one."""
    return (
        [random.random(), random.gauss(0, 1)],
        [*np.random.rand(2), np.random.randn()],
        [torch.rand(()).item(), torch.randn(()).item()],
    )


@pytest.mark.parametrize(
    ("seed", "purpose", "digest"),
    [
        # printf '0/model' | b2sum -l 64
        pytest.param(0, ("model",), 0xDCAB43426EE28DA0, id="name"),
        # printf '12345/training/3' | b2sum -l 64
        pytest.param(12345, ("training", 3), 0x557F65433D43942B, id="name-and-number"),
    ],
)
def test_derived_seeds_are_the_same_on_every_machine(seed, purpose, digest):
    assert derive_seed(seed, *purpose) == digest // 2


def test_derived_seeds_differ_and_fit_every_generator():
    seeds = [
        derive_seed(seed, purpose, rank) for seed in range(50) for purpose in ("order", "data") for rank in range(10)
    ]
    assert len(set(seeds)) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # all the 63 bits are used


@pytest.mark.parametrize("seed", [5, 2**40 + 2**31 + 5], ids=["small", "beyond-numpys-range"])
def test_seed_all_seeds_python_numpy_and_torch(seed):
    seed_all(seed)
    assert random.random() == random.Random(seed).random()
    assert np.random.rand() == np.random.RandomState(seed % 2**32).rand()
    assert torch.rand(()).item() == torch.rand((), generator=torch.Generator().manual_seed(seed)).item()


def test_state_goes_through_a_checkpoint_of_plain_types():
    seed_all(1)
    draw()
    file = io.BytesIO()
    torch.save(get_rng_state(), file)
    expected = [draw() for _ in range(3)]

    seed_all(2)
    file.seek(0)
    set_rng_state(torch.load(file, weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_reading_the_state_changes_nothing():
    seed_all(3)
    expected = [draw() for _ in range(2)]
    seed_all(3)
    first = draw()
    get_rng_state()
    assert [first, draw()] == expected


def test_a_state_is_a_copy_that_later_draws_leave_alone():
    seed_all(4)
    state = get_rng_state()
    expected = draw()
    for _ in range(1000):
        draw()  # NumPy's and Python's generators make new words after 624
    set_rng_state(state)
    assert draw() == expected


def test_forked_rng_seeds_the_block_and_leaves_torch_as_it_was():
    torch.manual_seed(1)
    expected_after = [torch.rand(()).item() for _ in range(2)]
    torch.manual_seed(1)
    torch.rand(())
    with forked_rng(7):
        inside = torch.rand(3)
    assert torch.rand(()).item() == expected_after[1]
    assert torch.equal(inside, torch.rand(3, generator=torch.Generator().manual_seed(7)))


def test_forked_rng_leaves_torch_as_it_was_after_an_error():
    def fail_to_build():
        with forked_rng(7):
            torch.rand(3)
            raise RuntimeError("no such layer")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="no such layer"):
        fail_to_build()
    assert torch.equal(torch.get_rng_state(), before)
