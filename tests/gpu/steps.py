"""Time, memory and rates of a training step of one workload, at full size on random input; see ``run_gpu.py``.

    python tests/gpu/steps.py imagenet_vit --output vit.json [--device cuda] [--small] [--meeting FOLDER]

Each mode is measured on its own, eager or compiled, in float32, with TF32 products or under bfloat16 autocast; then the
optimizer steps of some submissions on the same parameters. The file is written after each figure, so a process that is
killed leaves what it measured. With ``--meeting``, the compiled modes are warmed up first, then ``<workload>.ready`` is
written to the folder and the process waits for ``<workload>.go``: several processes can compile at the same time,
while each is measured alone on the device.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.utils import counters
from work import BytesMoved, count_flops

from algoperf_lightning import Workload, get_submission, get_workload
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.testing.runs import training_batch, with_tiny_data

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from optimizer_cost import EVERY, go_to_the_step_before_rare_work

MODES = {
    "fp32": {"precision": "highest", "bf16": False, "compiled": False},
    "tf32": {"precision": "high", "bf16": False, "compiled": False},
    "bf16": {"precision": "high", "bf16": True, "compiled": False},
    "tf32-compiled": {"precision": "high", "bf16": False, "compiled": True},
    "bf16-compiled": {"precision": "high", "bf16": True, "compiled": True},
}
GPUS = 4
"""Of the machine that the benchmark is scored on: the batch of one of them is what is measured."""
SUBMISSIONS = ("adamw", "muon", "soap", "shampoo")
SECONDS = 2.0
"""For each figure, after the warm-up."""


def full_batch(name: str, size: int) -> dict[str, Any]:
    """A batch of the benchmark's shapes: sentences of 256 tokens, 20 seconds of speech."""
    shapes = importlib.import_module(f"batches.{name}")
    if hasattr(shapes, "LENGTH"):
        shapes.LENGTH = 256
    if name.startswith("librispeech"):
        return shapes.make_batch(size, samples=320_000)
    return shapes.make_batch(size)


