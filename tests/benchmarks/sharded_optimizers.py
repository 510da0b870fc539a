"""How the time of an optimizer's step falls when ranks share its work: `shard=True` against `shard=False`.

    python -m torch.distributed.run --nproc-per-node 2 tests/benchmarks/sharded_optimizers.py
        [--workloads imagenet_vit wmt] [--submissions muon shampoo soap] [--steps 15]

The parameters are those of the benchmark's models, as in ``optimizer_cost.py``; gradients are random and the same on
all ranks. Both ways take turns, all ranks begin a step together, and its time is that of the slowest rank. Of Shampoo
and SOAP the step that computes roots or bases is timed, and beside it the usual step. On a CPU each rank has one
thread. The ratio is the median of those of neighbouring steps. A last column says whether both ways end at the same
bits.
"""

import argparse
import datetime
import json
import os
import statistics
import time

import torch
import torch.distributed as dist
from optimizer_cost import EVERY, OPTIONS, build, go_to_the_step_before_rare_work
from submission_table import processor

from algoperf_lightning import get_submission


def optimizers_of(workload_name, name, device):
    """The same parameters twice, each with an optimizer; first that which shares."""
    for shard in (True, False):
        submission = get_submission(name)(shard=shard, **OPTIONS.get(name, {}))
        workload = build(workload_name, submission, device)
        yield submission.make_optimizer(workload.network, workload.view), list(workload.network.parameters())


def seconds_of_step(optimizer, device):
    """Of the slowest rank, all of which begin together."""
    for group in optimizer.param_groups:
        group["lr"] = 1e-6  # the parameters hardly move
    dist.barrier()
    begin = time.perf_counter()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    taken = torch.tensor(time.perf_counter() - begin, dtype=torch.float64, device=device)
    dist.all_reduce(taken, dist.ReduceOp.MAX)
    return taken.item()


def medians(name, optimizers, options, rare):
    taken = ([], [])
    for _ in range(options.steps):
        for optimizer, times in zip(optimizers, taken, strict=True):
            if rare:
                go_to_the_step_before_rare_work(name, optimizer)
            times.append(seconds_of_step(optimizer, options.device))
    shares = [shared / alone for shared, alone in zip(*taken, strict=True)]
    low, ratio, high = statistics.quantiles(shares, n=4)
    return [f"{1000 * statistics.median(times):.0f}" for times in reversed(taken)] + [
        f"{ratio:.2f} ({low:.2f}-{high:.2f})"
    ]


def rows(workload_name, name, options):
    (shared, ends), (alone, others) = optimizers_of(workload_name, name, options.device)
    for _ in range(2):
        seconds_of_step(shared, options.device)
        seconds_of_step(alone, options.device)
    for rare in (False, True) if name in EVERY else (False,):
        numbers = medians(name, (shared, alone), options, rare)
        same = all(torch.equal(one, other) for one, other in zip(ends, others, strict=True))
        step = "with roots or bases" if rare else "usual"
        yield f"| `{workload_name}` | `{name}` | {step} | {' | '.join(numbers)} | {'yes' if same else 'no'} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=["imagenet_vit", "wmt"])
    parser.add_argument("--submissions", nargs="+", default=["muon", "shampoo", "soap"])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    dist.init_process_group("nccl" if options.device == "cuda" else "gloo")
    options.device = torch.device(options.device, int(os.environ["LOCAL_RANK"]) if options.device == "cuda" else None)
    torch.set_num_threads(1)
    printing = dist.get_rank() == 0
    if printing:
        print("| workload | submission | step | replicated, ms | shared, ms | ratio (quartiles) | same bits |")
        print("|---|---|---|---|---|---|---|")
    for workload in options.workloads:
        for name in options.submissions:
            for row in rows(workload, name, options):
                if printing:
                    print(row, flush=True)
    if printing:
        machine = {"cpu": processor(), "ranks": dist.get_world_size(), "torch": torch.__version__}
        print(f"\n{datetime.date.today()}, {options.device}, {json.dumps(machine)}")


if __name__ == "__main__":
    main()
