"""The global training batch size of a run: a submission's choice, or the workload's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.data.parts import count_examples
from algoperf_lightning.errors import BadInputError

if TYPE_CHECKING:
    from algoperf_lightning.data.examples import Batch
    from algoperf_lightning.means import Shared
    from algoperf_lightning.spec import WorkloadSpec
    from algoperf_lightning.submission import Submission


def choose_batch_size(spec: WorkloadSpec, submission: Submission) -> int:
    """Return the submission's batch size for a variant or a workload, otherwise the workload's default.

    Raises:
        BadInputError: If it is not a positive integer.
    """
    names = (spec.full_name,) if spec.size is not None else (spec.full_name, spec.name)
    chosen = (submission.batch_sizes.get(name) for name in names)
    size = next((size for size in chosen if size is not None), spec.batch_size)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise BadInputError(
            f"{type(submission).__name__}: batch size for {spec.name} must be a positive integer, "
            f"but got {size!r}. Change its batch_sizes entry."
        )
    return size


def check_split(batch_size: int, ranks: int, spec: WorkloadSpec, submission: Submission) -> None:
    """Raise unless a batch can be split evenly over ranks, and their shares over micro-batches.

    Raises:
        BadInputError: If this is not possible.
    """
    if batch_size % ranks:
        raise BadInputError(
            f"{type(submission).__name__}: batch size {batch_size} for {spec.name} cannot be split "
            f"evenly over {ranks} ranks. Use a number of devices that divides it, or another batch_sizes entry."
        )
    if batch_size // ranks % submission.micro_batches:
        of_rank = "" if ranks == 1 else f" of each of {ranks} ranks"
        raise BadInputError(
            f"{type(submission).__name__}: the {batch_size // ranks} examples{of_rank} in a batch for {spec.name} "
            f"cannot be divided evenly into micro_batches = {submission.micro_batches}. Use a number that divides "
            "them, or another batch_sizes entry."
        )


def take_examples(workload: Shared, batch: Batch, examples: int) -> Batch:
    """Return the first examples of this rank's share of a batch.

    Args:
        workload: The workload, which can divide batches.
        batch: This rank's share.
        examples: Number of examples of the global batch.

    Raises:
        BadInputError: If the batch is smaller, or the ranks cannot share them evenly.
    """
    ranks, own = workload.ranks, count_examples(batch, workload.count_units(batch))
    if not isinstance(examples, int) or isinstance(examples, bool) or not 1 <= examples <= own * ranks:
        raise BadInputError(
            f"workload.take: the number of examples must be an integer from 1 to {own * ranks}, the size of the global "
            f"batch, but got {examples!r}. To train on more examples, draw larger batches (batch_sizes), or several."
        )
    if examples % ranks:
        raise BadInputError(
            f"workload.take: {examples} examples cannot be divided evenly by {ranks} ranks. Use a multiple of {ranks}."
        )
    return batch if examples == own * ranks else workload.first_examples(batch, examples // ranks)
