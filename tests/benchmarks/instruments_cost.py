"""What each instrument costs at every step, against Cockpit 1.0.2 on the same two nets.

The nets are those of ``mnist`` (784-128-10, sigmoid) and of ``digits`` (two convolutions, two linear layers), with SGD
and batches of 128. The cost of an instrument is the CPU time of a step of a Trainer that measures at every step, less
that of a Trainer that does not. It is given as a factor: cost plus a plain step over a plain step, which is forward,
backward and update in a bare loop. Cockpit's factors were measured in the same way on one thread of an AMD EPYC.

    python tests/benchmarks/instruments_cost.py --json cost.json
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import lightning as L
import torch

from algoperf_lightning.callbacks import Instruments, TimeBudget
from algoperf_lightning.instruments.instrument import PRESETS
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.testing.runs import PlainSGD, at_tiny_size, with_tiny_data

BATCH = 128
COCKPIT = {  # instrument: Cockpit's quantity, its factors on the two nets
    "loss": ("Loss", 1.8, 1.4),
    "gradient_norm": ("GradNorm", 1.7, 1.6),
    "distance": ("Distance", 1.7, 1.5),
    "update_size": ("UpdateSize", 1.9, 1.5),
    "alpha": ("Alpha", 32, 6.7),
    "gradient_tests": ("NormTest, InnerTest, OrthoTest", 46, 8.4),  # its cheapest of the three
    "gsnr": ("MeanGSNR", 35, 5.3),
    "cabs": ("CABS", 35, 5.3),
    "early_stopping": ("EarlyStopping", 35, 5.3),
    "gradient_histogram": ("GradHist1d", 114, 14),
    "hessian_trace": ("HessTrace", 13, 10),
    "tic": ("TICDiag", 63, 13),
    "eigenvalues": ("HessMaxEV", 50, 106),
    "joint_histogram": ("GradHist2d", 353, 28),
    "economy": ("economy", 170, 26),
    "business": ("business", 195, 40),
    "full": ("full", 634, 164),
}
NETS = ("mnist", "digits")


class Stopwatch(L.Callback):
    """Reads the process's clock after some steps of warm-up, and at the end."""

    def __init__(self, first, last):
        self.first, self.last, self.read = first, last, {}

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if trainer.global_step in (self.first, self.last):
            self.read[trainer.global_step] = time.process_time()


def trainer_step(name, measure, folder, steps, warm=5):
    """Return CPU seconds of a step of a Trainer."""
    workload, submission = get_workload(name), PlainSGD(0.01)
    arguments = at_tiny_size(workload)
    submission.batch_sizes = {workload.spec.of(**arguments).full_name: BATCH}
    watch = Stopwatch(warm, warm + steps)
    budget = TimeBudget(unit="steps", budget=warm + steps, eval_period=10 * steps, stop_at="budget")
    trainer = L.Trainer(
        callbacks=[watch, budget, Instruments(measure, every=1 if measure else None)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(workload(submission, data_dir=folder, **arguments))
    return (watch.read[warm + steps] - watch.read[warm]) / steps


def bare_step(name, steps=100):
    """Return CPU seconds of forward, backward and update in a plain loop."""
    torch.manual_seed(0)
    workload = get_workload(name)
    model = workload(PlainSGD()).build_model()
    shape = {"mnist": (BATCH, 1, 28, 28), "digits": (BATCH, 1, 8, 8)}[name]
    inputs, labels = torch.randn(shape), torch.randint(0, 10, (BATCH,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(steps + 10):
        if step == 10:
            begun = time.process_time()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return (time.process_time() - begun) / steps


def measured(names, rounds, steps):
    """Return the factors of each instrument in each round, by net."""
    found = {net: {name: [] for name in names} for net in NETS}
    plain = {net: [] for net in NETS}
    with tempfile.TemporaryDirectory() as folder:
        for net in NETS:
            with_tiny_data(get_workload(net), Path(folder))
        for _ in range(rounds):
            for net in NETS:
                base = trainer_step(net, None, Path(folder), steps)
                for name in names:
                    bare = bare_step(net)
                    cost = trainer_step(net, name, Path(folder), steps) - base
                    found[net][name].append(1 + cost / bare)
                    plain[net].append(bare)
    return found, {net: 1000 * statistics.median(values) for net, values in plain.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instruments", nargs="*", help="default: all that Cockpit has, and the presets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", help="file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    names = options.instruments or list(COCKPIT)
    found, plain = measured(names, options.rounds, options.steps)
    print("plain step: " + ", ".join(f"{net} {plain[net]:.2f} ms" for net in NETS))
    print(f"| instrument | Cockpit | {' | '.join(f'Cockpit, {net} | ours | share' for net in NETS)} |")
    print(f"|---|---|{'---|---|---|' * len(NETS)}")
    table = {}
    for name in names:
        quantity, *theirs = COCKPIT.get(name, ("", float("nan"), float("nan")))
        ours = [statistics.median(found[net][name]) for net in NETS]
        table[name] = {"cockpit": dict(zip(NETS, theirs, strict=True)), "ours": dict(zip(NETS, ours, strict=True))}
        cells = [f"{a:g} | {b:.1f} | {b / a:.0%}" for a, b in zip(theirs, ours, strict=True)]
        label = f"preset `{name}`" if name in PRESETS else f"`{name}`"
        print(f"| {label} | {quantity} | {' | '.join(cells)} |", flush=True)
    if options.json:
        record = {"plain_ms": plain, "threads": 1, "batch": BATCH, "rounds": options.rounds, "factors": table}
        Path(options.json).write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
