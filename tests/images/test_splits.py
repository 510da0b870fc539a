import numpy as np
import pytest

from algoperf_lightning.images.splits import LeakyFiles, held_out_first
from algoperf_lightning.registry import get_spec

SIZES = {
    "mnist_vae": (60_000, 10_000),
    "fmnist_2c2d": (60_000, 10_000),
    "fmnist_vae": (60_000, 10_000),
    "cifar10_3c3d": (50_000, 10_000),
    "cifar100_allcnnc": (50_000, 10_000),
    "svhn_wrn164": (73_257, 26_032),
}


@pytest.mark.parametrize("variant", [None, "faithful"])
@pytest.mark.parametrize("name", SIZES)
def test_splits_of_the_official_files_have_the_sizes_of_the_spec(name, variant):
    spec, (train, test) = get_spec(name).of(variant=variant), SIZES[name]
    rows = {split: np.arange(test if split == "test" else train) for split in spec.splits}
    rows = {split: every[held_out_first(split, spec, train, test, 0)] for split, every in rows.items()}
    assert {split: len(found) for split, found in rows.items()} == spec.splits
    assert np.array_equal(rows["train"], np.arange(test, train))
    assert np.array_equal(rows["validation"], np.arange(spec.splits["validation"]))
    assert len(set(rows["eval_train"])) == len(rows["eval_train"])
    assert set(rows["eval_train"]) <= set(rows["train"])
    assert not np.array_equal(rows["eval_train"], held_out_first("eval_train", spec, train, test, 1))


STEPS = {
    "quadratic_deep": 7,
    "mnist_vae": 781,
    "fmnist_2c2d": 390,
    "cifar10_3c3d": 312,
    "fmnist_vae": 781,
    "cifar100_allcnnc": 156,
    "svhn_wrn164": 368,
    "tolstoi_char_rnn": 783,
}
EPOCHS = {"quadratic_deep": 100, "mnist_vae": 50, "cifar100_allcnnc": 350, "svhn_wrn164": 160, "tolstoi_char_rnn": 200}


@pytest.mark.parametrize("name", STEPS)
def test_runs_are_as_long_as_those_of_the_study(name):
    spec = get_spec(name)
    assert spec.whole_batches
    assert spec.splits["train"] // spec.batch_size == STEPS[name]
    assert spec.epochs == EPOCHS.get(name, 100)
    assert spec.step_hint == spec.epochs * STEPS[name]


def test_every_pass_of_leaky_files_leaves_out_the_first_rows_of_a_new_order_of_the_files():
    sizes, held_out = [10, 10, 10, 10, 10], 10
    order = LeakyFiles(sizes, held_out, seed=3)
    assert len(order) == 40
    left_out = []
    for number in range(12):
        rows = order.take(40 * number, 40)
        assert len(set(rows)) == 40
        missing = sorted(set(range(50)) - set(rows.tolist()))
        assert missing == list(range(missing[0], missing[0] + 10))  # one of the files
        assert missing[0] % 10 == 0
        left_out.append(missing[0] // 10)
    assert len(set(left_out)) >= 3
    validation = order.validation()
    assert (len(validation), len(set(validation // 10))) == (10, 1)
    assert any(set(validation) <= set(order.take(40 * number, 40)) for number in range(12))


def test_rows_of_leaky_files_do_not_depend_on_how_they_are_taken():
    sizes, held_out = [12, 12, 12, 12, 12, 9], 25
    whole = LeakyFiles(sizes, held_out, seed=1).take(0, 3 * 44)
    order = LeakyFiles(sizes, held_out, seed=1)
    assert np.array_equal(np.concatenate([order.take(11 * k, 11) for k in range(12)]), whole)
    assert np.array_equal(LeakyFiles(sizes, held_out, seed=1).take(60, 5), whole[60:65])
    for number in range(3):
        rows = whole[44 * number : 44 * (number + 1)]
        kept = np.bincount(np.searchsorted(np.cumsum(sizes), rows, side="right"), minlength=6)
        assert sorted(set((np.array(sizes) - kept).tolist()))[0] == 0  # whole files, and one that was cut
        assert sum(0 < k < size for k, size in zip(kept, sizes, strict=True)) <= 1
