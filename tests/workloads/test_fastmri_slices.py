"""From k-space to examples: masks, transform, normalisation of fastmri."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from scipy.stats import binom

from algoperf_lightning.data import DataNotFoundError, Draws
from algoperf_lightning.submission import Submission
from algoperf_lightning.workloads import FastMRI
from algoperf_lightning.workloads.fastmri.batches import Slices
from algoperf_lightning.workloads.fastmri.data import FastMRIData, evaluated_rows
from algoperf_lightning.workloads.fastmri.masks import kept_columns, stateless_uniforms
from algoperf_lightning.workloads.fastmri.reading import SliceReader, read_header
from algoperf_lightning.workloads.fastmri.spec import FASTMRI
from algoperf_lightning.workloads.fastmri.transform import normalise, undersampled_image

EVALUATION_COLUMNS = [
    10, 11, 19, 20, 25, 28, 30, 32, 38, 49, 53, 55, 63, 66, 69, 76, 82, 86, 91, 105, 113, 118, 122, 125, 135, 140, 153,
    156, 162, 164, 172, 179, 188, 190, 197, 202, 203, 208, 219, 226, 228, 232, 233, 237, 242, 245, 249, 250, 253, 266,
    274, 283, 286, 294, 296, 301, 302, 305, 309, 312, 320, 321, 322, 326, 330, 333, 346, 351, 352, 358, 361, 363, 366,
    372, 380, 385, 386, 387, 390, 392, 393, 394, 400, 408, 409, 410, 418, 421, 431, 452, 455, 470, 471, 482, 496, 497,
    509, 510, 513, 514, 515, 519, 523, 525, 535, 538, 539, 544, 554, 555, 556, 568, 569, 574, 580, 587, 597, 599, 607,
    627, 629, 630, 633, 635,
]  # fmt: skip

# Width: columns in the centre, the first of them, chance of the others, columns kept.
EVALUATION_MASKS = {
    320: (25, 148, 0.186441, 80), 332: (26, 153, 0.186275, 86), 356: (28, 164, 0.185976, 92),
    368: (29, 170, 0.185841, 97), 372: (29, 172, 0.186589, 97), 386: (30, 178, 0.186798, 100),
    388: (31, 179, 0.184874, 102), 400: (32, 184, 0.184783, 108), 402: (32, 185, 0.185135, 109),
    404: (32, 186, 0.185484, 109), 416: (33, 192, 0.185379, 114), 454: (36, 209, 0.185407, 119),
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("fastmri")
    FastMRIData(FASTMRI, folder).write_tiny()
    return folder


def read(examples, *indices, positions=None):
    rows = np.array(indices, dtype=np.int64)
    return examples.read(rows, Draws(0, rows if positions is None else np.array(positions)))


# Masks


def test_uniforms_are_those_of_the_reference():
    numbers = stateless_uniforms(np.zeros((1, 2), np.int64), 640)
    first = [0.211015, 0.706010, 0.800063, 0.770792, 0.388589, 0.870359, 0.808187, 0.196941]
    assert numbers[0, :8] == pytest.approx(first, abs=1e-6)
    assert numbers[0, 273] == pytest.approx(0.187061, abs=1e-6)
    assert numbers.dtype == np.float32


def test_uniforms_depend_on_all_64_bits_of_both_seeds():
    seeds = np.array([[0, 0], [1, 0], [0, 1], [1 << 32, 0], [0, 1 << 62], [1, 0]])
    numbers = stateless_uniforms(seeds, 375)
    assert np.array_equal(numbers[1], numbers[5])
    assert len({row.tobytes() for row in numbers}) == 5
    assert np.array_equal(numbers[3:4, :10], stateless_uniforms(seeds[3:4], 10))
    assert numbers.mean() == pytest.approx(0.5, abs=0.02)
    assert numbers.std() == pytest.approx(12**-0.5, abs=0.02)
    assert 0 <= numbers.min() < numbers.max() < 1


def test_evaluation_masks_keep_the_columns_of_the_reference():
    uniforms = stateless_uniforms(np.zeros((1, 2), np.int64), 640)[0]
    rare = 0
    for width in range(300, 641):
        kept = kept_columns(width, uniforms)
        centre = int(np.float32(width) * np.float32(0.08))
        first, chance = (width - centre + 1) // 2, (width / 4 - centre) / (width - centre)
        if width in EVALUATION_MASKS:
            assert EVALUATION_MASKS[width] == (centre, first, pytest.approx(chance, abs=1e-6), kept.sum())
        by_chance = {column for column in EVALUATION_COLUMNS if column < width}
        if chance > 0.187061:
            rare += 1
            by_chance.add(273)
        assert set(np.flatnonzero(kept)) == by_chance | set(range(first, first + centre)), width
        assert kept.shape == (width,)
    assert 0 < rare < 34


def test_centre_band_is_rounded_down():
    for width in (320, 332, 368, 372, 386, 400, 454):
        assert kept_columns(width, np.ones(width, np.float32)).sum() == EVALUATION_MASKS[width][0]
    assert kept_columns(372, np.ones(372, np.float32)).sum() == 29  # 0.08 * 372 = 29.76


# Transform


@pytest.mark.parametrize(
    ("size", "shape"), [((640, 372), (320, 320)), ((64, 45), (32, 45)), ((33, 48), (16, 31)), ((6, 5), (6, 5))]
)
def test_image_is_that_of_the_steps_written_down(size, shape):
    random = np.random.default_rng(0)
    kspace = (random.normal(size=size) + 1j * random.normal(size=size)).astype(np.complex64)
    kept = random.random(size[1]) < 0.4
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace.astype(complex) * kept))) * np.sqrt(kspace.size)
    top, left = (size[0] - shape[0]) // 2, (size[1] - shape[1]) // 2
    expected = np.abs(image[top : top + shape[0], left : left + shape[1]])
    before = kspace.copy()
    result = undersampled_image(kspace, kept, shape)
    assert result.dtype == np.float32
    assert result.shape == shape
    assert np.abs(result - expected).max() < 2e-6 * expected.max()
    assert np.array_equal(kspace, before)


def test_normalisation_is_by_the_statistics_of_the_image_and_cut():
    random = np.random.default_rng(0)
    image = random.gamma(0.1, 1e-5, (40, 30)).astype(np.float32)
    target = random.gamma(0.2, 2e-5, (40, 30)).astype(np.float32)
    inputs, targets = np.empty((2, 40, 30), np.float32)
    mean, std = normalise(image.copy(), target.copy(), inputs, targets)
    exact = image.astype(float)
    assert mean == pytest.approx(exact.mean(), rel=1e-5)
    assert std == pytest.approx(exact.std(), rel=1e-5)
    assert np.allclose(inputs, ((image - exact.mean()) / exact.std()).clip(-6, 6), atol=1e-5)
    assert np.allclose(targets, ((target - exact.mean()) / exact.std()).clip(-6, 6), atol=1e-5)
    assert inputs.max() == targets.max() == 6


GOLDEN_SLICES = {
    368: {
        "mean": 1.06604e-05, "std": 3.59080e-05, "volume_max": 0.00111662,
        "inputs": [-0.145135, -0.142845, -0.140575, -0.137921, -0.134779, -0.131664, -0.127840, -0.123822],
        "inputs corner": [-0.296586, -0.296539, -0.296756, -0.296779],
        "inputs moments": (-0.0191592, 0.830727, -0.296878, 6),
        "targets": [-0.145418, -0.143277, -0.141169, -0.138345, -0.135317, -0.131816, -0.128048, -0.124124],
        "targets corner": [-0.296859] * 4,
        "targets moments": (-0.0764303, 0.789143, -0.296877, 6),
        "as it is": (0.931210, 0.0708044), "zero": 0.572752,
    },
    372: {
        "mean": 1.04718e-05, "std": 3.59840e-05, "volume_max": 0.00114812,
        "inputs": [-0.221876, -0.221342, -0.219435, -0.215921, -0.210456, -0.204324, -0.196645, -0.188471],
        "inputs corner": [-0.290871, -0.290927, -0.290844, -0.290849],
        "inputs moments": (-0.0191141, 0.831537, -0.291010, 6),
        "targets": [-0.221898, -0.221704, -0.219730, -0.216182, -0.210759, -0.204480, -0.196803, -0.189084],
        "targets corner": [-0.290991] * 4,
        "targets moments": (-0.0729573, 0.789607, -0.291011, 6),
        "as it is": (0.935133, 0.0709994), "zero": 0.589604,
    },
}  # fmt: skip


def golden_slice(path, width):
    """Write the reference's synthetic k-space as a volume of one slice."""
    i, j = np.arange(640)[:, None], np.arange(width)[None, :]
    amplitude = 1e-3 / (1 + 0.02 * ((i - 320) ** 2 + (j - width // 2) ** 2))
    kspace = (amplitude * np.cos(0.7 * i + 0.3 * j) + 1j * amplitude * np.sin(0.5 * i - 0.2 * j)).astype(np.complex64)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace.astype(complex)), norm="ortho"))
    left = (width - 320) // 2
    target = np.abs(image)[160:480, left : left + 320].astype(np.float32)
    with h5py.File(path, "w") as file:
        file["kspace"], file["reconstruction_esc"] = kspace[None], target[None]
        file.attrs["max"] = target.max()


