"""What a step of each baseline's optimizer costs, against torch's fused AdamW: time, and bytes of state per parameter.

    python tests/benchmarks/optimizer_cost.py [--models resnet transformer] [--scale 1.0] [--device cpu] [--rounds 5]

The parameters have the shapes of ResNet-50 and of a Transformer of WMT's size; gradients are random and stay. Only the
optimizer is timed: for SAM and the schedule-free ones, which pass through the model too, without that. Each takes turns
with AdamW, and the ratio of medians is printed. What is done every so many steps (Shampoo's and SOAP's matrices) is
timed apart and shared out over the steps. ``--scale`` makes all wide axes smaller, for a machine without a GPU. On a
CPU the time is that of the processor, which other work on the machine does not change much.
"""

import argparse
import statistics
import time
from types import SimpleNamespace

import torch
from torch import nn

from algoperf_lightning import get_submission
from algoperf_lightning.baselines.schedule_free import ScheduleFreeOptimizer
from algoperf_lightning.parameters import parameter_kinds
from algoperf_lightning.registry import SUBMISSIONS, plugins

EVERY = {"shampoo": 100, "soap": 10}
"""Steps from one time that matrices are decomposed to the next."""


def resnet(scale):
    """The kernels, norms and last layer of ResNet-50: 25.6 million parameters."""
    layers = [nn.Conv2d(3, size(64, scale), 7, bias=False), nn.BatchNorm2d(size(64, scale))]
    inputs = size(64, scale)
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        narrow, wide = size(width, scale), size(4 * width, scale)
        for block in range(blocks):
            for before, after, side in ((inputs, narrow, 1), (narrow, narrow, 3), (narrow, wide, 1)):
                layers += [nn.Conv2d(before, after, side, bias=False), nn.BatchNorm2d(after)]
            if block == 0:
                layers += [nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide)]
            inputs = wide
    return nn.ModuleList([*layers, nn.Linear(inputs, size(1000, scale))])


def transformer(scale):
    """A shared embedding, six encoder and six decoder layers of width 1024 and 4 x 1024: 137 million parameters."""
    width, inner, words = size(1024, scale), size(4096, scale), size(32_000, scale)
    layers = [nn.Embedding(words, width)]
    for _ in range(6):
        layers += [nn.TransformerEncoderLayer(width, 16, inner), nn.TransformerDecoderLayer(width, 16, inner)]
    return nn.ModuleList(layers)


def size(full, scale):
    return max(16, int(full * scale) // 16 * 16)


MODELS = {"resnet": resnet, "transformer": transformer}


class Case:
    """An optimizer on a model of its own."""

    def __init__(self, name, model, device):
        torch.manual_seed(0)
        self.name, self.model = name, model.to(device)
        if name == "reference":
            self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
        else:
            view = SimpleNamespace(step_hint=10_000, model=model, parameter_kinds=parameter_kinds(model))
            configured = get_submission(name)().configure_optimizers(model, view)
            self.optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-6
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter) * 1e-3
        self.device, self.times = device, []

    def step(self):
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        begin = clock()
        if isinstance(self.optimizer, ScheduleFreeOptimizer):
            self.optimizer.go_to_y()
        self.optimizer.step(lambda: None)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return clock() - begin

    def until_the_step_before(self, every):
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                state = self.optimizer.state[parameter]
                if "step" in state and not isinstance(state["step"], torch.Tensor):
                    state["step"] = every - 1 if self.name == "shampoo" else every

    def bytes_per_parameter(self):
        """Of all tensors of the state, those that are the parameters' own size and those that are not."""

        def count(value):
            if isinstance(value, torch.Tensor):
                return value.numel() * value.element_size()
            if isinstance(value, dict):
                return sum(count(v) for v in value.values())
            return sum(count(v) for v in value) if isinstance(value, list) else 0

        return count(dict(self.optimizer.state)) / sum(p.numel() for p in self.model.parameters())


def measure(build, scale, device, names, rounds):
    reference = Case("reference", build(scale), device)
    count = sum(p.numel() for p in reference.model.parameters())
    for _ in range(3):
        first = reference.step()
    print(f"\n{build.__name__}: {count / 1e6:.1f} million parameters, fused AdamW {1000 * first:.0f} ms a step\n")
    print("| submission | step / AdamW's | rare work / AdamW's | bytes of state a parameter |\n|---|---|---|---|")
    for name in names:
        case = Case(name, build(scale), device)
        case.step()
        case.step()
        reference.times.clear()
        for _ in range(rounds):
            reference.times.append(reference.step())
            case.times.append(case.step())
        usual, adamw = statistics.median(case.times), statistics.median(reference.times)
        extra = ""
        if name in EVERY:
            case.until_the_step_before(EVERY[name])
            extra = f"{max(0.0, case.step() - usual) / EVERY[name] / adamw:.1f}"
        print(f"| `{name}` | {usual / adamw:.1f} | {extra} | {case.bytes_per_parameter():.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--submissions", nargs="+", default=list(plugins(SUBMISSIONS)))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.models:
        measure(MODELS[name], options.scale, options.device, options.submissions, options.rounds)


if __name__ == "__main__":
    main()
