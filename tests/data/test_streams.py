"""The training stream, its batches that the submission selects, and the batches of evaluations."""

import itertools
import multiprocessing

import numpy as np
import pytest
import torch
from numbered import SEED, SIZE, Numbered, assert_same, first
from torch.utils.data import DataLoader

from algoperf_lightning.data import TensorExamples
from algoperf_lightning.data.examples import Permutations
from algoperf_lightning.data.streams import EvaluationBatches, Loader, TrainingBatches, TrainingStream, weighted

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # a small machine has few cores


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


def test_opening_a_training_stream_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first(iter(training(workers=2)), 2)
    assert torch.equal(torch.get_rng_state(), before)


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
