"""Peak memory and time of a training step of finewebedu_lm: logits some rows at a time, against those of all at once.

    python tests/benchmarks/finewebedu_memory.py [--batch 4] [--device cuda]

Each way runs in a process of its own, as a process never gives back what its peak was.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

WAYS = ("pieces", "whole")


def measure(way, batch_size, device):
    import torch
    from torch.nn import functional as F

    from algoperf_lightning.testing import PlainSGD
    from algoperf_lightning.workloads import FineWebEduLM

    sys.path.insert(0, str(Path(__file__).parent))
    from batches.finewebedu_lm import make_batch

    torch.manual_seed(0)
    workload = FineWebEduLM(PlainSGD())
    workload.configure_model()
    model = workload.to(device).train().network
    batch = {name: values.to(device) for name, values in make_batch(batch_size).items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = peak(device)
    begin = time.process_time()
    if way == "pieces":
        loss = workload.loss(batch).per_example.sum() / batch["targets"].numel()
    else:
        logits = model(batch["inputs"]).flatten(0, 1)
        loss = F.cross_entropy(logits, batch["targets"].flatten())
        del logits
    loss.backward()
    norm = torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm()
    return {
        "loss": loss.item(),
        "gradient": norm.item(),
        "before": before,
        "peak": peak(device),
        "seconds": time.process_time() - begin,
    }


def peak(device):
    """The most memory so far, in GiB."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    import torch

    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**30


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4, help="windows of 1,024 tokens")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.batch, options.device)))
        return
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way, "--batch", str(options.batch), "--device", options.device]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{way:7} loss {found['loss']:.5f}, gradient norm {found['gradient']:.5f}, "
            f"{found['before']:.2f} GiB with gradients, {found['peak']:.2f} GiB at the peak "
            f"(+{found['peak'] - found['before']:.2f}), {found['seconds']:.1f} s of CPU"
        )


if __name__ == "__main__":
    main()
