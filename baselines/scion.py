"""Scion."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from torch import nn

from algoperf_lightning.contract import Contract
from algoperf_lightning.optim import Scion as ScionOptimizer
from algoperf_lightning.roles import Role
from algoperf_lightning.view import WorkloadView

from .arguments import with_arguments
from .recipe import USUAL_SYMMETRIES, Recipe

_NORMS: Mapping[Role, str] = MappingProxyType(
    {
        Role.MATRIX: "spectral",
        Role.FUSED_ATTENTION: "spectral",
        Role.CONVOLUTION: "convolution",
        Role.EMBEDDING: "token",
        Role.TIED_EMBEDDING: "sign",
        Role.HEAD: "sign",
        Role.NORM_OR_BIAS: "rms",
        Role.SCALAR: "rms",
    }
)
_OUTPUTS = (Role.TIED_EMBEDDING, Role.HEAD)


@with_arguments
class Scion(Recipe):
    """Scion: one rule for all parameters, in norms that follow from their roles; warm-up, cosine decay to 0.

    Updates of matrices and convolutions are orthogonal matrices, those of the output layer and tied embeddings are
    signs, and those of the tokens of an embedding, biases and scales are vectors of one length. The learning rate is
    also the weight decay. Not an entry of the benchmark: the default point has the radii, rate and momentum of the
    authors' language model.

    Deviations: the initial weights are those of the workload, not drawn from the norms' balls, and activations are not
    scaled, so published settings do not carry over unchanged. The schedule is ours.

    Tokens that are not in the batch also move, as far as all others, unless their averaged gradient is exactly 0. This
    is unsuitable for millions of rare tokens, as in ``criteo1tb``.

    Args:
        learning_rate: Peak learning rate, at most 1.
        one_minus_beta: 1 minus the decay rate of the averaged gradient; with 1, the gradient itself is used.
        hidden_scale: Radius of all balls but those of output layers.
        output_scale: Radius of the balls of output layers and tied embeddings.
        constrained: Whether parameters decay towards 0, into their balls.
        newton_schulz_dtype: Precision of the orthogonalisation; ``bfloat16`` is faster on GPUs.
        shard: Whether ranks share the orthogonalisation of matrices, which gives the same result in less time.

    Reference: Pethick et al. 2025, https://arxiv.org/abs/2502.07529.
    """

    contract = Contract(
        symmetries={"rotation": (Role.MATRIX, Role.FUSED_ATTENTION, Role.CONVOLUTION), **USUAL_SYMMETRIES},
        exempt={"convolution": "The published rule divides by a power of the first side of a kernel, square or not."},
    )

    hyperparameter_ranges: ClassVar[Mapping[str, str]] = {"learning_rate": "[0, 1]"}
    search_space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"min": 1e-4, "max": 3e-2, "scaling": "log"},
        "one_minus_beta": {"feasible_points": [0.05, 0.1, 0.5]},
        "hidden_scale": {"min": 1.0, "max": 100.0, "scaling": "log"},
        "output_scale": {"min": 16.0, "max": 6000.0, "scaling": "log"},
        "constrained": {"feasible_points": [True, False]},
    }

    learning_rate: float = 2.0**-12
    one_minus_beta: float = 0.1
    hidden_scale: float = 50.0
    output_scale: float = 3000.0
    constrained: bool = True
    warmup_factor: float = 0.0
    label_smoothing: float = 0.0
    dropout_rate: float | None = None
    newton_schulz_dtype: Literal["float32", "bfloat16"] = "float32"
    shard: bool = True

    def make_optimizer(self, model: nn.Module, workload: WorkloadView) -> ScionOptimizer:
        """Return Scion, with a group for each norm and radius."""
        groups: dict[tuple[str, float], list[nn.Parameter]] = {}
        roles = self.parameter_roles(workload)
        for name, parameter in model.named_parameters():
            role = roles[name].role
            key = (_NORMS[role], self.output_scale if role in _OUTPUTS else self.hidden_scale)
            groups.setdefault(key, []).append(parameter)
        return ScionOptimizer(
            [{"params": parameters, "norm": norm, "scale": scale} for (norm, scale), parameters in groups.items()],
            lr=self.learning_rate,
            beta=1 - self.one_minus_beta,
            constrained=self.constrained,
            newton_schulz_dtype=self.newton_schulz_dtype,
            shard=self.shard,
        )
