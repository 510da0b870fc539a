"""Parameters that a submission does not train, which is allowed, but noted."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.optim import Optimizer

_SHOWN = 3


def trainable(model: nn.Module) -> list[str]:
    """Return the names of the parameters for which gradients are computed."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def note_untrained(model: nn.Module, before: Sequence[str], optimizer: Optimizer, owner: str) -> list[str]:
    """Return a note, and warn, for each way in which parameters remain untrained.

    Args:
        model: The network.
        before: Its :func:`trainable` parameters before the submission was called.
        optimizer: The submission's optimizer.
        owner: Name of the submission.

    Returns:
        A line with parameters whose ``requires_grad`` the submission has set to False, and one with those that its
        optimizer does not contain; none if it trains all.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    parameters = dict(model.named_parameters())
    known = [name for name in before if name in parameters]
    frozen = [name for name in known if not parameters[name].requires_grad]
    missing = [name for name in known if id(parameters[name]) not in held and name not in frozen]
    notes = []
    for names, why in ((frozen, "has set requires_grad=False for"), (missing, "has made an optimizer without")):
        if names:
            notes.append(
                f"{owner} {why} {len(names)} of the model's {len(before)} trainable parameters: {_listed(names)}."
            )
    for note in notes:
        rank_zero_warn(note)
    return notes


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
