"""Time and memory of a training step's forward, loss and backward, at the benchmark's full size.

    python tests/benchmarks/model_steps.py imagenet_resnet --modes eager compiled bf16 [--batch 32] [--device cuda]

The modes take turns, and the medians are what counts: other work on the machine then slows all of them alike. The
batches are random, in the shapes of ``batches/<workload>.py``: what a model computes does not depend on the data.
"""

import argparse
import importlib
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

from algoperf_lightning import get_workload
from algoperf_lightning.testing import PlainSGD

sys.path.insert(0, str(Path(__file__).parent))


def ready(name, variant, mode, device):
    """The workload with its model on the device, compiled if the mode says so, in training mode."""
    workload = get_workload(name)(PlainSGD(), variant=variant, compile="compiled" in mode)
    workload.configure_model()
    return workload.to(device).train()


def step(workload, batch, mode, device):
    """Seconds of one forward, loss and backward."""
    for parameter in workload.network.parameters():
        parameter.grad = None
    wait(device)
    begin = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled="bf16" in mode):
        loss = workload.loss(batch)
        units = len(loss.per_example) if loss.weight is None else loss.weight.sum()
        total = loss.per_example.sum() / units
    total.backward()
    wait(device)
    return time.perf_counter() - begin


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("--variant")
    parser.add_argument("--batch", type=int, help="default: that of batches/<workload>.py")
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--modes", nargs="+", default=["eager", "compiled"], help="eager compiled bf16 compiled-bf16")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    shapes = importlib.import_module(f"batches.{options.workload}")
    size = options.batch or shapes.BATCH
    batch = {
        name: value.to(options.device) if isinstance(value, torch.Tensor) else value
        for name, value in shapes.make_batch(size).items()
    }
    workloads, seconds, warm = {}, {mode: [] for mode in options.modes}, {}
    for mode in options.modes:
        workloads[mode] = ready(options.workload, options.variant, mode, options.device)
        warm[mode] = step(workloads[mode], batch, mode, options.device)
        step(workloads[mode], batch, mode, options.device)
    for _ in range(options.rounds):
        for mode in options.modes:
            seconds[mode].append(step(workloads[mode], batch, mode, options.device))
    hardware = torch.cuda.get_device_name(options.device) if options.device.type == "cuda" else "CPU"
    print(f"{options.workload} {options.variant or ''} batch {size} on {hardware}, {torch.get_num_threads()} threads")
    first = statistics.median(seconds[options.modes[0]])
    for mode in options.modes:
        median = statistics.median(seconds[mode])
        print(
            f"  {mode:15} {median * 1e3:9.1f} ms   {median / first:5.2f} x {options.modes[0]}   "
            f"first call {warm[mode]:6.1f} s"
        )
    if options.device.type == "cuda":
        print(f"  peak memory {torch.cuda.max_memory_allocated(options.device) / 2**30:.2f} GiB")
    else:
        print(f"  peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
