"""The error for measurements that would reuse an object of an earlier run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.errors import BadInputError

if TYPE_CHECKING:
    from algoperf_lightning.submission import Submission
    from algoperf_lightning.workload import Workload


class UsedObjectError(BadInputError):
    """A measured run would reuse an object of an earlier run."""


def used_in_a_run(used: Workload | Submission, workload: Workload) -> UsedObjectError:
    """Return the error for a workload or submission that was used before, with the call that creates new ones."""
    submission = workload.submission
    arguments = ", ".join(f"{key}={value!r}" for key, value in submission.hyperparameters.items())
    return UsedObjectError(
        f"This {type(used).__name__} object was already used in a run. Create a new workload with a new submission "
        f"for each run, also to resume one: {type(workload).__name__}({type(submission).__name__}({arguments}))."
    )