@pytest.mark.parametrize("width", GOLDEN_SLICES)
def test_example_and_its_metrics_are_those_of_the_reference(tmp_path, width):
    golden_slice(tmp_path / "a.h5", width)
    reader = SliceReader(tmp_path, [read_header(tmp_path / "a.h5")])
    batch = read(Slices(reader, np.arange(1), None), 0)
    golden = GOLDEN_SLICES[width]
    for name in ("mean", "std", "volume_max"):
        assert batch[name].item() == pytest.approx(golden[name], rel=1e-5)
        assert batch[name].dtype == torch.float32
    for name in ("inputs", "targets"):
        image = batch[name][0]
        assert image.shape == (320, 320)
        assert image[160, 156:164].tolist() == pytest.approx(golden[name], abs=3e-6)
        assert image[0, :4].tolist() == pytest.approx(golden[f"{name} corner"], abs=3e-6)
        moments = (image.mean(), image.std(correction=0), image.min(), image.max())
        assert [m.item() for m in moments] == pytest.approx(golden[f"{name} moments"], abs=3e-6)
    for model, expected in ((torch.nn.Identity(), golden["as it is"]), (Zero(), (golden["zero"], None))):
        workload = FastMRI(Submission())
        workload.model = model
        metrics = workload.build_metrics()
        workload.evaluate({**batch, "weights": torch.ones(1)}, metrics)
        assert metrics["ssim"].compute().item() == pytest.approx(expected[0], abs=2e-6)
        if expected[1] is not None:
            assert metrics["loss"].compute().item() == pytest.approx(expected[1], rel=1e-5)
            assert workload.loss(batch).per_example.item() == pytest.approx(expected[1], rel=1e-5)


