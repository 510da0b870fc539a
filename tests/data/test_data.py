import itertools
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from algoperf_lightning.data import (
    DATA_DIR_VARIABLE,
    DataNotFoundError,
    Draws,
    Examples,
    TensorExamples,
    WorkloadData,
    resolve_data_dir,
)
from algoperf_lightning.data.examples import Permutations
from algoperf_lightning.data.streams import EvaluationBatches, Loader, TrainingBatches, TrainingStream, weighted
from algoperf_lightning.spec import LossType, WorkloadSpec

SIZE, SEED = 50, 3

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # a small machine has few cores


class Numbered(Examples):
    """Examples that say which they are and what was drawn for them."""

    def __init__(self, size=SIZE):
        self.size = size

    def __len__(self):
        return self.size

    def read(self, indices, draws):
        return {"inputs": torch.from_numpy(indices.copy()), "draws": torch.from_numpy(draws.uniform(2))}


def first(batches, count):
    return list(itertools.islice(batches, count))


def assert_same(batches, others):
    assert len(batches) == len(others) > 0
    for one, other in zip(batches, others, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


# Order


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


# Training stream


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_ranks_share_the_global_batches_of_one(ranks):
    expected = first(TrainingStream(Numbered(), 16, SEED), 10)
    shares = [first(TrainingStream(Numbered(), 16, SEED, rank, ranks), 10) for rank in range(ranks)]
    joined = [
        {name: torch.cat([share[name] for share in step]) for name in step[0]} for step in zip(*shares, strict=True)
    ]
    assert_same(joined, expected)


def test_the_stream_follows_the_order_without_a_gap():
    batches = first(TrainingStream(Numbered(), 16, SEED), 10)
    assert torch.cat([batch["inputs"] for batch in batches]).tolist() == Permutations(SIZE, SEED).take(0, 160).tolist()


def test_a_batch_may_be_larger_than_the_data_set():
    (batch,) = first(TrainingStream(Numbered(3), 8, SEED), 1)
    counts = np.bincount(batch["inputs"].numpy(), minlength=3)
    assert counts.sum() == 8
    assert counts.max() - counts.min() <= 1  # two whole passes and two thirds of another


@pytest.mark.parametrize("start", [1, 3, 100])
def test_starting_late_is_skipping(start):
    stream = TrainingStream(Numbered(), 16, SEED)
    expected = first(stream, start + 4)[start:]
    stream.start = start
    assert_same(first(stream, 4), expected)


@pytest.mark.parametrize("start", [0, 5])
@pytest.mark.parametrize("workers", [1, 3])
def test_worker_processes_change_nothing(workers, start):
    stream = TrainingStream(Numbered(), 16, SEED, rank=1, ranks=2)
    stream.start = start
    expected = first(stream, 10)
    assert_same(first(DataLoader(stream, batch_size=None, num_workers=workers), 10), expected)


def test_another_seed_changes_order_and_augmentation():
    (one,), (other,) = first(TrainingStream(Numbered(), 50, 1), 1), first(TrainingStream(Numbered(), 50, 2), 1)
    assert not torch.equal(one["inputs"], other["inputs"])
    assert not torch.isin(one["draws"], other["draws"]).any()


def test_an_example_is_augmented_anew_in_each_pass():
    batches = first(TrainingStream(Numbered(), SIZE, SEED), 4)
    draws = torch.stack([batch["draws"][batch["inputs"].argsort()] for batch in batches])
    assert draws.flatten().unique().numel() == draws.numel()


@pytest.mark.parametrize(("batch_size", "ranks"), [(10, 4), (3, 8)])
def test_a_batch_that_cannot_be_split_evenly_is_refused(batch_size, ranks):
    with pytest.raises(ValueError, match=f"batch size {batch_size} cannot be split evenly over {ranks} ranks"):
        TrainingStream(Numbered(), batch_size, SEED, rank=0, ranks=ranks)


# Draws


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


# Evaluation batches


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize(
    ("size", "batch_size"),
    [
        pytest.param(48, 24, id="divides-evenly"),
        pytest.param(50, 24, id="last-batch-is-short"),
        pytest.param(5, 24, id="less-than-a-batch"),
        pytest.param(1, 24, id="one-example"),
        pytest.param(50, 10, id="batch-that-ranks-do-not-divide"),
        pytest.param(7, 1, id="batch-smaller-than-the-ranks"),
    ],
)
def test_every_example_is_evaluated_once(size, batch_size, ranks):
    shares = [EvaluationBatches(Numbered(size), batch_size, rank, ranks) for rank in range(ranks)]
    batches = [list(share) for share in shares]
    assert {len(share) for share in shares} == {len(share) for share in batches}
    assert len({len(share) for share in batches}) == 1  # ranks that differ would wait for each other for ever
    everything = list(itertools.chain.from_iterable(batches))
    ((rows,),) = {tuple(batch["inputs"].shape) for batch in everything}
    assert rows <= -(-min(batch_size, size) // ranks)
    assert rows * len(everything) - size < len(everything), "there is more padding than a row a batch"
    assert {batch["weights"].dtype for batch in everything} == {torch.float32}

    inputs = torch.cat([batch["inputs"] for batch in everything])
    weights = torch.cat([batch["weights"] for batch in everything])
    assert set(weights.tolist()) <= {0.0, 1.0}
    assert sorted(inputs[weights == 1].tolist()) == list(range(size))
    assert inputs.max() < size  # padding is made of examples that exist


def test_no_more_batches_than_needed():
    assert len(EvaluationBatches(Numbered(48), 24, 0, 8)) == 2
    assert len(EvaluationBatches(Numbered(49), 24, 0, 8)) == 3


@pytest.mark.parametrize("size", [50, 5], ids=["several-batches", "fewer-batches-than-workers"])
def test_worker_processes_evaluate_the_same_batches(size):
    batches = EvaluationBatches(Numbered(size), 24, rank=1, ranks=2)
    assert_same(list(DataLoader(batches, batch_size=None, num_workers=2)), list(batches))


def test_evaluation_draws_are_the_same_each_time():
    batches = EvaluationBatches(Numbered(), 24)
    assert_same(list(batches), list(batches))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        pytest.param(None, [1.0, 1.0, 0.0], id="none"),
        pytest.param(torch.tensor([0.5, 0.0, 3.0]), [0.5, 0.0, 0.0], id="per-example"),
        pytest.param(torch.tensor([2, 1, 3]), [2.0, 1.0, 0.0], id="integers"),
        pytest.param(torch.tensor([True, False, True]), [1.0, 0.0, 0.0], id="booleans"),
        pytest.param(
            torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), [[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], id="per-token"
        ),
    ],
)
def test_weights_of_padding_become_zero_and_others_stay(weights, expected):
    batch = {"inputs": torch.arange(3)} | ({} if weights is None else {"weights": weights})
    before = {name: column.clone() for name, column in batch.items()}
    result = weighted(batch, np.array([True, True, False]))
    assert result["weights"].dtype == torch.float32
    assert result["weights"].tolist() == expected
    assert torch.equal(result["inputs"], batch["inputs"])
    assert_same([batch], [before])  # the reader's own batch is left alone


