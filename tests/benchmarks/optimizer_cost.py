"""What a step of each baseline's optimizer costs, against torch's fused AdamW: time, and bytes of state per parameter.

    python tests/benchmarks/optimizer_cost.py [--workloads imagenet_resnet wmt] [--submissions lion muon] [--device cpu]

The parameters are those of the benchmark's models at their full width. Of WMT's Transformer it is one of six layers, on
both sides, and a sixth of the vocabulary: as all optimizers work tensor by tensor, the ratios are those of the whole,
which would take hours. Gradients are random and stay. Only the optimizer is timed: for SAM and the schedule-free ones,
which pass through the model too, without that; what a wrapper does outside of the optimizer's step is not timed either.
Each takes turns with AdamW on the same parameters, and the ratio of medians is printed. What is done every so many
steps (Shampoo's and SOAP's matrices) is timed apart and shared out over the steps. On a CPU the time is that of the
processor, which other work on the machine does not change much; there, set ``MALLOC_MMAP_MAX_=0
MALLOC_TRIM_THRESHOLD_=100000000000``, so that the memory of temporaries is kept, as on a GPU.
"""

import argparse
import dataclasses
import datetime
import json
import statistics
import time

import torch
from submission_table import processor

from algoperf_lightning import get_submission, get_workload
from algoperf_lightning.baselines.schedule_free import ScheduleFreeOptimizer
from algoperf_lightning.registry import SUBMISSIONS, plugins

PARTS = {"wmt": {"layers": 1, "vocabulary": 5_333}}
EVERY = {"shampoo": 100, "soap": 10, "kl_soap": 10, "kl_shampoo": 10, "caspr_adaptive": 20}
"""Steps from one time that matrices are decomposed to the next."""
OPTIONS = {name: {"max_preconditioner_dim": 5_000} for name in ("soap", "kl_soap", "kl_shampoo")}
"""So that the part of the vocabulary is not rotated, as the whole one is not, and all that is rotated still is."""


def build(name, submission, device):
    """A workload with its model on the device, and random gradients."""
    torch.manual_seed(0)
    workload = get_workload(name)(submission)
    workload.spec = dataclasses.replace(workload.spec, model={**workload.spec.model, **PARTS.get(name, {})})
    workload.configure_model()
    workload.to(device)
    for parameter in workload.network.parameters():
        parameter.grad = torch.randn_like(parameter) * 1e-3
    return workload


def optimizer_of(workload):
    configured = workload.submission.configure_optimizers(workload.network, workload.view)
    return configured["optimizer"] if isinstance(configured, dict) else configured


def timed_step(optimizer, device):
    for group in optimizer.param_groups:
        group["lr"] = 1e-6  # the parameters hardly move
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    begin = clock()
    if isinstance(optimizer, ScheduleFreeOptimizer):
        optimizer.go_to_y()
    optimizer.step(lambda: None)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - begin


def go_to_the_step_before_rare_work(name, optimizer):
    step = EVERY[name] if name == "soap" else EVERY[name] - 1
    for state in optimizer.state.values():
        # torch's own AdamW, for parameters that are no matrices, counts in a tensor.
        state["step"] = torch.full_like(state["step"], step) if isinstance(state["step"], torch.Tensor) else step


def bytes_of(value):
    """Of all tensors of a state, those that are the parameters' own size and those that are not."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(bytes_of, value.values()))
    return sum(map(bytes_of, value)) if isinstance(value, list) else 0


def measure(workload_name, name, options):
    """A row of the table."""
    workload = build(workload_name, get_submission(name)(**OPTIONS.get(name, {})), options.device)
    optimizer = optimizer_of(workload)
    reference = torch.optim.AdamW(workload.network.parameters(), weight_decay=0.1, fused=True)
    ours, adamws = [], []
    for _ in range(2):
        timed_step(optimizer, options.device)
        timed_step(reference, options.device)
    while len(ours) < 3 or (len(ours) < options.rounds and sum(ours) < options.seconds):
        adamws.append(timed_step(reference, options.device))
        ours.append(timed_step(optimizer, options.device))
    # Some do another thing in every second step.
    usual, adamw = statistics.mean(statistics.median(ours[i::2]) for i in (0, 1)), statistics.median(adamws)
    rare = ""
    if name in EVERY:
        go_to_the_step_before_rare_work(name, optimizer)
        rare = f"{max(0.0, timed_step(optimizer, options.device) - usual) / EVERY[name] / adamw:.1f}"
    parameters = sum(p.numel() for p in workload.network.parameters())
    size = (bytes_of(dict(optimizer.state)) + bytes_of(workload.submission.state_dict())) / parameters
    return (
        f"| `{name}` | {usual / adamw:.1f} | {rare} | {size:.1f} | {1000 * adamw:.0f} ms for {parameters / 1e6:.1f} M |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=["imagenet_resnet", "wmt", "ogbg"])
    parser.add_argument("--submissions", nargs="+", default=list(plugins(SUBMISSIONS)))
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=6.0, help="no more rounds after these, but three")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for workload in options.workloads:
        print(f"\n{workload}\n")
        print("| submission | step / AdamW's | rare work / AdamW's | bytes of state a parameter | AdamW's step |")
        print("|---|---|---|---|---|")
        for name in options.submissions:
            print(measure(workload, name, options), flush=True)
    machine = {"cpu": processor(), "threads": options.threads, "torch": torch.__version__}
    print(f"\n{datetime.date.today()}, {options.device}, {json.dumps(machine)}")


if __name__ == "__main__":
    main()
