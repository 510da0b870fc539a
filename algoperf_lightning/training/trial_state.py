"""What a workload has in a checkpoint, beside Lightning's own: who is trained, and what each rank has of its own."""

from __future__ import annotations

from typing import Any

from algoperf_lightning.records.checkpoints import CHECKPOINT_KEY, saved_trial
from algoperf_lightning.records.loadable import gather_by_rank, loadable
from algoperf_lightning.rng import get_rng_state


def add_trial_state(
    checkpoint: dict[str, Any], identity: dict[str, Any], submission: dict[str, Any], evaluations: int
) -> None:
    """Add the trial to a checkpoint, and make all of it loadable.

    Args:
        checkpoint: As Lightning is about to write it.
        identity: What makes the trial this one.
        submission: The submission's state on this rank.
        evaluations: How many there were.

    Raises:
        CheckpointContentError: If some state could not be read again.
    """
    state = loadable(submission, f"{CHECKPOINT_KEY}.submission")
    mine = {"rng": get_rng_state(), "batches": _fit_loop(checkpoint).get("combined_loader", [])}
    ranks = gather_by_rank(identity["ranks"], mine, state)
    checkpoint[CHECKPOINT_KEY] = {"identity": identity, "ranks": ranks, "evaluations": evaluations}
    checkpoint.update({name: loadable(value, name) for name, value in checkpoint.items()})


def take_trial_state(
    checkpoint: dict[str, Any], identity: dict[str, Any], rank: int, path: object
) -> tuple[dict[str, Any], int]:
    """Return what a rank has saved (``submission``, ``rng``, ``batches``), and how many evaluations there were.

    Args:
        checkpoint: As Lightning read it.
        identity: What makes the trial this one.
        rank: Which one.
        path: Where the checkpoint was read, for the message.

    Raises:
        CheckpointMismatchError: If it is of another trial.
    """
    saved = saved_trial(checkpoint, identity, path)
    return saved["ranks"][rank], saved["evaluations"]


def put_batches(checkpoint: dict[str, Any], batches: Any) -> None:
    """Put a rank's place in the data where Lightning restores it from; it saves that of the first rank."""
    _fit_loop(checkpoint)["combined_loader"] = batches


def _fit_loop(checkpoint: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = checkpoint["loops"]["fit_loop"]["state_dict"]
    return state
