"""Declarations of a training algorithm for ``algoperf check``: its symmetries, and intended deviations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.roles import Role
from algoperf_lightning.utilities.inputs import nearest_or_raise

EVERY_ROLE = tuple(Role)
"""All roles of parameters."""
MATRICES = tuple(role for role in Role if role.is_matrix)
"""Hidden matrices, convolutions, fused attention, and output layers."""

SYMMETRIES: Mapping[str, str] = {
    "rotation": "rotating rows and columns by orthogonal matrices rotates the steps in the same way",
    "left_rotation": "rotating the rows by an orthogonal matrix rotates the steps in the same way",
    "right_rotation": "rotating the columns by an orthogonal matrix rotates the steps in the same way",
    "permutation": "reordering rows and columns reorders the steps in the same way",
    "sign": "changing the signs of rows and columns changes the signs of the steps in the same way",
    "scale": "multiplying the loss by 1,000 does not change the steps",
}
"""Symmetries that can be declared. A tensor is a matrix of its first axis by the rest; one with a single axis has rows
only."""


@dataclass(frozen=True)
class Contract:
    """Declarations of a submission or an optimizer for ``algoperf check``: its class attribute ``contract``.

    Args:
        symmetries: Names in :data:`SYMMETRIES`, each with the roles of the parameters for which it holds:
            ``{"rotation": MATRICES, "scale": EVERY_ROLE}``.
        exempt: Names of checks that do not apply, each with the reason, which the table shows.
        options: Hyperparameters to check with, for example shorter periods for work that is done every hundred steps.
        closure_calls: How often a step computes the loss and its gradient; None if that depends on the step.

    Raises:
        BadInputError: If a symmetry is unknown, or a reason is missing.

    Example:
        >>> contract = Contract(symmetries={"sign": EVERY_ROLE}, exempt={"compile": "A step waits for the disk."})
        >>> contract.exempt["compile"]
        'A step waits for the disk.'
    """

    symmetries: Mapping[str, tuple[Role, ...]] = field(default_factory=dict)
    exempt: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    closure_calls: int | None = 1

    def __post_init__(self) -> None:
        for name in self.symmetries:
            nearest_or_raise("symmetry", name, SYMMETRIES)
        for name, reason in self.exempt.items():
            if not isinstance(reason, str) or not reason.strip():
                raise BadInputError(f"exempt must give the reason why {name!r} does not apply, but got {reason!r}.")
