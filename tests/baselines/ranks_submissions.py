"""Every submission on digits, on as many ranks as the launcher says; writes where each ends. Started by tests.

python -m torch.distributed.run --nproc-per-node 2 tests/baselines/ranks_submissions.py FOLDER
"""

import sys
from pathlib import Path

import torch
from lightning.pytorch.strategies import DDPStrategy
from odd_digits import STEP_HINT, OddDigitsWithoutNorm, make, representatives

from algoperf_lightning.launch import trainer_options
from algoperf_lightning.testing import train

torch.set_num_threads(1)

# The first gradient of a long axis has less rank than the axis is long, so rounding decides SOAP's first basis.
SHORT_AXES = {name: {"max_preconditioner_dim": 3} for name in ("soap", "kl_soap", "kl_shampoo")}


def run(name, folder):
    """Train past the step hint, in float64: whatever is not the same on two ranks as on one is no rounding error."""
    submission = make(name, **SHORT_AXES.get(name, {}))
    submission.gradient_clip = 0.5
    workload = OddDigitsWithoutNorm(submission)
    options = {"devices": 1, **trainer_options()}
    if options["devices"] != 1:
        # The model has unused parameters; else as configs/hardware has it, so none may keep a gradient beyond its step.
        options["strategy"] = DDPStrategy(find_unused_parameters=True, gradient_as_bucket_view=True)
    trainer = train(workload, STEP_HINT + 6, folder, precision="64-true", **options)
    if trainer.is_global_zero:
        torch.save(workload.network.state_dict(), folder / f"{name}_{trainer.world_size}.pt")


if __name__ == "__main__":
    for submission in representatives():
        run(submission, Path(sys.argv[1]))
