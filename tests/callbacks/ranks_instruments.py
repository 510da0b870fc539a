"""Two ranks, with and without instruments: a script that takes a folder, and prints differences and values."""

import logging
import sys
from pathlib import Path

import torch
from instrumented import differences, fit

from algoperf_lightning.callbacks import Instruments, TrialRecorder
from algoperf_lightning.plugins import get_submission
from algoperf_lightning.records.instrument_rows import read_rows
from algoperf_lightning.workloads import Digits


def digits():
    submission = get_submission("sam")()
    submission.batch_sizes = {"digits": 16}
    return Digits(submission)


def main(folder):
    ranks = {"devices": 2, "strategy": "ddp"}
    plain = fit(digits(), folder, steps=7, **ranks)
    callbacks = [TrialRecorder(folder / "two")]
    instruments = Instruments("business", groups=4)
    measured = fit(digits(), folder, steps=7, callbacks=callbacks, instruments=instruments, **ranks)
    found = differences(plain, measured)
    if torch.distributed.get_rank() == 0:
        print("differences", found)
        print("steps", [row["step"] for row in read_rows(folder / "two")])
        row = read_rows(folder / "two")[1]
        names = ("loss", "gradient_norm", "norm_test", "hessian_trace", "alpha")
        print("values", *(f"{row[name]:.6g}" for name in names))


if __name__ == "__main__":
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
