"""Muon for matrices and NadamW for all other parameters."""

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
"""Scale factor of an orthogonal matrix in the shape of its parameter, by name of the scaling rule."""


class Muon(ForeachOptimizer):
    """Orthogonalised momentum for matrices and NadamW for all other parameters, in one optimizer.

    A group with ``orthogonal`` contains tensors with two or more axes, flattened to matrices of the first axis by all
    other axes. With gradient g, momentum m and the first of ``betas``, b::

        m <- b m + (1 - b) g;  u = b m + (1 - b) g (nesterov) or m
        p <- p - lr * [max(1, sqrt(size of axis 0 / size of axis 1)) orthogonal(u) + weight_decay p]

    where orthogonal(u) approximates U V^T of u = U S V^T by Newton-Schulz iterations, in a dialect of
    :mod:`~algoperf_lightning.optim.orthogonal`. Matrices of the same shape are batched. Other groups are updated by
    :class:`~algoperf_lightning.optim.NadamW`, or by AdamW with ``nadam=False``.

    With ``scale`` "match_rms_adamw", the factor is 0.2 sqrt(longer side) of the matrix, which approximately matches the
    step length of AdamW. With ``keep_norm``, the matrix stays on the sphere of its norm: after a step of length ``lr
    |p|`` in the update direction, it is rescaled to the norm ``|p|`` ("MuonH"). Zero matrices then stay zero, and
    weight decay is not applied.

    With ``split``, a tensor is divided into blocks with these numbers of rows, and each block is a separate matrix with
    its own scale. Examples are queries, keys and values stored in one tensor, or attention heads.

    ``torch.optim.Muon`` is equivalent to this class with bfloat16 and the dialect ``torch`` on matrices, and does not
    support other tensors.

    With ``shard``, each rank of data-parallel training orthogonalises its share of the matrices and sends the results
    to the other ranks. Momenta and parameters are replicated on all ranks, so a checkpoint can be loaded with any
    number of ranks.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate.
        betas: Decay rates, each in [0, 1). Muon uses only the first.
        eps: Added to the root of the second moment of NadamW.
        weight_decay: Decoupled weight decay.
        orthogonal: Whether a group is updated by Muon instead of NadamW.
        nesterov: Whether Muon uses Nesterov momentum.
        newton_schulz_dtype: ``float32`` or ``bfloat16``.
        newton_schulz: Dialect of the Newton-Schulz iterations.
        scale: Rule for the step length of a matrix: ``original`` or ``match_rms_adamw``.
        keep_norm: Whether the norms of matrices are kept constant.
        split: Numbers of rows of the blocks that are orthogonalised separately; empty for the whole tensor.
        nadam: Whether other groups are updated by NadamW instead of AdamW.
        shard: Whether to shard the orthogonalisation over the ranks. All ranks must then step together with the same
            gradients.
        process_group: Process group to shard over; None means all ranks.

    Raises:
        BadInputError: If an option is out of its range, or an orthogonal group contains a tensor with fewer than two
            axes.

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
        """Return a zero-initialised momentum buffer or the moments of NadamW."""
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
        """Return the update directions for orthogonal matrices in the shapes of their parameters."""
        torch._foreach_mul_(updates, [SCALES[group["scale"]](o) for o in updates])
        return updates


def _check_split(group: Group) -> None:
    """Check that the blocks of rows match all tensors of a group."""
    rows = sum(group["split"])
    other = [tuple(p.shape) for p in group["params"] if rows and p.ndim and len(p) != rows]
    if other:
        raise BadInputError(f"Muon: split={group['split']} has {rows} rows, but a tensor has the shape {other[0]}.")


def _move_on_spheres(parameters: Tensors, updates: Tensors, rate: float) -> None:
    for parameter, update in zip(parameters, updates, strict=True):
        norm = parameter.norm()
        parameter.sub_(update * (rate * norm / update.norm().clamp(min=torch.finfo(update.dtype).tiny)))
        parameter.mul_(norm / parameter.norm().clamp(min=torch.finfo(update.dtype).tiny))
