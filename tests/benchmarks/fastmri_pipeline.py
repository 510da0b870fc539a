"""Speed of fastmri's input pipeline on volumes of the official size, and what else could have been done.

    python tests/benchmarks/fastmri_pipeline.py [--volumes 4] [--workers 0 1 2] [--rounds 5]

The volumes are noise in the official format and size (640 x 372, 36 slices each), in a temporary folder; they are read
from the page cache. Seconds "of a core" are CPU time, so that other work on the machine disturbs them little; methods
take turns, and the medians are shown.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch

from algoperf_lightning.data.examples import Draws
from algoperf_lightning.data.streams import Loader, TrainingStream
from algoperf_lightning.workloads.fastmri.batches import Slices
from algoperf_lightning.workloads.fastmri.masks import kept_columns, stateless_uniforms
from algoperf_lightning.workloads.fastmri.reading import SliceReader, read_header, volume_paths
from algoperf_lightning.workloads.fastmri.transform import normalise, undersampled_image

ROWS, WIDTH, SIDE, SLICES = 640, 372, 320, 36


def write_volumes(folder, count):
    random = np.random.default_rng(0)
    for number in range(count):
        with h5py.File(folder / f"file{number}.h5", "w") as file:
            noise = random.standard_normal((2, SLICES, ROWS, WIDTH), dtype=np.float32)
            file["kspace"] = (noise[0] + 1j * noise[1]).astype(np.complex64)
            file["reconstruction_esc"] = np.abs(noise[0, :, :SIDE, :SIDE])
            file.attrs["max"] = float(noise.max())


def plain(paths, numbers):
    """The steps one after the other, as they are written down: open, mask, transform all, crop, normalise."""
    for number in numbers:
        which, row = divmod(int(number), SLICES)
        with h5py.File(paths[which], "r") as file:
            kspace, target = torch.from_numpy(file["kspace"][row]), torch.from_numpy(file["reconstruction_esc"][row])
        kept = kept_columns(WIDTH, stateless_uniforms(np.array([[0, number]]), WIDTH)[0])
        image = torch.fft.ifft2(torch.fft.ifftshift(kspace * torch.from_numpy(kept)), norm="ortho")
        top, left = (ROWS - SIDE) // 2, (WIDTH - SIDE) // 2
        image = torch.fft.fftshift(image)[top : top + SIDE, left : left + SIDE].abs()
        mean, std = image.mean(), image.std(correction=0)
        ((image - mean) / std).clamp(-6, 6)
        ((target - mean) / std).clamp(-6, 6)


class RawSlices(Slices):
    """What the workers would hand over if the device did the rest: k-space of one width, targets and masks."""

    def read(self, indices, draws):
        kspace = np.empty((len(indices), ROWS, WIDTH), np.complex64)
        target = np.empty((len(indices), SIDE, SIDE), np.float32)
        for row, number in enumerate(self.rows[indices].tolist()):
            kspace[row], target[row] = self.reader.read(*self.reader.find(number))
        return {"kspace": torch.from_numpy(kspace), "targets": torch.from_numpy(target)}


def steps_of_a_slice(examples, numbers):
    """CPU seconds of reading, drawing, transforming and normalising."""
    spent = dict.fromkeys(("read", "mask", "transform", "normalise"), 0.0)

    def lap(name, begin):
        spent[name] += time.process_time() - begin
        return time.process_time()

    inputs, targets = np.empty((2, SIDE, SIDE), np.float32)
    for number in numbers:
        now = time.process_time()
        kspace, target = examples.reader.read(*examples.reader.find(number))
        now = lap("read", now)
        kept = kept_columns(WIDTH, stateless_uniforms(np.array([[0, number]]), WIDTH)[0])
        now = lap("mask", now)
        image = undersampled_image(kspace, kept, (SIDE, SIDE))
        now = lap("transform", now)
        normalise(image, target, inputs, targets)
        lap("normalise", now)
    return {name: seconds / len(numbers) for name, seconds in spent.items()}


def cpu_seconds(function, count):
    begin = time.process_time()
    function()
    return (time.process_time() - begin) / count


def device_share(batch):
    """CPU seconds a slice of what the device would have to do in ``loss``, done by one core."""
    mask = torch.from_numpy(kept_columns(WIDTH, stateless_uniforms(np.zeros((1, 2), np.int64), WIDTH)[0]))
    image = torch.fft.fftshift(torch.fft.ifft2(batch["kspace"] * mask, norm="ortho"), (1, 2)).abs()[:, 160:480, 26:346]
    mean, std = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True, correction=0)
    return [((x - mean) / std).clamp(-6, 6) for x in (image, batch["targets"])]


def loaded(examples, workers, batches, batch_size=32):
    """Slices a second by the wall clock through the library's loader."""
    source = Loader(TrainingStream(examples, batch_size, seed=0), workers).open()
    for _ in range(2 * max(1, workers)):
        next(source)
    begin = time.perf_counter()
    for _ in itertools.islice(source, batches):
        pass
    return batches * batch_size / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_volumes(folder, options.volumes)
        paths = volume_paths(folder)
        reader = SliceReader(folder, [read_header(path) for path in paths])
        measure(options, paths, Slices(reader, np.arange(len(reader)), 0), RawSlices(reader, np.arange(len(reader)), 0))


def measure(options, paths, ours, raw):
    numbers = np.random.default_rng(1).permutation(len(ours))[:64]
    raw_batch = raw.read(numbers[:8], Draws(0, numbers[:8]))
    methods = {
        "plain: h5py, torch, all of it": lambda: plain(paths, numbers),
        "ours: in the worker": lambda: ours.read(numbers, Draws(0, numbers)),
        "raw: only read, in the worker": lambda: raw.read(numbers, Draws(0, numbers)),
        "  and the device's share, by a core": lambda: [device_share(raw_batch) for _ in range(len(numbers) // 8)],
    }
    seconds = {name: [] for name in methods}
    for _ in range(options.rounds + 1):  # the first is thrown away: files and code are cold
        for name, method in methods.items():
            seconds[name].append(cpu_seconds(method, len(numbers)))
    first = None
    for name, values in seconds.items():
        median = statistics.median(values[1:])
        first = first or median
        print(f"{name:36} {median * 1e3:6.2f} ms of a core, {1 / median:6.0f} slices/s, {first / median:4.1f} x")
    for name, spent in steps_of_a_slice(ours, numbers).items():
        print(f"  {name:10} {spent * 1e3:6.2f} ms")
    for label, examples in (("ours", ours), ("raw", raw)):
        batch = examples.read(numbers[:1], Draws(0, numbers[:1]))
        size = sum(value.numel() * value.element_size() for value in batch.values())
        print(f"{label:5} {size / 1e6:5.2f} MB a slice from worker to training process")
        for workers in options.workers:
            speed = statistics.median(loaded(examples, workers, options.batches) for _ in range(options.rounds))
            print(f"      {workers} workers: {speed:6.0f} slices/s on the wall clock")


if __name__ == "__main__":
    main()