class Zero(torch.nn.Module):
    def forward(self, images):
        return torch.zeros_like(images)


# Examples


def kept_of(examples, index):
    """Which columns of the k-space of an example are kept."""
    volume, _ = examples.reader.find(int(examples.rows[index]))
    return kept_columns(volume.kspace[2], examples._uniforms(examples.rows[index : index + 1], volume.kspace[2])[0])


def test_a_training_slice_has_the_same_mask_whenever_it_is_seen(tiny):
    train = FastMRIData(FASTMRI, tiny, seed=1).open("train")
    early, late = (read(train, 5, 9, 100, positions=positions) for positions in ([0, 1, 2], [900, 77, 10**9]))
    assert all(torch.equal(early[name], late[name]) for name in early)
    assert torch.equal(read(train, 9)["inputs"][0], early["inputs"][1])


def test_training_masks_differ_between_slices_seeds_and_splits(tiny):
    one, other = (FastMRIData(FASTMRI, tiny, seed=seed) for seed in (1, 2))
    train = one.open("train")
    masks = [kept_of(train, index) for index in range(len(train))]
    of_one_volume = {mask.tobytes() for mask in masks[:8]}
    assert len(of_one_volume) == 8
    assert not np.array_equal(masks[0], kept_of(other.open("train"), 0))
    eval_train = one.open("eval_train")
    row = int(eval_train.rows[0])
    assert not np.array_equal(kept_of(eval_train, 0), masks[row])
    a, b = read(eval_train, 0), read(train, row)
    assert not torch.equal(a["inputs"], b["inputs"])
    # The chance is that of the columns outside the centre: (74 / 4 - 5) / 69 = 0.1957, (80 / 4 - 6) / 74 = 0.1892
    columns = sum(len(mask) - int(0.08 * len(mask)) for mask in masks)
    by_chance = sum(int(mask.sum()) - int(0.08 * len(mask)) for mask in masks)
    assert binom.ppf(1e-4, columns, 0.189) < by_chance < binom.ppf(1 - 1e-4, columns, 0.196)