def test_weights_of_the_data_are_kept_in_evaluation():
    examples = TensorExamples(inputs=torch.arange(3), weights=torch.tensor([0.5, 0.0, 2.0]))
    batches = EvaluationBatches(examples, 2)
    assert [batch["weights"].tolist() for batch in batches] == [[0.5, 0.0], [2.0, 0.0]]


# Training batches


def training(select=next, workers=0, batch_size=8):
    stream = TrainingStream(Numbered(), batch_size, SEED)
    return TrainingBatches(stream, workers, select, to_device=None, pin_memory=False)


def every_second(batches):
    next(batches)
    return next(batches)


class KeepTwice:
    """Draw a batch, then use it once more."""

    def __init__(self):
        self.kept = None

    def __call__(self, batches):
        if self.kept is None:
            self.kept = next(batches)
            return self.kept
        kept, self.kept = self.kept, None
        return kept


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("make_select", "steps", "positions"),
    [
        pytest.param(lambda: next, 5, [0, 1, 2, 3, 4], id="next"),
        pytest.param(lambda: every_second, 4, [1, 3, 5, 7], id="two-each-step"),
        pytest.param(KeepTwice, 6, [0, 0, 1, 1, 2, 2], id="each-batch-twice"),
    ],
)
def test_the_submission_selects_and_its_draws_are_counted(make_select, steps, positions, workers):
    stream = first(TrainingStream(Numbered(), 8, SEED), 10)
    batches = training(make_select(), workers)
    assert batches.drawn == 0
    assert_same(first(iter(batches), steps), [stream[position] for position in positions])
    assert batches.state_dict() == {"drawn": positions[-1] + 1}


