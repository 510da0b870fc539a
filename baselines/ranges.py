"""Ranges of the baselines' hyperparameters: a name has the same range in every baseline."""

from __future__ import annotations

from collections.abc import Mapping

_RATE = "[0, 1)"
_NOT_NEGATIVE = "[0, inf)"
_POSITIVE = "(0, inf)"
_COUNT = "[1, inf)"

RANGES: Mapping[str, str] = {
    # Step size and regularisation
    "learning_rate": _NOT_NEGATIVE,
    "muon_lr_multiplier": _NOT_NEGATIVE,
    "embedding_lr_multiplier": _NOT_NEGATIVE,
    "output_lr_multiplier": _NOT_NEGATIVE,
    "adamw_lr_multiplier": _NOT_NEGATIVE,
    "precond_learning_rate": _NOT_NEGATIVE,
    "lion_ratio": _NOT_NEGATIVE,
    "d0": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "muon_weight_decay": _NOT_NEGATIVE,
    "gradient_clip": _POSITIVE,
    "label_smoothing": _RATE,
    "dropout_rate": _RATE,
    "rho": _NOT_NEGATIVE,
    "power": _POSITIVE,
    "eta_override": _POSITIVE,
    "l2": _NOT_NEGATIVE,
    "converge_factor": _POSITIVE,
    # Averages
    "one_minus_beta": "(0, 1]",
    "one_minus_beta1": "(0, 1]",
    "one_minus_beta2": "(0, 1]",
    "one_minus_momentum": "(0, 1]",
    "beta1": _RATE,
    "beta2": _RATE,
    "beta3": _RATE,
    "factor_beta": _RATE,
    "adamw_beta2": _RATE,
    "muon_beta": _RATE,
    "muon_beta2": _RATE,
    "lawa_ema_beta": _RATE,
    "alpha": _NOT_NEGATIVE,
    "one_minus_decay": "(0, 1]",
    "one_minus_rho": "(0, 1]",
    "initial_accumulator": _POSITIVE,
    "epsilon": _NOT_NEGATIVE,
    # Schedules, as shares of the step hint or in steps
    "warmup_factor": "[0, 1]",
    "warmup_steps": _NOT_NEGATIVE,
    "horizon_factor": _POSITIVE,
    "horizon_steps": _COUNT,
    "step_hint_factor": _POSITIVE,
    "decay_steps_factor": "[0, 1]",
    "end_factor": _NOT_NEGATIVE,
    "ramp_steps": _COUNT,
    "num_cycles": _COUNT,
    "lawa_start_factor": _NOT_NEGATIVE,
    "lawa_interval_factor": _POSITIVE,
    "lawa_queue_length": _COUNT,
    # AdaBound and Lookahead
    "final_lr": _NOT_NEGATIVE,
    "gamma": _POSITIVE,
    "sync_period": _COUNT,
    "slow_step_size": "[0, 1]",
    # Around other submissions
    "look_ahead": _NOT_NEGATIVE,
    "look_ahead_gamma": _RATE,
    "look_ahead_start": _NOT_NEGATIVE,
    "look_ahead_end_factor": _NOT_NEGATIVE,
    "tail_share": "(0, 1]",
    "tail_windows": "[2, inf)",
    "cautious_decay": _NOT_NEGATIVE,
    # Radii of Scion
    "hidden_scale": _POSITIVE,
    "output_scale": _POSITIVE,
    # Preconditioners and orthogonalisation
    "period": _COUNT,
    "newton_schulz_steps": _COUNT,
    "inv_root_override": _NOT_NEGATIVE,
    "precondition_frequency": _COUNT,
    "preconditioning_start": _NOT_NEGATIVE,
    "max_preconditioner_dim": _COUNT,
    "max_size_triangular": _NOT_NEGATIVE,
    "max_damping": _POSITIVE,
    "foam_tolerance": _POSITIVE,
}
"""Intervals by name, as in :attr:`~algoperf_lightning.submission.Submission.hyperparameter_ranges`."""
