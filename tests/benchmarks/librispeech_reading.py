"""What reading LibriSpeech costs: opening, decoding, handing over, and the form in which sound travels.

    python tests/benchmarks/librispeech_reading.py [--utterances 64]

Made-up recordings of 12 s (noise in a speech-like spectrum, about as compressible as speech) are written to a temporary
folder. Seconds of processor time, so that other work on the machine matters little; all in one process and thread.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from algoperf_lightning.workloads.librispeech.frontend import LogMel
from algoperf_lightning.workloads.librispeech.reading import read_length, read_samples

RATE, SECONDS, PADDED = 16_000, 12, 320_000


def write(folder, count):
    """FLAC files whose spectrum falls as that of speech does, in syllables."""
    random = np.random.RandomState(0)
    for number in range(count):
        spectrum = np.fft.rfft(random.normal(size=SECONDS * RATE))
        spectrum /= 1 + (np.arange(len(spectrum)) / SECONDS / 500) ** 1.5
        sound = np.fft.irfft(spectrum) * (1.1 + np.sin(np.arange(SECONDS * RATE) * (2 * np.pi * 4 / RATE)))
        sound *= 3_000 / sound.std()
        path = folder / f"{number}.flac"
        soundfile.write(path, sound.clip(-32_768, 32_767).astype(np.int16), RATE, subtype="PCM_16")
    return sorted(folder.glob("*.flac"))


def int16_batch(sounds):
    batch = np.zeros((len(sounds), PADDED), np.int16)
    for row, sound in zip(batch, sounds, strict=True):
        row[: len(sound)] = sound
    return torch.from_numpy(batch), torch.tensor([len(sound) for sound in sounds])


def float32_batch(sounds):
    """As in the official pipeline: samples and paddings, both float32."""
    batch, paddings = np.zeros((len(sounds), PADDED), np.float32), np.ones((len(sounds), PADDED), np.float32)
    for row, padding, sound in zip(batch, paddings, sounds, strict=True):
        row[: len(sound)] = sound
        padding[: len(sound)] = 0
    return torch.from_numpy(batch), torch.from_numpy(paddings)


def shared(tensors):
    """Put tensors where another process can read them, as a DataLoader's worker does."""
    return [tensor.clone().share_memory_() for tensor in tensors]


def seconds(function, rounds=5):
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=64)
    count = parser.parse_args().utterances
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), count)
        size = sum(path.stat().st_size for path in paths) / (2 * SECONDS * RATE * count)
        print(f"{count} recordings of {SECONDS} s, compressed to {size:.0%}")
        out = np.empty(SECONDS * RATE, np.int16)
        opened = seconds(lambda: [read_length(path) for path in paths])
        decoded = seconds(lambda: [read_samples(path, out) for path in paths])
        print(
            f"  reading a head     {opened / count * 1e6:8.0f} us   (281,241 of them: {opened / count * 281_241:.0f} s)"
        )
        print(f"  decoding           {decoded / count * 1e3:8.2f} ms   {SECONDS * count / decoded:,.0f} x real time")
        sounds = [soundfile.read(path, dtype="int16")[0] for path in paths]
    for name, make in (("int16 + lengths", int16_batch), ("float32 + paddings", float32_batch)):
        batch = make(sounds)
        megabytes = sum(tensor.nbytes for tensor in batch) / len(sounds) / 1e6
        made, handed = seconds(lambda make=make: make(sounds)), seconds(lambda batch=batch: shared(batch))
        print(
            f"  {name:18} {megabytes:8.2f} MB an example, made in {made / count * 1e3:.2f} ms, "
            f"handed over in {handed / count * 1e3:.2f} ms"
        )
    log_mel, audio, lengths = LogMel(), *int16_batch(sounds[:4])
    same = torch.equal(log_mel(audio, lengths)[0], log_mel(float32_batch(sounds[:4])[0], lengths)[0])
    print(f"  features of both forms are {'equal' if same else 'NOT EQUAL'}")


if __name__ == "__main__":
    main()
