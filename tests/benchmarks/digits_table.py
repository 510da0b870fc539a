"""Seconds and steps to the target of ``digits`` for every baseline at its default point, as a table in Markdown.

python tests/benchmarks/digits_table.py [--seeds 3]
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings

import lightning as L
import torch

from algoperf_lightning import get_submission
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.result import TrialResult
from algoperf_lightning.workloads import Digits


def run(name: str, seed: int) -> TrialResult:
    trainer = L.Trainer(
        callbacks=[budget := TimeBudget()],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Digits(get_submission(name)(), seed=seed))
    return budget.result


def cell(result: TrialResult) -> str:
    if math.isinf(result.time_to_target):
        return f"missed (best {result.best:.4f})"
    return f"{result.time_to_target:.1f} s, {result.step_to_target:,} steps"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print("| submission |" + "".join(f" seed {seed} |" for seed in range(options.seeds)))
    print("|---|" + "---|" * options.seeds)
    for name in plugins(SUBMISSIONS):
        print(f"| {name} | " + " | ".join(cell(run(name, seed)) for seed in range(options.seeds)) + " |", flush=True)


if __name__ == "__main__":
    main()
