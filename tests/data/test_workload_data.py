"""The data module: its loaders, its files and where they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numbered import Numbered, first

from algoperf_lightning.data import DATA_DIR_VARIABLE, DataNotFoundError, WorkloadData, resolve_data_dir
from algoperf_lightning.data.examples import Permutations
from algoperf_lightning.spec import LossType, WorkloadSpec

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # a small machine has few cores


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
