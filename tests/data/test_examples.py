"""The order of examples, the draws for each of them, and tensors as examples."""

import itertools

import numpy as np
import pytest
import torch
from numbered import SEED, SIZE

from algoperf_lightning.data import Draws, TensorExamples
from algoperf_lightning.data.examples import Permutations


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_each_pass_is_a_permutation(size):
    order = Permutations(size, SEED)
    for number in range(4):
        assert sorted(order.take(number * size, size)) == list(range(size))


def test_order_is_frozen():
    # Passes 0 and 1 of 10 examples with seed 7, made apart from this code: `printf '7/order/0' | b2sum -l 64`, halved,
    # modulo 2**32, seeds a Mersenne twister in plain Python; its masked 32-bit words shuffle from the last example on.
    expected = [[1, 8, 6, 7, 5, 4, 0, 3, 9, 2], [3, 0, 7, 9, 1, 6, 4, 5, 2, 8]]
    assert Permutations(10, 7).take(0, 20).tolist() == expected[0] + expected[1]


def test_the_same_seed_gives_the_same_order_and_another_seed_another():
    assert np.array_equal(Permutations(SIZE, 1).take(0, 2 * SIZE), Permutations(SIZE, 1).take(0, 2 * SIZE))
    assert not np.array_equal(Permutations(SIZE, 1).take(0, SIZE), Permutations(SIZE, 2).take(0, SIZE))


def test_passes_differ():
    order = Permutations(SIZE, SEED)
    passes = {tuple(order.take(number * SIZE, SIZE)) for number in range(5)}
    assert len(passes) == 5


@pytest.mark.parametrize(
    ("begin", "count"),
    [
        pytest.param(0, 5, id="within-a-pass"),
        pytest.param(45, 5, id="up-to-a-boundary"),
        pytest.param(47, 9, id="across-a-boundary"),
        pytest.param(50, 50, id="a-whole-pass"),
        pytest.param(30, 175, id="several-passes"),
        pytest.param(10**6 * SIZE + 3, 60, id="far-on"),
    ],
)
def test_taking_at_once_is_taking_one_by_one(begin, count):
    one_by_one = [Permutations(SIZE, SEED).take(position, 1).item() for position in range(begin, begin + count)]
    assert Permutations(SIZE, SEED).take(begin, count).tolist() == one_by_one


def test_going_back_and_forth_changes_nothing():
    order = Permutations(SIZE, SEED)
    for begin in (0, 340, 60, 341, 10, 120, 0):
        assert np.array_equal(order.take(begin, 70), Permutations(SIZE, SEED).take(begin, 70))


class SplitMix64:
    """The published generator in plain integers (Steele, Lea and Flood 2014)."""

    def __init__(self, state):
        self.state = state

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        word = self.state
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)


def test_draws_are_those_of_the_published_generator():
    reference = SplitMix64(1234567)  # its well-known first numbers
    assert [reference.next() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]

    seed, positions = 2**62 + 11, [0, 1, 2**40]
    expected = []
    for position in positions:
        reference = SplitMix64(SplitMix64(SplitMix64(seed).next() ^ position).next())
        reference.next()
        expected.append([(reference.next() >> 11) / 2**53 for _ in range(5)])
    assert Draws(seed, np.array(positions)).uniform(5).tolist() == expected


@pytest.mark.parametrize("sizes", [[24], [1] * 24, [7, 16, 1]], ids=["at-once", "one-by-one", "unevenly"])
def test_draws_do_not_depend_on_how_positions_are_batched(sizes):
    expected = Draws(SEED, np.arange(100, 124)).uniform(3)
    pieces = np.split(np.arange(100, 124), np.cumsum(sizes)[:-1])
    assert np.array_equal(np.concatenate([Draws(SEED, piece).uniform(3) for piece in pieces]), expected)


def test_draws_do_not_depend_on_how_many_are_drawn():
    assert np.array_equal(Draws(SEED, np.arange(9)).uniform(7)[:, :3], Draws(SEED, np.arange(9)).uniform(3))


def test_draws_look_uniform():
    numbers = Draws(SEED, np.arange(100_000)).uniform(1).ravel()
    assert numbers.dtype == np.float64
    assert numbers.min() >= 0
    assert numbers.max() < 1
    # Five standard errors: mean 1/2 with variance 1/12, variance with that of (x - 1/2)**2, which is 1/180.
    assert abs(numbers.mean() - 1 / 2) < 5 * (1 / 12 / 100_000) ** 0.5
    assert abs(numbers.var() - 1 / 12) < 5 * (1 / 180 / 100_000) ** 0.5
    counts = np.bincount((numbers * 100).astype(int), minlength=100)
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert 99 - 5 * 198**0.5 < chi_squared < 99 + 5 * 198**0.5  # neither uneven nor suspiciously even


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param((SEED, 0, 0), (SEED, 1, 0), id="neighbours-in-the-stream"),
        pytest.param((SEED, 0, 0), (SEED, 50_000, 0), id="half-a-pass-apart"),
        pytest.param((SEED, 0, 0), (SEED, 0, 1), id="columns-of-one-example"),
        pytest.param((SEED, 0, 1), (SEED, 1, 0), id="next-column-and-next-example"),
        pytest.param((SEED, 0, 0), (SEED + 1, 0, 0), id="neighbouring-seeds"),
        pytest.param((SEED, 0, 0), (SEED + 2**40, 0, 0), id="distant-seeds"),
    ],
)
def test_draws_are_independent(one, other):
    def column(seed, begin, index):
        return Draws(seed, np.arange(begin, begin + 100_000)).uniform(2)[:, index]

    x, y = column(*one), column(*other)
    for f, g in itertools.product((lambda v: v, lambda v: (v - 0.5) ** 2, lambda v: (v * 16) % 1), repeat=2):
        assert abs(np.corrcoef(f(x), g(y))[0, 1]) < 5 / 100_000**0.5


def test_integers_are_uniform_below_their_bound():
    numbers = Draws(SEED, np.arange(30_000)).integers(3, 2)
    assert numbers.shape == (30_000, 2)
    assert numbers.dtype == np.int64
    counts = np.bincount(numbers.ravel(), minlength=3)
    assert counts.shape == (3,)
    assert np.abs(counts - 20_000).max() < 5 * (60_000 * 2 / 9) ** 0.5


def test_tensors_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"equal lengths.*'inputs': 3.*'targets': 2"):
        TensorExamples(inputs=torch.zeros(3), targets=torch.zeros(2))


def test_reading_tensors_gives_copies():
    examples = TensorExamples(inputs=torch.arange(4), targets=torch.arange(4) * 10)
    indices = np.array([3, 1])
    batch = examples.read(indices, Draws(0, indices))
    assert {name: column.tolist() for name, column in batch.items()} == {"inputs": [3, 1], "targets": [30, 10]}
    batch["inputs"].zero_()
    assert examples.columns["inputs"].tolist() == [0, 1, 2, 3]