def test_all_evaluation_slices_of_a_width_have_the_same_mask_for_any_seed(tiny):
    masks = {}
    for seed in (1, 2):
        for split in ("validation", "test"):
            examples = FastMRIData(FASTMRI, tiny, seed=seed).open(split)
            for index in range(len(examples)):
                mask = kept_of(examples, index)
                masks.setdefault(len(mask), set()).add(mask.tobytes())
    assert sorted(masks) == [74, 80]  # both widths are there
    assert all(len(found) == 1 for found in masks.values())


def test_slices_of_different_widths_share_a_batch(tiny):
    train = FastMRIData(FASTMRI, tiny).open("train")
    widths = [volume.kspace[2] for volume in train.reader.volumes]
    first, second = widths.index(74) * 8, widths.index(80) * 8
    together = read(train, first, second)
    for row, index in enumerate((first, second)):
        alone = read(train, index)
        assert all(torch.equal(together[name][row : row + 1], alone[name]) for name in alone)


def test_examples_are_the_slices_of_the_files_in_the_order_of_their_names(tiny):
    examples = FastMRIData(FASTMRI, tiny).open("test")
    with h5py.File(tiny / "fastmri" / "knee_singlecoil_val" / "file0000006.h5") as file:
        target, maximum = file["reconstruction_esc"][3], file.attrs["max"]
    batch = read(examples, 8 + 3)  # files 5 to 8 of 8 slices are the test split
    restored = batch["targets"][0] * batch["std"] + batch["mean"]
    cut = batch["targets"][0].abs() < 6
    assert np.allclose(restored[cut], target[cut.numpy()], rtol=1e-4, atol=1e-9)
    assert batch["volume_max"].item() == pytest.approx(maximum)
    assert set(batch) == {"inputs", "targets", "mean", "std", "volume_max"}


def test_slice_without_contrast_is_named(tmp_path):
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["kspace"] = np.zeros((2, 16, 12), np.complex64)
        file["reconstruction_esc"] = np.ones((2, 8, 8), np.float32)
        file.attrs["max"] = 1.0
    reader = SliceReader(tmp_path, [read_header(tmp_path / "flat.h5")])
    examples = Slices(reader, np.arange(2), None, FastMRIData(FASTMRI, tmp_path).damaged)
    with pytest.raises(DataNotFoundError, match=r"flat\.h5 is damaged: .*slice 1 .*data prepare fastmri"):
        read(examples, 1)


def test_evaluated_training_slices_are_chosen_once():
    rows = evaluated_rows(34_742, 0)
    assert len(rows) == len(set(rows.tolist())) == 3_584
    assert 0 <= rows.min() < 100
    assert 34_600 < rows.max() < 34_742
    assert np.array_equal(rows, evaluated_rows(34_742, 0))
    assert not np.array_equal(rows, evaluated_rows(34_742, 1))