class Steps:
    """The steps of one workload on one device."""

    def __init__(self, name: str, device: torch.device, small: bool, folder: Path) -> None:
        self.name, self.device, self.small, self.folder = name, device, small, folder
        self.workloads: dict[bool, Workload] = {}
        workload_class = get_workload(name)
        self.arguments = with_tiny_data(workload_class, folder) if small else {}
        if small:
            batch, self.size = training_batch(self.workload(compiled=False)), 8
        else:
            self.size = workload_class.spec.batch_size // GPUS
            batch = full_batch(name, self.size)
        self.batch = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}

    def workload(self, compiled: bool) -> Workload:
        """The workload with its model on the device, in training mode; one eager and one compiled."""
        if compiled not in self.workloads:
            workload = get_workload(self.name)(PlainSGD(), compile=compiled, **self.arguments)
            workload.configure_model()
            self.workloads[compiled] = workload.to(self.device).train()
        return self.workloads[compiled]

    def keep_only(self, compiled: bool) -> None:
        """Free the other model, so that memory at the peak is that of one."""
        self.workloads.pop(not compiled, None)
        gc.collect()

    @contextmanager
    def setting(self, mode: str) -> Iterator[Workload]:
        """The precision of a mode, and the workload that it runs."""
        how = MODES[mode]
        torch.set_float32_matmul_precision(how["precision"])
        torch.backends.cudnn.allow_tf32 = how["precision"] != "highest"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=how["bf16"]):
            yield self.workload(how["compiled"])

    def step(self, workload: Workload) -> None:
        """Forward pass, loss and backward pass."""
        for parameter in workload.network.parameters():
            parameter.grad = None
        loss = workload.loss(self.batch)
        units = len(loss.per_example) if loss.weight is None else loss.weight.sum()
        with torch.autocast(self.device.type, enabled=False):
            (loss.per_example.sum() / units).backward()

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, call: Callable[[], Any], seconds: float = SECONDS) -> float:
        """Median milliseconds of a call, after two that are not counted."""
        for _ in range(2):
            call()
        self.synchronize()
        times: list[float] = []
        while len(times) < 3 or (sum(times) < seconds and len(times) < 50):
            begin = time.perf_counter()
            call()
            self.synchronize()
            times.append(time.perf_counter() - begin)
        return 1e3 * statistics.median(times)

    def compile(self, mode: str) -> dict[str, Any]:
        """Seconds of the first step of a compiled mode, and the graph breaks in it."""
        counters.clear()
        begin = time.perf_counter()
        with self.setting(mode) as workload:
            self.step(workload)
        self.synchronize()
        return {
            "first_step_seconds": time.perf_counter() - begin,
            "graph_breaks": sum(counters["graph_break"].values()),
            "graph_break_reasons": [str(reason)[:200] for reason in counters["graph_break"]],
        }

    def measure(self, mode: str) -> dict[str, Any]:
        """Time of a step, and the device memory at its peak."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        with self.setting(mode) as workload:
            figures = {"milliseconds": self.timed(lambda: self.step(workload))}
        if self.device.type == "cuda":
            figures["peak_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        return figures

    def work(self) -> dict[str, Any]:
        """Floating-point operations of a step's products, and bytes that its operators read and write."""
        with self.setting("tf32") as workload:
            flops = count_flops(lambda: self.step(workload))
            with BytesMoved() as moved:
                self.step(workload)
        return {"flops": flops, "bytes": moved.total}

    def optimizer(self, name: str) -> dict[str, Any]:
        """Time of a submission's optimizer step on the workload's parameters, with its share of rare work."""
        workload = self.workload(compiled=False)
        for parameter in workload.network.parameters():
            parameter.grad = 1e-3 * torch.randn_like(parameter)
        configured = get_submission(name)().configure_optimizers(workload.network, workload.view)
        optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        for group in optimizer.param_groups:
            group["lr"] = 1e-7  # the parameters hardly move
        figures = {"usual_milliseconds": self.timed(optimizer.step)}
        figures["milliseconds"] = figures["usual_milliseconds"]
        if name in EVERY:
            go_to_the_step_before_rare_work(name, optimizer)
            begin = time.perf_counter()
            optimizer.step()
            self.synchronize()
            figures["rare_milliseconds"] = 1e3 * (time.perf_counter() - begin)
            rare = max(0.0, figures["rare_milliseconds"] - figures["usual_milliseconds"])
            figures["milliseconds"] += rare / EVERY[name]
        return figures


def attempt(figures: dict[str, Any], call: Callable[[], dict[str, Any]]) -> None:
    """Add the figures of a call, or its error: the next one is measured all the same."""
    try:
        figures.update(call())
    except Exception as error:
        figures["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
        traceback.print_exc()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--small", action="store_true", help="the tiny workload on its tiny data")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--submissions", nargs="*", default=list(SUBMISSIONS))
    parser.add_argument("--meeting", type=Path, help="folder to wait in between compiling and measuring")
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        steps = Steps(options.workload, options.device, options.small, Path(folder))
        result: dict[str, Any] = {"workload": options.workload, "batch": steps.size, "modes": {}, "optimizers": {}}
        model = get_workload(options.workload)(PlainSGD(), **steps.arguments).build_model()
        result["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        del model

        def write() -> None:
            options.output.write_text(json.dumps(result, indent=1))

        for mode in options.modes:
            if MODES[mode]["compiled"]:
                attempt(result["modes"].setdefault(mode, {}), lambda mode=mode: steps.compile(mode))
                write()
        if options.meeting is not None:
            for workload in steps.workloads.values():
                workload.zero_grad(set_to_none=True)
            if options.device.type == "cuda":
                torch.cuda.empty_cache()
            (options.meeting / f"{options.workload}.ready").touch()
            while not (options.meeting / f"{options.workload}.go").exists():
                time.sleep(0.05)
        for mode in sorted(options.modes, key=lambda mode: not MODES[mode]["compiled"]):
            steps.keep_only(MODES[mode]["compiled"])
            if "error" not in result["modes"].setdefault(mode, {}):
                attempt(result["modes"][mode], lambda mode=mode: steps.measure(mode))
                write()
        attempt(result, steps.work)
        write()
        for name in options.submissions:
            attempt(result["optimizers"].setdefault(name, {}), lambda name=name: steps.optimizer(name))
            write()


if __name__ == "__main__":
    main()
