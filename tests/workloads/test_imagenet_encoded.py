"""Training images that are decoded in the training process; tests/gpu/test_gpu_jpeg.py has what needs a GPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from test_imagenet_images import BAD, UNUSUAL, photograph

from algoperf_lightning import get_submission
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.data import DataNotFoundError, Draws
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import TrialResult
from algoperf_lightning.workload import CheckpointMismatchError
from algoperf_lightning.workloads import ImageNetResNet, ImageNetViT
from algoperf_lightning.workloads.imagenet.batches import TrainingImages
from algoperf_lightning.workloads.imagenet.data import ImageNetData
from algoperf_lightning.workloads.imagenet.encoded import Decoder, EncodedImages, baseline_size, rounded_resize
from algoperf_lightning.workloads.imagenet.spec import IMAGENET_RESNET

TINY = IMAGENET_RESNET.of(tiny=True)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    ImageNetData(TINY, folder).write_tiny()
    return folder


def opened(folder):
    """The training images of a data set: as they are read, and as they are read to be decoded later."""
    data = ImageNetData(TINY, folder)
    index = data._index(TINY.files[0])
    return TrainingImages(index, 64, data.damaged), EncodedImages(index, 64, data.damaged), data


def test_baseline_files_of_three_colours_are_decoded_later():
    later = {name for name, data in UNUSUAL.items() if baseline_size(data) is not None}
    assert later == {"usual", "no-subsampling", "4:2:2", "turned-by-exif", "broken-exif", "one-pixel"}
    assert baseline_size(UNUSUAL["usual"]) == (90, 123)
    assert baseline_size(UNUSUAL["turned-by-exif"]) == (90, 123), "as it is stored"
    assert not [name for name, data in BAD.items() if baseline_size(data) is not None]


def test_images_are_those_of_the_reading_processes_but_for_rounding(tiny):
    plain, encoded, data = opened(tiny)
    rows, draws = np.arange(0, 400, 5), Draws(3, np.arange(80))
    expected, read = plain.read(rows, draws), encoded.read(rows, draws)
    got = Decoder(plain.index, 64, CPU, data.damaged)(read)
    assert set(got) == {"inputs", "targets"}
    assert got["inputs"].dtype == torch.uint8
    assert got["inputs"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(got["targets"], expected["targets"])
    difference = (got["inputs"].int() - expected["inputs"].int()).abs()
    assert difference.max() <= 2
    assert difference.float().mean() < 0.02
    others = read["lengths"] == 0
    assert 0 < others.sum() == len(read["prepared"]) < 20
    assert torch.equal(got["inputs"][others], expected["inputs"][others])


def test_batches_may_hold_one_kind_only(tiny):
    plain, encoded, data = opened(tiny)
    decoder = Decoder(plain.index, 64, CPU, data.damaged)
    lengths = encoded.read(np.arange(400), Draws(0, np.arange(400)))["lengths"]
    for rows in (lengths.nonzero()[:5, 0].numpy(), (lengths == 0).nonzero()[:5, 0].numpy()):
        draws = Draws(0, rows)
        difference = decoder(encoded.read(rows, draws))["inputs"].int() - plain.read(rows, draws)["inputs"].int()
        assert difference.abs().max() <= 2


@pytest.mark.parametrize("size", [(375, 500), (100, 90), (64, 64), (31, 700), (1, 1)], ids=str)
def test_resizing_is_pillows_but_for_rounding(size):
    image = photograph(*size)
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)).astype(int)
    got = rounded_resize(torch.from_numpy(np.array(image)).permute(2, 0, 1), 64).permute(1, 2, 0).numpy()
    assert np.abs(got - expected).max() <= 1
    assert np.mean(got != expected) < 0.02


def test_damaged_images_are_named(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    plain, encoded, data = opened(tmp_path)
    path = Path(plain.index.path(3, plain.targets[3]))
    content = path.read_bytes()
    assert baseline_size(np.frombuffer(content, np.uint8)) is not None
    path.write_bytes(content[: content.index(b"\xff\xda")] + content[-2:])  # no pixels between header and end
    assert baseline_size(np.fromfile(path, np.uint8)) is not None
    read = encoded.read(np.arange(5), Draws(0, np.arange(5)))
    with pytest.raises(DataNotFoundError, match=rf"{path.name} is damaged: expected a complete JPEG"):
        Decoder(plain.index, 64, CPU, data.damaged)(read)
    path.write_bytes(content[:-600])
    with pytest.raises(DataNotFoundError, match=rf"{path.name} is damaged: expected a complete JPEG"):
        encoded.read(np.arange(5), Draws(0, np.arange(5)))


def fit(folder, tiny, max_steps, decode_on_device):
    recorder = TrialRecorder(folder)
    workload = ImageNetResNet(get_submission("nesterov")(), tiny=True, data_dir=tiny, decode_on_device=decode_on_device)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        callbacks=[TimeBudget(unit="steps"), recorder],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(workload, ckpt_path=recorder.checkpoint_path)
    return workload


@pytest.mark.slow
def test_a_run_trains_on_them_is_resumed_exactly_and_says_so(tiny, tmp_path):
    whole = fit(tmp_path / "whole", tiny, 4, True)
    fit(tmp_path / "parts", tiny, 2, True)
    parts = fit(tmp_path / "parts", tiny, 4, True)
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert torch.equal(one, other)
    environment = TrialResult.read(tmp_path / "parts").environment
    assert environment["data_settings"] == {"decode_on_device": True}
    with pytest.raises(CheckpointMismatchError, match=r"data_settings was .*True.* and is now .*False"):
        fit(tmp_path / "parts", tiny, 6, False)


def test_images_that_are_augmented_further_are_decoded_where_that_is_done():
    with pytest.raises(BadInputError, match="imagenet_vit_tiny cannot decode on the device, because RandAugment"):
        ImageNetViT(get_submission("adamw")(), tiny=True, decode_on_device=True)


def test_reading_processes_are_the_users_choice():
    def workload(**options):
        return ImageNetResNet(get_submission("nesterov")(), **options)

    assert workload(workers=7).data.workers == 7
    assert workload(workers=0).data.workers == 0
    assert workload().data.workers == ImageNetData.workers
    for bad in (-1, 1.5, True):
        with pytest.raises(BadInputError, match=r"imagenet_resnet: workers must be an integer from 0 on, but got"):
            workload(workers=bad)
