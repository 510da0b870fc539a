"""Training images that the reading processes return as JPEG files, and that are decoded on the model's device.

A GPU decodes JPEGs faster than the CPU cores that serve it: with nvJPEG, which torchvision calls, and from the A100 on
with dedicated hardware. Its pixels differ from those of libjpeg-turbo, so the record names this setting.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from algoperf_lightning.data.damage import Damaged
from algoperf_lightning.data.examples import Batch, Draws

from .batches import AN_IMAGE, TrainingImages
from .crops import CROP_NUMBERS, random_box
from .index import Index
from .reading import decode, is_whole_jpeg


class EncodedImages(TrainingImages):
    """Random crops of images that a :class:`Decoder` decodes, crops and mirrors later.

    Files that are not baseline JPEGs with three colours (3 % of ImageNet: grey, CMYK, progressive, a PNG) are prepared
    here.
    """

    def read(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """Return files, with the crop and mirroring of each.

        Returns:
            ``files`` uint8 ``(bytes,)``, concatenated; ``lengths`` int64 ``(B,)`` of each, 0 for those in
            ``prepared``, uint8 ``(P, size, size, 3)``, in their order; ``boxes`` int64 ``(B, 4)``; ``mirrored`` bool
            ``(B,)``; ``rows`` int64 ``(B,)`` of the index; ``targets`` int64 ``(B,)``.
        """
        rows, targets = self.rows[indices], self.targets[indices]
        numbers = draws.uniform(self.numbers)
        files, prepared = [], []
        boxes = np.zeros((len(indices), 4), np.int64)
        lengths = np.zeros(len(indices), np.int64)
        for i, (row, label) in enumerate(zip(rows.tolist(), targets.tolist(), strict=True)):
            path = self.index.path(row, label)
            try:
                data = np.fromfile(path, np.uint8)
                size = baseline_size(data)
                if size is None:
                    prepared.append(self.prepare(data, numbers[i]))
                    continue
            except OSError as error:
                raise self._damaged(Path(path), AN_IMAGE, f"reading failed ({error})") from error
            boxes[i] = random_box(*size, numbers[i, :CROP_NUMBERS])
            lengths[i] = len(data)
            files.append(data)
        return {
            "files": torch.from_numpy(np.concatenate([np.zeros(0, np.uint8), *files])),
            "lengths": torch.from_numpy(lengths),
            "boxes": torch.from_numpy(boxes),
            "mirrored": torch.from_numpy((numbers[:, CROP_NUMBERS] < 0.5) & (lengths > 0)),
            "prepared": torch.from_numpy(np.array(prepared, np.uint8).reshape(-1, self.size, self.size, 3)),
            "rows": torch.from_numpy(rows),
            "targets": torch.from_numpy(targets),
        }


def baseline_size(data: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Return height and width of a baseline JPEG of three colours in YCbCr; None for any other file.

    Args:
        data: The whole file, shape ``(bytes,)``.
    """
    if not is_whole_jpeg(data):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which some of the official files have
            image = Image.open(io.BytesIO(data.tobytes()))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    usual = image.format == "JPEG" and image.mode == "RGB" and "progressive" not in image.info
    return image.size[::-1] if usual and image.info.get("adobe_transform") != 0 else None


class Decoder:
    """Decodes, crops, resizes and mirrors the images of a batch of :class:`EncodedImages`.

    Args:
        index: The index of all images.
        size: Side of the results in pixels.
        device: The device: nvJPEG on a GPU, libjpeg-turbo on the CPU.
        damaged: Creates the error for an image that cannot be read.
    """

    def __init__(self, index: Index, size: int, device: torch.device, damaged: Damaged) -> None:
        self._index = index
        self._size = size
        self._device = device
        self._damaged = damaged
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, batch: Batch) -> Batch:
        """Return ``inputs`` uint8 ``(B, 3, size, size)`` in channels-last memory, and ``targets``, on the device.

        Raises:
            DataNotFoundError: If an image is damaged.
        """
        if self._stream is None:
            return self._decode(batch)
        # nvJPEG writes on its own stream and does not wait for kernels that still read memory which was freed
        # behind them. So its memory comes from this stream, on which nothing is queued before it or after it.
        with torch.cuda.stream(self._stream):
            decoded = self._decode(batch)
            self._stream.synchronize()
        return decoded

    def hand_over(self, batch: Batch) -> Batch:
        """Return a batch that the current stream may use."""
        if self._stream is not None:
            for tensor in batch.values():
                tensor.record_stream(torch.cuda.current_stream(self._device))
        return batch

    def _decode(self, batch: Batch) -> Batch:
        return {"inputs": self._pixels(batch), "targets": batch["targets"].to(self._device)}

    def _pixels(self, batch: Batch) -> Tensor:
        lengths = batch["lengths"].tolist()
        size = self._size
        pixels = torch.empty(len(lengths), size, size, 3, dtype=torch.uint8, device=self._device)
        images = pixels.permute(0, 3, 1, 2)
        encoded = [i for i, length in enumerate(lengths) if length]
        for i, decoded in zip(encoded, self._decoded(batch, encoded), strict=True):
            top, left, height, width = batch["boxes"][i].tolist()
            images[i] = rounded_resize(decoded[:, top : top + height, left : left + width], size)
        mirrored = batch["mirrored"].to(self._device)[:, None, None, None]
        images = torch.where(mirrored, images.flip(-1), images)
        if others := [i for i, length in enumerate(lengths) if not length]:
            images[torch.tensor(others)] = batch["prepared"].to(self._device).permute(0, 3, 1, 2)
        return images

    def _decoded(self, batch: Batch, encoded: list[int]) -> list[Tensor]:
        """Return complete images uint8 ``(3, H, W)``."""
        from torchvision.io import ImageReadMode, decode_jpeg

        files = list(batch["files"].split([int(batch["lengths"][i]) for i in encoded]))
        if not files:
            return []
        try:
            images: list[Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device=self._device)
        except RuntimeError:  # it names no file
            images = []
            for i, file in zip(encoded, files, strict=True):
                try:
                    images.append(decode(file.numpy()).to(self._device))
                except OSError as error:
                    path = self._index.path(int(batch["rows"][i]), int(batch["targets"][i]))
                    raise self._damaged(Path(path), AN_IMAGE, f"reading failed ({error})") from error
        return images


def rounded_resize(image: Tensor, size: int) -> Tensor:
    """Resize an image to ``size`` by bilinear interpolation with antialiasing, as Pillow does on the CPU.

    torch's GPU kernels do not support integers. As in Pillow, the values between the two passes are rounded too.

    Args:
        image: uint8 ``(3, H, W)``.
        size: Side of the result in pixels.

    Returns:
        float32 ``(3, size, size)``, whole numbers.
    """
    wide = image[None].float()
    narrow = F.interpolate(wide, (image.shape[1], size), mode="bilinear", antialias=True).round_()
    return F.interpolate(narrow, (size, size), mode="bilinear", antialias=True)[0].round_()


def decoded_ahead(source: Iterator[Batch], decoder: Decoder) -> Iterator[Batch]:
    """Yield the decoded batches of a source; each is decoded while the previous step runs.

    Args:
        source: Batches of :class:`EncodedImages`.
        decoder: Works in a thread, on a separate stream.
    """

    def take() -> Batch | None:
        return next(map(decoder, source), None)

    with ThreadPoolExecutor(1, "decode") as thread:
        following = thread.submit(take)
        while (batch := following.result()) is not None:
            following = thread.submit(take)
            yield decoder.hand_over(batch)
