"""Parameters that a submission leaves untrained: that is a training algorithm too, and worth a note."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.optim import Optimizer

_SHOWN = 3


def trainable(model: nn.Module) -> list[str]:
    """Return the names of the parameters that a gradient is computed for."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def note_untrained(model: nn.Module, before: Sequence[str], optimizer: Optimizer, owner: str) -> list[str]:
    """Return a note for each way in which parameters are left as they were initialised, and warn with it.

    Args:
        model: The network.
        before: Its :func:`trainable` parameters before the submission was called.
        optimizer: What the submission trains with.
        owner: Whose it is.

    Returns:
        A line of those that the submission set ``requires_grad=False`` for, and one of those that its optimizer does
        not hold; none where it trains all.
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
