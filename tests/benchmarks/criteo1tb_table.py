"""Time and memory of a training step of criteo1tb with its full table of 2 GiB, beside one that is joined of chunks.

    python tests/benchmarks/criteo1tb_table.py [--batch 4096] [--rounds 7]      # time; 9 GiB
    python tests/benchmarks/criteo1tb_table.py --memory [--optimizer]           # peak memory, each mode in a process

``one`` is the workload as it is. ``joined`` has the table as four parameters that are concatenated on every forward, as
in AlgoPerf's PyTorch code, and is else the same. A step is forward, loss and backward; with ``--optimizer`` also a
fused AdamW, of which the second step counts. CPU seconds say more than seconds where other work shares the machine.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Criteo1TB

sys.path.insert(0, str(Path(__file__).parent))
from batches.criteo1tb import make_batch

MODES = ("one", "joined")
CHUNKS = 4


class JoinedTable(nn.Module):
    """An embedding whose table is four parameters."""

    def __init__(self, num_embeddings, embedding_dim):
        super().__init__()
        self.num_embeddings = num_embeddings
        rows = num_embeddings // CHUNKS
        self.chunks = nn.ParameterList(
            nn.Parameter(torch.empty(rows, embedding_dim).uniform_(0, num_embeddings**-0.5)) for _ in range(CHUNKS)
        )

    def forward(self, ids):
        return F.embedding(ids % self.num_embeddings, torch.cat(list(self.chunks)))


def ready(mode):
    workload = Criteo1TB(PlainSGD())
    workload.configure_model()
    if mode == "joined":
        sizes = workload.network.table.num_embeddings, workload.network.table.embedding_dim
        workload.network.table = nn.Identity()  # never both at a time: the peak of memory would be theirs
        workload.network.table = JoinedTable(*sizes)
    return workload.train()


def step(workload, batch, optimizer=None):
    for parameter in workload.network.parameters():
        parameter.grad = None
    begin, busy = time.perf_counter(), time.process_time()
    workload.loss(batch).per_example.mean().backward()
    if optimizer is not None:
        optimizer.step()
    return time.perf_counter() - begin, time.process_time() - busy


def measure_time(options):
    workloads = {mode: ready(mode) for mode in MODES}
    batch = make_batch(options.batch)
    seconds = {mode: [] for mode in MODES}
    for turn in range(options.rounds + 1):
        for mode in MODES:
            taken = step(workloads[mode], batch)
            for parameter in workloads[mode].network.parameters():
                parameter.grad = None
            if turn:
                seconds[mode].append(taken)
    print(f"criteo1tb batch {options.batch}, table 4,194,304 x 128, {torch.get_num_threads()} threads, CPU")
    medians = {mode: [statistics.median(column) for column in zip(*seconds[mode], strict=True)] for mode in MODES}
    for mode, (wall, cpu) in medians.items():
        shares = wall / medians["joined"][0], cpu / medians["joined"][1]
        print(f"  {mode:8} {wall * 1e3:8.1f} ms, {shares[0]:.2f} x joined", end="   ")
        print(f"CPU {cpu * 1e3:8.1f} ms, {shares[1]:.2f} x joined")


def measure_memory(mode, options):
    workload, batch = ready(mode), make_batch(options.batch)
    optimizer = torch.optim.AdamW(workload.network.parameters(), fused=True) if options.optimizer else None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    step(workload, batch, optimizer)
    taken, _ = step(workload, batch, optimizer)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"  {mode:8} model built {before:5.2f} GiB   peak of a step {peak:5.2f} GiB   {taken * 1e3:8.1f} ms", flush=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--optimizer", action="store_true")
    parser.add_argument("--mode", choices=MODES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    if options.mode:
        measure_memory(options.mode, options)
    elif options.memory:
        for mode in MODES:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--mode", mode], check=True)
    else:
        measure_time(options)


if __name__ == "__main__":
    main()