def test_a_submission_may_draw_nothing():
    made_up = {"inputs": torch.zeros(1)}
    batches = training(lambda _: made_up)
    assert first(iter(batches), 3) == [made_up] * 3
    assert batches.state_dict() == {"drawn": 0}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("select", [next, every_second], ids=["next", "two-each-step"])
def test_resuming_goes_on_with_the_next_batch(select, workers):
    expected = first(iter(training(select)), 9)
    batches = training(select, workers)
    assert_same(first(iter(batches), 4), expected[:4])  # worker processes have read further ahead by now
    state = batches.state_dict()

    resumed = training(select, workers)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert_same(first(iter(resumed), 5), expected[4:])


def test_batches_are_moved_to_the_device_when_they_are_drawn():
    moved = []

    def to_device(batch):
        moved.append(batch["inputs"].tolist())
        return {"inputs": batch["inputs"] + 1000}

    batches = TrainingBatches(TrainingStream(Numbered(), 8, SEED), 0, next, to_device, pin_memory=False)
    received = first(iter(batches), 3)
    assert [batch["inputs"].sub(1000).tolist() for batch in received] == moved
    assert len(moved) == 3


def test_the_length_is_beyond_any_run():
    assert len(training()) >= 10**12
    assert len(training()) * 8_192 < 2**63  # summed over ranks in an int64


# Data module


def make_spec(**changes):
    values = {
        "name": "numbers",
        "task": "tell numbers apart",
        "loss_type": LossType.SOFTMAX_CROSS_ENTROPY,
        "metric": "accuracy",
        "direction": "max",
        "validation_target": 0.9,
        "test_target": 0.9,
        "budget": 10.0,
        "eval_period": 1.0,
        "step_hint": 100,
        "splits": {"train": 50, "eval_train": 10, "validation": 20, "test": 30},
        "batch_size": 8,
        "eval_batch_size": 16,
    }
    return WorkloadSpec(**{**values, **changes})


class NumbersData(WorkloadData):
    def open(self, split):
        return Numbered(self.spec.splits[split])


def test_loaders_of_all_splits_in_the_order_of_their_metrics(tmp_path):
    loaders = NumbersData(make_spec(), tmp_path).evaluation_batches(rank=0, ranks=1)
    assert [sum(batch["weights"].sum().item() for batch in loader) for loader in loaders] == [10, 20, 30]


def test_a_split_that_is_not_there_is_left_out(tmp_path):
    spec = make_spec(splits={"train": 50, "validation": 20})
    loaders = NumbersData(spec, tmp_path).evaluation_batches(rank=0, ranks=1)
    assert [sum(batch["weights"].sum().item() for batch in loader) for loader in loaders] == [20]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_leaves_the_global_generators_alone(tmp_path, workers):
    class Data(NumbersData):
        pass

    Data.workers = workers
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    for loader in Data(make_spec(), tmp_path).evaluation_batches(rank=0, ranks=1):
        assert len(list(loader)) > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], before_numpy)


