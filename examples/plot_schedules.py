"""Draw the learning-rate schedules of all baselines, as shares of the peak, over the step hint.

python examples/plot_schedules.py --output docs/pictures/schedules.png
"""

import argparse
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from torch import nn

from algoperf_lightning import baselines, get_submission
from algoperf_lightning.baselines.schedule_free import ScheduleFreeOptimizer
from algoperf_lightning.parameters import parameter_kinds
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.roles import parameter_roles

STEP_HINT = 1000
SHOWN = int(1.5 * STEP_HINT)  # the self-tuning budget is one and a half times the external one

# One or two points of each list that differ in shape, beside the default.
MORE = {
    "cyclic_lr": {"num_cycles": 2, "warmup_factor": 0.1},
    "shampoo": {"step_hint_factor": 0.6, "warmup_factor": 0.05},
}


def rates(name, options):
    """The learning rate at every step, as a share of the largest."""
    model = nn.Linear(2, 2)
    parameters = {"parameter_kinds": parameter_kinds(model), "parameter_roles": parameter_roles(model)}
    view = SimpleNamespace(step_hint=STEP_HINT, model=model, **parameters)
    configured = get_submission(name)(**options).configure_optimizers(model, view)
    if isinstance(configured, ScheduleFreeOptimizer):
        group = configured.param_groups[0]  # all have one schedule
        series = [configured.rate({**group, "k": step}) for step in range(SHOWN)]
    else:
        (factor, *_) = configured["lr_scheduler"].lr_lambdas
        series = [factor(step) for step in range(SHOWN)]
    return [round(rate / max(series), 9) for rate in series]


def panels():
    """Names that share a curve, by the curve; those that differ in warm-up alone, together."""
    found = defaultdict(list)
    for name in plugins(SUBMISSIONS):
        if get_submission(name).__module__.rpartition(".")[0] != baselines.__name__:
            continue  # of another package, or of a study with schedules in epochs
        found[tuple(rates(name, {}))].append(name)
        if name in MORE:
            words = ", ".join(f"{option} {value}" for option, value in MORE[name].items())
            found[tuple(rates(name, MORE[name]))].append(f"{name} ({words})")
    return found


def kind_of(curve):
    """Which panel a curve belongs to."""
    if curve[0] == 1.0 and curve[1] < 0.9:
        return "cycles, first step at the peak"
    if max(curve[STEP_HINT + 1 :]) > curve[STEP_HINT]:
        return "restarts from the initial weights"
    if curve[-1] == 1.0:
        return "warm-up, then constant (schedule-free)"
    return "warm-up, linear decay, then constant" if curve[-1] > 0 else "warm-up, cosine decay to 0"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("schedules.png"))
    options = parser.parse_args()
    groups = defaultdict(list)
    for curve, names in panels().items():
        groups[kind_of(curve)].append((curve, names))
    figure, axes = plt.subplots(len(groups), 1, figsize=(9, 2.3 * len(groups)), sharex=True, layout="constrained")
    shares = [step / STEP_HINT for step in range(SHOWN)]
    for axis, (kind, curves) in zip(axes, groups.items(), strict=True):
        for curve, names in curves:
            axis.plot(shares, curve, label=", ".join(names), linewidth=1.6)
        axis.axvline(1.0, color="0.7", linewidth=0.8, linestyle="--")
        axis.set(title=kind, ylabel="share of the peak", ylim=(-0.03, 1.06), xlim=(-0.01, 1.5))
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=7, loc="lower right" if curves[0][0][-1] == 1.0 else "upper right")
    axes[-1].set_xlabel("steps as a share of the step hint")
    figure.savefig(options.output, dpi=100)
    print(options.output)


if __name__ == "__main__":
    main()
