"""A workload's part of a checkpoint: the identity of the trial, and the state of each rank."""

from __future__ import annotations

from typing import Any

from algoperf_lightning.records.checkpoints import CHECKPOINT_KEY, saved_trial
from algoperf_lightning.records.loadable import gather_by_rank, loadable
from algoperf_lightning.rng import get_rng_state


def add_trial_state(
    checkpoint: dict[str, Any], identity: dict[str, Any], submission: dict[str, Any], evaluations: int
) -> None:
    """Add the trial to a checkpoint, and check that all of it can be loaded.

    Args:
        checkpoint: The checkpoint that Lightning is about to write.
        identity: Identity of the trial.
        submission: The submission's state on this rank.
        evaluations: Number of evaluations so far.

    Raises:
        CheckpointContentError: If some state could not be loaded again.
    """
    state = loadable(submission, f"{CHECKPOINT_KEY}.submission")
    mine = {"rng": get_rng_state(), "batches": _fit_loop(checkpoint).get("combined_loader", [])}
    ranks = gather_by_rank(identity["ranks"], mine, state)
    checkpoint[CHECKPOINT_KEY] = {"identity": identity, "ranks": ranks, "evaluations": evaluations}
    checkpoint.update({name: loadable(value, name) for name, value in checkpoint.items()})


def take_trial_state(
    checkpoint: dict[str, Any], identity: dict[str, Any], rank: int, path: object
) -> tuple[dict[str, Any], int]:
    """Return the state of a rank (``submission``, ``rng``, ``batches``), and the number of evaluations.

    Args:
        checkpoint: The checkpoint that Lightning has read.
        identity: Identity of the trial.
        rank: Index of the rank.
        path: Path of the checkpoint, for messages.

    Raises:
        CheckpointMismatchError: If it belongs to another trial.
    """
    saved = saved_trial(checkpoint, identity, path)
    return saved["ranks"][rank], saved["evaluations"]


def put_batches(checkpoint: dict[str, Any], batches: Any) -> None:
    """Store a rank's data position where Lightning restores it; Lightning itself saves that of the first rank."""
    _fit_loop(checkpoint)["combined_loader"] = batches


def _fit_loop(checkpoint: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = checkpoint["loops"]["fit_loop"]["state_dict"]
    return state
