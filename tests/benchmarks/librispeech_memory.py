"""Peak memory of trials one after another in one process: the third must need no more than the first.

    python tests/benchmarks/librispeech_memory.py librispeech_conformer [--trials 3] [--batch 2] [--seconds 5]

Each trial is a whole run of Trainer.fit at full model size with AdamW, two steps and an evaluation, on tiny data
padded to ``--seconds``. On the CPU the peak is that of the process, in which libraries and allocator share.
"""

import argparse
import dataclasses
import gc
import resource
import tempfile
from pathlib import Path
from typing import ClassVar

import torch

from algoperf_lightning import get_submission, get_workload
from algoperf_lightning.testing import train


def trial(name, folder, batch, seconds, device, compile_):
    class Submission(get_submission("adamw")):
        batch_sizes: ClassVar = {name: batch}

    workload = get_workload(name)(Submission(), data_dir=folder, compile=compile_)
    spec = workload.spec
    changes = {"samples": round(16_000 * seconds), "workers": 0}
    splits = {**spec.splits, "eval_train": 2 * batch}
    smaller = {"data": {**spec.data, **changes}, "splits": splits, "eval_batch_size": 2 * batch}
    workload.spec = workload.data.spec = dataclasses.replace(spec, **smaller)
    workload.data.workers = 0
    train(workload, 2, Path(folder), accelerator=device, val_check_interval=2, check_val_every_n_epoch=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workload = get_workload(options.workload)
        workload.data_class(workload.spec, folder).write_tiny()
        for number in range(1, options.trials + 1):
            if options.device == "gpu":
                torch.cuda.reset_peak_memory_stats()
            trial(options.workload, folder, options.batch, options.seconds, options.device, options.compile)
            gc.collect()
            if options.device == "gpu":
                peak, left = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
                print(f"trial {number}: peak {peak / 2**30:.3f} GiB, afterwards {left / 2**30:.3f} GiB", flush=True)
            else:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30
                print(f"trial {number}: peak of the process {peak:.3f} GiB, afterwards {now:.3f} GiB", flush=True)


if __name__ == "__main__":
    main()
