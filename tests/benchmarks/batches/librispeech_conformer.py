import torch

BATCH = 2


def make_batch(size, samples=80_000):
    """Five seconds of noise, of which every second example has four fifths; 30 and 25 word pieces."""
    audio = (torch.randn(size, samples) * 1_000).to(torch.int16)
    shorter = torch.arange(size) % 2
    return {
        "inputs": audio,
        "input_lengths": samples - shorter * samples // 5,
        "targets": torch.randint(3, 1024, (size, 64)),
        "target_lengths": 30 - shorter * 5,
    }
