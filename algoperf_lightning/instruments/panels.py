"""Panels of the measurements of instruments, for pictures and for the report.

All recorded quantities are listed here: numbers and histograms in :data:`GROUPS`, quantities by layer, module, call of
attention or class in :data:`LAYERS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from algoperf_lightning.records.instrument_rows import Row


@dataclass(frozen=True)
class Panel:
    """One frame of a picture."""

    title: str
    names: tuple[str, ...]
    """Names of the shown values, as in the rows."""
    kind: Literal["curves", "counts", "pairs"] = "curves"
    """``curves``: numbers against steps; ``counts``: a histogram at each step; ``pairs``: the last histogram of two
    axes."""
    log: bool = False
    low: float | None = None
    """Lower limit of the axis, if values may be far outside of the relevant range."""
    high: float | None = None
    """Its upper limit."""
    marks: tuple[float, ...] = ()
    """Reference values."""
    counted: float | None = None
    """The share of steps with a larger value is written under the frame."""
    main: bool = False
    """Whether the report always shows it; other panels are shown when their group is expanded."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of all values that it reads, including errors, shown as bands, and limits of histograms."""
        endings = {"curves": ("_error",), "counts": ("_limit",), "pairs": ("_gradient_limit", "_parameter_limit")}
        return (*self.names, *(name + ending for name in self.names for ending in endings[self.kind]))


GROUPS: Mapping[str, tuple[Panel, ...]] = {
    "Run": (
        Panel("Loss of the batch", ("loss", "loss_floor"), main=True),
        Panel("Learning rate", ("learning_rate",)),
        Panel("Share correct in the batch", ("batch_accuracy",)),
        Panel("Change of the loss by the step", ("loss_change", "predicted_loss_change")),
    ),
    "Step": (
        Panel(
            "Step length (−1: start, 0: minimum)",
            ("same_batch_step_length", "alpha"),
            low=-3.0,
            high=4.0,
            marks=(-1, 0, 1),
            main=True,
        ),
        Panel("Update size, distance from the start", ("update_size", "distance"), log=True),
        Panel("Update / weights (rms)", ("update_ratio",), log=True, main=True),
        Panel("Cosines", ("cosine_gradients", "cosine_updates", "cosine_descent"), low=-1.05, high=1.05, marks=(0,)),
        Panel("Real over predicted decrease", ("real_to_predicted",), low=-3.0, high=4.0, marks=(1,)),
    ),
    "Gradients": (
        Panel("Gradient norm", ("gradient_norm",), log=True, main=True),
        Panel("Gradient norm / clipping threshold", ("clip_ratio",), log=True, marks=(1,), counted=1.0),
        Panel(
            "Tests (above 1: noise dominates)",
            ("norm_test", "inner_product_test", "orthogonality_test"),
            log=True,
            marks=(1,),
        ),
        Panel("Noise scale (a batch size)", ("noise_scale",), log=True),
        Panel("Batch size suggested by CABS", ("cabs",), log=True),
        Panel("Variance, squared gradient", ("gradient_variance", "squared_gradient"), log=True),
        Panel("Signal / noise by element (mean)", ("mean_gsnr",), log=True),
        Panel("Early stopping (above 0: stop)", ("early_stopping",), low=-3.0, high=1.1, marks=(0,)),
        Panel("Gradients of groups", ("gradient_histogram",), kind="counts"),
        Panel("Gradients and weights, last step", ("joint_histogram",), kind="pairs"),
        Panel("Non-finite gradients", ("nonfinite_gradients", "gradient_histogram_nonfinite"), log=True),
    ),
    "Curvature": (
        Panel("Sharpness / stability limit", ("sharpness_to_limit",), log=True, low=1e-3, marks=(1,), counted=1.0),
        Panel("Eigenvalues of the Hessian", ("largest_eigenvalue", "smallest_eigenvalue"), marks=(0,)),
        Panel("Traces", ("hessian_trace", "gauss_newton_trace")),
        Panel("Takeuchi criterion", ("tic_trace", "tic_diagonal"), log=True),
        Panel("Sharpness along the step", ("directional_sharpness",), marks=(0,)),
    ),
    "Network": (
        Panel("Norm of the weights", ("weight_norm",)),
        Panel("Share of weights not trained", ("untrained_share",), low=0.0, high=1.05),
        Panel("Dead units, module with most", ("dead_share",), low=-0.05, high=1.05),
        Panel("Largest attention logit", ("attention_logit",), log=True, marks=(100,)),
        Panel("Attention entropy, lowest (nats)", ("attention_entropy",)),
        Panel("Outputs: largest logit, log-sum-exp", ("output_largest", "output_logsumexp")),
        Panel("Outputs: squared log-sum-exp", ("output_squared_logsumexp",), log=True),
        Panel("Outputs: entropy (nats)", ("output_entropy",)),
    ),
}
"""The panels of a run, by headings."""


HISTOGRAM_RANGE = 4.0
"""Half of the range of a histogram, in root mean squares of the values that it counts."""


@dataclass(frozen=True)
class LayerMap:
    """A map of a quantity by layer: a row for each layer, a column for each measured step."""

    title: str
    name: str
    """Name as in the rows; ``*`` stands for any ending."""
    scale: Literal["log", "signed", "linear", "share"] = "log"
    """Scale of the colours; ``signed`` is logarithmic on both sides of 0, ``share`` is from 0 to 1."""
    of: str = "layer"
    """Kind of the rows: layers, modules, calls or classes."""


LAYERS: tuple[LayerMap, ...] = (
    LayerMap("Update / weights (rms)", "update_ratios"),
    LayerMap("Gradient norm", "gradient_norms"),
    LayerMap("Update size", "update_sizes"),
    LayerMap("Norm of the weights", "weight_norms"),
    LayerMap("Distance from the start", "distances"),
    LayerMap("Activations, rms", "activation_rms", of="module"),
    LayerMap("Activations, largest", "activation_largest", of="module"),
    LayerMap("Dead units", "dead_units", "share", "module"),
    LayerMap("Largest attention logit", "attention_logits", "linear", "call"),
    LayerMap("Attention entropy (nats)", "attention_entropies", "linear", "call"),
    LayerMap("Share correct", "class_accuracies", "share", "class"),
    LayerMap("Stable rank", "stable_ranks", "linear"),
    LayerMap("Effective rank", "effective_ranks", "linear"),
    LayerMap("Condition number", "conditions"),
    LayerMap("Trace of the Hessian", "hessian_traces", "signed"),
    LayerMap("Trace of the Gauss-Newton matrix", "gauss_newton_traces"),
    LayerMap("Norm of the optimizer's {}", "state_norms/*"),
)
"""The maps of a run."""


def maps_of(runs: Sequence[Sequence[Row]]) -> list[LayerMap]:
    """Return the maps of the quantities measured in some runs; each quantity that matches a ``*`` is a separate map."""
    known = dict.fromkeys(
        name for rows in runs for row in rows for name, value in row.items() if isinstance(value, dict) and value
    )
    return [
        replace(each, title=each.title.format(name.removeprefix(each.name.rstrip("*"))), name=name)
        for each in LAYERS
        for name in known
        if fnmatchcase(name, each.name)
    ]
