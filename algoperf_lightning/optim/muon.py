"""Muon, with NadamW for parameters that are not matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim.adamw import adamw_state, adamw_update
from algoperf_lightning.optim.foreach import ForeachOptimizer, Group, State, Tensors, values_of
from algoperf_lightning.optim.nadamw import nadamw_update
from algoperf_lightning.optim.orthogonal import DIALECTS, DTYPES, blocks_of_rows, joined, orthogonal_each
from algoperf_lightning.optim.sharding import Share, compute_here, sharing

SCALES: Mapping[str, Callable[[Tensor], float]] = MappingProxyType(
    {
        "original": lambda o: max(1.0, o.shape[0] / o.shape[1]) ** 0.5,
        "match_rms_adamw": lambda o: 0.2 * max(len(o), o.numel() / len(o)) ** 0.5,
    }
)
"""By what an orthogonal matrix, in the shape of its parameter, is multiplied, by name of the rule."""


class Muon(ForeachOptimizer):
    """Orthogonalised momentum for matrices and NadamW for the rest, in one optimizer.

    A group with ``orthogonal`` holds tensors of two axes or more, used as matrices of the first axis by the rest. With
    gradient g, momentum m and b the first of ``betas``::

        m <- b m + (1 - b) g;  u = b m + (1 - b) g (nesterov) or m
        p <- p - lr * [max(1, sqrt(size of axis 0 / size of axis 1)) orthogonal(u) + weight_decay p]

    where orthogonal(u) approximates U V^T of u = U S V^T by Newton-Schulz iterations, in a dialect of
    :mod:`~algoperf_lightning.optim.orthogonal`. Matrices of one shape are iterated together. Other groups are updated
    as by :class:`~algoperf_lightning.optim.NadamW`, or by AdamW without ``nadam``.

    With ``scale`` "match_rms_adamw", the factor is 0.2 sqrt(longer side) of the matrix, so that a step is about as long
    as AdamW's. With ``keep_norm``, the matrix moves on the sphere of its own norm: a step of length ``lr |p|`` along
    the direction, then back to the norm ``|p|`` ("MuonH"). A matrix of zeros then stays zero, and nothing is decayed.

    With ``split``, blocks of that many rows of a tensor are matrices of their own, such as queries, keys and values in
    one tensor, or heads of attention; the scale is then that of a block.

    ``torch.optim.Muon`` is the same on matrices, in bfloat16 and with the dialect ``torch``, and refuses all other
    tensors.

    With ``shard``, each rank of data-parallel training makes its share of the matrices orthogonal and sends them to the
    others; momenta and parameters stay on all ranks, so a checkpoint fits any number of ranks.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1); Muon uses the first.
        eps: Added to the root of NadamW's second moment.
        weight_decay: Decoupled weight decay.
        orthogonal: Whether a group is updated by Muon or by NadamW.
        nesterov: Whether Muon's momentum looks one step ahead.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.
        newton_schulz: Dialect of the iterations.
        scale: Rule of the step length of a matrix: ``original`` or ``match_rms_adamw``.
        keep_norm: Whether matrices keep their norm.
        split: Rows of each block that is made orthogonal by itself; empty for the whole tensor.
        nadam: Whether other groups are updated by NadamW or by AdamW.
        shard: Whether to shard the orthogonalisation over the ranks. All ranks must then step together with the same
            gradients.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range, or an orthogonal group holds a tensor of fewer than two axes.

    Reference: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
    """

    _share: Share = staticmethod(compute_here)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        betas: tuple[float, float] = (0.95, 0.0),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        orthogonal: bool = True,
        nesterov: bool = True,
        newton_schulz_dtype: str = "float32",
        newton_schulz: str = "classic",
        *,
        scale: str = "original",
        keep_norm: bool = False,
        split: Sequence[int] = (),
        nadam: bool = True,
        shard: bool = False,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        options = {
            "orthogonal": orthogonal,
            "nesterov": nesterov,
            "newton_schulz_dtype": newton_schulz_dtype,
            "newton_schulz": newton_schulz,
            "scale": scale,
            "keep_norm": keep_norm,
            "split": tuple(split),
            "nadam": nadam,
        }
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "fused": True, **options}
        super().__init__(params, defaults)
        for group in self.param_groups:
            _check_split(group)
            flat = [tuple(p.shape) for p in group["params"] if group["orthogonal"] and p.ndim < 2]
            if flat:
                raise BadInputError(
                    f"{type(self).__name__}: an orthogonal group needs tensors of two axes or more, but got {flat}."
                )
        self._share = sharing(shard, process_group)
        self._by_nadamw = {p for group in self.param_groups if not group["orthogonal"] for p in group["params"]}

    def check_options(self, options: Group) -> None:
        """Check the options of a group."""
        super().check_options(options)
        self.require(
            options["newton_schulz_dtype"] in DTYPES, options, "newton_schulz_dtype", f"be one of {', '.join(DTYPES)}"
        )
        self.require(options["newton_schulz"] in DIALECTS, options, "newton_schulz", f"be one of {', '.join(DIALECTS)}")

        self.require(options["scale"] in SCALES, options, "scale", f"be one of {', '.join(SCALES)}")

    def init_state(self, parameter: Tensor) -> State:
        """Return a momentum of 0, or NadamW's moments."""
        if parameter in self._by_nadamw:
            return adamw_state(parameter)
        return {"momentum_buffer": torch.zeros_like(parameter)}

    def update(self, group: Group, parameters: Tensors, gradients: Tensors, states: list[State]) -> None:
        """Update the parameters of a group."""
        if not group["orthogonal"]:
            update = nadamw_update if group["nadam"] else adamw_update
            update(group, parameters, gradients, states)
            return
        keep = group["betas"][0]
        momenta = values_of(states, "momentum_buffer")
        torch._foreach_lerp_(momenta, gradients, 1 - keep)
        directions = torch._foreach_lerp(momenta, gradients, 1 - keep) if group["nesterov"] else momenta
        dtype = DTYPES[group["newton_schulz_dtype"]]
        blocks = blocks_of_rows(directions, group["split"])
        updates = orthogonal_each(blocks, group["newton_schulz"], dtype=dtype, share=self._share)
        updates = joined(self.scaled(group, updates, states), len(group["split"]))
        if group["keep_norm"]:
            _move_on_spheres(parameters, updates, group["lr"])
            return
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])

    def scaled(self, group: Group, updates: Tensors, states: list[State]) -> Tensors:
        """Return the directions of a step, given orthogonal matrices in the shapes of their parameters."""
        torch._foreach_mul_(updates, [SCALES[group["scale"]](o) for o in updates])
        return updates


def _check_split(group: Group) -> None:
    """Check that the blocks of rows fit all tensors of a group."""
    rows = sum(group["split"])
    other = [tuple(p.shape) for p in group["params"] if rows and p.ndim and len(p) != rows]
    if other:
        raise BadInputError(f"Muon: split={group['split']} has {rows} rows, but a tensor has the shape {other[0]}.")


def _move_on_spheres(parameters: Tensors, updates: Tensors, rate: float) -> None:
    for parameter, update in zip(parameters, updates, strict=True):
        norm = parameter.norm()
        parameter.sub_(update * (rate * norm / update.norm().clamp(min=torch.finfo(update.dtype).tiny)))
        parameter.mul_(norm / parameter.norm().clamp(min=torch.finfo(update.dtype).tiny))