def test_opening_a_training_stream_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first(iter(training(workers=2)), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_batches_of_the_data_module_are_its_seeds(tmp_path):
    def inputs(seed, rank=0, ranks=1):
        batches = NumbersData(make_spec(), tmp_path, seed=seed).training_batches(8, rank, ranks, next, lambda b: b)
        return torch.cat([batch["inputs"] for batch in first(iter(batches), 3)]).tolist()

    assert inputs(5) == Permutations(50, 5).take(0, 24).tolist()
    assert inputs(5) != inputs(6)
    assert inputs(5, rank=1, ranks=2)[:4] == inputs(5)[4:8]


def test_missing_files_are_named_with_what_to_do(tmp_path):
    data = NumbersData(make_spec(files=("train.bin", "test.bin", "labels.bin")), tmp_path)
    (tmp_path / "train.bin").touch()
    assert data.missing_files() == [tmp_path / "test.bin", tmp_path / "labels.bin"]
    with pytest.raises(DataNotFoundError) as error:
        data.require_files()
    text = str(error.value)
    assert f"numbers: {tmp_path / 'test.bin'} (and 1 more) is missing." in text
    assert f"`algoperf data prepare numbers --data-dir {tmp_path}`" in text
    assert f"`algoperf data tiny numbers --data-dir {tmp_path}`" in text
    assert isinstance(error.value, FileNotFoundError)


def test_check_asks_for_the_files_then_opens_every_split(tmp_path):
    opened = []

    class Data(NumbersData):
        def open(self, split):
            opened.append(split)
            return super().open(split)

    data = Data(make_spec(files=("train.bin",)), tmp_path)
    with pytest.raises(DataNotFoundError, match=r"train\.bin is missing"):
        data.check()
    assert opened == []
    (tmp_path / "train.bin").touch()
    data.check()
    assert opened == ["train", "eval_train", "validation", "test"]


@pytest.mark.parametrize(
    ("argument", "variable", "expected"),
    [
        pytest.param("given", "from_variable", Path("given"), id="argument-first"),
        pytest.param(None, "from_variable", Path("from_variable"), id="then-the-variable"),
        pytest.param(None, None, Path("data"), id="then-the-folder-data"),
        pytest.param(None, "", Path("data"), id="an-empty-variable-is-none"),
        pytest.param("~/given", None, Path.home() / "given", id="home-is-expanded"),
    ],
)
def test_where_the_data_lie(monkeypatch, argument, variable, expected):
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv("ALGOPERF_DATA_DIR", variable)
    assert resolve_data_dir(argument) == expected


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


def test_opening_the_training_batches_twice_before_drawing_opens_one_stream():
    opened = []

    class Watched(TrainingStream):
        def __iter__(self):
            opened.append(self.start)
            return super().__iter__()

    batches = TrainingBatches(Watched(Numbered(), 4, SEED), 0, next, None, False)
    first = iter(batches)
    assert iter(batches) is first
    seen = [next(first)["inputs"] for _ in range(3)]
    again = iter(batches)  # drawn from: a new one goes on where it was
    assert again is not first
    assert not any(torch.equal(next(again)["inputs"], batch) for batch in seen)
    batches.load_state_dict({"drawn": 0})
    assert torch.equal(next(iter(batches))["inputs"], seen[0])
    assert opened == [0, 3, 0]


def test_looking_at_an_evaluation_loader_starts_no_process():
    loader = Loader(EvaluationBatches(Numbered(), 4), workers=2)
    before = set(multiprocessing.active_children())
    iter(loader)
    assert set(multiprocessing.active_children()) == before
    assert len(list(loader)) == len(loader)
